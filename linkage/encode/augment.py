"""Small random changes to crops, photographs and readings, so that training does not learn the camera by heart."""

from __future__ import annotations

import math
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
    edge = min(width, height)
    left, right = (int(v) for v in rng.integers(-edge // 12, edge // 4 + 1, 2))
    top, bottom = (int(v) for v in rng.integers(-edge // 20 - 1, edge // 5 + 1, 2))
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


def augment_photo(image: Image.Image, side: int, rng: np.random.Generator) -> Image.Image:
    """Look at a photograph from elsewhere, in other light: crop, turn, tilt, colour, brightness, blur.

    The crop keeps 55 to 125 % of the area (what lies outside the photograph is one random colour), the turn has a
    standard deviation of 8 degrees, each corner moves by up to 6 % of the side. It is never mirrored: print is not.

    Args:
        image: any size and mode.
        side: longest side of the result in pixels, the frame of the image tower.
        rng: decides everything.

    Returns:
        Mode RGB, longest side `side`.
    """
    corners = _corners(image.width, image.height, rng)
    width, height = math.dist(corners[0], corners[1]), math.dist(corners[0], corners[3])
    scale = side / max(width, height)
    size = max(1, round(scale * width)), max(1, round(scale * height))
    shrunk = image.convert("RGB")
    if scale < 0.5:  # a mean over the pixels first: the transform below looks at four of them only
        factor = int(1 / scale)
        shrunk = shrunk.reduce(factor)
        corners = corners / factor
    around = tuple(rng.integers(0, 256, 3).tolist())
    seen = shrunk.transform(
        size, Image.Transform.PERSPECTIVE, _perspective(corners, *size), Image.Resampling.BILINEAR, fillcolor=around
    )
    if rng.random() < 0.2:
        seen = seen.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.2)) * side / 112))
    return _relight(seen, rng)


def _corners(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Where the four corners of the crop lie in the photograph, float64 (4, 2), clockwise from the top left."""
    area, stretch = rng.uniform(0.55, 1.25), math.exp(rng.uniform(-0.125, 0.125))
    box = np.array([width * math.sqrt(area) * stretch, height * math.sqrt(area) / stretch])
    whole = np.array([width, height])
    centre = whole / 2 + rng.uniform(-0.5, 0.5, 2) * (np.abs(whole - box) + 0.1 * whole)
    angle = math.radians(rng.normal(0, 8))
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    square = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    corners: np.ndarray = centre + ((square + rng.uniform(-0.06, 0.06, (4, 2))) * box) @ turn
    return corners


def _perspective(corners: np.ndarray, width: int, height: int) -> list[float]:
    """Coefficients for PIL of the map that takes the frame's corners to `corners`."""
    rows, targets = [], []
    for (x, y), (u, v) in zip(((0, 0), (width, 0), (width, height), (0, height)), corners.tolist(), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        targets += [u, v]
    solved: list[float] = np.linalg.solve(np.array(rows, dtype=np.float64), np.array(targets)).tolist()
    return solved


def _relight(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Brightness, tint, saturation and contrast, each by a factor near 1."""
    gain = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.05, 3))
    saturation, contrast = np.exp(rng.normal(0, 0.2)), np.exp(rng.normal(0, 0.15))
    pixels = np.asarray(image, dtype=np.float32) * gain.astype(np.float32)
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + (pixels - grey) * np.float32(saturation)
    mean = pixels.mean()
    return Image.fromarray(np.clip(mean + (pixels - mean) * np.float32(contrast), 0, 255).astype(np.uint8))
