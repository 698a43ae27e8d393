"""A page with its regions drawn on it, for people to look at before they ingest a thousand of them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

LONGEST = 1800
"""Pixels of the longer side of a preview."""

_COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#17becf")
_FONTS = ("NotoSansCJK-Regular.ttc", "DejaVuSans.ttf")  # the first that is installed
_NUMBER, _TEXT = 18, 17  # sizes of type in pixels
_PANEL = 760  # width of the readings beside the page
_LETTERS = 76  # to a line of them


@dataclass(frozen=True)
class RegionOutline:
    """One region to draw: its outline on the page, its kind, which gives the colour, and its reading."""

    outline: Sequence[tuple[int, int]]
    kind: str
    text: str


def draw_regions(page: Image.Image, regions: Sequence[RegionOutline], *, texts: bool = False) -> Image.Image:
    """Draw regions on a page, numbered in their order from 1; large pages are shrunk.

    Args:
        page: mode "L" or "RGB", as it is in the file.
        regions: outlines in pixels of the page.
        texts: write the readings beside the page.
    """
    scale = min(LONGEST / max(page.size), 1.0)
    size = (max(round(page.width * scale), 1), max(round(page.height * scale), 1))
    picture = page.convert("RGB").resize(size, Image.Resampling.BOX if scale < 1 else None)
    pen = ImageDraw.Draw(picture)
    font = _font(_NUMBER)
    kinds = sorted({region.kind for region in regions})
    colours = [_COLOURS[kinds.index(region.kind) % len(_COLOURS)] for region in regions]
    for number, (region, colour) in enumerate(zip(regions, colours, strict=True), start=1):
        corners = [(x * scale, y * scale) for x, y in region.outline]
        pen.line([*corners, corners[0]], fill=colour, width=2)
        ys = [y for _, y in corners]
        # Beside the region, not on its first letters.
        at = (max(min(x for x, _ in corners) - 4, pen.textlength(str(number), font) + 2), (min(ys) + max(ys)) / 2)
        left, top, right, bottom = pen.textbbox(at, str(number), font, anchor="rm")
        pen.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill=colour)
        pen.text(at, str(number), "white", font, anchor="rm")
    return _beside(picture, regions, colours) if texts else picture


def _beside(picture: Image.Image, regions: Sequence[RegionOutline], colours: Sequence[str]) -> Image.Image:
    """The picture with a numbered list of readings at its right."""
    lines = [
        (line if not place else "     " + line, colour)
        for number, (region, colour) in enumerate(zip(regions, colours, strict=True), start=1)
        for place, line in enumerate(textwrap.wrap(f"{number:>3}  {region.text}", _LETTERS) or [f"{number:>3}"])
    ]
    pitch = round(_TEXT * 1.35)
    rows = max(picture.height // pitch - 1, 1)
    panels = -(-len(lines) // rows)
    wide = Image.new("RGB", (picture.width + panels * _PANEL, picture.height), "white")
    wide.paste(picture)
    pen, font = ImageDraw.Draw(wide), _font(_TEXT)
    for place, (line, colour) in enumerate(lines):
        panel, row = divmod(place, rows)
        pen.text((picture.width + panel * _PANEL + 12, row * pitch + 6), line, colour, font)
    return wide


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)
