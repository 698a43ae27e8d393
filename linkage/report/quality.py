"""How good it is: the figures of a run for its report, and what they say in words."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from linkage.evaluate.ablation import ALL, BEST_STRINGS, DIFFERENCE, UNKNOWN
from linkage.evaluate.answers import SPACES
from linkage.evaluate.calibration import BRIER, ERROR, PERFECT
from linkage.evaluate.promises import PROMISED, SET_COVERAGE, SET_SIZE
from linkage.evaluate.scores import SYSTEM
from linkage.report.charts import by_confidence, diagram, intervals

MEASURES = {
    "linking": (
        *("matched accuracy", "recall@5", "no-match accuracy", "no-match AUROC", "precision at 90 % coverage"),
        *("link precision", "link recall"),
    ),
    "clustering": (
        "pairwise precision",
        "pairwise recall",
        "pairwise F1",
        "B-cubed F1",
        "adjusted Rand index",
    ),
    "reading": ("region recall", "region precision", "character error rate", "read without error"),
}
CHARTED = {
    "linking": ["matched accuracy", "no-match accuracy"],
    "clustering": ["pairwise F1", "B-cubed F1"],
}
_ABLATED = {SPACES["image"]: "picture alone", SPACES["text"]: "text alone", BEST_STRINGS: "strings", SYSTEM: "together"}

Cells = dict[str, dict[Any, Any]]
"""Rows of one bin of the ablation table by system."""


class Figures(NamedTuple):
    """What `evaluate` found; every table is empty where there is nothing.

    Attributes:
        metrics: one row per figure.
        reliability: bins of the match probability, by split.
        picture: matched accuracy by system and confidence of the reading, by split.
    """

    metrics: pd.DataFrame
    reliability: pd.DataFrame
    picture: pd.DataFrame


def tasks(metrics: pd.DataFrame) -> list[dict[str, Any]]:
    """The figures to show per task: those of the test rows, or of all rows where the labels name no test rows."""
    shown_tasks = []
    for task, measures in MEASURES.items():
        rows = metrics[metrics["task"] == task] if len(metrics) else metrics
        if not len(rows):
            continue
        rows, split = _shown(rows)
        cells = {(row["system"], row["measure"]): row for row in rows.to_dict("records")}
        shown = [name for name in measures if (rows["measure"] == name).any()]
        charted = [name for name in CHARTED.get(task, ()) if name in shown]
        systems = list(dict.fromkeys(rows["system"]))
        shown_tasks.append(
            {
                "name": task,
                "split": split,
                "n": int(rows["n"].max()),
                "measures": shown,
                "systems": [(system, [cells.get((system, name)) for name in shown]) for system in systems],
                "notes": _notes(rows[rows["measure"].isin(shown)]),
                "chart": intervals(rows, charted, SYSTEM) if charted and len(systems) > 1 else None,
            }
        )
    return shown_tasks


def calibration(figures: Figures) -> dict[str, Any] | None:
    """The reliability diagram, the calibration error, what chance makes of it, and the Brier score.

    None where no probability was checked.
    """
    if not len(figures.reliability):
        return None
    bins, split = _shown(figures.reliability)
    metrics = figures.metrics
    own = metrics[(metrics["system"] == SYSTEM) & (metrics["split"] == split)]
    figure = {str(row["measure"]): row for row in own.to_dict("records")}
    return {
        "chart": diagram(bins),
        "split": split,
        "n": int(bins["n"].sum()),
        "least": int(bins["n"].min()),
        "most": int(bins["n"].max()),
        "error": figure.get(ERROR),
        "perfect": figure.get(PERFECT),
        "brier": figure.get(BRIER),
        "fitted": bool(own["note"].str.contains("fitted on these rows").any()),
    }


def promises(metrics: pd.DataFrame) -> list[str]:
    """How the promises of few false links fared on resamples, a sentence each."""
    rows = metrics[metrics["measure"].isin(PROMISED)] if len(metrics) else metrics
    said = []
    for row in rows.to_dict("records"):
        silent, _, caution = str(row["note"]).partition("; ")
        said.append(
            f"At most {100 * PROMISED[row['measure']]:.0f} % false links, tried on the {row['split']} rows "
            f"(n = {row['n']:,}): {silent}, and in {100 * row['value']:.1f} % of all the promise broke"
            f"{caution and f' ({caution})'}."
        )
    return said


def sets_tried(metrics: pd.DataFrame) -> str:
    """How often candidate sets held the true entity and how large they were, a sentence; "" without sets."""
    if not len(metrics):
        return ""
    rows, split = _shown(metrics[metrics["measure"].isin((SET_COVERAGE, SET_SIZE))])
    found = {row["measure"]: row for row in rows.to_dict("records")}
    if not found:
        return ""
    held, size = found[SET_COVERAGE], found[SET_SIZE]
    note = f"; {held['note']}" if held["note"] else ""
    said = f"On the {split} rows a set has {size['value']:.1f} entities in the mean"
    if not held["n"]:
        return f"{said} (n = {size['n']:,})."
    return (
        f"{said}, and {held['value']:.1%} of the {held['n']:,} records that have a match find it in their set "
        f"(95 % interval {held['low']:.1%} to {held['high']:.1%}{note})."
    )


def picture_help(picture: pd.DataFrame) -> dict[str, Any] | None:
    """Does the picture help: sentences, a chart and a table by confidence; None where nothing was compared."""
    if not len(picture):
        return None
    rows, split = _shown(picture)
    bins: list[tuple[str, Cells]] = [
        (_name(group.iloc[0]), {str(row["system"]): row for row in group.to_dict("records")})
        for _, group in rows.groupby("bin", sort=False)
    ]
    systems = [name for name in _ABLATED if name in bins[0][1]]
    found = [
        {"system": _ABLATED[system], "bin": f"{name}|n = {cells[system]['n']:,}"}
        | {key: cells[system][key] for key in ("value", "low", "high")}
        for name, cells in bins
        for system in systems
    ]
    return {
        "split": split,
        "sentences": _sentences([cells for _, cells in bins]),
        "chart": by_confidence(pd.DataFrame(found)),
        "systems": list(dict.fromkeys(rows["system"])),
        "bins": bins,
    }


def _sentences(bins: list[Cells]) -> list[str]:
    """What the table says: over all, then where the text was read worst."""
    every = bins[0]
    alone = [f"the {name} finds {every[name]['value']:.2f}" for name in SPACES.values() if name in every]
    best = every[BEST_STRINGS]
    parts = [
        *alone,
        f"comparing strings ({best['note']}, the best of them on these records) {best['value']:.2f}",
        f"all together {every[SYSTEM]['value']:.2f}",
    ]
    said = [f"Of the {best['n']:,} labelled records that have a match, {', '.join(parts)}.", _gain(every, "Together")]
    worst = next((cells for cells in bins if cells[SYSTEM]["bin"] == "1"), None)
    if worst and worst[SYSTEM]["n"] < best["n"]:
        high, n = worst[SYSTEM]["confidence_high"], worst[SYSTEM]["n"]
        said.append(_gain(worst, f"Where the text was read worst (confidence up to {high:.2f}, n = {n:,}), together"))
    return said


def _gain(cells: Cells, subject: str) -> str:
    gain, low, high = (cells[DIFFERENCE][name] for name in ("value", "low", "high"))
    verdict = "" if low > 0 or high < 0 else ", not beyond chance"
    return (
        f"{subject} they find {abs(gain):.2f} {'more' if gain >= 0 else 'less'} than those strings alone "
        f"(95 % interval {low:+.2f} to {high:+.2f}{verdict})."
    )


def _name(row: pd.Series) -> str:
    if row["bin"] in (ALL, UNKNOWN):
        return str(row["bin"])
    return f"{row['confidence_low']:.2f}–{row['confidence_high']:.2f}"


def _shown(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows of the test split, or of all where there is none, and which."""
    split = "test" if (rows["split"] == "test").any() else "all"
    return rows[rows["split"] == split], split


def _notes(rows: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """What is to be said about the figures, each with the systems that it holds for."""
    noted: dict[str, list[str]] = {}
    for system, note in zip(rows["system"], rows["note"], strict=True):
        for part in filter(None, str(note).split("; ")):
            systems = noted.setdefault(part, [])
            if system not in systems:
                systems.append(system)
    every = rows["system"].nunique()
    return [(note, systems if len(systems) < every else ["every system"]) for note, systems in noted.items()]
