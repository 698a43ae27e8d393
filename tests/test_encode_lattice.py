from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lines import lattice

from linkage.encode.lattice import Lattice, check_readings


@given(st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_a_packed_lattice_comes_back(columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = Lattice(
        rng.integers(1, 0x10FFFF, (columns, 8), dtype=np.uint32),
        rng.random((columns, 8)).astype(np.float16),
        rng.random(columns).astype(np.float16),
        rng.random(columns) < 0.5,
    )
    for before, after in zip(made, Lattice.unpack(made.pack()), strict=True):
        np.testing.assert_array_equal(before, after)


def test_many_come_back_one_after_another() -> None:
    made = [lattice(text) for text in ("ab", "", "Zürich")]
    together = Lattice.unpack(*[one.pack() for one in made])
    for part, *each in zip(together, *made, strict=True):
        np.testing.assert_array_equal(part, np.concatenate(each))
    assert len(Lattice.unpack().weight) == 0


def test_a_table_of_readings_is_checked_without_unpacking() -> None:
    table = pd.DataFrame({"record_id": ["a", "b"], "reading": ["ab", ""], "reading_confidence": [0.9, np.nan]})
    check_readings(table.assign(lattice=[lattice("ab").pack(), None]))
    for lattices in ([lattice("ab").pack()[:-1], None], ["text", None]):
        with pytest.raises(ValueError, match="no lattice"):
            check_readings(table.assign(lattice=lattices))
    with pytest.raises(ValueError, match="without lattice"):
        check_readings(table)


def test_other_bytes_are_no_lattice() -> None:
    good = lattice("ab")
    bad = [
        b"abc",
        good._replace(chances=good.chances * np.float16("nan")).pack(),
        good._replace(weight=-good.weight).pack(),
    ]
    bad.append(good._replace(letters=good.letters + np.uint32(0x110000)).pack())
    for data in (*bad, "text", float("nan")):
        with pytest.raises(ValueError, match="no lattice"):
            Lattice.unpack(data)


def test_the_reading_joins_columns_of_one_character_and_keeps_doubles_apart() -> None:
    text, chances = lattice("aab", gaps=[False, False, True]).read()
    assert text == "ab"
    assert len(chances) == 2
    assert lattice("aab", gaps=[False, True, False]).read()[0] == "aab"
    assert lattice("aab", weight=[1.0, 0.3, 1.0]).read()[0] == "ab"
    assert lattice("").read() == ("", [])
