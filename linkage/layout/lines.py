"""Lines of text in a column, from its picture alone.

A column is levelled first: its rows are moved, by a shift that is smooth over the column, until their projection is as
sharp as it gets (Postl 1986, Detection of linear oblique structures, for whole pages; here with terms for lines that fan
out or bow near the spine). On the levelled profile the lines stand at about even distances, and dynamic programming
finds those that fit ink and distance best, so that a line of one number at the margin is found between full ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from linkage.layout.columns import Cut, runs
from linkage.layout.ink import Ink

_SLOPE = 0.06  # steepest rise of a line that is looked for
_BENDS = (0.03, 0.03, 0.02)  # largest further rise at an edge of the column: fanning, bowing, both
_SLICES = 16  # parts of a column's width that are moved against each other
_PITCHES = (0.7, 2.0)  # distance from line to line, in line heights
_ALIKE = 0.2  # how alike, against the best, lines are at the distance that is taken
_EVEN = 1.5  # how much an uneven distance weighs against ink
_REACH = 0.55  # a line goes so far up and down from its middle, in distances from line to line
_STOP = 0.3  # width of a full stop with the space before it, in line heights
_GAP = 0.4  # widest gap inside a word, in line heights
_THIN = 0.15  # narrowest ink that is text, in line heights
_SPECK = 0.35  # lowest ink that is text, in line heights


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
        """y of its middle."""
        return (sum(self.top) + sum(self.bottom)) / 4


@dataclass(frozen=True)
class Levelled:
    """A column, levelled.

    Attributes:
        ink: (height, width) bool; `down[v, u]` below its row v lies the row of the page that it shows at u.
        down: (height, width) pixels.
        left: x of the page at u = 0, for each row of the page.
    """

    ink: np.ndarray
    down: np.ndarray
    left: np.ndarray


def find_lines(columns: Sequence[Levelled], line: float) -> tuple[list[list[Line]], float]:
    """Lines of each column from top to bottom, and the usual distance from one to the next in pixels."""
    profiles = [column.ink.sum(axis=1).astype(float) for column in columns]
    pitch = find_pitch(profiles, line)
    found = []
    for column, profile in zip(columns, profiles, strict=True):
        edges = _edges(profile, find_centres(profile, pitch), pitch)
        lines = [_line(column, top, bottom, line) for top, bottom in edges]
        found.append([each for each in lines if each])
    return found, pitch


def level(ink: Ink, left: Cut, right: Cut) -> Levelled:
    """Level the column between two cuts."""
    height, width = ink.letters.shape
    rows = np.arange(height)
    start = np.rint(left.x + left.slant * rows).astype(int)
    wide = max(int(np.rint(right.at(height / 2) - left.at(height / 2))), 1)
    x = start[:, None] + np.arange(wide)
    straight = np.take_along_axis(ink.letters, np.clip(x, 0, width - 1), axis=1) & (x >= 0) & (x < width)
    bend = _bend(straight)
    down = _down(bend, height, np.arange(wide) / wide, wide)
    at = np.rint(rows[:, None] + down).astype(int)
    inside = (at >= 0) & (at < height)
    levelled = np.take_along_axis(straight, np.clip(at, 0, height - 1), axis=0) & inside
    return Levelled(levelled, down, start.astype(float))


def _down(bend: np.ndarray, height: int, u: np.ndarray, wide: int) -> np.ndarray:
    """(height, len(u)) rows that a levelled column's row lies lower in the page: 0 in the middle of the width."""
    v = np.linspace(-1, 1, height)[:, None]
    side = 2 * u[None, :] - 1
    down: np.ndarray = wide / 2 * ((bend[0] + bend[1] * v) * side + (bend[2] + bend[3] * v) * side**2)
    return down


def _bend(straight: np.ndarray) -> np.ndarray:
    """The four numbers that level a column best: slope, fanning, bowing and how bowing changes."""
    height, wide = straight.shape
    slices = np.stack([part.sum(axis=1) for part in np.array_split(straight, min(_SLICES, wide), axis=1)], axis=1)
    slices = ndimage.gaussian_filter1d(slices.astype(np.float32), 1.0, axis=0)
    u = (np.arange(slices.shape[1]) + 0.5) / slices.shape[1]
    across = np.arange(slices.shape[1])

    def sharpness(bend: np.ndarray) -> float:
        at = np.rint(np.arange(height)[:, None] + _down(bend, height, u, wide)).astype(int)
        profile = slices[np.clip(at, 0, height - 1), across].sum(axis=1)
        return float((np.diff(profile) ** 2).sum())

    best = np.zeros(4)
    best[0] = max(np.linspace(-_SLOPE, _SLOPE, 61), key=lambda slope: sharpness(np.array([slope, 0, 0, 0])))
    score = sharpness(best)
    limits = np.array([_SLOPE + _BENDS[0], *_BENDS])
    for step in (0.008, 0.004, 0.002, 0.001):
        improved = True
        while improved:
            improved = False
            for part in range(4):
                for move in (-step, step):
                    tried = best.copy()
                    tried[part] += move
                    if abs(tried[part]) <= limits[part] and (found := sharpness(tried)) > score * 1.001:
                        best, score, improved = tried, found, True
    return best


def find_pitch(profiles: Sequence[np.ndarray], line: float) -> float:
    """The distance from line to line at which the profiles look like themselves; `line` where none does."""
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
    if not centres:
        return []
    smooth = ndimage.gaussian_filter1d(profile, 0.08 * pitch)
    reach = max(round(_REACH * pitch), 1)
    tops, bottoms = [max(centres[0] - reach, 0)], []
    for upper, lower in zip(centres, centres[1:], strict=False):
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


def _line(column: Levelled, top: int, bottom: int, line: float) -> Line | None:
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
    reach = max(round(_GAP * line), 1)
    inked = np.pad(band.any(axis=0), reach)
    closed = ndimage.binary_closing(inked, np.ones(reach))[reach:-reach]
    words = []
    for left, right in runs(closed):
        rows = np.flatnonzero(band[:, left:right].any(axis=1))
        if rows[-1] - rows[0] + 1 >= _SPECK * line and right - left >= _THIN * line:
            words.append((left, right))
    return words
