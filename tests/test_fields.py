from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.link.fields import Comparisons, apart, blocks, day, number

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


@pytest.mark.parametrize("text", ["", "no date", "32.13.1999", "9" * 40])
def test_what_is_no_date_says_nothing(text: str) -> None:
    assert day(text) is None


@given(
    st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6), st.sampled_from(["text", "number", "date", "exact"])
)
def test_comparisons_are_symmetric_and_bounded(cells: list[tuple[str, str]], kind: str) -> None:
    left, right = (pd.DataFrame({"x": list(side)}) for side in zip(*cells, strict=True))
    rows = np.arange(len(cells))
    there, back = (
        Comparisons(one, other, {"x": kind}).alike(rows, rows)["x_score"].to_numpy()  # type: ignore[dict-item]
        for one, other in ((left, right), (right, left))
    )
    np.testing.assert_allclose(there, back)
    known = there[~np.isnan(there)]
    assert ((known >= 0) & (known <= 1)).all()
    same = Comparisons(left, left, {"x": kind}).alike(rows, rows)["x_score"].to_numpy()  # type: ignore[dict-item]
    assert (same[~np.isnan(same)] == 1).all()


def test_places_are_compared_where_both_are_known() -> None:
    left = pd.DataFrame({"source": ["a", "a", ""], "page": [1, 2, 1]})
    right = pd.DataFrame({"source": ["a", "a", "a"], "page": [1, 1, 1]})
    rows = np.arange(3)
    alike = Comparisons(left, right, {}).alike(rows, rows)
    assert alike["same_source"].tolist()[:2] == [1.0, 1.0]
    assert alike["same_page"].tolist()[:2] == [1.0, 0.0]
    assert alike.iloc[2].isna().all()
    assert apart(left, rows, right, rows, "page").tolist() == [False, True, True]
    assert apart(left, rows, right, rows, "source").tolist() == [False, False, True]
    assert apart(left, rows, right, rows, "none").all()


@given(
    st.lists(st.sampled_from(["", "a", "A", "b"]), min_size=1, max_size=8),
    st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=1, max_size=8),
)
def test_blocks_hold_every_pair_that_agrees_and_no_other(left: list[str], right: list[str]) -> None:
    pairs = {
        (int(row), int(other))
        for rows, others in blocks(pd.DataFrame({"x": left}), pd.DataFrame({"x": right}), ["x"])
        for row in rows
        for other in others
    }
    agreeing = {
        (row, other)
        for row, one in enumerate(left)
        for other, two in enumerate(right)
        if not one or not two or one.casefold() == two.casefold()
    }
    assert pairs == agreeing
