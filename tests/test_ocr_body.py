"""What sets the scale of a line: its writing, not the paper, rules and neighbours around it."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lines import draw
from PIL import Image, ImageDraw

from linkage.ocr.body import body_rows, ink_of
from linkage.ocr.lines import find_strips, fit_line, line_bounds


def on_paper(line: Image.Image, above: int, below: int, paper: int = 235) -> Image.Image:
    """A line with more bare paper above and below it."""
    page = Image.new("L", (line.width, line.height + above + below), paper)
    page.paste(line, (0, above))
    return page


def test_margins_do_not_set_the_scale() -> None:
    line = on_paper(draw("Fischer Druck", 40), 12, 12)
    alone = fit_line(line, 48, 2048)
    for above, below in ((0, 60), (60, 0), (90, 90)):
        assert fit_line(on_paper(line, above, below), 48, 2048).shape == alone.shape


@pytest.mark.parametrize("turned", [False, True])
def test_the_body_is_where_the_ink_is(turned: bool) -> None:
    page = on_paper(draw("Garnier", 40), 50, 30)
    pixels = np.asarray(page)
    rows = np.flatnonzero((pixels < 128).any(axis=1))
    first, end = body_rows(255 - pixels if turned else pixels)
    assert rows[0] <= first <= rows[0] + 6
    assert rows[-1] - 6 <= end <= rows[-1] + 1


def test_a_rule_is_no_writing() -> None:
    page = on_paper(draw("Lambert Vins", 40), 60, 60)
    before = body_rows(np.asarray(page))
    ImageDraw.Draw(page).rectangle((0, page.height - 14, page.width, page.height - 11), fill=20)
    assert body_rows(np.asarray(page)) == before


def test_a_stain_is_ground_and_not_ink() -> None:
    page = np.asarray(on_paper(draw("Moretti", 40), 40, 40)).astype(np.float32)
    shadow = np.linspace(1.0, 0.45, page.shape[1], dtype=np.float32)  # a fold darkens one side
    first, end = body_rows((page * shadow).astype(np.uint8))
    assert (first, end) == pytest.approx(body_rows(page.astype(np.uint8)), abs=2)
    assert ink_of(np.full((40, 90), 120, dtype=np.uint8)).max() == 0


@given(st.integers(1, 120), st.integers(1, 300), st.integers(0, 255), st.integers(0, 255))
def test_any_picture_has_a_body(height: int, width: int, low: int, high: int) -> None:
    noise = np.random.default_rng(height * width).integers(min(low, high), max(low, high) + 1, (height, width))
    first, end = body_rows(noise.astype(np.uint8))
    assert 0 <= first < end <= height


def test_a_word_whose_ascenders_stand_alone_is_one_line() -> None:
    """The upper half of "the" holds little ink, but its strokes run on into the lower one."""
    image = Image.new("L", (300, 120), 230)
    pen = ImageDraw.Draw(image)
    for x in (40, 90, 160, 230):
        pen.line((x + 22, 12, x, 104), fill=20, width=5)  # ascenders, leaning
    for x in range(30, 260, 22):
        pen.arc((x, 66, x + 22, 106), 0, 360, fill=20, width=5)
    assert len(line_bounds(np.asarray(image))) == 1


def test_real_words_are_hardly_ever_cut_into_lines(shared_data: object) -> None:
    table = pq.read_table(f"{shared_data}/htr_lines/hand-00.parquet", columns=["image"])
    rows = np.random.default_rng(0).choice(len(table), 150, replace=False).tolist()
    images = [Image.open(io.BytesIO(table["image"][row].as_py())) for row in rows]
    assert sum(len(find_strips(image)) > 1 for image in images) <= 3
