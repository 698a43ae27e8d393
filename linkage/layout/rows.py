"""Rows of a table: the words of all its cells on one level, or between two rules."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from linkage.layout.columns import runs
from linkage.layout.ink import PageInk
from linkage.layout.level import slope_of
from linkage.ocr.engine import Word

_LEVEL = 0.6  # words whose middles are farther apart, in heights of a word, are on different rows
_RULED = 0.4  # share of the words' width along which a rule parts rows
_ROW = 4.0  # greatest usual height of a ruled row, in heights of a word; with more, rules part whole tables


def rows_of_words(words: Sequence[Word], ink: PageInk) -> list[list[Word]]:
    """Rows of a table from top to bottom; the words of a row cell by cell from left to right.

    Where rules go across the table, what stands between two of them is a row, however many lines its cells have;
    elsewhere every level is a row.

    Args:
        words: of the page, in the engine's order.
        ink: of the page.
    """
    if not words:
        return []
    boxes = np.array([word.box for word in words], dtype=float)
    height = max(float(np.median(boxes[:, 3] - boxes[:, 1])), 1.0)
    slope = slope_of(ink.letters)
    middles = boxes[:, [1, 3]].mean(axis=1) - slope * boxes[:, [0, 2]].mean(axis=1)
    rules = _rules(ink.levels, slope, boxes)
    place = np.searchsorted(rules, middles)
    used = np.unique(place[(place > 0) & (place < len(rules))])
    if not len(used) or np.median(rules[used] - rules[used - 1]) > _ROW * height:
        place = _levels(middles, _LEVEL * height)
    return [_in_cells([word for word, at in zip(words, place, strict=True) if at == row]) for row in np.unique(place)]


def _levels(middles: np.ndarray, apart: float) -> np.ndarray:
    """(words,) number of the level that each word stands on, from the top."""
    order = np.argsort(middles, kind="stable")
    level = np.zeros(len(middles), dtype=int)
    first = middles[order[0]]
    members = 0
    number = 0
    for word in order:
        if middles[word] - first > apart:
            number, first, members = number + 1, middles[word], 0
        first, members = (first * members + middles[word]) / (members + 1), members + 1
        level[word] = number
    return level


def _rules(levels: np.ndarray, slope: float, boxes: np.ndarray) -> np.ndarray:
    """Where rules across the words cut the left edge of the page, rising."""
    y, x = np.nonzero(levels)
    left, right = boxes[:, 0].min(), boxes[:, 2].max()
    inside = (x >= left) & (x < right)
    at = np.rint(y[inside] - slope * x[inside]).astype(int)
    if not len(at):
        return np.zeros(0)
    filled = np.bincount(at - at.min())
    # A rule is some pixels thick, and not quite as level as the lines are on the whole.
    near = np.convolve(filled, np.ones(3), mode="same")
    return np.array([at.min() + (start + end - 1) / 2 for start, end in runs(near >= _RULED * (right - left))])


def _in_cells(row: list[Word]) -> list[Word]:
    """The words of a row from left to right; the lines of a cell stay together, one after the other."""
    by_line = [list(group) for _, group in groupby(row, key=lambda word: (word.block, word.paragraph, word.line))]
    pieces = sorted(by_line, key=lambda piece: min(word.box[0] for word in piece))
    cells: list[list[list[Word]]] = []
    end = -1
    for piece in pieces:
        if not cells or min(word.box[0] for word in piece) >= end:
            cells.append([])
        cells[-1].append(piece)
        end = max(end, *(word.box[2] for word in piece))
    ordered = [sorted(cell, key=lambda piece: min(word.box[1] for word in piece)) for cell in cells]
    return [word for cell in ordered for piece in cell for word in sorted(piece, key=lambda word: word.box[0])]
