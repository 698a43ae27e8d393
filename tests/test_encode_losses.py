"""The losses against loops that follow the papers' formulas letter by letter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from linkage.encode.losses import info_nce, sup_con


def unit(rows: int, seed: int) -> torch.Tensor:
    vectors = torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, 8))).double()
    return torch.nn.functional.normalize(vectors, dim=1)


@pytest.mark.parametrize("seed", range(3))
def test_info_nce_is_the_mean_cross_entropy_both_ways(seed: int) -> None:
    image, text, scale = unit(6, seed), unit(6, seed + 10), 5.0
    content = np.array([0, 1, 2, 0, 3, 4])  # records 0 and 3 say the same
    total = 0.0
    for left, right in ((image, text), (text, image)):
        for i in range(6):
            own = scale * float(left[i] @ right[i])
            others = [scale * float(left[i] @ right[j]) for j in range(6) if j == i or content[i] != content[j]]
            total += (math.log(sum(map(math.exp, others))) - own) / 12
    codes = torch.from_numpy(content)
    loss = info_nce(image, text, codes[:, None] == codes[None, :], torch.tensor(scale))
    assert float(loss) == pytest.approx(total, rel=1e-9)


def naive_sup_con(vectors: torch.Tensor, labels: list[int], temperature: float) -> float:
    rows = [i for i in range(len(labels)) if vectors[i].abs().sum() > 0]
    losses = []
    for i in rows:
        positives = [p for p in rows if p != i and labels[p] == labels[i]]
        if not positives:
            continue
        bottom = math.log(sum(math.exp(float(vectors[i] @ vectors[a]) / temperature) for a in rows if a != i))
        terms = [float(vectors[i] @ vectors[p]) / temperature - bottom for p in positives]
        losses.append(-sum(terms) / len(positives))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("seed", range(4))
def test_sup_con_is_equation_2_of_the_paper(seed: int) -> None:
    vectors = unit(9, seed).clone()
    vectors[seed] = 0  # a view that does not exist
    labels = [0, 0, 1, 1, 1, 2, 3, 3, 4]
    loss = sup_con(vectors, torch.tensor(labels), 0.1)
    assert float(loss) == pytest.approx(naive_sup_con(vectors, labels, 0.1), rel=1e-9)


def test_sup_con_without_positives_is_zero_and_can_be_learned_from() -> None:
    vectors = unit(4, 0).requires_grad_()
    loss = sup_con(vectors, torch.arange(4), 0.1)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert float(vectors.grad.abs().sum()) == 0.0


def test_missing_views_get_no_gradient_and_no_nan() -> None:
    vectors = unit(4, 1)
    vectors[2:] = 0
    vectors.requires_grad_()
    sup_con(vectors, torch.tensor([0, 0, 0, 1]), 0.07).backward()
    assert torch.isfinite(vectors.grad).all()
