"""The shipped line model's own reading as an OCR engine: crops to lines, lines to words by CTC."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from linkage.arrays import digest_file
from linkage.errors import ArtefactError, InputError
from linkage.ocr.calibration import mean_confidence, script_of
from linkage.ocr.ctc import LineOutput, pieces_of
from linkage.ocr.detector import DetectedLine, find_lines
from linkage.ocr.engine import Box, Word
from linkage.ocr.lines import LineStrip, cut_strip, find_strips, other_strips
from linkage.ocr.order import in_reading_order

MODEL = Path(__file__).parents[1] / "models" / "linkage-line"
_TURN = Image.Transpose.ROTATE_90
_TALL = 1.5  # times as high as wide: a line that runs downward
_EAST_ASIAN = ("jpn", "chi", "kor")
_PREFIX = "visual.trunk.reader."
_COLUMNS = 1024  # classified at a time: each has 18,710 classes
_DOUBTFUL = 0.9  # mean confidence below which a crop is cut into lines in other ways, too
_SURER = 0.03  # by how much the reading of another way must be surer to be taken


class Recogniser:
    """Reads crops with the recogniser inside the shipped model; the lines of a page are found by a text detector.

    Args:
        languages: Tesseract's codes; where none is East Asian, no East Asian character is read, and where one ends in
            `_vert`, lines of a page that are taller than wide run downward.
        seconds: time limit of a call.

    Raises:
        ArtefactError: the shipped model is not there.
    """

    def __init__(self, languages: Sequence[str], seconds: float) -> None:
        self.name = f"recogniser {_digest()[:8]}"
        self._vertical = any(language.endswith("_vert") for language in languages)
        self._east_asian = any(language.startswith(_EAST_ASIAN) for language in languages)
        self._seconds = seconds

    def read_page(self, image: Image.Image, cuts: Sequence[int] = ()) -> list[Word]:
        """Words of a page in reading order, each column between the `cuts` on its own.

        Raises:
            InputError: it took too long.
            DependencyError: the text detector is not installed.
        """
        end = time.monotonic() + self._seconds
        grey = image.convert("L")
        across: list[DetectedLine] = []
        down: list[DetectedLine] = []
        for line in find_lines(image):
            tall = self._vertical and line.bottom - line.top > _TALL * (line.right - line.left)
            (down if tall else across).append(line)
        words = in_reading_order(self._read([cut_strip(grey, line[:4], line.slope) for line in across], end), cuts)
        if down:
            turned = grey.transpose(_TURN)
            found = self._read([cut_strip(turned, _turned(line[:4], image.width), 0.0) for line in down], end)
            blocks = max((word.block for word in words), default=0)
            words += [_back(word, image.width, blocks) for word in in_reading_order(found)]
        return words

    def read_crops(self, images: Sequence[Image.Image], vertical: Sequence[bool] = ()) -> list[list[Word]]:
        """Words of each crop, line by line; one that runs downward is turned to the left, so that it runs rightward.

        The recogniser has learned to read lines that lie on their side: of drawn Japanese names it misread a tenth of
        what it did with upright characters put side by side.

        Raises:
            InputError: it took too long.
        """
        end = time.monotonic() + self._seconds
        downward = vertical or [False] * len(images)
        upright = [image.transpose(_TURN) if down else image for image, down in zip(images, downward, strict=True)]
        words = self._read_ways([find_strips(image) for image in upright], end)
        doubtful = [row for row, found in enumerate(words) if _sure(found) < _DOUBTFUL]
        others = [(row, way) for row in doubtful for way in other_strips(upright[row])]
        for (row, _), found in zip(others, self._read_ways([way for _, way in others], end), strict=True):
            if _sure(found) > _sure(words[row]) + _SURER:
                words[row] = found
        return [
            [_back(word, image.width) for word in found] if down else found
            for image, found, down in zip(images, words, downward, strict=True)
        ]

    def _read_ways(self, ways: Sequence[Sequence[LineStrip]], end: float) -> list[list[Word]]:
        """The words of crops that are cut into lines."""
        read = iter(self._read([strip for way in ways for strip in way], end))
        return [[word for _ in way for word in next(read)] for way in ways]

    def _read(self, strips: Sequence[LineStrip], end: float) -> list[list[Word]]:
        try:
            said = read_lines([strip.line for strip in strips], self._east_asian, end)
        except TimeoutError:
            limit = f"ingest.page_seconds = {self._seconds:g}"
            raise InputError(f"OCR took longer than {limit} allows") from None
        letters = _model(self._east_asian).letters
        return [
            [strip.word(piece) for piece in pieces_of(one, letters)] for strip, one in zip(strips, said, strict=True)
        ]


def _turned(box: Box, width: int) -> Box:
    """A box of a picture so wide in the picture turned to the left."""
    x0, y0, x1, y1 = box
    return y0, width - x1, y1, width - x0


def _back(word: Word, width: int, blocks: int = 0) -> Word:
    """A word of a picture turned to the left in the picture itself, so many blocks further on."""
    x0, y0, x1, y1 = word.box
    return replace(word, box=(width - y1, x0, width - y0, x1), block=blocks + word.block)


def _sure(words: Sequence[Word]) -> float:
    return mean_confidence(words) or 0.0


def read_lines(lines: Sequence[np.ndarray], east_asian: bool, end: float) -> list[LineOutput]:
    """What the recogniser says of lines, on one thread.

    Args:
        lines: uint8 (1, 48, W) each.
        east_asian: whether East Asian characters may be read.
        end: of the time allowed, by `time.monotonic`.

    Raises:
        TimeoutError: the time is up.
    """
    import torch

    from linkage.ocr.reader import batches_of_lines, one_thread

    model = _model(east_asian)
    found: list[LineOutput | None] = [None] * len(lines)
    with torch.inference_mode(), one_thread():
        for rows, batch in batches_of_lines(lines):
            if time.monotonic() > end:
                raise TimeoutError
            features, real = model.network(batch)
            said = _classify(model.network.classify, features[real])
            ends = np.cumsum(real.sum(dim=1).numpy())
            for row, *parts in zip(rows, *(np.split(part, ends[:-1]) for part in said), strict=True):
                found[row] = LineOutput(*parts)
    return [said for said in found if said is not None]


def _classify(classify: Any, features: Any) -> LineOutput:
    parts = []
    for some in features.split(_COLUMNS):
        chances = classify(some).softmax(dim=1)
        chance, best = chances.max(dim=1)
        parts.append((best.numpy(), chance.numpy(), chances[:, -1].numpy()))
    return LineOutput(*(np.concatenate(part) for part in zip(*parts, strict=True)))


class _Model(NamedTuple):
    network: Any
    letters: list[str]


@lru_cache(maxsize=2)
def _model(east_asian: bool) -> _Model:
    """The network, with no classes but those wanted, and the character of each; loaded once per process."""
    from safetensors import safe_open

    from linkage.ocr.reader import LineReader

    try:
        with safe_open(MODEL / "model.safetensors", "pt") as file:
            weights = {
                name.removeprefix(_PREFIX): file.get_tensor(name).float()
                for name in file.keys()  # noqa: SIM118 (no mapping)
                if name.startswith(_PREFIX)
            }
        characters = (MODEL / "vocab.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except OSError as error:
        raise ArtefactError(f"{MODEL}: the shipped model cannot be read ({error}); install linkage again") from None
    letters = ["", *characters[: len(weights["classify.bias"]) - 1]]
    wanted = [
        number for number, letter in enumerate(letters) if east_asian or not letter or script_of(letter) == "latin"
    ]
    for name in ("classify.weight", "classify.bias"):
        weights[name] = weights[name][wanted]
    network = LineReader(len(wanted))
    network.load_state_dict(weights)
    return _Model(network.eval(), [letters[number] for number in wanted])


@lru_cache(maxsize=1)
def _digest() -> str:
    try:
        return digest_file(MODEL / "model.safetensors")
    except OSError as error:
        raise ArtefactError(f"{MODEL}: the shipped model cannot be read ({error}); install linkage again") from None
