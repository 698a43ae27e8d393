"""Where the ink of a page lies, on a small picture of it: for finding its frame, its tilt and which way it runs."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

SMALL_EDGE = 1500
"""Pixels of the longer side of the small picture, at most: 0.02 degrees move the end of a line by half of one."""

_NEIGHBOURHOOD = 0.012  # of the longer side: ink is darker than the mean this far around it
_DARKER = 0.86  # times that mean; paper grain stays above
_LETTERS = 0.06  # of the longer side: what is longer is no letter and hardly a word
_STROKE = 0.012  # of the longer side: what is longer and thin is a rule or an edge of paper
_ELONGATED = 5  # times as long as wide is thin
_SPECK = 0.003  # of the longer side: no letter is smaller
_SOLID = 0.006  # of the longer side: what is dark all over a square of this half width is no writing


def small_grey(image: Image.Image) -> Image.Image:
    """A page as a grey picture of at most SMALL_EDGE pixels, shrunk by a whole number."""
    factor = shrinkage(image)
    return (image.reduce(factor) if factor > 1 else image).convert("L")


def shrinkage(image: Image.Image) -> int:
    """By how much `small_grey` shrinks a page."""
    return -(-max(image.size) // SMALL_EDGE)


def dark_surround(small: Image.Image) -> np.ndarray:
    """What is dark and reaches the edge of the picture: a scanner's lid, the table, the book's edge.

    Args:
        small: see `small_grey`.

    Returns:
        (height, width) bool.
    """
    from scipy import ndimage

    soft = np.asarray(small.filter(ImageFilter.BoxBlur(1)))
    darkest, paper = np.percentile(soft, 0.5), np.percentile(soft, 95)
    dark = ndimage.maximum_filter(soft, 2 * _pixels(small, _SOLID) + 1) < darkest + 0.4 * (paper - darkest)
    if paper - darkest < 40 or not dark.any():
        return np.zeros(dark.shape, bool)
    labels, _ = ndimage.label(dark)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.isin(labels, edge[edge > 0])


def ink_of(small: Image.Image, surround: np.ndarray) -> np.ndarray:
    """Pixels that are darker than the paper around them, outside the dark surround.

    Returns:
        (height, width) bool.
    """
    reach = _pixels(small, _SOLID) + 2
    grey = np.asarray(small)
    if surround.any():
        grown = Image.fromarray(surround).convert("L").filter(ImageFilter.BoxBlur(reach))
        surround = np.asarray(grown) > 0
        paper = np.median(grey[~surround]) if not surround.all() else 255
        grey = np.where(surround, np.uint8(paper), grey)
    around = np.asarray(Image.fromarray(grey).filter(ImageFilter.BoxBlur(_pixels(small, _NEIGHBOURHOOD))))
    found: np.ndarray = (grey < _DARKER * around) & ~surround
    return found


def _pixels(small: Image.Image, share: float) -> int:
    return max(round(share * max(small.size)), 1)


def writing_on(small: Image.Image, *, strokes: bool = False) -> np.ndarray:
    """The ink of a small picture that may be letters and words: (height, width) bool.

    What is too large is left out: rules, edges of paper, pictures.

    Args:
        small: see `small_grey`.
        strokes: keep what is long and thin, single strokes of letters as well as pieces of rules and edges.
    """
    from scipy import ndimage

    ink = ink_of(small, dark_surround(small))
    labels, count = ndimage.label(ink, np.ones((3, 3)))
    longest, thinnest = _LETTERS * max(ink.shape), _STROKE * max(ink.shape)
    kept = np.ones(count + 1, bool)
    kept[0] = False
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        if place:
            short, long = sorted(part.stop - part.start for part in place)
            kept[number] = long <= longest and (strokes or long <= thinnest or long <= _ELONGATED * short)
    found: np.ndarray = kept[labels]
    return found


def without_specks(ink: np.ndarray) -> np.ndarray:
    """The ink without spots too small for a letter or a full stop's neighbour."""
    from scipy import ndimage

    labels, count = ndimage.label(ink, np.ones((3, 3)))
    kept = np.zeros(count + 1, bool)
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        kept[number] = bool(place) and max(part.stop - part.start for part in place) >= _SPECK * max(ink.shape)
    found: np.ndarray = kept[labels]
    return found
