"""Pages as they come from the glass: turned, levelled, cropped to the sheet, evenly lit; and the way back.

What is found on a straightened page can be placed on the page as it is in its file: the two are linked by one affine
map, which is exact to a fraction of a pixel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from linkage.config import IngestConfig
from linkage.scans.contrast import even_contrast, paper_colour
from linkage.scans.frame import find_frame
from linkage.scans.ink import shrinkage, small_grey, writing_on
from linkage.scans.pages import Page
from linkage.scans.tilt import find_tilt

Point = tuple[int, int]
Box = tuple[int, int, int, int]

LEAST_TILT = 0.1
"""Degrees: a page that lies straighter is left as it is, for turning it would cost sharpness and gain nothing."""

_SURE = 3.0  # clarity from which a tilt is believed; that of noise is below 2

_TURNS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}


@dataclass(frozen=True)
class StraightPage:
    """A straightened page and how it lies on the page of the file.

    Attributes:
        page: the straightened page.
        size: width and height of the page of the file.
        matrix: (3, 3) float64: places on the straightened page (x, y, 1), in pixels, to places on that of the file.
        rotation: degrees, clockwise, by which the page was turned: 0, 90, 180 or 270.
        skew: degrees by which its lines then fell to the right, and which were taken off.
    """

    page: Page
    size: tuple[int, int]
    matrix: np.ndarray
    rotation: int = 0
    skew: float = 0.0

    def place(self, corners: Iterable[tuple[float, float]]) -> list[Point]:
        """Points of the straightened page in whole pixels of the page of the file, inside it."""
        points = np.array([(x, y, 1.0) for x, y in corners]) @ self.matrix.T
        width, height = self.size
        placed = np.rint(np.clip(points[:, :2], 0, (width, height))).astype(int)
        return [(int(x), int(y)) for x, y in placed]

    def outline(self, box: Box, polygon: Iterable[Point] = ()) -> tuple[Box, tuple[Point, ...]]:
        """A region of the straightened page on the page of the file: its hull, and its polygon unless it is the hull.

        Args:
            box: left, top, right, bottom on the straightened page.
            polygon: the region's outline there, where it is no upright rectangle.
        """
        x0, y0, x1, y1 = box
        corners = self.place(polygon or ((x0, y0), (x1, y0), (x1, y1), (x0, y1)))
        xs, ys = zip(*corners, strict=True)
        width, height = self.size
        left, top = min(min(xs), width - 1), min(min(ys), height - 1)
        hull = (left, top, max(max(xs), left + 1), max(max(ys), top + 1))
        level = not polygon and not self.skew
        return hull, () if level else tuple(corners)


def as_it_is(page: Page) -> StraightPage:
    """A page left alone."""
    return StraightPage(page, page.image.size, np.eye(3))


def straighten(page: Page, config: IngestConfig, rotation: int = 0) -> StraightPage:
    """Turn a page, take off its tilt, crop it to its sheet and even out its light, as far as the settings ask for it.

    Args:
        page: as it is in the file.
        config: `deskew`, `frame` and `contrast` say what to do.
        rotation: degrees, clockwise, by which to turn it first: 0, 90, 180 or 270.
    """
    straight = as_it_is(page)
    if rotation:
        straight = _turned(straight, rotation)
    small = small_grey(straight.page.image) if config.deskew or config.frame else None
    skew = _skew_of(small, config) if small and config.deskew else 0.0
    frame = None
    if small and config.frame:
        levelled = _levelled(as_it_is(Page(small)), skew, None) if skew else as_it_is(Page(small))
        factor = shrinkage(straight.page.image)
        frame = [edge * factor for edge in find_frame(levelled.page.image)]
    if skew:
        straight = _levelled(straight, skew, frame)
    elif frame:
        straight = _cropped(straight, frame)
    if config.contrast:
        straight = replace(straight, page=replace(straight.page, image=even_contrast(straight.page.image)))
    return straight


def _skew_of(small: Image.Image, config: IngestConfig) -> float:
    writing = writing_on(small)
    ways = [find_tilt(writing), find_tilt(writing, standing=True)] if config.vertical else [find_tilt(writing)]
    tilt = max(ways, key=lambda way: way.clarity)
    return tilt.degrees if tilt.clarity >= _SURE and abs(tilt.degrees) >= LEAST_TILT else 0.0


def _turned(straight: StraightPage, rotation: int) -> StraightPage:
    image = straight.page.image
    width, height = image.size
    back = {
        90: ((0, 1, 0), (-1, 0, height)),
        180: ((-1, 0, width), (0, -1, height)),
        270: ((0, -1, width), (1, 0, 0)),
    }[rotation]
    matrix = straight.matrix @ np.array([*back, (0, 0, 1)], float)
    page = replace(straight.page, image=image.transpose(_TURNS[rotation]))
    return replace(straight, page=page, matrix=matrix, rotation=rotation)


def _levelled(straight: StraightPage, skew: float, frame: list[int] | None) -> StraightPage:
    """Turn a page by its tilt around its middle, on a sheet large enough for its corners, and cut the frame out."""
    image = straight.page.image
    cos, sin = np.cos(np.deg2rad(skew)), np.sin(np.deg2rad(skew))
    size = np.array(image.size, float)
    sheet = np.ceil(np.array([[cos, abs(sin)], [abs(sin), cos]]) @ size)
    left, top, right, bottom = frame or (0, 0, *sheet)
    right, bottom = min(right, sheet[0]), min(bottom, sheet[1])
    turn = np.array([[cos, -sin], [sin, cos]])
    shift = size / 2 + turn @ (np.array([left, top]) - sheet / 2)
    matrix = np.array([[*turn[0], shift[0]], [*turn[1], shift[1]], [0, 0, 1]])
    levelled = image.transform(
        (int(right - left), int(bottom - top)),
        Image.Transform.AFFINE,
        tuple(matrix[:2].ravel()),
        Image.Resampling.BICUBIC,
        fillcolor=paper_colour(image),
    )
    page = replace(straight.page, image=levelled)
    return replace(straight, page=page, matrix=straight.matrix @ matrix, skew=skew)


def _cropped(straight: StraightPage, frame: list[int]) -> StraightPage:
    left, top, right, bottom = frame
    image = straight.page.image
    box = (left, top, min(right, image.width), min(bottom, image.height))
    matrix = straight.matrix @ np.array([(1, 0, left), (0, 1, top), (0, 0, 1)], float)
    return replace(straight, page=replace(straight.page, image=image.crop(box)), matrix=matrix)
