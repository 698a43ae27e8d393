from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.compare.fit import LabelledPairs, fit_scorer
from linkage.compare.scorer import DEFAULT_SCORER, FEATURES, LEVELS, Scorer, Weights, shares, sigmoid
from linkage.errors import ArtefactError, InputError

VALUES = DEFAULT_SCORER.as_dict()
TRUE = {"score": 4.0, "string_score": 6.0, "partial_score": 2.0, "likelihood": 3.0}


def likenesses(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Similarities of n pairs, evenly spread."""
    return pd.DataFrame(rng.uniform(0, 1, (n, len(FEATURES))), columns=list(FEATURES))


def logit_of(alike: pd.DataFrame, intercept: float = -10.0) -> np.ndarray:
    """Log odds by the scorer that draws the labels."""
    return intercept + np.asarray(sum(weight * alike[name].to_numpy() for name, weight in TRUE.items()))


def pairs(seed: int, n: int = 4000) -> LabelledPairs:
    """Pairs, each a query of its own, with labels drawn from a known scorer; five of a group."""
    rng = np.random.default_rng(seed)
    alike = likenesses(rng, n)
    truth = rng.uniform(size=n) < sigmoid(logit_of(alike))
    return LabelledPairs(alike, truth, np.arange(n), np.array([f"e{row // 5}" for row in range(n)], dtype=object))


def weights(scorer: Scorer, level: str = "seen") -> list[float]:
    """The weights of the features that count, in the order of TRUE."""
    return [scorer.levels[level].weights[name] for name in TRUE]


def test_many_labels_replace_the_scorer_by_the_one_that_drew_them() -> None:
    known = pairs(0, 20_000)
    fitted = fit_scorer(known, DEFAULT_SCORER).scorer
    assert weights(fitted) == pytest.approx(list(TRUE.values()), rel=0.15)
    probability = fitted.probability(known.alike)
    for low in (0.0, 0.2, 0.4, 0.6):
        here = (probability >= low) & (probability < low + 0.2)
        assert known.is_match[here].mean() == pytest.approx(probability[here].mean(), abs=0.05)
    assert (fitted.origin, fitted.pairs, fitted.positives) == ("fitted", 20_000, known.is_match.sum())


def test_few_labels_leave_the_scorer_nearly_as_it_was() -> None:
    known = pairs(0, 200)
    like = Scorer({name: Weights(-10.0, TRUE) for name in LEVELS})
    fitted = fit_scorer(known, like).scorer
    assert np.corrcoef(fitted.logit(known.alike), like.logit(known.alike))[0, 1] > 0.95


def test_logits_of_the_left_out_are_by_scorers_that_did_not_see_them() -> None:
    known = pairs(3, 400)
    before = fit_scorer(known, DEFAULT_SCORER, strength=10.0).left_out
    group = known.group == "e7"
    turned = known._replace(is_match=np.where(group, ~known.is_match, known.is_match))
    after = fit_scorer(turned, DEFAULT_SCORER, strength=10.0).left_out
    order = np.argsort(before[group])
    assert (np.argsort(after[group]) == order).all()  # the group's labels moved nothing but the calibration
    assert (np.argsort(after[~group]) != np.argsort(before[~group])).any()


def test_missing_texts_have_their_own_coefficients() -> None:
    known = pairs(1)
    strings = ["string_score", "partial_score", "rarity_score", "likelihood", "log_likelihood", "confidence", "length"]
    known.alike.loc[::2, strings] = np.nan
    fitted = fit_scorer(known, DEFAULT_SCORER).scorer
    textless = known.alike.assign(**dict.fromkeys(strings, np.nan))
    alone = fitted.probability(textless)
    assert np.isfinite(alone).all()
    assert alone[known.is_match].mean() > alone[~known.is_match].mean()


def test_pairs_without_a_picture_have_their_own_coefficients() -> None:
    known = pairs(3, 12_000)
    known.alike.loc[::2, ["likelihood", "log_likelihood"]] = np.nan
    fitted = fit_scorer(known, DEFAULT_SCORER).scorer
    assert weights(fitted) == pytest.approx(list(TRUE.values()), rel=0.25)
    for rows in (slice(0, None, 2), slice(1, None, 2)):
        assert fitted.probability(known.alike[rows]).mean() == pytest.approx(known.is_match[rows].mean(), abs=0.03)


def test_a_missing_cosine_is_the_pooled_one() -> None:
    alike = likenesses(np.random.default_rng(0), 20)
    scorer = Scorer({name: Weights(-3.0, {"score": 1.0, "image_cosine": 2.0}) for name in LEVELS})
    alone = alike.assign(image_cosine=np.nan)
    assert scorer.logit(alone) == pytest.approx(scorer.logit(alike.assign(image_cosine=alike["score"])))


def test_a_similarity_that_points_the_wrong_way_is_left_out() -> None:
    known = pairs(2)
    known.alike["string_score"] = 1.0 - known.alike["string_score"]
    fitted = fit_scorer(known, DEFAULT_SCORER).scorer
    assert fitted.levels["seen"].weights["string_score"] < 0.5
    assert fitted.levels["seen"].weights["score"] > 2


def test_a_field_counts_as_much_as_the_labels_say() -> None:
    rng = np.random.default_rng(5)
    alike = likenesses(rng, 8000).assign(price_score=rng.uniform(0, 1, 8000), town_score=rng.uniform(0, 1, 8000))
    truth = rng.uniform(size=8000) < sigmoid(logit_of(alike, -11.0) + 5 * alike["price_score"])
    alike.loc[::3, "price_score"] = np.nan
    known = LabelledPairs(alike, truth, np.arange(8000), np.arange(8000).astype(str).astype(object))
    fitted = fit_scorer(known, DEFAULT_SCORER).scorer
    assert fitted.extras["price_score"].weight == pytest.approx(5, rel=0.2)
    assert fitted.extras["town_score"].weight < 0.5
    missing = alike.assign(price_score=np.nan, town_score=np.nan)
    assert np.isfinite(fitted.logit(missing)).all()


def test_what_is_the_same_in_all_pairs_does_not_get_in_the_way() -> None:
    rng = np.random.default_rng(7)
    query = np.repeat(np.arange(1500), 6)
    alike = likenesses(rng, len(query)).assign(confidence=1.0, name_score=rng.uniform(0, 1, len(query)))
    alike = alike.assign(likelihood=np.nan, **dict.fromkeys(["image_cosine", "cross_cosine"], np.nan))
    logit = 4 * alike["score"] + 6 * alike["string_score"] + 9 * alike["name_score"] - 12
    chance = shares(logit.to_numpy(), query)
    truth = np.zeros(len(query), dtype=bool)
    for row in range(0, len(query), 6):
        chosen = rng.choice(7, p=[*chance[row : row + 6], 1 - chance[row : row + 6].sum()])
        truth[row + chosen : row + chosen + 1] = chosen < 6
    fitted = fit_scorer(LabelledPairs(alike, truth, query, query.astype(str).astype(object)), DEFAULT_SCORER).scorer
    assert fitted.extras["name_score"].weight == pytest.approx(9, rel=0.15)
    assert fitted.levels["written"].weights["string_score"] == pytest.approx(6, rel=0.15)
    assert shares(fitted.logit(alike), query).sum() == pytest.approx(truth.sum(), rel=0.03)


def test_contributions_add_up_to_the_logit() -> None:
    alike = likenesses(np.random.default_rng(1), 30).assign(same_page=1.0, age_score=0.7)
    alike.loc[::3, "likelihood"] = np.nan
    alike.loc[::5, ["string_score", "partial_score", "age_score"]] = np.nan
    parts = DEFAULT_SCORER.contributions(alike)
    assert list(parts) == ["intercept", *FEATURES, "same_page", "age_score"]
    assert parts.sum(axis=1).to_numpy() == pytest.approx(DEFAULT_SCORER.logit(alike))


@pytest.mark.parametrize("truth", [np.zeros(100, bool), np.ones(100, bool), np.arange(100) < 29])
def test_too_few_labels_are_refused(truth: np.ndarray) -> None:
    known = pairs(0, 100)._replace(is_match=truth)
    with pytest.raises(InputError, match="at least 30 true"):
        fit_scorer(known, DEFAULT_SCORER)


def test_labels_against_every_similarity_are_refused() -> None:
    rising = pd.DataFrame({name: np.linspace(0, 1, 100) for name in FEATURES})
    known = pairs(0, 100)._replace(alike=rising, is_match=np.arange(100) < 50)
    with pytest.raises(InputError, match="check the labels"):
        fit_scorer(known, DEFAULT_SCORER)


SIMILARITIES = [name for name in FEATURES if name not in ("confidence", "length")]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=len(SIMILARITIES), max_size=len(SIMILARITIES)))
def test_probability_and_distance_follow_the_similarities(values: list[tuple[float, float]]) -> None:
    sides = [pd.DataFrame([[chosen(pair) for pair in values]], columns=SIMILARITIES) for chosen in (min, max)]
    worse, better = (side.assign(confidence=0.5, length=0.5) for side in sides)
    scorer = DEFAULT_SCORER
    assert scorer.probability(worse) <= scorer.probability(better)
    assert 0 <= scorer.distance(better) <= scorer.distance(worse) <= 1
    assert scorer.distance(better * 0 + 1) == 0


def test_distance_at_a_probability_is_where_the_probability_is() -> None:
    alike = pd.DataFrame({name: np.linspace(0.05 * place, 1, 50) for place, name in enumerate(FEATURES)})
    alike.loc[::3, ["string_score", "likelihood"]] = np.nan
    alike.loc[1::3, "likelihood"] = np.nan
    near = DEFAULT_SCORER.distance(alike) <= DEFAULT_SCORER.distance_at(0.3)
    assert (near == (DEFAULT_SCORER.probability(alike) >= 0.3)).all()


def test_fit_knows_that_one_candidate_matches_at_most() -> None:
    rng = np.random.default_rng(4)
    query = np.repeat(np.arange(4000), rng.integers(1, 8, 4000))
    alike = likenesses(rng, len(query))
    chance = shares(logit_of(alike, -8.0), query)
    truth = np.zeros(len(query), dtype=bool)
    for rows in np.split(np.arange(len(query)), np.flatnonzero(np.diff(query)) + 1):
        chosen = rng.choice(len(rows) + 1, p=[*chance[rows], 1 - chance[rows].sum()])
        truth[rows[chosen : chosen + 1]] = True
    fitted = fit_scorer(LabelledPairs(alike, truth, query, query.astype(str).astype(object)), DEFAULT_SCORER).scorer
    assert weights(fitted) == pytest.approx(list(TRUE.values()), rel=0.15)
    assert shares(fitted.logit(alike), query).sum() == pytest.approx(truth.sum(), rel=0.03)


def test_a_strong_pull_keeps_the_order_and_sets_the_probabilities() -> None:
    known = pairs(5, 20_000)
    half = {name: weight / 2 for name, weight in TRUE.items()}
    unsure = Scorer({name: Weights(-5.0, half) for name in LEVELS})
    set_right = fit_scorer(known, unsure, strength=1e9).scorer
    assert (np.argsort(set_right.logit(known.alike)) == np.argsort(unsure.logit(known.alike))).mean() > 0.99
    assert weights(set_right) == pytest.approx(list(TRUE.values()), rel=0.1)
    assert set_right.probability(known.alike).mean() == pytest.approx(known.is_match.mean(), abs=0.01)


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
    fitted = fit_scorer(pairs(6, 300), DEFAULT_SCORER).scorer
    fitted.save(tmp_path / "scorer.json")
    assert Scorer.load(tmp_path / "scorer.json") == fitted
    assert Scorer.of_model(tmp_path).origin == "model"
    assert Scorer.of_model(tmp_path / "elsewhere") == DEFAULT_SCORER


SEEN = VALUES["levels"]["seen"]


def with_seen(**changes: object) -> dict[str, object]:
    """The default scorer with one kind of pair changed."""
    return VALUES | {"levels": VALUES["levels"] | {"seen": SEEN | changes}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"intercept": 1}',
        VALUES | {"format": 1},
        VALUES | {"levels": {}},
        VALUES | {"levels": []},
        VALUES | {"extras": {"a_score": {"weight": 1}}},
        VALUES | {"extras": {"a_score": {"weight": float("nan"), "shift": 0}}},
        VALUES | {"further": 1},
        with_seen(intercept="a"),
        with_seen(intercept=float("nan")),
        with_seen(weights={"score": -1}),
        with_seen(weights={"score": 0}),
        with_seen(weights={"unknown": 1}),
        with_seen(weights=[1, 2]),
        with_seen(weights={"score": "4"}),
        with_seen(weights={"score": 1e308, "likelihood": 1e308}),
        with_seen(intercept=-1e7),
        with_seen(intercept=True),
        VALUES | {"extras": {"a_score": {"weight": "4", "shift": 0.5}}},
        VALUES | {"extras": {"a_score": {"weight": 4.0, "shift": None}}},
        VALUES | {"origin": "<b>"},
        VALUES | {"origin": ["fitted"]},
        VALUES | {"pairs": "many"},
        VALUES | {"positives": -1},
        VALUES | {"strength": "x"},
        VALUES | {"strength": float("inf")},
        "[" * 200_000,
    ],
)
def test_what_is_no_scorer_is_refused_with_its_name(tmp_path: Path, text: str | dict[str, object]) -> None:
    (tmp_path / "scorer.json").write_text(text if isinstance(text, str) else json.dumps(text))
    with pytest.raises(ArtefactError, match=r"scorer\.json") as caught:
        Scorer.load(tmp_path / "scorer.json")
    assert "\n" not in str(caught.value)
