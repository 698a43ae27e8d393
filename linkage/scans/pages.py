"""Find sources and read their pages one at a time: PDF, multi-page TIFF and single images."""

from __future__ import annotations

import glob
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from PIL import Image

from linkage.errors import InputError
from linkage.places import TABLES, kind_of, remote
from linkage.scans.images import FORMATS, IMAGE_SUFFIXES, check_size, decode, guarded
from linkage.scans.mets import read_mets

SUFFIXES = IMAGE_SUFFIXES | {".pdf"}
POINTS_PER_INCH = 72.0
_METS = (".xml", ".mets")


@dataclass(frozen=True, order=True)
class Source:
    """One file with pages.

    Attributes:
        name: path relative to the folder that all inputs share, with "/" on every system.
        path: where it is.
        transcript: the file that a METS file pairs it with; others are looked for beside it.
        reason: why it cannot be read, where that is known before it is opened; "" otherwise.
    """

    name: str
    path: Path
    transcript: Path | None = field(default=None, compare=False)
    reason: str = field(default="", compare=False)


@dataclass(frozen=True)
class Page:
    """One decoded page.

    Attributes:
        image: mode "RGB" or "L", upright.
        pixels_per_point: scale of a rendered PDF page; None for images, which have no points.
    """

    image: Image.Image
    pixels_per_point: float | None = None


def find_sources(inputs: Sequence[Path]) -> list[Source]:
    """List the files to read, sorted by name, each once.

    Folders are searched through all levels for files with the suffix of an image or PDF; hidden files and folders
    are passed over. A file that is named itself is taken whatever its suffix. `*`, `?` and `[` in an input that is
    no existing path make it a glob (`**` for all levels). A METS file that is named stands for the images that it
    lists, each with its transcript; what it lists and is not there is a source with a reason.

    Raises:
        InputError: an input does not exist, or nothing is found.
    """
    named = [match for entry in inputs for match in _matches(entry)]
    if not named:
        raise InputError("no input was given; name files or folders with scans")
    for entry in named:
        if entry.suffix.lower() in TABLES and (kind := kind_of(entry)):
            raise InputError(
                f"{entry}: is {kind}, not a scan; `linkage run` and `linkage embed` take records as they are"
            )
    root = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in named]))
    found: dict[tuple[Path, str], Source] = {}
    for entry in named:
        for path in _walk(entry) if entry.is_dir() else [entry]:
            found.setdefault((path, ""), Source(_name(path.relative_to(root)), path))
    for entry in named:  # last: their sources have transcripts
        listed = _listed(entry, root)
        if listed is not None:
            found.pop((entry, ""), None)
            found |= listed
    if not found:
        kinds = [f"; {entry} is {kind}" for entry in inputs if (kind := kind_of(entry))]
        sought = f"looked for {' '.join(sorted(SUFFIXES))}"
        raise InputError(f"{', '.join(map(str, inputs))}: no scan found; {sought}{''.join(kinds)}")
    return sorted(found.values())


class OpenSource:
    """A source held open, in a `with` block: the way to its next page does not lead past all pages before.

    After an InputError of `page` it is to be closed: what the damage did to the reader is not known.

    Args:
        path: the file.

    Raises:
        InputError: not a page source, damaged, encrypted or without pages.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_pdf = _is_pdf(path)
        with self._guarded():
            if self._is_pdf:
                import pypdfium2

                self._document: Any = pypdfium2.PdfDocument(path)
            else:
                self._document = Image.open(path, formats=FORMATS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._document.close()

    def count(self) -> int:
        """Number of pages, at least 1; nothing is decoded.

        A TIFF or PDF whose list of pages breaks off counts the broken page too, so that reading it reports the damage.
        """
        with self._guarded():
            if self._is_pdf:
                return _count_sheets(self._document)
            return _count_frames(self._document) if self._document.format == "TIFF" else 1

    def page(self, number: int, *, dpi: int, max_megapixels: float) -> Page:
        """Decode or render one page, another one at each call.

        Args:
            number: page, from 1.
            dpi: resolution for PDF pages; images keep their own pixels.
            max_megapixels: larger pages are refused before they are decoded or rendered.

        Raises:
            InputError: the reason why this page cannot be had.
        """
        with self._guarded():
            if self._is_pdf:
                return _render(self._document, number, dpi, max_megapixels)
            if number > 1:
                self._document.seek(number - 1)
            page = Page(decode(self._document, max_megapixels))
            self._document.im = None  # `decode` made a copy
            return page

    def _guarded(self) -> AbstractContextManager[None]:
        return _pdf_guarded(self._path) if self._is_pdf else guarded()


def count_pages(path: Path) -> int:
    """Number of pages of a source; see `OpenSource`."""
    with OpenSource(path) as source:
        return source.count()


def read_page(path: Path, number: int, *, dpi: int, max_megapixels: float) -> Page:
    """Decode or render one page of a source; see `OpenSource.page`."""
    with OpenSource(path) as source:
        return source.page(number, dpi=dpi, max_megapixels=max_megapixels)


def _matches(entry: Path) -> list[Path]:
    if entry.exists():
        return [_absolute(entry)]
    if not glob.has_magic(str(entry)):
        raise InputError(remote(entry) or f"{entry}: no such file or folder")
    matches = sorted(glob.glob(str(entry), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not matches:
        raise InputError(f"{entry}: nothing matches this pattern")
    # As in a folder: what a pattern happens to catch is taken by suffix, not by force.
    paths = [_absolute(Path(match)) for match in matches]
    return [path for path in paths if path.is_dir() or path.suffix.lower() in SUFFIXES]


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - a link to a scan keeps its own name


def _walk(folder: Path) -> Iterator[Path]:
    unlisted: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=unlisted.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(place, name)
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES:
                yield path
    # A folder that cannot be listed is a source that cannot be read: it will be set aside with its reason.
    yield from (Path(error.filename) for error in unlisted)


def _listed(entry: Path, root: Path) -> dict[tuple[Path, str], Source] | None:
    """The sources that a METS file lists, by path and, where that is not known, name; None: it is no METS file."""
    if entry.suffix.lower() not in _METS or not entry.is_file():
        return None
    name = _name(entry.relative_to(root))
    try:
        pages = read_mets(entry)
    except InputError as error:
        return {(entry, name): Source(name, entry, reason=str(error))}
    if pages is None:
        return None
    found = {}
    for page in pages:
        if page.image:
            image = _absolute(page.image)
            found[image, ""] = Source(_name(image.relative_to(root)), image, page.transcript)
        else:
            missing = f"{name}#{page.name}"
            found[entry, missing] = Source(missing, entry, reason=page.reason)
    return found


def _name(path: Path) -> str:
    # File names are bytes; those that are not UTF-8 must not break the tables.
    return path.as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _is_pdf(path: Path) -> bool:
    if not path.is_file():  # reading a pipe or device would wait for ever
        raise InputError("not a regular file that can be read")
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from None
    if not head:
        raise InputError("the file is empty")
    return b"%PDF-" in head


def _count_frames(image: Image.Image) -> int:
    count = 1
    while True:
        try:
            image.seek(count)
        except EOFError:
            return count
        except Exception:  # the list of pages is damaged here
            return count + 1
        count += 1


def _count_sheets(document: Any) -> int:
    """Pages of a PDF up to the last that is there, and one more where it claims to have more, be it a million."""
    claimed = there = len(document)
    while there > 1 and not _has_page(document, there - 1):
        there -= 1
    return min(there + 1, claimed)


def _has_page(document: Any, index: int) -> bool:
    import pypdfium2

    try:
        document.get_page_size(index)
    except pypdfium2.PdfiumError:
        return False
    return True


@contextmanager
def _pdf_guarded(path: Path) -> Iterator[None]:
    import pypdfium2

    try:
        yield
    except pypdfium2.PdfiumError:
        # PDFium's own reason may be that of an earlier file: it sets none for a document without pages.
        if _mentions_encryption(path):
            raise InputError("the PDF is encrypted; save it without its password") from None
        raise InputError("the PDF is damaged or has no pages") from None


def _mentions_encryption(path: Path) -> bool:
    """Whether a PDF's trailer, which is never compressed or encrypted itself, says so."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(b"/Encrypt") >= 0


def _render(document: Any, number: int, dpi: int, max_megapixels: float) -> Page:
    scale = dpi / POINTS_PER_INCH
    width, height = document.get_page_size(number - 1)  # before the page is loaded, which costs what its content asks
    check_size(round(width * scale), round(height * scale), max_megapixels)
    page = document[number - 1]
    try:
        return Page(page.render(scale=scale).to_pil().convert("RGB"), scale)
    finally:
        page.close()
