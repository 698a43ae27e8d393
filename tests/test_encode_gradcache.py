"""Chunks change memory and time, and nothing else."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from lines import NAMES, draw, tiny_model
from torch import nn

from linkage.encode import towers
from linkage.encode.biencoder import BiEncoder
from linkage.encode.data import Batch
from linkage.encode.gradcache import GradCache
from linkage.encode.losses import sup_con

HAS_IMAGE = torch.tensor([True, True, False, True, True, True, False, True, True, True])
HAS_TEXT = torch.tensor([True, False, True, True, True, True, True, True, False, True])
LABELS = torch.arange(10) // 2


@pytest.fixture
def encoder(tmp_path: Path) -> BiEncoder:
    encoder = BiEncoder.load(str(tiny_model(tmp_path / "tiny")), "cpu")
    encoder.model.train()
    return encoder


def a_batch(encoder: BiEncoder) -> Batch:
    """Ten rows, some without picture or text."""
    pixels = [encoder.pixels(draw(NAMES[row])) for row in range(10) if HAS_IMAGE[row]]
    tokens = encoder.tokenize([NAMES[row] for row in range(10) if HAS_TEXT[row]])
    return Batch(pixels, torch.as_tensor(tokens), HAS_IMAGE, HAS_TEXT)


def a_cache(encoder: BiEncoder, chunk: int) -> GradCache:
    return GradCache(encoder.model, encoder.dim, encoder.device, chunk=chunk, bf16=False)


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chunk", [0, 1, 3, 7, 10, 64])
def test_gradients_are_those_of_the_whole_batch(encoder: BiEncoder, chunk: int) -> None:
    batch = a_batch(encoder)
    image, text = torch.zeros(10, 16), torch.zeros(10, 16)
    image[HAS_IMAGE] = towers.image_features(encoder.model, batch.pixels)
    text[HAS_TEXT] = towers.text_features(encoder.model, batch.tokens)
    sup_con(torch.cat((image, text)), LABELS.repeat(2), 0.1).backward()
    wanted = gradients(encoder.model)
    encoder.model.zero_grad()

    cache = a_cache(encoder, chunk)
    vectors = cache.forward(batch)
    torch.testing.assert_close(vectors, torch.stack((image, text), dim=1).detach(), rtol=1e-5, atol=1e-6)
    vectors.requires_grad_()
    sup_con(torch.cat(vectors.unbind(dim=1)), LABELS.repeat(2), 0.1).backward()
    assert vectors.grad is not None
    cache.backward(vectors.grad)
    assert len(wanted) > 20
    assert_close(gradients(encoder.model), wanted)


def test_dropout_draws_the_same_in_both_passes(encoder: BiEncoder) -> None:
    encoder.model.visual.ln_post = nn.Sequential(encoder.model.visual.ln_post, nn.Dropout(0.5))
    batch = a_batch(encoder)
    gradient = torch.from_numpy(np.random.default_rng(0).normal(size=(10, 2, 16))).float()
    torch.manual_seed(5)
    by_hand = torch.cat([a_cache(encoder, 0)._embed(part) for part in batch.split(4)])
    after = torch.get_rng_state()
    by_hand.backward(gradient)
    wanted = gradients(encoder.model)
    encoder.model.zero_grad()

    torch.manual_seed(5)
    cache = a_cache(encoder, 4)
    torch.testing.assert_close(cache.forward(batch), by_hand.detach())
    cache.backward(gradient)
    assert_close(gradients(encoder.model), wanted)
    assert torch.equal(torch.get_rng_state(), after)
    assert not torch.equal(cache.forward(batch), by_hand.detach())  # the dropout is there


def test_batch_norm_counts_each_chunk_once(encoder: BiEncoder) -> None:
    norm = nn.BatchNorm1d(13)  # one of each token
    encoder.model.visual.ln_post = norm
    batch = a_batch(encoder)
    cache = a_cache(encoder, 5)
    gradient = torch.ones_like(cache.forward(batch))
    mean, count = norm.running_mean.clone(), int(norm.num_batches_tracked)
    assert count == 2
    assert mean.abs().sum() > 0
    cache.backward(gradient)
    assert torch.equal(norm.running_mean, mean)
    assert int(norm.num_batches_tracked) == count
    cache.forward(batch)
    assert int(norm.num_batches_tracked) == 4


def test_a_split_batch_keeps_its_rows_together(encoder: BiEncoder) -> None:
    batch = a_batch(encoder)
    parts = batch.split(4)
    assert [len(part.has_image) for part in parts] == [4, 3, 3]
    assert [len(part.pixels) for part in parts] == [int(part.has_image.sum()) for part in parts]
    assert all(a is b for a, b in zip(chain(*(part.pixels for part in parts)), batch.pixels, strict=True))
    assert torch.equal(torch.cat([part.tokens for part in parts]), batch.tokens)
    assert torch.equal(torch.cat([part.has_text for part in parts]), batch.has_text)
