"""Entries of a directory: one or more lines each, told apart by the indent, from the picture of the page alone.

Everything here is taken from the picture: no engine that mixes up columns or drops faint lines costs an entry, and any
engine can read the entries afterwards. Tesseract reads them best line by line, each cut out along its own outline: on
three pages of Paris directories its character error rate was 0.064 so, 0.132 with the words of a reading of the whole
page (as good only on the cleanest page), and more with whole entries as crops. Which lines are indented, and whether
the indented ones carry on an entry (a hanging indent) or begin one, is found from all columns of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from linkage.layout.columns import ColumnCut, find_columns
from linkage.layout.ink import PageInk
from linkage.layout.level import LevelColumn, level
from linkage.layout.lines import Line, find_lines

_SAME = 0.12  # spread of the left edges of lines that begin alike, in line heights
_BENT = np.linspace(-0.8, 0.8, 33)  # how far a left edge leans or bows over the height of a column, in line heights
_INDENT = (0.3, 4.0)  # least and greatest indent, in line heights
_FLUSH, _RARE = 0.1, 0.03  # least shares of the lines that are flush and that are indented; fewer are chance
_ALONE = 1.2  # a narrow speck that far from its line's other ink, in line heights, is no part of it
_STROKE = 0.3  # what is as narrow, in line heights, and first on its line may be a piece of a rule
_NARROW = 0.6  # what is a narrow speck, in line heights
_SHORT = 1.5  # a line that ends so far before the column, in line heights, is short
_CENTRED = 2.0  # least margin on both sides of a centred heading, in line heights
_APART = 1.35  # distance, in common distances of lines, that parts title and footer from the body
_TITLE = 2  # most lines of a title or footer
_ENDING = 0.5  # share of short lines inside groups from which each line is an entry
_SPACED = 0.1  # share of the distances that are wide where entries are set apart by space


@dataclass(frozen=True)
class Entry:
    """Lines that belong together, from top to bottom; at least one."""

    lines: tuple[Line, ...]

    @property
    def outline(self) -> list[tuple[float, float]]:
        """Its corners, clockwise from the upper left, in pixels of the page."""
        return [*_side(self.lines, 1), *_side(self.lines, 0)[::-1]]

    def line_at(self, x: float, y: float) -> int | None:
        """Which of its lines lies at a place of the page; None: none of them."""
        for number, (left, right) in enumerate(zip(_steps(self.lines, 0), _steps(self.lines, 1), strict=True)):
            line = self.lines[number]
            first, last = line.words[0][0], line.words[-1][1]
            along = (x - first) / max(last - first, 1.0)
            if 0 <= along <= 1 and left[0] + along * (right[0] - left[0]) <= y <= left[1] + along * (
                right[1] - left[1]
            ):
                return number
        return None


def _steps(lines: Sequence[Line], side: int) -> list[tuple[float, float]]:
    """Upper and lower y of lines at their left (0) or right (1) ends; what one reaches into the next is halved."""
    edges = [(line.top[side] + line.bottom[side]) / 2 for line in lines]
    between = [(upper.bottom[side] + lower.top[side]) / 2 for upper, lower in pairwise(lines)]
    inner = [min(max(y, above), below) for y, (above, below) in zip(between, pairwise(edges), strict=True)]
    return list(pairwise([lines[0].top[side], *inner, lines[-1].bottom[side]]))


def _side(lines: Sequence[Line], side: int) -> list[tuple[float, float]]:
    ends = [(line.words[0][0], line.words[-1][1])[side] for line in lines]
    return [(x, y) for x, rows in zip(ends, _steps(lines, side), strict=True) for y in rows]


def find_entries(ink: PageInk) -> list[Entry]:
    """Entries of a page in reading order, column by column."""
    columns = [_levelled(ink, left, right) for left, right in find_columns(ink)]
    if not columns:
        return []
    found, pitch = find_lines(columns, ink.line)
    bodies = [_body(lines, pitch) for lines in found]
    blocks = [_Block.of(lines, ink.line) for lines in bodies if lines]
    indent = _indent(blocks, ink.line)
    hanging = _hanging(blocks, indent, ink.line)
    return [
        entry
        for block in blocks
        for entry in _grouped(block, _begins(block, indent, hanging, pitch, ink.line), ink.line)
    ]


def _levelled(ink: PageInk, left: ColumnCut, right: ColumnCut) -> LevelColumn:
    middle = len(ink.letters) / 2
    x = left.x + left.slant * np.arange(len(ink.letters))
    return level(ink.letters, x, max(round(right.at(middle) - left.at(middle)), 1))


def _body(lines: list[Line], pitch: float) -> list[Line]:
    """The lines without title and footer: the first or last few, set apart by more space than any entry is."""
    middles = np.array([line.middle for line in lines])
    apart = _APART * (np.percentile(np.diff(middles), 90) if _spaced(middles, pitch) else pitch)
    far = np.diff(middles) > apart
    first, last = 0, len(lines)
    while (heads := np.flatnonzero(far[first : first + _TITLE])).size and last - first > 2 * _TITLE:
        first += int(heads[-1]) + 1
    while (feet := np.flatnonzero(far[max(last - 1 - _TITLE, first) : last - 1])).size and last - first > 2 * _TITLE:
        last = max(last - 1 - _TITLE, first) + int(feet[0]) + 1
    return lines[first:last]


def _spaced(middles: np.ndarray, pitch: float) -> bool:
    """Whether the lines of a column are set apart in groups by space."""
    wide = np.diff(middles) > _APART * pitch
    return bool(len(wide)) and bool(_SPACED < wide.mean() < 1)


@dataclass(frozen=True)
class _Block:
    """The lines of a column with where they begin and end, as arrays (lines,).

    Attributes:
        lines: without the specks beside them.
        starts: pixels from the column's flush edge to each line.
        ends: pixels from each line to the column's right edge; below 0 beyond it.
    """

    lines: list[Line]
    starts: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, lines: list[Line], line: float) -> _Block:
        """Find the edges of a column and drop what lies outside."""
        lines = [_without_specks(each, line) for each in lines]
        begun = np.array([_begun(each, _STROKE * line) for each in lines])
        left = _edge(np.array([each.middle for each in lines]), begun, line)
        lines = [_inside(each, flush) for each, flush in zip(lines, left, strict=True)]
        starts = np.array([_start(each) for each in lines]) - left
        ends = np.array([each.words[-1][1] - each.left for each in lines]) - left
        return cls(lines, starts, np.percentile(ends, 90) - ends)


def _start(line: Line) -> float:
    return line.words[0][0] - line.left


def _begun(line: Line, narrow: float) -> float:
    """Where a line begins, but for what may be pieces of a rule."""
    return next((first for first, last in line.words if last - first > narrow), line.words[0][0]) - line.left


def _without_specks(line: Line, height: float) -> Line:
    """A line without narrow specks far before its first and behind its last word."""
    words = list(line.words)
    narrow, alone = _NARROW * height, _ALONE * height
    while len(words) > 1 and words[0][1] - words[0][0] < narrow and words[1][0] - words[0][1] > alone:
        words.pop(0)
    while len(words) > 1 and words[-1][1] - words[-1][0] < narrow and words[-1][0] - words[-2][1] > alone:
        words.pop()
    return replace(line, words=tuple(words))


def _inside(line: Line, flush: float) -> Line:
    """A line without the ink before the flush edge, unless there is nothing else."""
    words = tuple(word for word in line.words if word[1] > line.left + flush)
    return replace(line, words=words) if words else line


def _edge(middles: np.ndarray, starts: np.ndarray, line: float) -> np.ndarray:
    """Where the flush lines of a column begin, at each line: a parabola, parallel to all ways to begin.

    Its shape is the one along which the lines begin at the fewest places; then the leftmost place counts at which
    more than a few do.
    """
    if len(starts) < 3:
        return np.full(len(starts), starts.min(initial=0.0))
    v = 2 * (middles - middles.min()) / max(float(np.ptp(middles)), 1.0) - 1
    lean, bow = (shape.ravel() * line for shape in np.meshgrid(_BENT, _BENT))
    shapes = lean[:, None] * v + bow[:, None] * v**2
    upright = starts - shapes  # (shapes, lines)
    sharpest = [_likeness(row, _SAME * line).sum() for row in upright]
    shape: np.ndarray = shapes[int(np.argmax(sharpest))]
    peaks = _peaks(starts - shape, line, _FLUSH)
    shape += peaks[0] if peaks else float(np.median(starts - shape))
    return shape


def _likeness(places: np.ndarray, spread: float) -> np.ndarray:
    alike: np.ndarray = np.exp(-0.5 * ((places[:, None] - places) / spread) ** 2)
    return alike


def _peaks(places: np.ndarray, line: float, share: float) -> list[float]:
    """Places, rising, near which at least this share of the given ones lie, and two of them."""
    grid = np.arange(places.min() - line, places.max() + line, max(_SAME * line / 4, 0.25))
    density = np.exp(-0.5 * ((grid[:, None] - places) / (_SAME * line)) ** 2).sum(axis=1)
    tops = np.flatnonzero((density >= np.roll(density, 1)) & (density > np.roll(density, -1)))
    least = max(share * len(places), 2)
    return [float(grid[top]) for top in tops if (np.abs(places - grid[top]) < 2 * _SAME * line).sum() >= least]


def _indent(blocks: Sequence[_Block], line: float) -> float | None:
    """Distance from the flush edge to the most common indent, over all columns of a page; None without one."""
    starts = np.concatenate([block.starts for block in blocks]) if blocks else np.zeros(0)
    if len(starts) < 3:
        return None
    least, most = (times * line for times in _INDENT)
    peaks = [peak for peak in _peaks(starts, line, _RARE) if least <= peak <= most]
    return max(peaks, key=lambda peak: (np.abs(starts - peak) < 2 * _SAME * line).sum(), default=None)


def _hanging(blocks: Sequence[_Block], indent: float | None, line: float) -> bool:
    """Whether indented lines carry on an entry: those before them are then full, and short ones end an entry."""
    if indent is None:
        return True
    short = np.concatenate([block.ends[:-1] > _SHORT * line for block in blocks])
    before = np.concatenate([block.starts[1:] > indent / 2 for block in blocks])
    return bool(short[~before].mean() >= short[before].mean()) if before.any() and not before.all() else True


def _begins(block: _Block, indent: float | None, hanging: bool, pitch: float, line: float) -> np.ndarray:
    """(lines,) whether an entry begins there."""
    if indent is None:
        middles = np.array([each.middle for each in block.lines])
        apart: np.ndarray = np.diff(middles, prepend=-np.inf) > _APART * pitch
        # Space may also set apart groups of entries: short lines end entries.
        inner = block.ends[:-1][~apart[1:]] > _SHORT * line
        alone = not _spaced(middles, pitch) or (len(inner) > 0 and inner.mean() > _ENDING)
        return np.ones(len(middles), dtype=bool) if alone else apart
    indented = block.starts > indent / 2
    return ~indented if hanging else indented


def _grouped(block: _Block, begins: np.ndarray, line: float) -> list[Entry]:
    """The entries of a column; a centred line is a heading and ends the entry before it."""
    entries: list[list[Line]] = [[]]
    for each, start, end, first in zip(block.lines, block.starts, block.ends, begins, strict=True):
        centred = min(start, end) > _CENTRED * line and abs(start - end) < 0.3 * (start + end)
        if centred or first:
            entries.append([])
        if not centred:
            entries[-1].append(each)
    return [Entry(tuple(lines)) for lines in entries if lines]
