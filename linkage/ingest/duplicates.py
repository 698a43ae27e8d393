"""Pages that were met before: in the same file, as the same pixels, or as another scan of the same sheet."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from linkage.scans.rescans import Look, same_sheet

_MOST_BITS = 90  # of a hash that differ, of 256; half of them do by chance
_MOST_CANDIDATES = 12  # pages laid over one page


@dataclass(frozen=True)
class Duplicate:
    """That a page was met before.

    Attributes:
        first: index of the page where it was.
        kind: file, page or near.
    """

    first: int
    kind: str


def find_duplicates(files: Sequence[Hashable], look: Callable[[int], Look | None]) -> Iterator[Duplicate | None]:
    """Yield for every page in order where it was met before; None where it was not.

    Pages whose hashes are near are candidates, the nearest few are laid over the page (see `rescans.same_sheet`).

    Args:
        files: of every page, its file's content and its number in it.
        look: of a page by its index; called again for candidates, so that not all need be in memory.
    """
    by_file: dict[Hashable, int] = {}
    by_pixels: dict[str, int] = {}
    hashes = _Hashes()
    for page, file in enumerate(files):
        seen = look(page)
        found: Duplicate | None = None
        if file in by_file:
            found = Duplicate(by_file[file], "file")
        elif seen and seen.pixels in by_pixels:
            found = Duplicate(by_pixels[seen.pixels], "page")
        elif seen and seen.bits:
            found = _near(seen, hashes, look)
            if not found:
                hashes.add(page, seen.bits)
        first = found.first if found else page
        by_file.setdefault(file, first)
        if seen:
            by_pixels.setdefault(seen.pixels, first)
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


def _near(seen: Look, hashes: _Hashes, look: Callable[[int], Look | None]) -> Duplicate | None:
    for page in hashes.nearest(seen.bits):
        candidate = look(page)
        if candidate and same_sheet(candidate, seen):
            return Duplicate(page, "near")
    return None
