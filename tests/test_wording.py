"""Likeness of wordings, of long texts above all."""

from __future__ import annotations

import numpy as np
import pytest

from linkage.compare.likelihood import CHARACTERS
from linkage.compare.wording import MEASURES, Wording, written

FIRST = np.array([0])


def measured(left: str, right: str) -> dict[str, float]:
    """How alike two texts are, by measure."""
    return dict(zip(MEASURES, written(Wording([left]), FIRST, Wording([right]), FIRST)[0].tolist(), strict=True))


def letters(seed: int, n: int) -> str:
    """A text of n letters in words of seven."""
    drawn = np.random.default_rng(seed).choice(list("abcdefghij"), n)
    drawn[7::8] = " "
    return "".join(drawn)


def test_long_texts_are_compared_by_their_beginnings() -> None:
    one, other = letters(0, 1_000_000), letters(1, 1_000_000)
    known = measured(one, other)
    assert known["string_score"] < 0.6  # and it has not taken hours
    same = measured(one, one[:5000] + other)
    assert [same[name] for name in ("string_score", "rarity_score")] == [1.0, 1.0]
    assert same["partial_score"] == pytest.approx(CHARACTERS / (CHARACTERS + 2))
    assert same["length"] > measured(one[:CHARACTERS], one[:CHARACTERS])["length"]


def test_texts_of_ordinary_length_count_to_the_end() -> None:
    name = letters(2, CHARACTERS // 2)
    assert measured(name, name[:-1] + "x")["string_score"] == pytest.approx(
        1 - 1 / len(name.replace(" ", "")), abs=2e-3
    )
