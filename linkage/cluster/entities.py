"""Clustering of records: fused distances, the distance cut and its fit, and what becomes a member."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd

from linkage.cluster.fit import (
    DEFAULT_PROBABILITY,
    DEFAULT_RESOLUTION,
    RESOLUTIONS,
    best_cut,
    labels_by_node,
)
from linkage.cluster.members import member_columns
from linkage.cluster.tree import (
    Edges,
    cut,
    flat_clusters,
    inner_edges,
    medoids,
    mutual_reachability,
    neighbour_pairs,
    spanning_tree,
)
from linkage.config import ClusterConfig, Device
from linkage.link.exact import choose_device
from linkage.link.fields import Kind, check_columns
from linkage.link.fit import Labelled, refit
from linkage.link.index import rows_of
from linkage.link.likeness import Likeness, Side
from linkage.link.scorer import DEFAULT_SCORER, Scorer
from linkage.link.wording import Wording
from linkage.records import Records

if TYPE_CHECKING:
    from linkage.encode.embed import Embeddings

log = logging.getLogger(__name__)

_PAIRS_AT_A_TIME = 100_000


@dataclass(frozen=True)
class ClusterResult:
    """What clustering gives.

    Attributes:
        members: one row per record, ordered by record_id (see the data dictionary).
        max_distance: the cut, in the scorer's fused distance 0..1, inclusive.
        source: where the cut comes from.
        scorer: the scorer behind the distance.
        resolution: distance below which records counted as equally near (see `tree.flat_clusters`).
    """

    members: pd.DataFrame
    max_distance: float
    source: Literal["given", "fitted", "default"]
    resolution: float
    scorer: Scorer


def cluster(
    records: Records,
    embeddings: Embeddings,
    config: ClusterConfig,
    *,
    scorer: Scorer | None = None,
    fields: Mapping[str, Kind] | None = None,
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
        fields: further columns to compare, by type.
        seed: of the approximate search used beyond 200,000 records.
        device: where neighbours are searched.

    Raises:
        ArtefactError: a record has no embedding.
        DependencyError: the device asked for is not there.
        InputError: a column to compare is missing.
    """
    scorer = scorer or DEFAULT_SCORER
    check_columns(list(fields or {}), {str(records.path): records.frame})
    frame = records.frame.sort_values("record_id", kind="stable").reset_index(drop=True)
    rows = rows_of(frame["record_id"], embeddings)
    vectors = embeddings.pooled(rows=rows)
    wording = Wording.of(frame, embeddings.readings.iloc[rows])
    side = Side(embeddings, rows, frame, wording)
    likeness = Likeness(side, side, float(embeddings.manifest["image_weight"]), fields or {})
    entity = np.arange(len(frame)) + len(frame)  # a record with neither picture nor text stays by itself
    present = np.flatnonzero(vectors.any(axis=1))
    node, first = _collapse(vectors[present], wording.texts[present])
    given = config.max_distance is not None  # in the distance of the scorer that came with it: not to be refitted
    counts = None if given else labels_by_node(frame.iloc[present], node)
    graph = _Graph(vectors, likeness, present[first], config, choose_device(device), seed)
    scorer = graph.fit(counts, scorer) if counts else scorer
    tree = graph.tree(scorer, config.min_samples)
    chosen = _choose_cut(tree, len(first), config, scorer, counts)
    log.info("cluster: %d records, cut at distance %.3f (%s)", len(frame), chosen.max_distance, chosen.source)
    labels = flat_clusters(tree, len(first), config.min_cluster_size, chosen.resolution)
    entity[present] = cut(tree, labels, chosen.max_distance)[node]
    return ClusterResult(_members(frame, vectors, likeness, entity, scorer), *chosen, scorer)


def _collapse(vectors: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Node of every record and first record of every node: equal vectors and texts are one node.

    Copies at distance 0 have infinite density and would break every cluster that they are part of.
    """
    seen: dict[tuple[bytes, str], int] = {}
    node = np.empty(len(vectors), dtype=np.int64)
    first: list[int] = []
    for row, (vector, text) in enumerate(zip(vectors, texts, strict=True)):
        node[row] = seen.setdefault((hashlib.sha256(vector.tobytes()).digest(), text), len(seen))
        if node[row] == len(first):
            first.append(row)
    return node, np.array(first, dtype=np.int64)


class _Graph:
    """The distinct records, their neighbours, and how alike those are."""

    def __init__(
        self,
        vectors: np.ndarray,
        likeness: Likeness,
        rows: np.ndarray,
        config: ClusterConfig,
        device: Literal["cpu", "cuda"],
        seed: int,
    ) -> None:
        self.vectors = vectors[rows]
        self.likeness = likeness
        self.rows = rows
        self.a, self.b = neighbour_pairs(self.vectors, config.neighbours, device=device, seed=seed)
        self.alike = self.similarities(self.a, self.b)

    def similarities(self, a: np.ndarray, b: np.ndarray) -> pd.DataFrame:
        """What the scorer weighs of pairs of nodes, a slice at a time."""
        starts = range(0, max(len(a), 1), _PAIRS_AT_A_TIME)
        parts = [slice(start, start + _PAIRS_AT_A_TIME) for start in starts]
        alike = [self.likeness.of(self.rows[a[part]], self.rows[b[part]])[0] for part in parts]
        return pd.concat(alike, ignore_index=True)

    def fit(self, counts: list[Counter[str]], scorer: Scorer) -> Scorer:
        """Fit the scorer on neighbours with labels, if enough of them match; else return `scorer`."""
        label = np.array([count.most_common(1)[0][0] if count else "" for count in counts], dtype=object)
        known = (label[self.a] != "") & (label[self.b] != "")
        is_match = (label[self.a] == label[self.b])[known]
        each = np.arange(len(is_match))  # a record may match many: every pair is a question of its own
        pairs = self.alike[known].reset_index(drop=True)
        fit = refit(scorer, Labelled(pairs, is_match, each, label[self.a][known]))
        return fit.scorer if fit else scorer

    def tree(self, scorer: Scorer, min_samples: int) -> Edges:
        """Spanning tree of the mutual reachability under the scorer's distance."""
        edges = Edges(self.a, self.b, scorer.distance(self.alike))
        edges = mutual_reachability(edges, len(self.vectors), min_samples)
        return spanning_tree(edges, self.vectors, lambda a, b: scorer.distance(self.similarities(a, b)))


class _Chosen(NamedTuple):
    max_distance: float
    source: Literal["given", "fitted", "default"]
    resolution: float


def _choose_cut(
    tree: Edges, n: int, config: ClusterConfig, scorer: Scorer, counts: list[Counter[str]] | None
) -> _Chosen:
    """The cut and the resolution with the best B-cubed F1 on the labels; without labels, given or default."""
    if config.max_distance is not None:
        return _Chosen(config.max_distance, "given", DEFAULT_RESOLUTION * config.max_distance)
    if counts is None:
        limit = scorer.distance_at(DEFAULT_PROBABILITY)
        return _Chosen(limit, "default", DEFAULT_RESOLUTION * limit)
    fits = []
    for resolution in RESOLUTIONS:
        inner = inner_edges(tree, flat_clusters(tree, n, config.min_cluster_size, resolution))
        fits.append((best_cut(counts, inner), resolution))
    best, resolution = max(fits, key=lambda fit: fit[0].f1)  # the first of equals
    return _Chosen(best.max_distance, "fitted", resolution)


def _members(
    frame: pd.DataFrame, vectors: np.ndarray, likeness: Likeness, entity: np.ndarray, scorer: Scorer
) -> pd.DataFrame:
    entity = np.unique(entity, return_inverse=True)[1].astype(np.int64)
    rows = np.arange(len(frame))
    exemplar = medoids(vectors, entity)[entity]
    alone = np.bincount(entity, minlength=1)[entity] == 1
    ids = frame["record_id"].to_numpy(dtype=object)
    pairs = likeness.of(rows, exemplar)[0]
    members = {
        "record_id": ids,
        "entity_id": [entity_id(str(ids[row])) for row in exemplar],
        "origin": np.where(alone, "singleton", "clustered"),
        "membership": np.where(exemplar == rows, 1.0, scorer.probability(pairs)),
        "noise": alone.astype(int),
        "is_exemplar": (exemplar == rows).astype(int),
        "score": np.where(exemplar == rows, np.nan, pairs["score"]),
    }
    return member_columns(pd.DataFrame(members), frame)


def entity_id(exemplar_id: str) -> str:
    """Id of a found entity, derived from its exemplar's record_id: stable while the exemplar is."""
    return "e" + hashlib.sha256(exemplar_id.encode()).hexdigest()[:16]
