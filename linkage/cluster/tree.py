"""Spanning trees of neighbour graphs under mutual reachability, and medoids. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from linkage.search.graph import Edges, graph_edges, knn_graph

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Distances float64 (m,) of the node pairs (a (m,), b (m,))."""

_ROWS_AT_A_TIME = 1 << 15


def mutual_reachability(edges: Edges, n: int, min_samples: int) -> Edges:
    """Raise weights to the distance of either end's `min_samples`-th neighbour (Campello et al. 2013, def. 2)."""
    if min_samples == 1:  # no edge is shorter than the shortest of its ends
        return edges
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
    """Minimum spanning tree in ascending order of weight, ties by the order of the edges.

    Where the graph falls apart, its parts are joined as in Boruvka's algorithm, a part being stood for by the
    node nearest its mean: every round links each part to its nearest other part, at their real distance.

    Args:
        edges: the neighbour graph.
        vectors: unit rows (n, D), to find what joins the parts.
        distance: weight of the joining edges.
    """
    if len(vectors) < 2:
        return edges
    tree = forest(edges, len(vectors))
    while len(tree.a) < len(vectors) - 1:
        part = parts(tree, len(vectors))
        central = medoids(vectors, part)
        nearest = graph_edges(knn_graph(vectors[central], 1))
        a, b = central[nearest.a], central[nearest.b]
        more = Edges(a, b, distance(a, b))
        tree = forest(Edges(*(np.concatenate(pair) for pair in zip(tree, more, strict=True))), len(vectors))
    return tree


def forest(edges: Edges, n: int) -> Edges:
    """Minimum spanning forest of n nodes, in ascending order of weight, ties by the order of the edges."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    order = np.argsort(edges.weight, kind="stable")
    # scipy takes a weight of 0 for no edge and breaks ties as it likes: ranks have neither zeros nor ties.
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1.0, len(order) + 1)
    found = minimum_spanning_tree(coo_array((ranks, (edges.a, edges.b)), shape=(n, n)).tocsr())
    kept = order[np.sort(found.data.astype(np.int64)) - 1]
    return Edges(*(column[kept] for column in edges))


def parts(edges: Edges, n: int) -> np.ndarray:
    """Connected component of every node, int64 (n,), numbered from 0."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(edges.a), dtype=np.int8), (edges.a, edges.b)), shape=(n, n))
    return np.asarray(connected_components(graph.tocsr(), directed=False)[1], dtype=np.int64)


def medoids(vectors: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The node with the smallest summed cosine distance to its group; ties: the smallest number.

    Args:
        vectors: unit rows (n, D).
        group: group numbers 0..g-1, each in use, int64 (n,).

    Returns:
        int64 (g,): a node of each group.
    """
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    found = np.empty(len(starts), dtype=np.int64)
    ends = np.append(starts[1:], len(order))
    done = 0
    while done < len(starts):  # as many whole groups as fit, one at least
        until = max(done + 1, int(np.searchsorted(ends, starts[done] + _ROWS_AT_A_TIME, "right")))
        rows, firsts = order[starts[done] : ends[until - 1]], starts[done:until] - starts[done]
        found[done:until] = _most_central(vectors, rows, firsts)
        done = until
    return found


def _most_central(vectors: np.ndarray, rows: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """The medoid of each group; the rows of a group stand together, ascending, from `firsts` on."""
    own = vectors[rows]
    mean = np.add.reduceat(own, firsts, axis=0, dtype=np.float64)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    group = np.repeat(np.arange(len(firsts)), np.diff(firsts, append=len(rows)))
    central = np.einsum("ij,ij->i", own, mean.astype(np.float32)[group]).round(6)
    best = np.lexsort((rows, -central, group))
    return np.asarray(rows[best[firsts]])
