"""The lattice of a line: the likeliest characters of every column that holds ink, and its best reading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

BEST = 8
"""Characters kept per column."""
READINGS = ("record_id", "reading", "reading_confidence", "lattice")
"""Columns of a table of readings: a reading, "" where there is none; how sure it is, 0..1 or NaN; packed or None."""
_KINDS = ("<u4", "<f2", "<f2", "<u1")
_SIZES = (BEST * 4, BEST * 2, 2, 1)  # bytes a column has of each
_BYTES = sum(_SIZES)
_ONE, _MINUS_ZERO = 0x3C00, 0x8000  # bits of float16: those of 0..1 lie below the first


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
        return b"".join(part.astype(kind).tobytes() for part, kind in zip(self, _KINDS, strict=True))

    @classmethod
    def unpack(cls, *packed: object) -> Lattice:
        """The lattices of `pack`, the columns of one after those of the other.

        Raises:
            ValueError: one is no lattice.
        """
        sizes = column_counts(packed)
        parts, start = [], 0
        for kind, size in zip(_KINDS, _SIZES, strict=True):
            each = zip(packed, sizes, strict=True)
            joined = b"".join([data[start * n : (start + size) * n] for data, n in each if isinstance(data, bytes)])
            parts.append(np.frombuffer(joined, kind))
            start += size
        letters, chances, weight, gap = parts
        odds = (part.view("<u2") for part in (chances, weight))
        if not all(((bits <= _ONE) | (bits == _MINUS_ZERO)).all() for bits in odds) or (letters >= 0x110000).any():
            raise ValueError("no lattice: chances outside 0..1, or letters outside Unicode")
        return cls(letters.reshape(-1, BEST), chances.reshape(-1, BEST), weight, gap.astype(bool))

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


def column_counts(packed: Sequence[object]) -> list[int]:
    """How many columns each packed lattice has.

    Raises:
        ValueError: one has another length than `Lattice.pack` gives, or is no bytes.
    """
    for data in packed:
        if not isinstance(data, bytes) or len(data) % _BYTES:
            raise ValueError(f"{str(data)[:20]!r} is no lattice")
    return [len(data) // _BYTES for data in packed if isinstance(data, bytes)]


def check_readings(table: pd.DataFrame) -> None:
    """Check the columns READINGS of a table; what is in a lattice is checked where it is unpacked.

    Raises:
        ValueError: one is missing, or holds what no model wrote.
    """
    if missing := [name for name in READINGS if name not in table]:
        raise ValueError(f"without {', '.join(missing)}")
    if not all(isinstance(reading, str) for reading in table["reading"]):
        raise ValueError("a reading is no text")
    column_counts([lattice for lattice in table["lattice"] if lattice is not None])
