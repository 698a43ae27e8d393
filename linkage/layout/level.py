"""Level the lines of a column or a page.

Its rows are moved, by a shift that is smooth over the column, until their projection is as sharp as it gets (Postl
1986, Detection of linear oblique structures, for whole pages; here with terms for lines that fan out or bow near the
spine).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SLOPE = 0.06  # steepest rise of a line that is looked for
_BENDS = (0.03, 0.03, 0.02)  # largest further rise at an edge of the column: fanning, bowing, both
_SLICES = 16  # parts of a column's width that are moved against each other


@dataclass(frozen=True)
class LevelColumn:
    """A column, levelled.

    Attributes:
        ink: (height, width) bool; `down[v, u]` below its row v lies the row of the page that it shows at u.
        down: (height, width) pixels.
        left: x of the page at u = 0, for each row of the page.
    """

    ink: np.ndarray
    down: np.ndarray
    left: np.ndarray


def level(letters: np.ndarray, left: np.ndarray, wide: int) -> LevelColumn:
    """Level a column.

    Args:
        letters: (height, width) ink of the page.
        left: (height,) x of the column's left edge on each row.
        wide: width of the column in pixels.
    """
    height, width = letters.shape
    start = np.rint(left).astype(int)
    x = start[:, None] + np.arange(wide)
    straight = np.take_along_axis(letters, np.clip(x, 0, width - 1), axis=1) & (x >= 0) & (x < width)
    bend = _bend(straight, 4)
    down = _down(bend, height, np.arange(wide) / wide, wide)
    return LevelColumn(_moved(straight, down), down, start.astype(float))


def straightened(letters: np.ndarray) -> np.ndarray:
    """A whole page with its columns of pixels moved up or down until the lines are level on the whole."""
    height, width = letters.shape
    if not letters.any():
        return letters
    return _moved(letters, _down(_bend(letters, 1), height, np.arange(width) / width, width))


def slope_of(letters: np.ndarray) -> float:
    """How far the lines of a page go down, in pixels per pixel to the right."""
    return float(_bend(letters, 1)[0]) if letters.any() else 0.0


def _moved(ink: np.ndarray, down: np.ndarray) -> np.ndarray:
    at = np.rint(np.arange(len(ink))[:, None] + down).astype(int)
    inside = (at >= 0) & (at < len(ink))
    moved: np.ndarray = np.take_along_axis(ink, np.clip(at, 0, len(ink) - 1), axis=0) & inside
    return moved


def _down(bend: np.ndarray, height: int, u: np.ndarray, wide: int) -> np.ndarray:
    """(height, len(u)) rows that a levelled column's row lies lower in the page: 0 in the middle of the width."""
    v = np.linspace(-1, 1, height)[:, None]
    side = 2 * u[None, :] - 1
    down: np.ndarray = wide / 2 * ((bend[0] + bend[1] * v) * side + (bend[2] + bend[3] * v) * side**2)
    return down


def _bend(straight: np.ndarray, parts: int) -> np.ndarray:
    """The four numbers that level a column best: slope, fanning, bowing and how bowing changes; the first `parts`."""
    from scipy import ndimage

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
            for part in range(parts):
                for move in (-step, step):
                    tried = best.copy()
                    tried[part] += move
                    if abs(tried[part]) <= limits[part] and (found := sharpness(tried)) > score * 1.001:
                        best, score, improved = tried, found, True
    return best
