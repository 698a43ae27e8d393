"""The regions of a page as rows of the records table, each with its crop."""

from __future__ import annotations

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
from linkage.scans.pages import Page


def rows_of(sha256: str, number: int, page: Page, regions: Sequence[Region], padding: int) -> list[dict[str, Any]]:
    """One row per region, without `source`, in the regions' order.

    Args:
        sha256: of the source's content.
        number: of the page, from 1.
        page: the page, from which the crops are cut.
        regions: in pixels of the page.
        padding: pixels of margin around a region's crop.
    """
    rows = []
    seen: Counter[str] = Counter()
    for region in regions:
        place = ",".join(map(str, region.box))
        seen[place] += 1
        name = place if seen[place] == 1 else f"{place}#{seen[place]}"
        given = region.given.record_id if region.given else ""
        row: dict[str, Any] = dict(region.given.extra if region.given else ())
        row |= {
            "record_id": given or record_id(sha256, number, name),
            "source_sha256": sha256,
            "page": number,
            "polygon": " ".join(f"{x},{y}" for x, y in region.polygon),
            "direction": "vertical" if region.vertical else "horizontal",
            "text": region.text,
            "text_raw": region.text_raw,
            "ocr_engine": region.engine,
            "ocr_confidence": region.confidence,
            "words": words_row(region.words),
            "readings": [reading_row(reading) for reading in region.readings],
            "crop": encode_crop(crop_of(page.image, region, padding)),
        }
        rows.append(row | _edges(region.box))
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


def words_row(words: Sequence[Word]) -> list[dict[str, Any]]:
    """The column `words`."""
    return [_edges(word.box) | {"text": word.text, "confidence": word.confidence} for word in words]


def reading_row(reading: Reading) -> dict[str, Any]:
    """An entry of the column `readings`."""
    return {
        "ocr_engine": reading.engine,
        "text": joined(reading.text_raw),
        "text_raw": reading.text_raw,
        "ocr_confidence": reading.confidence,
    }


def _edges(box: Box) -> dict[str, Any]:
    return dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
