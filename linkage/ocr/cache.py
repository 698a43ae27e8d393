"""Readings kept on disk, so that the same crop is never read twice with the same engine and settings."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from linkage.errors import ConfigError
from linkage.ocr.engine import Engine, Word
from linkage.tables import replacing


class CachedEngine:
    """An engine that looks up first what it read before, in this run or another one.

    Every picture read is one small file, named after its pixels, the engine and the settings, and written atomically:
    any number of processes may share the folder, and one that is killed leaves nothing half written. What is damaged
    all the same is read anew.

    Args:
        engine: reads what is not there.
        settings: all that makes the engine read otherwise, its version aside.
        folder: made where it is not there.

    Raises:
        ConfigError: the folder cannot be made.
    """

    def __init__(self, engine: Engine, settings: str, folder: Path) -> None:
        self.name = engine.name
        self._engine = engine
        self._key = f"{engine.name}\0{settings}"
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"ingest.ocr_cache: {folder} cannot be made ({error.strerror}); choose another") from None

    def read_page(self, image: Image.Image, cuts: Sequence[int] = ()) -> list[Word]:
        """What the engine reads."""
        path = self._path(image, f"page {list(cuts)}")
        words = _kept(path)
        if words is None:
            words = self._engine.read_page(image, cuts)
            _keep(path, words)
        return words

    def read_crops(self, images: Sequence[Image.Image], vertical: Sequence[bool] = ()) -> list[list[Word]]:
        """What the engine reads; those not read before in one call."""
        downward = vertical or [False] * len(images)
        paths = [self._path(image, f"crop {down}") for image, down in zip(images, downward, strict=True)]
        found = [_kept(path) for path in paths]
        missing = [row for row, words in enumerate(found) if words is None]
        read = self._engine.read_crops([images[row] for row in missing], [downward[row] for row in missing])
        for row, words in zip(missing, read, strict=True):
            found[row] = words
            _keep(paths[row], words)
        return [words or [] for words in found]

    def _path(self, image: Image.Image, what: str) -> Path:
        digest = hashlib.sha256(f"{self._key}\0{what}\0{image.mode}\0{image.size}\0".encode())
        digest.update(image.tobytes())
        name = digest.hexdigest()
        return self._folder / name[:2] / f"{name[2:]}.json"


def _kept(path: Path) -> list[Word] | None:
    """The words in a file; None where there is none, or one that holds something else."""
    try:
        return [_word(*row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _word(text: Any, confidence: Any, box: Any, *place: Any) -> Word:
    """Raises TypeError or ValueError where the values are none of a word."""
    x0, y0, x1, y1 = map(int, box)
    block, paragraph, line = map(int, place)
    if not isinstance(text, str) or not 0 <= float(confidence) <= 1:
        raise ValueError
    return Word(text, float(confidence), (x0, y0, x1, y1), block, paragraph, line)


def _keep(path: Path, words: Sequence[Word]) -> None:
    rows = [[word.text, word.confidence, word.box, word.block, word.paragraph, word.line] for word in words]
    with contextlib.suppress(OSError):  # a full disk is found where results are written: what is kept here is none
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(rows), encoding="utf-8")
