"""Lines of writing in a crop: where they lie, scaled for the recogniser, characters that run downward in a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image

from linkage.ocr.body import body_rows, ink_of, without_rules
from linkage.ocr.ctc import LineWord
from linkage.ocr.engine import Box, Word
from linkage.ocr.measures import HEIGHT, STEP, WIDEST

MARGIN = 0.5
"""Of a line's body, left above and below it: what ascends and descends beyond the rows that hold most of the ink."""
_GAP = 16  # pixels of paper between lines that are put side by side
_LEAST_LINE = 7  # rows of pixels below which nothing is legible
_MOST_CHARACTERS = 200  # in a line that runs downward
_SLOPES = tuple(step / 100 for step in range(-6, 7))  # rows per column
_CLEARLY = 1.1  # how much better than level a slope must part ink and paper
_VALLEY, _REACH = 0.35, 0.7  # of lines set tight: their small letters alone are told apart
_CROSSING = 0.15  # of the ink of a row in a line's midst: more in every row between two lines, and they are one
_INK, _FAINT_INK = 0.4, 0.2  # of the darkest ink: what counts as a line's, and what may cross to another
_NO_INK = 40  # grey levels between paper and ink below which a crop is bare


def fit_line(image: Image.Image, height: int, widest: int) -> np.ndarray:
    """Scale writing to a height, its lines side by side where it has several, proportions kept.

    What the crop leaves around the writing does not set the scale: each line is made level and cut to its body.

    Args:
        image: mode L or RGB, at least one pixel.
        height: of the result, pixels.
        widest: lines beyond it are squeezed to it.

    Returns:
        uint8 (1, height, W), grey, W a multiple of 8 and at most `widest`.
    """
    image = image.convert("L")
    lines = [Image.fromarray(strip.pixels) for strip in find_strips(image)]
    widths = [line.width * height / line.height for line in lines]
    gaps = _GAP * (len(lines) - 1)
    if gaps > widest / 2:  # more lines than a record has: take it for a picture
        lines, widths, gaps = [image], [image.width * height / image.height], 0
    squeeze = min(1.0, (widest - gaps) / sum(widths))
    fitted = []
    for line, width in zip(lines, widths, strict=True):
        columns = max(2, int(width * squeeze / STEP) if squeeze < 1 else round(width / STEP)) * STEP
        fitted.append(np.asarray(line.resize((columns, height), Image.Resampling.BILINEAR, reducing_gap=2.0)))
    if len(fitted) == 1:
        return fitted[0][None, :, :widest]
    gap = np.full((height, _GAP), _paper(np.asarray(image)), dtype=np.uint8)
    row = np.concatenate([part for line in fitted for part in (line, gap)][:-1], axis=1)
    return row[None, :, :widest]


@dataclass(frozen=True)
class LineStrip:
    """One line of a picture, made level, cut to its body and scaled for the recogniser.

    Attributes:
        line: uint8 (1, 48, W).
        pixels: uint8 (h, w), the line as it was cut out, made level; a margin around its body is left.
        corner: where in the picture `pixels` begins: its left edge, and its top in the middle of its width.
        slope: rows by which the line falls per column.
        number: of the line among those that were cut together, from 0.
        height: of the picture.
    """

    line: np.ndarray
    pixels: np.ndarray
    corner: tuple[int, int]
    slope: float
    number: int
    height: int

    def word(self, piece: LineWord) -> Word:
        """A piece of the line's reading as a word, its box drawn around the ink, in pixels of the picture."""
        height, width = self.pixels.shape
        scale = width * STEP / self.line.shape[2]
        left = min(max(int((piece.first - 1) * scale), 0), width - 1)
        right = max(min(int((piece.end + 1) * scale) + 1, width), left + 1)
        ink = _ink(self.pixels)[:, left:right]
        rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
        x0, x1 = (left + int(columns[0]), left + int(columns[-1]) + 1) if len(columns) else (left, right)
        y0, y1 = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, height)
        falls = [self.slope * (x - width / 2) for x in (x0, x1)]
        left, top = self.corner
        top, bottom = max(top + round(y0 + min(falls)), 0), min(top + round(y1 + max(falls)), self.height)
        top = min(top, self.height - 1)
        return Word(piece.text, piece.confidence, (left + x0, top, left + x1, max(bottom, top + 1)), line=self.number)


def find_strips(image: Image.Image) -> list[LineStrip]:
    """The lines of a crop, parted by the paper between them."""
    return next(_ways(image))


def other_strips(image: Image.Image) -> list[list[LineStrip]]:
    """Other ways to cut a crop into lines, where there are any: as one line, and where rows hold less ink than others.

    Gaps in the print of a dot matrix look like the paper between two lines, and between lines that are set tight there
    is none: only reading tells.
    """
    return list(_ways(image))[1:]


def _ways(image: Image.Image) -> Iterator[list[LineStrip]]:
    image = image.convert("L")
    slope = slope_of(np.asarray(image))
    level = _cut(image, (0, 0, *image.size), slope)
    seen: list[list[tuple[int, int]]] = []
    for way in (line_bounds(level), [(0, image.height)], line_bounds(level, _VALLEY, _REACH)):
        if way not in seen:
            seen.append(way)
            yield [cut_strip(image, (0, top, image.width, end), slope, number) for number, (top, end) in enumerate(way)]


def cut_strip(image: Image.Image, box: Box, slope: float, number: int = 0) -> LineStrip:
    """Cut a line out of a picture of mode L.

    Args:
        image: the picture.
        box: of the line; top and bottom are those in the middle of its width.
        slope: rows by which the line falls per column.
        number: kept with it.
    """
    pixels = _cut(image, box, slope)
    first, end = body_rows(pixels)
    margin = round(MARGIN * (end - first))
    top, bottom = max(0, first - margin), min(len(pixels), end + margin)
    pixels = pixels[top:bottom]
    columns = min(max(2, round(pixels.shape[1] * HEIGHT / len(pixels) / STEP)) * STEP, WIDEST)
    fitted = Image.fromarray(pixels).resize((columns, HEIGHT), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return LineStrip(np.asarray(fitted)[None], pixels, (box[0], box[1] + top), slope, number, image.height)


def _cut(image: Image.Image, box: Box, slope: float) -> np.ndarray:
    part = image.crop(box)
    if not slope:
        return np.asarray(part)
    left, top, right, _ = box
    rise = slope * (right - left) / 2
    shear = (1, 0, left, slope, 1, top - rise)
    paper = _paper(np.asarray(part))
    level = image.transform(part.size, Image.Transform.AFFINE, shear, Image.Resampling.BILINEAR, fillcolor=paper)
    return np.asarray(level)


def slope_of(pixels: np.ndarray) -> float:
    """By how many rows the lines of a crop fall per column, -0.06..0.06: the slope that parts ink and paper best.

    Profiles along level lines have the highest peaks (Postl 1986, Detection of linear oblique structures and skew scan
    in digitized documents). 0 where no slope is clearly better.

    Args:
        pixels: uint8 (h, w), grey.
    """
    ink = _ink(pixels)
    y, x = np.nonzero(ink)
    if not len(y):
        return 0.0
    x = x - ink.shape[1] / 2
    sharpness = {}
    for slope in _SLOPES:
        rows = (y - slope * x).round().astype(int)
        profile = np.bincount(rows - rows.min())
        sharpness[slope] = float((profile.astype(np.float64) ** 2).sum())
    best = max(_SLOPES, key=lambda slope: (sharpness[slope], -abs(slope)))
    return best if sharpness[best] > _CLEARLY * sharpness[0.0] else 0.0


def line_bounds(pixels: np.ndarray, share: float = 0.06, reach: float = 0.25) -> list[tuple[int, int]]:
    """First row and end of each line of writing, top to bottom; of the whole picture where it has one line or none.

    Args:
        pixels: uint8 (h, w), grey.
        share: of the ink of a row in the midst of a line, 0..1: rows with more belong to one.
        reach: how far a line goes beyond these rows, in heights of the tallest.
    """
    whole = [(0, len(pixels))]
    if len(pixels) < 2 * _LEAST_LINE:
        return whole
    dark = ink_of(pixels)
    ink = without_rules(dark > _INK).mean(axis=1)
    runs = _runs(ink > max(0.004, share * float(np.percentile(ink, 95))))
    tallest = max((end - start for start, end in runs), default=0)
    lines = _parted([(start, end) for start, end in runs if end - start >= max(_LEAST_LINE, 0.4 * tallest)], dark)
    if len(lines) < 2:
        return whole
    # Dots, accents and rules belong to the nearest line: cut half-way between the bodies.
    cuts = [0, *((above[1] + below[0]) // 2 for above, below in pairwise(lines)), len(pixels)]
    margin = int(tallest * reach)
    return [
        (max(top, start - margin), min(bottom, end + margin))
        for (start, end), (top, bottom) in zip(lines, pairwise(cuts), strict=True)
    ]


def _parted(runs: list[tuple[int, int]], dark: np.ndarray) -> list[tuple[int, int]]:
    """Runs of rows, those joined that strokes run through from one to the next: the upper and the lower half of a word.

    Args:
        runs: first row and end of each.
        dark: float32 (h, w), see `ink_of`.
    """
    faint = (dark > _FAINT_INK).mean(axis=1)
    lines: list[tuple[int, int]] = []
    for start, end in runs:
        if lines:
            above, below = lines[-1]
            usual = min(np.percentile(faint[above:below], 75), np.percentile(faint[start:end], 75))
            if faint[below - 1 : start + 1].min() > _CROSSING * usual:
                lines[-1] = above, end
                continue
        lines.append((start, end))
    return lines


def in_a_row(image: Image.Image) -> Image.Image:
    """Put the upright characters of a line that runs downward side by side, left to right; mode L.

    Characters stand at equal distances, about as far apart as the line is wide; of the distances possible, the one
    whose cuts meet the least ink is taken.
    """
    if image.height <= image.width:  # one character at most
        return image.convert("L")
    pixels = np.asarray(image.convert("L"))
    ink = _ink(pixels)
    dense = ink.mean(axis=0)
    columns = np.flatnonzero(dense > max(0.02, 0.15 * float(np.percentile(dense, 90))))  # not specks at the sides
    if not len(columns):
        return image.convert("L")
    left, right = int(columns[0]), int(columns[-1]) + 1
    rows = np.flatnonzero(ink[:, left:right].any(axis=1))
    top, bottom = rows[0], rows[-1] + 1
    side = max(4, right - left)
    profile = ink[top:bottom, left:right].mean(axis=1)
    cuts = _cuts(profile, side)
    cells = list(pairwise([0, *cuts, len(profile)]))
    edge = max(1, side // 12)
    row = np.full((side + 2 * edge, len(cells) * (side + edge) + edge), _paper(pixels), dtype=np.uint8)
    for place, (first, end) in enumerate(cells):
        inked = np.flatnonzero(profile[first:end])
        first, end = (first + inked[0], first + inked[-1] + 1) if len(inked) else (first, end)
        cell = pixels[top + first : top + end, left:right]
        if len(cell) > side:
            cell = np.asarray(Image.fromarray(cell).resize((cell.shape[1], side), Image.Resampling.BILINEAR))
        down = edge + (side - len(cell)) // 2
        across = edge + place * (side + edge)
        row[down : down + len(cell), across : across + cell.shape[1]] = cell
    return Image.fromarray(row)


def _cuts(profile: np.ndarray, side: int) -> list[int]:
    """Rows between the characters of a line that runs downward.

    Args:
        profile: share of ink by row, from the first inked row to the last.
        side: width of the line, pixels.
    """
    found: tuple[float, list[int]] = (np.inf, [])
    height, usual = len(profile), float(profile.mean())
    most = min(round(height / (0.8 * side)), _MOST_CHARACTERS)
    for count in range(max(1, most // 3), most + 1):
        pitch = (height - side) / (count - 1) if count > 1 else height
        if count > 1 and not 0.85 * side <= pitch <= 2.2 * side:
            continue
        reach = max(1, round(0.15 * pitch))
        middles = [round(place * pitch - (pitch - side) / 2) for place in range(1, count)]
        windows = [range(max(1, middle - reach), min(height - 1, middle + reach) + 1) for middle in middles]
        cuts = [min(window, key=lambda row: (profile[row], abs(row - window[len(window) // 2]))) for window in windows]
        met = float(np.mean(profile[cuts])) / usual if cuts else 0.5
        cost = met + 0.2 * abs(np.log(pitch / (1.12 * side)))
        found = min(found, (float(cost), cuts))
    return found[1]


def _paper(pixels: np.ndarray) -> int:
    return int(np.percentile(pixels, 70))


def _ink(pixels: np.ndarray) -> np.ndarray:
    """Where there is ink, bool (h, w): darker than half-way from paper to ink, or lighter on a dark ground."""
    low, middle, high = np.percentile(pixels, (1, 60, 99))
    if max(middle - low, high - middle) < _NO_INK:
        return np.zeros(pixels.shape, dtype=bool)
    if middle - low >= high - middle:
        return np.asarray(pixels < (low + middle) / 2)
    return np.asarray(pixels > (middle + high) / 2)


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]
