"""Figures of a records table: do its regions cover the true boxes, and are they read rightly?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from linkage.config import EvaluateConfig
from linkage.errors import InputError
from linkage.evaluate.metrics import ratio, share
from linkage.evaluate.scores import SYSTEM, Scores
from linkage.evaluate.truth import CORNERS, UnknownRecordsError, join_truth, pages_of
from linkage.text import clean


def evaluate_reading(
    records: pd.DataFrame, path: Path, truth: pd.DataFrame, config: EvaluateConfig, scores: Scores
) -> None:
    """Add region recall and precision against the truth's boxes, and the character error rate of what was read.

    A box is found when a region overlaps it by `config.iou` or more, one region for one box. Regions count against
    precision on the pages that have a true box. Intervals are over pages.

    Raises:
        InputError: the truth knows none of the records, or has neither boxes nor texts.
    """
    rows = join_truth(records, truth, config.iou)
    found = np.isin(np.arange(len(truth)), rows)
    places = pages_of(truth, records)
    page = np.array([str(place or row) for row, place in enumerate(places)], dtype=object)
    split = truth["split"].to_numpy(dtype=object)
    boxed = truth[list(CORNERS)].notna().all(axis=1).to_numpy() if set(CORNERS) <= set(truth.columns) else None
    if not found.any() and boxed is None:
        raise UnknownRecordsError(f"{path}: the truth table knows none of its records; check record_id and source")
    if boxed is None and "text" not in truth.columns:
        raise InputError(f"{path}: the truth table has neither boxes nor texts to measure against")
    scores.notes.append(f"{int(found.sum())} of {len(truth)} truth rows found their record")
    for name, chosen in scores.splits(split):
        if boxed is not None:
            kept = boxed & chosen
            figure = share(found[kept], page[kept])
            scores.add("region recall", SYSTEM, name, figure)
        if "text" in truth.columns:
            _characters(records, truth, rows, np.flatnonzero(chosen), scores, name)
    if boxed is not None:
        _precision(records, rows, {place for place, has in zip(places, boxed, strict=True) if place and has}, scores)


def _precision(records: pd.DataFrame, rows: np.ndarray, pages: set[tuple[str, int]], scores: Scores) -> None:
    """Share of the regions on labelled pages that are a true box; a region has no split of its own."""
    number = pd.to_numeric(records["page"]).fillna(1).astype(int)
    at = list(zip(records["source"], number, strict=True))
    inside = np.array([place in pages for place in at], dtype=bool)
    names = np.array([str(place) for place in at], dtype=object)
    figure = share(rows[inside] >= 0, names[inside])
    scores.add("region precision", SYSTEM, "all", figure)


def _characters(
    records: pd.DataFrame,
    truth: pd.DataFrame,
    rows: np.ndarray,
    chosen: np.ndarray,
    scores: Scores,
    split: str,
) -> None:
    from rapidfuzz.distance import Levenshtein

    right = [clean(text) for text in truth["text"]]
    read = [clean(str(text)) for text in records["text"]]
    asked = set(chosen.tolist())
    kept = [row for row, place in enumerate(rows) if place in asked and right[place]]
    edits = np.array([Levenshtein.distance(read[row], right[rows[row]]) for row in kept])
    length = np.array([len(right[rows[row]]) for row in kept])
    by = records["source"].to_numpy(dtype=object)[kept] if (records["source"] != "").any() else np.array(kept)
    errors = ratio(edits, length, by, bootstrap=scores.bootstrap, seed=scores.seed)
    scores.add("character error rate", SYSTEM, split, errors)
    scores.add("read without error", SYSTEM, split, share(edits == 0, by))
