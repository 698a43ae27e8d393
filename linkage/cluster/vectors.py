"""Clustering of vectors alone: distinct vectors, their graph, a tree on it, the cut. Arrays in, arrays out."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from linkage.cluster.average import average_merges
from linkage.cluster.fit import (
    DEFAULT_POOLED_DISTANCE,
    DEFAULT_RESOLUTION,
    RESOLUTIONS,
    NodeLabels,
    best_cut,
    labels_by_node,
)
from linkage.cluster.selection import cut, flat_clusters, inner_edges
from linkage.cluster.tree import Distance, forest, mutual_reachability, spanning_tree
from linkage.config import ClusterConfig, Device
from linkage.errors import InputError
from linkage.search.exact import choose_device
from linkage.search.graph import Edges, NeighbourSearch, distances, graph_edges, knn_graph

_ROWS_AT_A_TIME = 1 << 15


class TreeCut(NamedTuple):
    """Where a tree was cut.

    Attributes:
        max_distance: inclusive.
        source: where the cut comes from.
        resolution: distance below which nodes counted as equally near (see `selection.flat_clusters`); 0 where the
            method is not HDBSCAN.
    """

    max_distance: float
    source: Literal["given", "fitted", "default"]
    resolution: float


class VectorClusters(NamedTuple):
    """What `cluster_vectors` gives.

    Attributes:
        entity: int64 (n,), numbers of the entities from 0.
        cutting: the cut, in 1 - cosine.
        searched: how the neighbours were found; of no vectors where all stood alone.
    """

    entity: np.ndarray
    cutting: TreeCut
    searched: NeighbourSearch


def cluster_vectors(
    vectors: np.ndarray,
    config: ClusterConfig,
    *,
    labels: pd.DataFrame | None = None,
    seed: int = 0,
    device: Device = "auto",
) -> VectorClusters:
    """Group vectors into entities by their cosine alone.

    Equal vectors are one node of the graph. Equal arguments give equal entities, whatever the number of threads.

    Args:
        vectors: rows of length one, or of zeros, which stay by themselves; float32 or float16 (n, D).
        config: of its settings all but `distance`, which is the pooled one here.
        labels: `entity_id` ("" where unknown) and `split`, n rows, to fit the cut on; rows of split test are never
            looked at. Without, or with too few, the cut is the given or the default one.
        seed: of the approximate search.
        device: where neighbours are searched.

    Raises:
        InputError: rows are of another length.
        DependencyError: the device asked for is not there.
    """
    there = _checked(vectors)
    entity = np.arange(len(vectors)) + len(vectors)
    present = vectors if there.all() else vectors[there]
    node, first = collapse(present)
    known = None
    if labels is not None and config.max_distance is None:
        known = labels_by_node(labels[there], node)
    nodes = np.ascontiguousarray(present if len(first) == len(present) else present[first], dtype=np.float32)
    del present
    graph = knn_graph(nodes, config.neighbours, kind=config.graph, device=choose_device(device), seed=seed)
    searched, edges = graph.searched, graph_edges(graph)
    del graph
    found, cutting = entities_of(edges, nodes, pooled_distance(nodes), config, known, DEFAULT_POOLED_DISTANCE)
    entity[there] = found[node]
    return VectorClusters(np.unique(entity, return_inverse=True)[1].astype(np.int64), cutting, searched)


def entities_of(
    edges: Edges,
    vectors: np.ndarray,
    distance: Distance,
    config: ClusterConfig,
    known: NodeLabels | None,
    default: float,
) -> tuple[np.ndarray, TreeCut]:
    """Entities of the nodes of a graph, int64 (n,), by the method of the configuration, and where it was cut.

    Args:
        edges: the graph.
        vectors: of the nodes: unit rows float32 (n, D).
        distance: weight of further edges, where the graph is in pieces.
        config: method, cut, HDBSCAN's two sizes.
        known: what labels say of the nodes, to fit the cut on; None: there are none.
        default: the cut where none is given or fitted.
    """
    n = len(vectors)
    given = config.max_distance if config.max_distance is not None else (default if known is None else None)
    source: Literal["given", "fitted", "default"] = "given" if config.max_distance is not None else "default"
    if config.method == "hdbscan":
        tree = spanning_tree(mutual_reachability(edges, n, config.min_samples), vectors, distance)
        resolutions: tuple[float, ...] = RESOLUTIONS if given is None else (DEFAULT_RESOLUTION * given,)
        flat = [flat_clusters(tree, n, config.min_cluster_size, resolution) for resolution in resolutions]
    else:
        limit = np.inf if given is None else given
        tree = forest(edges, n) if config.method == "components" else average_merges(edges, n, limit)
        resolutions, flat = (0.0,), [np.zeros(n, dtype=np.int64)]
    if given is not None or known is None:
        chosen = TreeCut(default if given is None else given, source, resolutions[0])
        return cut(tree, flat[0], chosen.max_distance), chosen
    seen = known.seen_on(tree)
    fits = [best_cut(seen, inner_edges(tree, labels)) for labels in flat]
    best = max(range(len(fits)), key=lambda one: fits[one].f1)  # the first of equals
    chosen = TreeCut(fits[best].max_distance, "fitted", resolutions[best])
    return cut(tree, flat[best], chosen.max_distance), chosen


def pooled_distance(vectors: np.ndarray) -> Distance:
    """1 - cosine of pairs of rows."""

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return distances(cosines(vectors, a, b))

    return distance


def cosines(vectors: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inner products float32 (m,) of the rows a and b of vectors, a slice at a time."""
    found = np.empty(len(a), dtype=np.float32)
    for start in range(0, len(a), _ROWS_AT_A_TIME):
        rows = slice(start, start + _ROWS_AT_A_TIME)
        found[rows] = np.einsum("ij,ij->i", vectors[a[rows]], vectors[b[rows]], dtype=np.float32)
    return found


def collapse(vectors: np.ndarray, texts: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Node of every row and first row of every node: rows with equal vectors (and texts) are one node.

    Copies at distance 0 have infinite density and would break every cluster that they are part of.

    Args:
        vectors: (n, D).
        texts: objects (n,); None: vectors alone count.

    Returns:
        int64 (n,), nodes numbered by their first row, and int64 (nodes,).
    """
    n = len(vectors)
    if not n:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    vectors = np.ascontiguousarray(vectors)
    whole = vectors.view(np.dtype((np.void, vectors.strides[0])))[:, 0]
    order = np.argsort(whole, kind="stable")
    new = np.ones(n, dtype=bool)
    for start in range(1, n, _ROWS_AT_A_TIME):
        rows = order[start - 1 : start + _ROWS_AT_A_TIME]
        new[start : start + _ROWS_AT_A_TIME] = (vectors[rows[1:]] != vectors[rows[:-1]]).any(axis=1)
    group = np.empty(n, dtype=np.int64)
    group[order] = np.cumsum(new) - 1
    if texts is not None:
        said = pd.factorize(texts)[0].astype(np.int64)
        group = group * (int(said.max()) + 1) + said
    node = pd.factorize(group)[0].astype(np.int64)
    first = np.flatnonzero(~pd.Series(node).duplicated().to_numpy())
    return node, first


def _checked(vectors: np.ndarray) -> np.ndarray:
    """Which rows are not of zeros, bool (n,)."""
    length = np.empty(len(vectors))
    for start in range(0, len(vectors), _ROWS_AT_A_TIME):
        rows = vectors[start : start + _ROWS_AT_A_TIME].astype(np.float32)
        length[start : start + len(rows)] = np.linalg.norm(rows, axis=1)
    there = length > 0
    wrong = np.flatnonzero(there & ~(np.abs(length - 1) < 0.01))
    if len(wrong):
        raise InputError(f"vectors: row {wrong[0]} is of length {length[wrong[0]]:.3g}; divide each row by its length")
    return there
