"""HDBSCAN on a sparse graph: neighbours, spanning tree, condensed tree, flat clusters. Arrays in, arrays out.

Campello, Moulavi and Sander 2013; the condensed tree and the excess of mass are hdbscan's own functions (they
are not public: the version is pinned and a test compares the result with `hdbscan.HDBSCAN`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from linkage.link.exact import ExactSearch
from linkage.progress import progress

EXACT_UP_TO = 200_000
"""Records up to which neighbours are exact; beyond, an inverted file is probed (recall about 0.95)."""

_PROBES = 16
_QUERIES_AT_A_TIME = 8192


class Edges(NamedTuple):
    """Weighted undirected edges."""

    a: np.ndarray  # int64
    b: np.ndarray  # int64
    weight: np.ndarray  # float64, >= 0


Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Distances float64 (m,) of the node pairs (a (m,), b (m,))."""


def neighbour_pairs(
    vectors: np.ndarray, k: int, *, device: Literal["cpu", "cuda"] = "cpu", seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest neighbours by cosine of every node, as distinct pairs a < b, in order.

    Args:
        vectors: unit rows float32 (n, D).
        k: neighbours per node.
        device: where FAISS searches.
        seed: of the inverted file's centroids (used beyond EXACT_UP_TO nodes).

    Returns:
        int64 (m,) twice.
    """
    n = len(vectors)
    if n < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    search = ExactSearch(vectors, device).search if n <= EXACT_UP_TO else _inverted_file(vectors, seed)
    nodes, found = [], []
    with progress("neighbours", n) as advance:
        for start in range(0, n, _QUERIES_AT_A_TIME):
            rows = search(vectors[start : start + _QUERIES_AT_A_TIME], min(k + 1, n))[1]
            nodes.append(np.repeat(np.arange(start, start + len(rows), dtype=np.int64), rows.shape[1]))
            found.append(rows.ravel())
            advance(len(rows))
    a, b = np.concatenate(nodes), np.concatenate(found)
    real = (b >= 0) & (a != b)
    keys = np.unique(np.minimum(a[real], b[real]) * n + np.maximum(a[real], b[real]))
    return keys // n, keys % n


def _inverted_file(vectors: np.ndarray, seed: int) -> Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]:
    import faiss

    lists = int(4 * np.sqrt(len(vectors)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(vectors.shape[1]), vectors.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = seed
    index.train(vectors)
    index.add(vectors)
    index.nprobe = _PROBES
    return index.search


def mutual_reachability(edges: Edges, n: int, min_samples: int) -> Edges:
    """Raise weights to the distance of either end's `min_samples`-th neighbour (Campello et al., def. 2)."""
    nodes = np.concatenate([edges.a, edges.b])
    weight = np.concatenate([edges.weight, edges.weight])
    order = np.lexsort((weight, nodes))
    nodes, weight = nodes[order], weight[order]
    start = np.searchsorted(nodes, np.arange(n))
    degree = np.bincount(nodes, minlength=n)
    core = np.zeros(n)
    some = degree > 0
    core[some] = weight[start[some] + np.minimum(min_samples, degree[some]) - 1]
    return edges._replace(weight=np.maximum(edges.weight, np.maximum(core[edges.a], core[edges.b])))


def spanning_tree(edges: Edges, vectors: np.ndarray, distance: Distance) -> Edges:
    """Minimum spanning tree in ascending order of weight, ties by node numbers.

    Where the graph falls apart, its parts are joined as in Boruvka's algorithm, a part being stood for by the
    node nearest its mean: every round links each part to its nearest other part, at their real distance.

    Args:
        edges: the neighbour graph.
        vectors: unit rows (n, D), to find what joins the parts.
        distance: weight of the joining edges.
    """
    if len(vectors) < 2:
        return edges
    tree = _forest(edges, len(vectors))
    while len(tree.a) < len(vectors) - 1:
        part = _parts(tree, len(vectors))
        central = medoids(vectors, part)
        a, b = (central[nodes] for nodes in neighbour_pairs(vectors[central], 1))
        more = Edges(a, b, distance(a, b))
        tree = _forest(Edges(*(np.concatenate(pair) for pair in zip(tree, more, strict=True))), len(vectors))
    return tree


def _forest(edges: Edges, n: int) -> Edges:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    order = np.lexsort((edges.b, edges.a, edges.weight))
    # scipy takes a weight of 0 for no edge and breaks ties as it likes: ranks have neither zeros nor ties.
    ranks = coo_array((np.arange(1.0, len(order) + 1), (edges.a[order], edges.b[order])), shape=(n, n))
    kept = np.sort(minimum_spanning_tree(ranks.tocsr()).data.astype(np.int64)) - 1
    return Edges(*(column[order][kept] for column in edges))


def _parts(edges: Edges, n: int) -> np.ndarray:
    """Connected component of every node, int64 (n,), numbered from 0."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(edges.a)), (edges.a, edges.b)), shape=(n, n))
    return np.asarray(connected_components(graph.tocsr(), directed=False)[1], dtype=np.int64)


def medoids(vectors: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The node with the smallest summed cosine distance to its group; ties: the smallest number.

    Args:
        vectors: unit rows (n, D).
        group: group numbers 0..g-1, each in use, int64 (n,).

    Returns:
        int64 (g,): a node of each group.
    """
    if not len(group):
        return np.empty(0, dtype=np.int64)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    mean = np.add.reduceat(vectors[order], starts, axis=0, dtype=np.float64)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    central = np.einsum("ij,ij->i", vectors, mean.astype(np.float32)[group]).round(6)
    best = np.lexsort((np.arange(len(group)), -central, group))
    return best[np.flatnonzero(np.diff(group[best], prepend=-1))]


def flat_clusters(tree: Edges, n: int, min_cluster_size: int, resolution: float = 0.0) -> np.ndarray:
    """HDBSCAN's flat clusters by excess of mass.

    Density is 1 / distance, so near copies in a cluster are of near infinite density and would always be torn
    out of it: distances below `resolution` count as `resolution`.

    The root is never a cluster, so data that never splits in two would be all noise, and data within the
    resolution would be split at random: they are returned as one cluster, and left to the distance cut.

    Args:
        tree: minimum spanning tree, n - 1 edges in ascending order of weight.
        n: number of nodes.
        min_cluster_size: smallest group that counts as a cluster.
        resolution: the distance within which records are equally near.

    Returns:
        int64 (n,): cluster number, -1 for noise.
    """
    if n < 2 * min_cluster_size or tree.weight.max() <= resolution:
        return np.zeros(n, dtype=np.int64)
    from hdbscan._hdbscan_linkage import label
    from hdbscan._hdbscan_tree import compute_stability, condense_tree, get_clusters

    weight = np.maximum(tree.weight, resolution)
    hierarchy = label(np.column_stack([tree.a, tree.b, weight]).astype(np.float64))
    condensed = condense_tree(hierarchy, min_cluster_size)
    labels = np.asarray(get_clusters(condensed, compute_stability(condensed), "eom")[0], dtype=np.int64)
    return labels if (labels >= 0).any() else np.zeros(n, dtype=np.int64)


def cut(tree: Edges, labels: np.ndarray, max_distance: float) -> np.ndarray:
    """Entities: what hangs together in one cluster over tree edges of at most `max_distance`.

    Args:
        tree: spanning tree.
        labels: flat clusters (n,), -1 for noise.
        max_distance: inclusive.

    Returns:
        int64 (n,): entity number; noise and what was cut off stand alone.
    """
    inner = inner_edges(tree, labels)
    kept = inner.weight <= max_distance
    return _parts(Edges(*(column[kept] for column in inner)), len(labels))


def inner_edges(tree: Edges, labels: np.ndarray) -> Edges:
    """The tree edges whose two ends are in one flat cluster, in ascending order of weight."""
    inside = (labels[tree.a] == labels[tree.b]) & (labels[tree.a] >= 0)
    return Edges(*(column[inside] for column in tree))
