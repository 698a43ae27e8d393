"""How likely is a text, given all that was seen of a crop? CTC forward probabilities over lattices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from linkage.encode.lattice import BEST, Lattice, column_counts
from linkage.text import FOLDING, Folding, is_core

UNSEEN = 1e-3
"""Chance of a character that a column's lattice does not list: a misreading, not an impossibility."""

_MISSED = 1e-3  # least chance that a column which seems to hold a character holds none
CHARACTERS = 192
"""Characters of a text that are compared in full; what lies beyond is left out."""

_COLUMNS = 512  # likewise; a line of 2,048 pixels has no more columns
_RECORDS_AT_A_TIME = 2048  # some 100,000 columns are folded at a time: 50 MB
_PAIRS_AT_A_TIME, _CELLS_AT_A_TIME = 512, 1_000_000  # columns times characters: 8 MB, which caches nearly hold
_COLUMNS_PER_SCALING = 8  # their chances fall by 1e-24 at most
_CODE_POINTS = 0x110000


class Letters(NamedTuple):
    """Letters of what engines agree on in n texts (see `Folding.core`), one text after another.

    Attributes:
        ends: int64 (n + 1,): text i is `letters[ends[i] : ends[i + 1]]`.
        letters: int32, numbered from 1 in the order of their code points.
        numbers: int32 (0x110000,), the number of each code point, 0 where no text has it.
        distinct: how many there are.
    """

    ends: np.ndarray
    letters: np.ndarray
    numbers: np.ndarray
    distinct: int

    @classmethod
    def of(cls, texts: Sequence[str], folding: Folding = FOLDING) -> Letters:
        """Take them from texts."""
        kept = [folding.core(text)[:CHARACTERS] for text in texts]
        points = np.frombuffer("".join(kept).encode("utf-32-le"), dtype="<u4")  # (all letters,)
        here = np.zeros(_CODE_POINTS, dtype=bool)
        here[points] = True
        numbers = np.cumsum(here, dtype=np.int32) * here  # (code points,)
        return cls(_ends([len(text) for text in kept]), numbers[points], numbers, int(here.sum()))


class FoldedLattices(NamedTuple):
    """Lattices of n records with their characters folded, those that do not count taken for none, and gaps as columns.

    Only what can weigh is kept, one record after another: some 30 bytes a column.

    Attributes:
        columns: int64 (n + 1,), where each record's columns begin in `none`; equal: it has no lattice.
        none: float32, chance that a column holds no character.
        entries: int64 (n + 1,), where each record's characters begin in the next three.
        points: uint32, code points of characters that are likelier than one not listed.
        place: uint16, their columns, counted from the record's first.
        chances: float32, 0..1.
        best: float64 (n,), log chance of the likeliest character (or none) of every column.
        length: int64 (n,), how many characters those spell.
    """

    columns: np.ndarray
    none: np.ndarray
    entries: np.ndarray
    points: np.ndarray
    place: np.ndarray
    chances: np.ndarray
    best: np.ndarray
    length: np.ndarray

    @classmethod
    def of(cls, packed: Sequence[object], folding: Folding = FOLDING) -> FoldedLattices:
        """Unpack and fold lattices, some thousand at a time.

        Args:
            packed: bytes of `Lattice.pack`, or None: there is no crop.
            folding: what makes two characters equal.

        Raises:
            ValueError: bytes that are none.
        """
        names = np.full(_CODE_POINTS, _CODE_POINTS, dtype=np.uint32)  # what a character folds to, where known
        starts = range(0, max(len(packed), 1), _RECORDS_AT_A_TIME)
        parts = [_fold(packed[start : start + _RECORDS_AT_A_TIME], names, folding) for start in starts]
        columns, none, entries, *rest = (np.concatenate(part) for part in zip(*parts, strict=True))
        return cls(_ends(columns), none, _ends(entries), *rest)


def _ends(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def _fold(packed: Sequence[object], names: np.ndarray, folding: Folding) -> tuple[np.ndarray, ...]:
    """The attributes of `FoldedLattices` for some records, with counts in place of where they begin."""
    lattices = [data for data in packed if data]
    counts = np.zeros(len(packed), dtype=np.int64)  # (n,): columns of each record; C in all
    counts[[bool(data) for data in packed]] = column_counts(lattices)
    lattice = Lattice.unpack(*lattices)
    letters, chances, mute = _named(lattice, names, folding)  # (8, C), (8, C), (C,)
    weight = np.maximum(lattice.weight.astype(np.float32) - mute, chances.sum(axis=0)).clip(0, 1)
    none = np.maximum(1 - weight, np.float32(_MISSED))  # (C,)

    record = np.repeat(np.arange(len(packed)), counts)  # (C,)
    gaps = np.bincount(record, weights=lattice.gap, minlength=len(packed)).astype(np.int64)  # (n,)
    place = np.arange(len(record)) + np.cumsum(lattice.gap) - (_ends(counts)[:-1] + _ends(gaps)[:-1])[record]
    kept = place < _COLUMNS  # (C,), as place
    sizes = np.minimum(counts + gaps, _COLUMNS)  # (n,)
    spread = np.ones(sizes.sum(), dtype=np.float32)  # (columns and gaps of all,)
    spread[(_ends(sizes)[:-1][record] + place)[kept]] = none[kept]

    best, length = _best_path(letters, chances, none, lattice.gap, record)  # (C,) each, then (n,)
    best = np.bincount(record, weights=np.where(kept, best, 0.0), minlength=len(packed))
    length = np.bincount(record[kept & length], minlength=len(packed))
    _merge(letters, chances)
    column, slot = np.nonzero((chances.T > UNSEEN) & kept[:, None])  # (entries,) each
    entries = np.bincount(record[column], minlength=len(packed))
    found = letters[slot, column], place[column].astype(np.uint16), chances[slot, column]
    return sizes, spread, entries, *found, best, length


def _named(lattice: Lattice, names: np.ndarray, folding: Folding) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Folded letters and their chances (8, C), and the chance (C,) of what does not count; fills `names` where new."""
    here = np.zeros(_CODE_POINTS, dtype=bool)
    here[lattice.letters] = True
    new = np.flatnonzero(here & (names == _CODE_POINTS))
    names[new] = [_letter(chr(point), folding) for point in new.tolist()]
    letters = names[lattice.letters.T]  # (8, C)
    chances = np.ascontiguousarray(lattice.chances.T, dtype=np.float32)
    mute = np.where(letters == 0, chances, 0).sum(axis=0)  # (C,)
    chances[letters == 0] = 0
    return letters, chances, mute


def _letter(character: str, folding: Folding) -> int:
    """Code point of the first letter that a character folds to; 0: it does not count."""
    kept = folding.core(character) if is_core(character) else ""
    return ord(kept[0]) if kept else 0


def _best_path(
    letters: np.ndarray, chances: np.ndarray, none: np.ndarray, gap: np.ndarray, record: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log chance of the likeliest character or none of each column (C,), and whether it begins a character, bool."""
    likeliest = chances.argmax(axis=0)[None]  # (1, C)
    first, top = (np.take_along_axis(part, likeliest, axis=0)[0] for part in (letters, chances))
    is_char = top > none
    goes_on = np.zeros(len(none), dtype=bool)
    goes_on[1:] = is_char[:-1] & (first[1:] == first[:-1]) & (record[1:] == record[:-1]) & ~gap[1:]
    return np.log(np.where(is_char, top, none).astype(np.float64)), is_char & ~goes_on


def _merge(letters: np.ndarray, chances: np.ndarray) -> None:
    """Add the chances of letters that folded to one, column by column."""
    for slot in range(1, BEST):
        for earlier in range(slot):
            same = letters[slot] == letters[earlier]
            chances[earlier] += np.where(same, chances[slot], 0)
            chances[slot][same] = 0


class TextChances(NamedTuple):
    """How likely texts are under lattices, m pairs.

    Attributes:
        log_ratio: float64 (m,), log P(text) - log P(best), natural, at most 0: P is the sum over all alignments (the
            CTC forward algorithm, Graves et al. 2006, section 4.1), best the likeliest character of every column. NaN:
            there is no text or no lattice.
        length: int64 (m,), letters of the longer of both.
    """

    log_ratio: np.ndarray
    length: np.ndarray

    @property
    def by_letter(self) -> np.ndarray:
        """The ratio by letter, float64 (m,), 0..1; 1: nothing else was more likely to stand there."""
        return np.asarray(np.exp(self.log_ratio / np.maximum(self.length, 1)))


def likelihood(seen: FoldedLattices, a: np.ndarray, told: Letters, b: np.ndarray) -> TextChances:
    """Likelihood of texts under lattices, relative to the likeliest text. A pair's does not depend on other pairs.

    Args:
        seen: lattices.
        a: rows in them, int (m,).
        told: texts.
        b: rows in them, int (m,).
    """
    result = np.full(len(a), np.nan)
    columns, lengths = np.diff(seen.columns)[a], np.diff(told.ends)[b]
    able = np.flatnonzero((columns > 0) & (lengths > 0))
    able = able[np.lexsort((columns[able], lengths[able]))]  # like sizes together: padding costs time
    while len(able):
        some = able[:_PAIRS_AT_A_TIME]
        most = max(1, _CELLS_AT_A_TIME // int(columns[some].max() * lengths[some].max()))
        rows, able = able[: min(most, len(some))], able[min(most, len(some)) :]
        rows = rows[np.argsort(-columns[rows], kind="stable")]
        result[rows] = _forward(seen, a[rows], told, b[rows])
    return TextChances(result, np.maximum(lengths, seen.length[a]))


def _forward(seen: FoldedLattices, a: np.ndarray, told: Letters, b: np.ndarray) -> np.ndarray:
    """Log ratios of pairs that all have both; those of most columns first."""
    columns, lengths = np.diff(seen.columns)[a], np.diff(told.ends)[b]  # (n,): K and L of each pair, at most
    longest, rows = int(lengths.max()), np.arange(len(a))
    spelled = np.zeros((longest, len(a)), dtype=np.int32)  # (L, n)
    there = np.arange(longest)[:, None] < lengths  # (L, n)
    spelled[there] = told.letters[(told.ends[b] + np.arange(longest)[:, None])[there]]
    changes = np.ones(spelled.shape)  # (L, n)
    changes[1:] = spelled[1:] != spelled[:-1]
    chances, where = _chances(seen, a, spelled, there, told)  # (K, (L + 2) * n), (L, n)
    none = np.ones((int(columns[0]), len(a)))  # (K, n)
    none.T[np.arange(len(none)) < columns[:, None]] = seen.none[ragged(seen.columns[a], columns)]
    blank = np.zeros((longest + 1, len(a)))  # (L + 1, n); [j]: j characters written, none since
    char = np.zeros((longest, len(a)))  # (L, n); [j]: character j is being written
    blank[0] = 1.0
    scale = np.zeros(len(a), dtype=np.int64)
    open_ = np.searchsorted(-columns, -np.arange(len(none)))  # (K,): pairs whose lattice has a column more
    for column, n in enumerate(open_.tolist()):
        writing, resting = char[:, :n], blank[:, :n]
        arriving = writing + resting[:-1]  # (L, pairs that are open)
        arriving[1:] += changes[1:, :n] * writing[:-1]
        resting[1:] += writing
        resting *= none[column, :n]
        np.multiply(chances[column].take(where[:, :n]), arriving, out=writing)
        if column % _COLUMNS_PER_SCALING == _COLUMNS_PER_SCALING - 1:  # by powers of two, which is exact
            power = np.frexp(np.maximum(writing.max(axis=0), resting.max(axis=0)))[1]
            np.ldexp(writing, -power, out=writing)
            np.ldexp(resting, -power, out=resting)
            scale[:n] += power
    ended = blank[lengths, rows] + char[lengths - 1, rows]  # (n,)
    with np.errstate(divide="ignore"):  # a text that is longer than the line has columns cannot stand there: 0
        total = np.log(ended) + scale * np.log(2)
    return np.asarray(np.minimum(total - seen.best[a], 0.0))


def _chances(
    seen: FoldedLattices, a: np.ndarray, spelled: np.ndarray, there: np.ndarray, told: Letters
) -> tuple[np.ndarray, np.ndarray]:
    """Chances of the texts' characters, for each column (K, (L + 2) * n), and where each stands in them, int (L, n)."""
    longest, n = spelled.shape
    rows = np.arange(n)
    places = np.full((n, told.distinct + 1), longest, dtype=np.uint8)  # of each letter in the text; `longest`: nowhere
    for place in range(longest):
        places[rows, spelled[place]] = place
    where = np.where(there, places[rows, spelled], longest + 1).astype(np.int64) * n + rows  # (L, n)
    places[:, 0] = longest
    columns = np.diff(seen.columns)[a]  # (n,)
    counts = np.diff(seen.entries)[a]  # (n,)
    entry, pair = ragged(seen.entries[a], counts), np.repeat(rows, counts)  # (entries of these pairs,)
    place = places[pair, told.numbers[seen.points[entry]]]
    chances = np.full((int(columns[0]), longest + 2, n), UNSEEN)  # (K, L + 2, n)
    chances[:, longest + 1] = 0
    named = place < longest
    chances[seen.place[entry[named]], place[named], pair[named]] = seen.chances[entry[named]]
    return chances.reshape(len(chances), -1), where


def ragged(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Row numbers of slices that begin at `starts` and are so long, one slice after another."""
    return np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
