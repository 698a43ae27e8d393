"""Records to embeddings: a folder with both modalities' vectors apart, so that every similarity can be explained."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from linkage.arrays import read_array, writing_array
from linkage.config import EncodeConfig
from linkage.encode.biencoder import BiEncoder, model_folder
from linkage.encode.lattice import check_readings
from linkage.encode.pooling import pool
from linkage.encode.shards import READING_SCHEMA, Shard, embed_shard, is_whole, read_part, shards
from linkage.errors import ArtefactError, ConfigError, InputError
from linkage.locks import among
from linkage.machine import cores
from linkage.ocr.reader import one_thread
from linkage.progress import progress
from linkage.records import Records
from linkage.tables import read_table, replacing_folder, table_parts, write_table
from linkage.text import Folding
from linkage.workers.engine import Pool, elsewhere
from linkage.workers.pool import LostItem
from linkage.workers.share import Share

log = logging.getLogger(__name__)

FORMAT = 2
_READ = "records.parquet"
_ROWS_AT_A_TIME = 8192  # pooled at a time: what is needed on the way there takes some 60 MB
_KEYS = ("model", "model_sha256", "dim", "n", "image_weight", "reading", "folding", "n_without_image", "n_without_text")


class Embeddings:
    """An embeddings folder.

    Attributes:
        folder: where it lies.
        image, text: float16 (n, D), memory-mapped: unit rows in the order of the records, zero where missing.
        record_ids: of the rows, (n,) objects.
        readings: one row each: record_id, reading (the model's own, "" where it made none), reading_confidence (0..1
            or NaN) and lattice (bytes of `Lattice.pack`, or None); some 2 kB a row, read when it is first asked for.
        manifest: format, model, model_sha256, dim, n, image_weight, reading, folding, records_sha256,
            n_without_image, n_without_text.
    """

    def __init__(
        self,
        folder: Path,
        image: np.ndarray,
        text: np.ndarray,
        readings: pd.DataFrame | None,
        manifest: dict[str, Any],
    ) -> None:
        """Take the parts; readings None: they are in the folder."""
        self.folder = folder
        self.image = image
        self.text = text
        self._given = readings
        self.manifest = manifest

    @cached_property
    def record_ids(self) -> np.ndarray:
        """See above."""
        ids = self._given if self._given is not None else read_table(self.folder / _READ, columns=["record_id"])
        return np.asarray(ids["record_id"].to_numpy(dtype=object))

    @cached_property
    def readings(self) -> pd.DataFrame:
        """See above."""
        return self._given if self._given is not None else read_table(self.folder / _READ)

    def readings_at_a_time(self, rows: int) -> Iterator[pd.DataFrame]:
        """The readings, so many rows at a time, without all of them in memory."""
        if self._given is not None or "readings" in self.__dict__:
            for start in range(0, max(len(self.readings), 1), rows):
                yield self.readings.iloc[start : start + rows]
            return
        yield from table_parts(self.folder / _READ, rows)

    def readings_of(self, rows: np.ndarray) -> pd.DataFrame:
        """The readings of some rows (m,), in that order, without all of them in memory."""
        order = np.argsort(rows, kind="stable")
        parts, start = [], 0
        for part in self.readings_at_a_time(_ROWS_AT_A_TIME):
            first, last = np.searchsorted(rows[order], [start, start + len(part)])
            parts.append(part.iloc[rows[order[first:last]] - start])
            start += len(part)
        return pd.concat(parts, ignore_index=True).iloc[np.argsort(order, kind="stable")].reset_index(drop=True)

    def __len__(self) -> int:
        return len(self.image)

    @property
    def folding(self) -> Folding:
        """What made two texts equal when they were embedded, and does so where they are compared."""
        return Folding(**self.manifest["folding"])

    @classmethod
    def open(cls, folder: Path) -> Embeddings:
        """Open an embeddings folder and check that its parts belong together.

        Raises:
            ArtefactError: missing, incomplete or damaged; the message says what to run.
        """
        remedy = "make it again with `linkage embed`"
        path = folder / "manifest.json"
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            n, dim = int(manifest["n"]), int(manifest["dim"])
            missing = [key for key in _KEYS if key not in manifest]
            Folding(**manifest.get("folding", {}))
            if missing or manifest.get("format") != FORMAT:
                raise ValueError(f"format {manifest.get('format')}, without {', '.join(missing) or 'nothing'}")
            read = 0
            for part in table_parts(folder / _READ, _ROWS_AT_A_TIME):
                check_readings(part)
                read += len(part)
        except FileNotFoundError:
            raise ArtefactError(f"{folder}: no embeddings here; {remedy}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, InputError) as error:
            raise ArtefactError(f"{folder}: damaged ({' '.join(str(error).split())[:160]}); {remedy}") from None
        image, text = read_array(folder / "image.npy"), read_array(folder / "text.npy")
        if image.shape != (n, dim) or text.shape != (n, dim) or read != n:
            raise ArtefactError(f"{folder}: its files do not belong together; {remedy}")
        return cls(folder, image, text, None, manifest)

    def pooled(self, weight: float | None = None, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Pooled vectors of some rows, float32 (m, D), see `pooling.pool`; weight None: the one in the manifest."""
        weight = float(self.manifest["image_weight"]) if weight is None else weight
        chosen = np.arange(len(self))[rows]
        vectors = np.empty((len(chosen), self.image.shape[1]), dtype=np.float32)
        for start in range(0, len(chosen), _ROWS_AT_A_TIME):
            some = chosen[start : start + _ROWS_AT_A_TIME]
            vectors[start : start + len(some)] = pool(self.image[some], self.text[some], weight)
        return vectors


def embed_records(
    records: Records, encoder: BiEncoder, out: Path, config: EncodeConfig, *, engine: str = "local"
) -> Embeddings:
    """Embed crops and texts of records; the folder appears whole or not at all, and replaces an earlier one.

    A crop that cannot be read counts as missing and stands in `failures.csv` of the folder. Finished shards lie in
    `<out>.partial` until all are: a call that was cut off goes on with them. The vectors do not depend on the number
    of threads.

    Args:
        records: their crops are read from their file, a shard at a time.
        encoder: the model, with what makes two texts equal. An engine that is not local needs one that can be loaded
            by its name, unchanged.
        out: folder to write.
        config: batch size, threads and image weight.
        engine: who embeds; see `workers.engine.open_workers`. The vectors are the same on machines of one kind.

    Raises:
        ConfigError: the engine is not local and the model cannot be loaded by its name.
        InputError: a process died twice of the same records.
        StorageError: the disk is full; the parts that were written are kept.
    """
    partial = _partial(out)
    made = list(shards(records, encoder, config, partial))
    _embed(made, encoder, partial / ".scratch", config, engine)
    with replacing_folder(out) as temporary:
        manifest = {
            "format": FORMAT,
            "model": encoder.name,
            "model_sha256": encoder.sha256,
            "dim": encoder.dim,
            "n": len(records),
            "image_weight": config.image_weight,
            "reading": config.reading,
            "folding": encoder.folding._asdict(),
            "records_sha256": _digest(records),
        }
        manifest |= _join(made, records, encoder.dim, temporary)
        (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(partial, ignore_errors=True)
    return Embeddings.open(out)


def embed_share(
    records: Records, encoder: BiEncoder, out: Path, config: EncodeConfig, share: Share, *, engine: str = "local"
) -> int:
    """Embed one share of the shards into parts, which `embed_records` with the same arguments finds and joins.

    Shares may be at work at once, on any machines that see the same folders; `embed_records` itself only without them.

    Returns:
        How many records are in the share.

    Raises:
        InputError, StorageError: as `embed_records`.
        UsageError: this share, or the whole, is being worked on.
    """
    with among(out, str(share)):
        partial = _partial(out)
        own = [one for place, one in enumerate(shards(records, encoder, config, partial)) if share.has(place)]
        _embed(own, encoder, partial / f".scratch-{share.number}-of-{share.of}", config, engine)
    return sum(map(len, own))


def _partial(out: Path) -> Path:
    place = out.absolute()
    return place.with_name(place.name + ".partial")


def _embed(made: Sequence[Shard], encoder: BiEncoder, scratch: Path, config: EncodeConfig, engine: str) -> None:
    """Embed the shards that are missing, by threads of this process or by the workers of an engine."""
    if engine != "local" and not _named(encoder):
        raise ConfigError(f"encode.model: {encoder.name} has weights that no other machine has; name a model folder")
    with progress("embed", sum(map(len, made))) as advance:
        missing = [shard for shard in made if not is_whole(shard.part)]
        advance(sum(map(len, made)) - sum(map(len, missing)))
        with elsewhere(engine, scratch, ("linkage.encode.shards",)) as workers:
            for shard in _embedded_by(workers, missing) if workers else _embedded_here(encoder, missing, config):
                advance(len(shard))
    shutil.rmtree(scratch, ignore_errors=True)


def _embedded_by(workers: Pool, missing: Sequence[Shard]) -> Iterator[Shard]:
    """Yield shards as they are finished."""
    for shard, result in workers.run(embed_shard, missing):
        if isinstance(result, LostItem):
            raise InputError(
                f"{shard.crops.path}: embedding records {shard.start + 1} to {shard.rows.stop} failed twice: "
                f"{result.reason}; --set encode.batch_size=8 takes the least memory; what is finished is kept"
            )
        yield shard


def _embedded_here(encoder: BiEncoder, missing: Sequence[Shard], config: EncodeConfig) -> Iterator[Shard]:
    """Yield shards as they are finished; the threads share the model."""

    def embed(shard: Shard) -> Shard:
        embed_shard(shard, encoder)
        return shard

    with one_thread(), ThreadPoolExecutor(threads(encoder, config)) as pool:  # torch adds none of its own to them
        done = [pool.submit(embed, shard) for shard in missing]
        try:
            for one in as_completed(done):
                yield one.result()
        finally:
            pool.shutdown(cancel_futures=True)  # the rest is of no use once one has raised


def threads(encoder: BiEncoder, config: EncodeConfig) -> int:
    """How many threads of this process embed."""
    return config.threads or cores() if encoder.device.type == "cpu" else 1


def _named(encoder: BiEncoder) -> bool:
    """Whether another process can load the model by its name; else its weights are random."""
    return model_folder(encoder.name) is not None or ":" in encoder.name


def _join(made: Sequence[Shard], records: Records, dim: int, folder: Path) -> dict[str, Any]:
    """Put parts end to end, one at a time; returns what the manifest says of missing modalities.

    Raises:
        ArtefactError: a part is damaged.
    """
    failed = list(records.failures)
    without = {"n_without_image": 0, "n_without_text": 0}
    shape = (len(records), dim)
    with (
        writing_array(folder / "image.npy", shape) as image,
        writing_array(folder / "text.npy", shape) as text,
        pq.ParquetWriter(folder / _READ, READING_SCHEMA) as readings,
    ):
        for shard in made:
            part = read_part(shard.part)
            if part is None:
                raise ArtefactError(f"{shard.part}: damaged; remove it and embed again")
            for name, write, vectors in (("image", image, part.image), ("text", text, part.text)):
                write(vectors)
                without[f"n_without_{name}"] += int((~vectors.any(axis=1)).sum())
            readings.write_table(part.readings)
            failed += part.failures
    write_table(_failures(records.frame, failed), folder / "failures.csv")
    return without


def _digest(records: Records) -> str:
    """Equal where ids and texts are, row by row."""
    total = hashlib.sha256()
    for number, row in enumerate(zip(records.frame["record_id"], records.frame["text"], strict=True)):
        total.update(("\0" * (number > 0) + "\0".join(row)).encode())
    return total.hexdigest()


def _failures(frame: pd.DataFrame, failed: list[tuple[str, str]]) -> pd.DataFrame:
    if failed:
        log.warning("embed: %d crops could not be read; these records go by their text alone", len(failed))
    table = pd.DataFrame(failed, columns=["record_id", "reason"])
    known = frame.reindex(columns=["record_id", "source", "page"])
    return table.merge(known, on="record_id", how="left")[["record_id", "source", "page", "reason"]]
