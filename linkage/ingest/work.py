"""What happens to one page in a worker process: decoded, read, cut into records, written as a part."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linkage.config import IngestConfig
from linkage.errors import InputError
from linkage.ingest.parts import Note, part_of, write_part
from linkage.ingest.rows import rows_of
from linkage.layout.boxes import GivenBox
from linkage.layout.regions import Region, find_regions, given_regions
from linkage.ocr.engine import Engine
from linkage.ocr.turn import find_rotation
from linkage.scans.pages import Page, count_pages, read_page
from linkage.scans.rescans import Look, hash_of, look_at
from linkage.scans.straighten import Straight, as_it_is, straighten


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


def make_part(task: Task, config: IngestConfig, engine: Engine, columns: Sequence[str]) -> None:
    """Read one page and write its part; a page that cannot be read makes a part with a reason and no rows.

    Args:
        task: the page.
        config: ingest settings.
        engine: OCR engine.
        columns: the user's own columns, added to the schema of records as text.
    """
    rows: list[dict[str, Any]] = []
    note = Note()
    try:
        if config.regions != "boxes" or task.given:
            page = read_page(task.path, task.page, dpi=config.dpi, max_megapixels=config.max_megapixels)
            note.facts.update(width=page.image.width, height=page.image.height)
            note.look = (look_at(page.image) if config.rescans else Look(hash_of(page.image))).packed()
            straight, regions = cut(page, task.given, config, engine, note.reasons)
            note.facts.update(rotation=straight.rotation, skew=straight.skew)
            rows = rows_of(task.sha256, task.page, straight, regions, config.padding, engine.name)
    except InputError as error:
        note.reasons.append(str(error))
    write_part(task.part, part_of(rows, columns), note)


def cut(
    page: Page, given: Sequence[GivenBox], config: IngestConfig, engine: Engine, reasons: list[str]
) -> tuple[Straight, list[Region]]:
    """Straighten a page as the settings say and cut it into regions, which are in pixels of the straightened page.

    A page whose boxes are given is left as it is: they are places on it.

    Args:
        page: as it is in the file.
        given: its boxes, where the user gives the regions.
        config: ingest settings.
        engine: OCR engine.
        reasons: takes up why some boxes have no region.

    Raises:
        InputError: the engine failed or took too long.
    """
    if config.regions == "boxes":
        regions, outside = given_regions(page, engine, given)
        reasons.extend(outside)
        return as_it_is(page), regions
    rotation = find_rotation(page, config, engine) if config.rotate == "auto" else config.rotate
    straight = straighten(page, config, rotation)
    return straight, find_regions(straight.page, config, engine)
