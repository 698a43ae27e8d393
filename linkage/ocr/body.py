"""Where in a crop the writing stands: ink against its own ground, rules left out, the rows of a line's body."""

from __future__ import annotations

import numpy as np
from PIL import Image

_INK = 0.4  # of the darkest ink, from which a pixel counts
_FAINTEST = 25.0  # grey levels between ground and ink below which there is none
_GROUND = 15  # pixels, of a crop half as large: wider than a stroke, so that closing leaves the ground alone
_SMALL = 24  # rows below which a crop is not halved first
_RULE = 0.95  # share of ink in a level run that is a rule rather than writing
_LEAST_RULE = 60  # pixels; and twice the height of the crop, or
_WIDE = 0.6  # of its width
_LEAST_BODY, _LEAST_INK = 6, 10  # rows and pixels below which nothing is legible


def ink_of(pixels: np.ndarray) -> np.ndarray:
    """How dark each pixel is against the ground around it.

    The ground is a grey closing (the lightest nearby, then the darkest of those), smoothed: a stain or the shadow of a
    fold is wider than a stroke and stays in it. Writing that is lighter than its ground is turned over first.

    Args:
        pixels: uint8 (h, w), grey.

    Returns:
        float32 (h, w), about 1 in the darkest strokes; zeros where nothing stands out.
    """
    from scipy import ndimage

    image = Image.fromarray(255 - pixels if _is_light_on_dark(pixels) else pixels)
    small = image.reduce(2) if image.height >= _SMALL and image.width >= _SMALL else image
    ground = ndimage.uniform_filter(ndimage.grey_closing(np.asarray(small), _GROUND), _GROUND // 2)
    ground = np.asarray(Image.fromarray(ground).resize(image.size, Image.Resampling.BILINEAR), dtype=np.float32)
    darker = np.maximum(ground - np.asarray(image, dtype=np.float32), 0.0)
    return np.asarray(darker / max(float(np.percentile(darker[::2, ::2], 99)), _FAINTEST), dtype=np.float32)


def _is_light_on_dark(pixels: np.ndarray) -> bool:
    """Whether most is dark, and what stands out from it is lighter."""
    low, middle, high = np.percentile(pixels[::2, ::2], (1, 60, 99))  # a quarter tells as much
    return bool(high - middle > middle - low)


def body_rows(pixels: np.ndarray, share: float = 0.9) -> tuple[int, int]:
    """First row and end of those that hold the middle `share` of a line's ink; all rows where there is hardly any.

    Args:
        pixels: uint8 (h, w), grey, of one level line.
        share: 0..1.
    """
    whole = 0, len(pixels)
    profile = without_rules(ink_of(pixels) > _INK).sum(axis=1)
    below = np.cumsum(profile)
    if not len(below) or below[-1] < _LEAST_INK:
        return whole
    first, last = np.searchsorted(below, [below[-1] * (1 - share) / 2, below[-1] * (1 + share) / 2])
    return (int(first), int(last) + 1) if last - first + 1 >= _LEAST_BODY else whole


def without_rules(ink: np.ndarray) -> np.ndarray:
    """Ink without the long level runs that no pen makes when it writes: rules, leaders, edges of boxes.

    Args:
        ink: bool (h, w).

    Returns:
        bool (h, w).
    """
    height, width = ink.shape
    long = max(_LEAST_RULE, min(2 * height, round(_WIDE * width)))
    if width < long:
        return ink
    thick = ink | np.vstack([ink[1:], ink[-1:]])  # a rule that is not quite level changes its row
    sums = np.cumsum(np.pad(thick, ((0, 0), (1, 0))), axis=1, dtype=np.int32)
    begins = sums[:, long:] - sums[:, :-long] >= _RULE * long  # (h, w - long + 1)
    sums = np.cumsum(np.pad(begins, ((0, 0), (long, long - 1))), axis=1, dtype=np.int32)
    covered = sums[:, long:] > sums[:, :-long]  # (h, w)
    return np.asarray(ink & ~covered[:, :width])
