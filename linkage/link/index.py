"""The exemplar index: a folder with a FAISS index of pooled vectors, both modalities' vectors, and names."""

from __future__ import annotations

import json
import logging
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from linkage.config import Device
from linkage.encode.lattice import check_readings
from linkage.errors import ArtefactError, DependencyError, InputError
from linkage.link.wording import Wording
from linkage.records import LABELS, Records
from linkage.tables import read_array, read_table, replacing_folder

if TYPE_CHECKING:
    from linkage.encode.embed import Embeddings

log = logging.getLogger(__name__)

Modality = Literal["pooled", "image", "text"]
FORMAT = 2
_NEEDED = {"entity_id", "text"}  # beside the columns of readings
_TIED_AT_A_TIME = 32  # queries: their cosines with 100,000 exemplars take 13 MB
TIE = 1e-6  # cosines closer than this are one: float32 sums differ in the last bits with the order of rows


def choose_device(device: Device) -> Literal["cpu", "cuda"]:
    """Decide where FAISS searches: on a GPU when it sees one and a probe search there works, else on the CPU.

    Raises:
        DependencyError: `cuda` was asked for and cannot be used.
    """
    if device == "cpu":
        return "cpu"
    reason = gpu_problem()
    if reason is None:
        log.info("search: GPU")
        return "cuda"
    if device == "cuda":
        raise DependencyError(f"search on cuda: {reason}; use device auto or cpu")
    log.info("search: CPU (%s)", reason)
    return "cpu"


def gpu_problem() -> str | None:
    """Why the GPU cannot be used, or None; a wheel may see a GPU and yet hold no code for it."""
    import faiss

    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() < 1:
        return "FAISS sees no GPU"
    try:
        probe = np.eye(4, dtype=np.float32)
        _, rows = _to_gpu(_flat(probe)).search(probe, 1)
    except RuntimeError as error:
        return f"a probe search failed: {' '.join(str(error).split())[:120]}"
    return None if (rows[:, 0] == np.arange(4)).all() else "a probe search gave wrong neighbours"


def _flat(vectors: np.ndarray) -> Any:
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    return index


def _stored(index: Any) -> np.ndarray:
    """The vectors of a flat FAISS index, float32 (n, D), as they lie in it; the index must outlive them."""
    import faiss

    if not index.ntotal:
        return np.empty((0, index.d), dtype=np.float32)
    return np.asarray(faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d))


def _to_gpu(index: Any) -> Any:
    import faiss

    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)


class ExactSearch:
    """Exact nearest rows by inner product over unit vectors (n, D); rows of zeros are never found.

    Equal cosines (within 1e-6) are ordered by row number, so the answer does not depend on FAISS's own order.
    """

    def __init__(self, vectors: np.ndarray, device: Literal["cpu", "cuda"] = "cpu", flat: Any = None) -> None:
        self._rows = np.flatnonzero(vectors.any(axis=1))
        whole = len(self._rows) == len(vectors)
        self._flat = flat if flat is not None and whole else _flat(vectors if whole else vectors[self._rows])
        self._index = self._flat
        if device == "cuda":
            self._index = _to_gpu(self._index)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best rows of each query.

        Args:
            queries: unit rows (q, D); a row of zeros finds nothing.
            k: how many.

        Returns:
            cosines float32 (q, k) and row numbers int64 (q, k), best first; -1 where there are fewer than k.
        """
        cosines = np.full((len(queries), k), -1.0, dtype=np.float32)
        found = np.full((len(queries), k), -1, dtype=np.int64)
        asked = np.flatnonzero(queries.any(axis=1))
        n = len(self._rows)
        if not len(asked) or not n:
            return cosines, found
        vectors = np.ascontiguousarray(queries[asked], dtype=np.float32)
        near, rows = self._index.search(vectors, min(k + 1, n))
        if n > k:  # a tie across the border: decide it by row number, over all rows
            tied = np.flatnonzero(near[:, k - 1] - near[:, k] <= TIE)
            for some in np.split(tied, range(_TIED_AT_A_TIME, len(tied), _TIED_AT_A_TIME)):
                near[some], rows[some] = self._ordered(vectors[some], near[some, -1], k + 1)
        near, rows = near[:, :k], rows[:, :k]
        order = np.lexsort((rows, -np.round(near / TIE)), axis=1)
        width = near.shape[1]
        cosines[asked, :width] = np.take_along_axis(near, order, axis=1)
        found[asked, :width] = self._rows[np.take_along_axis(rows, order, axis=1)]
        return cosines, found

    def _ordered(self, queries: np.ndarray, least: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best of all rows, equal ones by row number; `least`: about the k-th best cosine of each query."""
        near, rows = np.empty((len(queries), k), dtype=np.float32), np.empty((len(queries), k), dtype=np.int64)
        for row, cosines in enumerate(queries @ _stored(self._flat).T):
            likely = np.flatnonzero(cosines >= least[row] - 8 * TIE)
            rows[row] = likely[np.argsort(-np.round(cosines[likely] / TIE), kind="stable")[:k]]
            near[row] = cosines[rows[row]]
        return near, rows


class Index:
    """Exemplars to search, ordered by record_id.

    Attributes:
        exemplars: one row each: record_id, entity_id (the record_id where none was given), text, the model's own
            reading and its lattice, provenance, the user's own columns.
        image, text: float16 (n, D), unit rows, zero where the exemplar has none.
        pooled: float32 (n, D).
        manifest: model, model_sha256, dim, image_weight, n, entities, metric.
        folder: where it was opened; None: it is in memory only.
    """

    folder: Path | None = None

    def __init__(
        self,
        exemplars: pd.DataFrame,
        image: np.ndarray,
        text: np.ndarray,
        flat: Any,
        manifest: dict[str, Any],
    ) -> None:
        self.exemplars = exemplars
        self.image = image
        self.text = text
        self.manifest = manifest
        self._flat = flat
        self._searches: dict[tuple[Modality, str], ExactSearch] = {}

    def __len__(self) -> int:
        return len(self.exemplars)

    @cached_property
    def pooled(self) -> np.ndarray:
        """Pooled vectors float32 (n, D), as they stand in the FAISS index."""
        return _stored(self._flat)

    @cached_property
    def wording(self) -> Wording:
        """What the exemplars say."""
        return Wording.of(self.exemplars, self.exemplars)

    def take(self, rows: np.ndarray) -> Index:
        """The index of some of the exemplars, in that order."""
        flat = _flat(self.pooled[rows])
        exemplars = self.exemplars.iloc[rows].reset_index(drop=True)
        return Index(exemplars, self.image[rows], self.text[rows], flat, self.manifest | {"n": len(rows)})

    @property
    def image_weight(self) -> float:
        """The weight w that the exemplars were pooled with; queries must be pooled alike."""
        return float(self.manifest["image_weight"])

    def search(
        self, vectors: np.ndarray, k: int, *, by: Modality = "pooled", device: Literal["cpu", "cuda"] = "cpu"
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest exemplars of each vector (q, D) in one of three spaces; see `ExactSearch.search`."""
        key = (by, device)
        if key not in self._searches:
            if by == "pooled":
                self._searches[key] = ExactSearch(self.pooled, device, self._flat)
            else:
                self._searches[key] = ExactSearch(np.asarray(getattr(self, by), dtype=np.float32), device)
        return self._searches[key].search(vectors, k)

    @classmethod
    def open(cls, folder: Path) -> Index:
        """Open an index folder and check that its parts belong together.

        Raises:
            ArtefactError: missing, incomplete or damaged; the message says what to run.
        """
        remedy = "make it again with `linkage index`"
        if not (folder / "manifest.json").is_file():
            raise ArtefactError(f"{folder}: no index here; make one with `linkage index`")
        import faiss

        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            n, dim = int(manifest["n"]), int(manifest["dim"])
            float(manifest["image_weight"])
            str(manifest["model"]), str(manifest["model_sha256"]), manifest["folding"]
            flat = faiss.read_index(str(folder / "index.faiss"))
            exemplars = read_table(folder / "exemplars.parquet")
            if manifest.get("format") != FORMAT:
                raise ValueError(f"format {manifest.get('format')}, not {FORMAT}")
            check_readings(exemplars)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, OverflowError, InputError) as error:
            raise ArtefactError(f"{folder}: damaged ({' '.join(str(error).split())[:160]}); {remedy}") from None
        image, text = read_array(folder / "image.npy"), read_array(folder / "text.npy")
        shapes = [(flat.ntotal, flat.d), image.shape, text.shape, (len(exemplars), dim)]
        if any(shape != (n, dim) for shape in shapes) or not set(exemplars) >= _NEEDED:
            raise ArtefactError(f"{folder}: its files do not belong together; {remedy}")
        index = cls(exemplars, image, text, flat, manifest)
        index.folder = folder
        return index


def build_index(records: Records, embeddings: Embeddings, out: Path) -> Index:
    """Write the index folder of these exemplars; it appears whole or not at all, and replaces an earlier one.

    Args:
        records: the exemplars; `entity_id` names their entity, an empty one makes the record its own entity.
        embeddings: holds every one of the records (it may hold more).
        out: folder to write.

    Raises:
        InputError: there are no records.
        ArtefactError: the embeddings lack a record.
    """
    import faiss

    if not len(records):
        raise InputError(f"{records.path}: no exemplars to index")
    frame = records.frame.sort_values("record_id", kind="stable")
    rows = rows_of(frame["record_id"], embeddings)
    pooled = embeddings.pooled(rows=rows)
    exemplars = frame[["record_id", "entity_id", "text"]].copy()
    exemplars["entity_id"] = exemplars["entity_id"].where(exemplars["entity_id"] != "", exemplars["record_id"])
    for name in ("reading", "reading_confidence", "lattice"):
        exemplars[name] = embeddings.readings[name].to_numpy(dtype=object)[rows]
    own = [name for name in frame.columns if name not in {*exemplars.columns, *LABELS, "image", "text_raw"}]
    exemplars[own] = frame[own]  # provenance, and what the user may want to compare or block by
    manifest = {
        "format": FORMAT,
        "model": embeddings.manifest["model"],
        "model_sha256": embeddings.manifest["model_sha256"],
        "dim": int(pooled.shape[1]),
        "image_weight": float(embeddings.manifest["image_weight"]),
        "folding": embeddings.manifest["folding"],
        "metric": "cosine (inner product of unit vectors)",
        "n": len(exemplars),
        "entities": int(exemplars["entity_id"].nunique()),
        "without_vector": int((~pooled.any(axis=1)).sum()),
    }
    with replacing_folder(out) as temporary:
        faiss.write_index(_flat(pooled), str(temporary / "index.faiss"))
        np.save(temporary / "image.npy", np.asarray(embeddings.image[rows], dtype=np.float16))
        np.save(temporary / "text.npy", np.asarray(embeddings.text[rows], dtype=np.float16))
        exemplars.reset_index(drop=True).to_parquet(temporary / "exemplars.parquet", index=False)
        (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return Index.open(out)


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
