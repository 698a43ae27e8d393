"""Cut a page into regions: its lines, blocks or header as the OCR engine found them, or given boxes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from linkage.config import IngestConfig
from linkage.errors import InputError
from linkage.layout.boxes import GivenBox
from linkage.layout.columns import find_gutters, lines_crossing
from linkage.ocr.engine import Box, Engine, Word
from linkage.ocr.engines import Reading
from linkage.scans.pages import Page
from linkage.text import clean

HEADER_MIN_LINES, HEADER_MAX_LINES = 3, 5
"""A block of one or two lines on top is often a logo or a stamp: what comes next belongs to the header, too."""

UNREAD_HEADER = 4
"""The header of a page without a readable word is this part of its height."""

_SURE = 0.4  # word confidence from which a reading is believed
_PAPER = 4.0  # standard deviation of the grey values of an empty sheet, shaded by the scanner's lamp
_CROSSING = 0.1  # share of lines run across gutters from which a page is read again, column by column
_WORD_LETTERS = 3  # letters in a row that make a real word
# Scripts that write no spaces between words: kana, Han, full-width forms.
_UNSPACED = re.compile(r"[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]")


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

    Exceptions are the whole page, and the header of a page on which no header can be read.

    Args:
        page: decoded page.
        config: `regions` (not "boxes", see `given_regions`) and what belongs to it.
        engine: reads the page, once more where it mixed up the columns.

    Raises:
        InputError: the engine failed or took too long.
    """
    words = engine.read_page(page.image)
    cuts = find_gutters(page.image) if config.regions in ("lines", "blocks") else []
    if lines_crossing(lines_of(words), cuts) > _CROSSING:
        words = engine.read_page(page.image, cuts)
    width, height = page.image.size
    if config.regions == "page":
        return [_region(words, config.vertical, (0, 0, width, height))]
    find: Callable[[list[Word]], list[list[Word]]] = {
        "lines": lines_of,
        "blocks": blocks_of,
        "header": lambda found: header_of(found, config.header_lines),
    }[config.regions]
    regions = [_region(group, config.vertical) for group in find(words)]
    regions = [region for region in regions if has_letters(region.text_raw)]
    if config.regions == "header" and not regions and holds_ink(page):
        # A head that cannot be read, a logo or a faded print, can still be seen: the record goes by its picture.
        regions = [Region((0, 0, width, max(height // UNREAD_HEADER, 1)))]
    return regions


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


def lines_of(words: Sequence[Word]) -> list[list[Word]]:
    """Words by the engine's lines, in its order."""
    return [list(group) for _, group in groupby(words, key=lambda word: (word.block, word.paragraph, word.line))]


def blocks_of(words: Sequence[Word]) -> list[list[Word]]:
    """Words by the engine's blocks, in its order."""
    return [list(group) for _, group in groupby(words, key=lambda word: word.block)]


def header_of(words: Sequence[Word], count: int = 0) -> list[list[Word]]:
    """The words at the head of a page: none, or one group.

    Lines without a real word (`holds_words`) are noise, logos or rules and do not count.

    Args:
        words: words of the page.
        count: this many lines from the top; 0: those of the first block, at least HEADER_MIN_LINES and at most
            HEADER_MAX_LINES.
    """
    lines = [line for line in lines_of(words) if holds_words(line)]
    lines.sort(key=lambda line: min(word.box[1] for word in line))
    if not count:
        block = [line for line in lines if line[0].block == lines[0][0].block]
        count = min(max(len(block), HEADER_MIN_LINES), HEADER_MAX_LINES)
    header = [word for line in lines[:count] for word in line]
    return [header] if header else []


def holds_words(line: Sequence[Word]) -> bool:
    """Whether a line holds a word of letters that its engine is halfway sure of; any CJK character is a word."""
    return any(
        not word.confidence < _SURE  # nan, where a transcript has none, is no doubt
        and (sum(map(str.isalpha, word.text)) >= _WORD_LETTERS or _UNSPACED.search(word.text))
        for word in line
    )


def holds_ink(page: Page) -> bool:
    """Whether a page is more than blank paper: its grey values (0..255) spread by more than paper's do."""
    return float(np.asarray(page.image.convert("L").reduce(8)).std()) > _PAPER


def has_letters(text: str) -> bool:
    """Whether a text holds any letter or digit of any script."""
    return any(unicodedata.category(character)[0] in "LN" for character in text)


def _region(words: Sequence[Word], vertical_language: bool, box: Box | None = None) -> Region:
    around = box or _hull(words)
    taller = around[3] - around[1] > 1.5 * (around[2] - around[0])
    return Region(
        box=around,
        text_raw=" ".join(word.text for word in words),
        words=list(words),
        confidence=float(np.mean([word.confidence for word in words])) if words else None,
        vertical=vertical_language and taller,
    )


def _hull(words: Sequence[Word]) -> Box:
    left, top, right, bottom = zip(*(word.box for word in words), strict=True)
    return min(left), min(top), max(right), max(bottom)


def joined(text_raw: str) -> str:
    """A reading for keeping: `clean`, and no spaces inside scripts that write none, where engines put them."""
    first, *rest = clean(text_raw).split(" ")
    text = first
    for piece in rest:
        tight = text and piece and _UNSPACED.match(text[-1]) and _UNSPACED.match(piece[0])
        text += piece if tight else " " + piece
    return text
