"""Figures of a members table: are records of one entity together, and others apart?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from linkage.config import EvaluateConfig
from linkage.errors import InputError
from linkage.evaluate.baselines import cluster_by_strings
from linkage.evaluate.metrics import clustering
from linkage.evaluate.scores import SYSTEM, Scores
from linkage.evaluate.truth import attach_truth
from linkage.tables import require_columns
from linkage.text import Folding


def evaluate_members(
    members: pd.DataFrame, path: Path, truth: pd.DataFrame, config: EvaluateConfig, scores: Scores, folding: Folding
) -> None:
    """Add the clustering figures of a members table and of its string baselines.

    All records are clustered; only those that the truth gives an entity are scored. A split is scored by itself, so
    what its records share with those of other splits shows under "all".

    Raises:
        InputError: a column is missing, or the truth knows none of the records.
    """
    require_columns(members, ("record_id", "entity_id"), path)
    labelled = attach_truth(members, truth, config.iou)
    entity = labelled["entity_id"].to_numpy(dtype=object)
    split = labelled["split"].to_numpy(dtype=object)
    known = entity != ""
    if not known.any():
        raise InputError(f"{path}: the truth table knows none of its records; check record_id, source and boxes")

    scores.notes.append(f"{int(known.sum())} of {len(members)} records are labelled")

    given = "origin" in members.columns and (members["origin"] == "exemplar").any()
    notes = {SYSTEM: "knew the exemplars, the baselines did not"} if given else {}

    def add(system: str, clusters: np.ndarray, fitted: bool) -> None:
        for name, chosen in scores.splits(split):
            rows = chosen & known
            note = "cut fitted on these rows" if fitted and (fitted_on & rows).any() else notes.get(system, "")
            figures = clustering(entity[rows], clusters[rows], bootstrap=scores.bootstrap, seed=scores.seed)
            for measure, figure in figures.items():
                scores.add(measure, system, name, figure, note)

    fitted_on = known & np.isin(split.astype(str), ["", "train", "val"])
    add(SYSTEM, members["entity_id"].to_numpy(dtype=object), fitted=False)
    if "text" in members.columns:
        labels = np.where(fitted_on, entity, "").tolist()
        texts = members["text"].fillna("").tolist()
        for system, clusters, origin in cluster_by_strings(texts, labels, folding):
            add(system, clusters, fitted=origin == "fitted")
