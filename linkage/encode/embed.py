"""Records to embeddings: a folder with both modalities' vectors apart, so that every similarity can be explained."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from linkage.config import EncodeConfig
from linkage.encode.biencoder import BiEncoder
from linkage.encode.crops import read_crops
from linkage.encode.lattice import READINGS, check_readings
from linkage.encode.pooling import pool
from linkage.encode.sight import Sight
from linkage.errors import ArtefactError, InputError
from linkage.progress import progress
from linkage.records import Records
from linkage.tables import read_array, read_table, replacing_folder, write_table
from linkage.text import clean, folding

log = logging.getLogger(__name__)

FORMAT = 2
_READ = "records.parquet"
_ROWS_AT_A_TIME = 8192  # pooled at a time: what is needed on the way there takes some 60 MB
_KEYS = ("model", "model_sha256", "dim", "n", "image_weight", "reading", "folding", "n_without_image", "n_without_text")


class Embeddings:
    """An embeddings folder.

    Attributes:
        folder: where it lies.
        image, text: float16 (n, D), memory-mapped: unit rows in the order of the records, zero where missing.
        record_ids: of the rows, (n,) objects.
        readings: one row each: reading (the model's own, "" where it made none), reading_confidence (0..1 or NaN)
            and lattice (bytes of `Lattice.pack`, or None); some 2 kB a row, read when it is first asked for.
        manifest: format, model, model_sha256, dim, n, image_weight, reading, folding, records_sha256,
            n_without_image, n_without_text.
    """

    def __init__(
        self,
        folder: Path,
        image: np.ndarray,
        text: np.ndarray,
        readings: pd.DataFrame | None,
        manifest: dict[str, Any],
    ) -> None:
        """Take the parts; readings None: they are in the folder."""
        self.folder = folder
        self.image = image
        self.text = text
        self._given = readings
        self.manifest = manifest

    @cached_property
    def record_ids(self) -> np.ndarray:
        """See above."""
        ids = self._given if self._given is not None else read_table(self.folder / _READ, columns=["record_id"])
        return np.asarray(ids["record_id"].to_numpy(dtype=object))

    @cached_property
    def readings(self) -> pd.DataFrame:
        """See above."""
        return self._given if self._given is not None else read_table(self.folder / _READ)

    def readings_at_a_time(self, rows: int) -> Iterator[pd.DataFrame]:
        """The readings, so many rows at a time, without all of them in memory."""
        if self._given is not None or "readings" in self.__dict__:
            for start in range(0, max(len(self.readings), 1), rows):
                yield self.readings.iloc[start : start + rows]
            return
        yield from _readings_at_a_time(self.folder / _READ, rows)

    def readings_of(self, rows: np.ndarray) -> pd.DataFrame:
        """The readings of some rows (m,), in that order, without all of them in memory."""
        order = np.argsort(rows, kind="stable")
        parts, start = [], 0
        for part in self.readings_at_a_time(_ROWS_AT_A_TIME):
            first, last = np.searchsorted(rows[order], [start, start + len(part)])
            parts.append(part.iloc[rows[order[first:last]] - start])
            start += len(part)
        return pd.concat(parts, ignore_index=True).iloc[np.argsort(order, kind="stable")].reset_index(drop=True)

    def __len__(self) -> int:
        return len(self.image)

    @classmethod
    def open(cls, folder: Path) -> Embeddings:
        """Open an embeddings folder and check that its parts belong together.

        Raises:
            ArtefactError: missing, incomplete or damaged; the message says what to run.
        """
        remedy = "make it again with `linkage embed`"
        path = folder / "manifest.json"
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            n, dim = int(manifest["n"]), int(manifest["dim"])
            missing = [key for key in _KEYS if key not in manifest]
            if missing or manifest.get("format") != FORMAT:
                raise ValueError(f"format {manifest.get('format')}, without {', '.join(missing) or 'nothing'}")
            read = 0
            for part in _readings_at_a_time(folder / _READ, _ROWS_AT_A_TIME):
                check_readings(part)
                read += len(part)
        except FileNotFoundError:
            raise ArtefactError(f"{folder}: no embeddings here; {remedy}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, InputError) as error:
            raise ArtefactError(f"{folder}: damaged ({' '.join(str(error).split())[:160]}); {remedy}") from None
        image, text = read_array(folder / "image.npy"), read_array(folder / "text.npy")
        if image.shape != (n, dim) or text.shape != (n, dim) or read != n:
            raise ArtefactError(f"{folder}: its files do not belong together; {remedy}")
        return cls(folder, image, text, None, manifest)

    def pooled(self, weight: float | None = None, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Pooled vectors of some rows, float32 (m, D), see `pooling.pool`; weight None: the one in the manifest."""
        weight = float(self.manifest["image_weight"]) if weight is None else weight
        chosen = np.arange(len(self))[rows]
        vectors = np.empty((len(chosen), self.image.shape[1]), dtype=np.float32)
        for start in range(0, len(chosen), _ROWS_AT_A_TIME):
            some = chosen[start : start + _ROWS_AT_A_TIME]
            vectors[start : start + len(some)] = pool(self.image[some], self.text[some], weight)
        return vectors


def _readings_at_a_time(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    """Parts of a table of readings.

    Raises:
        InputError: it is not there.
        ValueError: it is damaged.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with pq.ParquetFile(path) as file:
            if not file.metadata.num_rows:
                yield file.read().to_pandas()
            for batch in file.iter_batches(rows):
                batch.validate(full=True)
                yield batch.to_pandas()
    except pa.ArrowException as error:
        raise ValueError(str(error)) from None


def embed_records(records: Records, encoder: BiEncoder, out: Path, config: EncodeConfig) -> Embeddings:
    """Embed crops and texts of records; the folder appears whole or not at all, and replaces an earlier one.

    A crop that cannot be read counts as missing and stands in `failures.csv` of the folder.

    Args:
        records: read a batch at a time.
        encoder: the model.
        out: folder to write.
        config: batch size and image weight.
    """
    with replacing_folder(out) as temporary:
        failures, readings = _write_vectors(records, encoder, temporary, config)
        write_table(readings, temporary / "records.parquet")
        write_table(failures, temporary / "failures.csv")
        image, text = (read_array(temporary / f"{name}.npy") for name in ("image", "text"))
        manifest = {
            "format": FORMAT,
            "model": encoder.name,
            "model_sha256": encoder.sha256,
            "dim": encoder.dim,
            "n": len(records),
            "image_weight": config.image_weight,
            "reading": config.reading,
            "folding": folding()._asdict(),
            "records_sha256": _digest(records),
            "n_without_image": int((~image.any(axis=1)).sum()),
            "n_without_text": int((~text.any(axis=1)).sum()),
        }
        (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return Embeddings.open(out)


def _write_vectors(
    records: Records, encoder: BiEncoder, folder: Path, config: EncodeConfig
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fill `image.npy` and `text.npy` batch by batch; returns the crops that could not be read, and the readings."""
    image, text = (_new_array(folder / f"{name}.npy", (len(records), encoder.dim)) for name in ("image", "text"))
    texts = records.frame["text"].tolist()
    failed = [(record, reason) for record, reason in records.failures]
    readings: list[tuple[str, float, bytes | None]] = []
    with progress("embed", len(records)) as advance:
        for start, crops in records.batches(config.batch_size):
            rows = slice(start, start + len(crops))
            pictures = _pictures(records.frame.iloc[rows], crops, failed)
            if encoder.ink:
                image[rows], sights = encoder.look(pictures)
                read = [_reading(sight) if config.reading else _NOTHING_READ for sight in sights]
            else:
                image[rows], read = encoder.encode_image(pictures), [_NOTHING_READ] * len(pictures)
            given, own = encoder.encode_text(texts[rows]), encoder.encode_text([reading for reading, _, _ in read])
            text[rows] = pool(given, own, 0.5)  # the mean of two readings, where there are two
            readings += read
            advance(len(crops))
    image.flush()
    text.flush()
    table = pd.DataFrame(readings, columns=list(READINGS[1:]))
    table.insert(0, "record_id", records.frame["record_id"].to_numpy())
    return _failures(records.frame, failed), table


def _new_array(path: Path, shape: tuple[int, int]) -> np.memmap:
    """A float16 array on disk that has its room: without, a write to it on a full disk kills the process."""
    from numpy.lib.format import open_memmap

    array: np.memmap = open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


_NOTHING_READ = ("", float("nan"), None)


def _reading(sight: Sight | None) -> tuple[str, float, bytes | None]:
    """The model's reading of a crop, how sure it is (geometric mean over the characters), and the lattice."""
    if sight is None:
        return _NOTHING_READ
    text, chances = sight.lattice.read()
    sure = float(np.exp(np.mean(np.log(np.maximum(chances, 1e-6))))) if chances else float("nan")
    return clean(text), sure, sight.lattice.pack()


def _digest(records: Records) -> str:
    """Equal where ids and texts are, row by row."""
    rows = zip(records.frame["record_id"], records.frame["text"], strict=True)
    return hashlib.sha256("\0".join(f"{record}\0{text}" for record, text in rows).encode()).hexdigest()


def _pictures(
    frame: pd.DataFrame, crops: list[bytes | None], failed: list[tuple[str, str]]
) -> list[Image.Image | None]:
    directions = frame["direction"].tolist() if "direction" in frame else [""] * len(frame)
    unread: list[tuple[int, str]] = []
    pictures = read_crops(crops, directions, unread)
    failed += [(frame["record_id"].iloc[number], reason) for number, reason in unread]
    return pictures


def _failures(frame: pd.DataFrame, failed: list[tuple[str, str]]) -> pd.DataFrame:
    if failed:
        log.warning("embed: %d crops could not be read; these records go by their text alone", len(failed))
    table = pd.DataFrame(failed, columns=["record_id", "reason"])
    known = frame.reindex(columns=["record_id", "source", "page"])
    return table.merge(known, on="record_id", how="left")[["record_id", "source", "page", "reason"]]
