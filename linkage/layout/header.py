"""The head of a page: its first lines, with those that the reading of the whole page passed over."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from PIL import Image

from linkage.layout.ink import find_ink
from linkage.layout.level import level
from linkage.layout.lines import find_lines
from linkage.ocr.engine import Box, Engine, Word

HEADER_MIN_LINES, HEADER_MAX_LINES = 3, 5
"""A block of one or two lines on top is often a logo or a stamp: what comes next belongs to the header, too."""

UNSPACED = re.compile(r"[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]")
"""Scripts that write no spaces between words: kana, Han, full-width forms."""

_SURE = 0.4  # word confidence from which a reading is believed
_WORD_LETTERS = 3  # letters in a row that make a real word
_PRINTED = 3.0  # least width of the ink of a printed line, in line heights
_HEAD = 2 * HEADER_MAX_LINES  # what lies below so many lines is no head
_NEAR = 1.5  # greatest gap between a head and what belongs to it, in heights of that
_MARGIN = 0.15  # around a line as it is read again, in line heights


def lines_of(words: Sequence[Word]) -> list[list[Word]]:
    """Words by the engine's lines, in its order."""
    return [list(group) for _, group in groupby(words, key=lambda word: (word.block, word.paragraph, word.line))]


def header_of(words: Sequence[Word], count: int = 0) -> list[list[Word]]:
    """The words at the head of a page: none, or one group.

    Lines without a real word (`holds_words`) are noise, logos or rules and do not count.

    Args:
        words: words of the page.
        count: this many lines from the top; 0: those of the first block, at least HEADER_MIN_LINES and at most
            HEADER_MAX_LINES.
    """
    lines = _real_lines(words)
    if not count:
        block = [line for line in lines if line[0].block == lines[0][0].block]
        count = min(max(len(block), HEADER_MIN_LINES), HEADER_MAX_LINES)
    header = [word for line in lines[:count] for word in line]
    return [header] if header else []


def find_header(image: Image.Image, words: Sequence[Word], engine: Engine) -> tuple[list[Word], Box] | None:
    """The words at the head of a page, from the top, and its box; None where nothing can be read.

    It is the head by the words of the page (`header_of`), and what can be seen above it. Engines that look for text on
    a whole page leave out what is faint or unlike the rest, often the name on top: such lines are read again on their
    own, and belong to the box even if they cannot be read. Lines far below the first that can be seen are no head.

    Args:
        image: the page.
        words: of the page.
        engine: reads the lines again.
    """
    seen = _printed(image)
    lines = _real_lines([word for header in header_of(words) for word in header])
    if len(seen) == _HEAD:
        lines = [line for line in lines if _span(line)[0] < seen[-1][3]]
    top = min((_span(line)[0] for line in lines), default=image.height)
    above = [box for box in seen[:HEADER_MAX_LINES] if (box[1] + box[3]) / 2 < top]
    found = []
    for box, reading in zip(above, engine.read_crops([image.crop(box) for box in above]), strict=True):
        moved = [word.moved(box[0], box[1]) for word in reading]
        if holds_words(moved):
            found.append(moved)
    head = [word for line in [*found, *lines] for word in line]
    if not head:
        return None
    x0, y0, x1, y1 = hull(head)
    for left, upper, right, lower in [*above[::-1], *above]:  # from the head up, and on from what was read above it
        if max(y0 - lower, upper - y1) <= _NEAR * (lower - upper):
            x0, y0, x1, y1 = min(x0, left), min(y0, upper), max(x1, right), max(y1, lower)
    return head, (x0, y0, x1, y1)


def hull(words: Sequence[Word]) -> Box:
    """The box around words."""
    left, top, right, bottom = zip(*(word.box for word in words), strict=True)
    return min(left), min(top), max(right), max(bottom)


def holds_words(line: Sequence[Word]) -> bool:
    """Whether a line holds a word of letters that its engine is halfway sure of; any CJK character is a word."""
    return any(
        not word.confidence < _SURE  # nan, where a transcript has none, is no doubt
        and (sum(map(str.isalpha, word.text)) >= _WORD_LETTERS or UNSPACED.search(word.text))
        for word in line
    )


def _real_lines(words: Sequence[Word]) -> list[list[Word]]:
    lines = [line for line in lines_of(words) if holds_words(line)]
    return sorted(lines, key=lambda line: _span(line)[0])


def _printed(image: Image.Image) -> list[Box]:
    """The first _HEAD lines that can be seen, with a margin; too short ones are specks."""
    ink = find_ink(image)
    if not ink.line:
        return []
    (lines,), _ = find_lines([level(ink.letters, np.zeros(image.height), image.width)], ink.line)
    printed = [line for line in lines if sum(last - first for first, last in line.words) >= _PRINTED * ink.line]
    margin = max(_MARGIN * ink.line, 1.0)
    boxes = []
    for line in printed[:_HEAD]:
        left, right = line.words[0][0] - margin, line.words[-1][1] + margin
        top, bottom = min(line.top) - margin, max(line.bottom) + margin
        boxes.append(
            (max(int(left), 0), max(int(top), 0), min(int(right) + 1, image.width), min(int(bottom) + 1, image.height))
        )
    return boxes


def _span(line: Sequence[Word]) -> tuple[int, int]:
    return min(word.box[1] for word in line), max(word.box[3] for word in line)
