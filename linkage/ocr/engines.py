"""The engines that a configuration names."""

from __future__ import annotations

from linkage.config import IngestConfig
from linkage.ocr.engine import Engine, NoEngine
from linkage.ocr.tesseract import TesseractEngine


def make_engine(config: IngestConfig) -> Engine:
    """The engine that a configuration names.

    Raises:
        DependencyError: it is not installed.
    """
    if config.ocr in ("file", "none"):  # what a file says is no engine's work
        return NoEngine()
    return TesseractEngine(config.languages, config.psm, config.page_seconds)
