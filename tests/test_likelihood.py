"""Likelihood of a text under a lattice: against the sum over all alignments, written out."""

from __future__ import annotations

from itertools import groupby, product

import numpy as np
import pandas as pd
import pytest
from lines import lattice

from linkage.link.likelihood import folded, letters, likelihood
from linkage.link.wording import Wording, alike

LEAST = 1e-3


def by_hand(chances: list[dict[str, float]], none: list[float], text: str) -> float:
    """Sum over every path of characters and none that collapses to the text (Graves et al. 2006, section 3.1)."""
    total = 0.0
    for path in product(["", *sorted(set(text))], repeat=len(none)):
        if "".join(key for key, _ in groupby(path)) != text:
            continue
        steps = [
            blank if not key else odds.get(key, LEAST) for key, odds, blank in zip(path, chances, none, strict=True)
        ]
        total += float(np.prod(steps))
    return total


@pytest.mark.parametrize("text", ["a", "ab", "aa", "ba", "abb", "c"])
def test_it_is_the_sum_over_all_alignments(text: str) -> None:
    rng = np.random.default_rng(3)
    weight = rng.uniform(0.4, 0.95, 4)
    share = rng.uniform(0.2, 0.8, 4)
    lines = lattice("abab", others="babc", weight=weight.tolist(), shares=share.tolist())
    chances = [
        {one: float(odds[0]), other: float(odds[1])}
        for one, other, odds in zip("abab", "babc", lines.chances.astype(np.float64), strict=True)
    ]
    none = [float(1 - w) for w in lines.weight.astype(np.float64)]
    likeliest = [max(odds, key=lambda key: odds[key]) for odds in chances]
    best = [max(blank, odds[key]) for blank, odds, key in zip(none, chances, likeliest, strict=True)]
    read = [key if odds[key] > blank else "" for blank, odds, key in zip(none, chances, likeliest, strict=True)]
    length = max(len(text), len("".join(key for key, _ in groupby(read))))
    expected = min(by_hand(chances, none, text) / float(np.prod(best)), 1.0) ** (1 / length)
    assert likelihood([folded(lines)], [letters(text)])[0] == pytest.approx(expected, rel=1e-3)


def test_what_was_read_is_likeliest_and_look_alikes_come_next() -> None:
    seen = folded(lattice("Bern", others="8cmm", shares=[0.6] * 4))
    found = likelihood([seen] * 4, [letters(text) for text in ("BERN", "Bem", "8crn", "Paris")])
    assert found[0] > 0.8
    assert found[0] > found[2] > found[3]
    assert found[1] > found[3]


def test_what_cannot_stand_there_is_unlikely_however_long_it_is() -> None:
    seen = folded(lattice("acme", gaps=[True] * 4))
    texts = [letters(text) for text in ("acme", "bcme", "wxyz" * 5, "wxyz" * 24, "acme" + "wxyz" * 18)]
    found = likelihood([seen] * len(texts), texts)
    assert found[0] > 0.9
    assert found[0] > found[1] > 0.1
    assert (found[2:] < 0.02).all()
    long = "abcdefghijklmnopqrstuvwxyz" * 4
    line = folded(lattice(long, gaps=[True] * len(long)))
    assert likelihood([line], [letters(long)])[0] > 0.95


def test_punctuation_does_not_count() -> None:
    seen = folded(lattice("t.", others="fo", shares=[0.8, 0.6]))
    found = likelihood([seen] * 3, [letters(text) for text in ("To", "t", "tion")])
    assert found[0] > found[2]
    assert found[1] > found[2]
    assert likelihood([folded(lattice("s.h."))], [letters("SH")])[0] > 0.9


def test_company_and_order_do_not_matter() -> None:
    texts = ["abc", "a", "", "abcabcabc", "zzz"]
    lattices = [folded(lattice(text)) for text in ("abc", "abd", "abc", "abcabc", "")]
    together = likelihood(lattices, [letters(text) for text in texts])
    for row, (one, text) in enumerate(zip(lattices, texts, strict=True)):
        np.testing.assert_allclose(likelihood([one], [letters(text)])[0], together[row], rtol=1e-5)
    assert np.isnan(together[[2, 4]]).all()


def test_the_better_of_given_text_and_own_reading_counts() -> None:
    readings = pd.DataFrame({"reading": ["Dubois", ""], "lattice": [lattice("Dubois").pack(), None]})
    asked, known = Wording(["Duhois", ""], readings), Wording(["Dubois", "Dubois"])
    said = alike(asked, np.array([0, 1]), known, np.array([0, 1]))
    assert said[0, 0] == 1.0
    assert said[0, 1] == 6 / 8
    assert said[0, 2] > 0.9
    assert np.isnan(said[1]).all()
    mirrored = alike(known, np.array([0]), asked, np.array([0]))
    np.testing.assert_allclose(mirrored[0], said[0])
