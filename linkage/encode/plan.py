"""What a training does when: its stages, the batches of an epoch, the learning rate of a step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np

from linkage.config import TrainConfig
from linkage.encode.batches import align_batches, class_batches
from linkage.encode.data import TrainingSet
from linkage.errors import InputError

TrainingStage = Literal["align", "supervised"]


def stages(data: TrainingSet, config: TrainConfig, path: Path) -> list[TrainingStage]:
    """The stage of each epoch.

    Raises:
        InputError: there is nothing to train on in the records, which stand in `path`.
    """
    pairs = int(data.paired.sum())
    _, sizes = np.unique(data.labels[data.labels >= 0], return_counts=True)
    plan: list[TrainingStage] = []
    if pairs >= 2:
        plan += ["align"] * config.align_epochs
    if (sizes >= 2).sum() >= 1 and len(sizes) >= 2:
        plan += ["supervised"] * config.supervised_epochs
    if not plan:
        raise InputError(
            f"{path}: nothing to train on: {pairs} records of split train have crop and text, {len(sizes)} entities "
            "are labelled; give records with both, or two labelled records each of two entities, and epochs above 0"
        )
    return plan


def epoch_batches(
    stage: TrainingStage, data: TrainingSet, config: TrainConfig, neighbours: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """The batches of one epoch, as rows of the training set.

    Args:
        stage: whose.
        data: the rows.
        config: sizes of batches.
        neighbours: int64 (C, k) over the classes in ascending order, of `hard_negatives`; for the second stage.
        rng: decides order and draw.
    """
    if stage == "align":
        rows = np.flatnonzero(data.paired)
        return [rows[batch] for batch in align_batches(data.content[rows], config.batch_size, rng)]
    rows, labels = labelled(data)
    batches = class_batches(labels, neighbours, config.batch_size, config.per_class, rng, data.exemplar[rows])
    return [rows[batch] for batch in batches]


def labelled(data: TrainingSet) -> tuple[np.ndarray, np.ndarray]:
    """Rows that have an entity, and their classes 0..C-1."""
    rows = np.flatnonzero(data.labels >= 0)
    return rows, np.unique(data.labels[rows], return_inverse=True)[1]


def rate_share(step: int, total: int, warmup: float) -> float:
    """Share of the peak learning rate: linear warm-up, then half a cosine down to 2 %, over all steps of a stage.

    Args:
        step: 0..total - 1.
        total: steps of the stage.
        warmup: share of them with rising rate.
    """
    rising = max(1, round(warmup * total))
    if step < rising:
        return (step + 1) / rising
    return 0.02 + 0.98 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising))) / 2
