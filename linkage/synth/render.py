"""Setting text in the fonts of this machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw, ImageFont

from linkage.errors import DependencyError

# Faces without running text: keyboard caps, mathematics, ornamental initials, symbols.
_UNFIT = re.compile(
    r"Biolinum Keyboard|Math|Initials|Emoji|Symbol|Ornament|Icons|Dingbat|Braille|Music|D050000L|Codec",
    re.IGNORECASE,
)
_LATIN = frozenset(range(0x20, 0x7F)) | frozenset(map(ord, "éèçäöüß"))
_JAPANESE = frozenset(map(ord, "株式会社東京製作所アカー"))


@dataclass(frozen=True)
class Face:
    """One face of an installed font.

    Attributes:
        family: family name.
        style: style name, such as Bold Italic.
        path: font file.
        index: face number inside the file.
        glyphs: code points the face can set.
    """

    family: str
    style: str
    path: Path
    index: int
    glyphs: frozenset[int]

    def covers(self, text: str) -> bool:
        """Whether every character of `text` can be set."""
        return self.glyphs.issuperset(map(ord, text))


@lru_cache(maxsize=1)
def faces() -> tuple[Face, ...]:
    """The faces for running text that fontconfig finds, Latin or Japanese, sorted by family, style and path.

    Raises:
        DependencyError: fontconfig is missing or no usable font is installed.
    """
    if shutil.which("fc-list") is None:
        raise DependencyError("fc-list not found: install fontconfig (apt-get install fontconfig fonts-dejavu-core)")
    wanted = "%{family[0]}\t%{style[0]}\t%{file}\t%{index}\t%{charset}\n"
    listing = subprocess.run(["fc-list", "--format", wanted], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in listing.splitlines():
        family, style, file, index, charset = line.split("\t")
        # High bits of the index name an instance of a variable font; Pillow opens plain faces only.
        if _UNFIT.search(f"{family} {style}") or int(index) > 0xFFFF or not file.endswith((".ttf", ".otf", ".ttc")):
            continue
        if ".ttc" in file and not family.endswith(("JP", "Mincho", "Gothic")) and "CJK" in file:
            continue
        glyphs = _code_points(charset)
        if glyphs.issuperset(_LATIN) or glyphs.issuperset(_JAPANESE):
            found[(family, style)] = Face(family, style, Path(file), int(index), glyphs)
    if not found:
        raise DependencyError("no font with Latin letters is installed (apt-get install fonts-dejavu-core)")
    return tuple(found[key] for key in sorted(found))


def _code_points(charset: str) -> frozenset[int]:
    points: set[int] = set()
    for span in charset.split():
        first, _, last = span.partition("-")
        points.update(range(int(first, 16), int(last or first, 16) + 1))
    return frozenset(points)


@lru_cache(maxsize=4096)
def _families(japanese: bool) -> tuple[tuple[Face, ...], ...]:
    """Faces by family, families that can set the script only."""
    script = _JAPANESE if japanese else _LATIN
    by_family: dict[str, list[Face]] = {}
    for face in faces():
        if face.glyphs.issuperset(script):
            by_family.setdefault(face.family, []).append(face)
    return tuple(tuple(members) for members in by_family.values())


def choose_face(text: str, rng: Random) -> Face:
    """Draw a face that can set all of `text`: first the family, then the style.

    Raises:
        DependencyError: no installed face has all the characters.
    """
    japanese = any(ord(c) >= 0x2E80 for c in text)
    families = _families(japanese)
    for _ in range(6):
        if not families:
            break
        face = rng.choice(rng.choice(families))
        if face.covers(text):
            return face
    able = [face for face in faces() if face.covers(text)]
    if not able:
        missing = "fonts-ipaexfont-mincho" if japanese else "fonts-dejavu-core"
        raise DependencyError(f"no installed font can set {text[:40]!r} (apt-get install {missing})")
    return rng.choice(able)


@lru_cache(maxsize=400)
def load(path: Path, index: int, size: int) -> ImageFont.FreeTypeFont:
    """Open a face at a size in pixels; kept open, since opening costs more than a line of text."""
    return ImageFont.truetype(str(path), size, index=index, layout_engine=ImageFont.Layout.BASIC)


@dataclass(frozen=True)
class Line:
    """A line of type.

    Attributes:
        text: what it says.
        face: set in which face.
        size: in pixels.
        spacing: extra pixels between letters.
    """

    text: str
    face: Face
    size: int
    spacing: float = 0.0


def set_line(line: Line) -> Image.Image:
    """Set one line: mode L, 255 = ink, as wide as the text, as high as the face's line."""
    font = load(line.face.path, line.face.index, line.size)
    ascent, descent = font.getmetrics()
    height = min(ascent + descent, int(1.6 * line.size))
    baseline = min(ascent, height - int(0.3 * line.size))
    if line.spacing == 0:
        image = Image.new("L", (int(font.getlength(line.text)) + 4, height))
        ImageDraw.Draw(image).text((2, baseline), line.text, 255, font, anchor="ls")
        return image
    advances = [font.getlength(c) + line.spacing for c in line.text]
    image = Image.new("L", (int(sum(advances)) + 4, height))
    draw, x = ImageDraw.Draw(image), 2.0
    for c, advance in zip(line.text, advances, strict=True):
        draw.text((x, baseline), c, 255, font, anchor="ls")
        x += advance
    return image


_TURNED = frozenset("ー-()「」—…")


def set_column(line: Line) -> Image.Image:
    """Set a line downward, as Japanese is; long vowels and brackets are turned."""
    font = load(line.face.path, line.face.index, line.size)
    step = int(line.size + 1 + line.spacing)
    image = Image.new("L", (int(line.size * 1.2), step * len(line.text) + 4))
    for place, c in enumerate(line.text):
        glyph = Image.new("L", (image.width, line.size + 2))
        ImageDraw.Draw(glyph).text((image.width // 2, glyph.height // 2), c, 255, font, anchor="mm")
        if c in _TURNED:
            turned = glyph.rotate(-90, expand=True)
            glyph = Image.new("L", glyph.size)
            glyph.paste(turned, ((glyph.width - turned.width) // 2, (glyph.height - turned.height) // 2))
        image.paste(glyph, (0, 2 + place * step))
    return image


def stack(lines: Sequence[Image.Image], gap: int, align: float) -> Image.Image:
    """Put set lines below each other; `align` 0 = left, 0.5 = centred, 1 = right."""
    width = max(line.width for line in lines)
    image = Image.new("L", (width, sum(line.height for line in lines) + gap * (len(lines) - 1)))
    y = 0
    for line in lines:
        image.paste(line, (int((width - line.width) * align), y))
        y += line.height + gap
    return image


def margins(image: Image.Image, left: int, top: int, right: int, bottom: int) -> Image.Image:
    """Add (or, where negative, cut) margins of bare paper."""
    framed = Image.new("L", (max(4, image.width + left + right), max(4, image.height + top + bottom)))
    framed.paste(image, (left, top))
    return framed
