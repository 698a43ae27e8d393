"""The regions of scans without their records: as a table of boxes to correct, and as pictures to look at."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from linkage.config import IngestConfig
from linkage.errors import InputError
from linkage.ingest.job import IngestJob
from linkage.ingest.work import PageTask, SourceSurvey, cut, modules_for, survey
from linkage.layout.preview import RegionOutline, draw_regions
from linkage.layout.regions import Region
from linkage.machine import cores
from linkage.ocr.engines import Engines
from linkage.progress import progress
from linkage.scans.pages import find_sources, read_page
from linkage.scans.straighten import StraightPage
from linkage.tables import replacing
from linkage.workers.pool import LostItem, Workers, WorkLimits

COLUMNS = ("source", "page", "x0", "y0", "x1", "y1", "unit", "direction", "text")
"""Columns of the table of boxes, which `layout.boxes.read_boxes` reads; the user's own follow."""


@dataclass(frozen=True)
class RegionPreview:
    """What was found on the pages looked at.

    Attributes:
        boxes: one row per region in reading order: COLUMNS and the user's own.
        pages: how many were looked at.
        failures: source, page and reason of what could not be.
    """

    boxes: pd.DataFrame
    pages: int
    failures: list[tuple[str, int | None, str]]


def show_regions(
    inputs: Sequence[Path], config: IngestConfig, *, pages: int = 0, preview: Path | None = None, texts: bool = False
) -> RegionPreview:
    """Find the regions of scans as an ingest would.

    Args:
        inputs: files, folders or patterns; see `find_sources`.
        config: ingest settings.
        pages: look at so many, spread evenly over all; 0: at all.
        preview: folder for one PNG per page with its regions drawn on it; None: none.
        texts: write the readings beside the page.

    Raises:
        InputError: nothing to read.
        DependencyError: the OCR engine or a language is not installed.
    """
    job = IngestJob(find_sources(inputs), (preview or Path()) / "regions.parquet", config)
    failures: list[tuple[str, int | None, str]] = []
    tasks: dict[PageTask, str] = {}
    for number, source in enumerate(job.sources, start=1):
        seen = SourceSurvey(reason=source.reason) if source.reason else survey(job.files(source))
        failures += [(source.name, None, seen.reason)] if seen.reason else []
        for task in job.tasks(source, seen):
            tasks[replace(task, part=Path(f"{number:04d}-{_safe(source.name)}-{task.page}.png"))] = source.name
    chosen = _spread(list(tasks), pages)
    found: dict[PageTask, list[dict[str, Any]]] = {}
    limits = WorkLimits(config.page_seconds, config.page_memory, config.recycle)
    work = partial(_look_at, config=config, engine=job.engine, folder=preview, texts=texts)
    with (
        tempfile.TemporaryDirectory(prefix="linkage-regions-") as scratch,
        Workers(config.workers or cores(), Path(scratch), limits, modules_for(config)) as workers,
        progress("looking", len(chosen), "pages") as advance,
    ):
        for task, result in workers.run(work, chosen):
            rows, reasons = ([], [result.reason]) if isinstance(result, LostItem) else result
            found[task] = [{"source": tasks[task]} | row for row in rows]
            failures += [(tasks[task], task.page, reason) for reason in reasons]
            advance()
    table = pd.DataFrame([row for task in chosen for row in found[task]], columns=[*COLUMNS, *job.columns])
    return RegionPreview(table, len(chosen), failures)


def _look_at(
    task: PageTask, config: IngestConfig, engine: Engines, folder: Path | None, texts: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of one page without `source`, and why it or some of its boxes cannot be had; writes its picture."""
    reasons: list[str] = []
    try:
        page = read_page(task.path, task.page, dpi=config.dpi, max_megapixels=config.max_megapixels)
        straight, regions, _ = cut(page, task, config, engine, reasons)
    except InputError as error:
        return [], [*reasons, str(error)]
    if folder:
        picture = draw_regions(page.image, [_drawn(straight, region) for region in regions], texts=texts)
        with replacing(folder / task.part) as temporary:
            picture.save(temporary, "PNG")
    return [_row(task.page, straight, region) for region in regions], reasons


def _row(page: int, straight: StraightPage, region: Region) -> dict[str, Any]:
    box, _ = straight.outline(region.box, region.polygon)
    row: dict[str, Any] = dict(region.given.extra if region.given else ())
    row |= {"page": page, "unit": "px", "direction": "vertical" if region.vertical else "horizontal"}
    return row | {"text": region.text} | dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))


def _drawn(straight: StraightPage, region: Region) -> RegionOutline:
    (x0, y0, x1, y1), polygon = straight.outline(region.box, region.polygon)
    direction = "vertical" if region.vertical else "horizontal"
    kind = dict(region.given.extra).get("name", direction) if region.given else direction
    return RegionOutline(polygon or ((x0, y0), (x1, y0), (x1, y1), (x0, y1)), kind, region.text)


def _safe(name: str) -> str:
    """A source's name as part of a file's."""
    return re.sub(r"[^\w.-]", "_", name)[-80:]


def _spread(tasks: list[PageTask], count: int) -> list[PageTask]:
    if not 0 < count < len(tasks):
        return tasks
    return [tasks[place] for place in np.linspace(0, len(tasks) - 1, count).round().astype(int)]
