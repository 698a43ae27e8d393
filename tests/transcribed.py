"""Transcripts written on the fly, through the project's own writers."""

from __future__ import annotations

from pathlib import Path

from lxml import etree

from linkage.transcripts.export import FORMATS
from linkage.transcripts.model import (
    TranscriptBlock,
    TranscriptLine,
    TranscriptPage,
    TranscriptPiece,
    block_of,
    line_of,
)


def block(
    text: str, top: float = 10, *, left: float = 10, tags: tuple[str, ...] = (), record_id: str = ""
) -> TranscriptBlock:
    """A block with a line for each line of the text, 20 units high, and words 40 units wide."""
    lines = []
    for number, written in enumerate(text.split("\n")):
        y = top + 30 * number
        words = tuple(
            TranscriptPiece(word, (left + 50 * n, y, left + 50 * n + 40, y + 20), confidence=0.5)
            for n, word in enumerate(written.split(" "))
        )
        lines.append(line_of(TranscriptLine(words=words)))
    return block_of(TranscriptBlock(lines=tuple(lines), tags=tags, record_id=record_id))


def write(path: Path, *blocks: TranscriptBlock, size: tuple[float, float] = (400, 300), form: str = "page") -> None:
    """A transcript of one page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    root = FORMATS[form][1](TranscriptPage(*size, blocks), "scan.png", "a hand 1", "2020-01-01T00:00:00")
    path.write_bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8"))
