"""Find the gutters between the columns of a page, so that the OCR engine need not: it runs lines across narrow ones.

A gutter is a stretch of the page's width that hardly any line of text crosses. Projection profiles are the oldest way
to see that (Nagy, Seth and Viswanathan 1992, A prototype document image analysis system for technical journals).
"""

from __future__ import annotations

import numpy as np
from PIL import Image

_STRIPS = 60  # the page is looked at in this many horizontal strips: about one per line of dense print
_FEWEST_STRIPS = 15  # with fewer that hold ink, gaps between words line up by chance
_CROSSED = 0.35  # share of the strips that may have ink in a gutter: headings, speckles, slant
_WIDTH = 0.006  # least width of a gutter, as share of the page's width
_COLUMN = 0.12  # least width of a column
_FILLED = 0.5  # share of the strips that have ink in every column


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
    cuts = [0]
    for left, right in _runs(crossed <= _CROSSED):
        if right - left < max(_WIDTH * width, 3):
            continue
        lowest = np.flatnonzero(crossed[left:right] <= crossed[left:right].min() + 1e-9)
        cut = left + int(lowest[len(lowest) // 2])
        if _is_column(strips[:, cuts[-1] : cut], width) and _is_column(strips[:, cut:], width):
            cuts.append(cut)
    return cuts[1:]


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
    """Whether a part of the page is wide enough and has ink from top to bottom."""
    inked = np.flatnonzero(strips.mean(axis=0) > _CROSSED) if strips.shape[1] else np.empty(0)
    if not len(inked) or inked[-1] - inked[0] < _COLUMN * page_width:
        return False
    return bool(strips.any(axis=1).mean() >= _FILLED)
