"""The picture of a region."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from linkage.ocr.engine import Box


def crop_of(image: Image.Image, box: Box, polygon: Sequence[tuple[int, int]], padding: int) -> Image.Image:
    """A region's picture with a margin; what lies outside its polygon is painted in the colour of the paper.

    Args:
        image: the page.
        box: of the region.
        polygon: its outline; empty where it is the box.
        padding: pixels of margin around both, as far as the page goes.
    """
    _, _, x1, y1 = box
    width, height = image.size
    left, top = corner_of(box, padding)
    crop = image.crop((left, top, min(x1 + padding, width), min(y1 + padding, height)))
    if not polygon:
        return crop
    corners = [(x - left, y - top) for x, y in polygon]
    mask = Image.new("1", crop.size)
    pen = ImageDraw.Draw(mask)
    pen.polygon(corners, fill=1)
    if padding:
        pen.line([*corners, corners[0]], fill=1, width=2 * padding + 1, joint="curve")
    paper = np.median(np.asarray(crop).reshape(crop.width * crop.height, -1), axis=0).astype(int)
    filled = Image.new(crop.mode, crop.size, tuple(paper.tolist()) if len(paper) > 1 else int(paper[0]))
    filled.paste(crop, mask=mask)
    return filled


def corner_of(box: Box, padding: int) -> tuple[int, int]:
    """Where on the page a region's crop begins: its left and top."""
    return max(box[0] - padding, 0), max(box[1] - padding, 0)
