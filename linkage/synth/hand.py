"""Lines as a hand writes them: letters of uneven size on an uneven baseline, slanted, now and then joined."""

from __future__ import annotations

from random import Random

from PIL import Image, ImageDraw

from linkage.synth.render import TypeLine, load


def write_line(line: TypeLine, rng: Random) -> Image.Image:
    """Write one line: mode L, 255 = ink.

    Each call draws its own hand: slant, spacing, how much size and baseline wander, and whether letters are joined.
    """
    slant = min(max(rng.gauss(0.1, 0.16), -0.2), 0.5)
    wobble, drift = rng.uniform(0, 0.06), rng.uniform(0, 0.03) * line.size
    spacing = rng.uniform(-0.05, 0.1) * line.size
    joined = rng.random() < 0.45
    glyphs, x, level = [], 0.0, 0.0
    for c in line.text:
        size = max(8, 2 * round(line.size * (1 + rng.gauss(0, wobble)) / 2))  # even sizes: fewer faces to keep open
        font = load(line.face.path, line.face.index, size)
        level = 0.7 * level + rng.gauss(0, drift)
        glyphs.append((x, level, c, font))
        x += font.getlength(c) * (1.5 if c == " " and spacing < 0 else 1.0) + spacing
    above, below = int(1.5 * line.size), int(0.8 * line.size)
    side = int(0.6 * line.size) + 4
    image = Image.new("L", (int(x) + 2 * side, above + below))
    draw = ImageDraw.Draw(image)
    for place, (left, level, c, font) in enumerate(glyphs):
        draw.text((side + left, above + level), c, 255, font, anchor="ls")
        if joined and place and c.isalpha() and glyphs[place - 1][2].isalpha():
            _join(draw, side + left, above + level, line.size, rng)
    image = image.transform(
        image.size, Image.Transform.AFFINE, (1, slant, -slant * above, 0, 1, 0), Image.Resampling.BILINEAR
    )
    return _trimmed(image, line.size)


def _join(draw: ImageDraw.ImageDraw, x: float, y: float, size: int, rng: Random) -> None:
    """The upstroke that leads from the foot of one letter into the next."""
    reach = size * rng.uniform(0.08, 0.16)
    width = max(1, round(size * 0.045))
    draw.line((x - reach, y - 0.03 * size, x + reach * 0.7, y - size * rng.uniform(0.12, 0.3)), fill=230, width=width)


def _trimmed(image: Image.Image, size: int) -> Image.Image:
    box = image.getbbox()
    if box is None:
        return image
    edge = max(2, size // 10)
    left, upper, right, lower = box
    return image.crop((left - edge, upper - edge, right + edge, lower + edge))
