"""The links table: its columns, and the files beside it that say how it was made."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from linkage.compare.likeness import PARTS
from linkage.compare.scorer import COSINES, FEATURES, Scorer
from linkage.compare.wording import MEASURES
from linkage.errors import ArtefactError
from linkage.link.candidates import Pairs
from linkage.records import PROVENANCE
from linkage.search.index import Index
from linkage.tables import read_table, table_parts
from linkage.text import Folding

LEADING = ("record_id", "entity_id", "exemplar_id", "rank", "decision", "probability", "margin", "tied", "in_set")
_SCORES = (COSINES[0], *PARTS, *COSINES[1:], *MEASURES)
_FOLLOWING = (
    *("threshold", "review_threshold", "threshold_source"),
    *("text", "reading", "reading_confidence", "exemplar_text", "exemplar_reading", "exemplar_source", "exemplar_page"),
)


def ranked(pairs: Pairs, logit: np.ndarray, probability: np.ndarray) -> pd.DataFrame:
    """One row per pair: query, exemplar, rank, logit, probability, its scores; a query's stand together, best first."""
    first = np.diff(pairs.query, prepend=-1) != 0
    start = np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))
    table = pd.DataFrame(
        {
            "query": pairs.query,
            "exemplar": pairs.exemplar,
            "rank": np.arange(len(first)) - start + 1,
            "logit": logit,
            "probability": probability,
        }
    )
    return pd.concat([table, pairs.alike.reset_index(drop=True), pairs.parts.reset_index(drop=True)], axis=1)


def links_table(found: pd.DataFrame, queries: pd.DataFrame, readings: pd.DataFrame, index: Index) -> pd.DataFrame:
    """The links table: rows in the order of record_id, then rank; a query without candidates has one row.

    Args:
        found: as `ranked` makes it, with columns decision, margin, tied, in_set, threshold, review_threshold,
            threshold_source.
        queries: their records, by the numbers in `found`.
        readings: the model's own of each query: reading, reading_confidence.
        index: the exemplars.
    """
    rows = pd.DataFrame({"query": queries.index}).merge(found, on="query", how="left")
    query, there = queries.index.get_indexer(pd.Index(rows["query"])), rows["exemplar"].notna().to_numpy()
    exemplars = index.exemplars.reindex(rows["exemplar"].to_numpy(dtype=float)).reset_index(drop=True)
    rows["rank"] = rows["rank"].fillna(1).astype("Int64")
    rows["tied"] = rows["tied"].astype("Int64")
    rows["in_set"] = rows["in_set"].astype("Int64")
    rows["decision"] = rows["decision"].where(there, "no-match")
    for name in ("threshold", "review_threshold", "threshold_source"):
        rows[name] = found.attrs[name]
    rows["record_id"] = queries["record_id"].to_numpy(dtype=object)[query]
    rows["text"] = queries["text"].to_numpy(dtype=object)[query]
    rows["reading"] = readings["reading"].to_numpy(dtype=object)[query]
    rows["reading_confidence"] = readings["reading_confidence"].to_numpy(dtype=float)[query]
    rows["entity_id"] = exemplars["entity_id"].where(there, "")
    rows["exemplar_id"] = exemplars["record_id"].where(there, "")
    rows["exemplar_text"] = exemplars["text"].where(there, "")
    rows["exemplar_reading"] = exemplars["reading"].where(there, "")
    rows["exemplar_source"] = exemplars["source"].where(there, "") if "source" in exemplars else ""
    rows["exemplar_page"] = exemplars["page"].astype("Int64") if "page" in exemplars else pd.NA
    further = [name for name in found.columns if name not in {*LEADING, *_SCORES, *_FOLLOWING, *_INNER}]
    table = rows[[*LEADING, *_SCORES, *further, *_FOLLOWING]].copy()
    for name in PROVENANCE:
        if name in queries.columns:
            table[name] = queries[name].to_numpy()[query]
    return table.sort_values(["record_id", "rank"], kind="stable", ignore_index=True)


_INNER = ("query", "exemplar", "logit", "entity")


def features_of(links: pd.DataFrame) -> pd.DataFrame:
    """What the scorer weighed in each row of a links table: the argument of `Scorer.logit`."""
    columns = list(links.columns)
    further = columns[columns.index(MEASURES[-1]) + 1 : columns.index("threshold")]
    return links[[*FEATURES, *further]].replace("", np.nan).astype(float)  # a field's column comes from CSV as text


def check_links(columns: Iterable[str], path: Path, remedy: str) -> None:
    """Refuse a links table that an earlier version made.

    Raises:
        ArtefactError: columns are missing that every links table has now; the message ends with the remedy.
    """
    there = set(columns)
    missing = [name for name in (*LEADING, *_SCORES, "threshold", "exemplar_text") if name not in there]
    if missing:
        raise ArtefactError(f"{path}: of an earlier version (it has no {', '.join(missing)}); {remedy}")


def read_best(path: Path) -> pd.DataFrame:
    """The rows of a links table (.parquet) that a report shows: two of each query, and those of its candidate set."""
    parts = (part[(part["rank"] <= 2) | (part["in_set"] == 1)] for part in table_parts(path))
    return pd.concat(parts, ignore_index=True)


ANSWERS = ("record_id", "entity_id", "exemplar_id", "decision", "probability", "score")


def read_answers(path: Path) -> pd.DataFrame:
    """The columns ANSWERS of a links table, of the best candidate of each query alone: what entities are made of."""
    links = read_table(path.with_suffix(".parquet"), columns=[*ANSWERS, "rank"])
    return links[links["rank"] == 1].reset_index(drop=True)


def manifest_of(links: Path) -> Path:
    """Where a links table says what it was made with."""
    return links.with_name(links.name + ".manifest.json")


def nearest_of(links: Path) -> Path:
    """The table beside a links table that names the nearest exemplar of each query in each space."""
    return links.with_name(links.stem + ".nearest.parquet")


def links_manifest(links: Path) -> dict[str, Any]:
    """What a links table was made with: index, queries, text settings, threshold, sets, scorer, map.

    Raises:
        ArtefactError: there is none, or it is damaged.
    """
    path = manifest_of(links)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise ValueError
    except (OSError, ValueError, RecursionError):
        raise ArtefactError(f"{path}: not readable; run `linkage link` again") from None
    return manifest


def link_folding(links: Path) -> Folding:
    """What made two texts equal when a links table was made, from the manifest beside it.

    Raises:
        ArtefactError: there is none.
    """
    try:
        return Folding(**links_manifest(links)["text"])
    except (KeyError, TypeError):
        raise ArtefactError(f"{manifest_of(links)}: names no text settings; run `linkage link` again") from None


def link_scorer(links: Path) -> Scorer:
    """The scorer that made a links table, from the manifest beside it.

    Raises:
        ArtefactError: there is none.
    """
    try:
        return Scorer.of_values(links_manifest(links)["scorer"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArtefactError(f"{manifest_of(links)}: not readable; run `linkage link` again") from None
