"""The losses and their gradients against numpy loops in float64 that follow the papers letter by letter."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from linkage.encode.losses import info_nce, nested, siglip, sup_con

CONTENT = np.array([0, 1, 2, 0, 3, 4])  # records 0 and 3 say the same
SAME = torch.from_numpy(CONTENT[:, None] == CONTENT[None, :])
LABELS = [0, 0, 1, 1, 1, 2, 3, 3, 4]
SCALE, BIAS, TEMPERATURE = 5.0, -2.0, 0.1


def unit(rows: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, 8))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def slopes(loss: Callable[[np.ndarray], float], vectors: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Gradient by central differences."""
    found = np.zeros_like(vectors)
    for place in np.ndindex(*vectors.shape):
        sides = []
        for move in (step, -step):
            moved = vectors.copy()
            moved[place] += move
            sides.append(loss(moved))
        found[place] = (sides[0] - sides[1]) / (2 * step)
    return found


def check(loss: Callable[..., torch.Tensor], naive: Callable[..., float], *inputs: np.ndarray) -> None:
    """Value and gradient by every input are those of the loop."""
    tensors = [torch.from_numpy(value.copy()).requires_grad_() for value in inputs]
    value = loss(*tensors)
    value.backward()
    assert float(value.detach()) == pytest.approx(naive(*inputs), rel=1e-9)
    for number, tensor in enumerate(tensors):

        def moved(changed: np.ndarray, number: int = number) -> float:
            return naive(*inputs[:number], changed, *inputs[number + 1 :])

        assert tensor.grad is not None
        np.testing.assert_allclose(tensor.grad.numpy(), slopes(moved, inputs[number]), atol=2e-8)


def naive_info_nce(image: np.ndarray, text: np.ndarray, scale: np.ndarray) -> float:
    total = 0.0
    for left, right in ((image, text), (text, image)):
        for i in range(6):
            own = float(scale) * float(left[i] @ right[i])
            others = [j for j in range(6) if j == i or CONTENT[i] != CONTENT[j]]
            total += math.log(sum(math.exp(float(scale) * float(left[i] @ right[j])) for j in others)) - own
    return total / 12


@pytest.mark.parametrize("seed", range(3))
def test_info_nce_is_the_mean_cross_entropy_both_ways(seed: int) -> None:
    def loss(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return info_nce(image, text, SAME, scale)

    check(loss, naive_info_nce, unit(6, seed), unit(6, seed + 10), np.array(SCALE))


def naive_siglip(image: np.ndarray, text: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> float:
    total = 0.0
    for i in range(6):
        for j in range(6):
            if i != j and CONTENT[i] == CONTENT[j]:
                continue
            z = 1 if i == j else -1
            total += math.log(1 + math.exp(-z * (float(scale) * float(image[i] @ text[j]) + float(bias))))
    return total / 6


@pytest.mark.parametrize("seed", range(3))
def test_siglip_is_the_sigmoid_of_every_pair(seed: int) -> None:
    def loss(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return siglip(image, text, SAME, scale, bias)

    check(loss, naive_siglip, unit(6, seed), unit(6, seed + 10), np.array(SCALE), np.array(BIAS))


def naive_sup_con(vectors: np.ndarray, margin: float = 0.0) -> float:
    rows = [i for i in range(len(LABELS)) if np.abs(vectors[i]).sum() > 0]
    losses = []

    def logit(i: int, j: int) -> float:
        return (float(vectors[i] @ vectors[j]) - margin * (LABELS[i] == LABELS[j])) / TEMPERATURE

    for i in rows:
        positives = [p for p in rows if p != i and LABELS[p] == LABELS[i]]
        if not positives:
            continue
        bottom = math.log(sum(math.exp(logit(i, a)) for a in rows if a != i))
        losses.append(-sum(logit(i, p) - bottom for p in positives) / len(positives))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_sup_con_is_equation_2_of_the_paper(seed: int, margin: float) -> None:
    def loss(vectors: torch.Tensor) -> torch.Tensor:
        return sup_con(vectors, torch.tensor(LABELS), TEMPERATURE, margin)

    def naive(vectors: np.ndarray) -> float:
        return naive_sup_con(vectors, margin)

    check(loss, naive, unit(9, seed))
    gone = unit(9, seed)
    gone[seed] = 0  # a view that does not exist
    assert float(loss(torch.from_numpy(gone))) == pytest.approx(naive(gone), rel=1e-9)


def test_a_margin_asks_for_more() -> None:
    vectors, labels = torch.from_numpy(unit(9, 0)), torch.tensor(LABELS)
    assert sup_con(vectors, labels, 0.1, 0.2) > sup_con(vectors, labels, 0.1)


def test_nested_is_the_mean_over_leading_parts_of_unit_length() -> None:
    def loss(vectors: torch.Tensor) -> torch.Tensor:
        return nested(lambda rows: sup_con(rows, torch.tensor(LABELS), TEMPERATURE), (vectors,), (2, 4))

    def naive(vectors: np.ndarray) -> float:
        parts = [vectors[:, :2], vectors[:, :4]]
        units = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts]
        return sum(naive_sup_con(part) for part in (*units, vectors)) / 3

    check(loss, naive, unit(9, 2))


def test_nested_cuts_pictures_and_texts_alike() -> None:
    image, text = unit(6, 1), unit(6, 2)
    short = [rows[:, :3] / np.linalg.norm(rows[:, :3], axis=1, keepdims=True) for rows in (image, text)]
    wanted = (naive_info_nce(*short, np.array(SCALE)) + naive_info_nce(image, text, np.array(SCALE))) / 2
    tensors = (torch.from_numpy(image), torch.from_numpy(text))
    loss = nested(lambda one, other: info_nce(one, other, SAME, torch.tensor(SCALE)), tensors, (3,))
    assert float(loss) == pytest.approx(wanted, rel=1e-9)


def test_sup_con_without_positives_is_zero_and_can_be_learned_from() -> None:
    vectors = torch.from_numpy(unit(4, 0)).requires_grad_()
    loss = sup_con(vectors, torch.arange(4), 0.1)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert vectors.grad is not None
    assert float(vectors.grad.abs().sum()) == 0.0


def test_missing_views_get_no_gradient_and_no_nan() -> None:
    vectors = torch.from_numpy(unit(4, 1))
    vectors[2:] = 0
    vectors.requires_grad_()
    sup_con(vectors, torch.tensor([0, 0, 0, 1]), 0.07).backward()
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()
