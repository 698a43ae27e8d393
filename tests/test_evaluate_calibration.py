"""Calibration figures: equal probabilities stay together, and chance is known for what it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.config import EvaluateConfig
from linkage.evaluate.calibration import add_calibration, calibration_error, expected_error
from linkage.evaluate.scores import Scores

QUICK = {"bootstrap": 100, "seed": 0}


def test_equal_probabilities_are_never_parted() -> None:
    right = np.arange(100) < 90
    for order in (np.arange(100), np.arange(100)[::-1], np.random.default_rng(0).permutation(100)):
        figure = calibration_error(np.full(100, 0.9), right[order], np.arange(100), **QUICK)
        assert figure.value == pytest.approx(0.0, abs=1e-12)
        assert figure.low <= figure.value < figure.high < 0.1


def test_what_is_never_off_may_be_off_yet() -> None:
    figure = calibration_error(np.ones(50), np.ones(50, dtype=bool), np.arange(50), **QUICK)
    assert figure.low == figure.value == 0.0
    assert 0.01 < figure.high < 0.15


ROWS = st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=60)


@given(ROWS, st.randoms(use_true_random=False))
def test_the_interval_holds_the_value_and_order_does_not_matter(rows: list[tuple[float, bool]], random) -> None:
    probability, right = (np.array(side) for side in zip(*rows, strict=True))
    entities = np.arange(len(rows)) // 2
    figure = calibration_error(probability, right, entities, **QUICK)
    assert 0 <= figure.low <= figure.value <= figure.high <= 1
    order = np.array(random.sample(range(len(rows)), len(rows)))
    again = calibration_error(probability[order], right[order], entities[order], **QUICK)
    assert again == pytest.approx(figure)


def test_what_chance_makes_of_right_probabilities_is_expected() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(300)
    found = [
        calibration_error(probability, rng.random(300) < probability, np.arange(300), **QUICK).value for _ in range(200)
    ]
    expected = expected_error(probability, 1)
    assert expected.value == pytest.approx(np.mean(found), rel=0.1)
    assert np.mean([expected.low <= value <= expected.high for value in found]) > 0.85
    assert calibration_error(probability, rng.random(300) < 0.5, np.arange(300), **QUICK).value > 2 * expected.high


def test_the_figures_stand_side_by_side() -> None:
    probability = np.array([0.9, 0.9, 0.2, np.nan])
    scores = Scores("linking", EvaluateConfig(bootstrap=100), 0, None)
    add_calibration(scores, "all", probability, np.array([True, True, False, True]), np.arange(4), "said")
    table = scores.table().set_index("measure")
    assert list(table.index) == ["calibration error", "calibration error if calibrated", "Brier score"]
    assert (table["n"] == 3).all()
    assert table.loc["Brier score", "value"] == pytest.approx((0.01 + 0.01 + 0.04) / 3)
    assert table.loc["Brier score", "low"] < 0.02 < table.loc["Brier score", "high"]
    assert table["note"].str.startswith("said").all()
