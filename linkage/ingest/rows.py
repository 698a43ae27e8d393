"""The regions of a page as rows of the records table, each with its crop."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from linkage.layout.regions import Region, joined
from linkage.ocr.engine import Box, Word
from linkage.ocr.engines import Reading
from linkage.records import record_id
from linkage.scans.images import encode_crop
from linkage.scans.straighten import Straight


def rows_of(
    sha256: str, number: int, straight: Straight, regions: Sequence[Region], padding: int, engine: str
) -> list[dict[str, Any]]:
    """One row per region, without `source`, in the regions' order; places are on the page as it is in its file.

    Args:
        sha256: of the source's content.
        number: of the page, from 1.
        straight: the page, from which the crops are cut.
        regions: in pixels of the straightened page.
        padding: pixels of margin around a region's crop.
        engine: what read the regions that do not say it themselves.
    """
    rows = []
    seen: Counter[str] = Counter()
    for region in regions:
        box, polygon = straight.outline(region.box, region.polygon)
        place = ",".join(map(str, box))
        seen[place] += 1
        name = place if seen[place] == 1 else f"{place}#{seen[place]}"
        given = region.given.record_id if region.given else region.record_id
        row: dict[str, Any] = dict(region.given.extra if region.given else ())
        row |= {
            "record_id": given or record_id(sha256, number, name),
            "source_sha256": sha256,
            "page": number,
            "page_width": straight.size[0],
            "page_height": straight.size[1],
            "polygon": " ".join(f"{x},{y}" for x, y in polygon),
            "direction": "vertical" if region.vertical else "horizontal",
            "text": region.text,
            "text_raw": region.text_raw,
            "ocr_engine": region.engine or engine,
            "ocr_confidence": region.confidence,
            "words": [word_row(word, straight.outline(word.box)[0]) for word in region.words],
            "readings": [reading_row(reading) for reading in region.readings],
            "crop": encode_crop(crop_of(straight.page.image, region, padding)),
        }
        rows.append(row | _edges(box))
    return rows


def crop_of(image: Image.Image, region: Region, padding: int) -> Image.Image:
    """A region's picture with a margin; what lies outside its polygon is painted in the colour of the paper."""
    _, _, x1, y1 = region.box
    width, height = image.size
    left, top = crop_corner(region, padding)
    crop = image.crop((left, top, min(x1 + padding, width), min(y1 + padding, height)))
    if not region.polygon:
        return crop
    corners = [(x - left, y - top) for x, y in region.polygon]
    mask = Image.new("1", crop.size)
    pen = ImageDraw.Draw(mask)
    pen.polygon(corners, fill=1)
    if padding:
        pen.line([*corners, corners[0]], fill=1, width=2 * padding + 1, joint="curve")
    paper = np.median(np.asarray(crop).reshape(crop.width * crop.height, -1), axis=0).astype(int)
    filled = Image.new(crop.mode, crop.size, tuple(paper.tolist()) if len(paper) > 1 else int(paper[0]))
    filled.paste(crop, mask=mask)
    return filled


def crop_corner(region: Region, padding: int) -> tuple[int, int]:
    """Where on the page a region's crop begins: its left and top."""
    return max(region.box[0] - padding, 0), max(region.box[1] - padding, 0)


def word_row(word: Word, box: Box) -> dict[str, Any]:
    """An entry of the column `words`, at `box`."""
    return _edges(box) | {"text": word.text, "confidence": _known(word)}


def reading_row(reading: Reading) -> dict[str, Any]:
    """An entry of the column `readings`."""
    return {
        "ocr_engine": reading.engine,
        "text": joined(reading.text_raw),
        "text_raw": reading.text_raw,
        "ocr_confidence": reading.confidence,
    }


def _known(word: Word) -> float | None:
    return None if math.isnan(word.confidence) else word.confidence


def _edges(box: Box) -> dict[str, Any]:
    return dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
