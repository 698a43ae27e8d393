"""Pooling: one vector for a record from its picture's and its text's."""

from __future__ import annotations

import numpy as np


def summands(image: np.ndarray, text: np.ndarray, weight: float) -> tuple[np.ndarray, np.ndarray]:
    """What image and text contribute to the pooled embeddings, so that a similarity splits exactly into parts.

    Args:
        image, text: unit rows (n, D); a row of zeros is a missing modality and is left out.
        weight: w of the image, 0..1.

    Returns:
        Two arrays float32 (n, D) whose sum is `pool(image, text, weight)`.
    """
    image, text = np.asarray(image, dtype=np.float32), np.asarray(text, dtype=np.float32)
    has_image, has_text = image.any(axis=1, keepdims=True), text.any(axis=1, keepdims=True)
    share = np.where(has_image & has_text, np.float32(weight), has_image.astype(np.float32))
    image, text = share * image, (1 - share) * text
    length = np.linalg.norm(image + text, axis=1, keepdims=True)
    length[length == 0] = 1
    return image / length, text / length


def pool(image: np.ndarray, text: np.ndarray, weight: float) -> np.ndarray:
    """Pooled embeddings: normalise(w image + (1-w) text) (CLIPPINGS, section 3).

    Args:
        image, text, weight: as for `summands`.

    Returns:
        float32 (n, D): unit rows, zero where both are missing.
    """
    from_image, from_text = summands(image, text, weight)
    return np.asarray(from_image + from_text)
