"""From an encoded crop to the pixels that an image tower sees."""

from __future__ import annotations

import numpy as np
from PIL import Image

from linkage.ingest.images import open_image

_LEAST_CONTRAST = 48.0  # grey levels; a blank crop must not have its noise blown up to ink


def read_crop(data: bytes, direction: str = "horizontal") -> Image.Image:
    """Decode a crop; a vertical line is turned a quarter to the left, so that it runs like a horizontal one.

    Raises:
        InputError: the bytes are no picture.
    """
    image = open_image(data)
    return image.transpose(Image.Transpose.ROTATE_90) if direction == "vertical" else image


def fit(image: Image.Image, height: int, width: int, *, ink: bool) -> np.ndarray:
    """Scale a picture into a frame with its proportions kept; white fills the rest.

    Args:
        image: mode L or RGB, any size.
        height, width: of the frame, pixels.
        ink: the picture is writing: grey, dark on light, contrast stretched, at the left of the frame. Otherwise
            it keeps its colours and stands in the middle.

    Returns:
        uint8 (1, height, width) with `ink`, else (3, height, width).
    """
    image = image.convert("L" if ink else "RGB")
    scale = min(height / image.height, width / image.width)
    size = max(1, min(width, round(image.width * scale))), max(1, min(height, round(image.height * scale)))
    pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
    if ink:
        pixels = _stretch(pixels)
    pixels = pixels.reshape(size[1], size[0], -1).transpose(2, 0, 1)
    frame = np.full((len(pixels), height, width), 255, dtype=np.uint8)
    top, left = (height - size[1]) // 2, 0 if ink else (width - size[0]) // 2
    frame[:, top : top + size[1], left : left + size[0]] = pixels
    return frame


def _stretch(pixels: np.ndarray) -> np.ndarray:
    """Paper to white and ink to black, uint8 (h, w); light writing on a dark ground is turned round."""
    shares = np.cumsum(np.bincount(pixels.ravel(), minlength=256)) / pixels.size
    low, paper, high = (int(level) for level in np.searchsorted(shares, (0.01, 0.6, 0.99)))
    if paper - low < high - paper and paper < 110:
        pixels, low, paper = 255 - pixels, 255 - high, 255 - paper
    contrast = max(paper - low, _LEAST_CONTRAST)
    stretched = (np.arange(256) - (paper - contrast)) * (255.0 / contrast)
    return np.asarray(np.clip(stretched, 0, 255).astype(np.uint8)[pixels])
