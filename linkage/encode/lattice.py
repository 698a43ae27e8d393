"""The lattice of a line: the likeliest characters of every column that holds ink, and its best reading."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

BEST = 8
"""Characters kept per column."""
READINGS = ("record_id", "reading", "reading_confidence", "lattice")
"""Columns of a table of readings: a reading, "" where there is none; how sure it is, 0..1 or NaN; packed or None."""
_BYTES = BEST * 4 + BEST * 2 + 2 + 1


class Lattice(NamedTuple):
    """What may stand along one line; K columns, those without ink are left out.

    Attributes:
        letters: uint32 (K, 8), code points, likeliest first.
        chances: float16 (K, 8), 0..1.
        weight: float16 (K,), chance of any character; the rest is none or a space.
        gap: bool (K,), columns without ink were left out before this one.
    """

    letters: np.ndarray
    chances: np.ndarray
    weight: np.ndarray
    gap: np.ndarray

    def pack(self) -> bytes:
        """As bytes, for a table's column."""
        kinds = ("<u4", "<f2", "<f2", "<u1")
        return b"".join(part.astype(kind).tobytes() for part, kind in zip(self, kinds, strict=True))

    @classmethod
    def unpack(cls, data: object) -> Lattice:
        """The lattice of `pack`.

        Raises:
            ValueError: these are no bytes of one.
        """
        if not isinstance(data, bytes) or len(data) % _BYTES:
            raise ValueError(f"{str(data)[:20]!r} is no lattice")
        columns = len(data) // _BYTES
        ends = np.cumsum([columns * BEST * 4, columns * BEST * 2, columns * 2, columns])
        parts = (data[: ends[0]], data[ends[0] : ends[1]], data[ends[1] : ends[2]], data[ends[2] :])
        letters, chances, weight, gap = (
            np.frombuffer(part, kind) for part, kind in zip(parts, ("<u4", "<f2", "<f2", "<u1"), strict=True)
        )
        odds = np.concatenate([chances, weight])
        if not (np.isfinite(odds).all() and (odds >= 0).all() and (odds <= 1).all() and (letters < 0x110000).all()):
            raise ValueError("no lattice: chances outside 0..1, or letters outside Unicode")
        return cls(letters.reshape(columns, BEST), chances.reshape(columns, BEST), weight, gap.astype(bool))

    def read(self) -> tuple[str, list[float]]:
        """The likeliest character of every column (CTC best path, Graves et al. 2006, section 3.2), and its chance."""
        text: list[str] = []
        chances: list[float] = []
        before = 0
        for letters, odds, weight, gap in zip(*self, strict=True):
            before = 0 if gap else before
            best, chance = int(letters[0]), float(odds[0])
            if chance < 1.0 - float(weight):
                best = 0
            elif best == before:
                chances[-1] = max(chances[-1], chance)
            else:
                text.append(chr(best))
                chances.append(chance)
            before = best
        return "".join(text), chances


def check_readings(table: pd.DataFrame) -> None:
    """Check the columns READINGS of a table.

    Raises:
        ValueError: one is missing, or holds what no model wrote.
    """
    if missing := [name for name in READINGS if name not in table]:
        raise ValueError(f"without {', '.join(missing)}")
    if not all(isinstance(reading, str) for reading in table["reading"]):
        raise ValueError("a reading is no text")
    for lattice in table["lattice"]:
        if lattice is not None:
            Lattice.unpack(lattice)
