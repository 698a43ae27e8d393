"""Cut a page into regions: entries, or its lines, blocks, rows or header by the words on it, or given boxes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice

import numpy as np

from linkage.config import IngestConfig
from linkage.errors import InputError
from linkage.layout.boxes import GivenBox
from linkage.layout.columns import find_gutters, lines_crossing
from linkage.layout.crops import corner_of, crop_of
from linkage.layout.entries import Entry, find_entries
from linkage.layout.header import UNSPACED, find_header, header_of, hull, lines_of
from linkage.layout.ink import find_ink
from linkage.layout.rows import rows_of_words
from linkage.ocr.engine import Box, Engine, NoEngine, Word
from linkage.ocr.engines import Reading
from linkage.scans.pages import Page
from linkage.text import clean

UNREAD_HEADER = 4
"""The header of a page without a readable word is this part of its height."""

_PAPER = 4.0  # standard deviation of the grey values of an empty sheet, shaded by the scanner's lamp
_CROSSING = 0.1  # share of lines run across gutters from which a page is read again, column by column
_LINE_MARGIN = 1  # pixels around a line of an entry as it is read; more show too much of the next lines


@dataclass(frozen=True)
class Region:
    """A part of a page that becomes a record.

    Attributes:
        box: pixels of the page, inside the page, not empty.
        text_raw: the reading as the engine gave it, words joined by spaces; or the given text.
        words: the engine's words, in pixels of the page.
        confidence: how right the reading is, 0..1; None where that is not known.
        vertical: whether the text runs from top to bottom.
        given: the box of the user's table, where there was one.
        polygon: outline of a region that is no upright rectangle, (x, y) in pixels of the page; `box` is its hull.
        engine: name of the engine whose reading it is; "": none read it.
        readings: every engine's, where several read it.
        record_id: that an export of ours gave to the region in its transcript; "" where ids are to be derived.
    """

    box: Box
    text_raw: str = ""
    words: list[Word] = field(default_factory=list)
    confidence: float | None = None
    vertical: bool = False
    given: GivenBox | None = None
    polygon: tuple[tuple[int, int], ...] = ()
    engine: str = ""
    readings: tuple[Reading, ...] = ()
    record_id: str = ""

    @property
    def text(self) -> str:
        """The reading for keeping (see `joined`)."""
        return joined(self.text_raw)


def find_regions(page: Page, config: IngestConfig, engine: Engine) -> list[Region]:
    """Regions of one page in reading order; each holds at least one letter or digit.

    Exceptions are the whole page, the header of a page on which no header can be read, and entries without an engine.

    Args:
        page: decoded page.
        config: `regions` (not "boxes", see `given_regions`) and what belongs to it.
        engine: reads the page, once more where it mixed up the columns; of entries, line by line.

    Raises:
        InputError: the engine failed or took too long.
    """
    if config.regions == "entries":
        return _read_entries(page, engine)
    words = engine.read_page(page.image)
    if config.regions in ("lines", "blocks"):
        cuts = find_gutters(find_ink(page.image))
        if lines_crossing(lines_of(words), cuts) > _CROSSING:
            words = engine.read_page(page.image, [round(cut.at(page.image.height / 2)) for cut in cuts])
    return regions_of(page, words, config, engine)


def regions_of(page: Page, words: list[Word], config: IngestConfig, engine: Engine | None = None) -> list[Region]:
    """Regions of one page made from its picture and given words, as `find_regions` makes them from an engine's.

    Args:
        page: decoded page.
        words: in reading order, in pixels of the page.
        config: `regions` (not "boxes" or "tagged") and what belongs to it.
        engine: reads what the words leave out at the head of the page; None: nothing does.
    """
    width, height = page.image.size
    if config.regions == "page":
        return [_region(words, config.vertical, (0, 0, width, height))]
    if config.regions == "entries":
        return _worded_entries(page, words)
    vertical = config.vertical
    if config.regions == "header":
        regions = _header(page, words, config, engine or NoEngine())
    elif config.regions == "rows":
        regions = [_region(row, vertical) for row in rows_of_words(words, find_ink(page.image))]
    else:
        groups = lines_of(words) if config.regions == "lines" else blocks_of(words)
        regions = [_region(group, vertical) for group in groups]
    regions = [region for region in regions if has_letters(region.text_raw)]
    if config.regions == "header" and not regions and holds_ink(page):
        # A head that cannot be read, a logo or a faded print, can still be seen: the record goes by its picture.
        regions = [Region((0, 0, width, max(height // UNREAD_HEADER, 1)))]
    return regions


def _header(page: Page, words: list[Word], config: IngestConfig, engine: Engine) -> list[Region]:
    vertical = config.vertical
    if config.header_lines:
        return [_region(header, vertical) for header in header_of(words, config.header_lines)]
    found = find_header(page.image, words, engine)
    return [_region(found[0], vertical, found[1])] if found else []


def _read_entries(page: Page, engine: Engine) -> list[Region]:
    entries = find_entries(find_ink(page.image))
    crops, corners = [], []
    for entry in entries:
        for line in entry.lines:
            box, polygon = _outlined(Entry((line,)), page)
            crops.append(crop_of(page.image, box, polygon, _LINE_MARGIN))
            corners.append(corner_of(box, _LINE_MARGIN))
    readings = iter(zip(engine.read_crops(crops), corners, strict=True))
    regions = []
    for entry in entries:
        words = []
        for number, (found, corner) in enumerate(islice(readings, len(entry.lines))):
            words += [replace(word.moved(*corner), line=number) for word in found]
        regions.append(_entry_region(entry, page, words))
    return [region for region in regions if has_letters(region.text_raw) or not engine.name]


def _worded_entries(page: Page, words: Sequence[Word]) -> list[Region]:
    """Entries with the words whose middles lie in their lines."""
    entries = find_entries(find_ink(page.image))
    held: list[list[tuple[int, int, Word]]] = [[] for _ in entries]
    for word in words:
        x, y = (word.box[0] + word.box[2]) / 2, (word.box[1] + word.box[3]) / 2
        for entry, found in zip(entries, held, strict=True):
            line = entry.line_at(x, y)
            if line is not None:
                found.append((line, word.box[0], word))
                break
    regions = [
        _entry_region(entry, page, [word for _, _, word in sorted(found, key=lambda one: one[:2])])
        for entry, found in zip(entries, held, strict=True)
    ]
    return [region for region in regions if has_letters(region.text_raw)]


def _entry_region(entry: Entry, page: Page, words: Sequence[Word]) -> Region:
    box, polygon = _outlined(entry, page)
    return replace(_region(words, vertical_language=False, box=box), polygon=polygon)


def _outlined(entry: Entry, page: Page) -> tuple[Box, tuple[tuple[int, int], ...]]:
    """Box and outline of an entry in whole pixels, inside the page."""
    width, height = page.image.size
    corners = tuple((min(max(round(x), 0), width), min(max(round(y), 0), height)) for x, y in entry.outline)
    x, y = zip(*corners, strict=True)
    left, top = min(*x, width - 1), min(*y, height - 1)
    return (left, top, max(*x, left + 1), max(*y, top + 1)), corners


def given_regions(page: Page, engine: Engine, given: Sequence[GivenBox]) -> tuple[list[Region], list[str]]:
    """Regions of one page for the user's boxes, in the table's order, all read in one batch.

    Returns:
        The regions, and the reasons why some boxes have none.

    Raises:
        InputError: the engine failed or took too long.
    """
    inside: list[tuple[GivenBox, Box]] = []
    reasons = []
    for row in given:
        try:
            inside.append((row, row.pixels(page)))
        except InputError as error:
            reasons.append(str(error))
    downward = [row.direction == "vertical" for row, _ in inside]
    readings = engine.read_crops([page.image.crop(box) for _, box in inside], downward)
    regions = []
    for (row, box), words in zip(inside, readings, strict=True):
        moved = [word.moved(box[0], box[1]) for word in words]
        text = " ".join(word.text for word in moved) if engine.name else row.text
        confidence = float(np.mean([word.confidence for word in moved])) if moved else None
        regions.append(Region(box, text, moved, confidence, row.direction == "vertical", row))
    return regions, reasons


def blocks_of(words: Sequence[Word]) -> list[list[Word]]:
    """Words by the engine's blocks, in its order."""
    return [list(group) for _, group in groupby(words, key=lambda word: word.block)]


def holds_ink(page: Page) -> bool:
    """Whether a page is more than blank paper: its grey values (0..255) spread by more than paper's do."""
    return float(np.asarray(page.image.convert("L").reduce(8)).std()) > _PAPER


def has_letters(text: str) -> bool:
    """Whether a text holds any letter or digit of any script."""
    return any(unicodedata.category(character)[0] in "LN" for character in text)


def _region(words: Sequence[Word], vertical_language: bool, box: Box | None = None) -> Region:
    around = box or hull(words)
    taller = around[3] - around[1] > 1.5 * (around[2] - around[0])
    return Region(
        box=around,
        text_raw=" ".join(word.text for word in words),
        words=list(words),
        confidence=float(np.mean([word.confidence for word in words])) if words else None,
        vertical=vertical_language and taller,
    )


def joined(text_raw: str) -> str:
    """A reading for keeping: `clean`, and no spaces inside scripts that write none, where engines put them."""
    first, *rest = clean(text_raw).split(" ")
    text = first
    for piece in rest:
        tight = text and piece and UNSPACED.match(text[-1]) and UNSPACED.match(piece[0])
        text += piece if tight else " " + piece
    return text
