"""Why clustering put a record where it is: its exemplar, its nearest records inside and outside, and the cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from linkage.cluster.entities import similarities
from linkage.link.candidates import Vectors, split_score
from linkage.link.index import rows_of
from linkage.link.scorer import Scorer
from linkage.link.wording import Wording
from linkage.report.comparison import Comparison, as_page, as_text, Side, compare, difference, weigh

if TYPE_CHECKING:
    from linkage.encode.embed import Embeddings

_NEAREST = 50  # records by cosine whose wording is compared: as many as clustering looks at, and some more


@dataclass(frozen=True)
class Group:
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
            says.append(f"Its match probability with the exemplar, {self.exemplar.right.record_id}, is "
                        f"{self.exemplar.probability:.3f}.")
        if other is not None and other.distance is not None:
            says.append(
                f"The nearest record of another entity is {other.right.record_id}, at distance {other.distance:.3f}"
                + (f", beyond {cut}." if other.distance > self.max_distance else
                   f": within {cut}, but HDBSCAN drew the border between them, where records are sparse.")
            )
            if near is not None:
                says.append(f"What tells the two apart: {weigh(difference(near, other))}.")
            else:
                says.append(f"What speaks for a match with it: {weigh(other.voices)}.")
        return says


@dataclass(frozen=True)
class Grouping:
    """The records of a run that were clustered, and how.

    Attributes:
        frame: the run's records.
        embeddings: hold every one of them.
        scorer: the one behind the distance.
        max_distance, max_distance_source: see `Group`.
    """

    frame: pd.DataFrame
    embeddings: Embeddings
    scorer: Scorer
    max_distance: float
    max_distance_source: str

    def explain(self, record_id: str, members: pd.DataFrame) -> Group:
        """What clustering made of one record.

        Args:
            record_id: of a record that was clustered.
            members: of the whole run; the others with origin clustered or singleton are what it was compared with.

        Raises:
            ArtefactError: a record has no embedding.
        """
        pool = members[members["origin"].isin(["clustered", "singleton"])]
        entity = pool.set_index("record_id")["entity_id"]
        frame = self.frame[self.frame["record_id"].isin(entity.index)].reset_index(drop=True)
        rows = rows_of(frame["record_id"], self.embeddings)
        own = int(np.flatnonzero(frame["record_id"] == record_id)[0])
        entities = frame["record_id"].map(entity).to_numpy(dtype=object)
        inside = entities == entities[own]
        vectors = self.embeddings.pooled()[rows]
        cosine = vectors @ vectors[own]
        cosine[~vectors.any(axis=1)] = -1.0
        order = np.argsort(-cosine, kind="stable")
        order = order[order != own]
        exemplar_id = pool.loc[(pool["entity_id"] == entities[own]) & (pool["is_exemplar"] == 1), "record_id"].iloc[0]
        exemplar = int(np.flatnonzero(frame["record_id"] == exemplar_id)[0])
        pairs = _Pairs(self, frame, rows, entities, own)
        return Group(
            max_distance=self.max_distance,
            max_distance_source=self.max_distance_source,
            exemplar=None if exemplar == own else pairs.nearest(np.array([exemplar])),
            nearest=pairs.nearest(order[inside[order]][:_NEAREST]),
            runner_up=pairs.nearest(order[~inside[order]][:_NEAREST]),
        )


class _Pairs:
    """One record beside others."""

    def __init__(
        self, grouping: Grouping, frame: pd.DataFrame, rows: np.ndarray, entities: np.ndarray, own: int
    ) -> None:
        self.grouping = grouping
        self.frame = frame
        self.rows = rows
        self.entities = entities
        self.own = own

    def nearest(self, others: np.ndarray) -> Comparison | None:
        """The comparison with the one at the least fused distance; None where there is none."""
        from linkage.report.scoring import contributions

        if not len(others):
            return None
        embeddings, scorer = self.grouping.embeddings, self.grouping.scorer
        weight = float(embeddings.manifest["image_weight"])
        every = np.concatenate([[self.own], others])
        readings = embeddings.readings.iloc[self.rows[every]]
        wording = Wording(self.frame["text"].iloc[every].tolist(), readings)
        first, second = np.zeros(len(others), dtype=np.int64), np.arange(1, len(every))
        pooled = embeddings.pooled()[self.rows[every]]
        alike = similarities(pooled[first], pooled[second], wording, first, second)
        distance = scorer.distance(alike)
        best = int(np.argmin(distance))  # the first of equals: the one with the higher cosine
        pair = Vectors.of(embeddings, self.rows[every[[0, best + 1]]])
        split = split_score(Vectors(*(part[:1] for part in pair)), Vectors(*(part[1:] for part in pair)), weight)
        numbers = pd.DataFrame([alike[best]], columns=["score", "string_score", "partial_score", "likelihood"])
        told = contributions(scorer, numbers).iloc[0]
        for name, value in zip(("score", "image_score", "text_score", "cross_score"), split, strict=True):
            numbers[name] = value
        return compare(
            self._side(self.own),
            self._side(int(others[best])),
            str(self.entities[others[best]]),
            numbers.iloc[0].to_dict(),
            told,
            probability=float(scorer.probability(alike[[best]])[0]),
            distance=float(distance[best]),
        )

    def _side(self, row: int) -> Side:
        record = self.frame.iloc[row]
        reading = self.grouping.embeddings.readings["reading"].iloc[self.rows[row]]
        return Side(
            str(record["record_id"]),
            as_text(record["text"]),
            as_text(reading),
            as_text(record.get("source")),
            as_page(record.get("page")),
        )
