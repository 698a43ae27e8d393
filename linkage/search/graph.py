"""The graph that clustering works on: the k nearest neighbours of every vector, and how many of the true ones it has.

Bits do not hang on the number of threads: every call into FAISS works on a fixed block of rows in one thread, and
cosines are computed again, pair by pair, from whatever search proposed the pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np

from linkage.progress import progress
from linkage.search.exact import ExactSearch

GraphKind = Literal["auto", "exact", "ivf", "hnsw"]

EXACT_UP_TO = 50_000
"""Vectors up to which `auto` searches all pairs, half a minute on two cores; ten times as many where a GPU does it.

On 20,000 and 50,000 made-up vectors `ivf` gave the same B-cubed F1 to four digits, three to four times as fast.
"""

SAMPLE = 500
"""Vectors whose true neighbours are looked up to measure the recall."""

_BLOCK = 4096
_PROJECTED = 64  # dimensions in which lists are found and scanned; cosines are of all dimensions
_PROBES = 32
_PER_LIST = 40  # vectors of the training sample per list
_ROUNDS = 5  # of k-means
_VIA = 4  # neighbours through which more are found: their own neighbours


class NeighbourSearch(NamedTuple):
    """How the neighbours of a graph were searched, and how many were found.

    Attributes:
        kind: exact, ivf or hnsw.
        vectors: how many there are, all distinct.
        neighbours: of each, k.
        recall: share of the true k nearest neighbours that an edge leads to (from either end), measured on SAMPLE
            vectors; 1 for exact.
        recall_near: the same of the eight nearest, which decide what an entity is.
    """

    kind: str
    vectors: int
    neighbours: int
    recall: float
    recall_near: float

    def counts(self) -> dict[str, float | str]:
        """For manifests and summaries."""
        return {
            "graph": self.kind,
            "graph_vectors": self.vectors,
            "graph_recall": round(self.recall, 4),
            "graph_recall_near": round(self.recall_near, 4),
        }


class NeighbourGraph(NamedTuple):
    """Nearest neighbours by cosine.

    Attributes:
        neighbours: int32 (n, k), nearest first, -1 where there are fewer; a vector is none of its own.
        cosines: float32 (n, k), -1 where there is no neighbour.
        searched: how they were found.
    """

    neighbours: np.ndarray
    cosines: np.ndarray
    searched: NeighbourSearch


class Edges(NamedTuple):
    """Weighted undirected edges."""

    a: np.ndarray  # int
    b: np.ndarray  # int
    weight: np.ndarray  # float64, >= 0


def knn_graph(
    vectors: np.ndarray, k: int, *, kind: GraphKind = "auto", device: Literal["cpu", "cuda"] = "cpu", seed: int = 0
) -> NeighbourGraph:
    """The k nearest neighbours of every vector.

    Beyond EXACT_UP_TO vectors `auto` takes `ivf`: an inverted file of 4-bit product codes in 64 dimensions (Jégou,
    Douze and Schmid 2011; André, Kermarrec and Le Scouarnec 2017) proposes twice as many as are asked for, and the
    neighbours of the nearest neighbours are tried, too (Dong, Moses and Li 2011, one round).

    Args:
        vectors: unit rows float32 (n, D), none of zeros, no two equal.
        k: neighbours per vector, at least 1.
        kind: how they are searched; `hnsw` is built in one thread, for the sake of equal results.
        device: where all pairs are searched.
        seed: of the training of the inverted file.
    """
    n = len(vectors)
    k = min(k, n - 1)
    if k < 1:
        return NeighbourGraph(
            np.empty((n, 0), np.int32), np.empty((n, 0), np.float32), NeighbourSearch("exact", n, 0, 1.0, 1.0)
        )
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if kind == "auto":
        kind = "exact" if n <= EXACT_UP_TO * (10 if device == "cuda" else 1) else "ivf"
    with _workers(1 if kind == "exact" and device == "cuda" else 0) as workers:
        if kind == "exact":
            found = _search(workers, vectors, _all_pairs(vectors, device), k + 1, k)
            return NeighbourGraph(*found, NeighbourSearch(kind, n, k, 1.0, 1.0))
        make = {"ivf": _inverted_file, "hnsw": _small_world}[kind]
        index = workers.run(lambda: make(vectors, seed))
        found = _search(workers, vectors, index.search, min(2 * k + 1, n), k)
        del index
        if kind == "ivf":
            found = _refined(workers, vectors, *found)
        near = min(k, 8)
        recall = _recall(workers, vectors, found[0], [k, near], seed)
    return NeighbourGraph(*found, NeighbourSearch(kind, n, k, *recall))


def graph_edges(graph: NeighbourGraph) -> Edges:
    """Its edges, each once: a < b in ascending order; the weight is 1 - cosine, 0..2, in steps of 1e-6."""
    n, k = graph.neighbours.shape
    if not k:
        return Edges(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0))
    a, b = np.repeat(np.arange(n, dtype=np.int64), k), graph.neighbours.ravel()
    there = b >= 0
    a, b, cosine = a[there], b[there], graph.cosines.ravel()[there]
    keys = np.minimum(a, b) * n + np.maximum(a, b)
    del a, b
    order = np.argsort(keys, kind="stable")
    order = order[np.flatnonzero(np.diff(keys[order], prepend=-1))]
    keys = keys[order]
    return Edges((keys // n).astype(np.int32), (keys % n).astype(np.int32), distances(cosine[order]))


def distances(cosines: np.ndarray) -> np.ndarray:
    """1 - cosine, float64, 0..2, in steps of 1e-6."""
    return np.asarray(np.maximum(1.0 - cosines.astype(np.float64), 0.0).round(6))


SearchFunction = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""Scores and row numbers (q, k) of queries (q, D), -1 for none."""


class _Pool:
    """Threads that each use one thread of FAISS."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def run(self, call: Callable[[], Any]) -> Any:
        return self._pool.submit(call).result()

    def blocks(
        self, call: Callable[[slice], Any], n: int, what: str, size: int = _BLOCK
    ) -> Iterator[tuple[slice, Any]]:
        """The call on every block of n rows, in order."""
        slices = [slice(start, min(n, start + size)) for start in range(0, n, size)]
        with progress(what, n, "vectors") as advance:
            for rows, result in zip(slices, self._pool.map(call, slices), strict=True):
                yield rows, result
                advance(rows.stop - rows.start)


@contextmanager
def _workers(count: int) -> Iterator[_Pool]:
    import faiss

    with ThreadPoolExecutor(count or faiss.omp_get_max_threads(), initializer=_single) as pool:
        yield _Pool(pool)


def _single() -> None:
    import faiss

    faiss.omp_set_num_threads(1)  # holds for the thread that calls it


def _all_pairs(vectors: np.ndarray, device: Literal["cpu", "cuda"]) -> SearchFunction:
    import faiss

    if device == "cuda":
        return ExactSearch(vectors, device).search
    return lambda queries, k: faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)


def _inverted_file(vectors: np.ndarray, seed: int) -> Any:
    import faiss

    n, dim = vectors.shape
    lists = max(1, int(2 * np.sqrt(n)))
    width = min(dim, _PROJECTED)
    index = faiss.index_factory(dim, f"PCA{width},IVF{lists},PQ{max(1, width // 2)}x4fs", faiss.METRIC_INNER_PRODUCT)
    inverted = faiss.extract_index_ivf(index)
    inverted.cp.seed, inverted.cp.niter = seed + 1, _ROUNDS
    inverted.cp.min_points_per_centroid = 1
    inverted.nprobe = min(_PROBES, lists)
    chosen = np.random.default_rng(seed).choice(n, min(n, max(_PER_LIST * lists, 4096)), replace=False)
    index.train(vectors[np.sort(chosen)])
    for start in range(0, n, _BLOCK):
        index.add(vectors[start : start + _BLOCK])
    return index


def _small_world(vectors: np.ndarray, seed: int) -> Any:
    import faiss

    index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efSearch = 128
    index.add(vectors)
    return index


def _search(
    workers: _Pool, vectors: np.ndarray, search: SearchFunction, wanted: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    def block(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        return _ranked(vectors, np.arange(rows.start, rows.stop), search(vectors[rows], wanted)[1], k)

    return _gathered(workers.blocks(block, len(vectors), "neighbours"), len(vectors), k)


def _refined(
    workers: _Pool, vectors: np.ndarray, neighbours: np.ndarray, cosines: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Try the neighbours of the nearest neighbours."""
    n, k = neighbours.shape
    near = max(1, k // 2)

    def block(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        via = neighbours[rows, :_VIA]
        further = np.where(via[:, :, None] >= 0, neighbours[via, :near], -1).reshape(len(via), -1)
        return _ranked(vectors, np.arange(rows.start, rows.stop), np.hstack([neighbours[rows], further]), k)

    return _gathered(workers.blocks(block, n, "neighbours of neighbours"), n, k)


def _gathered(
    blocks: Iterable[tuple[slice, tuple[np.ndarray, np.ndarray]]], n: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    neighbours, cosines = np.empty((n, k), dtype=np.int32), np.empty((n, k), dtype=np.float32)
    for rows, found in blocks:
        neighbours[rows], cosines[rows] = found
    return neighbours, cosines


def _ranked(vectors: np.ndarray, rows: np.ndarray, proposed: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of the rows proposed (q, m) to each of some vectors (their rows: (q,)), equal ones by number."""
    import faiss

    ids = np.sort(proposed.astype(np.int64), axis=1)
    out = (ids < 0) | (ids == rows[:, None])
    out[:, 1:] |= ids[:, 1:] == ids[:, :-1]
    ids[out] = 0
    cosines = np.empty(ids.shape, dtype=np.float32)
    queries = np.ascontiguousarray(vectors[rows])
    pointers = [faiss.swig_ptr(array) for array in (cosines, queries, vectors, ids)]
    inner_products: Any = faiss.fvec_inner_products_by_idx  # type: ignore[attr-defined]
    inner_products(*pointers, vectors.shape[1], *ids.shape)
    cosines[out] = -1.0
    ids[out] = -1
    best = np.argsort(-cosines.round(6), axis=1, kind="stable")[:, :k]
    return np.take_along_axis(ids, best, axis=1), np.take_along_axis(cosines, best, axis=1)


def _recall(workers: _Pool, vectors: np.ndarray, neighbours: np.ndarray, depths: list[int], seed: int) -> list[float]:
    """Share of the true nearest neighbours, as far as each depth, that an edge leads to."""
    n = len(vectors)
    sample = np.sort(np.random.default_rng(seed).choice(n, min(SAMPLE, n), replace=False))
    k = max(depths)
    search = _all_pairs(vectors, "cpu")

    def block(rows: slice) -> np.ndarray:
        return _ranked(vectors, sample[rows], search(vectors[sample[rows]], k + 1)[1], k)[0]

    true = np.concatenate([found for _, found in workers.blocks(block, len(sample), "recall", 64)])
    there = (neighbours[sample][:, :, None] == true[:, None]).any(axis=1)
    there |= (neighbours[true] == sample[:, None, None]).any(axis=2)
    return [float(there[:, :depth].mean()) for depth in depths]
