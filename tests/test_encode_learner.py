"""One step: what is trained, how fast, and by which loss."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lines import NAMES, crop, tiny_model, write_records

from linkage.config import TrainConfig
from linkage.encode import towers
from linkage.encode.biencoder import BiEncoder
from linkage.encode.data import TrainingSet
from linkage.encode.distributed import Ranks
from linkage.encode.learner import Learner
from linkage.encode.plan import TrainingStage
from linkage.encode.pooling import pool
from linkage.errors import ConfigError
from linkage.records import Records

ROWS = np.arange(7)


def records(path: Path) -> Records:
    """Two records of each of 8 firms; one has no crop, one no text."""
    rows: list[dict[str, object]] = [
        {"text": name, "crop": crop(name, size), "entity_id": f"e{number}"}
        for number, name in enumerate(NAMES[:8])
        for size in (30, 22)
    ]
    rows[1]["crop"] = None
    rows[4]["text"] = ""
    return Records.open(write_records(path, rows))


def a_learner(tmp_path: Path, encoder: BiEncoder | None = None, **settings: object) -> Learner:
    encoder = encoder or BiEncoder.load(str(tiny_model(tmp_path / "tiny")), "cpu")
    data = TrainingSet(records(tmp_path / "records.parquet"))
    config = TrainConfig.model_validate({"bf16": "off"} | settings)
    return Learner(encoder, data, config, 0.3, 0, Ranks())


def step(learner: Learner, stage: TrainingStage, number: int = 0) -> float:
    learner.train_mode()
    learner.set_rate(1e-3)
    return learner.update(stage, learner.data.batch(ROWS, learner.encoder, (0, number)), ROWS, number)


def small_trunk() -> BiEncoder:
    """Our architecture for photographs: its picture tower is a timm trunk with batch norm."""
    torch.manual_seed(0)
    return BiEncoder.load(towers.PHOTO_ARCHITECTURE, "cpu")


def test_norms_biases_and_the_temperature_do_not_decay(tmp_path: Path) -> None:
    learner = a_learner(tmp_path, weight_decay=0.1)
    groups = learner.optimizer.param_groups
    decayed, rest = sorted(groups, key=lambda group: -group["weight_decay"])
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    assert all(p.ndim > 1 for p in decayed["params"])
    assert any(p is learner.model.logit_scale for p in rest["params"])
    assert len(decayed["params"]) + len(rest["params"]) == len(list(learner.model.parameters()))


def test_a_trunk_learns_at_its_own_rate(tmp_path: Path) -> None:
    learner = a_learner(tmp_path, small_trunk(), trunk_rate=0.1)
    learner.set_rate(1e-3)
    trunk = {id(p) for p in learner.model.visual.trunk.parameters()}
    rates = {id(p): group["lr"] for group in learner.optimizer.param_groups for p in group["params"]}
    assert len(rates) == len(list(learner.model.parameters()))
    for parameter, rate in rates.items():
        assert rate == pytest.approx(1e-4 if parameter in trunk else 1e-3)


@pytest.mark.parametrize("chunk", [0, 3])
def test_a_frozen_trunk_stays_as_it_is_batch_norm_included(tmp_path: Path, chunk: int) -> None:
    learner = a_learner(tmp_path, small_trunk(), trunk_rate=0.0, chunk=chunk)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    step(learner, "align")
    after = learner.model.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert not any(name.startswith("visual.trunk.") for name in changed)
    assert any(name.startswith("text.") for name in changed)
    assert any(name.startswith("visual.head.") for name in changed)


def test_of_our_line_tower_only_the_recogniser_is_frozen(tmp_path: Path) -> None:
    torch.manual_seed(0)
    learner = a_learner(tmp_path, BiEncoder.load(towers.ARCHITECTURE, "cpu"), trunk_rate=0.0)
    trained = {name for name, parameter in learner.model.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith("visual.trunk.reader.") for name in trained)
    assert {"visual.trunk.says.weight", "visual.trunk.places", "visual.head.proj.weight"} <= trained


def test_a_rate_for_a_trunk_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.trunk_rate: .* no timm trunk"):
        a_learner(tmp_path, trunk_rate=0.5)


def test_nested_dimensions_must_be_shorter_than_the_vectors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.nested: .* below 16"):
        a_learner(tmp_path, nested=(8, 16))


@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        ("align", {}),
        ("align", {"align_loss": "siglip", "nested": (4, 8)}),
        ("supervised", {"margin": 0.1}),
        ("supervised", {"nested": (4,)}),
    ],
)
def test_chunks_do_not_change_a_step(tmp_path: Path, stage: TrainingStage, settings: dict[str, object]) -> None:
    whole = a_learner(tmp_path, **settings)
    loss = step(whole, stage)
    chunked = a_learner(tmp_path, BiEncoder.load(str(tmp_path / "tiny"), "cpu"), chunk=3, **settings)
    assert step(chunked, stage) == pytest.approx(loss, rel=1e-5)
    for one, other in zip(whole.model.parameters(), chunked.model.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None and other.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6)


def test_siglip_starts_from_the_papers_temperature_and_bias_and_learns_both(tmp_path: Path) -> None:
    learner = a_learner(tmp_path, align_loss="siglip")
    assert learner.bias is not None
    assert float(learner.bias.detach()) == -10.0
    assert float(learner.model.logit_scale.exp().detach()) == pytest.approx(10.0)
    first = step(learner, "align")
    assert float(learner.bias.detach()) != -10.0
    assert float(learner.model.logit_scale.exp().detach()) != pytest.approx(10.0)
    assert "logit_bias" not in learner.model.state_dict()
    for number in range(1, 12):
        last = step(learner, "align", number)
    assert last < 0.9 * first


def test_siglip_goes_on_from_the_bias_that_a_model_has(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"] |= {"init_logit_bias": -3.0}
    model = towers.build(f"local-dir:{folder}")
    model.logit_bias = torch.nn.Parameter(torch.tensor(-3.0))
    plain = BiEncoder.load(str(folder), "cpu")
    encoder = BiEncoder("own", model, plain.tokenize, config["model_cfg"], torch.device("cpu"))
    scale = float(model.logit_scale.detach())
    learner = a_learner(tmp_path, encoder, align_loss="siglip")
    assert learner.bias is model.logit_bias
    assert float(model.logit_scale.detach()) == scale
    assert sum(learner.bias is p for group in learner.optimizer.param_groups for p in group["params"]) == 1


def test_the_temperature_stays_within_its_bounds(tmp_path: Path) -> None:
    learner = a_learner(tmp_path)
    learner.model.logit_scale.data.fill_(100.0)
    step(learner, "supervised")
    assert float(learner.model.logit_scale.exp().detach()) == pytest.approx(100.0)


def test_what_is_mined_from_is_the_pooled_embedding_of_the_product(tmp_path: Path) -> None:
    learner = a_learner(tmp_path)
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(2, 7, 16)).astype(np.float32)
    image[1], text[4] = 0, 0
    image[[0, 2, 3, 4, 5, 6]] /= np.linalg.norm(image[[0, 2, 3, 4, 5, 6]], axis=1, keepdims=True)
    text[[0, 1, 2, 3, 5, 6]] /= np.linalg.norm(text[[0, 1, 2, 3, 5, 6]], axis=1, keepdims=True)
    learner._loss("supervised", torch.stack((torch.from_numpy(image), torch.from_numpy(text)), dim=1), ROWS)
    np.testing.assert_allclose(learner.bank[:7].numpy(), pool(image, text, 0.3), atol=1e-3)
    assert not learner.bank[7:].any()


def test_a_hidden_modality_is_hidden_as_often_as_asked_for(tmp_path: Path) -> None:
    learner = a_learner(tmp_path)
    data, rows = learner.data, np.arange(16)
    both = data.paired
    assert both.sum() == 14
    counts = np.zeros(3)
    for epoch in range(25):
        batch = data.batch(rows, learner.encoder, (0, epoch), modality_dropout=0.4)
        has_image, has_text = batch.has_image.numpy(), batch.has_text.numpy()
        assert (has_image | has_text).all()
        assert has_text[1] and has_image[4]  # who has one only keeps it
        assert len(batch.pixels) == has_image.sum() and len(batch.tokens) == has_text.sum()
        counts += [(has_image & has_text)[both].sum(), (~has_text)[both].sum(), (~has_image)[both].sum()]
    assert counts / counts.sum() == pytest.approx([0.6, 0.2, 0.2], abs=0.05)
    batch = data.batch(rows, learner.encoder, (0, 0))
    assert (batch.has_image & batch.has_text).sum() == 14


def test_a_picture_that_cannot_be_read_keeps_its_text(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"text": "broken", "crop": b"no picture", "entity_id": f"e{n}"} for n in range(4)]
    data = TrainingSet(Records.open(write_records(tmp_path / "records.parquet", rows)))
    encoder = BiEncoder.load(str(tiny_model(tmp_path / "tiny")), "cpu")
    for epoch in range(10):
        batch = data.batch(np.arange(4), encoder, (0, epoch), modality_dropout=0.5)
        assert not batch.has_image.any()
        assert batch.has_text.all()


def test_what_becomes_of_a_row_does_not_hang_on_its_batch(tmp_path: Path) -> None:
    learner = a_learner(tmp_path)
    whole = learner.data.batch(np.array([0, 2, 3]), learner.encoder, (1, 2), modality_dropout=0.2)
    alone = learner.data.batch(np.array([3]), learner.encoder, (1, 2), modality_dropout=0.2)
    assert bool(alone.has_image[0]) == bool(whole.has_image[2])
    if alone.pixels:
        np.testing.assert_array_equal(alone.pixels[0], whole.pixels[-1])
