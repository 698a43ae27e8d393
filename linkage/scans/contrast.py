"""Even out the light of a scan: the paper white all over, the ink dark."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

_REDUCED = 8  # the paper is looked at in squares of this many pixels
_REACH = 0.02  # of the longer side: how far around a place its paper is looked for
_DARKEST = 64  # the dark around a page is no paper and is not lifted beyond this
_INK = 1.0  # percentile of the grey values that counts as full ink
_WEAKEST = 0.65  # of the paper's grey: ink is never taken to be lighter, or an empty sheet would be all grain
_STRIP = 512  # rows at a time: memory stays flat


def even_contrast(image: Image.Image) -> Image.Image:
    """Divide a page by its paper's brightness and stretch what is left from full ink (0) to paper (255).

    Args:
        image: mode "L" or "RGB"; the mode and size stay.
    """
    small = image.reduce(_REDUCED)
    paper = _paper_of(small.convert("L"))
    lit = np.asarray(small.convert("L"), np.float32) / np.asarray(paper, np.float32)
    ink = min(float(np.percentile(lit, _INK)), _WEAKEST)
    result = Image.new(image.mode, image.size)
    for top in range(0, image.height, _STRIP):
        rows = min(_STRIP, image.height - top)
        seen = np.asarray(image.crop((0, top, image.width, top + rows)), np.float32)
        part = (0, top / _REDUCED, image.width / _REDUCED, min((top + rows) / _REDUCED, paper.height))
        here = np.asarray(paper.resize((image.width, rows), Image.Resampling.BILINEAR, part), np.float32)
        here = here[..., None] if seen.ndim == 3 else here
        evened = (seen / here - ink) * (255 / (1 - ink))
        result.paste(Image.fromarray(np.clip(evened, 0, 255).astype(np.uint8)), (0, top))
    return result


def paper_colour(image: Image.Image) -> int | tuple[int, ...]:
    """The commonest brightness of a page's lighter half, as a fill colour of its mode."""
    small = np.asarray(image.reduce(_REDUCED) if min(image.size) >= _REDUCED else image, np.float32)
    pixels = small.reshape(small.shape[0] * small.shape[1], -1)
    light = pixels[pixels.mean(axis=1) >= np.median(pixels.mean(axis=1))]
    colour = np.median(light, axis=0).astype(int).tolist()
    return tuple(colour) if len(colour) > 1 else int(colour[0])


def _paper_of(small: Image.Image) -> Image.Image:
    """The paper's brightness all over a page: the lightest nearby, smoothed, as a grey picture."""
    from scipy import ndimage

    reach = max(round(_REACH * max(small.size)), 1)
    grey = np.asarray(small.filter(ImageFilter.BoxBlur(1)))
    lightest = ndimage.grey_closing(grey, size=(2 * reach + 1, 2 * reach + 1))
    smooth = Image.fromarray(np.maximum(lightest, _DARKEST)).filter(ImageFilter.BoxBlur(reach))
    return smooth
