"""What an OCR engine is. A page, or all the crops of a page, cost one call of it: never one call per crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from PIL import Image

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the page; right and bottom exclusive."""


@dataclass(frozen=True)
class Word:
    """A word as it was read; `confidence` 0..1, nan: unknown; block, paragraph and line count as on the page."""

    text: str
    confidence: float
    box: Box
    block: int = 0
    paragraph: int = 0
    line: int = 0

    def moved(self, x: int, y: int) -> Word:
        """The word on a larger picture, on which its own lies at (x, y)."""
        x0, y0, x1, y1 = self.box
        return replace(self, box=(x0 + x, y0 + y, x1 + x, y1 + y))


class Engine(Protocol):
    """What reads text from pictures."""

    @property
    def name(self) -> str:
        """Engine and version, as it is written into the records."""

    def read_page(self, image: Image.Image, cuts: Sequence[int] = ()) -> list[Word]:
        """Words of a page in reading order, in pixels of the page; columns between the x positions `cuts` in turn."""

    def read_crops(self, images: Sequence[Image.Image], vertical: Sequence[bool] = ()) -> list[list[Word]]:
        """Words of each crop, in pixels of the crop; `vertical`: which of them run from top to bottom, empty: none."""


class NoEngine:
    """Reads nothing: for pages whose text is given, or not needed."""

    name = ""

    def read_page(self, image: Image.Image, cuts: Sequence[int] = ()) -> list[Word]:
        """No words."""
        return []

    def read_crops(self, images: Sequence[Image.Image], vertical: Sequence[bool] = ()) -> list[list[Word]]:
        """No words for each."""
        return [[] for _ in images]
