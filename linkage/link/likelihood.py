"""How likely is a text, given all that was seen of a crop? CTC forward probabilities over lattices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linkage.encode.lattice import Lattice
from linkage.text import core, is_core

_UNSEEN = 1e-3  # chance of a character that a column's lattice does not list: a misreading, not an impossibility
_MISSED = 1e-3  # least chance that a column which seems to hold a character holds none
_CELLS_AT_A_TIME = 1_000_000  # columns times characters: some 100 MB
_CHARACTERS, _COLUMNS = 192, 512  # what lies beyond is not compared; a line of 2,048 pixels has no more columns


def letters(text: str) -> np.ndarray:
    """Code points of what engines agree on in a text (see `text.core`), uint32 (n,)."""
    return np.frombuffer(core(text).encode("utf-32-le"), dtype="<u4")[:_CHARACTERS]


def folded(lattice: Lattice) -> Lattice:
    """The lattice with its characters folded, those that do not count taken for none, and its gaps as columns."""
    known, where = np.unique(lattice.letters, return_inverse=True)
    names = np.array([_letter(chr(point)) for point in known.tolist()], dtype=np.uint32)
    columns = names[where].reshape(lattice.letters.shape) if len(known) else lattice.letters
    chances = lattice.chances.astype(np.float64) * (columns > 0)
    mute = (lattice.chances.astype(np.float64) - chances).sum(axis=1)
    order = np.argsort(-chances, axis=1, kind="stable")
    columns, chances = np.take_along_axis(columns, order, axis=1), np.take_along_axis(chances, order, axis=1)
    weight = np.maximum(lattice.weight.astype(np.float64) - mute, chances.sum(axis=1)).clip(0, 1)
    breaks = np.flatnonzero(lattice.gap)
    return Lattice(
        np.insert(columns, breaks, 0, axis=0)[:_COLUMNS],
        np.insert(chances, breaks, 0, axis=0)[:_COLUMNS],
        np.insert(weight, breaks, 0)[:_COLUMNS],
        np.insert(lattice.gap, breaks, True)[:_COLUMNS],
    )


def _letter(character: str) -> int:
    """Code point of the first letter that a character folds to; 0: it does not count."""
    kept = core(character) if is_core(character) else ""
    return ord(kept[0]) if kept else 0


def likelihood(lattices: Sequence[Lattice], texts: Sequence[np.ndarray]) -> np.ndarray:
    """Likelihood of each text under its lattice, by character and relative to the likeliest text: float64 (n,), 0..1.

    exp((log P(text) - log P(best)) / length): P is the sum over all alignments (the CTC forward algorithm, Graves
    et al. 2006, section 4.1), best the likeliest character of every column, length the longer of both. 1: nothing
    else was more likely to stand there; NaN: there is no text or no lattice.

    Args:
        lattices: `folded` ones (n,).
        texts: `letters` of the texts (n,).
    """
    result = np.full(len(texts), np.nan)
    columns = np.array([len(lattice.weight) for lattice in lattices])
    lengths = np.array([len(text) for text in texts])
    able = np.flatnonzero((columns > 0) & (lengths > 0))
    able = able[np.lexsort((lengths[able], columns[able]))]  # like sizes together: padding costs time
    while len(able):
        most = max(1, _CELLS_AT_A_TIME // int(columns[able[:1024]].max() * lengths[able[:1024]].max()))
        rows, able = able[: min(most, 1024)], able[min(most, 1024) :]
        result[rows] = _forward([lattices[row] for row in rows], [texts[row] for row in rows])
    return result


def _forward(lattices: list[Lattice], texts: list[np.ndarray]) -> np.ndarray:
    """Likelihoods of pairs that all have both."""
    lengths = np.array([len(text) for text in texts])
    most, longest = max(len(lattice.weight) for lattice in lattices), int(lengths.max())
    spelled = np.zeros((len(texts), longest), dtype=np.uint32)
    for row, text in enumerate(texts):
        spelled[row, : len(text)] = text
    chances, none, best, counts = _columns(lattices, spelled, most)
    chances *= np.arange(longest)[None, :] < lengths[:, None, None]
    changes = np.ones(spelled.shape)
    changes[:, 1:] = spelled[:, 1:] != spelled[:, :-1]
    blank = np.zeros((len(texts), longest + 1))  # [:, j]: j characters written, none since
    char = np.zeros((len(texts), longest))  # [:, j]: character j is being written
    blank[:, 0] = 1.0
    log = np.zeros(len(texts))
    for column in range(most):
        arriving = char + blank[:, :-1]
        arriving[:, 1:] += changes[:, 1:] * char[:, :-1]
        blank[:, 1:] += char
        char = chances[:, column] * arriving
        blank = none[:, column, None] * blank
        scale = np.maximum(blank.sum(axis=1) + char.sum(axis=1), 1e-300)
        blank /= scale[:, None]
        char /= scale[:, None]
        log += np.log(scale)
    rows = np.arange(len(texts))
    ended = blank[rows, lengths] + char[rows, lengths - 1]
    with np.errstate(divide="ignore"):  # a text that is longer than the line has columns cannot stand there: 0
        total = log + np.log(ended)
    return np.asarray(np.exp(np.minimum(total - best, 0.0) / np.maximum(lengths, counts)))


def _columns(
    lattices: list[Lattice], spelled: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Chances of the texts' characters (n, K, L) and of none (n, K); log chance and length of the best path (n,).

    Columns beyond a lattice's end change nothing: their chance of none is 1.
    """
    chances = np.zeros((len(lattices), most, spelled.shape[1]))
    none = np.ones((len(lattices), most))
    best, counts = np.empty(len(lattices)), np.empty(len(lattices), dtype=np.int64)
    for row, lattice in enumerate(lattices):
        size = len(lattice.weight)
        weight, odds = lattice.weight, lattice.chances
        same = lattice.letters[:, :, None] == spelled[row][None, None, :]
        chances[row, :size] = np.maximum((odds[:, :, None] * same).sum(axis=1), _UNSEEN)
        none[row, :size] = np.maximum(1.0 - weight, _MISSED)
        is_char = odds[:, 0] > none[row, :size]
        best[row] = np.log(np.where(is_char, odds[:, 0], none[row, :size])).sum()
        first = lattice.letters[:, 0]
        counts[row] = int((is_char & ~(np.r_[False, is_char[:-1]] & np.r_[False, first[1:] == first[:-1]])).sum())
    return chances, none, best, counts
