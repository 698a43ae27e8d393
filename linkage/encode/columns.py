"""What a frozen recogniser sees in crops, computed once and kept on disk: training then costs the towers' tops only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from linkage.encode.biencoder import BiEncoder
from linkage.encode.crops import read_crops
from linkage.keys import result_key
from linkage.progress import progress
from linkage.records import Records
from linkage.tables import replacing
from linkage.text import clean

_AT_A_TIME = 512  # many, so that lines of like width find each other


class CropColumns:
    """The columns of n records.

    Attributes:
        readings: the recogniser's reading of each, "" where there is no picture.
    """

    def __init__(self, values: np.ndarray, ends: np.ndarray, readings: list[str]) -> None:
        self._values = values
        self._ends = ends
        self.readings = readings

    def __getitem__(self, row: int) -> np.ndarray:
        """Columns of one record, float16 (K, 242) as in `Sight`; none where there is no picture."""
        return np.asarray(self._values[self._ends[row] : self._ends[row + 1]])

    def take(self, rows: np.ndarray) -> list[np.ndarray]:
        """Columns of the given records."""
        return [self[row] for row in rows.tolist()]

    @classmethod
    def of(cls, records: Records, encoder: BiEncoder, folder: Path, rows: np.ndarray | None = None) -> CropColumns:
        """Look at the crops of the given rows of a table, or open what an earlier call with the same model kept.

        Args:
            records: crops are read a batch at a time; one that cannot be read counts as missing.
            encoder: its image tower reads lines.
            folder: holds `columns.bin` and, written last, `columns.json`.
            rows: default: all.
        """
        listed = folder / "columns.json"
        wanted = records if rows is None else records.take(rows)
        key = _key(wanted, encoder)
        kept = _kept(listed)
        if kept.get("key") != key:
            folder.mkdir(parents=True, exist_ok=True)
            listed.unlink(missing_ok=True)
            found = _look(wanted, encoder, folder / "columns.bin")
            kept = {"key": key, "ends": found[0], "readings": found[1]}
            with replacing(listed) as temporary:
                temporary.write_text(json.dumps(kept), encoding="utf-8")
        ends = np.array(kept["ends"], dtype=np.int64)
        width = 2 * encoder.model.visual.trunk.rows.shape[1] + 2
        empty = np.zeros((0, width), dtype=np.float16)
        values = np.memmap(folder / "columns.bin", np.float16, "r", shape=(ends[-1], width)) if ends[-1] else empty
        return cls(values, ends, kept["readings"])


def _kept(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # not there, or cut off while it was written
        return {}


def _key(records: Records, encoder: BiEncoder) -> str:
    """Equal where the same model looks in the same way at the same records of unchanged files."""
    frame = records.frame
    states = records.crops(0, len(records)).state()
    named = [frame[name].tolist() for name in ("record_id", "direction") if name in frame]
    bf16 = torch.is_autocast_enabled(encoder.device.type)
    return result_key(encoder.sha256, bf16, states, named)


def _look(records: Records, encoder: BiEncoder, path: Path) -> tuple[list[int], list[str]]:
    frame = records.frame
    directions = frame["direction"].tolist() if "direction" in frame else [""] * len(frame)
    ends, readings = [0], []
    with path.open("wb") as file, progress("look", len(records)) as advance:
        for start, crops in records.batches(_AT_A_TIME):
            pictures = read_crops(crops, directions[start : start + len(crops)])
            for sight in encoder.look(pictures)[1]:
                if sight is not None:
                    file.write(sight.columns.tobytes())
                ends.append(ends[-1] + (0 if sight is None else len(sight.columns)))
                readings.append("" if sight is None else clean(sight.lattice.read()[0]))
            advance(len(crops))
    return ends, readings
