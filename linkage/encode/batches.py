"""Which records come together in a training batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np


def align_batches(keys: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Shuffled batches in which no content stands twice, for a loss that takes all other rows as negatives.

    Args:
        keys: int64 (n,), equal where two rows have the same content.
        size: rows per batch; the last ones may be smaller, a batch of one is dropped.
        rng: decides the order.

    Returns:
        Arrays of row numbers; every row stands in at most one.
    """
    waiting = deque(rng.permutation(len(keys)).tolist())
    batches = []
    while waiting:
        batch: list[int] = []
        seen: set[int] = set()
        later: list[int] = []
        while waiting and len(batch) < size:
            row = waiting.popleft()
            (later if keys[row] in seen else batch).append(row)
            seen.add(keys[row])
        waiting.extendleft(reversed(later))
        if len(batch) > 1:
            batches.append(np.array(batch, dtype=np.int64))
    return batches


def class_batches(
    labels: np.ndarray,
    neighbours: np.ndarray,
    size: int,
    per_class: int,
    rng: np.random.Generator,
    exemplar: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Batches of whole classes in which hard negatives stand together; every class comes once.

    Classes are taken in random order, each with those of its neighbours that have not come yet. A class's exemplar
    is always drawn: it is what queries will be compared with, and one among many photographs would be seen too rarely.

    Args:
        labels: int64 (n,), class 0..C-1 of each row.
        neighbours: int64 (C, k), the classes most easily taken for each class, nearest first; -1: none.
        size: rows per batch, about.
        per_class: m, rows drawn per class without replacement (all, where it has fewer).
        rng: decides order and draw.
        exemplar: bool (n,), the rows that are exemplars; None: none is.

    Returns:
        Arrays of row numbers.
    """
    order = np.argsort(labels, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(labels) else []
    batches: list[np.ndarray] = []
    batch: list[np.ndarray] = []
    filled = 0
    for group in _groups(neighbours, rng.permutation(len(members))):
        for label in group:
            rows = members[label]
            sure = rows[:0] if exemplar is None else rows[exemplar[rows]][:per_class]
            rest = np.setdiff1d(rows, sure, assume_unique=True)
            chosen = rng.choice(rest, size=min(per_class - len(sure), len(rest)), replace=False)
            drawn = np.concatenate((sure, chosen))
            batch.append(drawn)
            filled += len(drawn)
        if filled + per_class > size:
            batches.append(np.concatenate(batch))
            batch, filled = [], 0
    if len(batch) > 1:
        batches.append(np.concatenate(batch))
    return batches


def _groups(neighbours: np.ndarray, order: np.ndarray) -> Iterator[list[int]]:
    free = np.ones(len(order), dtype=bool)
    for anchor in order.tolist():
        if not free[anchor]:
            continue
        group = []
        for near in (anchor, *neighbours[anchor].tolist()):
            if near >= 0 and free[near]:
                free[near] = False
                group.append(near)
        yield group


def hard_negatives(
    vectors: np.ndarray, labels: np.ndarray, readings: np.ndarray, k: int, duplicate_cosine: float
) -> np.ndarray:
    """The k classes nearest to each class, by the cosine of their mean vectors.

    The class itself is left out, and so is what is most likely the same entity under a second label: a class that is
    as near as `duplicate_cosine` and has a text in common. They are looked for among the 2 k + 8 nearest.

    Args:
        vectors: (n, D); rows of zeros (never embedded) are left out of the means.
        labels: int64 (n,), classes 0..C-1, each occurring.
        readings: int64 (n,), equal where two texts are, -1 where there is none.
        k: neighbours wanted.
        duplicate_cosine: -1..1.

    Returns:
        int64 (C, k), nearest first; -1 where there are fewer, or where the class has no vector.
    """
    import faiss

    count = int(labels.max()) + 1
    means = np.zeros((count, vectors.shape[1]), dtype=np.float32)
    np.add.at(means, labels, vectors.astype(np.float32))
    length = np.linalg.norm(means, axis=1)
    known = np.flatnonzero(length > 0)
    found = np.full((count, k), -1, dtype=np.int64)
    if k == 0 or len(known) < 2:
        return found
    means = np.ascontiguousarray(means[known] / length[known, None])
    index = faiss.IndexFlatIP(means.shape[1])
    index.add(means)
    cosines, near = index.search(means, min(2 * k + 9, len(known)))
    texts: list[set[int]] = [set() for _ in range(count)]
    for label, reading in zip(labels.tolist(), readings.tolist(), strict=True):
        if reading >= 0:
            texts[label].add(reading)
    for row, label in enumerate(known.tolist()):
        others = [
            other
            for other, cosine in zip(known[near[row]].tolist(), cosines[row].tolist(), strict=True)
            if other != label and (cosine < duplicate_cosine or texts[other].isdisjoint(texts[label]))
        ][:k]
        found[label, : len(others)] = others
    return found
