"""Find the columns of a page: the OCR engine sometimes runs its lines across narrow gutters.

A gutter is a stretch of the page's width that hardly any line of text crosses. Projection profiles are the oldest way
to see that (Nagy, Seth and Viswanathan 1992, A prototype document image analysis system for technical journals); here
every gutter has a slant of its own, for pages that were photographed askew or open at a curl.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from linkage.layout.ink import PageInk
from linkage.layout.level import straightened
from linkage.ocr.engine import Word

_SLANTS = np.tan(np.radians(np.linspace(-3, 3, 61)))  # pixels to the right per pixel down
_STRIP = 1.6  # height of the strips in which a page is looked at, in line heights
_FEWEST_STRIPS = 15  # with fewer that hold ink, gaps between words line up by chance
_CROSSED = 0.15  # share of the strips that may have ink in a gutter: headings, speckles
_CLEAR = 0.05  # what is crossed by so much more than its clearest part is no part of a gutter
_WIDTH = 0.35  # least width of a gutter, in line heights
_COLUMN = 6.0  # least width of a column, in line heights
_FILLED = 0.8  # share of the strips that have ink on both sides of a gutter; a receipt's prices have less
_INKED = 0.35  # share of the strips that have ink in every part of a column, but for its margins
_DENSE = 0.42  # mean share of strips with ink over a column's width; tables have less
_RULED = 0.5  # share of the strips that a rule runs through where it is the edge of the page
_SLIVER = 0.25  # what lies beyond such a rule and is narrower than this share of its column is of another page
_BEGUN = 0.12  # share of a column's lines that have ink where they begin
_MARGIN = 0.03  # share of a column's lines that have ink, specks and shadows, in its margin


class ColumnCut(NamedTuple):
    """A straight line from top to bottom: x at the page's top, and how far right it goes per pixel down."""

    x: float
    slant: float

    def at(self, y: float) -> float:
        """Where it is at a height."""
        return self.x + self.slant * y


def find_gutters(ink: PageInk) -> list[ColumnCut]:
    """Where to cut a page into columns, from left to right; none for a page of one column."""
    return _gutters(_strips(straightened(ink.letters), ink.line), ink) if ink.line else []


def _gutters(strips: np.ndarray, ink: PageInk) -> list[ColumnCut]:
    if strips.any(axis=1).sum() < _FEWEST_STRIPS:
        return []
    height, width = ink.letters.shape
    middles = _middles(strips, height)
    cuts: list[ColumnCut] = []
    for _, cut in sorted(_gaps(strips, middles, _WIDTH * ink.line), reverse=True):  # the clearest first
        if any((cut.x - other.x) * (cut.at(height) - other.at(height)) <= 0 for other in cuts):
            continue  # they would meet on the page
        if not 0 < cut.at(height / 2) < width:
            continue
        edges = sorted([*cuts, ColumnCut(0, 0), ColumnCut(width, 0)], key=lambda edge: edge.at(height / 2))
        place = sum(edge.at(height / 2) < cut.at(height / 2) for edge in edges)
        before = _between(strips, middles, edges[place - 1], cut)
        after = _between(strips, middles, cut, edges[place])
        if _both_filled(before, after) and all(_is_column(side, ink.line) for side in (before, after)):
            cuts.append(cut)
    return sorted(cuts)


def find_columns(ink: PageInk) -> list[tuple[ColumnCut, ColumnCut]]:
    """Left and right edges of the columns of text, from left to right, without margins; none on a blank page.

    A sliver of another page, beyond a rule or a shadow along the page, is no part of a column.
    """
    if not ink.line or not ink.letters.any():
        return []
    height, width = ink.letters.shape
    strips, rules = _strips(straightened(ink.letters), ink.line), _strips(ink.uprights, ink.line)
    middles = _middles(strips, height)
    edges = _page_edges(rules, middles, [ColumnCut(0, 0), *_gutters(strips, ink), ColumnCut(width, 0)], ink.line)
    return [_trimmed(strips, middles, left, right, ink.line) for left, right in pairwise(edges)]


def lines_crossing(lines: Sequence[Sequence[Word]], cuts: Sequence[ColumnCut]) -> float:
    """Share of the lines that run across a cut: words on both sides of it, or one right over it."""
    crossing = 0
    for line in lines:
        left, right = min(word.box[0] for word in line), max(word.box[2] for word in line)
        crossing += any(left < cut.at(line[0].box[1]) < right for cut in cuts)
    return crossing / max(len(lines), 1)


def _page_edges(rules: np.ndarray, middles: np.ndarray, edges: list[ColumnCut], line: float) -> list[ColumnCut]:
    """The edges, the outer ones moved in to rules that run along the page close by."""
    from scipy import ndimage

    height = 2 * middles.mean()
    wide = ndimage.maximum_filter1d(rules, max(round(_WIDTH * line), 1), axis=1)
    for slant in map(float, _SLANTS):
        ruled = np.flatnonzero(_slanted(wide, middles, slant).mean(axis=0) >= _RULED)
        for x in map(float, ruled):
            cut = ColumnCut(x, slant)
            middle, inner, outer = cut.at(height / 2), edges[1].at(height / 2), edges[0].at(height / 2)
            if outer < middle and middle < _SLIVER * (inner - middle):
                edges[0] = cut
            inner, outer = edges[-2].at(height / 2), edges[-1].at(height / 2)
            if middle < outer and rules.shape[1] - middle < _SLIVER * (middle - inner):
                edges[-1] = cut
    return edges


def _trimmed(
    strips: np.ndarray, middles: np.ndarray, left: ColumnCut, right: ColumnCut, line: float
) -> tuple[ColumnCut, ColumnCut]:
    """The edges of a column without its margins, in which there may be shadows and specks, but for half a line.

    They get the slant along which the lines begin below one another most sharply, which a wide gutter leaves open.
    Lines may end anywhere: at the right, text goes on until there is a clear gap.
    """
    from scipy import ndimage

    x = np.arange(strips.shape[1])
    edges = [(cut.x + cut.slant * middles)[:, None] for cut in (left, right)]
    inside = strips & (x >= edges[0]) & (x < edges[1])
    used = inside.any(axis=1)
    if not used.any():
        return left, right
    profiles = [_slanted(inside[used], middles[used], float(slant)).mean(axis=0) for slant in _SLANTS]
    sharp = [np.square(np.diff(ndimage.uniform_filter1d(each, max(round(line / 6), 1)))).sum() for each in profiles]
    slant, profile = float(_SLANTS[int(np.argmax(sharp))]), profiles[int(np.argmax(sharp))]
    smooth = ndimage.uniform_filter1d(profile, max(round(line / 2), 1))
    # A shadow along the edge of the page is parted from the text by a clear gap.
    parts = runs(ndimage.binary_closing(np.pad(smooth >= _MARGIN, round(line)), np.ones(max(round(line), 1))))
    start, last = max(
        ((a - round(line), b - round(line)) for a, b in parts), key=lambda part: smooth[slice(*part)].sum()
    )
    dense = np.flatnonzero(smooth[start:last] >= _DENSE)
    if not len(dense):
        return left, right
    before = np.flatnonzero(smooth[start : start + dense[0]] < _BEGUN)
    first = start + (before[-1] if len(before) else 0)
    middle = float(middles.mean())
    lean = slant * middle
    return (
        ColumnCut(max(left.at(middle) - lean, float(first) - line / 2), slant),
        ColumnCut(min(right.at(middle) - lean, float(last) + line / 2), slant),
    )


def _strips(letters: np.ndarray, line: float) -> np.ndarray:
    """(strips, width) where a strip, as high as a line with its lead, has ink."""
    count = max(round(len(letters) / (_STRIP * line)), 1)
    return np.stack([strip.any(axis=0) for strip in np.array_split(letters, min(count, len(letters)))])


def _middles(strips: np.ndarray, height: int) -> np.ndarray:
    """(strips,) y of each strip's middle."""
    middles: np.ndarray = (np.arange(len(strips)) + 0.5) * height / len(strips)
    return middles


def _slanted(strips: np.ndarray, middles: np.ndarray, slant: float) -> np.ndarray:
    """Strips moved so that what goes along the slant is upright; x is then that of the page's top."""
    width = strips.shape[1]
    at = np.arange(width) + np.rint(slant * middles)[:, None].astype(int)
    inside = (at >= 0) & (at < width)
    return np.where(inside, np.take_along_axis(strips, np.clip(at, 0, width - 1), axis=1), False)


def _gaps(strips: np.ndarray, middles: np.ndarray, least: float) -> list[tuple[float, ColumnCut]]:
    """Gaps with how clear they are: width times the share of strips by which they are crossed less than allowed."""
    inked = strips[strips.any(axis=1)], middles[strips.any(axis=1)]
    gaps = []
    for slant in _SLANTS:
        crossed = _slanted(*inked, float(slant)).mean(axis=0)
        for left, right in runs(crossed <= _CROSSED):
            # Ragged ends of lines are no gutter: what counts is the clear strip along the next column.
            clear = crossed[left:right] <= crossed[left:right].min() + _CLEAR
            start, end = max(runs(clear), key=lambda run: run[1] - run[0])
            if end - start >= least and left > 0 and right < len(crossed):
                room = float((_CROSSED - crossed[left + start : left + end]).sum())
                gaps.append((room, ColumnCut(left + (start + end) / 2, float(slant))))
    return gaps


def _between(strips: np.ndarray, middles: np.ndarray, left: ColumnCut, right: ColumnCut) -> np.ndarray:
    """The part between two cuts, upright along the one that has a slant."""
    slant = right.slant or left.slant
    x = np.arange(strips.shape[1]) + np.rint(slant * middles)[:, None]
    inside = (x >= np.rint(left.x + left.slant * middles)[:, None]) & (
        x < np.rint(right.x + right.slant * middles)[:, None]
    )
    return _slanted(strips, middles, slant) & inside


def _both_filled(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two sides have ink on the same strips, as far down as both go."""
    sides = [np.flatnonzero(side.any(axis=1)) for side in (before, after)]
    if not all(map(len, sides)):
        return False
    first, last = max(side[0] for side in sides), min(side[-1] for side in sides)
    if last - first + 1 < _FEWEST_STRIPS:
        return False
    one, other = (side[first : last + 1].any(axis=1) for side in (before, after))
    return bool((one & other).sum() >= _FILLED * (one | other).sum())


def _is_column(strips: np.ndarray, line: float) -> bool:
    """Whether a part of the page is as wide and as dense as a column of text."""
    filled = strips[strips.any(axis=1)]
    crossed = filled.mean(axis=0)
    inked = np.flatnonzero(crossed > _INKED)
    if not len(inked) or inked[-1] - inked[0] < _COLUMN * line:
        return False
    return bool(crossed[inked[0] : inked[-1] + 1].mean() >= _DENSE)


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First index and index behind the last of every stretch of true flags."""
    padded = np.concatenate([[False], flags, [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return [(int(left), int(right)) for left, right in edges.reshape(-1, 2)]
