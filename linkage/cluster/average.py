"""Average linkage on a sparse graph, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from linkage.cluster.tree import forest, parts
from linkage.search.graph import Edges

MOST = 1000
"""Nodes of a piece: what hangs together more widely is taken apart first, at its longest edges."""

APART = 1.0
"""Distance of two nodes that the graph does not join."""


def average_merges(edges: Edges, n: int, limit: float) -> Edges:
    """Average linkage (UPGMA; Sokal and Michener 1958) of the graph's pieces; pairs without an edge are APART.

    Pieces are what hangs together over edges of at most `limit`, up to MOST nodes, so that time and memory grow with
    the number of nodes only: the spanning forest is joined from its shortest edge on, leaving out what would make a
    piece too large.

    Args:
        edges: the graph, each edge once.
        n: number of nodes.
        limit: no merge above it is wanted; may be infinite.

    Returns:
        The merges as edges between a node of each side, in ascending order of the average distance.
    """
    near = Edges(*(column[edges.weight <= limit] for column in edges))
    piece = _pieces(forest(near, n), n)
    inside = piece[near.a] == piece[near.b]
    inner = Edges(*(column[inside] for column in near))
    merges = [_piece_merges(nodes, own) for nodes, own in _by_piece(piece, inner)]
    if not merges:
        return Edges(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    joined = Edges(*(np.concatenate(columns) for columns in zip(*merges, strict=True)))
    order = np.argsort(joined.weight, kind="stable")
    return Edges(*(column[order] for column in joined))


def _pieces(tree: Edges, n: int) -> np.ndarray:
    """Number of each node's piece, int64 (n,)."""
    parent, size, kept = list(range(n)), [1] * n, []
    for a, b in zip(tree.a.tolist(), tree.b.tolist(), strict=True):
        while parent[a] != a:
            parent[a] = a = parent[parent[a]]
        while parent[b] != b:
            parent[b] = b = parent[parent[b]]
        small = size[a] + size[b] <= MOST
        kept.append(small)
        if small:
            a, b = (a, b) if size[a] >= size[b] else (b, a)
            parent[b] = a
            size[a] += size[b]
    chosen = np.array(kept, dtype=bool)
    return parts(Edges(*(column[chosen] for column in tree)), n)


def _by_piece(piece: np.ndarray, inner: Edges) -> Iterator[tuple[np.ndarray, Edges]]:
    """The nodes of every piece of two at least, ascending, and its edges with ends by place among those nodes."""
    order = np.argsort(piece, kind="stable")
    starts = np.flatnonzero(np.diff(piece[order], prepend=-1))
    place = np.empty(len(piece), dtype=np.int64)
    sizes = np.diff(starts, append=len(order))
    place[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    by_piece = np.argsort(piece[inner.a], kind="stable")
    a, b, weight = (column[by_piece] for column in inner)
    bounds = np.searchsorted(piece[a], np.arange(len(starts) + 1))
    a, b = place[a], place[b]
    for number in np.flatnonzero(sizes > 1).tolist():
        own = slice(bounds[number], bounds[number + 1])
        yield order[starts[number] : starts[number] + sizes[number]], Edges(a[own], b[own], weight[own])


def _piece_merges(nodes: np.ndarray, edges: Edges) -> Edges:
    from scipy.cluster.hierarchy import linkage

    m = len(nodes)
    if m == 2:
        return Edges(nodes[:1], nodes[1:], edges.weight[:1])
    low, high = np.minimum(edges.a, edges.b), np.maximum(edges.a, edges.b)
    apart = np.full(m * (m - 1) // 2, APART)
    apart[m * low - low * (low + 1) // 2 + high - low - 1] = edges.weight
    merges = linkage(apart, "average")
    stands = np.empty(2 * m - 1, dtype=np.int64)  # for each cluster one of its nodes
    stands[:m] = nodes
    left, right = merges[:, 0].astype(np.int64), merges[:, 1].astype(np.int64)
    for step, side in enumerate(left.tolist()):
        stands[m + step] = stands[side]
    return Edges(stands[left], stands[right], merges[:, 2])
