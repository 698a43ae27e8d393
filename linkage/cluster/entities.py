"""Clustering of records: fused distances, the distance cut and its fit, and what becomes a member."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from linkage.cluster.members import member_columns
from linkage.cluster.tree import (
    Distance,
    Edges,
    cut,
    flat_clusters,
    inner_edges,
    medoids,
    mutual_reachability,
    neighbour_graph,
    spanning_tree,
)
from linkage.config import ClusterConfig, Device
from linkage.link.candidates import string_similarity
from linkage.link.index import choose_device, rows_of
from linkage.link.scorer import DEFAULT_SCORER, Scorer
from linkage.records import Records
from linkage.text import fold

if TYPE_CHECKING:
    from linkage.encode.embed import Embeddings

log = logging.getLogger(__name__)

MIN_LABELLED = 30
"""Fewer labelled records than this do not fit the cut."""

DEFAULT_PROBABILITY = 0.5
"""Without labels the cut is the distance at which the scorer gives this match probability."""

_PAIRS_AT_A_TIME = 100_000


@dataclass(frozen=True)
class ClusterResult:
    """What clustering gives.

    Attributes:
        members: one row per record, ordered by record_id (see the data dictionary).
        max_distance: the cut, in the scorer's fused distance 0..1, inclusive.
        source: where the cut comes from.
    """

    members: pd.DataFrame
    max_distance: float
    source: Literal["given", "fitted", "default"]


def cluster(
    records: Records,
    embeddings: Embeddings,
    config: ClusterConfig,
    *,
    scorer: Scorer | None = None,
    seed: int = 0,
    device: Device = "auto",
) -> ClusterResult:
    """Group records into entities; a record alike to no other becomes an entity of its own.

    Records with the same vector and text are one node of the graph. The distance cut is fitted, where enough
    records of split train, val or none have an `entity_id`, by an exact scan for the best B-cubed F1 on them;
    rows of split test are never looked at. The order of the records does not matter.

    Args:
        records: records to group; crops are not read.
        embeddings: hold every one of the records.
        config: neighbours, HDBSCAN's two sizes, the cut.
        scorer: gives the fused distance; default: DEFAULT_SCORER.
        seed: of the approximate search used beyond 200,000 records.
        device: where neighbours are searched.

    Raises:
        ArtefactError: a record has no embedding.
        DependencyError: the device asked for is not there.
    """
    scorer = scorer or DEFAULT_SCORER
    frame = records.frame.sort_values("record_id", kind="stable").reset_index(drop=True)
    vectors = embeddings.pooled()[rows_of(frame["record_id"], embeddings)].astype(np.float32)
    texts = np.array([fold(text) for text in frame["text"]], dtype=object)
    node, first = _collapse(vectors, texts)
    graph = _Graph(vectors[first], texts[first], scorer)
    tree, labels = graph.cluster(config, choose_device(device), seed)
    if config.max_distance is not None:
        limit, source = config.max_distance, "given"
    else:
        limit, source = _fit_cut(frame, node, inner_edges(tree, labels), scorer)
    log.info("cluster: %d records, cut at distance %.3f (%s)", len(frame), limit, source)
    entity = cut(tree, labels, limit)[node] if len(frame) else np.empty(0, np.int64)
    return ClusterResult(_members(frame, vectors, texts, entity, scorer), limit, source)  # type: ignore[arg-type]


def _collapse(vectors: np.ndarray, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Node of every record and first record of every node: equal vectors and texts are one node.

    Copies at distance 0 have infinite density and would break every cluster that they are part of. A record with
    neither picture nor text says nothing: it stays by itself.
    """
    seen: dict[object, int] = {}
    node = np.empty(len(vectors), dtype=np.int64)
    first = []
    for row, (vector, text) in enumerate(zip(vectors, texts, strict=True)):
        key: object = (hashlib.sha256(vector.tobytes()).digest(), text) if vector.any() else row
        node[row] = seen.setdefault(key, len(seen))
        if node[row] == len(first):
            first.append(row)
    return node, np.array(first, dtype=np.int64)


class _Graph:
    """The distinct records and the distances between them."""

    def __init__(self, vectors: np.ndarray, texts: np.ndarray, scorer: Scorer) -> None:
        self.vectors = vectors
        self.distance = fused_distance(vectors, texts, scorer)

    def cluster(
        self, config: ClusterConfig, device: Literal["cpu", "cuda"], seed: int
    ) -> tuple[Edges, np.ndarray]:
        """Spanning tree over the nodes that have a vector, and flat cluster of every node (-1: noise)."""
        labels = np.full(len(self.vectors), -1, dtype=np.int64)
        kept = np.flatnonzero(self.vectors.any(axis=1))
        vectors = self.vectors[kept]

        def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return self.distance(kept[a], kept[b])

        graph = neighbour_graph(vectors, config.neighbours, distance, device=device, seed=seed)
        graph = mutual_reachability(graph, len(kept), config.min_samples)
        tree = spanning_tree(graph, vectors, distance)
        labels[kept] = flat_clusters(tree, len(kept), config.min_cluster_size)
        return Edges(kept[tree.a], kept[tree.b], tree.weight), labels


def fused_distance(vectors: np.ndarray, texts: np.ndarray, scorer: Scorer) -> Distance:
    """The scorer's distance between records, as a function of two arrays of row numbers."""

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        found = np.empty(len(a))
        for start in range(0, len(a), _PAIRS_AT_A_TIME):
            part = slice(start, start + _PAIRS_AT_A_TIME)
            found[part] = scorer.distance(*similarities(vectors, texts, a[part], b[part]))
        return found

    return distance


def similarities(
    vectors: np.ndarray, texts: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pooled cosines and string similarities (NaN: a text is missing) of record pairs, float64 (m,) each."""
    cosine = np.einsum("ij,ij->i", vectors[a], vectors[b]).astype(np.float64).round(6)
    return cosine, string_similarity(texts[a].tolist(), texts[b].tolist())


def _fit_cut(
    frame: pd.DataFrame, node: np.ndarray, inner: Edges, scorer: Scorer
) -> tuple[float, Literal["fitted", "default"]]:
    labelled = ((frame["entity_id"] != "") & frame["split"].isin(["train", "val", ""])).to_numpy()
    truth = frame["entity_id"].to_numpy(dtype=object)
    if (
        labelled.sum() < MIN_LABELLED
        or not frame.loc[labelled, "entity_id"].duplicated().any()
        or not len(inner.a)
    ):
        return scorer.distance_at(DEFAULT_PROBABILITY), "default"
    counts: list[Counter[str]] = [Counter() for _ in range(int(node.max()) + 1)]
    for row in np.flatnonzero(labelled):
        counts[node[row]][truth[row]] += 1
    return best_cut(counts, inner), "fitted"


def best_cut(counts: list[Counter[str]], inner: Edges) -> float:
    """The cut with the best B-cubed F1 (Bagga and Baldwin 1998), by an exact scan of the edges' weights.

    Args:
        counts: how many labelled records of which entity each node holds; consumed.
        inner: edges that may join nodes, in ascending order of weight.

    Returns:
        The midpoint between the last weight that should join and the first that should not.
    """
    size = Counter[str]()
    for count in counts:
        size.update(count)
    total = sum(size.values())
    parent = list(range(len(counts)))

    def find(node: int) -> int:
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    def share(count: Counter[str]) -> tuple[float, float]:
        n = sum(count.values())
        squares = [(label, found * found) for label, found in count.items()]
        return sum(s for _, s in squares) / max(n, 1), sum(s / size[label] for label, s in squares)

    precision, recall = (sum(column) for column in zip(*(share(count) for count in counts), strict=True))
    best, chosen = 2 * precision * recall / (precision + recall) / total, -1
    for step, (a, b) in enumerate(zip(inner.a.tolist(), inner.b.tolist(), strict=True)):
        one, two = sorted((find(a), find(b)), key=lambda node: len(counts[node]))
        if counts[one]:
            before = [x + y for x, y in zip(share(counts[one]), share(counts[two]), strict=True)]
            counts[two].update(counts[one])
            after = share(counts[two])
            precision, recall = precision + after[0] - before[0], recall + after[1] - before[1]
        parent[one] = two
        last = step + 1 == len(inner.a) or inner.weight[step + 1] > inner.weight[step]
        f1 = 2 * precision * recall / (precision + recall) / total
        if last and f1 > best + 1e-12:
            best, chosen = f1, step
    if chosen < 0:
        return float(inner.weight[0]) / 2
    following = inner.weight[chosen + 1] if chosen + 1 < len(inner.weight) else 1.0
    return float((inner.weight[chosen] + max(following, inner.weight[chosen])) / 2)


def _members(
    frame: pd.DataFrame, vectors: np.ndarray, texts: np.ndarray, entity: np.ndarray, scorer: Scorer
) -> pd.DataFrame:
    n = len(frame)
    entity = np.unique(entity, return_inverse=True)[1].astype(np.int64)
    central = medoids(vectors, entity) if n else np.empty(0, np.int64)
    exemplar = central[entity] if n else np.empty(0, np.int64)
    alone = np.bincount(entity, minlength=1)[entity] == 1 if n else np.empty(0, bool)
    ids = frame["record_id"].to_numpy(dtype=object)
    score, string = similarities(vectors, texts, np.arange(n), exemplar)
    is_exemplar = exemplar == np.arange(n)
    columns = {
        "record_id": ids,
        "entity_id": ["e" + hashlib.sha256(str(ids[row]).encode()).hexdigest()[:16] for row in exemplar],
        "origin": np.where(alone, "singleton", "clustered"),
        "membership": np.where(is_exemplar, 1.0, scorer.probability(score, string)),
        "noise": alone.astype(int),
        "is_exemplar": is_exemplar.astype(int),
        "score": np.where(is_exemplar, np.nan, score),
    }
    return member_columns(pd.DataFrame(columns), frame)
