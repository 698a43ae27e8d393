"""Compare a table that this program wrote with a truth table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from linkage.choices import either
from linkage.config import EvaluateConfig
from linkage.errors import InputError, QualityGateError, UsageError
from linkage.evaluate.calibration import BRIER, ERROR, PERFECT
from linkage.evaluate.links import evaluate_links
from linkage.evaluate.members import evaluate_members
from linkage.evaluate.promises import PROMISED, SET_SIZE
from linkage.evaluate.reading import evaluate_reading
from linkage.evaluate.scores import SPLITS, SYSTEM, Scores
from linkage.evaluate.truth import UnknownRecordsError, read_truth
from linkage.places import TABLE, no_table, unwanted
from linkage.records import Records
from linkage.tables import read_table
from linkage.text import FOLDING, Folding

LOWER_IS_BETTER = ("character error rate", ERROR, PERFECT, BRIER, "review rate", SET_SIZE, *PROMISED)


@dataclass(frozen=True)
class Evaluation:
    """Figures of one table.

    Attributes:
        task: linking, clustering or reading.
        metrics: one row per figure: task, measure, system ("linkage" or a baseline), split ("all" or one of the
            truth's), value, low and high (95 % interval), n, note.
        notes: what a reader of the figures must know, one sentence each.
        tables: what does not fit into rows of figures, by name; of links: "picture" and "reliability".
    """

    task: str
    metrics: pd.DataFrame
    notes: list[str]
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-like values; a missing figure is None."""
        rows = self.metrics.astype(object).where(self.metrics.notna(), None).to_dict("records")
        return {"task": self.task, "metrics": rows, "notes": self.notes}

    def value(self, measure: str) -> float:
        """One figure of this program, on the split that was asked for, else on all labelled rows.

        Raises:
            UsageError: there is no such measure; the message lists those there are.
        """
        own = self.metrics[self.metrics["system"] == SYSTEM]
        own = own[own["split"] == own["split"].iloc[0]]  # "all" comes first where there are several
        found = own[own["measure"].str.casefold() == measure.casefold()]
        if not len(found):
            raise UsageError(f"no figure {measure!r} here; there are {', '.join(own['measure'])}")
        return float(found["value"].iloc[0])


def evaluate(
    table: Path,
    truth: Path,
    config: EvaluateConfig,
    *,
    index: Path | None = None,
    split: str | None = None,
    seed: int = 0,
    encoder_saw: Sequence[str] = (),
    folding: Folding = FOLDING,
) -> Evaluation:
    """Measure a links, members or records table; which of them it is shows in its columns.

    Args:
        table: links (has `rank`), members (has `origin`) or records (CSV or Parquet).
        truth: table of what is known (see `read_truth`).
        config: k of recall@k, resamples, overlap of boxes.
        index: links: folder of the index; default: the one named in the links' manifest.
        split: score only this split; default: all labelled rows, and each split that the truth names.
        seed: of the bootstrap.
        encoder_saw: members: splits that the encoder was trained on, or its epoch chosen by; a links table's manifest
            says so itself.
        folding: what makes two texts equal to the string baselines.

    Raises:
        InputError: a table is unreadable, lacks a column, or the two have no record in common.
        ArtefactError: the index of the links is missing.
        UsageError: there is no such split.
    """
    if split is not None and split not in SPLITS:
        raise UsageError(f"--split {split!r}: must be {either(SPLITS)}")
    task = _task(table)
    known = read_truth(truth, entities=task != "reading")
    if split is not None and not (known["split"] == split).any():
        raise InputError(f"{truth}: no row has split {split!r}")
    scores = Scores(task, config, seed, split)
    tables: dict[str, pd.DataFrame] = {}
    if task == "linking":
        tables = evaluate_links(read_table(table), table, known, config, scores, index, folding)
    elif task == "clustering":
        evaluate_members(read_table(table), table, known, config, scores, folding, encoder_saw)
    else:
        evaluate_reading(Records.open(table).frame, table, known, config, scores)
    return Evaluation(task, scores.table(), scores.notes, tables)


class RunFigures(NamedTuple):
    """Figures of several tables of one run.

    Attributes:
        metrics: as of `Evaluation`, one under the other; no rows where nothing could be measured.
        tables: as of `Evaluation`, together.
        unmeasured: what could not be measured, and why, one sentence each.
    """

    metrics: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    unmeasured: list[str]


def evaluate_all(
    tables: Sequence[Path],
    truth: Path,
    config: EvaluateConfig,
    *,
    seed: int = 0,
    folding: Folding = FOLDING,
    encoder_saw: Sequence[str] = (),
) -> RunFigures:
    """Measure what can be measured of links and members tables: that labels say nothing of one of them is no error.

    Args, Raises: as of `evaluate`.
    """
    parts: list[Evaluation] = []
    unmeasured = []
    for table in tables:
        try:
            parts.append(evaluate(table, truth, config, seed=seed, folding=folding, encoder_saw=encoder_saw))
        except UnknownRecordsError:
            task = _task(table)
            missing = "query" if task == "linking" else "record, exemplars apart,"
            unmeasured.append(f"{task} could not be measured: {truth} names no {missing} with its entity")
    metrics = pd.concat([part.metrics for part in parts] or [Scores("", config, seed, None).table()], ignore_index=True)
    extras = {name: extra for part in parts for name, extra in part.tables.items()}
    return RunFigures(metrics, extras, unmeasured)


def check_gates(evaluation: Evaluation, gates: Sequence[str]) -> None:
    """Compare figures of this program with the least that they should be.

    A gate is on the rows of the split that was asked for, else on all labelled rows.

    Args:
        evaluation: the figures.
        gates: each `measure=value`, e.g. matched_accuracy=0.9; spaces may be underscores, case does not count.

    Raises:
        UsageError: a gate cannot be understood, or its measure is not there or is better when lower.
        QualityGateError: a figure is below its gate, or undefined; all such gates are named.
    """
    missed = []
    for gate in gates:
        name, equals, least = gate.partition("=")
        measure = name.strip().replace("_", " ").casefold()
        try:
            wanted = float(least)
        except ValueError:
            wanted = np.nan
        if not equals or np.isnan(wanted):
            raise UsageError(f"--fail-under {gate}: write it as MEASURE=VALUE, e.g. matched_accuracy=0.9")
        if measure in map(str.casefold, LOWER_IS_BETTER):
            raise UsageError(f"--fail-under {gate}: {measure} is better when lower, so it can be no gate of this kind")
        value = evaluation.value(measure)
        if not value >= wanted:
            missed.append(f"{measure} is {value:.4f}, below {wanted:g}")
    if missed:
        raise QualityGateError("; ".join(missed))


def _task(table: Path) -> str:
    if not table.is_file():
        raise InputError(no_table(table))
    try:
        columns = pq.read_schema(table).names if table.suffix == ".parquet" else read_table(table).columns
    except (OSError, pa.ArrowException):
        raise InputError(unwanted(table, TABLE) or f"{table}: not a readable table") from None
    return "linking" if "rank" in columns else "clustering" if "origin" in columns else "reading"
