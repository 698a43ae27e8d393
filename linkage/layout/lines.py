"""Lines of text in a column, from its picture alone.

On the profile of a levelled column the lines stand at about even distances, and dynamic programming finds those that
fit ink and distance best; where they leave room for more, lines of a few letters are looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from linkage.layout.columns import runs
from linkage.layout.level import LevelColumn

_PITCHES = (0.7, 2.0)  # distance from line to line, in line heights
_ALIKE = 0.2  # how alike, against the best, lines are at the distance that is taken
_EVEN = 1.5  # how much an uneven distance weighs against ink
_REACH = 0.55  # a line goes so far up and down from its middle, in distances from line to line
_STOP = 0.3  # width of a full stop with the space before it, in line heights
_GAP = 0.4  # widest gap inside a word, in line heights
_THIN = 0.15  # narrowest ink that is text, in line heights
_SPECK = 0.4  # lowest ink that is text, in line heights


@dataclass(frozen=True)
class Line:
    """A line of text.

    Attributes:
        words: first x and x behind the last of every run of ink, from left to right; at least one.
        top: y of the upper edge at the first and at the last x.
        bottom: y of the lower edge there.
        left: x of the column's left edge there; what the line is indented from.
    """

    words: tuple[tuple[float, float], ...]
    top: tuple[float, float]
    bottom: tuple[float, float]
    left: float

    @property
    def middle(self) -> float:
        """Height of its middle on the page."""
        return (sum(self.top) + sum(self.bottom)) / 4


def find_lines(columns: Sequence[LevelColumn], line: float) -> tuple[list[list[Line]], float]:
    """Lines of each column from top to bottom, and the usual distance from one to the next in pixels."""
    profiles = [column.ink.sum(axis=1).astype(float) for column in columns]
    pitch = find_pitch(profiles, line)
    found = []
    for column, profile in zip(columns, profiles, strict=True):
        edges = _edges(profile, find_centres(profile, pitch), pitch)
        lines = [_line(column, top, bottom, line) for top, bottom in edges]
        found.append([each for each in lines if each])
    return found, pitch


def find_pitch(profiles: Sequence[np.ndarray], line: float) -> float:
    """The distance from line to line at which the profiles look like themselves; `line` where none does."""
    from scipy import ndimage

    least, most = (max(round(times * line), 2) for times in _PITCHES)
    lags = np.arange(least - 1, most + 2)
    alike = np.zeros(len(lags))
    for profile in profiles:
        root = np.sqrt(profile)
        sharp = ndimage.gaussian_filter1d(root, line / 12) - ndimage.gaussian_filter1d(root, line / 2)
        if len(sharp) > lags[-1]:
            alike += [(sharp[:-lag] * sharp[lag:]).sum() for lag in lags]
    peaks = [n for n in range(1, len(lags) - 1) if alike[n - 1] <= alike[n] >= alike[n + 1] and alike[n] > 0]
    # Entries of two lines look more like themselves at two lines' distance: the first good peak counts.
    good = [n for n in peaks if alike[n] >= _ALIKE * alike[peaks].max()]
    return float(lags[good[0]]) if good else line


def find_centres(profile: np.ndarray, pitch: float) -> list[int]:
    """Rows of a profile where lines have their middles, rising: ink, at distances near the pitch."""
    from scipy import ndimage

    usual = np.percentile(profile[profile > 0], 75) if (profile > 0).any() else 0
    if not usual:
        return []
    # A line of three digits shall count nearly as much as a full one, but a speck not.
    level_ = np.sqrt(profile / usual)
    fit = ndimage.gaussian_filter1d(level_, 0.16 * pitch) - ndimage.gaussian_filter1d(level_, 0.5 * pitch)
    count = len(profile)
    best = np.zeros(count + 1)  # best[n]: of all choices of lines among the first n rows
    ending = np.full(count, -np.inf)  # ending[n]: with the last line at row n
    before = np.full(count, -1)
    near, far = max(round(0.65 * pitch), 1), max(round(1.5 * pitch), 2)
    distances = np.arange(near, far + 1)
    cost = _EVEN * (distances / pitch - 1) ** 2
    for n in range(count):
        if fit[n] > 0:
            free = best[max(n - far, 0)]
            chosen, previous = free - _EVEN / 8, -1
            back = n - distances
            usable = back >= 0
            if usable.any():
                linked = ending[back[usable]] - cost[usable]
                m = int(linked.argmax())
                if linked[m] > chosen:
                    chosen, previous = float(linked[m]), int(back[usable][m])
            if previous < 0:
                previous = -2 - max(n - far, 0)
            ending[n], before[n] = chosen + fit[n], previous
        best[n + 1] = max(best[n], ending[n])
    return _traced(best, ending, before)


def _traced(best: np.ndarray, ending: np.ndarray, before: np.ndarray) -> list[int]:
    """The lines of the best choice, from the last one back."""
    centres: list[int] = []
    n = len(ending)
    at = -1
    while True:
        if at < 0:
            while n > 0 and best[n] == best[n - 1]:
                n -= 1
            if n == 0:
                return centres[::-1]
            at = n - 1
        centres.append(at)
        previous = int(before[at])
        at, n = (previous, n) if previous >= 0 else (-1, -2 - previous)


def _edges(profile: np.ndarray, centres: list[int], pitch: float) -> list[tuple[int, int]]:
    """Upper and lower row of each line: the barest row between two neighbours, or half a pitch away."""
    from scipy import ndimage

    if not centres:
        return []
    smooth = ndimage.gaussian_filter1d(profile, 0.08 * pitch)
    reach = max(round(_REACH * pitch), 1)
    tops, bottoms = [max(centres[0] - reach, 0)], []
    for upper, lower in pairwise(centres):
        if lower - upper > 2 * reach:
            # There is room for lines of a few letters: what has ink will be one.
            between = round((lower - upper) / pitch) - 1
            steps = np.rint(np.linspace(upper + reach, lower - reach, between + 1)).astype(int).tolist()
            bottoms += steps
            tops += steps
            continue
        middle = (upper + lower) / 2
        rows = np.arange(upper + 1, lower)
        bare = smooth[rows] + smooth.max() * 0.02 * ((rows - middle) / pitch) ** 2
        cut = int(rows[bare.argmin()]) if len(rows) else lower
        bottoms.append(cut)
        tops.append(cut)
    return list(zip(tops, [*bottoms, min(centres[-1] + reach, len(profile))], strict=True))


def _line(column: LevelColumn, top: int, bottom: int, line: float) -> Line | None:
    """What lies between two rows of a levelled column; None where it is no text."""
    band = column.ink[top:bottom]
    words = _words(band, line)
    if not words:
        return None
    left, right = words[0][0], min(words[-1][1] + round(_STOP * line), band.shape[1])
    words[-1] = (words[-1][0], right)
    inked = np.flatnonzero(band[:, left:right].any(axis=1))
    top, bottom = top + int(inked[0]), top + int(inked[-1]) + 1
    ends = (left, right - 1)
    middle = (top + bottom) // 2
    row = min(max(round(middle + column.down[middle, left]), 0), len(column.left) - 1)
    start = float(column.left[row])
    return Line(
        words=tuple((start + first, start + last) for first, last in words),
        top=(top + float(column.down[top, ends[0]]), top + float(column.down[top, ends[1]])),
        bottom=(bottom + float(column.down[bottom - 1, ends[0]]), bottom + float(column.down[bottom - 1, ends[1]])),
        left=start,
    )


def _words(band: np.ndarray, line: float) -> list[tuple[int, int]]:
    """First column and column behind the last of every run of ink in a line; specks are left out."""
    from scipy import ndimage

    reach = max(round(_GAP * line), 1)
    inked = np.pad(band.any(axis=0), reach)
    closed = ndimage.binary_closing(inked, np.ones(reach))[reach:-reach]
    words = []
    for left, right in runs(closed):
        rows = np.flatnonzero(band[:, left:right].any(axis=1))
        if rows[-1] - rows[0] + 1 >= _SPECK * line and right - left >= _THIN * line:
            words.append((left, right))
    return words
