"""From what a recogniser says of every column of a line to words (CTC, Graves et al. 2006)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

_SPACE = 0.25  # chance that a space stands anywhere between two letters, from which it is read


class LineOutput(NamedTuple):
    """What a recogniser says of a line of T columns.

    Attributes:
        best: int64 (T,), likeliest class; 0 is none, the last one the space.
        chance: float32 (T,), of that class.
        space: float32 (T,), chance of the space.
    """

    best: np.ndarray
    chance: np.ndarray
    space: np.ndarray


class LineWord(NamedTuple):
    """A word in a line: its text, the mean chance of its letters (0..1), its first column and the one after it."""

    text: str
    confidence: float
    first: int
    end: int


def pieces_of(said: LineOutput, letters: Sequence[str]) -> list[LineWord]:
    """The words of a line: the likeliest class of every column, equal neighbours once (best path, section 3.2).

    The best path misses a space that two columns share: each says "none" more than "space", and yet it stands in one
    of them. So a space is read wherever the chance of none between two letters, the product over the columns between,
    is low enough.

    Args:
        said: of the line.
        letters: character of each class.
    """
    space = len(letters) - 1
    words: list[list[tuple[str, float, int, int]]] = []
    behind = 0  # column after the last letter
    for first, end in _runs(said.best):
        if said.best[first] in (0, space):
            continue
        letter = letters[said.best[first]], float(said.chance[first:end].max()), first, end
        missing = np.prod(1.0 - said.space[behind:first]) if words else 0.0
        if missing <= 1.0 - _SPACE:
            words.append([])
        words[-1].append(letter)
        behind = end
    return [
        LineWord("".join(text for text, *_ in word), float(np.mean([one[1] for one in word])), word[0][2], word[-1][3])
        for word in words
    ]


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    """First and end of every run of equal values."""
    edges = np.flatnonzero(np.diff(values)) + 1
    bounds = [0, *edges.tolist(), len(values)] if len(values) else []
    return list(pairwise(bounds))
