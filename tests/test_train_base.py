"""The job that makes the shipped model: its parts, on small inputs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from linkage.encode.biencoder import SHIPPED, BiEncoder


@pytest.fixture(scope="module")
def job() -> ModuleType:
    path = Path(__file__).parents[1] / "scripts" / "train_base.py"
    spec = importlib.util.spec_from_file_location("train_base", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_base"] = module
    spec.loader.exec_module(module)
    return module


def test_characters_that_look_alike_start_close(job: ModuleType) -> None:
    characters = list("oöw1l8")
    vectors = job.glyph_vectors(characters, 256, np.random.default_rng(0))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = dict(zip(characters, unit @ unit[0], strict=True))
    assert cosine["ö"] > cosine["w"] + 0.1
    assert np.allclose(np.linalg.norm(vectors, axis=1), job.TOKEN_SIZE * 16, rtol=1e-3)


def test_positions_differ_and_are_small(job: ModuleType) -> None:
    waves = job.positions(96, 256)
    assert waves.shape == (96, 256)
    assert np.sqrt((waves**2).mean()) == pytest.approx(job.POSITION_SIZE, rel=0.01)
    assert len(np.unique(waves.round(5), axis=0)) == 96


def test_the_reading_loss_falls_towards_the_right_spelling(job: ModuleType) -> None:
    torch.manual_seed(0)
    scores = torch.randn(2, 16, 5, requires_grad=True)
    pixels = torch.full((2, 1, 8, 128), 255, dtype=torch.uint8)
    pixels[:, :, 2:6, 10:100] = 0
    pixels[1] = 255  # a blank line does not disturb
    texts = [torch.tensor([1, 2, 2, 4]), torch.tensor([3])]
    optimizer = torch.optim.Adam([scores], lr=0.3)
    for even in (0.5, 0.0):
        for _ in range(60):
            loss = job.reading_loss(scores.log_softmax(dim=2), pixels, texts, even)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert float(loss.detach()) < 0.05
    assert job._error(scores.detach(), texts) == 0.0


def test_a_line_longer_than_its_columns_is_left_out(job: ModuleType) -> None:
    spelling = torch.randn(1, 4, 3).log_softmax(dim=2)
    pixels = torch.zeros(1, 1, 8, 32, dtype=torch.uint8)
    loss = job.reading_loss(spelling, pixels, [torch.tensor([1, 1, 1, 2, 2])], 0.0)
    assert float(loss) == 0.0


@pytest.mark.skipif(not (SHIPPED / "base").is_dir(), reason="the shipped model is being trained anew")
def test_the_shipped_model_is_small_and_reads_past_noise() -> None:
    weights = SHIPPED / "base" / "model.safetensors"
    assert weights.stat().st_size < 40e6
    encoder = BiEncoder.load("base", "cpu")
    names = ["Dubois et Cie, quincaillerie", "Dubost & fils, quincaillier", "Kowalski Import SA", "東京製鋼株式会社"]
    misread = ["Duhois ef Cie, qnincaillerie", "Dubosf & tils, quincaillier", "K0walski lmport SA", "東京製綱株式会社"]
    cosines = encoder.encode_text(misread) @ encoder.encode_text(names).T
    assert cosines.argmax(axis=1).tolist() == [0, 1, 2, 3]
