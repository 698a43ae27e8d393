"""Every pair compared by likelihood: the best texts for each lattice and the best lattices for each text."""

from __future__ import annotations

import numpy as np

from linkage.compare.likelihood import UNSEEN, FoldedLattices, Letters, ragged
from linkage.compare.wording import Wording

PAIRS = 2_000_000
"""Queries times exemplars up to which every pair is compared."""

_CELLS_AT_A_TIME = 16_384  # letters of texts: 128 kB, which the caches hold
_COLUMNS_PER_SCALING = 16
_NOTHING = 1e-80  # of the best path: what falls below is none that could have been meant, see MOST_AGAINST


def nearest_by_likelihood(
    left: Wording, a: np.ndarray, right: Wording, b: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k records of `right` whose letters and lattices fit each record of `left` best, of all of them.

    By the mean of both ways' log ratios, see `wording.likelihoods`; those beyond `wording.MOST_AGAINST` are none.

    Args:
        left, right: wordings.
        a, b: rows in them, int (q,) and (n,); memory grows with q times n.
        k: how many.

    Returns:
        Places in b, int64 (q, k), best first, the earlier one where two are alike, -1 where there are no more; and the
        means, float32 (q, k).
    """
    there = _log_ratios(left.lattices, a, right.letters, b)  # (q, n)
    back = _log_ratios(right.lattices, b, left.letters, a).T
    both = np.where(np.isnan(there), back, np.where(np.isnan(back), there, (there + back) / 2))
    both = np.where(np.isfinite(both), both, -np.inf).astype(np.float32)
    order = np.argsort(-both, axis=1, kind="stable")[:, :k]
    means = np.take_along_axis(both, order, axis=1)
    return np.where(np.isfinite(means), order, -1), means


def _log_ratios(seen: FoldedLattices, a: np.ndarray, told: Letters, b: np.ndarray) -> np.ndarray:
    """What `likelihood.likelihood` gives as `log_ratio` for all rows a with all rows b: float32 (q, n).

    -inf where it is below about -184. One lattice is laid under all texts at once, and every column's chances are
    looked up once for each letter that a text has, not for each pair.
    """
    result = np.full((len(a), len(b)), np.nan, dtype=np.float32)
    lengths = np.diff(told.ends)[b]
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    texts = []
    while len(order):
        longest = int(lengths[order[: max(1, _CELLS_AT_A_TIME // int(lengths[order[0]]))]].max())
        some, order = np.split(order, [max(1, _CELLS_AT_A_TIME // longest)])
        texts.append((some, *_spelled(told, b[some])))
    for row, lattice in enumerate(a.tolist()):
        columns = slice(*seen.columns[lattice : lattice + 2])
        if columns.stop > columns.start:
            none, chances = _relative(seen, lattice, told)
            for some, spelled, changes, length in texts:
                result[row, some] = _forward(none, chances, spelled, changes, length)
    return result


def _spelled(told: Letters, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Letters of texts by place, int64 (L, n), 0 beyond the end; where one differs from the last, float64; lengths."""
    lengths = np.diff(told.ends)[b]
    spelled = np.zeros((int(lengths.max()), len(b)), dtype=np.int64)
    there = np.arange(len(spelled))[:, None] < lengths
    spelled.T[there.T] = told.letters[ragged(told.ends[b], lengths)]
    changes = np.ones(spelled.shape)
    changes[1:] = spelled[1:] != spelled[:-1]
    return spelled, changes, lengths


def _relative(seen: FoldedLattices, row: int, told: Letters) -> tuple[np.ndarray, np.ndarray]:
    """Chances of none (K,) and of every letter of the texts (K, letters) in each column, as shares of the best path's.

    float64; letter 0, which stands beyond a text's end, has none.
    """
    none = seen.none[slice(*seen.columns[row : row + 2])].astype(np.float64)
    entries = slice(*seen.entries[row : row + 2])
    place, letter = seen.place[entries], told.numbers[seen.points[entries]]
    chances = np.full((len(none), told.distinct + 1), UNSEEN)
    best = none.copy()
    np.maximum.at(best, place, seen.chances[entries])
    known = letter > 0
    chances[place[known], letter[known]] = seen.chances[entries][known]
    chances[:, 0] = 0
    # The best path is that of the columns as they were before letters folded to one; here only their product counts.
    correction = np.exp((np.log(best).sum() - seen.best[row]) / len(best))
    best /= correction
    return none / best, chances / best[:, None]


def _forward(
    none: np.ndarray, chances: np.ndarray, spelled: np.ndarray, changes: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """Log ratios of texts under one lattice (CTC forward algorithm), float32 (n,)."""
    n = spelled.shape[1]
    blank = np.zeros((len(spelled) + 1, n))  # [j]: j letters written, none since
    char = np.zeros(spelled.shape)  # [j]: letter j is being written
    blank[0] = 1.0
    scale = np.zeros(n, dtype=np.int64)
    arriving = np.empty_like(char)
    for column in range(len(none)):
        np.add(char, blank[:-1], out=arriving)
        arriving[1:] += changes[1:] * char[:-1]
        blank[1:] += char
        blank *= none[column]
        np.multiply(chances[column].take(spelled), arriving, out=char)
        if column % _COLUMNS_PER_SCALING == _COLUMNS_PER_SCALING - 1:
            char *= char > _NOTHING  # numbers that are all but 0 take a hundred times as long
            blank *= blank > _NOTHING
            most = np.maximum(char.max(axis=0), blank.max(axis=0))
            if most.max() > 1e100:
                power = np.where(most > 1e100, np.frexp(most)[1], 0)
                char, blank = np.ldexp(char, -power), np.ldexp(blank, -power)
                scale += power
    rows = np.arange(n)
    with np.errstate(divide="ignore"):
        total = np.log(blank[lengths, rows] + char[lengths - 1, rows]) + scale * np.log(2)
    return np.asarray(np.minimum(total, 0.0), dtype=np.float32)
