"""Small random changes to crops and readings, so that training does not learn the scanner by heart."""

from __future__ import annotations

from random import Random

import numpy as np
from PIL import Image, ImageFilter

from linkage.synth.noise import corrupt

_LEVELS = (0.0, 0.0, 0.05, 0.1, 0.2, 0.35)


def augment_text(text: str, rng: np.random.Generator) -> str:
    """Misread some characters; one text in three stays as it is."""
    level = _LEVELS[int(rng.integers(len(_LEVELS)))]
    return corrupt(text, Random(int(rng.integers(2**32))), level)


def augment_image(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Shift, turn, blur, thin or thicken, and speckle a crop a little; grey in, grey out."""
    image = image.convert("L")
    paper = int(np.searchsorted(np.cumsum(image.histogram()), 0.7 * image.width * image.height))
    width, height = image.size
    left, right = (int(v) for v in rng.integers(-height // 12, height // 4 + 1, 2))
    top, bottom = (int(v) for v in rng.integers(-height // 20 - 1, height // 5 + 1, 2))
    if rng.random() < 0.8:
        frame = Image.new("L", (max(8, width + left + right), max(8, height + top + bottom)), paper)
        frame.paste(image, (left, top))
        image = frame
    if rng.random() < 0.3:
        image = image.rotate(float(rng.normal(0, 0.7)), Image.Resampling.BILINEAR, fillcolor=paper)
    if rng.random() < 0.3:
        stretch = float(rng.uniform(0.85, 1.15))
        image = image.resize((max(8, round(image.width * stretch)), image.height), Image.Resampling.BILINEAR)
    kind = rng.random()
    if kind < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.2)) * image.height / 48))
    elif kind < 0.3 and image.height >= 24:
        image = image.filter(ImageFilter.MinFilter(3) if rng.random() < 0.5 else ImageFilter.MaxFilter(3))
    elif kind < 0.5:
        pixels = np.asarray(image, dtype=np.float32)
        noise = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(rng.uniform(4, 20))
        image = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
    return image
