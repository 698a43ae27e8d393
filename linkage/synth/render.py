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

# Faces without running text: keyboard caps, mathematics, ornamental initials, symbols, outlines, grass script.
_UNFIT = re.compile(
    r"Biolinum Keyboard|Math|Initials|Emoji|Symbol|Ornament|Icons|Dingbat|Braille|Music|D050000L|Codec|Sousyo"
    r"|Outline|Inverted|Thin$|ExtraLight|SetoFont-ex",
    re.IGNORECASE,
)
_LATIN = frozenset(map(ord, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,-&"))
_JAPANESE = frozenset(map(ord, "株式会社東京製作所アカー"))
# Families that are one design under several names count once, or it would be drawn several times as often.
_SAME_DESIGN = re.compile(r" (Text|Code|Condensed|Minus|No2 Std|Tohaba|Display O|GWF|Beta|- [BDP])$|Condensed$|Italic$")
HANDWRITTEN = re.compile(
    r"Breip|Dancing Script|Delphine|Steve|DkgHandwriting|Kaushan|Kristi|Rufscript|Humor Sans|Tomson|TypoScript"
    r"|Ecolier|Comic Neue|Because We|Isabella|Leckerli|Lobster|ADF Script|Yusei|kiloji|SetoFont|Kouzan|Aoyagi"
)
"""Families that look written: pen, felt-tip, brush."""
HELD_OUT = frozenset(("Dejima", "Oradano-mincho-GSRR", "MotoyaLCedar", "MotoyaLMaru"))
"""Families that training data never shows, so that `scripts/make_sets.py` measures on type nobody has learned."""


@dataclass(frozen=True)
class FontFace:
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
def faces() -> tuple[FontFace, ...]:
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
            found[(family, style)] = FontFace(family, style, Path(file), int(index), glyphs)
    if not found:
        raise DependencyError("no font with Latin letters is installed (apt-get install fonts-dejavu-core)")
    return tuple(found[key] for key in sorted(found))


def _code_points(charset: str) -> frozenset[int]:
    points: set[int] = set()
    for span in charset.split():
        first, _, last = span.partition("-")
        points.update(range(int(first, 16), int(last or first, 16) + 1))
    return frozenset(points)


@lru_cache(maxsize=8)
def _families(japanese: bool, hand: bool) -> tuple[tuple[FontFace, ...], ...]:
    """Faces by design, those that can set the script and look written, or printed, only; none is held out.

    Printed Latin is left to Latin families: the Latin of Japanese ones is an afterthought.
    """
    script = _JAPANESE if japanese else _LATIN
    by_design: dict[str, list[FontFace]] = {}
    for face in faces():
        written = HANDWRITTEN.search(face.family) is not None
        fit = face.glyphs.issuperset(script) and (japanese or written or not face.glyphs.issuperset(_JAPANESE))
        if fit and written == hand and face.family not in HELD_OUT:
            design = _SAME_DESIGN.sub("", face.family).replace("PGothic", "Gothic").replace("PMincho", "Mincho")
            by_design.setdefault(design, []).append(face)
    return tuple(tuple(members) for members in by_design.values())


def choose_face(text: str, rng: Random, *, hand: bool = False) -> FontFace:
    """Draw a face that can set all of `text`: first the design, then the style; never one of `HELD_OUT`.

    Args:
        text: what is to be set.
        rng: source of chance.
        hand: a face that looks written; where none can set the text, a printed one.

    Raises:
        DependencyError: no installed face has all the characters.
    """
    japanese = any(ord(c) >= 0x2E80 for c in text)
    families = _families(japanese, hand)
    for _ in range(10):
        if not families:
            break
        face = rng.choice(rng.choice(families))
        if can_set(face, text):
            return face
    if hand:
        return choose_face(text, rng)
    able = [face for face in faces() if face.family not in HELD_OUT and can_set(face, text)]
    if not able:
        missing = "fonts-ipaexfont-mincho" if japanese else "fonts-dejavu-core"
        raise DependencyError(f"no installed font can set {text[:40]!r} (apt-get install {missing})")
    return rng.choice(able)


def can_set(face: FontFace, text: str) -> bool:
    """Whether `face` has every character of `text` and leaves ink for it: some fonts list characters left blank."""
    return face.covers(text) and all(_inked(face.path, face.index, c) for c in text)


@lru_cache(maxsize=1 << 17)
def _inked(path: Path, index: int, character: str) -> bool:
    if character.isspace():
        return True
    try:
        return load(path, index, 24).getmask(character).getbbox() is not None
    except OSError:  # a fault in the font's own program
        return False


@lru_cache(maxsize=3000)
def load(path: Path, index: int, size: int) -> ImageFont.FreeTypeFont:
    """Open a face at a size in pixels; kept open, since opening costs more than a line of text."""
    return ImageFont.truetype(str(path), size, index=index, layout_engine=ImageFont.Layout.BASIC)


@dataclass(frozen=True)
class TypeLine:
    """A line of type.

    Attributes:
        text: what it says.
        face: set in which face.
        size: in pixels.
        spacing: extra pixels between letters.
    """

    text: str
    face: FontFace
    size: int
    spacing: float = 0.0


def set_line(line: TypeLine) -> Image.Image:
    """Set one line: mode L, 255 = ink, as wide as the text, as high as the face's line or, if higher, its ink."""
    font = load(line.face.path, line.face.index, line.size)
    ascent, descent = font.getmetrics()
    height = min(ascent + descent, int(1.6 * line.size))
    left, upper, right, lower = (int(edge) for edge in font.getbbox(line.text, anchor="ls"))
    baseline = max(min(ascent, height - int(0.3 * line.size)), 1 - upper)
    height = max(height, baseline + lower + 1)
    start = max(2, 1 - left)
    if line.spacing == 0:
        image = Image.new("L", (start + max(int(font.getlength(line.text)), right) + 2, height))
        ImageDraw.Draw(image).text((start, baseline), line.text, 255, font, anchor="ls")
        return image
    advances = [font.getlength(c) + line.spacing for c in line.text]
    image = Image.new("L", (start + int(sum(advances)) + 2, height))
    draw, x = ImageDraw.Draw(image), float(start)
    for c, advance in zip(line.text, advances, strict=True):
        draw.text((x, baseline), c, 255, font, anchor="ls")
        x += advance
    return image


_TURNED = frozenset("ー-()「」—…")


def set_column(line: TypeLine) -> Image.Image:
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
