"""Queries in slices: what is found for each is a file of its own, made in any order, process or machine, and kept.

A plan is a folder that holds all that hangs on all queries at once, so that a slice needs nothing but that folder, the
index and the embeddings.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from linkage.arrays import digest_file, read_array
from linkage.compare.fields import SUFFIX, TextCounts
from linkage.compare.likeness import ComparedRecords
from linkage.compare.scorer import Scorer, shares
from linkage.compare.terms import Frequencies
from linkage.compare.wording import Wording
from linkage.config import LinkConfig
from linkage.encode.embeddings import Embeddings
from linkage.errors import ArtefactError
from linkage.keys import result_key
from linkage.link.candidates import Exemplars, candidates
from linkage.link.links import ranked
from linkage.link.ranking import Ranking, best_of_entities
from linkage.progress import progress
from linkage.records import PROVENANCE
from linkage.search.exact import choose_device
from linkage.search.index import Index
from linkage.tables import read_table, replacing, write_table
from linkage.workers.engine import Pool
from linkage.workers.pool import LostItem

SLICE = 8192
"""Queries of a slice, in the order of their record_id; what is found takes some 100 MB while it is searched."""

_NEEDED = ("record_id", "text", *PROVENANCE)
COMPACT = ("query", "exemplar", "rank", "logit", "probability")
"""Columns of what was found that decisions need."""


class SliceTask(NamedTuple):
    """One slice to search: what `find` needs to know."""

    folder: Path
    digest: str
    number: int


def find(task: SliceTask) -> None:
    """Search one slice and write what is found; nothing where that is there already.

    Raises:
        ArtefactError: the plan, the index or the embeddings are not there, or others than the task was made for.
    """
    plan = _opened(task.folder, task.digest)
    if not plan.is_done(task.number):
        plan.find(task.number)


@lru_cache(maxsize=1)
def _opened(folder: Path, digest: str) -> SearchPlan:
    return SearchPlan.open(folder, digest)


@dataclass(frozen=True)
class SearchPlan:
    """All queries in slices.

    Attributes:
        folder: what is found is written there.
        digest: of everything that it hangs on.
        n: queries.
        size: queries of a slice.
        kept: candidates kept of a query.
        exemplars: the index.
        embeddings: of the queries.
        rows: their rows in there, in the order of record_id, (n,).
        scorer, device, every_pair: as for `candidates`.
    """

    folder: Path
    digest: str
    n: int
    size: int
    kept: int
    exemplars: Exemplars
    embeddings: Embeddings
    rows: np.ndarray
    scorer: Scorer
    device: Any
    every_pair: bool

    @classmethod
    def make(cls, folder: Path, ranking: Ranking, scorer: Scorer) -> SearchPlan:
        """Write a plan for the queries of a ranking; what an equal one has found there is kept, the rest is removed."""
        folder.mkdir(parents=True, exist_ok=True)
        embeddings, config, size = ranking.embeddings, ranking.config, SLICE
        rows = ranking.rows
        with replacing(folder / _READINGS) as temporary:
            _write_readings(embeddings, temporary)
        needed = dict.fromkeys([*_NEEDED, *config.blocking, *config.fields])
        names = [name for name in needed if name in ranking.frame]
        schema = pa.Schema.from_pandas(ranking.frame[names], preserve_index=False)
        with replacing(folder / _QUERIES) as temporary, pq.ParquetWriter(temporary, schema) as writer:
            for start in range(0, max(len(rows), 1), size):
                frame = ranking.frame.iloc[start : start + size][names]
                writer.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False))
        with replacing(folder / _ROWS) as temporary, temporary.open("wb") as file:
            np.save(file, rows)
        for name, counted in _files(ranking.exemplars.counts).items():
            with replacing(folder / f"{name}.npz") as temporary:
                counted.save(temporary)
        values: dict[str, Any] = {
            "index": str(ranking.index.folder.absolute()) if ranking.index.folder else None,
            "embeddings": str(embeddings.folder.absolute()),
            "n": len(rows),
            "size": size,
            "kept": ranking.kept,
            "config": config.result_settings("decision"),
            "scorer": scorer.as_dict(),
            "every_pair": ranking.every_pair,
        }
        values["digest"] = _digest(values, folder, ranking)
        for stale in folder.glob("slice-*.parquet"):
            if values["digest"][:16] not in stale.name:
                stale.unlink()
        with replacing(folder / _PLAN) as temporary:
            temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        return cls(
            folder, values["digest"], len(rows), size, ranking.kept, ranking.exemplars, embeddings, rows, scorer,
            ranking.device, ranking.every_pair,
        )  # fmt: skip

    @classmethod
    def open(cls, folder: Path, digest: str) -> SearchPlan:
        """Open a plan where none of its parts is in memory.

        Raises:
            ArtefactError: it is not there, not this one, or the index or the embeddings are not there.
        """
        try:
            values = json.loads((folder / _PLAN).read_text(encoding="utf-8"))
            if values["digest"] != digest or not values["index"]:
                raise ValueError("another plan")
            config = LinkConfig.model_validate(values["config"])
            words, *fields = (Frequencies.load(folder / f"{name}.npz") for name in (_WORDS, *_text_fields(config)))
            counts = TextCounts(words, dict(zip(_text_fields(config), fields, strict=True)))
            exemplars = Exemplars(Index.open(Path(values["index"])), config, counts)
            embedded = Path(values["embeddings"])
            image, text = (read_array(embedded / f"{name}.npy") for name in ("image", "text"))
            return cls(
                folder, digest, values["n"], values["size"], values["kept"], exemplars,
                Embeddings(embedded, image, text, None, {}), read_array(folder / _ROWS),
                Scorer.of_values(values["scorer"]), choose_device(config.device), values["every_pair"],
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtefactError(f"{folder}: no plan of these links ({error}); run `linkage link` again") from None

    @property
    def numbers(self) -> range:
        """Of the slices; there is always one."""
        return range(max(1, -(-self.n // self.size)))

    def missing(self, numbers: Iterable[int]) -> list[SliceTask]:
        """Those of some slices that are yet to be searched."""
        return [SliceTask(self.folder, self.digest, number) for number in numbers if not self.is_done(number)]

    def is_done(self, number: int) -> bool:
        """Whether a slice was searched."""
        return self._path(number).exists()

    def search(self, place: Pool | None = None, numbers: Sequence[int] | None = None) -> None:
        """Search what is missing, in this process or at a place; of some slices only, where they are named.

        Raises:
            ArtefactError: a slice was lost there.
        """
        numbers = self.numbers if numbers is None else numbers
        tasks, asked = self.missing(numbers), sum(len(self.queries(number)) for number in numbers)
        with progress("link", asked) as advance:
            advance(asked - sum(len(self.queries(task.number)) for task in tasks))
            for task, result in (place or _LocalPlace(self)).run(find, tasks):
                if isinstance(result, LostItem):
                    raise ArtefactError(f"{self.folder}: slice {task.number} was lost: {result.reason}; link again")
                advance(len(self.queries(task.number)))

    def queries(self, number: int) -> range:
        """The queries of a slice, by their numbers: their places in the order of record_id."""
        return range(number * self.size, min((number + 1) * self.size, self.n))

    def find(self, number: int) -> None:
        """Search a slice and write what is found."""
        frame, rows = self.frame(number), self.rows[slice_of(self.queries(number))]
        asked = ComparedRecords(
            self.embeddings, rows, frame, Wording.of(frame, self.readings(number), self.exemplars.index.folding)
        )
        found, nearest = [], []
        found_by = candidates(asked, self.exemplars, self.scorer, device=self.device, every_pair=self.every_pair)
        for part in found_by:
            pairs, logit = best_of_entities(part.pairs, self.scorer, self.exemplars.entities)
            table = ranked(pairs, logit, shares(logit, pairs.query))
            found.append(table[table["rank"] <= self.kept])
            nearest.append(part.nearest)
        for tables, path in (
            (nearest, self._path(number, "near")),
            (found, self._path(number)),
        ):  # the last: it is done
            table = pd.concat(tables, ignore_index=True).sort_values("query", kind="stable", ignore_index=True)
            table["query"] += self.queries(number).start
            write_table(table, path)

    def frame(self, number: int) -> pd.DataFrame:
        """Records of the queries of a slice by number: what is compared, blocked by and told in the links table."""
        with pq.ParquetFile(self.folder / _QUERIES) as file:
            there = number < file.num_row_groups
            table = file.read_row_group(number) if there else file.schema_arrow.empty_table()
        queries = self.queries(number)
        return pd.DataFrame(table.to_pandas()).set_axis(pd.RangeIndex(queries.start, queries.stop))

    def readings(
        self, number: int, columns: tuple[str, ...] = ("reading", "reading_confidence", "lattice")
    ) -> pd.DataFrame:
        """What the model read of the queries of a slice."""
        return _Readings(self.folder / _READINGS).of(self.rows[slice_of(self.queries(number))], columns)

    def found(self, number: int, columns: tuple[str, ...] | None = None) -> pd.DataFrame:
        """What was found for a slice (see `ranked`), or some columns of it."""
        return read_table(self._path(number), columns=columns)

    def nearest(self, number: int) -> pd.DataFrame:
        """The nearest exemplar of each query of a slice by space."""
        return read_table(self._path(number, "near"))

    def compact(self, asked: np.ndarray | None = None) -> pd.DataFrame:
        """COMPACT of what was found for all queries, or those of a mask (n,)."""
        parts = []
        for number in self.numbers:
            queries = self.queries(number)
            if asked is None or asked[slice_of(queries)].any():
                part = self.found(number, COMPACT)
                parts.append(part if asked is None else part[asked[part["query"].to_numpy()]])
        table: pd.DataFrame = pd.concat(parts or [self.found(0, COMPACT)[:0]], ignore_index=True)
        return table

    def _path(self, number: int, what: str = "pairs") -> Path:
        return self.folder / f"slice-{number:06}-{self.digest[:16]}.{what}.parquet"


_PLAN, _QUERIES, _ROWS, _READINGS, _WORDS = "plan.json", "queries.parquet", "rows.npy", "readings.arrow", "words"


class _LocalPlace:
    """The place that this process is, where all that a plan needs is in memory already."""

    def __init__(self, plan: SearchPlan) -> None:
        self._plan = plan

    def run(self, work: Callable[[SliceTask], None], items: Iterable[SliceTask]) -> Iterable[tuple[SliceTask, object]]:
        """As every pool's `run`."""
        for item in items:
            self._plan.find(item.number)
            yield item, None


def slice_of(numbers: range) -> slice:
    """The slice of an array that a range stands for."""
    return slice(numbers.start, numbers.stop)


def _files(counts: TextCounts) -> dict[str, Frequencies]:
    """What is counted by the name of the file that it is kept in."""
    return {_WORDS: counts.words} | counts.fields


def _text_fields(config: LinkConfig) -> list[str]:
    """Names of the comparisons of texts."""
    return [name + SUFFIX for name, kind in config.fields.items() if kind == "text"]


def _write_readings(embeddings: Embeddings, path: Path) -> None:
    """The readings so that any rows of them can be had without a look at the others."""
    schema = pa.schema([("reading", pa.string()), ("reading_confidence", pa.float64()), ("lattice", pa.binary())])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for part in embeddings.readings_at_a_time(_Readings.ROWS):
            table = pa.Table.from_pandas(part[schema.names], schema=schema, preserve_index=False)
            table = table.combine_chunks()  # texts of a table that was read in row groups come in as many pieces
            for batch in table.to_batches() or [pa.RecordBatch.from_pylist([], schema=schema)]:
                writer.write_batch(batch)


class _Readings:
    """Readings on disk, mapped into memory."""

    ROWS = 8192  # of a batch

    def __init__(self, path: Path) -> None:
        self._file = pa.ipc.open_file(pa.memory_map(str(path)))

    def of(self, rows: np.ndarray, columns: tuple[str, ...]) -> pd.DataFrame:
        """Some columns of some rows (m,), in that order."""
        order = np.argsort(rows, kind="stable")
        ordered = np.asarray(rows)[order]
        parts = [self._file.get_batch(0).slice(0, 0).select(list(columns))]
        for batch in np.unique(ordered // self.ROWS).tolist():
            first, last = np.searchsorted(ordered, [batch * self.ROWS, (batch + 1) * self.ROWS])
            some = self._file.get_batch(batch).select(list(columns))
            parts.append(some.take(pa.array(ordered[first:last] - batch * self.ROWS)))
        table: pd.DataFrame = pa.Table.from_batches(parts).to_pandas()
        return table.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def _digest(values: dict[str, Any], folder: Path, ranking: Ranking) -> str:
    """Of all that what is found hangs on, by its content: it may lie elsewhere the next time."""
    told = {name: value for name, value in values.items() if name not in ("index", "embeddings")}
    files = [folder / name for name in (_QUERIES, _ROWS, _READINGS)]
    arrays = [ranking.embeddings.image, ranking.embeddings.text]
    index, more = ranking.index, b""
    if index.folder:
        files += sorted(path for path in index.folder.iterdir() if path.is_file())
    else:
        arrays += [index.image, index.text]
        more = pickle.dumps((index.manifest, index.exemplars))
    vectors = hashlib.sha256(more)
    for array in arrays:
        for start in range(0, len(array), SLICE):
            vectors.update(np.ascontiguousarray(array[start : start + SLICE]).data)
    return result_key(told, ranking.embeddings.manifest, list(map(digest_file, files)), vectors.hexdigest())
