"""Whitening: embeddings turned and stretched so that they spread equally in every direction."""

from __future__ import annotations

import numpy as np


def fit_whitening(vectors: np.ndarray, dim: int, shrinkage: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Fit mean and matrix of a whitening (Su et al. 2021, eq. 4-7; Huang et al. 2021, section 3.2).

    Args:
        vectors: (n, D); rows of zeros (no embedding) are left out.
        dim: leading directions kept, 1..D; fewer than D leave out those in which the vectors hardly differ.
        shrinkage: 0..1, pulls the covariance towards a multiple of the identity (Ledoit & Wolf 2004, eq. 1): 0 is
            full whitening, 1 leaves the spread as it is.

    Returns:
        Mean float64 (D,) and matrix float64 (D, dim); see `whiten`.

    Raises:
        ValueError: `dim` or `shrinkage` out of range, or no spread in one of the directions asked for.
    """
    known = np.asarray(vectors, dtype=np.float64)
    known = known[known.any(axis=1)]
    full = vectors.shape[1]
    if not 1 <= dim <= full or not 0 <= shrinkage <= 1:
        raise ValueError(f"whitening: dim {dim} must lie in 1..{full} and shrinkage {shrinkage} in 0..1")
    if len(known) < 2:
        raise ValueError(f"whitening: {len(known)} vectors are too few")
    mean = known.mean(axis=0)
    covariance = (known - mean).T @ (known - mean) / len(known)
    covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / full * np.eye(full)
    variances, directions = np.linalg.eigh(covariance)
    variances, directions = variances[::-1][:dim], directions[:, ::-1][:, :dim]
    if variances[-1] <= full * np.finfo(np.float64).eps * variances[0]:
        raise ValueError(f"whitening: no spread in {dim} directions; ask for fewer, or for some shrinkage")
    return mean, directions / np.sqrt(variances)


def whiten(vectors: np.ndarray, mean: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Whiten embeddings: normalise((v - mean) matrix).

    Args:
        vectors: (n, D).
        mean, matrix: of `fit_whitening`.

    Returns:
        float32 (n, dim): unit rows; rows of zeros stay zeros.
    """
    turned = (np.asarray(vectors, dtype=np.float64) - mean) @ matrix
    turned[~vectors.any(axis=1)] = 0
    length = np.linalg.norm(turned, axis=1, keepdims=True)
    length[length == 0] = 1
    return np.asarray(turned / length, dtype=np.float32)
