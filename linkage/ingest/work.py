"""What happens to one page in a worker process: decoded, read, cut into records, written as a part."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from linkage.arrays import digest_file
from linkage.config import IngestConfig
from linkage.errors import InputError, LinkageError, storage_error
from linkage.ingest.parts import PartNote, part_of, write_part
from linkage.ingest.readings import with_readings
from linkage.ingest.rows import rows_of
from linkage.layout.boxes import GivenBox
from linkage.layout.regions import Region, find_regions, given_regions
from linkage.ocr.engines import Engines, engine_names
from linkage.ocr.turn import find_rotation
from linkage.scans.pages import OpenSource, Page, count_pages
from linkage.scans.rescans import hash_of, look_at
from linkage.scans.straighten import StraightPage, as_it_is, straighten
from linkage.transcripts.regions import transcribed_regions

log = logging.getLogger(__name__)

_ROOM = 2**20  # bytes: what an engine writes about a page is less


def modules_for(config: IngestConfig) -> tuple[str, ...]:
    """The modules that reading a page needs, for workers to share: torch is among them for the recogniser alone."""
    torch = ("linkage.ocr.reader",) if "recogniser" in engine_names(config) else ()
    return ("linkage.ingest.work", *torch)


@dataclass(frozen=True)
class SourceSurvey:
    """A source looked at but not read: its content's SHA-256 and number of pages, or why it cannot be had.

    `transcripts` is a digest of the contents of its transcripts, "" without any.
    """

    sha256: str = ""
    pages: int = 0
    reason: str = ""
    transcripts: str = ""


@dataclass(frozen=True)
class PageTask:
    """One page to read into one part file.

    `given` are its boxes where the user gives the regions; `transcript` the file that has been read from it and which
    page of that file it is, where there is one.
    """

    path: Path
    sha256: str
    page: int
    part: Path
    given: tuple[GivenBox, ...] = ()
    transcript: tuple[Path, int] | None = None


def survey(files: tuple[Path, ...], wanted: Callable[[int], bool] | None = None) -> SourceSurvey:
    """Hash a source and its transcripts, which come after it, and count its pages; decodes nothing.

    Args:
        files: the source and its transcripts.
        wanted: whether to hash a source of so many pages; without its hash, none of its pages can be read.
    """
    path, *transcripts = files
    try:
        pages = count_pages(path)
        if wanted and not wanted(pages):
            return SourceSurvey(pages=pages)
        return SourceSurvey(digest_file(path), pages, transcripts=" ".join(map(_content, transcripts)))
    except InputError as error:
        return SourceSurvey(reason=str(error))
    except OSError as error:
        return SourceSurvey(reason=f"cannot be read ({error.strerror})")


def _content(transcript: Path) -> str:
    """What a transcript's part of the results goes by; one that cannot be read is reported with its pages."""
    try:
        return digest_file(transcript)
    except OSError:
        return "unreadable"


def make_part(task: PageTask, config: IngestConfig, engine: Engines, columns: Sequence[str]) -> None:
    """Read one page and write its part; a page that cannot be read makes a part with a reason and no rows.

    Args:
        task: the page.
        config: ingest settings.
        engine: OCR engines.
        columns: the user's own columns, added to the schema of records as text.
    """
    rows: list[dict[str, Any]] = []
    note = PartNote()
    try:
        if config.regions != "boxes" or task.given:
            source = _open(task.path, task.sha256)
            page = source.page(task.page, dpi=config.dpi, max_megapixels=config.max_megapixels)
            note.facts.update(width=page.image.width, height=page.image.height)
            note.look = _note_look(page, config, note.facts)
            straight, regions, name = cut(page, task, config, engine, note.reasons)
            note.facts.update(rotation=straight.rotation, skew=straight.skew)
            rows = rows_of(task.sha256, task.page, straight, regions, config.padding, name)
    except InputError as error:
        note.reasons.append(str(error))
    except Exception as error:
        if isinstance(error, LinkageError) or storage_error(error):
            raise
        # A fault of ours that a page brings to light: the other pages need not suffer for it.
        log.debug("%s, page %d", task.path, task.page, exc_info=True)
        note.reasons.append(f"a bug: {type(error).__name__}: {' '.join(str(error).split())[:160]}")
    if note.reasons:
        _open.cache_clear()
    _check_room(task.part)
    write_part(task.part, part_of(rows, columns), note)


def cut(
    page: Page, task: PageTask, config: IngestConfig, engine: Engines, reasons: list[str]
) -> tuple[StraightPage, list[Region], str]:
    """Straighten a page as the settings say and cut it into regions, which are in pixels of the straightened page.

    A page whose boxes or transcript are given is left as it is: they are places on it.

    Args:
        page: as it is in the file.
        task: which page it is.
        config: ingest settings.
        engine: OCR engines.
        reasons: takes up why some boxes have no region.

    Returns:
        The page, its regions, and what read those that do not say it themselves.

    Raises:
        InputError: the engine failed or took too long, or the transcript cannot be had.
    """
    if config.ocr == "file":
        regions, outside, name = transcribed_regions(page, task.transcript, config, task.given)
        reasons.extend(outside)
        return as_it_is(page), regions, name
    if config.regions == "boxes":
        regions, outside = given_regions(page, engine, task.given)
        reasons.extend(outside)
        return as_it_is(page), with_readings(page.image, regions, engine, config.padding), engine.name
    rotation = find_rotation(page, config, engine) if config.rotate == "auto" else config.rotate
    straight = straighten(page, config, rotation)
    regions = find_regions(straight.page, config, engine)
    return straight, with_readings(straight.page.image, regions, engine, config.padding), engine.name


def _note_look(page: Page, config: IngestConfig, facts: dict[str, Any]) -> str:
    """Put what a page is known again by into its facts; returns the picture of its writing, as text."""
    facts["pixels"] = hash_of(page.image)
    if not config.rescans:
        return ""
    look = look_at(page.image)
    facts["hash"] = look.bits.hex()
    return look.packed()


@lru_cache(maxsize=1)
def _open(path: Path, _sha256: str) -> OpenSource:
    """The source that the last page came from, still open, for its next one."""
    return OpenSource(path)


def _check_room(part: Path) -> None:
    """Raise StorageError on a full disk: a program that read a page into a file there may have lost its end."""
    place = next(folder for folder in part.parents if folder.exists())
    if shutil.disk_usage(place).free < _ROOM:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(part))
        raise storage_error(full) or full
