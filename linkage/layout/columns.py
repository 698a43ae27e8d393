"""Find the gutters between the columns of a page: the OCR engine sometimes runs its lines across narrow ones.

A gutter is a stretch of the page's width that hardly any line of text crosses. Projection profiles are the oldest way
to see that (Nagy, Seth and Viswanathan 1992, A prototype document image analysis system for technical journals).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from linkage.ocr.engine import Word

_STRIPS = 60  # the page is looked at in this many horizontal strips: about one per line of dense print
_FEWEST_STRIPS = 15  # with fewer that hold ink, gaps between words line up by chance
_CROSSED = 0.35  # share of the strips that may have ink in a gutter: headings, speckles, slant
_WIDTH = 0.006  # least width of a gutter, as share of the page's width
_COLUMN = 0.12  # least width of a column
_FILLED = 0.8  # share of the strips that have ink on both sides of a gutter; a receipt's prices have less
_DENSE = 0.42  # mean share of strips with ink over a column's width; tables have less


def find_gutters(image: Image.Image) -> list[int]:
    """Where to cut a page into columns: x positions in pixels, rising; none for a page of one column.

    Args:
        image: mode "L" or "RGB", any size.
    """
    ink = _ink(image)
    width = ink.shape[1]
    strips = np.stack([strip.any(axis=0) for strip in np.array_split(ink, min(_STRIPS, len(ink)))])
    strips = strips[strips.any(axis=1)]
    if len(strips) < _FEWEST_STRIPS:
        return []
    crossed = strips.mean(axis=0)  # (width,) share of strips with ink in each pixel column
    gaps = [(float(crossed[a:b].mean()), a, b) for a, b in _runs(crossed <= _CROSSED) if b - a >= _WIDTH * width]
    cuts = [0, width]
    for _, left, right in sorted(gaps):  # the clearest first: gaps beside a gutter are then too near to it
        cut = (left + right) // 2
        before = strips[:, max(edge for edge in cuts if edge < cut) : cut]
        after = strips[:, cut : min(edge for edge in cuts if edge > cut)]
        both = before.any(axis=1) & after.any(axis=1)
        if both.mean() >= _FILLED and _is_column(before, width) and _is_column(after, width):
            cuts.append(cut)
    return sorted(cuts)[1:-1]


def lines_crossing(lines: Sequence[Sequence[Word]], cuts: Sequence[int]) -> float:
    """Share of the lines that run across a cut: words on both sides of it, or one right over it."""
    spans = [(min(word.box[0] for word in line), max(word.box[2] for word in line)) for line in lines]
    crossing = sum(any(left < cut < right for cut in cuts) for left, right in spans)
    return crossing / max(len(spans), 1)


def _ink(image: Image.Image) -> np.ndarray:
    """Dark pixels on light paper (height, width): nearer to the darkest than to the paper."""
    grey = np.asarray(image.convert("L"))
    sample = grey[:: max(len(grey) // 500, 1)]
    dark, paper = np.percentile(sample, 1), np.percentile(sample, 60)
    found: np.ndarray = grey < (dark + paper) / 2
    return found


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    padded = np.concatenate([[False], flags, [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return [(int(left), int(right)) for left, right in edges.reshape(-1, 2)]


def _is_column(strips: np.ndarray, page_width: int) -> bool:
    """Whether a part of the page is as wide and as dense as a column of text."""
    crossed = strips.mean(axis=0)
    inked = np.flatnonzero(crossed > _CROSSED)
    if not len(inked) or inked[-1] - inked[0] < _COLUMN * page_width:
        return False
    return bool(crossed[inked[0] : inked[-1] + 1].mean() >= _DENSE)
