"""From an encoded crop to the pixels that an image tower sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from linkage.errors import InputError
from linkage.ocr.lines import in_a_row
from linkage.scans.images import open_image


def read_crop(data: bytes, direction: str = "horizontal") -> Image.Image:
    """Decode a crop; the characters of a vertical line are put side by side, so that it runs like a horizontal one.

    Raises:
        InputError: the bytes are no picture.
    """
    return upright(open_image(data), direction)


def upright(image: Image.Image, direction: str) -> Image.Image:
    """A crop whose writing runs rightward: the characters of a vertical line are put side by side."""
    return in_a_row(image) if direction == "vertical" else image


def read_crops(
    crops: Sequence[bytes | None], directions: Sequence[str], failed: list[tuple[int, str]] | None = None
) -> list[Image.Image | None]:
    """Decoded crops; None where there is none, or one that cannot be read.

    Args:
        crops: encoded.
        directions: horizontal, vertical or "", of each.
        failed: takes (number of the crop, reason) of those that cannot be read.
    """
    pictures: list[Image.Image | None] = []
    for number, (crop, direction) in enumerate(zip(crops, directions, strict=True)):
        try:
            pictures.append(read_crop(crop, direction) if crop else None)
        except InputError as error:
            pictures.append(None)
            if failed is not None:
                failed.append((number, str(error)))
    return pictures


def fit_photo(image: Image.Image, height: int, width: int) -> np.ndarray:
    """Scale a photograph into the middle of a frame, proportions kept; white fills the rest.

    Returns:
        uint8 (3, height, width).
    """
    scale = min(height / image.height, width / image.width)
    size = max(1, min(width, round(image.width * scale))), max(1, min(height, round(image.height * scale)))
    pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
    frame = np.full((3, height, width), 255, dtype=np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    frame[:, top : top + size[1], left : left + size[0]] = pixels.transpose(2, 0, 1)
    return frame
