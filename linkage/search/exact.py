"""Exact search, and where it runs."""

from __future__ import annotations

import logging
from typing import Any, Literal

import numpy as np

from linkage.config import Device
from linkage.errors import DependencyError

log = logging.getLogger(__name__)

Modality = Literal["pooled", "image", "text"]  # the spaces that exemplars are searched in

TIE = 1e-6  # cosines closer than this are one: float32 sums differ in the last bits with the order of rows
BLOCK = 16384  # rows of stored vectors made float32 at a time: 17 MB of 256 dimensions
_TIED_AT_A_TIME = 32  # queries: their cosines with 100,000 exemplars take 13 MB


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
    for start in range(0, len(vectors), BLOCK):
        index.add(np.ascontiguousarray(vectors[start : start + BLOCK], dtype=np.float32))
    return index


def _to_gpu(index: Any) -> Any:
    import faiss

    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)


def as_float32(vectors: np.ndarray) -> np.ndarray:
    """Rows of float16 as float32, (n, D); FAISS is some ten times as fast at it as numpy, and takes all cores."""
    import faiss

    if vectors.dtype != np.float16:
        return np.ascontiguousarray(vectors, dtype=np.float32)
    if not len(vectors):
        return np.empty(vectors.shape, dtype=np.float32)
    halves = faiss.ScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16)
    return np.asarray(halves.decode(np.ascontiguousarray(vectors).view(np.uint8)))


def filled_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows that hold a vector, int64, ascending; a row of zeros holds none."""
    parts = (
        start + np.flatnonzero(vectors[start : start + BLOCK].any(axis=1)) for start in range(0, len(vectors), BLOCK)
    )
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def by_cosine(cosines: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Order within each query (q, m): best cosine first, equal ones (within TIE) by row number."""
    return np.lexsort((rows, -np.round(cosines / TIE)), axis=1)


class ExactSearch:
    """Exact nearest rows by inner product over unit vectors (n, D); rows of zeros are never found.

    Equal cosines (within 1e-6) are ordered by row number, so the answer does not depend on FAISS's own order.

    Args:
        vectors: float16 or float32.
        device: where FAISS searches.
        resident: keep all vectors as float32 in memory; else they are read and made float32 block by block for every
            call, which is as fast for a thousand queries at a time and takes some 50 MB. On a GPU they are resident.
    """

    def __init__(self, vectors: np.ndarray, device: Literal["cpu", "cuda"] = "cpu", *, resident: bool = True) -> None:
        self._rows = filled_rows(vectors)
        self._vectors = vectors if len(self._rows) == len(vectors) else None
        self._all = vectors
        self._index: Any = None
        if resident or device == "cuda":
            self._index = _flat(self._block(0, len(self._rows)))
            self._index = _to_gpu(self._index) if device == "cuda" else self._index

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
        near, rows = self._nearest(vectors, min(k + 1, n))
        if n > k:  # a tie across the border: decide it by row number, over all rows
            tied = np.flatnonzero(near[:, k - 1] - near[:, k] <= TIE)
            for some in np.split(tied, range(_TIED_AT_A_TIME, len(tied), _TIED_AT_A_TIME)):
                near[some], rows[some] = self._ordered(vectors[some], near[some, -1], k + 1)
        near, rows = near[:, :k], rows[:, :k]
        order = by_cosine(near, rows)
        width = near.shape[1]
        cosines[asked, :width] = np.take_along_axis(near, order, axis=1)
        found[asked, :width] = self._rows[np.take_along_axis(rows, order, axis=1)]
        return cosines, found

    def _block(self, start: int, end: int) -> np.ndarray:
        """Vectors of some filled rows as they are stored."""
        return self._all[self._rows[start:end]] if self._vectors is None else self._vectors[start:end]

    def _nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        import faiss

        if self._index is not None:
            near, rows = self._index.search(queries, k)
            return np.asarray(near), np.asarray(rows)
        heap = faiss.ResultHeap(len(queries), k, keep_max=True)
        for start in range(0, len(self._rows), BLOCK):
            block = as_float32(self._block(start, start + BLOCK))
            near, rows = faiss.knn(queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
            heap.add_result(near, rows + start)
        heap.finalize()
        return np.asarray(heap.D), np.asarray(heap.I)

    def _ordered(self, queries: np.ndarray, least: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best of all rows, equal ones by row number; `least`: about the k-th best cosine of each query."""
        likely: list[list[np.ndarray]] = [[] for _ in queries]
        cosines: list[list[np.ndarray]] = [[] for _ in queries]
        for start in range(0, len(self._rows), BLOCK):
            block = queries @ as_float32(self._block(start, start + BLOCK)).T
            for query, place in enumerate(block >= least[:, None] - 8 * TIE):
                some = np.flatnonzero(place)
                likely[query].append(start + some)
                cosines[query].append(block[query, some])
        near, rows = np.empty((len(queries), k), dtype=np.float32), np.empty((len(queries), k), dtype=np.int64)
        for query in range(len(queries)):
            known, alike = np.concatenate(likely[query]), np.concatenate(cosines[query])
            best = np.argsort(-np.round(alike / TIE), kind="stable")[:k]
            rows[query], near[query] = known[best], alike[best]
        return near, rows
