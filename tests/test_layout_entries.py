"""Columns, lines, entries and rows found in drawn pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from linkage.config import IngestConfig
from linkage.layout.columns import find_gutters
from linkage.layout.header import find_header
from linkage.layout.ink import find_ink
from linkage.layout.regions import find_regions, regions_of
from linkage.ocr.engine import Box, NoEngine, Word
from linkage.scans.images import open_image
from linkage.scans.pages import Page

SIZE, PITCH, INDENT, WIDE = 22, 30, 26, 440
NAMES = "Abel Barthelmy Castin Delamare Enghien Fontaine Grenelle Hubert Jourdan Lombard Martyrs Popincourt".split()


def column(rng: Random, *, hanging: bool) -> tuple[list[tuple[int, str]], list[int]]:
    """Lines of a column as (indent, text) and how many lines each entry has."""
    lines: list[tuple[int, str]] = []
    counts = []
    while len(lines) < 30:
        count = rng.choice((1, 1, 2, 3))
        counts.append(count)
        for number in range(count):
            first = number == 0
            last = number == count - 1
            indent = INDENT if first != hanging else 0
            words = []
            while _wide(" ".join([*words, "Popincourt"])) + indent < (WIDE if not last else WIDE // 2):
                words.append(rng.choice(NAMES))
            text = " ".join(words) + (f" {rng.randint(1, 99)}." if last else "")
            lines.append((indent, text))
    return lines, counts


def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype("DejaVuSerif.ttf", SIZE)


def _wide(text: str) -> float:
    return _font().getlength(text)


def directory(seed: int, *, hanging: bool = True, columns: int = 2) -> tuple[Image.Image, list[Box]]:
    """A page of a directory with a title, and the boxes of its entries in reading order."""
    rng = Random(seed)
    page = Image.new("L", (80 + columns * (WIDE + 60), 1150), 235)
    pen = ImageDraw.Draw(page)
    pen.text((page.width // 2 - 120, 30), "LISTE GENERALE", font=_font(), fill=30)
    boxes: list[Box] = []
    for number in range(columns):
        left, top = 60 + number * (WIDE + 60), 110
        lines, counts = column(rng, hanging=hanging)
        at = 0
        for count in counts:
            spans = []
            for indent, text in lines[at : at + count]:
                pen.text((left + indent, top), text, font=_font(), fill=30)
                spans.append(pen.textbbox((left + indent, top), text, font=_font()))
                top += PITCH
            at += count
            x0, y0, x1, y1 = zip(*spans, strict=True)
            boxes.append((round(min(x0)), round(min(y0)), round(max(x1)), round(max(y1))))
        if number:
            pen.line([(left - 30, 100), (left - 30, top)], fill=30, width=2)
    return page, boxes


def found_boxes(image: Image.Image) -> list[Box]:
    return [region.box for region in find_regions(Page(image), IngestConfig(regions="entries", ocr="none"), NoEngine())]


def overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    both = max(wide, 0) * max(high, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)


@pytest.mark.parametrize("hanging", [True, False])
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_entries_of_either_indent_are_found_in_order(hanging: bool, columns: int) -> None:
    image, boxes = directory(columns, hanging=hanging, columns=columns)
    found = found_boxes(image)
    assert len(found) == len(boxes), "the title is none"
    assert min(overlap(a, b) for a, b in zip(found, boxes, strict=True)) > 0.5


@pytest.mark.parametrize("degrees", [-1.5, 1.5])
def test_a_slanted_page_has_the_same_entries(degrees: float) -> None:
    image, boxes = directory(7)
    assert len(found_boxes(image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=235))) == len(boxes)


def test_entries_of_one_line_each_and_entries_set_apart() -> None:
    single = Image.new("L", (640, 1150), 235)
    apart = single.copy()
    rng = Random(3)
    for number in range(24):
        words = rng.choices(NAMES, k=8 if number % 2 == 0 else 1)
        text = " ".join(words)[:32]
        ImageDraw.Draw(single).text((60, 60 + PITCH * number), text, font=_font(), fill=30)
        gap = 20 * (number // 2)
        ImageDraw.Draw(apart).text((60, 60 + PITCH * number + gap), text, font=_font(), fill=30)
    assert len(found_boxes(single)) == 24, "nothing tells which lines belong together"
    assert len(found_boxes(apart)) == 12


def test_given_words_go_to_the_entries_they_lie_in() -> None:
    image, boxes = directory(5)
    words = [Word(f"w{number}", 0.9, (x0 + 2, y0 + 2, x0 + 40, y0 + 20)) for number, (x0, y0, _, _) in enumerate(boxes)]
    regions = regions_of(Page(image), words[::-1], IngestConfig(regions="entries"))
    assert [region.text_raw for region in regions] == [word.text for word in words]
    assert all(region.polygon for region in regions)


def test_a_blank_page_has_no_entries() -> None:
    assert found_boxes(Image.new("L", (900, 900), 240)) == []
    assert found_boxes(Image.new("RGB", (1, 1))) == []


@settings(max_examples=25)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_any_picture_is_cut_inside_its_bounds(width: int, height: int, seed: int, share: float) -> None:
    dark = np.random.default_rng(seed).random((height, width)) < share
    image = Image.fromarray(np.where(dark, 0, 255).astype(np.uint8))
    for x0, y0, x1, y1 in found_boxes(image):
        assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height


def test_gutters() -> None:
    image, _ = directory(1, columns=2)
    (cut,) = find_gutters(find_ink(image))
    assert 60 + WIDE < cut.at(600) < 60 + WIDE + 60
    assert find_gutters(find_ink(directory(1, columns=1)[0])) == []
    assert find_gutters(find_ink(Image.new("L", (500, 500), 255))) == []


def table(*, ruled: bool) -> tuple[Page, list[Word], list[str]]:
    """A ledger whose second cells have two lines each where it is ruled, the words and the rows' texts."""
    image = Image.new("L", (900, 600), 240)
    pen = ImageDraw.Draw(image)
    words, rows = [], []
    for row in range(6):
        top = 40 + 80 * row
        cells = [(40, f"Name{row}", 1, 0), (300, f"upper{row}", 2, 0), (700, f"{row}00", 3, 0)]
        if ruled:
            pen.line([(20, top - 12), (880, top - 12)], fill=30, width=2)
            cells.insert(2, (300, f"lower{row}", 2, 30))
        for x, text, block, down in cells:
            pen.text((x, top + down), text, font=_font(), fill=30)
            words.append(Word(text, 0.9, (x, top + down, x + 80, top + down + 24), block, 1, 2 * row + (down > 0)))
        rows.append(" ".join(text for _, text, _, _ in cells))
    if ruled:
        pen.line([(20, 508), (880, 508)], fill=30, width=2)
    return Page(image), sorted(words, key=lambda word: word.block), rows


@pytest.mark.parametrize("ruled", [True, False])
def test_rows_of_a_table(ruled: bool) -> None:
    page, words, rows = table(ruled=ruled)
    assert [region.text_raw for region in regions_of(page, words, IngestConfig(regions="rows"))] == rows
    assert regions_of(page, [], IngestConfig(regions="rows")) == []


class LineReader(NoEngine):
    """Reads a name from every crop."""

    name = "lines"

    def read_crops(self, images: Sequence[Image.Image]) -> list[list[Word]]:
        return [[Word("Abel", 0.9, (0, 0, image.width, image.height))] for image in images]


def test_a_faint_name_above_the_header_is_read_on_its_own() -> None:
    image = Image.new("L", (600, 800), 240)
    pen = ImageDraw.Draw(image)
    pen.text((60, 40), "Abel and Brothers", font=_font(), fill=130)
    body = []
    for line in range(12):
        top = 90 + PITCH * line
        pen.text((60, top), f"Market Street {line} Grenelle", font=_font(), fill=30)
        body.append(Word(f"Street{line}", 0.9, (60, top, 400, top + 24), 1, 1, line))
    found = find_header(image, body, LineReader())
    assert found is not None
    head, box = found
    assert [word.text for word in head] == ["Abel", *(f"Street{line}" for line in range(5))]
    assert box[1] <= 45
    unread = find_header(image, body, NoEngine())
    assert unread is not None and unread[1] == box, "what cannot be read can be seen"
    assert find_header(Image.new("L", (600, 800), 240), [], LineReader()) is None


@pytest.mark.shared
def test_real_columns_are_found_and_receipts_have_none(shared_data: Path) -> None:
    pages = sorted((shared_data / "directory_pages" / "images").glob("*.jpg"))
    assert [len(find_gutters(find_ink(open_image(path)))) for path in pages] == [1, 1, 1, 1, 1, 2, 2, 2]
    receipts = sorted((shared_data / "sroie_pages" / "images").glob("*.jpg"))[:30]
    assert sum(bool(find_gutters(find_ink(open_image(path)))) for path in receipts) <= 3


@pytest.mark.shared
def test_entries_of_real_directory_pages(shared_data: Path) -> None:
    import pandas as pd

    truth = pd.read_csv(shared_data / "directory_pages" / "boxes.csv")
    hits = entries = 0
    for image, rows in truth.groupby("image"):
        found = found_boxes(open_image(shared_data / "directory_pages" / str(image)))
        entries += len(found)
        for x, y, w, h in rows[["x", "y", "w", "h"]].to_numpy(int).tolist():
            hits += any(overlap((x, y, x + w, y + h), box) >= 0.5 for box in found)
    assert hits / len(truth) >= 0.98 and hits / entries >= 0.95
