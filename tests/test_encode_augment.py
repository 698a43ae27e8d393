from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from linkage.encode.augment import augment_photo


def halves() -> Image.Image:
    """Left half red, right half blue."""
    pixels = np.zeros((80, 120, 3), dtype=np.uint8)
    pixels[:, :60, 0] = pixels[:, 60:, 2] = 220
    return Image.fromarray(pixels)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("size", [(1, 1), (3, 500), (640, 480), (90, 60)])
def test_a_photograph_of_any_kind_comes_out_as_colour_of_the_wanted_size(mode: str, size: tuple[int, int]) -> None:
    seen = augment_photo(Image.new(mode, size), 64, np.random.default_rng(0))
    assert seen.mode == "RGB"
    assert max(seen.size) == 64


def test_a_photograph_is_never_mirrored_or_stood_on_its_head() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        pixels = np.asarray(augment_photo(halves(), 60, rng)).astype(int)
        middle = pixels[pixels.shape[0] // 2]
        red = middle[:, 0] - middle[:, 2]
        quarter = len(red) // 4
        assert red[quarter] > red[-quarter]


def test_views_differ_and_the_seed_decides_them() -> None:
    one, two = np.random.default_rng(2), np.random.default_rng(2)
    first = [augment_photo(halves(), 60, one).tobytes() for _ in range(20)]
    assert first == [augment_photo(halves(), 60, two).tobytes() for _ in range(20)]
    assert len(set(first)) == 20


def test_most_of_the_photograph_stays_in_sight() -> None:
    """A mark in the middle of a grey field is seen in every view."""
    field = Image.new("RGB", (100, 100), (120, 120, 120))
    field.paste((250, 20, 20), (44, 44, 56, 56))
    rng = np.random.default_rng(3)
    for _ in range(100):
        inner = np.asarray(augment_photo(field, 80, rng)).astype(int)
        assert (inner[..., 0] - inner[..., 1]).max() > 60
