"""The lattice of a line: the likeliest characters of every column that holds ink, and its best reading."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BEST = 8
"""Characters kept per column."""
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
    def unpack(cls, data: bytes) -> Lattice:
        """The lattice of `pack`.

        Raises:
            ValueError: these bytes are none.
        """
        columns, rest = divmod(len(data), _BYTES)
        if rest:
            raise ValueError(f"{len(data)} bytes are no lattice")
        ends = np.cumsum([columns * BEST * 4, columns * BEST * 2, columns * 2, columns])
        parts = (data[: ends[0]], data[ends[0] : ends[1]], data[ends[1] : ends[2]], data[ends[2] :])
        letters, chances, weight, gap = (
            np.frombuffer(part, kind) for part, kind in zip(parts, ("<u4", "<f2", "<f2", "<u1"), strict=True)
        )
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
