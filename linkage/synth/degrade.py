"""What paper, ink, press and scanner do to clean type. Fast: a few milliseconds a line."""

from __future__ import annotations

import io
from random import Random

import numpy as np
from PIL import Image, ImageFilter

from linkage.synth.wear import bend, crossing, fading, fibres, screen, shadow


def field(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Smooth random field (H, W) float32 of mean 0 and deviation about 1, with blobs about `cell` pixels wide."""
    height, width = shape
    small = rng.standard_normal((max(2, int(height / cell) + 2), max(2, int(width / cell) + 2)), dtype=np.float32)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image) * 1.3


def warp(ink: Image.Image, rng: Random) -> Image.Image:
    """Tilt, shear and stretch a picture of ink (mode L, 255 = ink) a little; the size stays."""
    width, height = ink.size
    slope = rng.gauss(0, 0.5) * min(0.02, 2.5 / width)
    shear = rng.gauss(0, 0.04)
    cx, cy = width / 2, height / 2
    matrix = (1, shear, -shear * cy, slope, 1, -slope * cx)
    return ink.transform(ink.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def press(ink: np.ndarray, rng: np.random.Generator, weight: float, ragged: float) -> np.ndarray:
    """Print the ink: spread or thin the strokes, unevenly.

    Args:
        ink: (H, W) float32, 0 paper .. 1 full ink, antialiased and slightly blurred.
        rng: source of chance.
        weight: -1 thin and broken .. 0 as set .. 1 bleeding.
        ragged: strength of the unevenness, 0..1.

    Returns:
        (H, W) float32 in 0..1.
    """
    level: float | np.ndarray = 0.5 - 0.33 * weight
    if ragged > 0:
        level = level + ragged * (0.14 * field(rng, ink.shape, 14) + 0.10 * field(rng, ink.shape, 2))
    printed: np.ndarray = np.clip((ink - level) * 4 + 0.5, 0, 1) * np.clip(8 * ink - 0.4, 0, 1)  # bare paper stays bare
    return printed


def degrade(ink: Image.Image, rng: Random, strength: float) -> Image.Image:
    """Turn clean ink into a scan.

    Args:
        ink: mode L, 255 = ink, 0 = paper.
        rng: source of chance; the same state gives the same picture.
        strength: 0 nearly clean .. 1 hard to read.

    Returns:
        Mode L (grey or black-and-white scans) or RGB (tinted paper); the size may be smaller than that of `ink`.
    """
    noise = np.random.default_rng(rng.getrandbits(32))
    if rng.random() < 0.7:
        ink = warp(ink, rng)
    if ink.width > 2 * ink.height and rng.random() < 0.25:
        ink = bend(ink, rng, strength)
    dark = _printed(ink, rng, noise, strength)
    shape = dark.shape
    blackness = rng.uniform(0.95 - 0.4 * strength, 1.0)
    if rng.random() < 0.06:
        blackness *= rng.uniform(0.3, 0.7)  # a carbon copy, a worn ribbon, faded ink
    grey = 1 - blackness * dark * (1 - 0.25 * strength * rng.random() * np.abs(field(noise, shape, 30)))
    grey = _aged(grey, dark, rng, noise, strength)
    if rng.random() < 0.7:
        grey += noise.standard_normal(shape, dtype=np.float32) * rng.uniform(0.01, 0.02 + 0.07 * strength)
    return _scan(grey, rng, noise, strength)


def _printed(ink: Image.Image, rng: Random, noise: np.random.Generator, strength: float) -> np.ndarray:
    """The ink as it lies on the paper: (H, W) float32, 0..1."""
    soft = ink.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 0.6 + 0.6 * strength)))
    dark = np.asarray(soft, dtype=np.float32) / 255
    if rng.random() < 0.07:
        dark = dark * _dots(dark.shape, rng)
    if rng.random() < 0.6:
        weight = rng.gauss(0.15, 0.3 * strength + 0.1)
        dark = press(dark, noise, weight, strength * rng.random())
    if rng.random() < 0.08 + 0.08 * strength:
        dark = dark * fading(dark.shape, rng)
    if rng.random() < 0.05 + 0.06 * strength:
        dark = np.maximum(dark, crossing(dark.shape, rng) * rng.uniform(0.3, 1.0))
    return dark


def _aged(grey: np.ndarray, dark: np.ndarray, rng: Random, noise: np.random.Generator, strength: float) -> np.ndarray:
    """What the sheet adds: its other side, its texture, spots, screens and shadows. `grey` is 1 where bare."""
    shape = grey.shape
    if rng.random() < 0.3:
        back = dark[:, ::-1] if rng.random() < 0.7 else dark[::-1]
        back = np.roll(back, (rng.randint(-12, 12), rng.randint(-60, 60)), (0, 1))
        grey -= rng.uniform(0.04, 0.24) * back * strength
    if rng.random() < 0.5:
        grey += rng.uniform(0.01, 0.06) * strength * field(noise, shape, rng.choice((3, 8, 25)))
    if rng.random() < 0.12:
        grey -= strength * fibres(shape, rng)
    if rng.random() < 0.06:
        grey -= strength * screen(shape, rng)
    if rng.random() < 0.3:
        grey -= strength * shadow(shape, rng)
    return grey


def _dots(shape: tuple[int, int], rng: Random) -> np.ndarray:
    """The gaps of a dot-matrix or thermal printer, as a factor on the ink (H, W)."""
    pitch = rng.uniform(2.2, 4.0)
    rows = 0.5 + 0.5 * np.cos(np.arange(shape[0], dtype=np.float32) * (2 * np.pi / pitch))
    if rng.random() < 0.5:
        return np.tile(0.45 + 0.55 * rows[:, None], (1, shape[1]))
    columns = 0.5 + 0.5 * np.cos(np.arange(shape[1], dtype=np.float32) * (2 * np.pi / pitch))
    dots: np.ndarray = 0.4 + 0.6 * np.sqrt(rows[:, None] * columns[None, :])
    return dots


def _scan(grey: np.ndarray, rng: Random, noise: np.random.Generator, strength: float) -> Image.Image:
    if rng.random() < 0.14:
        ink, paper = np.percentile(grey, (2, 70))  # the level lies between them: faint ink does not vanish
        level = ink + (paper - ink) * (rng.uniform(0.35, 0.7) + 0.08 * strength * field(noise, grey.shape, 20))
        black = (grey > level).astype(np.uint8) * 255
        return Image.fromarray(black)
    paper, ink = rng.uniform(170, 254), rng.uniform(0, 70)
    if rng.random() < 0.5:
        values = np.clip(ink + (paper - ink) * grey, 0, 255).astype(np.uint8)
        image = Image.fromarray(values)
    else:
        tint = np.array([1.0, rng.uniform(0.9, 1.0), rng.uniform(0.72, 1.0)], dtype=np.float32)
        values = ink + (np.float32(paper) * tint - ink) * grey[:, :, None]
        image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.3 + 0.7 * strength)))
    draw = rng.random()
    if draw < 0.25:
        image = shrink(image, rng.uniform(0.45, 0.9))
    elif draw < 0.25 + 0.2 * strength:  # a coarse scan, of lines 15 to 26 pixels high where the text is one line
        image = shrink(image, min(1.0, max(rng.uniform(15, 26) / image.height, 0.42)))
    return image


def shrink(image: Image.Image, share: float) -> Image.Image:
    """The picture at `share` (0..1) of its resolution, 8 pixels at least."""
    size = (max(8, int(image.width * share)), max(8, int(image.height * share)))
    return image.resize(size, Image.Resampling.BILINEAR)


def encode_jpeg(image: Image.Image, rng: Random) -> bytes:
    """Encode as JPEG with a scanner's usual quality, 40..92, so that artefacts vary."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=rng.randint(40, 92))
    return buffer.getvalue()
