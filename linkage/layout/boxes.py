"""Regions that the user gives: a CSV of boxes, one row per record, or per record of every page that a row is for.

A row for a certain source and page is one box. A row whose source or page is a pattern is a template: it holds on all
pages that it matches, except those that have rows of their own.
"""

from __future__ import annotations

import logging
import math
import re
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from linkage.errors import InputError
from linkage.ocr.engine import Box
from linkage.records import SCHEMA, check_labels
from linkage.scans.pages import Page, Source
from linkage.tables import read_table

log = logging.getLogger(__name__)

UNITS = ("px", "%", "pt")
PAGES = ("*", "odd", "even", "first", "last")
_RANGE = re.compile(r"(\d{1,9})-(\d{1,9})")
_CORNERS = ("x0", "y0", "x1", "y1")
_SIZED = ("x", "y", "w", "h")


@dataclass(frozen=True)
class GivenBox:
    """One row of the table.

    Attributes:
        page: from 1.
        corners: left, top, right, bottom in `unit`, origin at the top left of the page.
        unit: "px"; "%" of the page's width and height; "pt": points of a PDF page.
        record_id: "" where ids are to be derived.
        text: the user's reading, used when no OCR engine is.
        direction: horizontal or vertical.
        extra: the user's own columns, as text.
    """

    page: int
    corners: tuple[float, float, float, float]
    unit: str = "px"
    record_id: str = ""
    text: str = ""
    direction: str = "horizontal"
    extra: tuple[tuple[str, str], ...] = ()

    def pixels(self, page: Page) -> Box:
        """The box in whole pixels of the page, clipped to the page.

        Raises:
            InputError: it lies outside the page, or is given in points of a page that has none.
        """
        width, height = page.image.size
        if self.unit == "pt" and page.pixels_per_point is None:
            raise InputError("a box is in points (unit pt), but only PDF pages have points; use px or %")
        scale_x = scale_y = page.pixels_per_point or 1.0
        if self.unit != "pt":
            scale_x, scale_y = (width / 100, height / 100) if self.unit == "%" else (1.0, 1.0)
        x0, y0, x1, y1 = self.corners
        box = (
            max(math.floor(x0 * scale_x + 1e-6), 0),
            max(math.floor(y0 * scale_y + 1e-6), 0),
            min(math.ceil(x1 * scale_x - 1e-6), width),
            min(math.ceil(y1 * scale_y - 1e-6), height),
        )
        if box[0] >= box[2] or box[1] >= box[3]:
            corners = ", ".join(f"{corner:g}" for corner in self.corners)
            raise InputError(f"box {corners} ({self.unit}) lies outside the page of {width} x {height} pixels")
        return box


@dataclass(frozen=True)
class BoxTemplate:
    """One row of the table that is for many pages.

    Attributes:
        sources: a path or name of files, with `*` and `?` for any letters.
        pages: one of PAGES, or a range as 3-10.
        box: its page means nothing.
    """

    sources: str
    pages: str
    box: GivenBox

    def matches(self, name: str) -> bool:
        """Whether it is for a source: by path, or by the file's name alone, as everywhere in the table."""
        pattern = self.sources.replace("[", "[[]")  # square brackets are common in names of files
        return fnmatchcase(name, pattern) or fnmatchcase(PurePosixPath(name).name, pattern)

    def holds_on(self, page: int, pages: int) -> bool:
        """Whether it is for a page of a source with so many pages."""
        if found := _RANGE.fullmatch(self.pages):
            return int(found[1]) <= page <= int(found[2])
        holds = {"*": True, "odd": page % 2 == 1, "even": page % 2 == 0, "first": page == 1, "last": page == pages}
        return holds[self.pages]


@dataclass(frozen=True)
class GivenBoxes:
    """The boxes of all sources.

    Attributes:
        path: the table, for messages.
        by_source: rows in the table's order, by the name of the source in the table.
        columns: names of the user's own columns.
        templates: rows for many pages, in the table's order.
    """

    path: Path
    by_source: dict[str, list[GivenBox]]
    columns: tuple[str, ...]
    templates: tuple[BoxTemplate, ...] = ()

    @property
    def ids_given(self) -> bool:
        """Whether the table names the records."""
        return any(box.record_id for boxes in self.by_source.values() for box in boxes)

    def assign(self, sources: Sequence[Source]) -> dict[str, list[GivenBox]]:
        """Boxes by `Source.name`: a row belongs to the file with its path, else to the one with its file name.

        Args:
            sources: the files at hand.

        Raises:
            InputError: no row means any file, or one means a file name that several files have.
        """
        names = {source.name for source in sources}
        by_file: dict[str, list[str]] = defaultdict(list)
        for source in sources:
            by_file[PurePosixPath(source.name).name].append(source.name)
        assigned: dict[str, list[GivenBox]] = defaultdict(list)
        missing = []
        for given, boxes in self.by_source.items():
            same = [given] if given in names else by_file[PurePosixPath(given).name]
            if len(same) > 1:
                raise InputError(
                    f"{self.path}: source {given!r} could be {same[0]} or {same[1]}; write its relative path"
                )
            if not same:
                missing.append(given)
                continue
            assigned[same[0]] += boxes
        names_used = {template.sources for template in self.templates for name in names if template.matches(name)}
        missing += sorted({template.sources for template in self.templates} - names_used)
        if missing and not assigned and not names_used:
            raise InputError(f"{self.path}: none of its sources is among the inputs, first {missing[0]!r}")
        if missing:
            log.warning("%s: %d sources are not among the inputs, first %r", self.path, len(missing), missing[0])
        return dict(assigned)

    def by_template(self, source: str, page: int, pages: int) -> list[GivenBox]:
        """Boxes that the templates make on a page of a source (by its name) that has no rows of its own."""
        rows = [template for template in self.templates if template.matches(source)]
        return [replace(row.box, page=page) for row in rows if row.holds_on(page, pages)]


def read_boxes(path: Path) -> GivenBoxes:
    """Read a table of boxes.

    Columns: `source` (or `image`), optional `page` (from 1; default 1), `x0,y0,x1,y1` or `x,y,w,h`, optional `unit`
    (px, %, pt), `record_id`, `text`, `direction`; any further column is the user's and travels on. A source with `*` or
    `?` and a page of PAGES (the default there is `*`) or a range make a row a template.

    Raises:
        InputError: missing columns or values that mean nothing, naming the first such row.
    """
    table = read_table(path, as_text=("page",))
    check_labels(table, path)  # they come to the records with the user's other columns
    name = "source" if "source" in table.columns else "image"
    edges = _CORNERS if set(_CORNERS) <= set(table.columns) else _SIZED
    missing = [column for column in (name, *edges) if column not in table.columns]
    if missing:
        raise InputError(f"{path}: column {', '.join(missing)} is missing; needs source and x0,y0,x1,y1 or x,y,w,h")
    own = {name, *edges, "page", "unit", "text", *SCHEMA.names}
    columns = tuple(column for column in table.columns if column not in own)
    by_source: dict[str, list[GivenBox]] = defaultdict(list)
    templates: list[BoxTemplate] = []
    for number, row in enumerate(table.to_dict("records"), start=2):
        try:
            source = _text(row[name])
            pages = _pages(_text(row.get("page")), "*" in source or "?" in source)
            box = _given(row, edges, columns, pages)
            if isinstance(pages, int):
                by_source[source].append(box)
            else:
                templates.append(BoxTemplate(source, pages, box))
        except ValueError as error:
            raise InputError(f"{path}: row {number}: {error}") from None
    _check_ids(by_source, path)
    return GivenBoxes(path, dict(by_source), columns, tuple(templates))


def _given(row: dict[Hashable, Any], edges: tuple[str, ...], columns: tuple[str, ...], pages: int | str) -> GivenBox:
    a, b, c, d = (float(str(row[edge])) for edge in edges)
    corners = (a, b, c, d) if edges == _CORNERS else (a, b, a + c, b + d)
    if not all(map(math.isfinite, corners)) or corners[0] >= corners[2] or corners[1] >= corners[3]:
        raise ValueError(f"{corners} is no box")
    unit = _text(row.get("unit")) or "px"
    direction = _text(row.get("direction")) or "horizontal"
    if unit not in UNITS or direction not in ("horizontal", "vertical"):
        raise ValueError("unit is px, % or pt, direction horizontal or vertical")
    if isinstance(pages, str) and _text(row.get("record_id")):
        raise ValueError("a row for many pages cannot name a record_id: it would stand on all of them; leave it empty")
    extra = tuple((column, _text(row[column])) for column in columns)
    return GivenBox(
        pages if isinstance(pages, int) else 0,
        corners,
        unit,
        _text(row.get("record_id")),
        _text(row.get("text")),
        direction,
        extra,
    )


def _pages(text: str, any_source: bool) -> int | str:
    """The page that a row is for, or what stands for many pages where it is a template."""
    text = text or ("*" if any_source else "1")
    found = _RANGE.fullmatch(text)
    if text in PAGES or (found and 1 <= int(found[1]) <= int(found[2])):
        return text
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < 1:
        raise ValueError(f"page counts from 1, or is {', '.join(PAGES)} or a range as 3-10, not {text!r}")
    return f"{int(text)}-{int(text)}" if any_source else int(text)


def _text(value: object) -> str:
    return "" if value is None or value is pd.NA or value != value else str(value)


def _check_ids(by_source: dict[str, list[GivenBox]], path: Path) -> None:
    seen: set[str] = set()
    for boxes in by_source.values():
        for box in boxes:
            if box.record_id in seen:
                raise InputError(f"{path}: record_id {box.record_id!r} stands twice; ids must be unique")
            if box.record_id:
                seen.add(box.record_id)
