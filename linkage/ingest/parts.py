"""The part of a page: a Parquet file with its records, why it was set aside if it was, and what is known of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from linkage.records import SCHEMA
from linkage.tables import replacing

FACTS = ("width", "height", "rotation", "skew", "duplicate", "duplicate_of")
"""What is known of a page beside its records: keys of `PartNote.facts`, and columns of the list of pages in order."""

_NOTE = b"linkage.page"


@dataclass
class PartNote:
    """What a part says of its page as a whole.

    Attributes:
        reasons: why the page, or some of its given boxes, were set aside.
        facts: by the names in FACTS, JSON values; one that is not known is left out. Also `pixels`, a hash of the
            decoded pixels, and `hash`, the perceptual one, both hexadecimal.
        look: what the page looks like, as `scans.rescans.Look` packs it; empty: not known.
    """

    reasons: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    look: str = ""


def part_schema(columns: Sequence[str]) -> pa.Schema:
    """The schema of records with the user's own columns as text."""
    return pa.schema([*SCHEMA, *(pa.field(column, pa.string()) for column in columns)])


def part_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pa.Table:
    """Rows without `source`, which is the same content's business elsewhere, as the table of a part."""
    return pa.Table.from_pylist(list(rows), part_schema(columns))


def write_part(path: Path, rows: pa.Table, note: PartNote) -> None:
    """Write a part atomically."""
    noted = json.dumps({"reasons": note.reasons, "facts": note.facts, "look": note.look}).encode()
    with replacing(path) as temporary:
        pq.write_table(rows.replace_schema_metadata({_NOTE: noted}), temporary, compression="none")


def read_note(path: Path) -> PartNote | None:
    """What a part notes; None unless it was written to its end (a power cut can leave a name without the content)."""
    if not path.exists():
        return None
    try:
        return _note(pq.read_metadata(path).metadata)
    except (OSError, pa.ArrowException):
        return None


def read_part(path: Path) -> tuple[pa.Table, PartNote]:
    """Rows and note of a part that is whole."""
    table = pq.read_table(path)
    return table.replace_schema_metadata(None), _note(table.schema.metadata) or PartNote()


def _note(metadata: dict[bytes, bytes] | None) -> PartNote | None:
    return PartNote(**json.loads(metadata[_NOTE])) if metadata and _NOTE in metadata else None
