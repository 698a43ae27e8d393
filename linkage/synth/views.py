"""One view of an entity: a spelling set as a line, column, header or entry, cut out of its page and scanned."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from PIL import Image, ImageChops

from linkage.synth.degrade import degrade, encode_jpeg
from linkage.synth.hand import write_line
from linkage.synth.names import Entity
from linkage.synth.noise import BINS, corrupt, draw_level
from linkage.synth.render import TypeLine, choose_face, margins, set_column, set_line, stack
from linkage.synth.variants import variant
from linkage.text import clean

_WRITTEN = {"word": 0.65, "person": 0.25, "place": 0.3, "shop": 0.04, "company": 0.06}
_WRITTEN_ELSE = 0.15  # share of the single lines that are handwritten, where `_WRITTEN` has no share for the kind
_GIVEN = 0.25  # share of the texts without errors: transcriptions by hand, and engines better than the one learned


@dataclass(frozen=True)
class DrawnRecord:
    """A drawn record.

    Attributes:
        image: the crop, mode L or RGB.
        truth: what is printed.
        layout: line, column, header or entry.
        text: what a reading engine makes of it.
        jpeg: `image` as it is stored.
        written: whether it is handwritten.
        strength: of the degradation, 0..1.
    """

    image: Image.Image
    truth: str
    layout: str
    text: str
    jpeg: bytes
    written: bool
    strength: float

    @property
    def bin(self) -> int:
        """In which of the `BINS` of strength it falls."""
        return min(BINS - 1, int(self.strength * BINS))

    def row(self) -> dict[str, Any]:
        """The columns of `SYNTH_SCHEMA` that a single view determines."""
        return {
            "x0": 0,
            "y0": 0,
            "x1": self.image.width,
            "y1": self.image.height,
            "direction": "vertical" if self.layout == "column" else "horizontal",
            "text": self.text,
            "text_raw": self.text,
            "ocr_engine": "synthetic",
            "crop": self.jpeg,
            "truth": self.truth,
            "layout": self.layout,
        }


def draw_view(entity: Entity, rng: Random) -> DrawnRecord:
    """Draw one view of `entity`: another spelling, layout, face, paper and reading at every call.

    Raises:
        DependencyError: no installed font can set the text.
    """
    layout = rng.choices(("line", "header", "entry"), (67, 22, 11))[0]
    if entity.kind == "word":
        layout = "line"
    if layout == "line" and entity.kind == "japanese" and rng.random() < 0.3:
        layout = "column"
    written = layout != "header" and rng.random() < _written(entity.kind, layout)
    ink, truth = _LAYOUTS[layout](entity, rng, written)
    strength = rng.betavariate(1.4, 1.8)
    image = degrade(_frame(ink, rng, layout), rng, strength)
    level = 0.0 if rng.random() < _GIVEN else draw_level(truth, rng, strength, written=written)
    text = clean(corrupt(truth, rng, level)) or truth
    return DrawnRecord(image, truth, layout, text, encode_jpeg(image, rng), written, strength)


def _written(kind: str, layout: str) -> float:
    return _WRITTEN.get(kind, _WRITTEN_ELSE) if layout == "line" else 0.1


def _set(text: str, rng: Random, size: int, written: bool) -> Image.Image:
    if written:
        line = TypeLine(text, choose_face(text, rng, hand=True), size)
        return write_line(line, rng) if rng.random() < 0.8 else set_line(line)
    spacing = size * rng.uniform(-0.03, 0.2) if rng.random() < 0.15 else 0.0
    return set_line(TypeLine(text, choose_face(text, rng), size, spacing))


def _line(entity: Entity, rng: Random, written: bool) -> tuple[Image.Image, str]:
    text = variant(entity, rng)
    return _set(text, rng, rng.randint(18, 40), written), text


def _column(entity: Entity, rng: Random, written: bool) -> tuple[Image.Image, str]:
    text = variant(entity, rng)
    face = choose_face(text, rng, hand=written)
    return set_column(TypeLine(text, face, rng.randint(20, 38), rng.uniform(0, 6))), text


def _header(entity: Entity, rng: Random, written: bool) -> tuple[Image.Image, str]:
    """A block of two to four lines, as at the head of a bill: the name and what stands around it."""
    size = rng.randint(22, 34)
    small = max(13, int(size * rng.uniform(0.5, 0.85)))
    name = variant(entity, rng)
    around = [
        entity.address,
        f"{rng.choice(('No.', 'Tel', 'Reg.', 'Co. No.', 'N°'))} {entity.number}",
        entity.trade,
    ]
    around = rng.sample(around, rng.randint(1, 3))
    before = rng.random() < 0.12  # a line of something else above the name
    texts = [around[0], name, *around[1:]] if before else [name, *around]
    upper = rng.random() < 0.4
    texts = [text.upper() if upper and text != name else text for text in texts]
    shared = choose_face("".join(texts), rng)
    lines = [
        set_line(TypeLine(text, choose_face(text, rng), size) if text == name else TypeLine(text, shared, small))
        for text in texts
    ]
    return stack(lines, rng.randint(-2, 5), rng.choice((0.5, 0.5, 0.0))), " ".join(texts)


def _entry(entity: Entity, rng: Random, written: bool) -> tuple[Image.Image, str]:
    comma = rng.choice((", ", ", ", " ", "; ", ". "))
    parts = [variant(entity, rng), entity.trade, entity.address]
    if rng.random() < 0.3:
        parts.pop(rng.choice((1, 2)))
    text = comma.join(parts)
    return _set(text, rng, rng.randint(16, 26), written), text


_LAYOUTS = {"line": _line, "column": _column, "header": _header, "entry": _entry}


def _frame(ink: Image.Image, rng: Random, layout: str) -> Image.Image:
    """Cut the crop out of its page: margins, at times tight ones that clip the text, lines around it, a rule."""
    high = max(2, ink.height // 6)
    edges = [rng.randint(0, 20), rng.randint(-2, high), rng.randint(0, 20), rng.randint(-2, high)]
    if layout in ("line", "entry") and rng.random() < 0.14:
        place = rng.randrange(4)  # left, top, right, bottom
        edges[place] = -round(ink.height * rng.uniform(0.04, 0.22))
    framed = margins(ink, *edges)
    draw = rng.random()
    if draw < 0.2:
        _neighbours(framed, ink, rng)
    elif draw < 0.3:
        thick = rng.randint(1, 2)
        y = rng.choice((0, framed.height - thick, int(framed.height * 0.9)))
        framed.paste(rng.randint(120, 255), (0, y, framed.width, min(framed.height, y + thick)))
    return framed


def _neighbours(framed: Image.Image, ink: Image.Image, rng: Random) -> None:
    """Let the feet of the line above, the heads of the line below, or both, show or touch at the edges.

    The line itself, turned about, stands in for its neighbours: the same face and size, and no text of its own.
    """
    seen = rng.randint(2, max(3, ink.height // 4))
    other = ink.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    places = rng.choice((("above",), ("below",), ("above", "below")))
    if "above" in places:
        foot = int(other.height * 0.78)
        _darken(framed, other.crop((0, max(0, foot - seen), other.width, foot)), rng.randint(-60, 60), 0)
    if "below" in places:
        head = int(other.height * 0.25)
        strip = other.crop((0, head, other.width, head + seen))
        _darken(framed, strip, rng.randint(-60, 60), framed.height - seen)


def _darken(framed: Image.Image, strip: Image.Image, x: int, y: int) -> None:
    """Print `strip` over what is there already."""
    layer = Image.new("L", framed.size)
    layer.paste(strip, (x, y))
    framed.paste(ImageChops.lighter(framed, layer))
