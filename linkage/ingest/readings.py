"""Whose reading of a region becomes the record's text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from linkage.layout.crops import corner_of, crop_of
from linkage.layout.regions import Region
from linkage.ocr.engine import Engine, Word
from linkage.ocr.engines import Engines, Reading, reading, surest


def with_readings(image: Image.Image, regions: Sequence[Region], engines: Engines, padding: int) -> list[Region]:
    """The regions with the surest engine's reading and its calibrated confidence.

    Args:
        image: the page.
        regions: as the first engine read them; the others read their crops now.
        engines: at least one.
        padding: pixels of margin around a region's crop.

    Raises:
        InputError: an engine failed or took too long.
    """
    first, *others = engines.each
    if not first.name:
        return list(regions)
    each = [[reading(first, region.words)] for region in regions]
    for engine in others:
        for readings, words in zip(each, _read(image, regions, engine, padding), strict=True):
            readings.append(reading(engine, words))
    return [_settled(region, readings) for region, readings in zip(regions, each, strict=True)]


def _read(image: Image.Image, regions: Sequence[Region], engine: Engine, padding: int) -> list[list[Word]]:
    """What an engine reads in the crops of regions, in pixels of the page."""
    crops = [crop_of(image, region.box, region.polygon, padding) for region in regions]
    found = engine.read_crops(crops, [region.vertical for region in regions])
    corners = [corner_of(region.box, padding) for region in regions]
    return [[word.moved(*corner) for word in words] for words, corner in zip(found, corners, strict=True)]


def _settled(region: Region, readings: Sequence[Reading]) -> Region:
    best = surest(readings)
    return replace(
        region,
        text_raw=best.text_raw,
        words=list(best.words),
        confidence=best.confidence,
        engine=best.engine,
        readings=tuple(readings) if len(readings) > 1 else (),
    )
