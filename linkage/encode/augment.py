"""Small random changes to crops, photographs and readings, so that training does not learn the camera by heart."""

from __future__ import annotations

import math
from random import Random

import numpy as np
from PIL import Image, ImageFilter

from linkage.ocr.body import body_rows
from linkage.synth.noise import corrupt

_LEVELS = (0.0, 0.0, 0.05, 0.1, 0.2, 0.35)


def augment_text(text: str, rng: np.random.Generator) -> str:
    """Misread some characters; one text in three stays as it is."""
    level = _LEVELS[int(rng.integers(len(_LEVELS)))]
    return corrupt(text, Random(int(rng.integers(2**32))), level)


def augment_image(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Write a line differently: slant, slope, width, stroke, sharpness, paper around it, contrast, noise, lost ink.

    Grey in, grey out. What is left around the writing varies most, since that is what crops differ by.
    """
    image = image.convert("L")
    paper = int(np.searchsorted(np.cumsum(image.histogram()), 0.7 * image.width * image.height))
    image = _stroked(_leaned(image, paper, rng), rng)
    if rng.random() < 0.8:
        image = _framed(image, paper, rng)
    return _inked(image, paper, rng) if rng.random() < 0.7 else image


def _leaned(image: Image.Image, paper: int, rng: np.random.Generator) -> Image.Image:
    """Lean letters to a side, let the line rise or fall, and stretch it."""
    width, height = image.size
    if rng.random() < 0.5:
        slant, slope = rng.normal(0, 0.15), rng.normal(0, 0.008)
        room = int(abs(slant) * height / 2) + 2
        shear = (1, slant, -room - slant * height / 2, slope, 1, -slope * width / 2)
        image = image.transform(
            (width + 2 * room, height), Image.Transform.AFFINE, shear, Image.Resampling.BILINEAR, fillcolor=paper
        )
    if rng.random() < 0.5:
        stretched = max(8, round(image.width * math.exp(rng.normal(0, 0.15))))
        image = image.resize((stretched, height), Image.Resampling.BILINEAR)
    return image


def _stroked(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blur, thicken or thin strokes, or scan them coarsely; two lines in three stay as they are."""
    kind, size = rng.random(), image.size
    if kind < 0.15:
        return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.3)) * size[1] / 64))
    if kind < 0.25 and size[1] >= 24:
        return image.filter(ImageFilter.MinFilter(3) if rng.random() < 0.5 else ImageFilter.MaxFilter(3))
    if kind < 0.32:
        part = rng.uniform(0.35, 0.7)
        small = image.resize((max(8, int(size[0] * part)), max(8, int(size[1] * part))), Image.Resampling.BILINEAR)
        return small.resize(size, Image.Resampling.BILINEAR)
    return image


def _framed(image: Image.Image, paper: int, rng: np.random.Generator) -> Image.Image:
    """Leave more or less paper around the writing: 4 to 50 % of its body above and below, some beside it."""
    first, end = body_rows(np.asarray(image))
    margin = (end - first) * math.exp(rng.uniform(math.log(0.04), math.log(0.5)))
    top, bottom = first - margin * math.exp(rng.normal(0, 0.25)), end + margin * math.exp(rng.normal(0, 0.25))
    image = image.crop((0, max(0, round(top)), image.width, min(image.height, round(bottom))))
    left, right = (
        (int(edge) for edge in rng.integers(0, max(2, image.height // 2), 2)) if rng.random() < 0.3 else (0, 0)
    )
    frame = Image.new("L", (image.width + left + right, image.height), paper)
    frame.paste(image, (left, 0))
    return frame


def _inked(image: Image.Image, paper: int, rng: np.random.Generator) -> Image.Image:
    """Change contrast and light, add noise, lose some ink, and now and then turn dark and light round."""
    pixels = np.asarray(image, dtype=np.float32)
    if rng.random() < 0.5:
        mean = pixels.mean()
        pixels = mean + (pixels - mean) * np.float32(rng.uniform(0.4, 1.3)) + np.float32(rng.normal(0, 15))
    if rng.random() < 0.3:
        pixels = pixels + rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(rng.uniform(3, 18))
    if rng.random() < 0.2:
        pixels = pixels + np.linspace(-1, 1, pixels.shape[1], dtype=np.float32) * np.float32(rng.normal(0, 25))
    if rng.random() < 0.15:
        pixels = pixels.copy()
        for _ in range(int(rng.integers(1, 4))):
            x, y, size = (int(rng.integers(0, most)) for most in (pixels.shape[1], pixels.shape[0], 6))
            pixels[y : y + size + 2, x : x + 2 * size + 4] = paper
    pixels = 255 - pixels if rng.random() < 0.05 else pixels
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


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
