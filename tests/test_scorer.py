from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.errors import ArtefactError, InputError
from linkage.link.scorer import DEFAULT_SCORER, Scorer, calibrate, fit_scorer, shares, sigmoid

VALUES = asdict(DEFAULT_SCORER)


def pairs(seed: int, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Similarities and labels drawn from a known scorer."""
    rng = np.random.default_rng(seed)
    alike = rng.uniform(0, 1, (n, 4))
    return alike, rng.uniform(size=n) < sigmoid(-10 + alike @ [4, 6, 2, 3])


def each(values: np.ndarray) -> np.ndarray:
    """Every pair a query of its own."""
    return np.arange(len(values))


def test_fit_finds_the_scorer_that_drew_the_labels() -> None:
    alike, truth = pairs(0, 40_000)
    fitted = fit_scorer(alike, truth, each(truth))
    assert fitted.weights == pytest.approx((4, 6, 2, 3), rel=0.1)
    probability = fitted.probability(alike)
    for low in (0.0, 0.2, 0.4, 0.6):
        here = (probability >= low) & (probability < low + 0.2)
        assert truth[here].mean() == pytest.approx(probability[here].mean(), abs=0.05)
    assert (fitted.origin, fitted.pairs, fitted.positives) == ("fitted", 40_000, truth.sum())


def test_missing_texts_have_their_own_coefficients() -> None:
    alike, truth = pairs(1)
    alike[::2, 1:] = np.nan
    fitted = fit_scorer(alike, truth, each(truth))
    textless = alike.copy()
    textless[:, 1:] = np.nan
    alone = fitted.probability(textless)
    assert np.isfinite(alone).all()
    assert alone[truth].mean() > alone[~truth].mean()
    assert fit_scorer(textless, truth, each(truth)).weights[1:] == (0.0, 0.0, 0.0)


def test_pairs_without_a_picture_have_their_own_coefficients() -> None:
    alike, truth = pairs(3, 20_000)
    alike[::2, 3] = np.nan
    fitted = fit_scorer(alike, truth, each(truth))
    assert fitted.weights == pytest.approx((4, 6, 2, 3), rel=0.2)
    for rows in (slice(0, None, 2), slice(1, None, 2)):
        assert fitted.probability(alike[rows]).mean() == pytest.approx(truth[rows].mean(), abs=0.03)


def test_a_similarity_that_points_the_wrong_way_is_left_out() -> None:
    alike, truth = pairs(2)
    alike[:, 1] = 1.0 - alike[:, 1]
    fitted = fit_scorer(alike, truth, each(truth))
    assert fitted.weights[1] == 0.0
    assert fitted.weights[0] > 0


@pytest.mark.parametrize("truth", [np.zeros(100, bool), np.ones(100, bool), np.arange(100) < 29])
def test_too_few_labels_are_refused(truth: np.ndarray) -> None:
    with pytest.raises(InputError, match="at least 30 true"):
        fit_scorer(np.tile(np.linspace(1, 0, 100)[:, None], 4), truth, each(truth))


def test_labels_against_every_similarity_are_refused() -> None:
    with pytest.raises(InputError, match="check the labels"):
        fit_scorer(np.tile(np.linspace(0, 1, 100)[:, None], 4), np.arange(100) < 50, np.arange(100))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=4, max_size=4))
def test_probability_and_distance_follow_the_similarities(values: list[tuple[float, float]]) -> None:
    worse, better = np.array([[min(pair) for pair in values]]), np.array([[max(pair) for pair in values]])
    scorer = DEFAULT_SCORER
    assert scorer.probability(worse) <= scorer.probability(better)
    assert 0 <= scorer.distance(better) <= scorer.distance(worse) <= 1
    assert scorer.distance(np.ones((1, 4))) == 0


def test_distance_at_a_probability_is_where_the_probability_is() -> None:
    alike = np.column_stack([np.linspace(low, 1, 50) for low in (0.0, 0.2, 0.1, 0.3)])
    alike[::3, 1:] = np.nan
    alike[1::3, 3] = np.nan
    near = DEFAULT_SCORER.distance(alike) <= DEFAULT_SCORER.distance_at(0.3)
    assert (near == (DEFAULT_SCORER.probability(alike) >= 0.3)).all()


def test_fit_knows_that_one_candidate_matches_at_most() -> None:
    rng = np.random.default_rng(4)
    query = np.repeat(np.arange(6000), rng.integers(1, 8, 6000))
    alike = rng.uniform(0, 1, (len(query), 4))
    chance = shares(-8 + alike @ [5, 4, 3, 2], query)
    truth = np.zeros(len(query), dtype=bool)
    for rows in np.split(np.arange(len(query)), np.flatnonzero(np.diff(query)) + 1):
        chosen = rng.choice(len(rows) + 1, p=[*chance[rows], 1 - chance[rows].sum()])
        truth[rows[chosen : chosen + 1]] = True
    fitted = fit_scorer(alike, truth, query)
    assert (fitted.intercept, *fitted.weights) == pytest.approx((-8, 5, 4, 3, 2), rel=0.1)


def test_calibration_keeps_the_order_and_sets_the_probabilities() -> None:
    alike, truth = pairs(5, 20_000)
    unsure = Scorer(-5.0, (2, 3, 1, 1.5), -5.0, (2, 3, 1), -5.0, 6.0)  # half of every coefficient that drew the labels
    set_right = calibrate(unsure, alike, truth, each(truth))
    assert (np.argsort(set_right.logit(alike)) == np.argsort(unsure.logit(alike))).all()
    assert set_right.weights == pytest.approx((4, 6, 2, 3), rel=0.1)
    assert set_right.probability(alike).mean() == pytest.approx(truth.mean(), abs=0.01)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-50, 50)), max_size=12))
def test_shares_are_a_softmax_with_no_match_among_the_choices(rows: list[tuple[int, float]]) -> None:
    rows = sorted(rows)
    query, logit = np.array([q for q, _ in rows], dtype=int), np.array([x for _, x in rows], dtype=float)
    found = shares(logit, query)
    for q, x, share in zip(query, logit, found, strict=True):
        assert share == pytest.approx(np.exp(x) / (1 + np.exp(logit[query == q]).sum()))


def test_extreme_logits_do_not_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]


def test_saving_and_loading(tmp_path: Path) -> None:
    DEFAULT_SCORER.save(tmp_path / "scorer.json")
    assert Scorer.load(tmp_path / "scorer.json") == DEFAULT_SCORER
    assert Scorer.of_model(tmp_path).origin == "model"
    assert Scorer.of_model(tmp_path / "elsewhere") == DEFAULT_SCORER


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"intercept": 1}',
        VALUES | {"intercept": "a"},
        VALUES | {"weights": [-1, 3, 1, 1]},
        VALUES | {"weights": [1, 3, 1]},
        VALUES | {"weights_written": [0, 0]},
        VALUES | {"intercept_written": float("nan")},
        VALUES | {"further": 1},
    ],
)
def test_what_is_no_scorer_is_refused_with_its_name(tmp_path: Path, text: str | dict[str, object]) -> None:
    (tmp_path / "scorer.json").write_text(text if isinstance(text, str) else json.dumps(text))
    with pytest.raises(ArtefactError, match=r"scorer\.json"):
        Scorer.load(tmp_path / "scorer.json")
