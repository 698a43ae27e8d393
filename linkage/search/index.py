"""The exemplar index: a folder with pooled, image and text vectors, what searches them, and names."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from linkage.arrays import digest_file, read_array, read_vectors, writing_array
from linkage.config import IndexConfig
from linkage.encode.lattice import check_readings
from linkage.errors import ArtefactError, InputError
from linkage.places import INDEX, unwanted
from linkage.records import LABELS, Records
from linkage.search.approximate import KINDS, RerankedSearch, SearchEffort, VectorSearch
from linkage.search.choice import EXACT_UP_TO, HELD_OUT, choose
from linkage.search.exact import ExactSearch, Modality
from linkage.tables import read_table, replacing_folder
from linkage.text import Folding

if TYPE_CHECKING:
    from linkage.encode.embeddings import Embeddings

log = logging.getLogger(__name__)

FORMAT = 3
SPACES: tuple[Modality, ...] = ("pooled", "image", "text")
_NEEDED = {"entity_id", "text"}  # beside the columns of readings
_REMEDY = "make it again with `linkage index`"
_ROWS_AT_A_TIME = 8192  # copied at a time


class Index:
    """Exemplars to search, ordered by record_id.

    Attributes:
        exemplars: one row each: record_id, entity_id (the record_id where none was given), text, the model's own
            reading and its lattice, provenance, the user's own columns.
        pooled, image, text: float16 (n, D), memory-mapped: unit rows, zero where the exemplar has none.
        manifest: model, model_sha256, dim, image_weight, n, entities, metric; kind, why, memory_bytes, recall@1,
            recall@10, spaces (see `choice.SearchChoice`).
        folder: where it lies; None: it is part of another one, and searched exactly.
    """

    def __init__(
        self,
        exemplars: pd.DataFrame,
        vectors: dict[Modality, np.ndarray],
        manifest: dict[str, Any],
        folder: Path | None = None,
    ) -> None:
        self.exemplars = exemplars
        self.pooled, self.image, self.text = (vectors[by] for by in SPACES)
        self.manifest = manifest
        self.folder = folder
        self._searches: dict[tuple[Modality, str], VectorSearch] = {}

    def __len__(self) -> int:
        return len(self.exemplars)

    def take(self, rows: np.ndarray) -> Index:
        """The index of some of the exemplars, in that order; it is searched exactly."""
        exemplars = self.exemplars.iloc[rows].reset_index(drop=True)
        kind = "exact" if len(rows) <= EXACT_UP_TO else "float16"
        manifest = self.manifest | {"n": len(rows), "kind": kind, "spaces": {}}
        return Index(exemplars, {by: getattr(self, by)[rows] for by in SPACES}, manifest)

    @property
    def image_weight(self) -> float:
        """The weight w that the exemplars were pooled with; queries must be pooled alike."""
        return float(self.manifest["image_weight"])

    @property
    def folding(self) -> Folding:
        """What makes two texts equal, here and in the queries."""
        return Folding(**self.manifest["folding"])

    def search(
        self, vectors: np.ndarray, k: int, *, by: Modality = "pooled", device: Literal["cpu", "cuda"] = "cpu"
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest exemplars of each vector (q, D) in one of three spaces; see `ExactSearch.search`."""
        key = (by, device)
        if key not in self._searches:
            self._searches[key] = self._search(by, device)
        return self._searches[key].search(vectors, k)

    def _search(self, by: Modality, device: Literal["cpu", "cuda"]) -> VectorSearch:
        import faiss

        kind, vectors = self.manifest["kind"], getattr(self, by)
        space = self.manifest["spaces"].get(by)
        if space is None or self.folder is None:
            return ExactSearch(vectors, device if kind == "exact" else "cpu", resident=kind != "float16")
        if device == "cuda":
            log.info("search: an index of kind %s is searched on the CPU; `linkage index --kind exact` on a GPU", kind)
        path = self.folder / f"{by}.faiss"
        try:
            structure = faiss.read_index(str(path))
        except RuntimeError as error:
            raise ArtefactError(f"{path}: damaged ({_line(error)}); {_REMEDY}") from None
        return RerankedSearch(structure, vectors, SearchEffort(space["candidates"], space["breadth"]))

    @classmethod
    def open(cls, folder: Path) -> Index:
        """Open an index folder and check that its parts belong together.

        Raises:
            ArtefactError: missing, incomplete or damaged; the message says what to run.
        """
        if other := unwanted(folder, INDEX):
            raise ArtefactError(other)
        if not (folder / "manifest.json").is_file():
            raise ArtefactError(f"{folder}: no index here; make one with `linkage index`")
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            n, dim = int(manifest["n"]), int(manifest["dim"])
            if not 0 <= float(manifest["image_weight"]) <= 1:
                raise ValueError(f"image weight {manifest['image_weight']}")
            str(manifest["model"]), str(manifest["model_sha256"]), Folding(**manifest["folding"])
            if manifest.get("format") != FORMAT:
                raise ValueError(f"format {manifest.get('format')}, not {FORMAT}")
            _check_spaces(folder, manifest)
            exemplars = read_table(folder / "exemplars.parquet")
            check_readings(exemplars)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, InputError) as error:
            raise ArtefactError(f"{folder}: damaged ({_line(error)}); {_REMEDY}") from None
        vectors = {by: read_vectors(folder / f"{by}.npy") for by in SPACES}
        shapes = [*(part.shape for part in vectors.values()), (len(exemplars), dim)]
        if any(shape != (n, dim) for shape in shapes) or not set(exemplars) >= _NEEDED:
            raise ArtefactError(f"{folder}: its files do not belong together; {_REMEDY}")
        if any(part.dtype != np.float16 for part in vectors.values()):
            raise ArtefactError(f"{folder}: its vectors are not float16; {_REMEDY}")
        return cls(exemplars, vectors, manifest, folder)


def _check_spaces(folder: Path, manifest: dict[str, Any]) -> None:
    """FAISS trusts what it reads, so it is given only what it wrote.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, OSError: something is wrong.
    """
    kind, spaces = manifest["kind"], manifest["spaces"]
    if kind not in ("exact", "float16", *KINDS) or not set(spaces) <= (set(SPACES) if kind in KINDS else set()):
        raise ValueError(f"kind {kind!r} with files for {', '.join(spaces) or 'nothing'}")
    for by, space in spaces.items():
        if not 0 < int(space["candidates"]) < 2**31 or not 0 <= int(space["breadth"]) < 2**31:
            raise ValueError(f"{by}: candidates {space['candidates']}, breadth {space['breadth']}")
        if digest_file(folder / f"{by}.faiss") != space["sha256"]:
            raise ValueError(f"{by}.faiss is not what was written")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]


def build_index(
    records: Records, embeddings: Embeddings, out: Path, config: IndexConfig | None = None, seed: int = 0
) -> Index:
    """Write the index folder of these exemplars; it appears whole or not at all, and replaces an earlier one.

    Args:
        records: the exemplars; `entity_id` names their entity, an empty one makes the record its own entity.
        embeddings: holds every one of the records (it may hold more).
        out: folder to write.
        config: how they are searched; None: as by default.
        seed: of what is fitted to a sample of them.

    Raises:
        InputError: there are no records.
        ArtefactError: the embeddings lack a record.
        ConfigError: no way of searching them fits the memory.
    """
    if not len(records):
        raise InputError(f"{records.path}: no exemplars to index")
    frame = records.frame.sort_values("record_id", kind="stable")
    rows = rows_of(frame["record_id"], embeddings)
    exemplars = frame[["record_id", "entity_id", "text"]].copy()
    exemplars["entity_id"] = exemplars["entity_id"].where(exemplars["entity_id"] != "", exemplars["record_id"])
    readings = embeddings.readings_of(rows)
    for name in ("reading", "reading_confidence", "lattice"):
        exemplars[name] = readings[name].to_numpy(dtype=object)
    own = [name for name in frame.columns if name not in {*exemplars.columns, *LABELS, "image", "text_raw"}]
    exemplars[own] = frame[own]  # provenance, and what the user may want to compare or block by
    manifest = {
        "format": FORMAT,
        "model": embeddings.manifest["model"],
        "model_sha256": embeddings.manifest["model_sha256"],
        "dim": int(embeddings.image.shape[1]),
        "image_weight": float(embeddings.manifest["image_weight"]),
        "folding": embeddings.manifest["folding"],
        "metric": "cosine (inner product of unit vectors)",
        "n": len(exemplars),
        "entities": int(exemplars["entity_id"].nunique()),
    }
    with replacing_folder(out) as temporary:
        vectors = _write_vectors(embeddings, rows, temporary)
        choice = choose(vectors, temporary, config or IndexConfig(), seed)
        log.info("index: %s (%s), %.0f MB of memory", choice.kind, choice.why, choice.memory_bytes / 1e6)
        manifest["without_vector"] = len(rows) - choice.filled["pooled"]
        manifest |= {"kind": choice.kind, "why": choice.why, "memory_bytes": choice.memory_bytes}
        manifest |= {f"recall@{at}": choice.recall(at) for at in (1, 10)} | {"recall_of": HELD_OUT}
        manifest["spaces"] = choice.spaces
        exemplars.reset_index(drop=True).to_parquet(temporary / "exemplars.parquet", index=False)
        (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return Index.open(out)


def _write_vectors(embeddings: Embeddings, rows: np.ndarray, folder: Path) -> dict[Modality, np.ndarray]:
    """Write the vectors of these rows as float16, a block at a time; returns them memory-mapped."""
    take: dict[Modality, Callable[[np.ndarray], np.ndarray]] = {
        "pooled": lambda some: embeddings.pooled(rows=some),
        "image": lambda some: embeddings.image[some],
        "text": lambda some: embeddings.text[some],
    }
    for by, vectors in take.items():
        with writing_array(folder / f"{by}.npy", (len(rows), embeddings.image.shape[1])) as write:
            for start in range(0, len(rows), _ROWS_AT_A_TIME):
                write(vectors(rows[start : start + _ROWS_AT_A_TIME]))
    return {by: read_array(folder / f"{by}.npy") for by in SPACES}


def rows_of(record_ids: pd.Series, embeddings: Embeddings) -> np.ndarray:
    """Row of each record in the embeddings, int64 (n,).

    Raises:
        ArtefactError: a record was never embedded.
    """
    rows = pd.Index(embeddings.record_ids).get_indexer(pd.Index(record_ids))
    if (rows < 0).any():
        missing = record_ids.iloc[int((rows < 0).argmax())]
        raise ArtefactError(
            f"embeddings: {int((rows < 0).sum())} records have none, the first is {missing!r}; "
            "run `linkage embed` again"
        )
    return np.asarray(rows, dtype=np.int64)
