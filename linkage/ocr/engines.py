"""The engines that a configuration names, and the reading to believe where there are several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from linkage.config import IngestConfig
from linkage.ocr.cache import CachedEngine
from linkage.ocr.calibration import calibrated
from linkage.ocr.engine import Engine, NoEngine, Word
from linkage.ocr.recogniser import Recogniser
from linkage.ocr.tesseract import TesseractEngine

BEST = ("tesseract", "recogniser")
"""What `best` stands for: the surer of two readings has fewer errors than either engine's, on receipts and on pages of
old directories. Tesseract goes first: it finds regions without rapidocr."""


@dataclass(frozen=True)
class Reading:
    """What one engine read in one region.

    Attributes:
        engine: its name and version.
        words: in reading order.
        confidence: expected share of the characters that is right, 0..1 (see `calibrated`); None without words.
    """

    engine: str
    words: tuple[Word, ...]
    confidence: float | None

    @property
    def text_raw(self) -> str:
        """The words joined by spaces."""
        return " ".join(word.text for word in self.words)


class Engines:
    """Several engines as one: the first one finds what is on a page, every one of them reads each region of it.

    Attributes:
        each: the engines, at least one.
        name: their names.
    """

    def __init__(self, each: Sequence[Engine]) -> None:
        self.each = tuple(each)
        self.name = "+".join(engine.name for engine in each)

    def read_page(self, image: Image.Image, cuts: Sequence[int] = ()) -> list[Word]:
        """Words of a page by the first engine."""
        return self.each[0].read_page(image, cuts)

    def read_crops(self, images: Sequence[Image.Image], vertical: Sequence[bool] = ()) -> list[list[Word]]:
        """Words of each crop by the first engine."""
        return self.each[0].read_crops(images, vertical)


def reading(engine: Engine, words: Sequence[Word]) -> Reading:
    """The words that an engine read as a reading."""
    return Reading(engine.name, tuple(words), calibrated(engine.name, words))


def surest(readings: Sequence[Reading]) -> Reading:
    """The reading with the highest calibrated confidence; of equal ones the first."""
    return max(readings, key=lambda one: -1.0 if one.confidence is None else one.confidence)


def make_engine(config: IngestConfig) -> Engines:
    """The engines that a configuration names.

    Raises:
        DependencyError: one is not installed.
        ConfigError: the cache's folder cannot be made.
    """
    return Engines([_one(name, config) for name in engine_names(config)])


def engine_names(config: IngestConfig) -> Sequence[str]:
    """The engines that a configuration names, each on its own."""
    return BEST if config.ocr == "best" else config.ocr.split("+")


def _one(name: str, config: IngestConfig) -> Engine:
    engine: Engine
    if name in ("file", "none"):  # what a file says is no engine's work
        return NoEngine()
    if name == "recogniser":
        engine = Recogniser(config.languages, config.page_seconds)
    else:
        engine = TesseractEngine(config.languages, config.psm, config.page_seconds)
    if config.ocr_cache:
        return CachedEngine(engine, f"{config.languages} {config.psm}", config.ocr_cache)
    return engine
