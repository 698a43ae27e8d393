"""Crops whose words are known, as the recogniser learns to read from them."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from linkage.encode.augment import augment_image
from linkage.encode.biencoder import BiEncoder
from linkage.encode.crops import read_crop
from linkage.errors import InputError
from linkage.records import Records
from linkage.text import clean

log = logging.getLogger(__name__)

TRANSCRIPTION = "transcription"
"""Column with what a person read in the crop. `text` may be an engine's reading, whose mistakes none shall learn."""


class TranscribedBatch(NamedTuple):
    """Lines of like width, padded with their own paper.

    Attributes:
        pixels: uint8 (B, 1, 48, W).
        targets: classes of the recogniser of each line, one per character.
    """

    pixels: np.ndarray
    targets: list[list[int]]


class TranscribedLines:
    """The records of some splits that have a crop and a transcription in the recogniser's own characters.

    Attributes:
        rows: int64 (n,), their rows in the table.
        targets: classes of each.
        unknown: how many were left out for a character that the recogniser does not have.
    """

    def __init__(self, records: Records, encoder: BiEncoder, splits: tuple[str, ...]) -> None:
        frame = records.frame
        self.records, self._encoder = records, encoder
        self._directions = frame["direction"].tolist() if "direction" in frame else [""] * len(frame)
        classes = {chr(point): number for number, point in enumerate(encoder.letters.tolist()) if point}
        told = frame[TRANSCRIPTION].map(clean) if TRANSCRIPTION in frame else [""] * len(frame)
        known = [[classes.get(character, -1) for character in text] for text in told]
        asked = frame["split"].isin(splits).to_numpy() & np.array([bool(text) for text in known], dtype=bool)
        able = asked & np.array([-1 not in text for text in known], dtype=bool)
        self.unknown = int((asked & ~able).sum())
        self.rows = np.flatnonzero(able)
        self.targets = [known[row] for row in self.rows.tolist()]

    def __len__(self) -> int:
        return len(self.rows)

    def line(self, number: int, rng: np.random.Generator | None = None) -> np.ndarray | None:
        """One line as the recogniser takes it, uint8 (1, 48, W); None where its crop cannot be read or has no room.

        Args:
            number: 0..n - 1.
            rng: changes it at random (see `augment_image`); None: as it is.
        """
        row = int(self.rows[number])
        try:
            data = self.records.crop(row)
            image = read_crop(data, self._directions[row]) if data else None
        except (InputError, OSError) as error:
            log.warning("record %s: no picture (%s)", self.records.frame["record_id"][row], error)
            return None
        if image is None:
            return None
        pixels = self._encoder.pixels(image if rng is None else augment_image(image, rng))
        return pixels if _fits(pixels.shape[2], self.targets[number]) else None

    def batches(self, numbers: np.ndarray, size: int, seed: tuple[int, ...]) -> list[TranscribedBatch]:
        """Lines, changed at random, in batches of like width: what stands beside a shorter one is hardly computed.

        Args:
            numbers: int64 (m,), which lines.
            size: lines per batch.
            seed: with a line's number it decides what becomes of that line.
        """
        drawn = [(number, self.line(number, np.random.default_rng((*seed, number)))) for number in numbers.tolist()]
        lines = sorted(((n, line) for n, line in drawn if line is not None), key=lambda one: one[1].shape[2])
        parts = [lines[start : start + size] for start in range(0, len(lines), size)]
        order = np.random.default_rng(seed).permutation(len(parts))
        return [
            TranscribedBatch(_padded([line for _, line in parts[part]]), [self.targets[n] for n, _ in parts[part]])
            for part in order.tolist()
        ]


def _fits(width: int, target: list[int]) -> bool:
    """Whether CTC can spell the characters in a line so wide: a column each, and one between two that are the same."""
    again = sum(one == other for one, other in pairwise(target))
    return width // 8 >= len(target) + again


def _padded(lines: list[np.ndarray]) -> np.ndarray:
    widest = max(line.shape[2] for line in lines)
    return np.stack(
        [
            np.pad(line, ((0, 0), (0, 0), (0, widest - line.shape[2])), constant_values=int(np.percentile(line, 70)))
            for line in lines
        ]
    )
