"""The regions of a page as rows of the records table, each with its crop."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from linkage.layout.crops import crop_of
from linkage.layout.regions import Region, joined
from linkage.ocr.engine import Box, Word
from linkage.ocr.engines import Reading
from linkage.records import record_id
from linkage.scans.images import encode_crop
from linkage.scans.straighten import StraightPage


def rows_of(
    sha256: str, number: int, straight: StraightPage, regions: Sequence[Region], padding: int, engine: str
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
            "crop": encode_crop(crop_of(straight.page.image, region.box, region.polygon, padding)),
        }
        rows.append(row | _edges(box))
    return rows


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
