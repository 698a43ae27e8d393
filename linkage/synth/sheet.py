"""A printed sheet: columns of type, and what binding, age and a scanner do to a whole page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from linkage.errors import DependencyError
from linkage.synth.degrade import field, press
from linkage.synth.render import FontFace, faces, load

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class PrintStyle:
    """How an edition is set, printed and scanned. Lengths are pixels of the scan.

    Attributes:
        families: font families, the first one installed is taken.
        bold_names: names in bold and the rest upright; else names upright and the rest in italics.
        width: of the page.
        height: of the page.
        columns: of type.
        size: of the type.
        pitch: from line to line.
        weight: -1 thin and broken .. 1 bleeding ink.
        ragged: unevenness of the ink, 0..1.
        paper: grey of the paper, 0..255.
        ink: grey of full ink, 0..255.
        blur: of the scanner, standard deviation.
        grain: noise of the scanner, standard deviation in greys.
        through: how strongly the back of the sheet shows, 0..1.
    """

    families: tuple[str, ...]
    bold_names: bool
    width: int
    height: int
    columns: int
    size: int
    pitch: int
    weight: float
    ragged: float
    paper: int
    ink: int
    blur: float
    grain: float
    through: float


@dataclass(frozen=True)
class PrintedEntry:
    """One printed entry: an id of the caller's, under which letter it stands, its name and the rest of the line."""

    key: str
    letter: str
    name: str
    rest: str


@dataclass(frozen=True)
class PrintedSheet:
    """A page as set: ink (mode L, 255 = ink) and the box (x0, y0, x1, y1) of every entry by its key."""

    ink: Image.Image
    boxes: dict[str, Box]


def set_sheets(entries: Sequence[PrintedEntry], title: str, style: PrintStyle) -> list[PrintedSheet]:
    """Set the entries in columns under a running title, letter headings between them, on as many pages as needed.

    Raises:
        DependencyError: no font with Latin letters is installed.
    """
    sheets: list[PrintedSheet] = []
    rest = list(entries)
    while rest:
        sheet, rest = _set_sheet(rest, title, len(sheets) + 1, style)
        sheets.append(sheet)
    return sheets


def _face(families: Sequence[str], style: str) -> FontFace:
    able = [face for face in faces() if face.covers("abcXYZ&½")]
    for family in families:
        for face in able:
            if face.family == family and face.style in (style, {"Regular": "Book"}.get(style, style)):
                return face
    if not able:
        raise DependencyError("no font with Latin letters is installed (apt-get install fonts-dejavu-core)")
    return able[0]


def _set_sheet(
    entries: list[PrintedEntry], title: str, number: int, style: PrintStyle
) -> tuple[PrintedSheet, list[PrintedEntry]]:
    ink = Image.new("L", (style.width, style.height))
    draw = ImageDraw.Draw(ink)
    margin, gap = style.width // 14, style.size
    top, bottom = style.height // 11, style.height - style.height // 14
    upright = _face(style.families, "Regular")
    _running_title(draw, title, number, upright, style, (margin, top))
    heading = load(upright.path, upright.index, int(style.size * 1.25))
    width = (style.width - 2 * margin - (style.columns - 1) * 2 * gap) // style.columns
    boxes: dict[str, Box] = {}
    letter, place = "", 0
    for column in range(style.columns):
        x = margin + column * (width + 2 * gap)
        if column:
            draw.line((x - gap, top + 8, x - gap, bottom), fill=255, width=3)
        y = top + style.pitch
        while place < len(entries) and y + style.pitch < bottom:
            one = entries[place]
            if one.letter != letter:
                if y + 4 * style.pitch > bottom:
                    break
                y += style.pitch // 2 if y > top + style.pitch else 0
                draw.text((x + width // 2, y + style.pitch), one.letter + ".", 255, heading, anchor="ms")
                y += int(style.pitch * 1.4)
                letter = one.letter
            y += style.pitch
            boxes[one.key] = _set_entry(draw, one, (x, y), width, style)
            place += 1
    return PrintedSheet(ink, boxes), entries[place:]


def _running_title(
    draw: ImageDraw.ImageDraw, title: str, number: int, face: FontFace, style: PrintStyle, corner: tuple[int, int]
) -> None:
    margin, top = corner
    font = load(face.path, face.index, int(style.size * 1.15))
    y = top - style.pitch // 2
    spaced = " ".join(title) if style.columns == 2 else title
    draw.text((style.width // 2, y), spaced, 255, font, anchor="ms")
    outer = style.width - margin if number % 2 else margin
    draw.text((outer, y), str(number + 40), 255, font, anchor="rs" if number % 2 else "ls")
    draw.line((margin, top, style.width - margin, top), fill=255, width=3)
    draw.line((margin, top + 6, style.width - margin, top + 6), fill=255, width=1)


def _set_entry(
    draw: ImageDraw.ImageDraw, entry: PrintedEntry, at: tuple[int, int], width: int, style: PrintStyle
) -> Box:
    """Set one line with its baseline at `at`; type too wide for the column is set smaller."""
    first = _face(style.families, "Bold" if style.bold_names else "Regular")
    second = _face(style.families, "Regular" if style.bold_names else "Italic")
    x, y = at
    size = style.size
    while size > 8:
        name, rest = (load(face.path, face.index, size) for face in (first, second))
        if name.getlength(entry.name) + rest.getlength(entry.rest) <= width:
            break
        size -= 1
    middle = x + name.getlength(entry.name)
    draw.text((x, y), entry.name, 255, name, anchor="ls")
    draw.text((middle, y), entry.rest, 255, rest, anchor="ls")
    right = middle + rest.getlength(entry.rest)
    return x, int(y - 0.75 * size), int(right) + 1, int(y + 0.25 * size)


# --- the scan ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PageBend:
    """How a page lies under the scanner: tilt (radians, small) and the curl of the paper towards the spine."""

    tilt: float
    curl: float
    spine_left: bool
    size: tuple[int, int]

    def source(self, x: float, y: float) -> tuple[float, float]:
        """Where the scanned point (x, y) lies on the flat page."""
        width, height = self.size
        depth = (width - x if not self.spine_left else x) / width
        lift = self.curl * np.exp(-depth * 7) * (0.4 + 0.6 * y / height)
        return x + self.tilt * (y - height / 2), y - self.tilt * (x - width / 2) + float(lift)

    def target(self, x: float, y: float) -> tuple[float, float]:
        """Where the point (x, y) of the flat page lies in the scan."""
        tx, ty = x, y
        for _ in range(4):  # a contraction: the tilt is a few hundredths of a radian
            sx, sy = self.source(tx, ty)
            tx, ty = tx + x - sx, ty + y - sy
        return tx, ty

    def box(self, box: Box) -> Box:
        """The box, upright in the scan, around a box of the flat page."""
        corners = [self.target(x, y) for x in (box[0], box[2]) for y in (box[1], box[3])]
        xs, ys = zip(*corners, strict=True)
        return int(min(xs)), int(min(ys)), int(np.ceil(max(xs))), int(np.ceil(max(ys)))


def scan(
    sheet: PrintedSheet, back: PrintedSheet, number: int, style: PrintStyle, rng: Random
) -> tuple[Image.Image, dict[str, Box]]:
    """Print and scan a sheet.

    Args:
        sheet: what is on this side.
        back: what is on the other side and shows through.
        number: page number, which says on which side the spine is.
        style: of the edition.
        rng: source of chance.

    Returns:
        The scan (mode L) and the boxes of its entries in pixels of the scan.
    """
    noise = np.random.default_rng(rng.getrandbits(32))
    bend = PageBend(rng.gauss(0, 0.003), rng.uniform(4, 12), number % 2 == 1, sheet.ink.size)
    dark = press(_soft(_bent(sheet.ink, bend), 0.7), noise, style.weight, style.ragged)
    shape = dark.shape
    uneven = 1 - 0.10 * np.abs(field(noise, shape, 300)) - 0.08 * style.ragged * np.abs(field(noise, shape, 40))
    ghost = np.roll(_soft(back.ink.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 2.5), (9, -14), (0, 1))
    paper = style.paper + 3 * field(noise, shape, 400) + 2.5 * field(noise, shape, 7) + _stains(noise, shape)
    paper = paper - (style.paper - style.ink) * style.through * ghost
    across = np.linspace(0, 1, shape[1], dtype=np.float32)
    depth = across if bend.spine_left else 1 - across
    paper = paper * (1 - 0.42 * np.exp(-depth * 22))[None, :]  # the shadow in the gutter
    grey = paper - (paper - style.ink) * np.clip(dark * uneven, 0, 1)
    grey = np.where(noise.random(shape, dtype=np.float32) < 0.00012, style.ink + 40, grey)
    _edge(grey, bend, noise)
    scanned = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(style.blur))
    grainy = np.asarray(scanned, dtype=np.float32) + style.grain * noise.standard_normal(shape, dtype=np.float32)
    image = Image.fromarray(np.clip(grainy, 0, 255).astype(np.uint8))
    return image, {key: bend.box(box) for key, box in sheet.boxes.items()}


def _soft(image: Image.Image, radius: float) -> np.ndarray:
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32) / 255


def _bent(ink: Image.Image, bend: PageBend) -> Image.Image:
    width, height = ink.size
    step = 48
    mesh = []
    for left in range(0, width, step):
        for upper in range(0, height, 8 * step):
            right, lower = min(left + step, width), min(upper + 8 * step, height)
            corners = ((left, upper), (left, lower), (right, lower), (right, upper))
            quad = tuple(value for corner in corners for value in bend.source(*corner))
            mesh.append(((left, upper, right, lower), quad))
    return ink.transform(ink.size, Image.Transform.MESH, mesh, Image.Resampling.BICUBIC)


def _stains(noise: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Foxing: a few soft brown spots, and a damp corner; greys to add, 0 or less."""
    blotches = np.clip(field(noise, shape, 55) - 2.6, 0, None) * -28
    damp = np.clip(field(noise, shape, 700) - 0.9, 0, None) * -14
    return np.asarray(blotches + damp, dtype=np.float32)


def _edge(grey: np.ndarray, bend: PageBend, noise: np.random.Generator) -> None:
    """Blacken, in place, the strip beside the outer edge of the page that the scanner sees as well."""
    height, width = grey.shape
    ragged = np.cumsum(noise.standard_normal(height)) * 0.08 + noise.uniform(8, 22)
    columns = np.arange(width)[None, :]
    columns = columns if not bend.spine_left else width - 1 - columns
    grey[columns < np.clip(ragged, 3, 40)[:, None]] = 38
