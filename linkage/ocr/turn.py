"""Which way up a page is: its lines say whether it lies on its side, an engine's reading what is up and what down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from linkage.config import IngestConfig
from linkage.ocr.engine import Engine, Word
from linkage.scans.contrast import paper_colour
from linkage.scans.ink import shrinkage, small_grey, writing_on
from linkage.scans.pages import Page
from linkage.scans.tilt import find_tilt

_CLEARER = 1.3  # times as clear: lines that run this way rather than the other
_LONG, _BROAD = 0.2, 0.5  # of the page's height and width: the part that is read, where most is written
_LARGEST = 2000  # pixels: a larger part is shrunk, its letters are large enough
_GUESSED = 0.3  # confidence at which an engine guesses: what it makes of letters that stand on their heads
_BETTER = 1.3  # times as much is read of a page that is the right way up
_ENOUGH = 5.0  # letters, counted as in `_legible`: what is read of less may be noise


def find_rotation(page: Page, config: IngestConfig, engine: Engine) -> int:
    """Degrees, clockwise, by which a page must be turned: 0, 90, 180 or 270; 0 where nothing can be read.

    A part of the page is read in the two directions in which its lines can stand, in all four where they are
    doubtful, and as it is.

    Args:
        page: as it is in the file.
        config: where text may be `vertical`, lines that stand are no reason to turn a page.
        engine: reads parts of the page.

    Raises:
        InputError: the engine failed or took too long.
    """
    small = small_grey(page.image)
    writing = writing_on(small)
    level, standing = find_tilt(writing), find_tilt(writing, standing=True)
    if not level.clarity:
        return 0
    tilt = max(level, standing, key=lambda found: found.clarity).degrees
    turns: Sequence[int] = (0, 90, 180, 270)
    if standing.clarity > _CLEARER * level.clarity:
        turns = (0, 180) if config.vertical else (0, 90, 270)
    elif level.clarity > _CLEARER * standing.clarity and not config.vertical:
        turns = (0, 180)
    left, top, right, bottom = (edge * shrinkage(page.image) for edge in _densest(writing))
    for part in (
        page.image.crop((left, top, right, bottom)),
        page.image,
    ):  # the whole if that part is no text
        read = _read_turned(part, tilt, turns, config, engine)
        best = max(turns, key=lambda turn: read[turn])
        if read[best] > _ENOUGH and read[best] > _BETTER * max(read[turn] for turn in turns if turn != best):
            return best
    return 0


def _read_turned(
    part: Image.Image, tilt: float, turns: Sequence[int], config: IngestConfig, engine: Engine
) -> dict[int, float]:
    """How much is read of a part of a page turned one way and another, by degrees clockwise."""
    part = part.reduce(-(-max(part.size) // _LARGEST)) if max(part.size) > _LARGEST else part
    levelled = part.rotate(tilt, Image.Resampling.BICUBIC, expand=True, fillcolor=paper_colour(part))
    views = [levelled.rotate(-turn, expand=True) for turn in turns]  # Pillow counts anticlockwise
    # Reading whole pages, Tesseract turns lines on its own that stand, which it must not do here.
    readings = [engine.read_page(view) for view in views] if config.vertical else engine.read_crops(views)
    return {turn: _legible(words) for turn, words in zip(turns, readings, strict=True)}


def _legible(words: Sequence[Word]) -> float:
    """How much was read: letters and digits by their confidence, beyond guessing; single ones do not count."""
    counted = [(sum(map(str.isalnum, word.text)), word.confidence) for word in words]
    return sum(letters * max(confidence - _GUESSED, 0.0) for letters, confidence in counted if letters > 1)


def _densest(writing: np.ndarray) -> tuple[int, int, int, int]:
    """The part of a page that holds most writing, in pixels of the small picture."""
    height, width = max(round(writing.shape[0] * _LONG), 1), max(round(writing.shape[1] * _BROAD), 1)
    if writing.shape[1] > writing.shape[0]:
        height, width = max(round(writing.shape[0] * _BROAD), 1), max(round(writing.shape[1] * _LONG), 1)
    sums = np.pad(writing.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(left), int(top), int(left) + width, int(top) + height
