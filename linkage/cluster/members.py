"""The members table (one row per record) and the entities table (one row per entity)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from linkage.dictionary import MEMBER_COLUMNS
from linkage.errors import ArtefactError
from linkage.records import LABELS, PROVENANCE
from linkage.tables import replacing

PREDICTED = ("predicted_entity_id", "predicted_origin")
LABELLED = "labelled"
"""Origin of the records whose entity a label decided."""

_LEFT_OUT = {"text_raw", "image", *LABELS}


def made_by(members: Path) -> Path:
    """Where a members table says how it was made."""
    return members.with_name(f"{members.name}.manifest.json")


def save_made_by(members: Path, counts: Mapping[str, Any], fitted: Sequence[str]) -> None:
    """Write how a members table was made: counts, and which of `cut`, `scorer` and `threshold` labels fitted."""
    with replacing(made_by(members)) as temporary:
        temporary.write_text(json.dumps({**counts, "fitted": list(fitted)}, indent=1) + "\n", encoding="utf-8")


def read_fitted(members: Path) -> list[str]:
    """What labels fitted of that which made a members table; nothing where it does not say.

    Raises:
        ArtefactError: what stands beside it is not readable.
    """
    path = made_by(members)
    if not path.is_file():
        return []
    try:
        return [str(name) for name in json.loads(path.read_text(encoding="utf-8"))["fitted"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ArtefactError(f"{path}: not readable; make {members.name} again, or remove it") from None


def member_columns(members: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Add PREDICTED, text, provenance and the user's own columns from `frame`; sorted by record_id.

    What was found is the prediction; `labels.decide_by_labels` lets labels decide over it.
    """
    ours = {*MEMBER_COLUMNS, *PREDICTED, "text", *PROVENANCE, *_LEFT_OUT}
    own = [name for name in frame.columns if name not in ours]
    provenance = [name for name in PROVENANCE if name in frame.columns]
    taken = frame[["record_id", "text", *provenance, *own]]
    members = members[list(MEMBER_COLUMNS)].assign(
        predicted_entity_id=members["entity_id"], predicted_origin=members["origin"]
    )
    table = members.merge(taken, on="record_id", how="left", validate="one_to_one")
    return table.sort_values("record_id", kind="stable", ignore_index=True)


def merge_members(
    exemplars: pd.DataFrame | None, links: pd.DataFrame | None, clustered: pd.DataFrame, frame: pd.DataFrame
) -> pd.DataFrame:
    """Put exemplars, matched records and clustered records into one members table.

    Args:
        exemplars: `Index.exemplars`; None where nothing was linked. The first exemplar of an entity by
            record_id stands for it.
        links: the links table; only its rows of decision match count.
        clustered: `ClusterResult.members` of the records that matched nothing.
        frame: the records, for text, provenance and the user's own columns.
    """
    parts = [clustered[list(MEMBER_COLUMNS)]]
    if exemplars is not None:
        first = ~exemplars.sort_values("record_id", kind="stable")["entity_id"].duplicated()
        parts.append(
            exemplars[["record_id", "entity_id"]].assign(
                origin="exemplar", membership=1.0, noise=0, is_exemplar=first.astype(int), score=float("nan")
            )
        )
    if links is not None:
        matched = links[links["decision"] == "match"].rename(columns={"probability": "membership"})
        matched = matched.assign(origin="linked", noise=0, is_exemplar=0)
        parts.append(matched[list(MEMBER_COLUMNS)])
    parts = [part for part in parts if len(part)] or parts[:1]
    return member_columns(pd.concat(parts, ignore_index=True), frame)


def as_predicted(members: pd.DataFrame) -> pd.DataFrame:
    """A members table as it was found, before labels decided: entity_id, origin, and who stood for the clusters."""
    if "predicted_entity_id" not in members.columns:
        return members
    entity = members["predicted_entity_id"]
    named = pd.Series([entity_id(record) for record in members["record_id"]], index=members.index) == entity
    there = named.groupby(entity).transform("any")
    stands = members["is_exemplar"].where(~there, named.astype(int))
    return members.assign(entity_id=entity, origin=members["predicted_origin"], is_exemplar=stands)


def entities_table(members: pd.DataFrame) -> pd.DataFrame:
    """One row per entity: entity_id, exemplar_id, text (the exemplar's), n_records, n_sources, min_score."""
    exemplars = members[members["is_exemplar"] == 1]
    groups = members.groupby("entity_id", sort=True)
    table = pd.DataFrame({"n_records": groups.size()})
    table["n_sources"] = groups["source"].nunique() if "source" in members else 0
    table["min_score"] = groups["score"].min()
    table = exemplars[["entity_id", "record_id", "text"]].merge(table, on="entity_id", validate="one_to_one")
    table = table.rename(columns={"record_id": "exemplar_id"}).sort_values("entity_id", ignore_index=True)
    return table[["entity_id", "exemplar_id", "text", "n_records", "n_sources", "min_score"]]


def entity_id(exemplar_id: str) -> str:
    """Id of a found entity, derived from its exemplar's record_id: stable while the exemplar is."""
    return "e" + hashlib.sha256(exemplar_id.encode()).hexdigest()[:16]
