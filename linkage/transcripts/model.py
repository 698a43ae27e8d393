"""What a transcript says, whatever its format: pages of blocks of lines of words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from linkage.text import clean

FloatBox = tuple[float, float, float, float]
"""Left, top, right, bottom in the file's own units; right and bottom exclusive."""

Point = tuple[float, float]
MAX_POINTS = 2000
"""A longer outline is a mistake: its hull is kept."""

_ENGINE_LENGTH = 80
_SIDEWAYS = (60, 120)  # degrees, modulo 180


@dataclass(frozen=True)
class TranscriptPiece:
    """A word, or what lines and blocks have in common with it.

    Attributes:
        text: as the file has it, stripped.
        box: where it is; None where the file does not say.
        polygon: outline, if it is no upright rectangle; () otherwise.
        confidence: 0..1; None where the file does not say.
        vertical: whether the text runs from top to bottom; None where the file does not say.
        tags: what the file says that it is.
        record_id: of the record that an export made it from; "" otherwise.
    """

    text: str = ""
    box: FloatBox | None = None
    polygon: tuple[Point, ...] = ()
    confidence: float | None = None
    vertical: bool | None = None
    tags: tuple[str, ...] = ()
    record_id: str = ""


@dataclass(frozen=True)
class TranscriptLine(TranscriptPiece):
    """A line; `words` may be empty where the file has its text only."""

    words: tuple[TranscriptPiece, ...] = ()


@dataclass(frozen=True)
class TranscriptBlock(TranscriptPiece):
    """A block of lines, in reading order."""

    lines: tuple[TranscriptLine, ...] = ()


@dataclass(frozen=True)
class TranscriptPage:
    """One page.

    Attributes:
        width, height: of the page in the file's own units; 0: the file does not say.
        blocks: in reading order.
        pixels: the units are pixels of the picture that was read.
    """

    width: float
    height: float
    blocks: tuple[TranscriptBlock, ...]
    pixels: bool = True


@dataclass(frozen=True)
class Transcript:
    """One file: its pages in order, and what wrote it ("alto:tesseract 5.3.0")."""

    pages: tuple[TranscriptPage, ...]
    engine: str


def line_of(line: TranscriptLine) -> TranscriptLine:
    """A line with what it lacks taken from its words: text, place, confidence."""
    return replace(
        line,
        text=line.text or " ".join(word.text for word in line.words if word.text),
        box=line.box or _hull(line.words),
        confidence=mean_confidence(line.words, line.confidence),
    )


def block_of(block: TranscriptBlock) -> TranscriptBlock:
    """A block with what it lacks taken from its lines; one whose text is in no lines is a line of itself."""
    lines = tuple(line for line in block.lines if line.text or line.box)
    if not lines and block.text:
        lines = (TranscriptLine(block.text, block.box, block.polygon, block.confidence, block.vertical),)
    pieces = [piece for line in lines for piece in (line.words or (line,))]
    return replace(
        block,
        lines=lines,
        text=" ".join(line.text for line in lines if line.text) or block.text,
        box=block.box or _hull(lines),
        confidence=mean_confidence(pieces, block.confidence),
    )


def mean_confidence(pieces: Iterable[TranscriptPiece], otherwise: float | None = None) -> float | None:
    """Mean of the confidences that are known."""
    known = [piece.confidence for piece in pieces if piece.confidence is not None]
    return math.fsum(known) / len(known) if known else otherwise


def share(value: float | None) -> float | None:
    """A confidence, if it lies in 0..1."""
    return value if value is not None and 0 <= value <= 1 else None


def outline(values: Sequence[float]) -> tuple[FloatBox | None, tuple[Point, ...]]:
    """Hull and polygon of points given as x, y, x, y, ...; no polygon where the hull says the same."""
    points = tuple(zip(values[::2], values[1::2], strict=False))
    if len(values) % 2 or len(points) < 2:
        return None, ()
    xs, ys = zip(*points, strict=True)
    hull = (min(xs), min(ys), max(xs), max(ys))
    corners = {(x, y) for x in hull[::2] for y in hull[1::2]}
    rectangle = set(points) == corners and len(points) <= 5 and _turns_once(points)
    return hull, () if rectangle or len(set(points)) < 3 or len(points) > MAX_POINTS else points


def sideways(degrees: float) -> bool:
    """Whether lines turned by this angle, either way, run up or down the page."""
    return _SIDEWAYS[0] <= degrees % 180 <= _SIDEWAYS[1]


def engine_name(form: str, software: str) -> str:
    """What is written into the records: the format and what the file says that wrote it."""
    software = clean(software)[:_ENGINE_LENGTH]
    return f"{form}:{software}" if software else form


def _turns_once(points: Sequence[Point]) -> bool:
    """Whether corners of a rectangle come one after the other, rather than crosswise."""
    return all(a[0] == b[0] or a[1] == b[1] for a, b in pairwise(points))


def _hull(pieces: Iterable[TranscriptPiece]) -> FloatBox | None:
    boxes = [piece.box for piece in pieces if piece.box]
    if not boxes:
        return None
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)
