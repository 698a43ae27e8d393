"""Entities from a tree: HDBSCAN's flat clusters, and the distance cut.

Campello, Moulavi and Sander 2013; the condensed tree and the excess of mass are hdbscan's own functions (they
are not public: the version is pinned and a test compares the result with `hdbscan.HDBSCAN`).
"""

from __future__ import annotations

import numpy as np

from linkage.cluster.tree import parts
from linkage.search.graph import Edges


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
    from hdbscan._hdbscan_tree import compute_stability, condense_tree, get_clusters

    weight = np.maximum(tree.weight, resolution)
    condensed = condense_tree(single_linkage(tree._replace(weight=weight)), min_cluster_size)
    labels = np.asarray(get_clusters(condensed, compute_stability(condensed), "eom")[0], dtype=np.int64)
    return labels if (labels >= 0).any() else np.zeros(n, dtype=np.int64)


def single_linkage(tree: Edges) -> np.ndarray:
    """The merges of a spanning tree, as `scipy.cluster.hierarchy.linkage` writes them: float64 (n - 1, 4).

    hdbscan's own `label` gives the same and follows ever longer chains of parents; scipy's DisjointSet takes three
    times as long.
    """
    n = len(tree.a) + 1
    parent, name, size = list(range(n)), list(range(n)), [1] * n
    merges: list[tuple[int, int]] = []
    joined: list[int] = []
    for node, (a, b) in enumerate(zip(tree.a.tolist(), tree.b.tolist(), strict=True), start=n):
        while parent[a] != a:
            parent[a] = a = parent[parent[a]]
        while parent[b] != b:
            parent[b] = b = parent[parent[b]]
        merges.append((name[a], name[b]))
        if size[a] < size[b]:
            a, b = b, a
        parent[b], name[a] = a, node
        size[a] += size[b]
        joined.append(size[a])
    return np.column_stack([np.array(merges, dtype=np.float64), tree.weight, joined])


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
    return parts(Edges(*(column[kept] for column in inner)), len(labels))


def inner_edges(tree: Edges, labels: np.ndarray) -> Edges:
    """The tree edges whose two ends are in one flat cluster, in ascending order of weight."""
    inside = (labels[tree.a] == labels[tree.b]) & (labels[tree.a] >= 0)
    return Edges(*(column[inside] for column in tree))
