"""Figures of a members table: are records of one entity together, and others apart?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from linkage.cluster.members import read_fitted
from linkage.config import EvaluateConfig
from linkage.evaluate.answers import join_notes
from linkage.evaluate.baselines import cluster_by_strings
from linkage.evaluate.metrics import clustering
from linkage.evaluate.scores import SYSTEM, Scores, encoder_notes
from linkage.evaluate.truth import UNKNOWN_RECORDS, UnknownRecordsError, attach_truth
from linkage.tables import require_columns
from linkage.text import Folding


def evaluate_members(
    members: pd.DataFrame,
    path: Path,
    truth: pd.DataFrame,
    config: EvaluateConfig,
    scores: Scores,
    folding: Folding,
    encoder_saw: Sequence[str] = (),
) -> None:
    """Add the clustering figures of a members table and of its string baselines.

    All records are clustered; only those that the truth gives an entity are scored. A split is scored by itself, so
    what its records share with those of other splits shows under "all". Scored is the prediction, never what a label
    decided: the figures do not change where the truth was among the labels. What labels fitted, of the program or of a
    baseline, is said with the figures of the rows that may have done so.

    Raises:
        InputError: a column is missing, or the truth knows none of the records.
    """
    require_columns(members, ("record_id", "entity_id"), path)
    predicted = "predicted_entity_id" if "predicted_entity_id" in members.columns else "entity_id"
    labelled = attach_truth(members, truth, config.iou)
    entity = labelled["entity_id"].to_numpy(dtype=object)
    split = labelled["split"].to_numpy(dtype=object)
    known = entity != ""
    if not known.any():
        raise UnknownRecordsError(f"{path}: {UNKNOWN_RECORDS}")

    origin = "predicted_origin" if "predicted_origin" in members.columns else "origin"
    given = np.zeros(len(members), dtype=bool)
    if origin in members.columns:
        given = (members[origin] == "exemplar").to_numpy()
    if given[known].all():
        raise UnknownRecordsError(f"{path}: the truth table knows only its exemplars, whose entities were given")

    scores.notes.append(f"{int(known.sum())} of {len(members)} records are labelled")

    seen = encoder_notes(split, encoder_saw)
    notes = {SYSTEM: "knew the exemplars, the baselines did not"} if given.any() else {}

    def add(system: str, clusters: np.ndarray, fitted: Sequence[str]) -> None:
        for name, chosen in scores.splits(split):
            rows = chosen & known
            told = [f"{what} fitted on these rows" for what in fitted] if (fitted_on & rows).any() else []
            if system == SYSTEM:
                told += [said for said, of in seen if (of & rows).any()]
            note = join_notes(notes.get(system, ""), *told)
            figures = clustering(entity[rows], clusters[rows], bootstrap=scores.bootstrap, seed=scores.seed)
            for measure, figure in figures.items():
                scores.add(measure, system, name, figure, note)

    fitted_on = known & pd.Series(split).isin(["", "train", "val"]).to_numpy()
    add(SYSTEM, members[predicted].to_numpy(dtype=object), read_fitted(path))
    if "text" in members.columns:
        labels = np.where(fitted_on, entity, "").tolist()
        texts = members["text"].fillna("").tolist()
        for system, clusters, origin in cluster_by_strings(texts, labels, folding):
            add(system, clusters, ["cut"] if origin == "fitted" else [])
