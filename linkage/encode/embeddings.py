"""A folder of embeddings as it is read: whatever links or clusters records needs this alone, and not the model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from linkage.arrays import read_vectors
from linkage.encode.lattice import check_readings
from linkage.encode.pooling import pool
from linkage.errors import ArtefactError, InputError
from linkage.tables import read_table, table_parts
from linkage.text import Folding

FORMAT = 2
READINGS_FILE = "records.parquet"
_ROWS_AT_A_TIME = 8192  # pooled at a time: what is needed on the way there takes some 60 MB
_KEYS = ("model", "model_sha256", "dim", "n", "image_weight", "reading", "folding", "n_without_image", "n_without_text")


class Embeddings:
    """An embeddings folder.

    Attributes:
        folder: where it lies.
        image, text: float16 (n, D), memory-mapped: unit rows in the order of the records, zero where missing.
        record_ids: of the rows, (n,) objects.
        readings: one row each: record_id, reading (the model's own, "" where it made none), reading_confidence (0..1
            or NaN) and lattice (bytes of `Lattice.pack`, or None); some 2 kB a row, read when it is first asked for.
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
        ids = self._given if self._given is not None else read_table(self.folder / READINGS_FILE, columns=["record_id"])
        return np.asarray(ids["record_id"].to_numpy(dtype=object))

    @cached_property
    def readings(self) -> pd.DataFrame:
        """See above."""
        return self._given if self._given is not None else read_table(self.folder / READINGS_FILE)

    def readings_at_a_time(self, rows: int) -> Iterator[pd.DataFrame]:
        """The readings, so many rows at a time, without all of them in memory."""
        if self._given is not None or "readings" in self.__dict__:
            for start in range(0, max(len(self.readings), 1), rows):
                yield self.readings.iloc[start : start + rows]
            return
        yield from table_parts(self.folder / READINGS_FILE, rows)

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

    @property
    def folding(self) -> Folding:
        """What made two texts equal when they were embedded, and does so where they are compared."""
        return Folding(**self.manifest["folding"])

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
            Folding(**manifest.get("folding", {}))
            if missing or manifest.get("format") != FORMAT:
                raise ValueError(f"format {manifest.get('format')}, without {', '.join(missing) or 'nothing'}")
            if not 0 <= float(manifest["image_weight"]) <= 1:
                raise ValueError(f"image weight {manifest['image_weight']}")
            read = 0
            for part in table_parts(folder / READINGS_FILE, _ROWS_AT_A_TIME):
                check_readings(part)
                read += len(part)
        except FileNotFoundError:
            raise ArtefactError(f"{folder}: no embeddings here; {remedy}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, InputError) as error:
            raise ArtefactError(f"{folder}: damaged ({' '.join(str(error).split())[:160]}); {remedy}") from None
        image, text = read_vectors(folder / "image.npy"), read_vectors(folder / "text.npy")
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
