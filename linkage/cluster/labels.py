"""What is known decides: the entities that the user gave, put over those that linking and clustering found."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from linkage.cluster.entities import pooled_alone
from linkage.cluster.members import LABELLED, entity_id
from linkage.cluster.tree import medoids
from linkage.compare.fields import FieldType
from linkage.compare.likeness import ComparedRecords, RecordComparison
from linkage.compare.scorer import Scorer
from linkage.compare.wording import Wording
from linkage.search.index import rows_of

if TYPE_CHECKING:
    from linkage.encode.embeddings import Embeddings

_NEAREST = 8  # labelled records of a cluster, by cosine, that the scorer weighs for each one without a label
_ROWS_AT_A_TIME = 4096


def decide_by_labels(
    members: pd.DataFrame,
    frame: pd.DataFrame,
    embeddings: Embeddings,
    scorer: Scorer,
    *,
    fields: Mapping[str, FieldType] | None = None,
    pooled: bool = False,
) -> pd.DataFrame:
    """The members table with every labelled record in the entity that its label names.

    A record with an `entity_id` is in that entity, whatever was found; an exemplar is in its own already. So two
    records of one label are together, and two of different labels never are. Records without a label go by what was
    found for them:

    - one that was linked stays with its exemplar's entity;
    - a cluster whose labels are of one entity joins that entity;
    - a cluster with labels of several entities is split: each goes with the labelled record of the cluster that the
      scorer holds likeliest to match it (of the nearest ones by cosine);
    - a cluster without a label stays as it is.

    A record of role `query_nomatch` without an entity is known to be of no exemplar's entity: it stays out of them, in
    its cluster, or alone where it was linked. An entity whose records changed is stood for by an exemplar where it has
    one, else by its most central labelled record. The prediction stays in `predicted_entity_id` and `predicted_origin`.

    Args:
        members: the prediction, as `members.member_columns` gives it; one row per record.
        frame: the records, with LABELS.
        embeddings: hold every one of the records.
        scorer: gives the membership of those that come along with a label.
        fields: further columns that it compares, by type.
        pooled: pairs are weighed by the cosine of their pooled vectors alone.
    """
    known = frame.set_index("record_id").reindex(members["record_id"])
    label = known["entity_id"].to_numpy(dtype=object)
    came = members["predicted_origin"].to_numpy(dtype=object)
    given = came == "exemplar"
    label = np.where(given, members["predicted_entity_id"], label)
    nobody = (label == "") & (known["role"] == "query_nomatch").to_numpy()
    if not ((label != "") & ~given).any() and not nobody.any():
        return members
    found = members["predicted_entity_id"].to_numpy(dtype=object)
    compared = _Comparisons(members["record_id"], frame, embeddings, fields or {}, pooled=pooled)
    entity = np.where(label != "", label, found)
    clustered = ~pd.Series(came).isin(["exemplar", "linked"]).to_numpy()
    _follow(entity, label, np.where(clustered, found, ""), compared, scorer)
    taken = set(found[given])
    apart = nobody & pd.Series(entity).isin(taken).to_numpy()
    ids = members["record_id"]
    entity[apart] = [
        own if own not in taken else entity_id(row) for own, row in zip(found[apart], ids[apart], strict=True)
    ]
    decided = ((label != "") & ~given) | apart
    members = members.assign(entity_id=entity, origin=np.where(decided, LABELLED, came))
    members.loc[decided, ["membership", "noise"]] = 1.0, 0
    changed = set(entity[decided]) | set(entity[entity != found]) | set(found[entity != found])
    return _stood_for(members, changed, label != "", compared, scorer)


def _follow(entity: np.ndarray, label: np.ndarray, cluster: np.ndarray, compared: _Comparisons, scorer: Scorer) -> None:
    """Let the records without a label go with the labels of their cluster; changes `entity`, object (n,)."""
    rows = np.flatnonzero(cluster != "")
    for part in pd.Series(rows).groupby(cluster[rows], sort=False):
        inside = part[1].to_numpy()
        named = inside[label[inside] != ""]
        others = inside[label[inside] == ""]
        if not len(named) or not len(others):
            continue
        several = len(set(label[named])) > 1
        entity[others] = label[compared.likeliest(others, named, scorer)] if several else label[named[0]]


def _stood_for(
    members: pd.DataFrame, changed: set[str], labelled: np.ndarray, compared: _Comparisons, scorer: Scorer
) -> pd.DataFrame:
    """Who stands for each entity that changed, and how its records compare with that one."""
    entity, came = members["entity_id"].to_numpy(dtype=object), members["origin"].to_numpy(dtype=object)
    inside = np.flatnonzero(pd.Series(entity).isin(changed).to_numpy())
    rank = np.where(came == "exemplar", 0, np.where(labelled, 1, 2))[inside]
    best = pd.Series(rank).groupby(entity[inside]).transform("min").to_numpy() == rank
    able = inside[best]
    code = pd.factorize(entity[able])[0]
    central = able[medoids(compared.vectors_of(able), code)]
    first = {entity[row]: row for row in reversed(able) if came[row] == "exemplar"}  # of the exemplars the first
    stands = {entity[row]: row for row in central} | first
    exemplar = np.array([stands[entity[row]] for row in inside])
    members.loc[members.index[inside], "is_exemplar"] = (exemplar == inside).astype(int)
    others = (exemplar != inside) & (came[inside] != "exemplar")
    rows, beside = inside[others], exemplar[others]
    moved = (entity != members["predicted_entity_id"].to_numpy(dtype=object)) | (members["origin"] == LABELLED)
    weighed = (moved | (came != "linked"))[rows]
    rows, beside = rows[weighed], beside[weighed]
    if len(rows):
        alike = compared.of(rows, beside)
        free = came[rows] != LABELLED
        members.loc[members.index[rows], "score"] = alike["score"].to_numpy()
        members.loc[members.index[rows[free]], "membership"] = scorer.probability(alike[free])
    alone = inside[exemplar == inside]
    members.loc[members.index[alone], "score"] = np.nan
    members.loc[members.index[alone], "membership"] = 1.0
    return members


class _Comparisons:
    """Pairs of members (their rows) compared; only what is asked for is read."""

    def __init__(
        self,
        ids: pd.Series,
        frame: pd.DataFrame,
        embeddings: Embeddings,
        fields: Mapping[str, FieldType],
        *,
        pooled: bool,
    ) -> None:
        self._frame = frame.set_index("record_id", drop=False).loc[ids].reset_index(drop=True)
        self._rows = rows_of(self._frame["record_id"], embeddings)
        self._embeddings, self._fields, self._pooled = embeddings, fields, pooled

    def vectors_of(self, rows: np.ndarray) -> np.ndarray:
        """Pooled vectors of some members, float32 (m, D)."""
        return self._embeddings.pooled(rows=self._rows[rows])

    def of(self, a: np.ndarray, b: np.ndarray) -> pd.DataFrame:
        """What the scorer weighs of pairs, (m,) rows twice."""
        if not self._pooled:
            return self._compared.of(a, b)[0].reset_index(drop=True)
        some, place = np.unique(np.concatenate([a, b]), return_inverse=True)
        return pooled_alone(self.vectors_of(some))(place[: len(a)], place[len(a) :]).reset_index(drop=True)

    @cached_property
    def _compared(self) -> RecordComparison:
        """All members: what is rare among them does not hang on which pairs are asked for."""
        wording = Wording.of(self._frame, self._embeddings.readings_of(self._rows), self._embeddings.folding)
        side = ComparedRecords(self._embeddings, self._rows, self._frame, wording)
        return RecordComparison(side, side, float(self._embeddings.manifest["image_weight"]), self._fields)

    def likeliest(self, asked: np.ndarray, known: np.ndarray, scorer: Scorer) -> np.ndarray:
        """For each member asked about (m,) the likeliest to match of those known; of equals the first."""
        vectors, best = self.vectors_of(known), []
        for start in range(0, len(asked), _ROWS_AT_A_TIME):
            some = asked[start : start + _ROWS_AT_A_TIME]
            cosine = (self.vectors_of(some) @ vectors.T).round(6)
            near = np.sort(np.argsort(-cosine, axis=1, kind="stable")[:, :_NEAREST], axis=1)
            pairs = self.of(np.repeat(some, near.shape[1]), known[near.ravel()])
            logit = scorer.logit(pairs).round(9).reshape(near.shape)
            best.append(known[np.take_along_axis(near, logit.argmax(axis=1)[:, None], axis=1)[:, 0]])
        return np.concatenate(best)
