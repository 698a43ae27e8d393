"""What happens to one page in a worker process: decoded, read, cut into records, written as a part."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from linkage.config import IngestConfig
from linkage.errors import InputError
from linkage.ingest.readings import with_readings
from linkage.ingest.rows import rows_of
from linkage.layout.boxes import GivenBox
from linkage.layout.regions import find_regions, given_regions
from linkage.ocr.engines import Engines
from linkage.records import SCHEMA
from linkage.scans.pages import count_pages, read_page
from linkage.tables import replacing

_FAILURES = b"linkage.failures"


@dataclass(frozen=True)
class Surveyed:
    """A source looked at but not read: its content's SHA-256 and number of pages, or why it cannot be had."""

    sha256: str = ""
    pages: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Task:
    """One page to read into one part file; `given` are its boxes where the user gives the regions."""

    path: Path
    sha256: str
    page: int
    part: Path
    given: tuple[GivenBox, ...] = ()


def survey(path: Path) -> Surveyed:
    """Hash a source and count its pages; decodes nothing."""
    try:
        pages = count_pages(path)
        with path.open("rb") as file:
            return Surveyed(hashlib.file_digest(file, "sha256").hexdigest(), pages)
    except InputError as error:
        return Surveyed(reason=str(error))
    except OSError as error:
        return Surveyed(reason=f"cannot be read ({error.strerror})")


def make_part(task: Task, config: IngestConfig, engine: Engines, columns: Sequence[str]) -> None:
    """Read one page and write its part; a page that cannot be read makes a part with a reason and no rows.

    Args:
        task: the page.
        config: ingest settings.
        engine: OCR engines.
        columns: the user's own columns, added to the schema of records as text.
    """
    rows: list[dict[str, Any]] = []
    reasons: list[str] = []
    try:
        if config.regions != "boxes" or task.given:
            page = read_page(task.path, task.page, dpi=config.dpi, max_megapixels=config.max_megapixels)
            if config.regions == "boxes":
                regions, reasons = given_regions(page, engine, task.given)
            else:
                regions = find_regions(page, config, engine)
            regions = with_readings(page.image, regions, engine, config.padding)
            rows = rows_of(task.sha256, task.page, page, regions, config.padding)
    except InputError as error:
        reasons.append(str(error))
    write_part(task.part, rows, reasons, columns)


def part_schema(columns: Sequence[str]) -> pa.Schema:
    """The schema of records with the user's own columns as text."""
    return pa.schema([*SCHEMA, *(pa.field(column, pa.string()) for column in columns)])


def write_part(path: Path, rows: list[dict[str, Any]], reasons: Sequence[str], columns: Sequence[str]) -> None:
    """Write a part atomically: rows without `source`, which is the same content's business elsewhere."""
    schema = part_schema(columns).with_metadata({_FAILURES: json.dumps(list(reasons)).encode()})
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema), temporary, compression="none")


def part_is_whole(path: Path) -> bool:
    """Whether a part was written to its end (a power cut can leave a name without the content)."""
    if not path.exists():
        return False
    try:
        return _FAILURES in (pq.read_metadata(path).metadata or {})
    except (OSError, pa.ArrowException):
        return False


def read_part(path: Path) -> tuple[pa.Table, list[str]]:
    """Rows and reasons of a part."""
    table = pq.read_table(path)
    return table.replace_schema_metadata(None), json.loads(table.schema.metadata[_FAILURES])
