"""Search at size: a FAISS structure finds candidates by compact codes, the stored vectors decide between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np

from linkage.search.exact import as_float32, by_cosine, filled_rows

LEADING = 64  # dimensions kept after the rotation
_SAMPLE = 65_536  # vectors that rotation and codes are fitted on
_PER_LIST = 64  # vectors per list that k-means sees
_MOST_LISTS = 16_384
_AT_A_TIME = 65_536  # vectors made float32
_QUERIES_AT_A_TIME = 128  # queries: the vectors of 200 candidates of each take 26 MB


class VectorSearch(Protocol):
    """Nearest rows by cosine."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `exact.ExactSearch.search`."""
        ...


class SearchEffort(NamedTuple):
    """How hard a structure is searched.

    Attributes:
        candidates: rows whose stored vectors are looked at, at least; 4 k for k neighbours if that is more.
        breadth: lists that are scanned (ivf, sq8), or nodes kept on the way (hnsw); 0: there is nothing to choose.
    """

    candidates: int
    breadth: int = 0


class StructureKind(NamedTuple):
    """A way to find candidates.

    Attributes:
        factory: what FAISS builds, of the number of lists and of dimensions (see its "index factory").
        bytes_each: bytes of memory per vector, of the number of dimensions that are kept.
        efforts: to try, cheapest first.
        leading: dimensions kept after the rotation; None: all, not rotated.
        lists: whether it is an inverted file.
    """

    factory: Callable[[int, int], str]
    bytes_each: Callable[[int], float]
    efforts: tuple[SearchEffort, ...]
    leading: int | None = LEADING
    lists: bool = False


def _efforts(candidates: tuple[int, ...], breadths: tuple[int, ...] = (0,)) -> tuple[SearchEffort, ...]:
    """Every breadth with the fewest candidates, then the widest with more."""
    narrow = [SearchEffort(candidates[0], breadth) for breadth in breadths]
    return (*narrow, *(SearchEffort(count, breadths[-1]) for count in candidates[1:]))


# Leading dimensions are those of a rotation onto the principal axes: a model trained with `train.nested` has the most
# in its first ones too, but the axes are never worse, and need no such model (Kusupati et al. 2022, Matryoshka
# representation learning, section 4.3 on adaptive retrieval; Jegou, Douze, Schmid 2011, product quantisation).
KINDS: dict[str, StructureKind] = {
    # 4-bit codes of pairs of dimensions, those of the nearest lists (inverted file) or all of them
    "ivf": StructureKind(
        lambda lists, dim: f"IVF{lists},PQ{dim // 2}x4fs",
        lambda dim: dim / 4 + 8,
        _efforts((64, 128, 256, 512), (16, 32, 64, 128, 256)),
        lists=True,
    ),
    "nested": StructureKind(lambda _, dim: f"PQ{dim // 2}x4fs", lambda dim: dim / 4, _efforts((64, 128, 256, 512))),
    # whether each dimension, after a random rotation, is above its median
    "binary": StructureKind(
        lambda _, dim: "LSHrt", lambda dim: dim / 8, _efforts((64, 128, 256, 512, 1024)), leading=None
    ),
    # 8 bits of every dimension, in lists
    "sq8": StructureKind(
        lambda lists, _: f"IVF{lists},SQ8",
        lambda dim: dim + 8,
        _efforts((64, 128), (16, 32, 64, 128, 256)),
        leading=None,
        lists=True,
    ),
    # a graph of 32 neighbours, 64 on its ground level (Malkov and Yashunin 2018)
    "hnsw": StructureKind(
        lambda _, dim: "HNSW32_SQ8", lambda dim: dim + 4 * 64 + 32, _efforts((64, 128, 256), (64, 128, 256, 512))
    ),
}


def lists(n: int) -> int:
    """Lists of an inverted file over n vectors."""
    return int(np.clip(4 * np.sqrt(n), 1, _MOST_LISTS))


def bytes_needed(kind: str, n: int, dim: int, *, whole: bool) -> int:
    """Bytes of memory that a structure over n vectors takes; `whole`: no row of the exemplars lacks its vector."""
    recipe, kept = KINDS[kind], _kept(kind, dim)
    fixed = 4 * dim * kept + 128 * kept + 8192  # rotation, codebooks
    fixed += lists(n) * (10 * kept + 64) * recipe.lists  # centroids; blocks of 32 codes that are not full
    return int(n * (recipe.bytes_each(kept) + 8 * (not whole and not recipe.lists)) + fixed)


def _kept(kind: str, dim: int) -> int:
    leading = KINDS[kind].leading
    return min(leading, dim - dim % 2) if leading else dim


def build(kind: str, vectors: np.ndarray, seed: int) -> Any:
    """The FAISS structure over the rows that hold a vector; its ids are row numbers.

    By one thread, since sums of several differ in their last bits, and k-means and graphs make much of little: the
    same seed gives the same bytes.

    Args:
        kind: how.
        vectors: unit rows (n, D), float16, e.g. memory-mapped; some thousand of them at least.
        seed: of the samples and of k-means.
    """
    import faiss

    with one_thread():
        rows, rng = filled_rows(vectors), np.random.default_rng(seed)
        wanted = max(_SAMPLE, _PER_LIST * lists(len(rows)) * KINDS[kind].lists)
        sample = np.sort(rng.choice(rows, min(wanted, len(rows)), replace=False))
        index = _trained(kind, vectors, sample, lists(len(rows)), seed)
        if len(rows) < len(vectors) and not KINDS[kind].lists:
            index = faiss.IndexIDMap(index)
        for start in range(0, len(rows), _AT_A_TIME):
            some = rows[start : start + _AT_A_TIME]
            block = as_float32(vectors[some])
            index.add(block) if len(rows) == len(vectors) else index.add_with_ids(block, some)
    return index


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS works in the calling thread alone."""
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _trained(kind: str, vectors: np.ndarray, sample: np.ndarray, count: int, seed: int) -> Any:
    """The structure with nothing in it yet, fitted to the vectors of the sample's rows; `count` lists."""
    import faiss

    kept = _kept(kind, vectors.shape[1])
    metric = faiss.METRIC_L2 if kind == "binary" else faiss.METRIC_INNER_PRODUCT  # for bits FAISS knows only the first
    index: Any = faiss.index_factory(kept, KINDS[kind].factory(count, kept), metric)
    if KINDS[kind].lists:
        index.cp.seed, index.cp.niter = seed, 10
        index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, _PER_LIST
    if kind == "hnsw":
        index.hnsw.efConstruction = 80
    rotation = _rotation(vectors, sample, kept) if KINDS[kind].leading else None
    known = np.empty((len(sample), kept), dtype=np.float32)
    for start in range(0, len(sample), _AT_A_TIME):
        part = slice(start, start + _AT_A_TIME)
        block = as_float32(vectors[sample[part]])
        known[part] = rotation.apply(block) if rotation else block
    index.train(known)
    return faiss.IndexPreTransform(rotation, index) if rotation else index


def _rotation(vectors: np.ndarray, sample: np.ndarray, kept: int) -> Any:
    """Onto the axes that the sample has most of its length in, so that leading dimensions keep inner products best.

    Not centred: that would shift an inner product by what depends on the exemplar.
    """
    import faiss

    some = as_float32(vectors[sample[:: -(-len(sample) // _SAMPLE)]]).astype(np.float64)
    axes = np.linalg.eigh(np.round(some.T @ some / len(some), 9))[1][:, ::-1][:, :kept]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(kept)])
    rotation = faiss.LinearTransform(vectors.shape[1], kept, False)
    faiss.copy_array_to_vector(axes.T.round(6).astype(np.float32).ravel(), rotation.A)
    rotation.is_trained = True
    return rotation


class RerankedSearch:
    """Candidates by a structure of `build`, then their exact cosines with the stored vectors.

    Among the candidates, equal cosines (within 1e-6) are ordered by row number, as by `exact.ExactSearch`. Blocks of
    queries go to as many threads as FAISS would take, each block to one: the answer does not depend on how many.

    Args:
        structure: of `build`.
        vectors: the rows that it was built over, (n, D).
        effort: how hard to search.
    """

    def __init__(self, structure: Any, vectors: np.ndarray, effort: SearchEffort) -> None:
        self._structure, self._vectors, self.effort = structure, vectors, effort

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `exact.ExactSearch.search`."""
        import faiss

        cosines = np.full((len(queries), k), -1.0, dtype=np.float32)
        found = np.full((len(queries), k), -1, dtype=np.int64)
        asked = np.flatnonzero(queries.any(axis=1))
        count = min(max(self.effort.candidates, 4 * k), self._structure.ntotal)
        if not count:
            return cosines, found
        _set_breadth(self._structure, self.effort.breadth, count)
        width = min(k, count)

        def answer(start: int) -> None:
            some = asked[start : start + _QUERIES_AT_A_TIME]
            with one_thread():
                near, rows = self._ranked(np.ascontiguousarray(queries[some], dtype=np.float32), count)
            cosines[some, :width], found[some, :width] = near[:, :width], rows[:, :width]

        with ThreadPoolExecutor(faiss.omp_get_max_threads()) as threads:
            list(threads.map(answer, range(0, len(asked), _QUERIES_AT_A_TIME)))
        return cosines, found

    def _ranked(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._structure.search(queries, count)[1]
        known = as_float32(self._vectors[np.maximum(rows, 0).ravel()]).reshape(*rows.shape, -1)
        cosines = np.einsum("qd,qcd->qc", queries, known)  # not by BLAS: its sums depend on its threads
        cosines[rows < 0] = -2
        order = by_cosine(cosines, rows)
        near, rows = np.take_along_axis(cosines, order, axis=1), np.take_along_axis(rows, order, axis=1)
        return np.where(rows < 0, -1.0, near), rows


def _set_breadth(structure: Any, breadth: int, count: int) -> None:
    import faiss

    if not breadth:
        return
    inner: Any = faiss.downcast_index(structure)
    while hasattr(inner, "index") and not hasattr(inner, "nprobe"):
        inner = faiss.downcast_index(inner.index)
    if hasattr(inner, "nprobe"):
        inner.nprobe = min(breadth, inner.nlist)
    elif hasattr(inner, "hnsw"):
        inner.hnsw.efSearch = max(breadth, count)
