"""The Records table: one row per record, as CSV with image paths or as Parquet with the crops inside.

A record may lack its image or its text. It is still a record.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from linkage.choices import Split, names
from linkage.dictionary import COLUMNS, RECORD_COLUMNS
from linkage.errors import InputError
from linkage.keys import file_state
from linkage.places import TABLE, no_table, remote, unwanted
from linkage.tables import plain, read_parquet, read_table, require_columns
from linkage.text import clean

WORD = pa.struct(
    [("text", pa.string()), ("confidence", pa.float32())] + [(edge, pa.int32()) for edge in ("x0", "y0", "x1", "y1")]
)
READING = pa.struct(
    [(name, pa.string()) for name in ("ocr_engine", "text", "text_raw")] + [("ocr_confidence", pa.float32())]
)
SCHEMA = pa.schema(
    [pa.field("record_id", pa.string(), nullable=False), ("source", pa.string()), ("source_sha256", pa.string())]
    + [(name, pa.int32()) for name in ("page", "page_width", "page_height")]
    + [(edge, pa.int32()) for edge in ("x0", "y0", "x1", "y1")]
    + [(name, pa.string()) for name in ("polygon", "direction", "text", "text_raw", "ocr_engine")]
    + [("ocr_confidence", pa.float32()), ("words", pa.list_(WORD)), ("readings", pa.list_(READING))]
    + [("crop", pa.binary())]
)  # fmt: skip
"""What ingest writes: `words` are the engine's words with its own confidence 0..1 and page pixels, `readings` what each
engine read where there are several, `crop` an encoded image."""

PROVENANCE = (
    "source",
    "source_sha256",
    "page",
    "x0",
    "y0",
    "x1",
    "y1",
    "polygon",
    "direction",
    "ocr_engine",
    "ocr_confidence",
)
LABELS = ("entity_id", "split", "role")
SPLITS = names(Split)
ROLES = ("exemplar", "query", "query_nomatch")
_BYTES_KEPT = 256_000_000  # of crops: a small table is read once, however often its records are looked at
_TEXT_COLUMNS = (
    "record_id",
    "source",
    "source_sha256",
    "polygon",
    "direction",
    "text",
    "text_raw",
    "ocr_engine",
    *LABELS,
)


def record_id(source_sha256: str, page: int, region: str) -> str:
    """Derive a stable id from the source's content hash, the page (from 1) and the region's description."""
    return "r" + hashlib.sha256(f"{source_sha256}:{page}:{region}".encode()).hexdigest()[:16]


class Records:
    """The records of one CSV or Parquet file.

    Attributes:
        path: the file.
        frame: one row per record, index 0..n-1, without `crop`, `words` and `readings`. `record_id` is unique; `text`,
            `entity_id`, `split`, `role` and `source` always exist (text columns hold "" where empty).
        failures: (record_id, reason) of images that could not be found; the record is kept without its image.
    """

    def __init__(
        self, path: Path, frame: pd.DataFrame, failures: list[tuple[str, str]], rows: np.ndarray | None = None
    ) -> None:
        self.path = path
        self.frame = frame
        self.failures = failures
        self._rows = rows  # rows of the file that these records are; None: all of them

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def open(cls, path: Path) -> Records:
        """Open and check a records table; crops stay on disk.

        Raises:
            InputError: missing, unreadable, no `record_id`, duplicate ids, a `split` or `role` that there is not, or
                an image path that leaves the folder of the CSV.
        """
        if path.suffix == ".parquet":
            frame, failures = _open_parquet(path), []
        else:
            frame = read_table(path, as_text=[name for name in COLUMNS if name not in RECORD_COLUMNS])
            require_columns(frame, ("record_id",), path)
            failures = _check_images(frame, path)
            frame["text_raw"] = frame.get("text", "")
        frame = _complete(frame)
        _check_ids(frame["record_id"], path)
        check_labels(frame, path)
        return cls(path, frame, failures)

    def take(self, rows: np.ndarray) -> Records:
        """The records at some rows (integers), in that order."""
        kept = rows if self._rows is None else self._rows[rows]
        return Records(self.path, self.frame.iloc[rows].reset_index(drop=True), self.failures, kept)

    def crop(self, row: int) -> bytes | None:
        """Encoded image of one record, or None where it has none.

        Of a Parquet file some row groups are kept in memory, 256 MB at most (or one, if it is larger): neighbours are
        fast.

        Raises:
            OSError: the image file of a CSV record cannot be read.
        """
        if self._images is not None:
            return _read_file(self.path, self._images[row])
        return self._groups.crop(row if self._rows is None else int(self._rows[row]))

    def crops(self, start: int, end: int) -> CropPlaces:
        """Where the crops of some neighbouring records lie."""
        path = self.path.absolute()
        if self._images is not None:
            return CropPlaces(path, tuple(self._images[start:end]))
        if self._rows is None:
            return CropPlaces(path, range(start, min(end, len(self))))
        return CropPlaces(path, tuple(self._rows[start:end].tolist()))

    def batches(self, size: int) -> Iterator[tuple[int, list[bytes | None]]]:
        """Yield (first row, encoded images) for every `size` rows in order, reading the file as it goes."""
        if self._images is not None or self._rows is not None:
            for start in range(0, len(self), size):
                yield start, [self.crop(row) for row in range(start, min(start + size, len(self)))]
            return
        with pq.ParquetFile(self.path) as file:
            start = 0
            columns = ["crop"] if "crop" in file.schema_arrow.names else ["record_id"]
            for batch in file.iter_batches(batch_size=size, columns=columns):
                crops = batch.column(0).to_pylist() if columns == ["crop"] else [None] * len(batch)
                yield start, crops
                start += len(batch)

    @cached_property
    def _images(self) -> list[str] | None:
        return None if self.path.suffix == ".parquet" else self.frame["image"].tolist()

    @cached_property
    def _groups(self) -> _RowGroups:
        return _RowGroups(self.path)


@dataclass(frozen=True)
class CropPlaces:
    """Where the crops of some records lie; it can be sent to another process and read there.

    Attributes:
        path: the records' file.
        places: rows of a Parquet file, or image files of a CSV relative to its folder, "" where there is none.
    """

    path: Path
    places: range | tuple[int, ...] | tuple[str, ...]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[bytes | OSError | None]:
        """Yield every encoded image, None where there is none, or why its file cannot be read.

        Raises:
            OSError: the table itself cannot be read.
        """
        groups = None if self.path.suffix != ".parquet" else _RowGroups(self.path)
        for place in self.places:
            if isinstance(place, str):
                try:
                    yield _read_file(self.path, place)
                except OSError as error:
                    yield error
            else:
                assert groups is not None
                yield groups.crop(place)

    def state(self) -> list[list[int] | None]:
        """What tells each file that would be read from a changed one: while it stays, so do the crops."""
        named = [self.path.parent / place for place in self.places if isinstance(place, str) and place]
        return list(map(file_state, named if self.path.suffix != ".parquet" else [self.path]))


class _RowGroups:
    """Crops of a Parquet file by row; the row groups that were last read are kept, up to a limit."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        self._there = "crop" in self._file.schema_arrow.names
        counts = [self._file.metadata.row_group(number).num_rows for number in range(self._file.num_row_groups)]
        self._ends = np.cumsum(counts, dtype=np.int64)
        self._kept: OrderedDict[int, pa.ChunkedArray] = OrderedDict()

    def crop(self, row: int) -> bytes | None:
        if not self._there:
            return None
        number = int(np.searchsorted(self._ends, row, side="right"))
        if number not in self._kept:
            self._kept[number] = self._file.read_row_group(number, columns=["crop"])["crop"]
            while len(self._kept) > 1 and sum(group.nbytes for group in self._kept.values()) > _BYTES_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        group = self._kept[number]
        crop: bytes | None = group[row - int(self._ends[number]) + len(group)].as_py()
        return crop


def _read_file(table: Path, name: str) -> bytes | None:
    return (table.parent / name).read_bytes() if name else None


def _open_parquet(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(no_table(path))
    try:
        frame = read_parquet(path, leave_out=("crop", "words", "readings"))
    except (OSError, ValueError) as error:
        said = f"{path}: not a readable Parquet file ({' '.join(str(error).split())[:200]})"
        raise InputError(unwanted(path, TABLE) or said) from None
    require_columns(frame, ("record_id",), path)
    return frame


def _complete(frame: pd.DataFrame) -> pd.DataFrame:
    for name in ("text", "source", "image", *LABELS):
        if name not in frame.columns:
            frame[name] = ""
    for name in {*_TEXT_COLUMNS, "image"} & set(frame.columns):
        frame[name] = np.array([plain(cell) for cell in frame[name]], dtype=object)
    frame["text"] = [clean(str(text)) for text in frame["text"]]
    return frame.reset_index(drop=True)


def _check_ids(ids: pd.Series, path: Path) -> None:
    if (ids == "").any():
        raise InputError(
            f"{path}: row {int((ids == '').to_numpy().argmax()) + 2} has no record_id; give every record one"
        )
    if ids.duplicated().any():
        first = ids[ids.duplicated()].iloc[0]
        raise InputError(f"{path}: record_id {first!r} stands {int((ids == first).sum())} times; ids must be unique")


def check_labels(table: pd.DataFrame, path: Path) -> None:
    """Refuse a `split` or a `role`, where the table has such a column, that is none of SPLITS or ROLES and not empty.

    Raises:
        InputError: there is one; the message names its record, or its row, and what is allowed.
    """
    for name, allowed in (("split", SPLITS), ("role", ROLES)):
        if name not in table.columns:
            continue
        wrong = ~table[name].fillna("").isin(["", *allowed]).to_numpy()
        if wrong.any():
            row = int(wrong.argmax())
            record = str(table["record_id"].iloc[row]) if "record_id" in table.columns else ""
            where = f"record {record!r}" if record else f"row {row + 2}"
            raise InputError(
                f"{path}: {name} {str(table[name].iloc[row])!r} of {where} ({int(wrong.sum())} rows) "
                f"is none of {', '.join(allowed)}; correct it, or leave the cell empty"
            )


def _check_images(frame: pd.DataFrame, path: Path) -> list[tuple[str, str]]:
    """Blank the images that are not there; refuse a path that leaves the CSV's folder."""
    if "image" not in frame.columns:
        return []
    failures = []
    root = path.parent.resolve()
    for row, name in enumerate(frame["image"]):
        if not name:
            continue
        try:
            inside = not PurePosixPath(name).is_absolute() and (root / name).resolve().is_relative_to(root)
            there = (root / name).is_file() and os.access(root / name, os.R_OK)
        except (OSError, ValueError, RuntimeError):  # a name that no file can have, or links that go in a circle
            inside, there = True, False
        if not inside:
            raise InputError(
                f"{path}: image {name!r} of record {frame['record_id'][row]!r} leaves the folder of the CSV"
            )
        if not there:
            reason = f"image {remote(name) or f'{name} is missing or must not be read'}"
            failures.append((str(frame["record_id"][row]), reason))
            frame.loc[row, "image"] = ""
    return failures
