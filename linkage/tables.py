"""The one reader and writer of tables: CSV that survives spreadsheets, its Parquet twin, the data dictionary."""

from __future__ import annotations

import csv
import io
import math
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from linkage.dictionary import COLUMNS, SCHEMA_VERSION, column_of
from linkage.errors import InputError, storage_error
from linkage.places import TABLE, no_table, unwanted

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_ESCAPED = ("=", "+", "-", "@", "\t", "\r", "'")
_NEGATIVE = re.compile(r"-\d+(\.\d+)?([eE][-+]?\d+)?", re.ASCII)


def escape_cell(text: str) -> str:
    """Make a cell harmless for spreadsheets: a leading ' before = + - @ tab, CR and '. Undone by `unescape_cell`.

    A negative number is no formula and stays as it is.
    """
    return "'" + text if text.startswith(_ESCAPED) and not _NEGATIVE.fullmatch(text) else text


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
    """Yield an empty temporary folder beside `path`; else as `replacing`.

    What was there is renamed aside and removed last: killed in between, the next writer finds it there, see `restored`.
    """
    temporary, aside = _temporary(path), _aside(path)
    with _on_disk(path):
        restored(path)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            yield temporary
            if path.exists():
                path.rename(aside)
            temporary.rename(path)
            shutil.rmtree(aside, ignore_errors=True)
        finally:
            restored(path)
            shutil.rmtree(temporary, ignore_errors=True)


def restored(path: Path) -> None:
    """Bring back a folder that was renamed aside by a call that died before the new one took its place."""
    aside = _aside(path)
    if aside.exists():
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(path)


def _aside(path: Path) -> Path:
    place = Path(os.path.abspath(path))  # noqa: PTH100 - "." has no name, and links stay links
    return place.with_name(f".{place.name}.replaced")


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
            cells = {name: _cells(rows[name], rows.columns) for name in rows.columns}
            begun = file.tell() > 0
            table = pd.DataFrame(cells, index=rows.index, dtype=object)
            table.columns = pd.Index([escape_cell(str(name)) for name in table.columns])
            table.to_csv(lines, index=False, header=not begun, lineterminator=_Lines.END)

        yield write


def plain(cell: Any) -> str:
    """A cell as text, "" where it is empty; whole numbers without decimals, as ids are written.

    A column of integers with an empty one among them often holds fractions.
    """
    if pd.api.types.is_scalar(cell) and pd.isna(cell):
        return ""
    whole = isinstance(cell, float | np.floating | Decimal) and math.isfinite(cell) and cell == int(cell)
    return str(int(cell) if whole else cell)


def as_written(values: pd.Series) -> list[str | None]:
    """The cells of a column as their owner would write them; None where one is empty.

    A fraction has the fewest digits that give it back, at its own precision; a whole number that is kept as one has no
    decimals.
    """
    cells = values.to_numpy() if isinstance(values.dtype, np.dtype) and values.dtype.kind == "f" else values
    return [None if pd.api.types.is_scalar(cell) and pd.isna(cell) else str(cell) for cell in cells]


def _cells(values: pd.Series, columns: Collection[str]) -> list[str | None]:
    """The cells of a column of a table with these columns: what Linkage measured is rounded, and nothing else is."""
    if not pd.api.types.is_numeric_dtype(values):
        return [None if cell is None else escape_cell(cell) for cell in as_written(values)]
    column = column_of(str(values.name), columns)
    if not pd.api.types.is_float_dtype(values) or column.dtype == "text":
        return as_written(values)
    write = "{:.6g}".format if column.dtype == "number" and column.measured else plain
    return [None if pd.isna(cell) else write(cell) for cell in values]


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
        raise InputError(no_table(path))
    try:
        if path.suffix == ".parquet":
            return read_parquet(path, columns=columns)
        table = _read_csv(path, as_text)
        return table if columns is None else table[list(columns)]
    except KeyError as error:
        raise InputError(f"{path}: {_one_line(error)}") from None
    except (OSError, ValueError, csv.Error, pd.errors.ParserError) as error:
        raise _unreadable(path, error) from None


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
    return _frame(table)


def _frame(table: pa.Table | pa.RecordBatch, gaps: Collection[str] | None = None) -> pd.DataFrame:
    """A table in pandas, where a column of integers with empty cells would come out as fractions.

    That is what becomes of Linkage's own; the user's, and ids, stay integers (Int64 or UInt64).

    Args:
        table: of Arrow.
        gaps: columns of integers that have empty cells, be it elsewhere; None: those that have one here.
    """
    import pyarrow as pa

    frame: pd.DataFrame = table.to_pandas()
    if gaps is None:
        integers = [field.name for field in table.schema if pa.types.is_integer(field.type)]
        gaps = [name for name in integers if table[name].null_count]
    for name in gaps:
        kind = table.schema.field(name).type
        if column_of(name, table.schema.names).dtype == "text":
            whole = pd.UInt64Dtype() if pa.types.is_unsigned_integer(kind) else pd.Int64Dtype()
            frame[name] = table[name].to_pandas(types_mapper={kind: whole}.get)
        else:
            frame[name] = frame[name].astype("float64")
    return frame


def table_parts(path: Path, rows: int = 65_536) -> Iterator[pd.DataFrame]:
    """The rows of a Parquet file, so many at a time; at least one part, and a column has one type in all of them.

    Raises:
        InputError: missing or unreadable.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise InputError(no_table(path))
    try:
        with pq.ParquetFile(path) as file:
            gaps = _integers_with_gaps(file)
            for batch in file.iter_batches(rows) if file.metadata.num_rows else [file.read()]:
                batch.validate(full=True)
                yield _frame(batch, gaps)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _unreadable(path, error) from None


def _integers_with_gaps(file: pq.ParquetFile) -> set[str]:
    """Columns of integers and empty cells."""
    import pyarrow as pa

    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    parts = [group.column(place) for group in groups for place in range(group.num_columns)]
    gaps = {one.path_in_schema for one in parts if one.statistics is None or one.statistics.null_count != 0}
    return {field.name for field in file.schema_arrow if pa.types.is_integer(field.type) and field.name in gaps}


def _read_csv(path: Path, as_text: Sequence[str]) -> pd.DataFrame:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file, strict=True))
    if not rows:
        raise ValueError("it is empty")
    header, *body = rows
    header = [unescape_cell(name) for name in header]
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


def write_dictionary(path: Path, tables: Mapping[str, tuple[Sequence[str], int]]) -> None:
    """Write the data dictionary (`columns.md`) of exported tables, given by their columns and number of rows."""
    lines = [
        "# Data dictionary",
        "",
        f"Table schema version {SCHEMA_VERSION}. In the CSV files a cell that begins with one of `= + - @ '`, tab or",
        "carriage return, and is no negative number, has an extra `'` in front, so that no spreadsheet runs it: drop",
        "that one character to get the text back. Numbers that Linkage measured have six digits there, your own all",
        "that they came with. The Parquet twins hold text and numbers as they are.",
    ]
    for name, (columns, rows) in tables.items():
        lines += ["", f"## {name} ({rows} rows)", "", "| column | type | meaning |", "|---|---|---|"]
        for column in columns:
            known = column_of(column, columns)
            lines.append(f"| `{_in_a_cell(column)}` | {known.dtype} | {known.meaning} |")
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _in_a_cell(name: str) -> str:
    """A column's name, which is its owner's, between backticks in a table of Markdown."""
    return " ".join(name.split()).replace("`", "'").replace("|", "\\|")


def _unreadable(path: Path, error: BaseException) -> InputError:
    return InputError(unwanted(path, TABLE) or f"{path}: not a readable table ({_one_line(error)})")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
