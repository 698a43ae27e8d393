"""Small random changes to crops and readings, so that training does not learn the scanner by heart."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

_LOOK_ALIKE = (
    "rn m|l 1 i|o 0|e c|b h|n u|s 5|a o|t f|g q 9|v y|cl d|vv w|, .|z 2|B 8|ii u n|é e è|ä a|ö o|ü u|' |- |ri n|li h"
)
_SWAPS: dict[str, list[str]] = {}
for _set in _LOOK_ALIKE.split("|"):
    for _one in _set.split(" "):
        _SWAPS.setdefault(_one, []).extend(other for other in _set.split(" ") if other != _one)


def augment_text(text: str, rng: np.random.Generator) -> str:
    """Misread a few characters."""
    rate = rng.choice([0.0, 0.04, 0.1, 0.2])
    if not rate:
        return text
    out = []
    for character in text:
        if rng.random() >= rate:
            out.append(character)
            continue
        draw = rng.random()
        choices = _SWAPS.get(character.lower())
        if choices and draw < 0.6:
            out.append(choices[int(rng.integers(len(choices)))])
        elif draw < 0.8:
            continue
        elif draw < 0.9:
            out.append(character + " ")
        else:
            out.append("etaoinsrl.,'1"[int(rng.integers(13))])
    return "".join(out).strip() or text


def augment_image(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Shift, turn, blur, thin or thicken, and speckle a crop a little; grey in, grey out."""
    image = image.convert("L")
    paper = int(np.percentile(np.asarray(image), 70))
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
        noise = rng.normal(0, rng.uniform(4, 20), pixels.shape).astype(np.float32)
        image = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
    return image
