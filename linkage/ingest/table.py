"""Records that the user already has, as a table of texts and pictures: checked, read where text is missing, packed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from linkage.arrays import digest_file
from linkage.config import IngestConfig
from linkage.errors import InputError
from linkage.ingest.merge import failures_path
from linkage.ingest.rows import reading_row, word_row
from linkage.keys import digest
from linkage.layout.regions import joined
from linkage.ocr.engines import Engines, make_engine, reading, surest
from linkage.progress import progress
from linkage.records import SCHEMA, Records
from linkage.scans.images import open_image
from linkage.tables import as_written, replacing, write_table

_ROWS = 256  # records read, and written as one row group, at a time


def is_table(path: Path) -> bool:
    """Whether an input is a table of records rather than a scan."""
    return path.suffix.lower() in (".csv", ".parquet")


def table_signature(path: Path, config: IngestConfig) -> list[Any]:
    """What tells a table of records, its pictures and their engine from others, as JSON-like values.

    Raises:
        InputError, DependencyError: as `import_records`.
    """
    records = Records.open(path)
    return [digest_file(path), make_engine(config).name, digest(records.crops(0, len(records)).state())]


def import_records(path: Path, out: Path, config: IngestConfig) -> tuple[int, pd.DataFrame]:
    """Write a records table with the pictures inside; a list beside it (`failures_path`) names what is no picture.

    A record whose picture cannot be read is kept without it. With an OCR engine, records that have a picture and no
    text are read.

    Args:
        path: records, CSV or Parquet; further columns travel through as text.
        out: Parquet file to write.
        config: engine and size limit.

    Returns:
        The number of records and the failures (source, page, reason).

    Raises:
        InputError: the table is invalid (see `Records.open`).
        DependencyError: the engine is not installed.
    """
    records = Records.open(path)
    engine = make_engine(config)
    own = [name for name in records.frame.columns if name not in {*SCHEMA.names, "image"}]
    for name in own:
        records.frame[name] = np.array(as_written(records.frame[name]), dtype=object)
    schema = pa.schema([*SCHEMA, *((name, pa.string()) for name in own)])
    failures = [(record, "", reason) for record, reason in records.failures]
    with replacing(out) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for rows in _packed(records, engine, config, failures):
            try:
                packed = pa.Table.from_pylist(rows, schema=schema)
            except (pa.ArrowException, OverflowError) as error:
                raise InputError(f"{path}: a value is none that a record can have ({error}); correct it") from None
            writer.write_table(packed)
    table = pd.DataFrame(failures, columns=["source", "page", "reason"])
    write_table(table, failures_path(out))
    return len(records), table


def _packed(
    records: Records, engine: Engines, config: IngestConfig, failures: list[tuple[str, str, str]]
) -> Iterator[list[dict[str, Any]]]:
    with progress("import", len(records)) as advance:
        for start in range(0, len(records), _ROWS):
            frame = records.frame.iloc[start : start + _ROWS].astype(object)
            rows: list[dict[str, Any]] = frame.where(frame.notna(), None).to_dict("records")  # type: ignore[assignment]
            unread = []
            for number, row in enumerate(rows, start=start):
                row |= {
                    "direction": row.get("direction") or "horizontal",
                    "text_raw": row.get("text_raw") or row["text"],
                }
                image = _picture(records, number, row, config, failures)
                if image is not None and not row["text"] and engine.name:
                    unread.append((row, image))
            _read(unread, engine)
            yield rows
            advance(len(rows))


def _picture(
    records: Records, number: int, row: dict[str, Any], config: IngestConfig, failures: list[tuple[str, str, str]]
) -> Any:
    """Put the crop and where it came from into a row; returns the decoded picture, None where there is none."""
    row["crop"] = None
    try:
        data = records.crop(number)
        if data is None:
            return None
        image = open_image(data, config.max_megapixels)
    except (InputError, OSError) as error:
        failures.append((row.get("image") or row["record_id"], "1", f"{error}; the record is kept without it"))
        return None
    row["crop"] = data
    row["source"] = row["source"] or row.get("image") or ""
    row["source_sha256"] = row.get("source_sha256") or hashlib.sha256(data).hexdigest()
    return image


def _read(unread: list[tuple[dict[str, Any], Any]], engines: Engines) -> None:
    """Put what the engines read in pictures into their rows."""
    downward = [row["direction"] == "vertical" for row, _ in unread]
    found = [engine.read_crops([image for _, image in unread], downward) for engine in engines.each]
    for (row, _), *words in zip(unread, *found, strict=True):
        readings = [reading(engine, read) for engine, read in zip(engines.each, words, strict=True)]
        best = surest(readings)
        row |= {"text": joined(best.text_raw), "text_raw": best.text_raw, "ocr_engine": best.engine}
        row["words"] = [word_row(word, word.box) for word in best.words]
        row["readings"] = [reading_row(one) for one in readings] if len(readings) > 1 else []
        if best.confidence is not None:
            row["ocr_confidence"] = best.confidence
