from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.compare.fields import (
    SUFFIX,
    BlockingKeys,
    ExclusionRule,
    FieldComparisons,
    FieldValues,
    blocks,
    check_columns,
    day,
    number,
)
from linkage.compare.likeness import PARTS
from linkage.compare.wording import MEASURES
from linkage.config import OWN_SCORES, load_config
from linkage.errors import ConfigError, InputError

VALUES = st.one_of(st.just(""), st.text(max_size=6), st.integers(-1000, 3000).map(str), st.dates().map(str))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$399.00", 399.0),
        ("1,234.50", 1234.5),
        ("1.234,50", 1234.5),
        ("1,234", 1234.0),
        ("12,5", 12.5),
        ("0.125", 0.125),
        ("1'250.00 Fr.", 1250.0),
        ("about 7", 7.0),
        ("1.234", 1.234),
        ("1234.567", 1234.567),
        ("1234,567", 1234.567),
        ("0,125", 0.125),
        ("1,234,567", 1234567.0),
        ("1.234.567,89", 1234567.89),
        ("12,34,567.5", 1234567.5),
        ("1.3.1954", 1.0),
        ("10 20", 10.0),
        ("1 250 000", 1250000.0),
        ("1 250,50", 1250.5),
        ("555 123 4567", 555.0),
        ("Room 12, 1898", 12.0),
        ("SKU-100", 100.0),
        ("12-34", 12.0),
        ("up -3", -3.0),
        ("-$3.50", -3.5),
        (".99", 0.99),
        ("1e-05", 1e-05),
        ("9" * 400, None),
        ("-3", -3.0),
        ("no price", None),
        ("", None),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, value: float | None) -> None:
    assert number(text) == value


@pytest.mark.parametrize("text", ["1954-03-01", "1954/3/1", "1.3.1954", "1 March 1954", "March 1, 1954"])
def test_dates_are_read_day_first_or_year_first(text: str) -> None:
    assert day(text) == pd.Timestamp("1954-03-01").toordinal()


@pytest.mark.parametrize(
    ("text", "middle"), [("March 1954", "1954-03-16"), ("2/1954", "1954-02-14"), ("1954", "1954-07-02")]
)
def test_of_a_month_or_a_year_the_middle_counts(text: str, middle: str) -> None:
    assert day(text) == pd.Timestamp(middle).toordinal()


@pytest.mark.parametrize(
    "text", ["", "no date", "32.13.1999", "9" * 40, "12", "10:30", "May", "Mon", "1.3.54", "29 Feb"]
)
def test_what_is_no_date_says_nothing(text: str) -> None:
    assert day(text) is None


def compared(left: pd.DataFrame, right: pd.DataFrame, fields: dict[str, Any]) -> FieldComparisons:
    return FieldComparisons(FieldValues(left, fields), FieldValues(right, fields))


KINDS = st.sampled_from(["text", "number", "date", "exact"])


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6), KINDS)
def test_comparisons_are_symmetric_and_bounded(cells: list[tuple[str, str]], kind: str) -> None:
    left, right = (pd.DataFrame({"x": list(side)}) for side in zip(*cells, strict=True))
    rows = np.arange(len(cells))
    there, back = (
        compared(one, other, {"x": kind}).alike(rows, rows)["x_score"].to_numpy()
        for one, other in ((left, right), (right, left))
    )
    np.testing.assert_allclose(there, back)
    known = there[~np.isnan(there)]
    assert ((known >= 0) & (known <= 1)).all()
    same = compared(left, left, {"x": kind}).alike(rows, rows)["x_score"].to_numpy()
    assert (same[~np.isnan(same)] == 1).all()


def test_places_are_compared_where_both_are_known() -> None:
    left = pd.DataFrame({"source": ["a", "a", ""], "page": [1, 2, 1]})
    right = pd.DataFrame({"source": ["a", "a", "a"], "page": [1, 1, 1]})
    rows = np.arange(3)
    alike = compared(left, right, {}).alike(rows, rows)
    assert alike["same_source"].tolist()[:2] == [1.0, 1.0]
    assert alike["same_page"].tolist()[:2] == [1.0, 0.0]
    assert alike.iloc[2].isna().all()
    left["record_id"], right["record_id"] = ["q", "r", "s"], ["x", "y", "z"]
    assert ExclusionRule(right, "page").apart(left).of(rows, rows).tolist() == [False, True, True]
    assert ExclusionRule(right, "source").apart(left).of(rows, rows).tolist() == [False, False, True]
    assert ExclusionRule(right).apart(left).of(rows, rows).all()


def test_a_record_stands_apart_from_all_but_itself() -> None:
    left, right = pd.DataFrame({"record_id": ["a", "b"]}), pd.DataFrame({"record_id": ["b", "c"]})
    pairs = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert ExclusionRule(right).apart(left).of(*pairs).tolist() == [True, True, False, True]


def test_whole_numbers_are_one_in_columns_of_any_type() -> None:
    left = pd.DataFrame({"record_id": ["a", "b", "c"], "source": "s", "page": [1, 2, 3], "key": ["1", "2", "2.5"]})
    right = pd.DataFrame(
        {"record_id": ["x", "y", "z"], "source": "s", "page": [1.0, 2.0, np.nan], "key": [1.0, 2.0, 2.5]}
    )
    rows = np.arange(3)
    alike = compared(left, right, {"key": "exact"}).alike(rows, rows)
    assert alike["same_page"].tolist() == [1.0, 1.0, 0.0]
    assert alike["key_score"].tolist() == [1.0, 1.0, 1.0]
    assert ExclusionRule(right, "page").apart(left).of(rows, rows).tolist() == [False, False, True]
    found = [(one.tolist(), other.tolist()) for one, other in blocks(left, BlockingKeys(right, ["key"]), ["key"])]
    assert found == [([0], [0]), ([1], [1]), ([2], [2])]


def test_numbers_of_numeric_columns_are_taken_as_they_are() -> None:
    left = pd.DataFrame({"x": [12.125, 1e-05, np.nan, np.inf]})
    right = pd.DataFrame({"x": ["12.125", "1e-05", "1", "1"]})
    rows = np.arange(4)
    score = compared(left, right, {"x": "number"}).alike(rows, rows)["x_score"].to_numpy()
    np.testing.assert_array_equal(score, [1.0, 1.0, np.nan, np.nan])
    far = compared(left, left + 12.125, {"x": "number"}).alike(rows[:1], rows[:1])["x_score"]
    assert far.tolist() == [0.5]


@pytest.mark.parametrize("cell", [["a", "b"], {"a": 1}, np.array([1.0, 2.0])])
def test_a_column_of_lists_is_named(cell: object) -> None:
    table = pd.DataFrame({"x": [date(1954, 3, 1), None], "y": [Decimal(1), "a"], "tags": [None, cell]})
    check_columns(["x", "y"], {"queries": table})
    with pytest.raises(InputError, match="queries: column 'tags' holds lists"):
        check_columns(["x", "tags"], {"queries": table})


def test_a_field_is_not_named_as_what_the_scorer_compares_itself() -> None:
    assert {f"{name}_score" for name in OWN_SCORES} == {name for name in (*PARTS, *MEASURES) if name.endswith(SUFFIX)}
    with pytest.raises(ConfigError, match=r"link.fields: .*'string' .*rename the column") as error:
        load_config(None, ["link.fields={string: text, price: number}"])
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="leave it out"):
        load_config(None, ["link.fields={text: text}"])


SOME = st.tuples(st.sampled_from(["", "a", "A", "b", "c"]), st.sampled_from(["", "1", "2"]))


@given(st.lists(SOME, min_size=1, max_size=8), st.lists(SOME, min_size=1, max_size=8))
def test_blocks_hold_every_pair_that_agrees_and_no_other(
    left: list[tuple[str, str]], right: list[tuple[str, str]]
) -> None:
    tables = [pd.DataFrame(side, columns=["x", "y"]) for side in (left, right)]
    found = list(blocks(tables[0], BlockingKeys(tables[1], ["x", "y"]), ["x", "y"]))
    pairs = [(int(row), int(other)) for rows, others in found for row in rows for other in others]
    agreeing = {
        (row, other)
        for row, one in enumerate(left)
        for other, two in enumerate(right)
        if all(not a or not b or a.casefold() == b.casefold() for a, b in zip(one, two, strict=True))
    }
    assert len(pairs) == len(set(pairs)) and set(pairs) == agreeing
    assert sorted(row for rows, _ in found for row in rows) == list(range(len(left)))
    assert all((np.diff(others) > 0).all() for _, others in found)
