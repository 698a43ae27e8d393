"""Find the transcript of a source: beside it, or in a folder of transcripts."""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path

from linkage.scans.pages import Source

FOLDERS = ("alto", "page", "hocr", "ocr", "xml")
"""Folders of transcripts, in a source's folder or beside it, in any case of letters."""

SUFFIXES = (".xml", ".hocr", ".html", ".alto.xml", ".page.xml")
"""What a transcript is called: the source's name, with or without its own suffix, and one of these."""

SOUGHT = f"looked for its name with {', '.join(SUFFIXES)}, beside it and in folders {', '.join(FOLDERS)}"

_SEVERAL_PAGES = (".pdf", ".tif", ".tiff")
_NUMBERED = r"[-_. ]?(?:p|page)?[-_. ]?0*([1-9]\d{0,8})"  # 0001, p1, page_12 after the source's name


@dataclass(frozen=True)
class SourceTranscripts:
    """The transcripts of one source: `whole` has all its pages, `numbered` one page each, by their number."""

    whole: Path | None = None
    numbered: tuple[tuple[int, Path], ...] = ()

    @property
    def files(self) -> list[Path]:
        """All files, in order."""
        return [self.whole] if self.whole else [path for _, path in self.numbered]

    def page(self, number: int) -> tuple[Path, int] | None:
        """The file that holds a page of the source (from 1), and which of its pages that is; None: there is none."""
        if self.whole:
            return self.whole, number
        return next(((path, 1) for page, path in self.numbered if page == number), None)


def find_transcripts(sources: Iterable[Source]) -> dict[Source, SourceTranscripts]:
    """The transcripts of all sources; the first place and name that has one counts.

    Beside the source come first, then its folder's own folders of transcripts, then those beside its folder. A source
    with several pages may have one file with as many pages, or a file per page with its number.
    """
    folders: dict[Path, _Folder] = {}

    def folder(path: Path) -> _Folder:
        return folders.setdefault(path, _Folder(path))

    found = {}
    for source in sources:
        if source.transcript:
            found[source] = SourceTranscripts(source.transcript)
            continue
        home = source.path.parent
        places = [folder(home)]
        places += [folder(path) for above in (home, home.parent) for path in folder(above).transcript_folders]
        found[source] = next(
            (match for match in (place.of(source.path) for place in places) if match.files), SourceTranscripts()
        )
    return found


class _Folder:
    """The names in a folder, listed once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def of(self, source: Path) -> SourceTranscripts:
        """The transcripts of a source in this folder."""
        for name in (source.stem, source.name):
            for suffix in SUFFIXES:
                if name + suffix in self._names:
                    return SourceTranscripts(self.path / (name + suffix))
        if source.suffix.lower() in _SEVERAL_PAGES:  # 1_1.xml beside 1.jpg is another picture's
            for name in (source.stem, source.name):
                if numbered := self._numbered(name):
                    return SourceTranscripts(numbered=numbered)
        return SourceTranscripts()

    @cached_property
    def transcript_folders(self) -> list[Path]:
        """The folders of transcripts in this one, in the order of FOLDERS."""
        try:
            named = {entry.name.lower(): entry.name for entry in os.scandir(self.path) if entry.is_dir()}
        except OSError:
            return []
        return [self.path / named[name] for name in FOLDERS if name in named]

    @cached_property
    def _names(self) -> frozenset[str]:
        try:
            return frozenset(
                entry.name
                for entry in os.scandir(self.path)
                if entry.name.endswith((".xml", ".hocr", ".html")) and entry.is_file()
            )
        except OSError:
            return frozenset()

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self._names)

    def _numbered(self, name: str) -> tuple[tuple[int, Path], ...]:
        start = bisect_left(self._sorted, name)
        pages: dict[int, tuple[int, str]] = {}
        for candidate in takewhile(lambda found: found.startswith(name), self._sorted[start:]):
            for rank, suffix in enumerate(SUFFIXES):
                match = re.fullmatch(_NUMBERED, candidate[len(name) : -len(suffix)], re.ASCII)
                if candidate.endswith(suffix) and match:
                    number = int(match[1])
                    pages[number] = min(pages.get(number, (rank, candidate)), (rank, candidate))
        return tuple((number, self.path / pages[number][1]) for number in sorted(pages))
