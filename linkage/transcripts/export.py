"""Records go out as ALTO, PAGE XML or hOCR: one file per page, beside which their images may lie."""

from __future__ import annotations

import datetime
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from linkage import __version__
from linkage.choices import either
from linkage.errors import UsageError
from linkage.layout.regions import joined
from linkage.records import Records
from linkage.scans.names import safe_name
from linkage.tables import replacing, require_columns
from linkage.transcripts.alto import write_alto
from linkage.transcripts.hocr import write_hocr
from linkage.transcripts.model import FloatBox, Point, TranscriptBlock, TranscriptLine, TranscriptPage, TranscriptPiece
from linkage.transcripts.pagexml import write_page_xml

FORMATS: dict[str, tuple[str, Callable[[TranscriptPage, str, str, str], Any]]] = {
    "alto": (".xml", write_alto),
    "page": (".xml", write_page_xml),
    "hocr": (".hocr", write_hocr),
}
"""Suffix and writer of each format."""

_NEAR = 200  # words of a line that the next word is compared with: no line has more
_EDGES = ["x0", "y0", "x1", "y1"]


def export_records(records: Path, out: Path, form: str, *, overwrite: bool = False) -> dict[str, int]:
    """Write the records of each page as blocks of one file, in the table's order.

    Files are called as the sources, in the same folders; those of a source with several pages end in _0001, _0002, ....
    Where two sources of a folder differ in their suffix only, they keep it. Laid beside the images they are what
    `ingest.ocr: file` with `regions: blocks` reads: record_id, box, polygon, direction, text, words and confidence come
    back as they were, the confidence to four digits. Words that do not make up the text of their record are left out,
    and a text of one word without a box of its own becomes a word in ALTO.

    Args:
        records: table of records; those without page and box are left out.
        out: folder; nothing is written outside of it.
        form: alto, page or hocr.
        overwrite: replace files that exist.

    Returns:
        Counts: pages, records, left_out, without_page_size (pages whose size is the hull of their records).

    Raises:
        InputError: the table is invalid or has no boxes.
        UsageError: there is no such format, a file exists, or a link in the folder leads out of it.
    """
    from lxml import etree

    if form not in FORMATS:
        raise UsageError(f"--format {form}: must be {either(list(FORMATS))}")
    suffix, write = FORMATS[form]
    opened = Records.open(records)
    require_columns(opened.frame, ("page", *_EDGES), records)
    placed = _placed(opened.frame)
    pages: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row, source, page in zip(placed.index, placed["source"], placed["page"], strict=True):
        pages[source, page].append(row)
    paths = _paths(list(pages), out, suffix)
    for path in paths.values():
        if not path.parent.resolve().is_relative_to(out.resolve()):
            raise UsageError(f"{path}: leads out of {out} by a link; choose another folder")
        if path.exists() and not overwrite:
            raise UsageError(f"{path}: exists already; give --overwrite to replace it, or another --out")
    words = _Words(records)
    created = _created(records)
    unsized = 0
    for (source, page), rows in pages.items():
        frame = placed.loc[rows]
        width, height, known = _size(frame)
        unsized += not known
        cells: list[dict[str, Any]] = frame.to_dict("records")  # type: ignore[assignment]
        blocks = tuple(_block(row, words.of(number)) for number, row in zip(rows, cells, strict=True))
        root = write(TranscriptPage(width, height, blocks), Path(source).name, _creator(frame), created)
        with replacing(paths[source, page]) as temporary:
            temporary.write_bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8"))
    counts = {"pages": len(pages), "records": len(placed), "left_out": len(opened) - len(placed)}
    return counts | {"without_page_size": unsized}


class _Words:
    """The words of each record, by its row; none where the table has none."""

    def __init__(self, records: Path) -> None:
        has_words = records.suffix == ".parquet" and "words" in pq.read_schema(records).names
        self._column = pq.read_table(records, columns=["words"])["words"] if has_words else None

    def of(self, row: int) -> list[dict[str, Any]]:
        return (self._column[row].as_py() if self._column is not None else None) or []


def _placed(frame: pd.DataFrame) -> pd.DataFrame:
    """The records that have a source, a page and a box."""
    numbers = frame[["page", *_EDGES]].apply(pd.to_numeric, errors="coerce").astype(float)
    sound = np.isfinite(numbers).all(axis=1) & (numbers["x1"] > numbers["x0"]) & (numbers["y1"] > numbers["y0"])
    sound &= (frame["source"] != "") & (numbers["page"] >= 1) & (numbers[_EDGES] >= 0).all(axis=1)
    placed: pd.DataFrame = frame.assign(**numbers)[sound].astype({"page": int})
    return placed


def _paths(pages: Sequence[tuple[str, int]], out: Path, suffix: str) -> dict[tuple[str, int], Path]:
    """A file for each source and page; no two are the same, also where capitals and small letters are."""
    parts = {source: [safe_name(part) for part in source.split("/") if part] or ["_"] for source, _ in pages}
    stems = {source: [*named[:-1], Path(named[-1]).stem] for source, named in parts.items()}
    shared = Counter("/".join(stem).lower() for stem in stems.values())
    last: dict[str, int] = defaultdict(int)
    for source, page in pages:
        last[source] = max(last[source], page)
    paths: dict[tuple[str, int], Path] = {}
    taken: set[str] = set()
    for source, page in pages:
        named = parts[source] if shared["/".join(stems[source]).lower()] > 1 else stems[source]
        number = f"_{page:04}" if last[source] > 1 else ""
        name = "/".join(named) + number
        while name.lower() in taken:
            name += "_"
        taken.add(name.lower())
        paths[source, page] = out / (name + suffix)
    return paths


def _size(frame: pd.DataFrame) -> tuple[float, float, bool]:
    """Width and height of a page, and whether they are known rather than the hull of its records."""
    hull = float(frame["x1"].max()), float(frame["y1"].max())
    if {"page_width", "page_height"} <= set(frame.columns):
        width, height = (pd.to_numeric(frame[name], errors="coerce").max() for name in ("page_width", "page_height"))
        if width >= hull[0] and height >= hull[1]:
            return float(width), float(height), True
    return *hull, False


def _block(row: dict[str, Any], words: list[dict[str, Any]]) -> TranscriptBlock:
    box: FloatBox = (row["x0"], row["y0"], row["x1"], row["y1"])
    vertical = row.get("direction") == "vertical"
    sure = row.get("ocr_confidence")
    confidence = None if sure is None or pd.isna(sure) else float(sure)
    raw = row.get("text_raw") or ""
    text = raw if joined(raw) == row["text"] else row["text"]
    pieces = [_word(word) for word in words]
    if joined(" ".join(piece.text for piece in pieces)) != row["text"]:
        pieces = []
    if pieces:
        lines = [TranscriptLine(_text(line), _hull(line), words=tuple(line)) for line in _lines(pieces, vertical)]
    else:
        lines = [TranscriptLine(text, box, confidence=confidence)] if text else []
    return TranscriptBlock(
        text=text,
        box=box,
        polygon=_polygon(row.get("polygon") or ""),
        confidence=confidence,
        vertical=vertical,
        record_id=row["record_id"],
        lines=tuple(lines),
    )


def _word(word: dict[str, Any]) -> TranscriptPiece:
    box = (float(word["x0"]), float(word["y0"]), float(word["x1"]), float(word["y1"]))
    return TranscriptPiece(word["text"] or "", box, confidence=word["confidence"])


def _lines(words: list[TranscriptPiece], vertical: bool) -> Iterator[list[TranscriptPiece]]:
    """Words in their order, cut where one stands beyond the line so far: below it, or to its left if it runs down."""
    line: list[TranscriptPiece] = []
    spans: list[FloatBox] = []
    for word in words:
        span = _span(word, vertical)
        if line and _begins_line(span, spans):
            yield line
            line, spans = [], []
        line.append(word)
        spans.append(span)
    yield line


def _span(word: TranscriptPiece, vertical: bool) -> FloatBox:
    """A word's box as if its line ran to the right and the next one came below."""
    x0, y0, x1, y1 = word.box or (0.0, 0.0, 0.0, 0.0)
    return (y0, -x1, y1, -x0) if vertical else (x0, y0, x1, y1)


def _begins_line(span: FloatBox, line: list[FloatBox]) -> bool:
    """Whether a word stands beyond the line's word that is nearest to it along the line, which may slope."""
    near = line[-_NEAR:]
    gap, nearest = min((max(other[0] - span[2], span[0] - other[2]), other) for other in near)
    beyond = (span[1] + span[3]) / 2 > nearest[3]
    turns_back = span[0] < line[-1][0] or gap < 0
    return (beyond and turns_back) or span[1] >= max(other[3] for other in near)


def _hull(words: list[TranscriptPiece]) -> FloatBox:
    left, top, right, bottom = zip(*(word.box for word in words if word.box), strict=True)
    return min(left), min(top), max(right), max(bottom)


def _text(words: list[TranscriptPiece]) -> str:
    return " ".join(word.text for word in words)


def _polygon(written: str) -> tuple[Point, ...]:
    """The outline in a record's cell; none where it is not one."""
    points = [(float(x), float(y)) for x, y in re.findall(r"(\d{1,7}),(\d{1,7})(?:\s|$)", written, re.ASCII)]
    return tuple(points) if len(points) >= 3 else ()


def _creator(frame: pd.DataFrame) -> str:
    """The engine that read the page, by which its confidences are known again; ourselves where there were several."""
    read = {name.split(":")[-1] for name in frame.get("ocr_engine", pd.Series(dtype=str)) if name}
    return str(read.pop()) if len(read) == 1 else f"linkage {__version__}"


def _created(records: Path) -> str:
    """When the records were written: the same table gives the same files."""
    return datetime.datetime.fromtimestamp(records.stat().st_mtime, datetime.UTC).isoformat(timespec="seconds")
