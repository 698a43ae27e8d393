"""Crops as the towers see them: lines side by side, characters in a row, photographs whole."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lines import draw
from PIL import Image

from linkage.encode.crops import fit_photo, read_crop
from linkage.ocr.lines import fit_line, in_a_row, line_bounds


def stacked(*lines: Image.Image) -> Image.Image:
    sheet = Image.new("L", (max(line.width for line in lines), sum(line.height for line in lines)), 235)
    top = 0
    for line in lines:
        sheet.paste(line, (0, top))
        top += line.height
    return sheet


@given(st.integers(1, 400), st.integers(1, 400), st.integers(16, 128))
def test_a_line_has_the_height_and_a_width_of_whole_columns(width: int, height: int, widest: int) -> None:
    noise = np.random.default_rng(width * height).integers(0, 256, (height, width), dtype=np.uint8)
    fitted = fit_line(Image.fromarray(noise), 48, widest * 8)
    assert fitted.dtype == np.uint8
    assert fitted.shape[:2] == (1, 48)
    assert fitted.shape[2] % 8 == 0
    assert 16 <= fitted.shape[2] <= max(16, widest * 8)


@pytest.mark.parametrize("dark", [True, False])
def test_lines_of_a_block_stand_side_by_side(dark: bool) -> None:
    first, second = draw("Abbot & Sons"), draw("Quincaillerie gigot")
    block = stacked(first, second)
    if not dark:
        block = Image.eval(block, lambda level: 255 - level)
    bounds = line_bounds(np.asarray(block))
    assert len(bounds) == 2
    assert bounds[0][1] <= bounds[1][0] + 12
    assert bounds[1][0] >= first.height - 12
    alone = fit_line(block.crop((0, 0, block.width, first.height)), 48, 4096).shape[2]
    assert fit_line(block, 48, 4096).shape[2] > 1.6 * alone


def test_dots_and_accents_do_not_make_a_line() -> None:
    assert len(line_bounds(np.asarray(draw("Ï ï ä Ë: i j ; ...")))) == 1
    assert line_bounds(np.full((40, 90), 200, dtype=np.uint8)) == [(0, 40)]


def test_upright_characters_of_a_column_come_to_stand_in_a_row() -> None:
    letters = [draw(letter, 40).crop((0, 0, 56, 56)) for letter in "HXOENB"]
    row = in_a_row(stacked(*letters))
    assert row.width > 4 * row.height
    ink = np.asarray(row) < 128
    blocks = np.array_split(ink, 6, axis=1)
    assert all(block.mean() > 0.05 for block in blocks)
    buffer = io.BytesIO()
    stacked(*letters).save(buffer, "PNG")
    assert read_crop(buffer.getvalue(), "vertical").size == row.size
    assert read_crop(buffer.getvalue()).size == (56, 6 * 56)


@given(st.integers(1, 300), st.integers(1, 300))
def test_any_picture_survives_being_put_in_a_row(width: int, height: int) -> None:
    noise = np.random.default_rng(width + 300 * height).integers(0, 256, (height, width), dtype=np.uint8)
    row = in_a_row(Image.fromarray(noise))
    assert min(row.size) >= 1


@given(st.integers(1, 400), st.integers(1, 400))
def test_a_photograph_keeps_its_proportions(width: int, height: int) -> None:
    frame = fit_photo(Image.new("RGB", (width, height), (0, 0, 0)), 48, 128)
    assert frame.shape == (3, 48, 128)
    dark = frame[0] < 128
    shown = int(dark.any(axis=0).sum()), int(dark.any(axis=1).sum())
    scale = min(48 / height, 128 / width)
    assert abs(shown[0] - max(1, width * scale)) <= 1
    assert abs(shown[1] - max(1, height * scale)) <= 1
