"""How right a reading is, by how sure its engine was: what makes confidences of different engines comparable.

Engines mean different things by their confidence. For each engine and script a monotone map takes the mean confidence
of a reading's words to the share of its characters that is right, as counted on drawn crops by
`scripts/calibrate_engines.py` (isotonic regression: Zadrozny and Elkan 2002, Transforming classifier scores into
accurate multiclass probability estimates).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from linkage.ocr.engine import Word

FILE = Path(__file__).with_name("calibration.json")
_BOUNDS = (0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.25, 0.4, 0.6, 0.8, 0.9, 1)  # shares of the readings between knots
_EAST_ASIAN = 0x2E80  # code points from here on, roughly: radicals, kana, Han, full-width forms


def mean_confidence(words: Sequence[Word]) -> float | None:
    """Mean of the words' confidences by their lengths, 0..1; None without words."""
    if not words:
        return None
    return float(np.average([word.confidence for word in words], weights=[len(word.text) for word in words]))


def calibrated(engine: str, words: Sequence[Word]) -> float | None:
    """Expected share of the characters of a reading that is right, 0..1; None without words.

    Args:
        engine: its name; an engine that was never calibrated is taken at its word.
        words: as it read them, none without a text.
    """
    raw = mean_confidence(words)
    maps = _maps().get(engine.split(" ")[0])
    if raw is None or maps is None:
        return raw
    knots = maps[script_of("".join(word.text for word in words))]
    return float(np.interp(raw, knots["confidence"], knots["right"]))


def script_of(text: str) -> str:
    """`japanese` where most characters are East Asian, else `latin`: engines read them with different models."""
    east = sum(ord(character) >= _EAST_ASIAN for character in text)
    return "japanese" if 2 * east > len(text) else "latin"


def fit_map(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """A monotone map as it is kept in the file.

    Args:
        confidence: float64 (n,), mean confidences of readings, 0..1.
        right: float64 (n,), share of each one's characters that is right.

    Returns:
        `confidence` and `right`: the map's knots, linear in between; `n`; `error_before` and `error`: mean distance
        of expected and true share over ten equal parts of the readings, without the map and with it (five-fold).
    """
    order = np.argsort(np.arange(len(confidence)) * 0.6180339887 % 1)  # spread evenly, the same every time
    held = np.empty(len(confidence))
    for fold in np.array_split(order, 5):
        rest = np.setdiff1d(order, fold)
        held[fold] = np.interp(confidence[fold], *_knots(confidence[rest], right[rest]))
    x, y = _knots(confidence, right)
    return {
        "confidence": x.round(4).tolist(),
        "right": y.round(4).tolist(),
        "n": len(confidence),
        "error_before": round(calibration_error(confidence, right), 4),
        "error": round(calibration_error(held, right), 4),
    }


def calibration_error(expected: np.ndarray, right: np.ndarray) -> float:
    """Mean distance of expected and true share over ten parts of equal size, in order of the expected share."""
    parts = np.array_split(np.argsort(expected, kind="stable"), 10)
    distances = [abs(expected[part].mean() - right[part].mean()) for part in parts if len(part)]
    return float(np.average(distances, weights=[len(part) for part in parts if len(part)]))


def _knots(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(confidence, right)
    bounds = np.unique(np.quantile(confidence, _BOUNDS))
    place = np.clip(np.searchsorted(bounds, confidence, side="right") - 1, 0, max(len(bounds) - 2, 0))
    parts = [confidence[place == part] for part in range(max(len(bounds) - 1, 1)) if (place == part).any()]
    x = np.array([part.mean() for part in parts])
    y = np.array([fitted.predict(part).mean() for part in parts])
    return x, y


@lru_cache(maxsize=1)
def _maps() -> dict[str, dict[str, dict[str, Any]]]:
    maps: dict[str, dict[str, dict[str, Any]]] = json.loads(FILE.read_text(encoding="utf-8"))
    return maps
