"""What is printed on a page: its letters, told from paper, shadows, rules and blots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

_SHRINK = 16  # the paper is as smooth as this many pixels
_PAPER = 9  # side, in shrunk pixels, of the window in which some paper must show
_DARK = 0.5  # what is darker than this share of the page's paper over a whole window is no paper
_CONTRAST = 0.9  # lightest ink, as a share of its paper
_LETTER = (5, 120)  # height of a letter in pixels, at any resolution that can be read
_RULE = 3.0  # least length of a rule, in line heights
_COARSE = 12  # rules are looked for in steps of this part of their least length
_SLANTS = (-0.04, -0.02, 0.0, 0.02, 0.04)  # of rules, pixels aside per pixel along; each finds those near it
_BLOT = 0.8  # side of a square that no stroke of a letter fills, in line heights
_GRAIN = 0.22  # what is smaller, in line heights, is a speck or a stop
_LINE = 2.0  # a line is as high as this many letters without stems


@dataclass(frozen=True)
class PageInk:
    """The ink of a page, as masks of its size (height, width).

    Attributes:
        letters: what may be text, without full stops.
        levels: rules from left to right.
        uprights: rules from top to bottom.
        line: height of a line of text in pixels, about 1.7 times that of an x; 0 on a page without letters.
    """

    letters: np.ndarray
    levels: np.ndarray
    uprights: np.ndarray
    line: float


def find_ink(image: Image.Image) -> PageInk:
    """Tell the ink of a page from its paper.

    Ink is darker than the paper around it (a threshold between the two, after Otsu 1979, on grey values divided by
    the paper's), so that shadows, yellow corners and the scanner's black border are none.

    Args:
        image: mode "L" or "RGB", any size.
    """
    from scipy import ndimage

    dark = _dark(np.asarray(image.convert("L"), dtype=np.float32))
    line = _line_height(dark)
    if not line:
        nothing = np.zeros_like(dark)
        return PageInk(nothing, nothing, nothing, 0.0)
    reach = max(round(_RULE * line), 3)
    levels, uprights = _rules(np.ascontiguousarray(dark.T), reach).T, _rules(dark, reach)
    side = max(round(_BLOT * line), 3)
    blots = ndimage.binary_dilation(_opened(dark, side, side), iterations=2)
    letters = _without_specks(dark & ~ndimage.binary_dilation(levels | uprights) & ~blots, _GRAIN * line)
    return PageInk(letters, levels, uprights, line)


def _dark(grey: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    height, width = grey.shape
    small = np.asarray(Image.fromarray(grey).reduce(_SHRINK))
    paper = ndimage.uniform_filter(ndimage.percentile_filter(small, 80, size=_PAPER), _PAPER)
    usual = np.median(paper)
    paper = np.where(paper < _DARK * usual, 0, paper)
    whole = np.asarray(Image.fromarray(paper.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
    # Blots and what lies around the page would draw the threshold away from the letters.
    cells = np.repeat(np.repeat(small >= _DARK * usual, _SHRINK, axis=0), _SHRINK, axis=1)[:height, :width]
    share = np.divide(grey, whole, out=np.ones_like(grey), where=whole > 0)
    counts, edges = np.histogram(share[cells], bins=64, range=(0, 1.0))
    found: np.ndarray = share < min(_otsu(counts, edges), _CONTRAST)
    return found


def _otsu(counts: np.ndarray, edges: np.ndarray) -> float:
    """The threshold that leaves the least variance on its two sides."""
    middle = (edges[1:] + edges[:-1]) / 2
    below = counts.cumsum()
    total = counts.sum()
    mass = (counts * middle).cumsum()
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (mass[-1] * below - mass * total) ** 2 / (below * (total - below).astype(float))
    return float(edges[1 + int(np.nanargmax(between[:-1]))]) if np.isfinite(between[:-1]).any() else 0.0


def _without_specks(dark: np.ndarray, least: float) -> np.ndarray:
    """Without connected components that are less high and less wide than so many pixels."""
    from scipy import ndimage

    labels, _ = ndimage.label(dark, np.ones((3, 3)))
    boxes: list[Any] = ndimage.find_objects(labels)
    kept = [False, *(max(side.stop - side.start for side in box) >= least for box in boxes)]
    found: np.ndarray = np.array(kept)[labels]
    return found


def _line_height(dark: np.ndarray) -> float:
    """From the heights of the connected components that could be letters: most letters have no stem."""
    from scipy import ndimage

    labels, _ = ndimage.label(dark, np.ones((3, 3)))
    boxes: list[Any] = ndimage.find_objects(labels)
    sizes = np.array([(box[0].stop - box[0].start, box[1].stop - box[1].start) for box in boxes]).reshape(-1, 2)
    least, most = _LETTER
    letters = sizes[(sizes[:, 0] >= least) & (sizes[:, 0] <= most) & (sizes[:, 1] <= 2 * most)]
    return float(_LINE * np.median(letters[:, 0])) if len(letters) else 0.0


def _rules(dark: np.ndarray, reach: int) -> np.ndarray:
    """Upright or nearly upright rules."""
    step = max(reach // _COARSE, 1)
    height, width = len(dark) // step, dark.shape[1]
    coarse: Any = dark[: height * step].reshape(height, step, width).all(axis=1)
    found: Any = np.zeros_like(coarse)
    x = np.arange(width)
    for slant in _SLANTS:
        aside = np.rint(slant * step * np.arange(height)).astype(int)[:, None]
        upright = _shifted(coarse, x + aside)
        found |= _shifted(_opened(upright, max(reach // step - 1, 1), 1), x - aside)
    return np.pad(found.repeat(step, axis=0), ((0, len(dark) - height * step), (0, 0)))


def _shifted(rows: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`rows` (height, width) at x (height, width); false outside."""
    last = rows.shape[1] - 1
    shifted: np.ndarray = np.take_along_axis(rows, np.clip(x, 0, last), axis=1) & (x >= 0) & (x <= last)
    return shifted


def _opened(dark: np.ndarray, high: int, wide: int) -> np.ndarray:
    """The parts of `dark` that hold a filled rectangle of this size."""
    from scipy import ndimage

    eroded = ndimage.minimum_filter1d(ndimage.minimum_filter1d(dark, high, axis=0), wide, axis=1)
    origin = [-1 if size % 2 == 0 else 0 for size in (high, wide)]
    grown = ndimage.maximum_filter1d(eroded, high, axis=0, origin=origin[0])
    opened: np.ndarray = ndimage.maximum_filter1d(grown, wide, axis=1, origin=origin[1])
    return opened
