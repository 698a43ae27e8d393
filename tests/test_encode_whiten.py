from __future__ import annotations

import numpy as np
import pytest

from linkage.encode.whiten import fit_whitening, whiten


def lopsided(rows: int = 400) -> np.ndarray:
    """Vectors that hardly differ in most directions, as those of real models do."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 6)) * np.array([3, 1, 0.5, 0.2, 0.1, 0.05]) @ rng.normal(size=(6, 6)) + 2.0


def test_whitened_vectors_have_no_mean_and_unit_covariance() -> None:
    vectors = lopsided()
    mean, matrix = fit_whitening(vectors, 6)
    turned = (vectors - mean) @ matrix
    np.testing.assert_allclose(turned.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(turned.T @ turned / len(turned), np.eye(6), atol=1e-9)
    unit = whiten(vectors, mean, matrix)
    assert unit.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(unit, turned / np.linalg.norm(turned, axis=1, keepdims=True), atol=1e-6)


def test_fewer_dimensions_keep_the_widest_directions() -> None:
    vectors = lopsided()
    mean, matrix = fit_whitening(vectors, 2)
    assert matrix.shape == (6, 2)
    centred = vectors - mean
    directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
    unit = matrix / np.linalg.norm(matrix, axis=0)
    np.testing.assert_allclose(np.abs(unit.T @ directions.T), np.eye(2), atol=1e-6)


def test_full_shrinkage_only_turns() -> None:
    vectors = lopsided()
    mean, matrix = fit_whitening(vectors, 6, shrinkage=1.0)
    centred = vectors - mean
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    whitened = whiten(vectors, mean, matrix).astype(float)
    np.testing.assert_allclose(whitened @ whitened.T, centred @ centred.T, atol=1e-5)


def test_rows_without_an_embedding_take_no_part_and_stay_empty() -> None:
    vectors = lopsided()
    with_gaps = np.concatenate([np.zeros((3, 6)), vectors])
    mean, matrix = fit_whitening(with_gaps, 4)
    np.testing.assert_allclose(mean, fit_whitening(vectors, 4)[0])
    assert not whiten(with_gaps, mean, matrix)[:3].any()


@pytest.mark.parametrize(("dim", "shrinkage"), [(0, 0.0), (7, 0.0), (3, 1.5), (3, -0.1)])
def test_settings_out_of_range_are_refused(dim: int, shrinkage: float) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        fit_whitening(lopsided(), dim, shrinkage)


def test_fewer_vectors_than_dimensions_need_shrinkage() -> None:
    with pytest.raises(ValueError, match="no spread in 6 directions"):
        fit_whitening(lopsided(4), 6)
    assert np.isfinite(fit_whitening(lopsided(4), 6, 0.1)[1]).all()
    with pytest.raises(ValueError, match="too few"):
        fit_whitening(np.zeros((5, 6)), 2)
