"""The report of a run: what came in, what it became, how good it is, and the crops to judge it by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from linkage.config import ReportConfig
from linkage.records import Records
from linkage.report.cards import EntityCards, decisions
from linkage.report.page import render
from linkage.report.pictures import Thumbnails
from linkage.report.quality import Figures, calibration, picture_help, promises, sets_tried, tasks
from linkage.tables import replacing
from linkage.text import FOLDING, Folding

ORIGINS = ("labelled", "exemplar", "linked", "clustered", "singleton")
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
    figures: Figures,
    sentences: list[str],
    manifest: dict[str, Any],
    config: ReportConfig,
    seed: int,
    folding: Folding = FOLDING,
) -> None:
    """Write one HTML page that needs nothing else: style, pictures and charts are inside, and no script.

    Args:
        out: file to write.
        records: the run's records, for their crops.
        links: links table, empty where nothing was linked.
        members: members table.
        entities: entities table.
        failures: what was set aside: source, page, reason.
        figures: what `evaluate` found, empty where there were no labels.
        sentences: what the links' manifest says of threshold and sets.
        manifest: of the run.
        config: how much is shown.
        seed: of the random sample of entities.
        folding: what makes two texts equal.
    """
    pictures = Thumbnails(records)
    cards = EntityCards(members, entities, pictures, config, folding)
    page = render(
        "template.html",
        counts=_counts(records, members, entities, links, failures, manifest),
        origins=_origins(members),
        tasks=tasks(figures.metrics),
        calibration=calibration(figures),
        picture_help=picture_help(figures.picture),
        promises=promises(figures.metrics),
        sets_tried=sets_tried(figures.metrics),
        linking=decisions(links, sentences, pictures, config, folding),
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
        "reviews": int((links["decision"] == "review").sum()) if len(links) else 0,
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
