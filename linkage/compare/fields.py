"""Further columns that speak for or against a match, compared by their type, and columns that must agree."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from dateutil.parser import parser, parserinfo  # type: ignore[import-untyped]

from linkage.compare.scorer import PLACES
from linkage.compare.terms import Frequencies, Grams, Terms, Views
from linkage.errors import InputError
from linkage.tables import plain
from linkage.text import FOLDING, Folding

FieldType = Literal["text", "number", "date", "exact"]
SUFFIX = "_score"
"""A comparison of column c is column c_score of the links table."""

_DAYS = 30.0  # two dates that lie as far apart are alike to 1/e
_NUMBER = re.compile(
    r"(?:(?<!\S)(?P<sign>[-+\u2212])[$€£¥]?(?=\d))?"
    r"(?:(?P<groups>\d{1,3}(?:[ '\u2019]\d{3})+)(?![ '\u2019]?\d)(?:[.,](?P<rest>\d+))?|(?P<digits>\d+(?:[.,]\d+)*))"
    r"(?P<power>[eE][-+]\d{1,3}\b)?"
)
_BARE = re.compile(r"(?<!\S)([-+\u2212]?[$€£¥]?)\.(?=\d)")  # the dot of .5
_PLACE = {"same_page": ("source", "page"), "same_source": ("source",)}


def check_columns(names: Sequence[str], tables: Mapping[str, pd.DataFrame]) -> None:
    """Raise InputError naming a column that a table (by what it is) lacks, or that does not hold single values."""
    for what, table in tables.items():
        missing = [name for name in names if name not in table.columns]
        if missing:
            raise InputError(
                f"{what}: column {missing[0]!r} is not there, but settings link.blocking or link.fields name it; "
                f"it has {', '.join(table.columns)}"
            )
        for name in names:
            if table[name].dtype == object and not all(map(pd.api.types.is_scalar, table[name])):
                raise InputError(
                    f"{what}: column {name!r} holds lists or the like, but settings link.blocking or link.fields, "
                    "which name it, need one value in each cell; write them as text, or spread them over columns"
                )


class FieldValues:
    """What one table of records says in the columns that are compared.

    Attributes:
        placed: the source of some record is known.
        values: by name of the comparison, (n,) objects; None where a record says nothing.
        texts: by name of the comparison, folded texts.
    """

    def __init__(self, table: pd.DataFrame, fields: Mapping[str, FieldType], folding: Folding = FOLDING) -> None:
        self.n = len(table)
        self.fields = fields
        self.placed = "source" in table and bool((table["source"] != "").any())
        self.values = {name: _place(table, _PLACE[name]) for name in PLACES if "source" in table}
        self.texts: dict[str, list[str]] = {}
        for name, kind in fields.items():
            if kind == "text":
                self.texts[name + SUFFIX] = [folding.fold(plain(cell)) for cell in table[name]]
            else:
                parse = _KINDS[kind][0]
                self.values[name + SUFFIX] = _objects([parse(cell, folding) for cell in table[name]])
        self._grams: dict[str, tuple[Frequencies, Grams]] = {}

    def views(self, name: str) -> Views:
        """One of the texts as records without readings."""
        return self.texts[name], [""] * self.n

    def weighed(self, name: str, counted: Frequencies) -> Grams:
        """The n-grams of one of the texts, kept for the next table that they are compared with."""
        if name not in self._grams or self._grams[name][0] is not counted:
            self._grams[name] = (counted, Grams(counted, self.views(name)))
        return self._grams[name][1]


class TextCounts(NamedTuple):
    """In how many records of one table each n-gram stands, for comparisons that must not hang on the other table.

    Attributes:
        words: the n-grams of texts and readings.
        fields: those of further columns, by name of the comparison.
    """

    words: Frequencies
    fields: dict[str, Frequencies]


class FieldComparisons:
    """The further comparisons between two tables of records: fields by type, and where the records stand.

    They are PLACES where the right table knows its sources, then one per field: texts by the cosine of their n-grams,
    weighed by rarity; numbers by their relative distance; dates by exp(-days / 30); others by equality.
    """

    def __init__(self, left: FieldValues, right: FieldValues, counts: TextCounts | None = None) -> None:
        """Take two tables; `counts`: by which n-grams are rare, default: how many records of both have them."""
        kept = [name for name in left.values if name not in PLACES or right.placed]
        self._columns = {name: (left.values[name], right.values[name]) for name in kept}
        self._compare = {name + SUFFIX: _KINDS[kind][1] for name, kind in left.fields.items() if kind != "text"}
        self._terms: dict[str, Terms] = {}
        for name in left.texts:
            counted = counts.fields[name] if counts else Frequencies().add(left.views(name), right.views(name))
            self._terms[name] = Terms(left.weighed(name, counted), right.weighed(name, counted))

    def alike(self, a: np.ndarray, b: np.ndarray) -> pd.DataFrame:
        """How alike rows a of the left table are to rows b of the right (m,): 0..1; NaN where one says nothing."""
        told = {
            name: self._compare.get(name, _same)(left[a], right[b]) for name, (left, right) in self._columns.items()
        }
        told |= {name: terms.cosines(a, b) for name, terms in self._terms.items()}
        return pd.DataFrame(told)


def blocks(left: pd.DataFrame, right: BlockingKeys, columns: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of both tables that agree in every one of the columns; an empty cell agrees with everything.

    Args:
        left: one table.
        right: the keys of the other in the same columns.
        columns: names.

    Yields:
        Rows of the left (each in one block only), and rows of the right that they may match, ascending.
    """
    if not columns:
        yield np.arange(len(left)), np.arange(right.n)
        return
    if not len(left):
        yield np.empty(0, np.int64), np.empty(0, np.int64)
    for key, rows in _rows_by(_keys(left, columns, right.folding)).items():
        yield rows, right.agreeing(key)


BlockingKey = tuple[str, ...]
K = TypeVar("K")


class BlockingKeys:
    """Rows of a table by key, "" in which agrees with everything; found without a look at all of them."""

    def __init__(self, table: pd.DataFrame, columns: Sequence[str], folding: Folding = FOLDING) -> None:
        self.n = len(table)
        self.folding = folding
        self._keys = keys = _keys(table, columns, folding) if columns else []
        told = [tuple(place for place, cell in enumerate(key) if cell) for key in keys]
        self._by_told = _rows_by(told)
        self._found: dict[tuple[tuple[int, ...], tuple[int, ...]], dict[BlockingKey, np.ndarray]] = {}

    def agreeing(self, key: BlockingKey) -> np.ndarray:
        """The rows that agree with a key, ascending."""
        found = [np.empty(0, np.int64)]
        for told, rows in self._by_told.items():
            both = tuple(place for place in told if key[place])
            if (told, both) not in self._found:
                parts = [tuple(self._keys[row][place] for place in both) for row in rows]
                self._found[told, both] = {part: rows[places] for part, places in _rows_by(parts).items()}
            part = tuple(key[place] for place in both)
            if part in self._found[told, both]:
                found.append(self._found[told, both][part])
        return np.sort(np.concatenate(found))


def _keys(table: pd.DataFrame, columns: Sequence[str], folding: Folding) -> list[BlockingKey]:
    return list(zip(*([folding.fold(plain(cell)) for cell in table[name]] for name in columns), strict=True))


def _rows_by(keys: Sequence[K]) -> dict[K, np.ndarray]:
    rows: dict[K, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return {key: np.array(some, dtype=np.int64) for key, some in rows.items()}


Exclude = Literal["none", "page", "source"]


class ExclusionRule:
    """Which records of a table one of another must not be linked to: itself, nor, if so asked, those of its place."""

    def __init__(self, table: pd.DataFrame, exclude: Exclude = "none") -> None:
        """Take a table with record_id, and source and page where they are known.

        Args:
            table: the records that others are linked to.
            exclude: "page": not within one page; "source": not within one source.
        """
        self.ids = set(table["record_id"].tolist())
        self._columns = {"none": (), "page": ("source", "page"), "source": ("source",)}[exclude]
        self._codes = []
        for values in self._values(table):
            codes, names = pd.factorize(_objects(values))
            self._codes.append((codes, {name: code for code, name in enumerate(names)}))

    def _values(self, table: pd.DataFrame) -> list[list[Any]]:
        values = [table["record_id"].tolist()]
        if self._columns and "source" in table:
            values.append(_place(table, self._columns).tolist())
        return values

    def apart(self, table: pd.DataFrame) -> PairExclusions:
        """Which pairs of another table's rows with these may be linked."""
        sides = []
        for values, (right, names) in zip(self._values(table), self._codes, strict=False):
            sides.append((np.array([names.get(value, -1) for value in values], dtype=np.int64), right))
        return PairExclusions(sides)


class PairExclusions:
    """Which pairs of two tables may be linked; see `ExclusionRule`."""

    def __init__(self, codes: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        self._codes = codes

    def of(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Which of the pairs of rows a of the left table and b of the right (m,) may be linked, bool (m,)."""
        free = np.ones(len(a), dtype=bool)
        for left, right in self._codes:
            free &= (left[a] != right[b]) | (left[a] < 0)
        return free


def _place(table: pd.DataFrame, columns: tuple[str, ...]) -> np.ndarray:
    """Where each record stands as one value, None where its source is not known."""
    cells = [[plain(cell) for cell in table[name]] if name in table else ["1"] * len(table) for name in columns]
    return _objects([key if key[0] else None for key in zip(*cells, strict=True)])


def _objects(values: Sequence[object]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _folded(cell: Any, folding: Folding) -> str | None:
    return folding.fold(plain(cell)) or None


def _number(cell: Any, folding: Folding) -> float | None:
    if not isinstance(cell, int | float | np.number | Decimal):
        return number(plain(cell), folding)
    value = float(cell)
    return value if math.isfinite(value) else None


@lru_cache(maxsize=65536)
def number(text: str, folding: Folding = FOLDING) -> float | None:
    """The first number of a text, None where there is none.

    Thousands may be grouped by spaces, apostrophes, dots or commas. Of two different signs the last is the decimal
    one; one that stands several times groups; a single comma before exactly three digits groups (1,234 is 1234), a
    single dot does not (1.234 is a little more than 1). What fits neither is read up to its first sign (1.3.1954 is
    1). A minus counts at the start or after a space: SKU-100 is 100.
    """
    found = _NUMBER.search(_BARE.sub(r"\g<1>0.", folding.fold(text)))
    if not found:
        return None
    digits = re.sub(r"\D", "", found["groups"]) + "." + (found["rest"] or "0") if found["groups"] else found["digits"]
    value = float((_plain(digits) if found["digits"] else digits) + (found["power"] or ""))
    return (-value if found["sign"] in ("-", "\u2212") else value) if math.isfinite(value) else None


def _plain(digits: str) -> str:
    """Digits with dots and commas between them, without grouping and with a decimal dot."""
    signs = re.sub(r"\d", "", digits)
    whole, last, rest = digits.rpartition(signs[-1:] or ".")
    if len(signs) == 1:
        grouped = last == "," and len(rest) == 3 and len(whole) <= 3 and not whole.startswith("0")
        return whole + rest if grouped else f"{whole}.{rest}"
    if signs and len(set(signs)) == 1 and _groups(digits, last):
        return digits.replace(last, "")
    if signs.count(last) == 1 and len(set(signs)) == 2 and _groups(whole, signs[0]):
        return f"{whole.replace(signs[0], '')}.{rest}"
    return re.split(r"[.,]", digits)[0]  # a list, a date, a version: its first number


def _groups(digits: str, sign: str) -> bool:
    """Whether a sign groups thousands: 1,234,567, or as in India 12,34,567."""
    return bool(re.fullmatch(r"\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d\d)+,\d{3}", digits.replace(sign, ",")))


class _WholeYears(parserinfo):  # type: ignore[misc]
    """The words of dates; a year of two digits is of no certain century."""

    def convertyear(self, year: int, century_specified: bool = False) -> int:
        """The year as it stands; ValueError where it has two digits."""
        if year < 100 and not century_specified:
            raise ValueError(year)
        return year


_DATES = parser(_WholeYears())
_FIRST, _LAST = datetime(2000, 1, 1), datetime(2004, 12, 31)  # leap years: 29 February stays what it is


@lru_cache(maxsize=65536)
def day(text: str) -> int | None:
    """Days since year 1 of a date: 1954-03-01, 1954/3/1, 1.3.1954, 1 March 1954 (day first).

    Of a month or a year alone it is the middle. None where there is no date, no year, or one of two digits.
    """
    year_first = bool(re.match(r"\s*\d{4}", text))
    try:  # what the text does not say comes from the default: the first day and the last that it may mean
        first, last = (
            _DATES.parse(text, default=default, dayfirst=not year_first, yearfirst=year_first).date()
            for default in (_FIRST, _LAST)
        )
    except (ValueError, OverflowError, TypeError):
        return None
    return (first.toordinal() + last.toordinal()) // 2 if first.year == last.year else None


def _day(cell: Any, _: Folding) -> int | None:
    return day(plain(cell))


def _same(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return _each(lambda a, b: float(a == b), left, right)


def _near_numbers(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return _each(lambda a, b: 1.0 if a == b else max(0.0, 1.0 - abs(a - b) / max(abs(a), abs(b))), left, right)


def _near_days(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return _each(lambda a, b: float(np.exp(-abs(a - b) / _DAYS)), left, right)


def _each(compare: Callable[..., float], left: np.ndarray, right: np.ndarray) -> np.ndarray:
    pairs = zip(left.tolist(), right.tolist(), strict=True)
    return np.array([np.nan if a is None or b is None else compare(a, b) for a, b in pairs], dtype=np.float64)


_KINDS: dict[str, tuple[Callable[[Any, Folding], object], Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "number": (_number, _near_numbers),
    "date": (_day, _near_days),
    "exact": (_folded, _same),
}
