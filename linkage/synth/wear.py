"""What happens to a line beyond type and ink: bent paper, fading heads, screens, shadows, rules and stamps.

Every effect takes the picture's shape (H, W) and returns a float32 array or factor of that shape; each costs well
under a millisecond for a line.
"""

from __future__ import annotations

import math
from random import Random

import numpy as np
from PIL import Image, ImageDraw


def bend(ink: Image.Image, rng: Random, strength: float) -> Image.Image:
    """Curve the baseline as near a spine: columns slide up or down by up to a tenth of the height."""
    width, height = ink.size
    across = np.linspace(0, 1, width, dtype=np.float32)
    reach = rng.uniform(0.02, 0.04 + 0.08 * strength) * min(height, 60)
    phase, waves = rng.uniform(0, 2 * math.pi), rng.uniform(0.3, 1.2)
    slide = np.rint(reach * np.sin(2 * math.pi * waves * across + phase)).astype(np.intp)
    slide -= int(np.median(slide))
    rows = np.arange(height)[:, None] + slide[None, :]
    pixels = np.asarray(ink)
    bent = pixels[np.clip(rows, 0, height - 1), np.arange(width)[None, :]]
    bent[(rows < 0) | (rows >= height)] = 0
    return Image.fromarray(bent)


def fading(shape: tuple[int, int], rng: Random) -> np.ndarray:
    """Bands in which a thermal head or a dry ribbon prints faintly; a factor on the ink, 0.1..1."""
    along = rng.choice((0, 1, 1))
    length = shape[along]
    factor = np.ones(length, dtype=np.float32)
    at = np.arange(length, dtype=np.float32)
    for _ in range(rng.randint(1, 3)):
        middle, half = rng.uniform(0, length), rng.uniform(0.04, 0.2) * length + 2
        factor -= rng.uniform(0.2, 0.75) * np.exp(-(((at - middle) / half) ** 2))
    factor = np.clip(factor, 0.1, 1)
    return np.broadcast_to(factor[:, None] if along == 0 else factor[None, :], shape)


def screen(shape: tuple[int, int], rng: Random) -> np.ndarray:
    """A halftone screen under the type, as on tinted forms; grey to subtract, 0..0.35."""
    pitch, angle = rng.uniform(3.0, 6.0), rng.uniform(0.2, 1.3)
    y = np.arange(shape[0], dtype=np.float32)[:, None] * (2 * math.pi / pitch)
    x = np.arange(shape[1], dtype=np.float32)[None, :] * (2 * math.pi / pitch)
    c, s = math.cos(angle), math.sin(angle)
    dots = np.cos(c * x + s * y) * np.cos(c * y - s * x)
    return np.asarray(rng.uniform(0.08, 0.35) * (dots > rng.uniform(0.1, 0.6)), dtype=np.float32)


def shadow(shape: tuple[int, int], rng: Random) -> np.ndarray:
    """Uneven light: a slope over the picture and, at times, the shadow of a gutter or a fold; grey to subtract."""
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    dark = rng.uniform(0, 0.2) * (rng.uniform(-1, 1) * x + rng.uniform(-1, 1) * y + 1)
    if rng.random() < 0.5:
        fold = np.abs(x - rng.choice((-1, 1, rng.uniform(-1, 1))))
        dark = dark + rng.uniform(0.1, 0.35) * np.exp(-fold / rng.uniform(0.02, 0.15))
    return np.asarray(dark, dtype=np.float32)


def fibres(shape: tuple[int, int], rng: Random) -> np.ndarray:
    """Short fibres and specks of rough paper; grey to subtract, 0..0.3."""
    height, width = shape
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(2, 4 + height * width // 2500)):
        x, y, turn, long = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0, 6.3), rng.uniform(1, 9)
        draw.line((x, y, x + long * math.cos(turn), y + long * math.sin(turn)), fill=rng.randint(30, 140))
    return np.asarray(image, dtype=np.float32) * (0.5 / 255)


def crossing(shape: tuple[int, int], rng: Random) -> np.ndarray:
    """Ink that runs across the text: a rule, a pen stroke, a form's box or part of a round stamp; 0..1."""
    height, width = shape
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    thick = max(1, round(height * rng.uniform(0.02, 0.05)))
    dark = rng.randint(110, 255)
    draw_kind = rng.random()
    if draw_kind < 0.35:
        y, slope = rng.uniform(0.2, 1.0) * height, rng.gauss(0, 0.01) * width
        draw.line((0, y, width, y + slope), fill=dark, width=thick)
    elif draw_kind < 0.55:
        x = rng.uniform(0, width)
        draw.line((x, 0, x + rng.gauss(0, 2), height), fill=dark, width=thick)
    elif draw_kind < 0.75:
        x, y = rng.uniform(-0.1, 0.8) * width, rng.uniform(-0.3, 1.0) * height
        box = (x, y, x + rng.uniform(0.1, 0.7) * width, y + rng.uniform(0.5, 2.5) * height)
        draw.arc(box, rng.uniform(0, 360), rng.uniform(360, 600), fill=dark, width=thick)
    else:
        radius, x, y = rng.uniform(0.8, 2.2) * height, rng.uniform(0, width), rng.uniform(-0.5, 1.5) * height
        for share in (1.0, rng.uniform(0.75, 0.9)):
            reach = radius * share
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), outline=dark * 2 // 3, width=thick)
    return np.asarray(image, dtype=np.float32) / 255
