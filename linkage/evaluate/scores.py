"""Collecting figures as rows of the metrics table, for each split of the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from linkage.config import EvaluateConfig
from linkage.evaluate.metrics import Figure

SYSTEM = "linkage"
"""Name of this program among the systems; the others are its baselines."""

SPLITS = ("test", "val", "train")
COLUMNS = ("task", "measure", "system", "split", "value", "low", "high", "n", "note")


class Scores:
    """The figures of one task.

    Attributes:
        task: linking, clustering or reading.
        bootstrap, seed: of the intervals.
        notes: what a reader of the figures must know, one sentence each.
    """

    def __init__(self, task: str, config: EvaluateConfig, seed: int, split: str | None) -> None:
        self.task = task
        self.bootstrap = config.bootstrap
        self.seed = seed
        self.notes: list[str] = []
        self._split = split
        self._rows: list[tuple[object, ...]] = []

    def splits(self, of: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield (name, mask) of the splits to score: the one asked for, else "all" and every one that occurs."""
        if self._split is not None:
            yield self._split, of == self._split
            return
        yield "all", np.ones(len(of), dtype=bool)
        for name in SPLITS:
            if (of == name).any():
                yield name, of == name

    def add(self, measure: str, system: str, split: str, figure: Figure, note: str = "") -> None:
        """Note one figure."""
        self._rows.append((self.task, measure, system, split, *figure, note))

    def table(self) -> pd.DataFrame:
        """One row per figure: task, measure, system, split, value, low, high, n, note; systems side by side."""
        table = pd.DataFrame(self._rows, columns=list(COLUMNS))
        table = table.astype({"value": float, "low": float, "high": float, "n": int})
        order = np.lexsort([pd.factorize(table[name])[0] for name in ("system", "measure", "split")])
        return table.iloc[order].reset_index(drop=True)


def encoder_notes(split: np.ndarray, encoder_saw: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """What must be said with figures of rows that the encoder was made with, and of which rows.

    Args:
        split: of each row, object (n,).
        encoder_saw: splits that it was trained on ("" and train), or its epoch chosen by (val).

    Returns:
        Notes with masks (n,).
    """
    saw = set(encoder_saw)
    trained, chose = (pd.Series(split).isin(some).to_numpy() for some in (saw - {"val"}, saw & {"val"}))
    return [("encoder trained on these rows", trained), ("these rows chose the encoder's epoch", chose)]


def fitting_rows(split: np.ndarray, labelled: np.ndarray, least: int) -> np.ndarray:
    """Rows that a baseline's threshold is fitted on, by the same rule as the linker's: val, else train and val.

    Args:
        split: of each row, object (n,).
        labelled: bool (n,).
        least: fewer rows than this do not fit anything.

    Returns:
        bool (n,); all False where there are too few.
    """
    val = labelled & (split == "val")
    chosen = val if val.sum() >= least else labelled & pd.Series(split).isin(["", "train", "val"]).to_numpy()
    return chosen if chosen.sum() >= least else np.zeros(len(split), dtype=bool)
