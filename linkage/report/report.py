"""The report of a run: what came in, what it became, how good it is, and the crops to judge it by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from linkage.config import ReportConfig
from linkage.records import Records
from linkage.report.cards import EntityCards, decisions
from linkage.report.charts import intervals
from linkage.report.page import render
from linkage.report.pictures import Pictures
from linkage.tables import replacing

ORIGINS = ("exemplar", "linked", "clustered", "singleton")
MEASURES = {
    "linking": ("matched accuracy", "recall@5", "no-match accuracy", "link precision", "link recall"),
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
_FAILURES = 50
_MADE = ("linkage", "model", "seed", "started", "python", "system", "versions")


def write_report(
    out: Path,
    *,
    records: Records,
    links: pd.DataFrame,
    members: pd.DataFrame,
    entities: pd.DataFrame,
    failures: pd.DataFrame,
    metrics: pd.DataFrame,
    manifest: dict[str, Any],
    config: ReportConfig,
    seed: int,
) -> None:
    """Write one HTML page that needs nothing else: style, pictures and charts are inside, and no script.

    Args:
        out: file to write.
        records: the run's records, for their crops.
        links: links table, empty where nothing was linked.
        members: members table.
        entities: entities table.
        failures: what was set aside: source, page, reason.
        metrics: rows of `evaluate`, empty where there were no labels.
        manifest: of the run.
        config: how much is shown.
        seed: of the random sample of entities.
    """
    pictures = Pictures(records)
    cards = EntityCards(members, entities, pictures, config)
    page = render(
        "template.html",
        counts=_counts(records, members, entities, links, failures, manifest),
        origins=_origins(members),
        tasks=_tasks(metrics),
        linking=decisions(links, pictures, config),
        largest=cards.largest(),
        sample=cards.sample(seed),
        failures=failures.head(_FAILURES).astype(object).where(failures.notna(), "").to_dict("records"),
        made={name: manifest.get(name, "") for name in _MADE},
        stages=_stages(manifest),
    )
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _counts(
    records: Records,
    members: pd.DataFrame,
    entities: pd.DataFrame,
    links: pd.DataFrame,
    failures: pd.DataFrame,
    manifest: dict[str, Any],
) -> dict[str, int]:
    frame = records.frame
    ingested = manifest.get("stages", {}).get("ingest", {}).get("counts", {})
    paged = frame[["source", "page"]] if "page" in frame.columns else frame[["source"]]
    return {
        "sources": int(ingested.get("sources", frame["source"].nunique())),
        "pages": int(ingested.get("pages", len(paged.drop_duplicates()))),
        "records": len(frame),
        "entities": len(entities),
        "shared": int((entities["n_records"] > 1).sum()),
        "queries": int(links["record_id"].nunique()) if len(links) else 0,
        "matched": int((links["decision"] == "match").sum()) if len(links) else 0,
        "failures": len(failures),
        "silent": int((frame["text"] == "").sum()),
    } | {name: int((members["origin"] == name).sum()) for name in ORIGINS}


def _origins(members: pd.DataFrame) -> list[dict[str, Any]]:
    """How records came to their entity, with shares in percent, for the bar."""
    counts = members["origin"].value_counts()
    total = max(len(members), 1)
    return [
        {"name": name, "n": int(counts[name]), "share": 100 * int(counts[name]) / total}
        for name in ORIGINS
        if name in counts
    ]


def _tasks(metrics: pd.DataFrame) -> list[dict[str, Any]]:
    """The figures to show per task: those of the test rows, or of all rows where the labels name no test rows."""
    tasks = []
    for task, measures in MEASURES.items():
        rows = metrics[metrics["task"] == task] if len(metrics) else metrics
        if not len(rows):
            continue
        split = "test" if (rows["split"] == "test").any() else "all"
        rows = rows[rows["split"] == split]
        cells = {(row["system"], row["measure"]): row for row in rows.to_dict("records")}
        shown = [name for name in measures if (rows["measure"] == name).any()]
        charted = [name for name in CHARTED.get(task, ()) if name in shown]
        systems = list(dict.fromkeys(rows["system"]))
        tasks.append(
            {
                "name": task,
                "split": split,
                "n": int(rows["n"].max()),
                "measures": shown,
                "systems": [(system, [cells.get((system, name)) for name in shown]) for system in systems],
                "notes": _notes(rows),
                "chart": intervals(rows, charted, "linkage") if charted and len(systems) > 1 else None,
            }
        )
    return tasks


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


def _stages(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "seconds": stage.get("seconds"),
            "memory": stage.get("peak_memory_mb"),
            "kept": bool(stage.get("kept")),
            "counts": ", ".join(
                f"{key.replace('_', ' ')} {value}" for key, value in (stage.get("counts") or {}).items()
            ),
        }
        for name, stage in manifest.get("stages", {}).items()
    ]
