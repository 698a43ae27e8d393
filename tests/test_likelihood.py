"""Likelihood of a text under a lattice: against the sum over all alignments, written out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, product

import numpy as np
import pandas as pd
import pytest
from lines import lattice
from linkdata import alike

from linkage.compare.likelihood import FoldedLattices, Letters, likelihood
from linkage.compare.wording import MEASURES, Wording, likelihoods
from linkage.encode.lattice import Lattice
from linkage.errors import ArtefactError

LEAST = 1e-3
LIKELIHOOD = MEASURES.index("likelihood")


def compared(lattices: Sequence[Lattice], texts: Sequence[str]) -> np.ndarray:
    """Likelihood of each text under its lattice."""
    rows = np.arange(len(texts))
    return likelihood(FoldedLattices.of([one.pack() for one in lattices]), rows, Letters.of(texts), rows).by_letter


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
    assert compared([lines], [text])[0] == pytest.approx(expected, rel=1e-3)


def test_what_was_read_is_likeliest_and_look_alikes_come_next() -> None:
    seen = lattice("Bern", others="8cmm", shares=[0.6] * 4)
    found = compared([seen] * 4, ["BERN", "Bem", "8crn", "Paris"])
    assert found[0] > 0.8
    assert found[0] > found[2] > found[3]
    assert found[1] > found[3]


def test_what_cannot_stand_there_is_unlikely_however_long_it_is() -> None:
    seen = lattice("acme", gaps=[True] * 4)
    texts = ["acme", "bcme", "wxyz" * 5, "wxyz" * 24, "acme" + "wxyz" * 18]
    found = compared([seen] * len(texts), texts)
    assert found[0] > 0.9
    assert found[0] > found[1] > 0.1
    assert (found[2:] < 0.02).all()
    long = "abcdefghijklmnopqrstuvwxyz" * 4
    assert compared([lattice(long, gaps=[True] * len(long))], [long])[0] > 0.95


def test_punctuation_does_not_count() -> None:
    seen = lattice("t.", others="fo", shares=[0.8, 0.6])
    found = compared([seen] * 3, ["To", "t", "tion"])
    assert found[0] > found[2]
    assert found[1] > found[2]
    assert compared([lattice("s.h.")], ["SH"])[0] > 0.9


def test_company_and_order_do_not_matter() -> None:
    texts = ["abc", "a", "", "abcabcabc", "zzz"]
    lattices = [lattice(text) for text in ("abc", "abd", "abc", "abcabc", "")]
    together = compared(lattices, texts)
    for row, (one, text) in enumerate(zip(lattices, texts, strict=True)):
        np.testing.assert_allclose(compared([one], [text])[0], together[row], rtol=1e-12)
    assert np.isnan(together[[2, 4]]).all()


@pytest.mark.parametrize("seed", range(3))
def test_equal_pairs_stay_equal_in_any_batch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("abcdeéü銀行"), rng.integers(1, 30))) for _ in range(40)]
    rows = rng.integers(len(words), size=1500)  # more than one batch, and each word several times
    lattices = [
        lattice(word, others=word[::-1], shares=rng.uniform(0.3, 0.9, len(word)).tolist()).pack() for word in words
    ]
    readings = pd.DataFrame({"reading": [words[row] for row in rows], "lattice": [lattices[row] for row in rows]})
    wording = Wording([""] * len(rows), readings.assign(reading_confidence=np.nan))
    a, b = rng.integers(len(rows), size=(2, 3000))
    said = likelihoods(wording, a, wording, b)
    frame = pd.DataFrame({"left": rows[a], "right": rows[b], "letters": said[:, 0], "whole": said[:, 1]})
    assert (frame.groupby(["left", "right"]).nunique() == 1).all(axis=None)
    for size in (1, 7):
        few = [likelihoods(wording, a[n : n + size], wording, b[n : n + size]) for n in range(0, 70, size)]
        assert np.concatenate(few).tolist() == said[:70].tolist()


def test_a_store_of_many_is_that_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = [lattice(text, gaps=[True, *[False] * (len(text) - 1)]).pack() for text in ("abc", "Bb", "x" * 600)]
    packed[1:1] = [None, b""]  # no crop, and a line without ink
    monkeypatch.setattr("linkage.compare.likelihood._RECORDS_AT_A_TIME", 2)
    store = FoldedLattices.of(packed)
    assert np.diff(store.columns).tolist() == [4, 0, 0, 3, 512]
    assert store.length.tolist() == [3, 0, 0, 1, 1]  # "Bb" folds to one letter, seen twice
    assert len(FoldedLattices.of([]).best) == 0
    for row, one in enumerate(packed):
        alone = FoldedLattices.of([one])
        columns, entries = (slice(*ends[row : row + 2]) for ends in (store.columns, store.entries))
        np.testing.assert_array_equal(store.none[columns], alone.none)
        np.testing.assert_array_equal(store.points[entries], alone.points)
        np.testing.assert_array_equal(store.place[entries], alone.place)
        np.testing.assert_array_equal(store.chances[entries], alone.chances)
        assert store.best[row] == alone.best[0]


def test_letters_that_fold_to_one_add_up() -> None:
    both = lattice("a", others="A", shares=[0.6])
    once = lattice("a", shares=[0.999])
    assert compared([both], ["a"])[0] > 0.99 * compared([once], ["a"])[0]


def test_bytes_that_are_no_lattice_are_an_artefact_error() -> None:
    bad = lattice("ab")._replace(weight=np.full(2, -1, dtype=np.float16)).pack()
    wording = Wording(["ab"], pd.DataFrame({"reading": ["ab"], "reading_confidence": 0.9, "lattice": [bad]}))
    with pytest.raises(ArtefactError, match=r"no lattice.*linkage embed"):
        alike(wording, np.zeros(1, int), wording, np.zeros(1, int))


def test_the_better_of_given_text_and_own_reading_counts() -> None:
    lattices = [lattice("Dubois").pack(), None]
    readings = pd.DataFrame({"reading": ["Dubois", ""], "reading_confidence": 0.9, "lattice": lattices})
    asked, known = Wording(["Duhois", ""], readings), Wording(["Dubois", "Dubois"])
    said = alike(asked, np.array([0, 1]), known, np.array([0, 1]))
    assert said[0, 0] == 1.0
    assert said[0, 1] == 6 / 8
    assert said[0, LIKELIHOOD] > 0.9
    assert np.isnan(said[1, : LIKELIHOOD + 2]).all()
    mirrored = alike(known, np.array([0]), asked, np.array([0]))
    np.testing.assert_allclose(mirrored[0], said[0])
