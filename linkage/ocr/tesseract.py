"""The Tesseract program as an OCR engine."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from linkage.distribution import install
from linkage.errors import DependencyError, InputError
from linkage.ocr.engine import Word

_MARGIN = 10  # white pixels around a crop: letters that touch the border are misread
_VALLEY = 0.25  # rows with less than this share of the blackest row's ink separate lines
_PSM_LINE, _PSM_BLOCK, _PSM_VERTICAL = 7, 6, 5


class TesseractEngine:
    """The Tesseract program, one thread, one process per call.

    Args:
        languages: Tesseract's codes, the most likely first; text that runs downward is read with their `_vert` twins
            where these are installed.
        psm: page segmentation mode for pages.
        seconds: time limit of a call.

    Raises:
        DependencyError: the program, pytesseract or a language is not installed; says which package has it.
    """

    def __init__(self, languages: Sequence[str], psm: int, seconds: float) -> None:
        self._languages = "+".join(languages)
        self._vertical = "+".join(_vertical(languages)) or self._languages
        self._psm = psm
        self._seconds = seconds
        self.name = f"tesseract {_version()}"
        _check_languages(languages)

    def read_page(self, image: Image.Image, cuts: Sequence[int] = ()) -> list[Word]:
        """Words of a page in reading order, each column between the `cuts` on its own.

        Raises:
            InputError: Tesseract refused the page or took too long.
        """
        edges = [0, *cuts, image.width]
        columns = [image.crop((left, 0, right, image.height)) for left, right in pairwise(edges)]
        words: list[Word] = []
        for left, column in zip(edges, _words(self._read(columns, self._psm), len(columns)), strict=False):
            first = 1 + max((word.block for word in words), default=0)
            words += [replace(word.moved(left, 0), block=first + word.block) for word in column]
        return words

    def read_crops(self, images: Sequence[Image.Image], vertical: Sequence[bool] = ()) -> list[list[Word]]:
        """Words of each crop; a crop with one band of ink is read as a line, the others as a block.

        Raises:
            InputError: Tesseract refused a crop or took too long.
        """
        words: list[list[Word]] = [[] for _ in images]
        rows_of: dict[int, list[int]] = {}
        for row, (image, downward) in enumerate(zip(images, vertical or [False] * len(images), strict=True)):
            if bands := _bands(image):  # none: blank, which Tesseract would read something into
                psm = _PSM_VERTICAL if downward else _PSM_LINE if bands == 1 else _PSM_BLOCK
                rows_of.setdefault(psm, []).append(row)
        for psm, rows in rows_of.items():
            table = self._read([_framed(images[row]) for row in rows], psm)
            for row, found in zip(rows, _words(table, len(rows)), strict=True):
                words[row] = [_unframed(word, images[row]) for word in found]
        return words

    def _read(self, images: Sequence[Image.Image], psm: int) -> str:
        """Tesseract's TSV for a list of pictures; its `page_num` counts them from 1."""
        languages = self._vertical if psm == _PSM_VERTICAL else self._languages
        import pytesseract

        with tempfile.TemporaryDirectory(prefix="linkage-ocr-") as folder:
            names = []
            for number, image in enumerate(images):
                names.append(str(Path(folder, f"{number}.pnm")))
                image.save(names[-1], "PPM")
            listed = Path(folder, "images.txt")
            listed.write_text("\n".join(names) + "\n", encoding="utf-8")
            try:
                with _one_thread():
                    return str(
                        pytesseract.image_to_data(
                            str(listed), lang=languages, config=f"--psm {psm}", timeout=self._seconds
                        )
                    )
            except pytesseract.TesseractError as error:
                raise InputError(f"Tesseract failed ({' '.join(error.message.split())[:160]})") from None
            except RuntimeError:  # what pytesseract raises when the time is up
                limit = f"ingest.page_seconds = {self._seconds:g}"
                raise InputError(f"OCR took longer than {limit} allows") from None


def _words(table: str, count: int) -> list[list[Word]]:
    """Parse the TSV of `count` pictures. Texts hold quotes and anything else but tabs."""
    pages: list[list[Word]] = [[] for _ in range(count)]
    for row in table.split("\n")[1:]:
        cells = row.split("\t")
        if len(cells) != 12 or cells[0] != "5" or not cells[11].strip():
            continue
        page, block, paragraph, line, _, left, top, width, height = map(int, cells[1:10])
        confidence = min(max(float(cells[10]) / 100, 0.0), 1.0)
        box = (left, top, left + width, top + height)
        pages[page - 1].append(Word(cells[11].strip(), confidence, box, block, paragraph, line))
    return pages


def _bands(image: Image.Image) -> int:
    """Count the bands of ink that lie one above the other: the lines of text, where they are level."""
    grey = np.asarray(image.convert("L"), dtype=np.float32)
    ink = np.abs(grey - np.median(grey))
    rows = ink.mean(axis=1)
    dark = np.concatenate([[False], rows > _VALLEY * rows.max(initial=1.0), [False]])
    edges = np.flatnonzero(dark[1:] != dark[:-1]).reshape(-1, 2)
    heights = edges[:, 1] - edges[:, 0]
    return int((heights >= heights.max(initial=1) * 0.5).sum())


def _framed(image: Image.Image) -> Image.Image:
    paper = int(np.median(np.asarray(image.convert("L"))))
    framed = Image.new("L", (image.width + 2 * _MARGIN, image.height + 2 * _MARGIN), paper)
    framed.paste(image.convert("L"), (_MARGIN, _MARGIN))
    return framed


def _unframed(word: Word, image: Image.Image) -> Word:
    x0, y0, x1, y1 = (edge - _MARGIN for edge in word.box)
    x0, y0 = min(max(x0, 0), image.width - 1), min(max(y0, 0), image.height - 1)
    return replace(word, box=(x0, y0, max(min(x1, image.width), x0 + 1), max(min(y1, image.height), y0 + 1)))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Tesseract's own threads make it slower, on one page and all the more on several at a time."""
    before = os.environ.get("OMP_THREAD_LIMIT")
    os.environ["OMP_THREAD_LIMIT"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_THREAD_LIMIT"]
        else:
            os.environ["OMP_THREAD_LIMIT"] = before


def _program(*arguments: str) -> str:
    try:
        import pytesseract
    except ImportError:
        raise DependencyError(f"pytesseract is not installed; run `{install('pytesseract')}`") from None
    command = [pytesseract.pytesseract.tesseract_cmd, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=60, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise DependencyError("the program tesseract is not installed; run `apt-get install tesseract-ocr`") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise DependencyError(f"the program tesseract does not run ({error}); install it again") from None
    return (done.stdout or done.stderr).decode("utf-8", "replace")


def _version() -> str:
    words = _program("--version").split()
    return words[1] if len(words) > 1 else "unknown"


def languages_installed() -> tuple[str, list[str]]:
    """The folder of Tesseract's languages, and their codes.

    Raises:
        DependencyError: the program or pytesseract is not installed.
    """
    head, *codes = _program("--list-langs").splitlines()
    return head.partition('"')[2].partition('"')[0], codes


def _vertical(languages: Sequence[str]) -> list[str]:
    """The languages' data for text that runs downward, as far as installed."""
    _, installed = languages_installed()
    twins = [language.removesuffix("_vert") + "_vert" for language in languages]
    return [twin for twin in dict.fromkeys(twins) if twin in installed]


def _check_languages(languages: Sequence[str]) -> None:
    _, installed = languages_installed()
    missing = [language for language in languages if language not in installed]
    if missing:
        packages = " ".join("tesseract-ocr-" + language.lower().replace("_", "-") for language in missing)
        raise DependencyError(f"Tesseract has no language {', '.join(missing)}; run `apt-get install {packages}`")
