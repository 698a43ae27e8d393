from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from drawn import page, speckled, write_bomb
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from linkage.errors import InputError
from linkage.scans.images import decode_crop, encode_crop, open_image


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_plain_pictures_come_back_as_they_are(mode: str) -> None:
    image = speckled(1).convert(mode)
    found = open_image(encoded(image))
    assert found.mode == mode
    assert found.tobytes() == image.tobytes()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "JPEG2000", "BMP", "GIF", "PPM"])
def test_formats(form: str) -> None:
    found = open_image(encoded(page(), form))
    assert found.size == (700, 300)
    assert found.mode in ("L", "RGB")
    assert abs(float(np.asarray(found.convert("L")).mean()) - float(np.asarray(page()).mean())) < 3


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(form: str) -> None:
    image = Image.new("L", (40, 20), 255)
    image.paste(0, (0, 0, 10, 10))  # black top left
    exif = Image.Exif()
    exif[274] = 6  # to be turned a quarter clockwise
    found = open_image(encoded(image, form, exif=exif))
    assert found.size == (20, 40)
    grey = np.asarray(found.convert("L"))
    assert grey[:8, -8:].max() < 30
    assert grey[12:, :].min() > 220


def test_broken_exif_does_not_lose_the_picture() -> None:
    assert open_image(encoded(page(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")).size == (700, 300)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_greys_are_scaled(mode: str) -> None:
    ramp = np.linspace(0, 65535, 256).reshape(16, 16)
    image = Image.fromarray(ramp.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    assert image.mode == mode
    found = np.asarray(open_image(encoded(image, "TIFF")))
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, ramp / 257, atol=1)


def test_cmyk_and_palettes_become_colours() -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    red, green, blue = open_image(encoded(cyan, "TIFF")).getpixel((3, 3))
    assert red < 40 and green > 120 and blue > 120
    palette = Image.new("RGB", (8, 8), (200, 10, 10)).quantize(4)
    assert open_image(encoded(palette)).getpixel((0, 0)) == (200, 10, 10)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white_paper(mode: str) -> None:
    if mode == "P":
        image = Image.new("P", (4, 4), 0)
        image.putpalette([0, 0, 0, 255, 0, 0])
        data = encoded(image, transparency=0)
    else:
        data = encoded(Image.new(mode, (4, 4), (0, 0, 0, 0) if mode == "RGBA" else (0, 0)))
    assert set(np.asarray(open_image(data)).ravel().tolist()) == {255}


def test_one_bit_pictures_become_grey() -> None:
    found = open_image(encoded(page().convert("1"), "TIFF", compression="group4"))
    assert found.mode == "L"
    assert set(np.unique(np.asarray(found))) == {0, 255}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_truncated_pictures_are_refused(form: str) -> None:
    data = encoded(speckled(2, (200, 200)), form)
    with pytest.raises(InputError):
        open_image(data[: len(data) // 2])


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    write_bomb(bomb)
    with pytest.raises(InputError, match=r"60000 x 60000 pixels are more than ingest\.max_megapixels = 200 allows"):
        open_image(bomb)


def test_the_size_limit_is_inclusive() -> None:
    data = encoded(Image.new("L", (1000, 100)))
    assert open_image(data, max_megapixels=0.1).size == (1000, 100)
    with pytest.raises(InputError, match="max_megapixels"):
        open_image(data, max_megapixels=0.0999)


def test_pillows_own_limit_is_left_as_it_was(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    write_bomb(tmp_path / "bomb.png")
    with pytest.raises(InputError):
        open_image(tmp_path / "bomb.png")
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        open_image(data)


@settings(max_examples=60)
@given(st.data())
def test_damage_is_an_input_error_or_harmless(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP"]))
    content = bytearray(encoded(speckled(3, (20, 12)), form))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = open_image(bytes(content), max_megapixels=1)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert found.mode in ("L", "RGB")


@pytest.mark.parametrize("size", [(1, 1), (700, 300), (70_000, 2)])
def test_crops_survive_keeping(size: tuple[int, int]) -> None:
    image = page().resize(size)
    found = decode_crop(encode_crop(image))
    assert found.size == size
    assert np.abs(np.asarray(found, float) - np.asarray(image, float)).mean() < 3
    assert encode_crop(image) == encode_crop(image)
