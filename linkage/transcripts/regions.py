"""Regions of a page from its transcript: its own lines and blocks, what is tagged, or our layout over its words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from linkage.config import IngestConfig
from linkage.errors import InputError
from linkage.layout.boxes import GivenBox
from linkage.layout.regions import Region, has_letters, regions_of
from linkage.ocr.calibration import calibrated
from linkage.ocr.engine import Box, Word
from linkage.scans.pages import Page
from linkage.transcripts.find import SOUGHT
from linkage.transcripts.model import TranscriptBlock, TranscriptLine, TranscriptPage, TranscriptPiece
from linkage.transcripts.read import transcript_page

_ASPECT = 0.01  # how far the proportions of page and transcript may lie apart: rounding, not another page


def transcribed_regions(
    page: Page, place: tuple[Path, int] | None, config: IngestConfig, given: Sequence[GivenBox] = ()
) -> tuple[list[Region], list[str], str]:
    """Regions of one page as its transcript has them.

    Text, direction and the words' confidences are the file's. Lines, blocks and what is tagged keep their outlines;
    the other kinds of region are found by our own layout in its words.

    Args:
        page: decoded page.
        place: the transcript and which of its pages, from 1; None: there is none.
        config: `regions`, and `tag` for "tagged".
        given: the boxes of the page, for "boxes".

    Returns:
        The regions in reading order, the reasons why some have none, and the engine's name for the records.

    Raises:
        InputError: no transcript, one that cannot be read, or one of another page.
    """
    if place is None:
        raise InputError(f"no transcript was found; {SOUGHT}")
    transcript, engine = transcript_page(*place)
    sheet = _Sheet(page, transcript, place[0].name, engine)
    reasons: list[str] = []
    if config.regions == "page":
        found = [sheet.known(Region(sheet.around, sheet.text, sheet.words))]
    elif config.regions == "boxes":
        found, reasons = _in_boxes(sheet, given)
    elif config.regions in ("lines", "blocks", "tagged"):
        found, reasons = _own_regions(sheet, config)
    else:
        found = [sheet.known(region) for region in regions_of(page, sheet.words, config)]
    return found, reasons, engine


class _Sheet:
    """A transcript's page laid over the picture of the page: all coordinates in its pixels, inside it."""

    def __init__(self, page: Page, transcript: TranscriptPage, name: str, engine: str) -> None:
        self.page = page
        self._software = engine.partition(":")[2]
        self._width, self._height = page.image.size
        self.around: Box = (0, 0, self._width, self._height)
        self.blocks = transcript.blocks
        self._x, self._y = _scale(page.image.size, transcript, name)
        self.by_line = [
            [self._words(line, number, place) for place, line in enumerate(block.lines)]
            for number, block in enumerate(self.blocks, start=1)
        ]
        self.words = [word for lines in self.by_line for line in lines for word in line]
        lines = [line for block in self.blocks for line in block.lines]
        self._vertical = 2 * sum(line.vertical is True for line in lines) > len(lines)

    @property
    def text(self) -> str:
        """The text of the page."""
        return " ".join(block.text for block in self.blocks if block.text)

    def box(self, piece: TranscriptPiece) -> Box | None:
        """Where a piece is, in whole pixels, clipped to the page; None: outside of it, or the file does not say."""
        if piece.box is None:
            return None
        x0, y0, x1, y1 = (round(edge * scale) for edge, scale in zip(piece.box, (self._x, self._y) * 2, strict=True))
        if x0 >= self._width or y0 >= self._height or x1 < 0 or y1 < 0:
            return None
        x0, y0 = max(x0, 0), max(y0, 0)
        return x0, y0, max(min(x1, self._width), x0 + 1), max(min(y1, self._height), y0 + 1)

    def region(self, piece: TranscriptPiece, words: list[Word], box: Box) -> Region:
        """A piece of the transcript as a region at `box`."""
        corners = tuple(
            (min(max(round(x * self._x), 0), self._width), min(max(round(y * self._y), 0), self._height))
            for x, y in piece.polygon
        )
        return Region(
            box,
            text_raw=piece.text,
            words=words,
            confidence=self._confidence(words, piece.confidence),
            vertical=bool(piece.vertical),
            polygon=corners,
            record_id=piece.record_id,
        )

    def known(self, region: Region) -> Region:
        """A region with the direction of the page's lines, and the confidence of its words."""
        confidence = self._confidence(region.words, None)
        return replace(region, confidence=confidence, vertical=region.vertical or self._vertical)

    def _confidence(self, words: Sequence[Word], otherwise: float | None) -> float | None:
        """What the words that have a confidence come to, by the calibration of the engine that wrote the file."""
        known = [word for word in words if not math.isnan(word.confidence)]
        return calibrated(self._software, known) if known else otherwise

    def _words(self, line: TranscriptLine, block: int, number: int) -> list[Word]:
        """The words of a line that have a place; a line without words is one, for our layout to go by."""
        found = []
        for piece in line.words or (line,):
            box = self.box(piece)
            if box and piece.text:
                sure = math.nan if piece.confidence is None else piece.confidence
                found.append(Word(piece.text, sure, box, block, 0, number))
        return found


def _scale(size: tuple[int, int], transcript: TranscriptPage, name: str) -> tuple[float, float]:
    """Pixels of the picture per unit of the transcript, across and down."""
    if transcript.width < 1 or transcript.height < 1:
        if not transcript.pixels:
            raise InputError(f"its transcript {name}: gives no page size, which its units need")
        return 1.0, 1.0
    across, down = size[0] / transcript.width, size[1] / transcript.height
    if abs(across / down - 1) > _ASPECT:
        theirs, ours = f"{transcript.width:g} x {transcript.height:g}", f"{size[0]} x {size[1]} pixels"
        raise InputError(f"its transcript {name}: is of a page of {theirs}, the picture has {ours}")
    return across, down


def _own_regions(sheet: _Sheet, config: IngestConfig) -> tuple[list[Region], list[str]]:
    regions = []
    lost = 0
    for piece, words in _pieces(sheet, config):
        box = sheet.box(piece)
        if box is None:
            lost += bool(piece.text)
        elif has_letters(piece.text) or piece.record_id or config.regions == "tagged":
            # A line's text that stands in for its words is not a word of the record.
            own = [] if isinstance(piece, TranscriptLine) and not piece.words else words
            regions.append(sheet.region(piece, own, box))
    what = "regions" if config.regions == "tagged" else config.regions
    return regions, [f"{lost} {what} of its transcript have no place on the page"] if lost else []


def _pieces(sheet: _Sheet, config: IngestConfig) -> Iterator[tuple[TranscriptBlock | TranscriptLine, list[Word]]]:
    """The blocks, lines or tagged ones of both in reading order, each with its words."""
    for block, by_line in zip(sheet.blocks, sheet.by_line, strict=True):
        lines = zip(block.lines, by_line, strict=True)
        if config.regions == "lines":
            yield from lines
        elif config.regions == "blocks" or config.tag in block.tags:
            yield block, [word for line, words in lines if line.words for word in words]
        else:
            yield from ((line, words) for line, words in lines if config.tag in line.tags)


def _in_boxes(sheet: _Sheet, given: Sequence[GivenBox]) -> tuple[list[Region], list[str]]:
    """A region for each of the user's boxes: the words whose middle lies in it."""
    regions = []
    reasons = []
    for row in given:
        try:
            x0, y0, x1, y1 = box = row.pixels(sheet.page)
        except InputError as error:
            reasons.append(str(error))
            continue
        words = [
            word
            for word in sheet.words
            if x0 <= (word.box[0] + word.box[2]) / 2 < x1 and y0 <= (word.box[1] + word.box[3]) / 2 < y1
        ]
        text = " ".join(word.text for word in words)
        region = Region(box, text, words, vertical=row.direction == "vertical", given=row)
        regions.append(sheet.known(region))
    return regions, reasons
