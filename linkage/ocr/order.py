"""From lines found anywhere on a page to words in reading order, with blocks and lines counted."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import replace

from linkage.ocr.engine import Word

_SAME_ROW = 0.5  # share of the lesser height by which two runs of words overlap on one line
_APART = 0.9  # heights of a line by which the next one is away from which it begins a block


def in_reading_order(runs: Sequence[Sequence[Word]], cuts: Sequence[int] = ()) -> list[Word]:
    """Words of a page column by column, from the top, with `block` and `line` counted from 1.

    Args:
        runs: words that were found in one piece, left to right; the runs in any order.
        cuts: x positions between columns, rising; a run across one is parted.
    """
    columns: list[list[list[Word]]] = [[] for _ in range(len(cuts) + 1)]
    for run in runs:
        parts: dict[int, list[Word]] = {}
        for word in run:
            parts.setdefault(bisect(cuts, (word.box[0] + word.box[2]) / 2), []).append(word)
        for column, part in parts.items():
            columns[column].append(part)
    ordered: list[Word] = []
    block = 0
    for column_runs in columns:
        before: list[Word] | None = None
        for number, line in enumerate(_rows(column_runs), start=1):
            if before is None or _begins_block(before, line):
                block += 1
            ordered += [replace(word, block=block, paragraph=1, line=number) for word in line]
            before = line
    return ordered


def _rows(runs: list[list[Word]]) -> list[list[Word]]:
    """Runs beside one another joined to lines, from the top."""
    rows: list[list[Word]] = []
    for run in sorted(runs, key=lambda run: sum(_span(run))):
        top, bottom = _span(run)
        if rows:
            above, below = _span(rows[-1])
            if min(bottom, below) - max(top, above) >= _SAME_ROW * min(bottom - top, below - above):
                rows[-1] += run
                continue
        rows.append(list(run))
    return [sorted(row, key=lambda word: word.box[0]) for row in rows]


def _begins_block(above: list[Word], line: list[Word]) -> bool:
    top, bottom = _span(line)
    start, end = _span(above)
    return top - end > _APART * min(bottom - top, end - start)


def _span(words: Sequence[Word]) -> tuple[int, int]:
    """Top and bottom of words."""
    return min(word.box[1] for word in words), max(word.box[3] for word in words)
