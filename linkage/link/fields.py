"""Further columns that speak for or against a match, compared by their type, and columns that must agree."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd

from linkage.errors import InputError
from linkage.link.scorer import PLACES
from linkage.text import fold

Kind = Literal["text", "number", "date", "exact"]
SUFFIX = "_score"
"""A comparison of column c is column c_score of the links table."""

_DAYS = 30.0  # two dates that lie as far apart are alike to 1/e
_NUMBER = re.compile(r"[-+]?\d[\d.,' \u00a0]*")
_PLACE = {"same_page": ("source", "page"), "same_source": ("source",)}


def check_columns(names: Sequence[str], tables: Mapping[str, pd.DataFrame]) -> None:
    """Raise InputError naming a column that one of the tables (by what they are) lacks."""
    for what, table in tables.items():
        missing = [name for name in names if name not in table.columns]
        if missing:
            raise InputError(
                f"{what}: column {missing[0]!r} is not there, but settings link.blocking or link.fields name it; "
                f"it has {', '.join(table.columns)}"
            )


class Comparisons:
    """The further comparisons between two tables of records: fields by type, and where the records stand.

    Attributes:
        names: of the comparisons, in the order of `alike`'s columns: PLACES where both tables know their sources,
            then one per field.
    """

    def __init__(self, left: pd.DataFrame, right: pd.DataFrame, fields: Mapping[str, Kind]) -> None:
        self._columns = {
            name: tuple(_place(table, _PLACE[name]) for table in (left, right))
            for name in PLACES
            if all("source" in table and (table["source"] != "").any() for table in (left, right))
        }
        self._compare: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {}
        for name, kind in fields.items():
            parse, self._compare[name + SUFFIX] = _KINDS[kind]
            self._columns[name + SUFFIX] = tuple(_parsed(table[name], parse) for table in (left, right))
        self.names = tuple(self._columns)

    def alike(self, a: np.ndarray, b: np.ndarray) -> pd.DataFrame:
        """How alike rows a of the left table are to rows b of the right (m,): 0..1; NaN where one says nothing."""
        return pd.DataFrame(
            {name: self._compare.get(name, _same)(left[a], right[b]) for name, (left, right) in self._columns.items()}
        )


def blocks(left: pd.DataFrame, right: pd.DataFrame, columns: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of both tables that agree in every one of the columns; an empty cell agrees with everything.

    Yields:
        Rows of the left (each in one block only), and rows of the right that they may match, ascending.
    """
    if not columns:
        yield np.arange(len(left)), np.arange(len(right))
        return
    keys = [
        np.array([[fold(_text(cell)) for cell in table[name]] for name in columns], dtype=object)
        for table in (left, right)
    ]
    if not len(left):
        yield np.empty(0, np.int64), np.empty(0, np.int64)
    where: dict[tuple[str, ...], list[int]] = {}
    for row, key in enumerate(zip(*keys[0], strict=True)):
        where.setdefault(key, []).append(row)
    for key, rows in where.items():
        agree = np.ones(len(right), dtype=bool)
        for cell, cells in zip(key, keys[1], strict=True):
            if cell:
                agree &= (cells == cell) | (cells == "")
        yield np.array(rows, dtype=np.int64), np.flatnonzero(agree)


def apart(left: pd.DataFrame, a: np.ndarray, right: pd.DataFrame, b: np.ndarray, exclude: str) -> np.ndarray:
    """Which pairs do not stand on one page ("page") or in one source ("source"), bool (m,); "none": all."""
    if exclude == "none" or not all("source" in table for table in (left, right)):
        return np.ones(len(a), dtype=bool)
    columns = ("source", "page") if exclude == "page" else ("source",)
    one, other = (_place(table, columns) for table in (left, right))
    return np.asarray(_same(one[a], other[b]) != 1.0)


def _place(table: pd.DataFrame, columns: tuple[str, ...]) -> np.ndarray:
    """Where each record stands as one value, None where its source is not known."""
    cells = [[_text(cell) for cell in table[name]] if name in table else ["1"] * len(table) for name in columns]
    return _objects([key if key[0] else None for key in zip(*cells, strict=True)])


def _parsed(cells: pd.Series, parse: Callable[[str], object]) -> np.ndarray:
    return _objects([parse(_text(cell)) for cell in cells])


def _objects(values: Sequence[object]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _text(cell: Any) -> str:
    return "" if pd.isna(cell) else str(cell)


def _folded(text: str) -> str | None:
    return fold(text) or None


@lru_cache(maxsize=65536)
def number(text: str) -> float | None:
    """The first number of a text, with either decimal sign; before exactly three digits a comma groups thousands."""
    found = _NUMBER.search(fold(text))
    if not found:
        return None
    digits = re.sub(r"[' \u00a0]", "", found[0]).rstrip(".,")
    last = max(digits.rfind("."), digits.rfind(","))
    if last >= 0:
        whole, rest = digits[:last], digits[last + 1 :]
        decimal = len(rest) != 3 or (digits[last] == "." and whole.lstrip("+-") in ("", "0"))
        digits = re.sub(r"[.,]", "", whole) + ("." if decimal else "") + rest
    return float(digits)


@lru_cache(maxsize=65536)
def day(text: str) -> int | None:
    """Days since year 1 of a date: 1954-03-01, 1954/3/1, 1.3.1954, 1 March 1954 (day first), or a year alone."""
    import dateutil.parser  # type: ignore[import-untyped]

    if re.fullmatch(r"\s*\d{4}\s*", text):
        return date(max(int(text), 1), 7, 1).toordinal()
    try:
        year_first = bool(re.match(r"\s*\d{4}", text))
        found = dateutil.parser.parse(text, dayfirst=not year_first, yearfirst=year_first)
    except (ValueError, OverflowError, TypeError):
        return None
    return int(found.date().toordinal())


def _same(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return _each(lambda a, b: float(a == b), left, right)


def _near_numbers(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return _each(lambda a, b: 1.0 if a == b else max(0.0, 1.0 - abs(a - b) / max(abs(a), abs(b))), left, right)


def _near_days(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return _each(lambda a, b: float(np.exp(-abs(a - b) / _DAYS)), left, right)


def _near_texts(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Words in any order: rapidfuzz's token sort ratio."""
    from rapidfuzz.fuzz import token_sort_ratio

    return _each(lambda a, b: token_sort_ratio(a, b) / 100.0, left, right)


def _each(compare: Callable[..., float], left: np.ndarray, right: np.ndarray) -> np.ndarray:
    pairs = zip(left.tolist(), right.tolist(), strict=True)
    return np.array([np.nan if a is None or b is None else compare(a, b) for a, b in pairs], dtype=np.float64)


_KINDS: dict[str, tuple[Callable[[str], object], Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "text": (_folded, _near_texts),
    "number": (number, _near_numbers),
    "date": (day, _near_days),
    "exact": (_folded, _same),
}
