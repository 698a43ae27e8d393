"""By how many degrees the lines of a page are tilted, and how sure it is that they run that way.

Projection profile after Postl (1986, Detection of linear oblique structures and skew scan in digitized documents):
seen along its lines, the ink of a page falls into sharp bands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_DEGREES = 15.0
"""Tilts up to this are found; a page that lies worse was turned on purpose."""

_POINTS = 60_000  # of the ink, drawn at random: more find nothing more
_COARSE_POINTS, _COARSE_STEP, _COARSE_BAND = 15_000, 0.5, 3.0  # points; degrees; pixels
_STEPS = (0.1, 0.02)
_FEWEST_POINTS = 200


@dataclass(frozen=True)
class Tilt:
    """How the lines of a page run.

    Attributes:
        degrees: positive: they fall to the right (as seen with the lines level).
        clarity: how many times sharper the bands are than at other angles; 0: too little ink to tell.
    """

    degrees: float
    clarity: float


def find_tilt(writing: np.ndarray, *, standing: bool = False) -> Tilt:
    """Tilt of the lines of a page within MOST_DEGREES; the same ink gives the same answer.

    Args:
        writing: (height, width) bool, see `linkage.scans.ink`.
        standing: the lines run from top to bottom instead of from left to right.
    """
    rows, columns = np.nonzero(writing)
    if len(rows) < _FEWEST_POINTS:
        return Tilt(0.0, 0.0)
    chance = np.random.default_rng(0)
    drawn = chance.permutation(len(rows))[:_POINTS]
    # Points spread over their pixels: on the grid itself, no angle but 0 falls into sharp bands.
    spread = chance.random((2, len(drawn)))
    across, along = rows[drawn] + spread[0], columns[drawn] + spread[1]
    if standing:
        across, along = along, -across
    angles = np.arange(-MOST_DEGREES, MOST_DEGREES + _COARSE_STEP / 2, _COARSE_STEP)
    some = slice(_COARSE_POINTS)
    found = np.array([_sharpness(across[some], along[some], angle, _COARSE_BAND) for angle in angles])
    best = float(angles[found.argmax()])
    for step in _STEPS:
        near = best + step * np.arange(-6, 7)
        best = float(near[np.argmax([_sharpness(across, along, angle, 1.0) for angle in near])])
    return Tilt(round(best, 2), float(found.max() / np.median(found)))


def _sharpness(across: np.ndarray, along: np.ndarray, degrees: float, band: float) -> float:
    """Sum of the squared differences between neighbouring bands of a profile taken at an angle."""
    angle = np.deg2rad(degrees)
    place = (across * np.cos(angle) - along * np.sin(angle)) / band
    place -= place.min()
    whole = place.astype(np.int64)
    part = place - whole
    size = int(whole.max()) + 2
    profile = np.bincount(whole, 1 - part, size) + np.bincount(whole + 1, part, size)
    return float(np.square(np.diff(profile)).sum())
