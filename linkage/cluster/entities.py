"""Clustering of records: what the pairs of the graph are weighed by, and what becomes a member."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from linkage.cluster.fit import DEFAULT_POOLED_DISTANCE, DEFAULT_PROBABILITY, labels_by_node
from linkage.cluster.members import entity_id, member_columns
from linkage.cluster.tree import Distance, medoids
from linkage.cluster.vectors import collapse, cosines, entities_of, pooled_distance
from linkage.compare.fields import FieldType, check_columns
from linkage.compare.fit import LabelledPairs, refit
from linkage.compare.likeness import ComparedRecords, RecordComparison
from linkage.compare.scorer import DEFAULT_SCORER, FEATURES, Scorer
from linkage.compare.wording import Wording
from linkage.config import ClusterConfig, Device
from linkage.progress import progress
from linkage.records import Records
from linkage.search.exact import choose_device
from linkage.search.graph import Edges, NeighbourSearch, graph_edges, knn_graph
from linkage.search.index import rows_of

if TYPE_CHECKING:
    from linkage.encode.embeddings import Embeddings

log = logging.getLogger(__name__)

_PAIRS_AT_A_TIME = 100_000

FITTED_ON = 100_000
"""Labelled pairs that the scorer is fitted on; of more, as many are drawn."""


@dataclass(frozen=True)
class ClusterResult:
    """What clustering gives.

    Attributes:
        members: one row per record, ordered by record_id (see the data dictionary).
        max_distance: the cut, inclusive, in the distance that the configuration names: the scorer's fused one, 0..1,
            or 1 - cosine of the pooled vectors.
        source: where the cut comes from.
        resolution: distance below which records counted as equally near (see `selection.flat_clusters`).
        scorer: the scorer behind the fused distance and the members' probabilities.
        searched: how the neighbours were found, and how many of them.
    """

    members: pd.DataFrame
    max_distance: float
    source: Literal["given", "fitted", "default"]
    resolution: float
    scorer: Scorer
    searched: NeighbourSearch

    @property
    def fitted(self) -> list[str]:
        """What labels fitted: cut, scorer."""
        told = {"cut": self.source, "scorer": self.scorer.origin}
        return [name for name, origin in told.items() if origin == "fitted"]

    def counts(self) -> dict[str, Any]:
        """For manifests and summaries."""
        return {"max_distance": self.max_distance, "max_distance_source": self.source} | self.searched.counts()


def cluster(
    records: Records,
    embeddings: Embeddings,
    config: ClusterConfig,
    *,
    scorer: Scorer | None = None,
    fields: Mapping[str, FieldType] | None = None,
    seed: int = 0,
    device: Device = "auto",
) -> ClusterResult:
    """Group records into entities; a record alike to no other becomes an entity of its own.

    Records with the same vector and text are one node of the graph (with the same vector, where `cluster.distance` is
    pooled: no texts are compared then). The distance cut is fitted, where enough
    records of split train, val or none have an `entity_id`, by an exact scan for the best B-cubed F1 on them;
    rows of split test are never looked at. The order of the records does not matter.

    Args:
        records: records to group; crops are not read.
        embeddings: hold every one of the records.
        config: method, distance, graph, HDBSCAN's two sizes, the cut.
        scorer: gives the fused distance and probabilities; default: DEFAULT_SCORER.
        fields: further columns to compare, by type.
        seed: of the approximate search, and of the labelled pairs drawn for the fit where there are many.
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
    fused = config.distance == "fused"
    texts, alike = None, pooled_alone(vectors)
    if fused:
        wording = Wording.of(frame, embeddings.readings_of(rows), embeddings.folding)
        side = ComparedRecords(embeddings, rows, frame, wording)
        likeness = RecordComparison(side, side, float(embeddings.manifest["image_weight"]), fields or {})
        texts, alike = wording.texts, lambda a, b: likeness.of(a, b)[0]
    there = vectors.any(axis=1)
    present = np.flatnonzero(there)
    node, first = collapse(vectors if there.all() else vectors[there], None if texts is None else texts[there])
    distinct = present[first]
    # A cut that is given is in the distance of the scorer that came with it: that is not to be refitted.
    known = None if config.max_distance is not None else labels_by_node(frame.iloc[present], node)
    nodes = vectors if len(distinct) == len(vectors) else vectors[distinct]
    graph = knn_graph(nodes, config.neighbours, kind=config.graph, device=choose_device(device), seed=seed)
    searched, edges = graph.searched, graph_edges(graph)
    del graph
    distance, default = pooled_distance(nodes), DEFAULT_POOLED_DISTANCE
    if fused:
        scorer = _fitted(scorer, edges, known.labels(), distinct, alike, seed) if known else scorer
        distance, default = _fused_distance(scorer, distinct, alike), scorer.distance_at(DEFAULT_PROBABILITY)
        edges = edges._replace(weight=distance(edges.a, edges.b))
    found, cutting = entities_of(edges, nodes, distance, config, known, default)
    del edges, nodes
    log.info("cluster: %d records, cut at distance %.3f (%s)", len(frame), cutting.max_distance, cutting.source)
    entity = np.arange(len(frame)) + len(frame)  # a record with neither picture nor text stays by itself
    entity[present] = found[node]
    return ClusterResult(_members(frame, vectors, alike, entity, scorer), *cutting, scorer, searched)


Alike = Callable[[np.ndarray, np.ndarray], pd.DataFrame]
"""What the scorer weighs of pairs of records (rows (m,) twice)."""


def pooled_alone(vectors: np.ndarray) -> Alike:
    """The pooled cosine as all that is known of a pair."""

    def alike(a: np.ndarray, b: np.ndarray) -> pd.DataFrame:
        known = {"score": cosines(vectors, a, b).astype(np.float64).round(6)}
        return pd.DataFrame(known, columns=list(FEATURES), dtype=np.float64)

    return alike


def _fused_distance(scorer: Scorer, distinct: np.ndarray, alike: Alike) -> Distance:
    """The scorer's distance of pairs of nodes; what it weighs is in memory for a slice of them at a time."""

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        found = np.empty(len(a))
        with progress("distances", len(a), "pairs") as advance:
            for part in _slices(len(a)):
                found[part] = scorer.distance(alike(distinct[a[part]], distinct[b[part]]))
                advance(part.stop - part.start)
        return found

    return distance


def _fitted(scorer: Scorer, edges: Edges, label: np.ndarray, distinct: np.ndarray, alike: Alike, seed: int) -> Scorer:
    """Fit the scorer on neighbours with labels, if enough of them match; else return `scorer`."""
    known = np.flatnonzero((label[edges.a] != "") & (label[edges.b] != ""))
    if len(known) > FITTED_ON:
        known = np.sort(np.random.default_rng(seed).choice(known, FITTED_ON, replace=False))
    a, b = edges.a[known], edges.b[known]
    each = np.arange(len(known))  # a record may match many: every pair is a question of its own
    pairs = alike(distinct[a], distinct[b])
    fit = refit(scorer, LabelledPairs(pairs, np.asarray(label[a] == label[b], dtype=bool), each, label[a]))
    return fit.scorer if fit else scorer


def _slices(n: int) -> Iterator[slice]:
    return (slice(start, min(n, start + _PAIRS_AT_A_TIME)) for start in range(0, n, _PAIRS_AT_A_TIME))


def _members(
    frame: pd.DataFrame, vectors: np.ndarray, alike: Alike, entity: np.ndarray, scorer: Scorer
) -> pd.DataFrame:
    entity = np.unique(entity, return_inverse=True)[1].astype(np.int64)
    stands = medoids(vectors, entity)
    exemplar, rows = stands[entity], np.arange(len(frame))
    alone = np.bincount(entity, minlength=1)[entity] == 1
    score, membership = np.full(len(frame), np.nan), np.ones(len(frame))
    others = np.flatnonzero(exemplar != rows)
    for part in _slices(len(others)):
        some = others[part]
        pairs = alike(some, exemplar[some])
        score[some], membership[some] = pairs["score"], scorer.probability(pairs)
    ids = frame["record_id"].to_numpy(dtype=object)
    names = np.array([entity_id(str(ids[row])) for row in stands], dtype=object)
    members = {
        "record_id": ids,
        "entity_id": names[entity],
        "origin": np.where(alone, "singleton", "clustered"),
        "membership": membership,
        "noise": alone.astype(int),
        "is_exemplar": (exemplar == rows).astype(int),
        "score": score,
    }
    return member_columns(pd.DataFrame(members), frame)
