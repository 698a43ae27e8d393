"""Mend lines that the OCR engine ran across the columns of a page."""

from __future__ import annotations

from collections.abc import Sequence

from linkage.ingest.ocr import Word


def split_at_gutters(lines: Sequence[Sequence[Word]]) -> list[list[Word]]:
    """Placeholder."""
    return [list(line) for line in lines]
