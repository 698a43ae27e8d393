"""Every pair by likelihood: the same as pair by pair, only faster."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lines import lattice

from linkage.compare.exhaustive import nearest_by_likelihood
from linkage.compare.wording import MOST_AGAINST, Wording, likelihoods, scaled_evidence


def wording(seed: int, n: int) -> Wording:
    """Words read more or less surely; some have a lattice alone, some a text alone, some nothing."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("abcdefgh")[:4], rng.integers(1, 25))) for _ in range(n)]
    lattices = [
        lattice(word, others=word[::-1], shares=rng.uniform(0.3, 0.95, len(word)).tolist()).pack() for word in words
    ]
    kinds = rng.choice(4, n, p=(0.5, 0.3, 0.15, 0.05))
    texts = [word if kind in (0, 2) else "" for word, kind in zip(words, kinds, strict=True)]
    readings = pd.DataFrame(
        {
            "reading": [word if kind in (0, 1) else "" for word, kind in zip(words, kinds, strict=True)],
            "reading_confidence": np.nan,
            "lattice": [one if kind in (0, 1) else None for one, kind in zip(lattices, kinds, strict=True)],
        }
    )
    return Wording(texts, readings)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_likelihood_of_each_pair(seed: int) -> None:
    left, right = wording(seed, 30), wording(seed + 100, 45)
    a, b = np.arange(30)[::-1], np.arange(45)[5:]
    places, means = nearest_by_likelihood(left, a, right, b, 40)
    pairs = np.repeat(a, 40), np.tile(b, 30)
    by_pair = likelihoods(left, pairs[0], right, pairs[1])[:, 1].reshape(30, 40)
    for row in range(30):
        found = places[row] >= 0
        evidence = by_pair[row, places[row][found]]
        known = ~np.isnan(evidence)  # between two given texts it is no evidence
        np.testing.assert_allclose(scaled_evidence(means[row][found])[known], evidence[known], atol=2e-5)
        assert (np.diff(means[row][found]) <= 0).all()
        left_out = np.setdiff1d(np.arange(40), places[row][found])
        assert (np.nan_to_num(by_pair[row, left_out]) == 0).all()  # they cannot be meant, or have nothing to compare


def test_the_best_come_first_and_none_is_made_up() -> None:
    right = Wording(["Lambert", "Lamhert", "", "Zoll"])
    left = Wording(["", ""], pd.DataFrame({
        "reading": ["Lambert", ""], "reading_confidence": 0.9, "lattice": [lattice("Lambert").pack(), None]
    }))  # fmt: skip
    places, means = nearest_by_likelihood(left, np.arange(2), right, np.arange(4), 3)
    assert places[0].tolist()[:2] == [0, 1]
    assert places[1].tolist() == [-1, -1, -1]
    assert 0 >= means[0, 0] > means[0, 1] > -MOST_AGAINST


def test_long_texts_under_long_lattices_neither_vanish_nor_overflow() -> None:
    text = "abcdefghijklmnopqrstuvwxyz" * 4
    one = lattice(text, others=text[1:] + "a", shares=[0.5] * len(text), gaps=[True] * len(text))
    readings = pd.DataFrame({"reading": [text], "reading_confidence": 0.5, "lattice": [one.pack()]})
    seen, told = Wording([""], readings), Wording([text, "zz" + text])
    means = nearest_by_likelihood(seen, np.zeros(1, int), told, np.arange(2), 2)[1]
    pairs = likelihoods(seen, np.zeros(2, int), told, np.arange(2))[:, 1]
    np.testing.assert_allclose(scaled_evidence(means[0]), pairs, atol=1e-4)
