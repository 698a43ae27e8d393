"""Where clustering cuts: fitted on labelled records by an exact scan, or a stated default."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import pandas as pd

from linkage.search.graph import Edges

MIN_LABELLED = 30
"""Fewer labelled records than this do not fit the cut."""

DEFAULT_POOLED_DISTANCE = 0.25
"""Without labels the cut in 1 - cosine of pooled vectors: where the default scorer gives even odds to a pair of
which only cosines are known. Not fitted on data."""

RESOLUTIONS = (0.1, 0.05, 0.02, 0.2, 0.3)
"""Resolutions tried where there are labels (see `selection.flat_clusters`); of equals the first."""

DEFAULT_RESOLUTION = 0.5
"""Without labels the resolution is this share of the cut."""

DEFAULT_PROBABILITY = 0.5
"""Without labels the cut in fused distance is where the scorer gives this match probability."""


class FittedCut(NamedTuple):
    """A distance cut and how well it does: B-cubed F1 on the labelled records, 0..1."""

    max_distance: float
    f1: float


class NodeLabels(NamedTuple):
    """What labels say of the nodes of a graph.

    Attributes:
        counts: labelled records of each node by entity.
        others: its records without a label, which the cut takes for records of other entities, int64 (n,).
    """

    counts: list[Counter[str]]
    others: np.ndarray

    def seen_on(self, tree: Edges) -> NodeLabels:
        """The same for the fit: `others` are none where single records have labels, and not whole entities.

        Where entities are labelled whole, a record without a label that is joined to one of them is a false one, and
        labels of a few entities tell of false joins as well as labels of all. Which case it is shows where nobody
        doubts: among the edges no longer than half of those between labelled records of one entity.
        """
        label = self.labels()
        left, right = label[tree.a], label[tree.b]
        same = (left != "") & (left == right)
        if same.any():
            short = tree.weight <= np.median(tree.weight[same])
            both = int((short & (left != "") & (right != "")).sum())
            one = int((short & ((left != "") ^ (right != ""))).sum())
            if 2 * both >= _WHOLE * (2 * both + one):
                return self
        return self._replace(others=np.zeros_like(self.others))

    def labels(self) -> np.ndarray:
        """Most frequent entity of each node, "" without one; objects (n,)."""
        return np.array([count.most_common(1)[0][0] if count else "" for count in self.counts], dtype=object)


_WHOLE = 0.9  # share of the nearest of labelled records that have a label, where entities are labelled whole


def labels_by_node(frame: pd.DataFrame, node: np.ndarray) -> NodeLabels | None:
    """What the labels of records say of their nodes; None where they are too few to fit on.

    Rows of split test are never looked at: they count as rows without a label.
    """
    truth = frame["entity_id"].to_numpy(dtype=object)
    labelled = (truth != "") & frame["split"].isin(["train", "val", ""]).to_numpy()
    if labelled.sum() < MIN_LABELLED or len(set(truth[labelled])) == labelled.sum():
        return None
    n = int(node.max()) + 1
    counts: list[Counter[str]] = [Counter() for _ in range(n)]
    for row in np.flatnonzero(labelled):
        counts[node[row]][truth[row]] += 1
    return NodeLabels(counts, np.bincount(node[~labelled], minlength=n))


def best_cut(known: NodeLabels, inner: Edges) -> FittedCut:
    """The cut with the best B-cubed F1 (Bagga and Baldwin 1998), by an exact scan of the edges' weights.

    Args:
        known: of the nodes.
        inner: edges that may join nodes, in ascending order of weight.

    Returns:
        Midway between the last weight that should join and the first that should not.
    """
    tally = _Tally(known)
    best, chosen = tally.f1(), -1
    weights = inner.weight
    for step, (a, b) in enumerate(zip(inner.a.tolist(), inner.b.tolist(), strict=True)):
        tally.join(a, b)
        complete = step + 1 == len(weights) or weights[step + 1] > weights[step]
        if complete and tally.f1() > best + 1e-12:
            best, chosen = tally.f1(), step
    below = weights[chosen] if chosen >= 0 else 0.0
    above = weights[chosen + 1] if chosen + 1 < len(weights) else 1.0
    return FittedCut(float((below + max(above, below)) / 2), best)


class _Tally:
    """B-cubed precision and recall, summed over labelled records, while groups of nodes are joined.

    A join costs as much as the smaller group has entities, however large the other one is.
    """

    def __init__(self, known: NodeLabels) -> None:
        self.counts = [Counter(count) for count in known.counts]
        self.within = [count.total() + others for count, others in zip(self.counts, known.others.tolist(), strict=True)]
        self.squares = [sum(found * found for found in count.values()) for count in self.counts]
        self.parent = list(range(len(self.counts)))
        self.size: Counter[str] = Counter()
        for count in self.counts:
            self.size.update(count)
        self.total = sum(self.size.values())
        self.precision = sum(map(self._precision, range(len(self.counts))))
        self.recall = sum(found**2 / self.size[name] for count in self.counts for name, found in count.items())

    def f1(self) -> float:
        return 2 * self.precision * self.recall / (self.precision + self.recall) / self.total

    def join(self, a: int, b: int) -> None:
        small, large = sorted((self._find(a), self._find(b)), key=lambda node: len(self.counts[node]))
        self.parent[small] = large
        self.precision -= self._precision(small) + self._precision(large)
        for name, found in self.counts[small].items():
            both = 2 * found * self.counts[large][name]
            self.squares[large] += both
            self.recall += both / self.size[name]
            self.counts[large][name] += found
        self.squares[large] += self.squares[small]
        self.within[large] += self.within[small]
        self.precision += self._precision(large)

    def _precision(self, node: int) -> float:
        return self.squares[node] / self.within[node] if self.squares[node] else 0.0

    def _find(self, node: int) -> int:
        while self.parent[node] != node:
            self.parent[node] = node = self.parent[self.parent[node]]
        return node
