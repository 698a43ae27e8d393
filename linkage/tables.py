"""The one reader and writer of tables: CSV that survives spreadsheets, its Parquet twin, the data dictionary."""

from __future__ import annotations

import csv
import io
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import pandas as pd

from linkage.errors import InputError, storage_error

SCHEMA_VERSION = 1


class Column(NamedTuple):
    """One entry of the data dictionary."""

    dtype: str  # text, integer, number or flag
    meaning: str


COLUMNS: dict[str, Column] = {
    "record_id": Column("text", "id of the record; from scans: derived from file content, page and region"),
    "source": Column("text", "file that the record was read from, relative to the input folder"),
    "source_sha256": Column("text", "SHA-256 of that file's bytes"),
    "page": Column("integer", "page of the source, counted from 1"),
    "page_width": Column("integer", "width of that page's picture in pixels"),
    "page_height": Column("integer", "height of that page's picture"),
    "x0": Column("number", "left edge of the region, pixels of the page at native resolution"),
    "y0": Column("number", "top edge of the region"),
    "x1": Column("number", "right edge of the region (exclusive)"),
    "y1": Column("number", "bottom edge of the region (exclusive)"),
    "unit": Column("text", "tables of boxes: px, % of the page's width and height, or pt of a PDF page"),
    "polygon": Column("text", "outline of a region that is no upright rectangle: x,y x,y ... in pixels of the page"),
    "direction": Column("text", "horizontal or vertical: how the text runs"),
    "text": Column("text", "reading of the region: NFC, white space collapsed"),
    "text_raw": Column("text", "reading exactly as the engine gave it"),
    "ocr_engine": Column("text", "engine and version that read the text; empty: the text was given"),
    "ocr_confidence": Column("number", "expected share of the text's characters that is right, 0..1; empty: unknown"),
    "confidence_low": Column("number", "lowest reading confidence of a bin of queries; empty: all, or unknown"),
    "confidence_high": Column("number", "highest reading confidence of the bin"),
    "image": Column("text", "CSV records: image file, relative to the CSV's folder"),
    "canvas_id": Column("text", "id of the IIIF canvas that the image shows"),
    "label": Column("text", "label of that canvas"),
    "manifest_id": Column("text", "id of its IIIF manifest"),
    "image_url": Column("text", "where the image came from"),
    "split": Column("text", "train, val or test; entities never cross splits"),
    "role": Column("text", "exemplar, query or query_nomatch, where the user said so"),
    "entity_id": Column("text", "id of the entity; in links: of the candidate, linked or not (see decision)"),
    "exemplar_id": Column("text", "record_id of the exemplar that stands for the entity"),
    "rank": Column("integer", "place of the candidate among the query's candidates, from 1"),
    "decision": Column(
        "text", "match, review (a person must decide) or no-match; candidates below rank 1 are always no-match"
    ),
    "tied": Column("integer", "entities that are as likely as the best, itself included; empty: the best is alone"),
    "in_set": Column("flag", "1: the candidate is of the set that holds the true entity; empty: no coverage was asked"),
    "probability": Column("number", "match probability 0..1, by the scorer named in the manifest"),
    "score": Column("number", "cosine of the pooled embeddings of record and exemplar, -1..1; the sum of its parts"),
    "image_score": Column("number", "part of `score` that comes from picture against picture"),
    "text_score": Column("number", "part of `score` that comes from text against text"),
    "cross_score": Column("number", "part of `score` that comes from picture against text, both ways"),
    "image_cosine": Column("number", "cosine of the two pictures' embeddings, -1..1; empty: one has no picture"),
    "text_cosine": Column("number", "cosine of the two texts' embeddings; empty: one has no text"),
    "cross_cosine": Column("number", "mean cosine of picture with text, both ways; empty: neither way is there"),
    "rarity_score": Column("number", "cosine of the texts' character n-grams, rare ones weighing most, 0..1"),
    "confidence": Column("number", "the lesser reading confidence of the two records, 0..1; 1 for a given text"),
    "length": Column("number", "of the shorter text of the two: n letters are n / (n + 8)"),
    "same_page": Column("number", "1: both records stand on one page; empty: not known"),
    "same_source": Column("number", "1: both records are of one source file; empty: not known"),
    "string_score": Column("number", "normalised Levenshtein similarity of the texts' letters, 0..1; empty: no text"),
    "likelihood": Column(
        "number",
        "how likely one record's letters are, given all that was seen of the other's crop: 1 + log(p) / log(1000) of a "
        "chance p per letter, the mean of both ways; 1: nothing is likelier, 0: a thousandth or less",
    ),
    "partial_score": Column(
        "number", "similarity of the shorter text, of n letters, to the best part of the other, times n / (n + 2), 0..1"
    ),
    "margin": Column("number", "probability minus that of the best candidate of another entity; empty: there is none"),
    "threshold": Column("number", "match probability from which a candidate is a match (>=); empty: none can be"),
    "review_threshold": Column("number", "match probability from which it is a review, if it is no match"),
    "threshold_source": Column("text", "fitted (on labelled rows), given (by the user) or default"),
    "exemplar_text": Column("text", "text of the exemplar"),
    "reading": Column("text", "the model's own reading of the crop; empty: no crop, or a model that does not read"),
    "reading_confidence": Column("number", "confidence of that reading, 0..1; empty: there is none"),
    "exemplar_reading": Column("text", "the model's own reading of the exemplar's crop"),
    "exemplar_source": Column("text", "file that the exemplar was read from"),
    "exemplar_page": Column("integer", "page of that file"),
    "origin": Column("text", "how the record came to its entity: exemplar, linked, clustered or singleton"),
    "membership": Column("number", "match probability 0..1 of the record with its entity's exemplar; 1 for exemplars"),
    "noise": Column("flag", "1: clustering found nothing like the record, so it is an entity of its own"),
    "is_exemplar": Column("flag", "1: the record stands for its entity"),
    "n_records": Column("integer", "records of the entity; in a crosswalk: records that went this way"),
    "n_sources": Column("integer", "distinct source files of the entity's records"),
    "min_score": Column("number", "lowest pooled cosine of a member to the exemplar; empty for one record"),
    "status": Column("text", "read, or failed: the page (without a page: the whole file) was set aside"),
    "records": Column("integer", "records that the page gave"),
    "width": Column("integer", "width of the page in pixels, as decoded or rendered; empty: it was not"),
    "height": Column("integer", "height of the page in pixels"),
    "rotation": Column("integer", "degrees, clockwise, by which the page was turned before it was read"),
    "skew": Column("number", "degrees by which its lines then fell to the right, taken off before it was read"),
    "duplicate": Column(
        "text",
        "page that was met before: in the same file (file), as the same pixels (page), or the same sheet scanned again "
        "(near); empty: it was not",
    ),
    "duplicate_of": Column("text", "where it was met first, as source:page"),
    "reason": Column("text", "why the input was set aside"),
    "old_entity_id": Column("text", "the entity of the records after the first of two runs; empty: none yet"),
    "new_entity_id": Column("text", "the entity of the same records after the second run; empty: none any more"),
    "relation": Column(
        "text", "what became of them: same, merged, split, moved, created, absorbed or retired (see the README)"
    ),
    "since_run": Column("integer", "run of the ledger that brought the record to this entity"),
}  # fmt: skip

_ESCAPED = ("=", "+", "-", "@", "\t", "\r", "'")


def escape_cell(text: str) -> str:
    """Make a cell harmless for spreadsheets: a leading ' before = + - @ tab, CR and '. Undone by `unescape_cell`."""
    return "'" + text if text.startswith(_ESCAPED) else text


def unescape_cell(text: str) -> str:
    """Undo `escape_cell`."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_ESCAPED) else text


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the name `path` when the block ends well, else it is removed.

    Raises:
        StorageError: the disk is full, or must not be written to.
    """
    temporary = _temporary(path)
    with _on_disk(path):
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; else as `replacing`."""
    temporary = _temporary(path)
    with _on_disk(path):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            yield temporary
            shutil.rmtree(path, ignore_errors=True)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """A name that no other process gives, on this machine or another one."""
    return path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.tmp")


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except Exception as error:
        if no_room := storage_error(error, path):
            raise no_room from error
        raise


def write_table(table: pd.DataFrame, path: Path, *, twin: bool = False) -> None:
    """Write a table atomically; the suffix decides: .parquet, else CSV with escaped cells.

    Args:
        table: text columns hold str or None; None and NaN become empty cells.
        path: file to write or replace.
        twin: also write the table as Parquet, unescaped, beside the CSV.
    """
    with writing_table(path, twin=twin) as write:
        write(table)


@contextmanager
def writing_table(path: Path, *, twin: bool = False) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Write a table a part at a time, as `write_table` writes it whole; it appears when the block ends well.

    Yields:
        What writes the next rows. Every part has the columns of the first and their types; a part is a row group.
    """
    with ExitStack() as stack:  # which ends with what was entered last: the twin is there before the CSV
        sinks = [stack.enter_context(_writing_csv(path))] if path.suffix != ".parquet" else []
        if twin or not sinks:
            sinks.append(stack.enter_context(_writing_parquet(path.with_suffix(".parquet"))))

        def write(rows: pd.DataFrame) -> None:
            for sink in sinks:
                sink(rows)

        yield write


@contextmanager
def _writing_parquet(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(path) as temporary, ExitStack() as stack:
        writer: pq.ParquetWriter | None = None

        def write(rows: pd.DataFrame) -> None:
            nonlocal writer
            table = pa.Table.from_pandas(rows, schema=writer and writer.schema, preserve_index=False)
            writer = writer or stack.enter_context(pq.ParquetWriter(temporary, table.schema))
            writer.write_table(table)

        yield write


@contextmanager
def _writing_csv(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        lines = _Lines(file)

        def write(rows: pd.DataFrame) -> None:
            cells = rows.copy()
            for name in cells.columns:
                if not pd.api.types.is_numeric_dtype(cells[name]):
                    cells[name] = [None if pd.isna(v) else escape_cell(str(v)) for v in cells[name]]
            begun = file.tell() > 0
            cells.to_csv(lines, index=False, header=not begun, lineterminator=_Lines.END, float_format="%.6g")

        yield write


class _Lines(io.TextIOBase):
    """Text of which every line ends in a line feed alone.

    Python's writer quotes a cell that holds a character of the line's end, so that it must be told of a carriage
    return: unquoted, readers would see a new row in it.
    """

    END = "\r\n"

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, line: str) -> int:
        """Write what Python's writer gives: one line at a time."""
        return self._file.write(line.removesuffix(self.END) + "\n")


def read_table(path: Path, as_text: Sequence[str] = (), columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a CSV or Parquet table; CSV cells are unescaped and typed by the data dictionary.

    Unknown columns, and those named in `as_text`, stay text, exactly as written ("001", "NA" and "null" included);
    empty text is "". With `columns`, only these are given back, and of Parquet only these are read.

    Raises:
        InputError: missing, unreadable, or a typed column holds something else.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        if path.suffix == ".parquet":
            return read_parquet(path, columns=columns)
        table = _read_csv(path, as_text)
        return table if columns is None else table[list(columns)]
    except KeyError as error:
        raise InputError(f"{path}: {_one_line(error)}") from None
    except (OSError, ValueError, csv.Error, pd.errors.ParserError) as error:
        raise InputError(f"{path}: not a readable table ({_one_line(error)})") from None


def read_parquet(path: Path, leave_out: Sequence[str] = (), columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file, but for some of its columns, or these columns alone.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names if columns is None else columns
        table = pq.read_table(path, columns=[name for name in names if name not in leave_out])
        table.validate(full=True)  # texts that are no UTF-8 would come out later, anywhere
    except pa.ArrowException as error:
        raise ValueError(str(error)) from None
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _read_csv(path: Path, as_text: Sequence[str]) -> pd.DataFrame:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file, strict=True))
    if not rows:
        raise ValueError("it is empty")
    header, *body = rows
    if len(set(header)) < len(header):
        raise ValueError("a column name stands twice in the header")
    body = [row for row in body if row]
    for number, row in enumerate(body, start=2):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(header)}")
    table = pd.DataFrame(body, columns=header, dtype=object).map(unescape_cell)
    for name in header:
        known = COLUMNS.get(name)
        if known and known.dtype != "text" and name not in as_text:
            table[name] = _numbers(table[name], name)
    return table


def _numbers(cells: pd.Series, name: str) -> pd.Series:
    try:
        numbers = pd.to_numeric(cells.where(cells != "", None))
    except (ValueError, TypeError):
        raise ValueError(f"column {name} must hold numbers") from None
    kind = COLUMNS[name].dtype
    if kind == "number":
        return numbers.astype(float)
    try:
        with np.errstate(invalid="ignore"):  # of what is beyond an integer
            return numbers.astype("Int64")
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"column {name} must hold whole numbers") from None


def require_columns(table: pd.DataFrame, names: tuple[str, ...], path: Path) -> None:
    """Raise InputError naming every column of `names` that the table lacks."""
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise InputError(f"{path}: column {', '.join(missing)} is missing; it has {', '.join(table.columns)}")


def write_dictionary(path: Path, tables: dict[str, pd.DataFrame]) -> None:
    """Write the data dictionary (`columns.md`) of the exported tables: every column that occurs, explained."""
    lines = [
        "# Data dictionary",
        "",
        f"Table schema version {SCHEMA_VERSION}. In the CSV files a cell that begins with one of `= + - @ '`, tab or",
        "carriage return has an extra `'` in front, so that no spreadsheet runs it: drop that one character to get",
        "the text back. The Parquet twins hold the text as it is.",
    ]
    for name, table in tables.items():
        lines += ["", f"## {name} ({len(table)} rows)", "", "| column | type | meaning |", "|---|---|---|"]
        for column in table.columns:
            known = COLUMNS.get(column) or _own_column(column, table)
            lines.append(f"| `{column}` | {known.dtype} | {known.meaning} |")
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _own_column(name: str, table: pd.DataFrame) -> Column:
    """What a column is that the user's table or settings brought."""
    if name.endswith("_score") and "probability" in table:
        return Column("number", f"how alike `{name.removesuffix('_score')}` is, 0..1; empty: one of the two is missing")
    return Column("text", "the user's own column, untouched")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
