"""Pages that were met before: in the same file, as the same pixels, or as another scan of the same sheet."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from linkage.scans.rescans import PageLook, same_sheet

_MOST_BITS = 80  # of a hash that differ, of 256; half of them do by chance
_MOST_CANDIDATES = 4  # pages laid over one page: a good half of a second each


@dataclass(frozen=True)
class Duplicate:
    """That a page was met before.

    Attributes:
        first: index of the page where it was.
        kind: file, page or near.
    """

    first: int
    kind: str


@dataclass(frozen=True)
class PageFingerprint:
    """What a page is known again by.

    Attributes:
        file: its file's content and its number in it.
        pixels: hash of its pixels; "": it was not decoded.
        bits: perceptual hash, 32 bytes; empty: none.
    """

    file: Hashable
    pixels: str = ""
    bits: bytes = b""


def find_duplicates(pages: Sequence[PageFingerprint], look: Callable[[int], PageLook]) -> Iterator[Duplicate | None]:
    """Yield for every page in order where it was met before; None where it was not.

    Pages whose hashes are near are candidates, the nearest few are laid over the page (see `rescans.same_sheet`).

    Args:
        pages: all pages.
        look: of a page by its index; asked for candidates only, so that not all need be in memory.
    """
    by_file: dict[Hashable, int] = {}
    by_pixels: dict[str, int] = {}
    hashes = _Hashes()
    for page, seen in enumerate(pages):
        found: Duplicate | None = None
        if seen.file in by_file:
            found = Duplicate(by_file[seen.file], "file")
        elif seen.pixels in by_pixels:
            found = Duplicate(by_pixels[seen.pixels], "page")
        elif seen.bits:
            same = (other for other in hashes.nearest(seen.bits) if same_sheet(look(other), look(page)))
            first = next(same, None)
            if first is None:
                hashes.add(page, seen.bits)
            else:
                found = Duplicate(first, "near")
        by_file.setdefault(seen.file, found.first if found else page)
        if seen.pixels:
            by_pixels.setdefault(seen.pixels, found.first if found else page)
        yield found


class _Hashes:
    """The hashes of pages that were met first, in one array that grows."""

    def __init__(self) -> None:
        self._pages: list[int] = []
        self._bits = np.empty((1024, 4), np.uint64)

    def add(self, page: int, bits: bytes) -> None:
        if len(self._pages) == len(self._bits):
            self._bits = np.concatenate([self._bits, np.empty_like(self._bits)])
        self._bits[len(self._pages)] = np.frombuffer(bits, np.uint64)
        self._pages.append(page)

    def nearest(self, bits: bytes) -> Iterator[int]:
        """Pages with a near hash, the nearest first."""
        differing = self._bits[: len(self._pages)] ^ np.frombuffer(bits, np.uint64)
        away = np.bitwise_count(differing).sum(axis=1, dtype=np.int64)
        for place in np.argsort(away, kind="stable")[:_MOST_CANDIDATES]:
            if away[place] <= _MOST_BITS:
                yield self._pages[place]
