"""Why clustering put a record where it is: its exemplar, its nearest records inside and outside, and the cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from linkage.compare.fields import FieldType
from linkage.compare.likeness import ComparedRecords, RecordComparison
from linkage.compare.scorer import Scorer
from linkage.compare.wording import Wording
from linkage.explain.comparison import Comparison, ShownRecord, compare, difference, record_of, weigh
from linkage.search.index import rows_of

if TYPE_CHECKING:
    from linkage.encode.embeddings import Embeddings

CLUSTERED = ("clustered", "singleton")
"""Origins of the records that clustering saw."""

_NEAREST = 50  # records by cosine whose wording is compared: as many as clustering looks at, and some more


@dataclass(frozen=True)
class ClusterPlace:
    """What clustering made of a record.

    Attributes:
        max_distance: the cut, in fused distance 0..1 (inclusive); max_distance_source: fitted, given or default.
        exemplar: the record and its entity's exemplar; None where it is the exemplar itself.
        nearest: the record and the nearest other one of its entity; None where it is alone.
        runner_up: the record and the nearest one of another entity among those clustered; None where there is none.
    """

    max_distance: float
    max_distance_source: str
    exemplar: Comparison | None
    nearest: Comparison | None
    runner_up: Comparison | None

    @property
    def shown(self) -> tuple[Comparison | None, Comparison | None]:
        """The pair that tells most (with the exemplar, else with the nearest record) and what to hold beside it."""
        own = self.exemplar or self.nearest
        return (own, self.runner_up) if own else (self.runner_up, None)

    def says(self) -> list[str]:
        """The same in sentences."""
        cut = f"the cut {self.max_distance:.3f} ({self.max_distance_source})"
        near, other = self.nearest, self.runner_up
        says = []
        if near is None:
            says.append("An entity of its own: clustering found nothing that is near enough.")
        elif near.distance is not None:
            where = "within" if near.distance <= self.max_distance else "beyond"
            says.append(
                f"Clustered into {near.entity_id}: its nearest record there is {near.right.record_id}, at distance "
                f"{near.distance:.3f}, {where} {cut}."
            )
        if self.exemplar:
            says.append(
                f"Its match probability with the exemplar, {self.exemplar.right.record_id}, is "
                f"{self.exemplar.probability:.3f}."
            )
        if other is not None and other.distance is not None:
            says.append(
                f"The nearest record of another entity is {other.right.record_id}, at distance {other.distance:.3f}"
                + (
                    f", beyond {cut}."
                    if other.distance > self.max_distance
                    else f": within {cut}, but clustering as a whole kept the two apart."
                )
            )
            own, beside = self.shown
            if own and beside:
                says.append(f"What tells {own.right.record_id} from it: {weigh(difference(own, beside))}.")
            else:
                says.append(f"What speaks for a match with it: {weigh(other.voices)}.")
        return says


@dataclass(frozen=True)
class ClusterEvidence:
    """The records of a run that were clustered, and how.

    Attributes:
        frame: the run's records.
        embeddings: hold every one of them.
        scorer: the one behind the distance.
        fields: further columns that it compared, by type.
        max_distance, max_distance_source: see `ClusterPlace`.
        pooled: the distance was 1 - cosine of the pooled vectors, not the scorer's.
    """

    frame: pd.DataFrame
    embeddings: Embeddings
    scorer: Scorer
    fields: Mapping[str, FieldType]
    max_distance: float
    max_distance_source: str
    pooled: bool = False

    def explain(self, record_id: str, members: pd.DataFrame) -> ClusterPlace:
        """What clustering made of one record.

        Args:
            record_id: of a record that was clustered.
            members: of the whole run, as predicted; the others with origin clustered or singleton are what it was
                compared with.

        Raises:
            ArtefactError: a record has no embedding.
        """
        pool = members[members["origin"].isin(CLUSTERED)].set_index("record_id")
        frame = self.frame[self.frame["record_id"].isin(pool.index)].reset_index(drop=True)
        pairs = _Pairs(self, frame, frame["record_id"].map(pool["entity_id"]).to_numpy(dtype=object), record_id)
        is_exemplar = frame["record_id"].map(pool["is_exemplar"]).to_numpy() == 1
        inside, order = pairs.inside, pairs.order
        return ClusterPlace(
            max_distance=self.max_distance,
            max_distance_source=self.max_distance_source,
            exemplar=pairs.nearest(order[inside[order] & is_exemplar[order]]),
            nearest=pairs.nearest(order[inside[order]][:_NEAREST]),
            runner_up=pairs.nearest(order[~inside[order]][:_NEAREST]),
        )


class _Pairs:
    """One record beside the others that were clustered."""

    def __init__(self, grouping: ClusterEvidence, frame: pd.DataFrame, entities: np.ndarray, record_id: str) -> None:
        embeddings = grouping.embeddings
        rows = rows_of(frame["record_id"], embeddings)
        self.scorer, self.pooled, self.folding = grouping.scorer, grouping.pooled, embeddings.folding
        self.frame = frame.assign(entity_id=entities, reading=embeddings.readings["reading"].to_numpy()[rows])
        self.own = int(np.flatnonzero(frame["record_id"] == record_id)[0])
        self.inside = entities == entities[self.own]
        # Of all of them, not of the few compared: how rare letters are is counted over what was clustered.
        side = ComparedRecords(
            embeddings, rows, frame, Wording.of(frame, embeddings.readings.iloc[rows], embeddings.folding)
        )
        self.likeness = RecordComparison(side, side, float(embeddings.manifest["image_weight"]), grouping.fields)
        vectors = embeddings.pooled(rows=rows)
        order = np.argsort(-(vectors @ vectors[self.own]), kind="stable")
        self.order = order[order != self.own]  # the others, those with the highest cosine first

    def nearest(self, others: np.ndarray) -> Comparison | None:
        """The comparison with the one at the least fused distance; None where there is none."""
        if not len(others):
            return None
        alike, parts = self.likeness.of(np.full(len(others), self.own), others)
        distance = 1.0 - alike["score"].to_numpy() if self.pooled else self.scorer.distance(alike)
        best = int(np.argmin(distance))  # of equals the one with the higher cosine
        pair = alike.iloc[[best]]
        return compare(
            self._record(self.own),
            self._record(int(others[best])),
            str(self.frame["entity_id"].iloc[others[best]]),
            dict(zip([*pair, *parts], [*pair.iloc[0], *parts.iloc[best]], strict=True)),
            self.scorer.contributions(pair).iloc[0],
            self.folding,
            probability=float(self.scorer.probability(pair)[0]),
            distance=float(distance[best]),
        )

    def _record(self, row: int) -> ShownRecord:
        return record_of(self.frame.iloc[row])
