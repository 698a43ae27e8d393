"""Does the picture help? What picture, text, strings and all of them together find, by how well the text was read."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from linkage.evaluate.answers import LabelledQueries, SystemAnswers
from linkage.evaluate.metrics import Figure, ratio, share
from linkage.evaluate.scores import SYSTEM, Scores

BEST_STRINGS = "best string baseline"
DIFFERENCE = f"{SYSTEM} minus {BEST_STRINGS}"
MOST_BINS, LEAST_IN_BIN = 10, 20
"""Bins of reading confidence: ten, or as many as hold this many queries each."""

ALL, UNKNOWN = "all", "unknown"
COLUMNS = (
    *("split", "bin", "confidence_low", "confidence_high"),
    *("system", "value", "low", "high", "n", "note"),
)


def picture_table(
    asked: LabelledQueries, systems: dict[str, SystemAnswers], strings: list[str], scores: Scores
) -> pd.DataFrame:
    """Matched accuracy of every system, for all queries with a match and by the confidence of their reading.

    The confidence is the OCR engine's (`ocr_confidence`), else the model's own (`reading_confidence`). Bins hold
    equal numbers of queries but for ties, which stay together: MOST_BINS, or fewer so that each has LEAST_IN_BIN.

    Args:
        asked: the labelled queries.
        systems: their answers by name.
        strings: names of the string baselines among them.
        scores: the splits to score and how the intervals are drawn.

    Returns:
        Rows with COLUMNS. `bin` is "all", "unknown" or the number of a bin from 1 (worst read), whose bounds
        stand beside it (inclusive). Two systems more than in the metrics: the string baseline that is best on all
        the split's rows, chosen with them in sight, and the difference that linkage makes to it.
    """
    right = {name: answers.entities[:, 0] == asked.truth for name, answers in systems.items()}
    confidence = _confidence(asked.first)
    rows: list[tuple[object, ...]] = []
    for split, chosen in scores.splits(asked.split):
        inside = np.flatnonzero(chosen & asked.is_matchable)
        if not len(inside):
            continue
        best = max(strings, key=lambda name: right[name][inside].mean())
        for group, members in _groups(confidence[inside]):
            places = inside[members]
            known = confidence[places]
            bounds = (known.min(), known.max()) if group not in (ALL, UNKNOWN) else (np.nan, np.nan)
            for system, figure in _figures(right, best, places, asked.truth, scores):
                note = best if system in (BEST_STRINGS, DIFFERENCE) else systems[system].told(places)
                rows.append((split, group, *bounds, system, *figure, note))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype(dict.fromkeys(("confidence_low", "confidence_high", "value", "low", "high"), float))


def _figures(
    right: dict[str, np.ndarray], best: str, places: np.ndarray, truth: np.ndarray, scores: Scores
) -> list[tuple[str, Figure]]:
    draws = {"bootstrap": scores.bootstrap, "seed": scores.seed}
    found = [(name, share(column[places], truth[places])) for name, column in right.items()]
    found.append((BEST_STRINGS, dict(found)[best]))
    gained = right[SYSTEM][places].astype(float) - right[best][places]
    found.append((DIFFERENCE, ratio(gained, np.ones(len(places)), truth[places], within=(-1.0, 1.0), **draws)))
    return found


def _confidence(queries: pd.DataFrame) -> np.ndarray:
    """One engine's confidence for all of them, float64 (q,); NaN: unknown. Two engines' do not compare."""
    for name in ("ocr_confidence", "reading_confidence"):
        if name in queries and queries[name].notna().any():
            return queries[name].to_numpy(dtype=float, na_value=np.nan)
    return np.full(len(queries), np.nan)


def _groups(confidence: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Names and rows of the groups of queries: all, the bins, and those of unknown confidence beside them."""
    known = np.flatnonzero(~np.isnan(confidence))
    unknown = np.flatnonzero(np.isnan(confidence))
    groups = [(ALL, np.arange(len(confidence)))]
    groups += [(str(number), known[rows]) for number, rows in enumerate(equal_bins(confidence[known]), start=1)]
    return [*groups, (UNKNOWN, unknown)] if len(known) and len(unknown) else groups


def equal_bins(values: np.ndarray, least_in_bin: int = LEAST_IN_BIN) -> list[np.ndarray]:
    """Rows of each of the bins of equal size that values fall into, lowest first; equal values are never parted.

    Args:
        values: (n,), without NaN.
        least_in_bin: rows of each bin, unless there are fewer altogether.

    Returns:
        MOST_BINS bins at the most.
    """
    if not len(values):
        return []
    order = np.argsort(values, kind="stable")
    least = len(values) / min(MOST_BINS, max(1, len(values) // least_in_bin))
    ends = np.append(np.flatnonzero(np.diff(values[order])) + 1, len(values))
    cuts = [0]
    for end in ends:
        if end >= least * len(cuts) and end - cuts[-1] >= least_in_bin:
            cuts.append(int(end))
    cuts = [*cuts[:-1], len(values)] if len(cuts) > 1 else [0, len(values)]
    return [order[start:end] for start, end in pairwise(cuts)]
