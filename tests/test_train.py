from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from lines import NAMES, crop, tiny_model, write_records
from safetensors.torch import load_file

from linkage.config import EncodeConfig, TrainConfig
from linkage.encode import train as training
from linkage.encode.biencoder import BiEncoder
from linkage.encode.crops import read_crop
from linkage.encode.train import train
from linkage.encode.validate import Validation
from linkage.errors import ArtefactError, DependencyError, InputError
from linkage.records import Records


def labelled(path: Path, split: str = "train") -> Records:
    """Two records of each of 16 firms, the second set smaller."""
    rows: list[dict[str, object]] = [
        {"text": name, "crop": crop(name, size), "entity_id": f"e{number}", "split": split}
        for number, name in enumerate(NAMES)
        for size in (30, 22)
    ]
    return Records.open(write_records(path, rows))


def config(**changes: object) -> TrainConfig:
    values = {"align_epochs": 2, "supervised_epochs": 2, "batch_size": 8, "checkpoint_steps": 3, "bf16": "off"}
    return TrainConfig.model_validate(values | changes)


@pytest.fixture
def tiny(tmp_path: Path) -> EncodeConfig:
    return EncodeConfig(model=str(tiny_model(tmp_path / "tiny")), device="cpu")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same(left: Path, right: Path) -> None:
    one, two = weights(left), weights(right)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert (left / "metrics.jsonl").read_text() == (right / "metrics.jsonl").read_text()


def test_sixteen_pairs_are_learned_by_heart(
    tmp_path: Path, tiny: EncodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So few weights see no words in a photograph that is turned and cropped: what is tried here is the learning.
    monkeypatch.setattr("linkage.encode.data.augment_photo", lambda image, _side, _rng: image)
    records = Records.open(write_records(tmp_path / "records.parquet", [{"text": name} for name in NAMES]))
    out = tmp_path / "model"
    plan = config(align_epochs=150, batch_size=16, align_lr=2e-3, checkpoint_steps=1000)
    summary = train(records, out, plan, tiny, seed=0)
    assert summary["pairs"] == 16
    assert summary["steps"] == 150
    losses = [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert np.mean(losses[-3:]) < 0.3 * losses[0]
    encoder = BiEncoder.load(str(out), "cpu")
    image = encoder.encode_image([read_crop(records.crop(row) or b"") for row in range(16)])
    cosines = image @ encoder.encode_text(list(NAMES)).T
    assert (cosines.argmax(axis=1) == np.arange(16)).mean() >= 0.9


def test_the_model_folder_is_complete_and_nothing_else_is_left(tmp_path: Path, tiny: EncodeConfig) -> None:
    out = tmp_path / "model"
    summary = train(labelled(tmp_path / "records.parquet"), out, config(), tiny, seed=0)
    names = {"metrics.jsonl", "model.safetensors", "open_clip_config.json", "training.json", "vocab.txt"}
    assert {path.name for path in out.iterdir()} == names
    assert {path.name for path in tmp_path.iterdir()} == {"model", "records.parquet", "tiny"}
    assert json.loads((out / "training.json").read_text())["steps"] == summary["steps"] > 8
    assert summary["entities"] == 16
    assert BiEncoder.load(str(out), "cpu").dim == 16


class CutError(Exception):
    """Stands for a power cut in the middle of a step."""


@pytest.mark.parametrize("at", [2, 5, 8, 9, 13])
def test_training_that_was_cut_ends_with_the_same_weights(
    tmp_path: Path, tiny: EncodeConfig, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    records = labelled(tmp_path / "records.parquet")
    train(records, tmp_path / "whole", config(), tiny, seed=3)
    calls = 0
    update = training.Learner.update

    def cut(self: training.Learner, *args: object) -> float:
        nonlocal calls
        calls += 1
        if calls == at:
            raise CutError
        return update(self, *args)

    with monkeypatch.context() as patch, pytest.raises(CutError):
        patch.setattr(training.Learner, "update", cut)
        train(records, tmp_path / "cut", config(), tiny, seed=3)
    assert not (tmp_path / "cut").exists()
    train(records, tmp_path / "cut", config(), tiny, seed=3)
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_kill_9_at_any_moment_loses_nothing(tmp_path: Path, tiny: EncodeConfig) -> None:
    records = labelled(tmp_path / "records.parquet")
    plan = config(align_epochs=6, supervised_epochs=6, checkpoint_steps=1)
    train(records, tmp_path / "whole", plan, tiny, seed=1)
    out = tmp_path / "killed"
    moments = random.Random(5)
    for _ in range(5):
        child = multiprocessing.get_context("fork").Process(
            target=train, args=(records, out, plan, tiny), kwargs={"seed": 1}
        )
        child.start()
        time.sleep(moments.uniform(0.05, 0.6))
        if child.pid and child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
        child.join()
    if not out.exists():
        train(records, out, plan, tiny, seed=1)
    assert_same(tmp_path / "whole", out)


def test_a_checkpoint_of_other_settings_is_not_gone_on_from(
    tmp_path: Path, tiny: EncodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = labelled(tmp_path / "records.parquet")
    train(records, tmp_path / "whole", config(), tiny, seed=4)
    with monkeypatch.context() as patch, pytest.raises(CutError):
        patch.setattr(training.Trainer, "_validate", _raise)
        train(records, tmp_path / "out", config(), tiny, seed=3)
    train(records, tmp_path / "out", config(), tiny, seed=4)
    assert_same(tmp_path / "whole", tmp_path / "out")


def _raise(*_: object) -> None:
    raise CutError


def test_a_damaged_checkpoint_is_named(tmp_path: Path, tiny: EncodeConfig) -> None:
    partial = tmp_path / "out.partial"
    partial.mkdir()
    (partial / "checkpoint.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(ArtefactError, match=r"checkpoint\.safetensors: damaged"):
        train(labelled(tmp_path / "records.parquet"), tmp_path / "out", config(), tiny, seed=0)


def test_test_rows_are_never_read(tmp_path: Path, tiny: EncodeConfig) -> None:
    train(labelled(tmp_path / "alone.parquet"), tmp_path / "alone", config(), tiny, seed=0)
    rows: list[dict[str, object]] = [
        {"text": f"{name} {size}", "crop": crop(name, size), "entity_id": f"e{number}", "split": "train"}
        for number, name in enumerate(NAMES)
        for size in (30, 22)
    ]
    for row in rows:
        row["text"] = str(row["text"]).rsplit(" ", 1)[0]
    extra: list[dict[str, object]] = [
        {"text": f"secret {n}", "entity_id": f"t{n % 4}", "split": "test", "crop": b"unreadable"} for n in range(8)
    ]
    both = Records.open(write_records(tmp_path / "both.parquet", rows + extra))
    train(both, tmp_path / "both", config(), tiny, seed=0)
    one, two = weights(tmp_path / "alone"), weights(tmp_path / "both")
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_the_best_epoch_on_unseen_entities_is_kept(tmp_path: Path, tiny: EncodeConfig) -> None:
    records = Records.open(write_records(tmp_path / "records.parquet", with_val_rows()))
    summary = train(records, tmp_path / "model", config(supervised_epochs=4, patience=0), tiny, seed=0)
    lines = map(json.loads, (tmp_path / "model" / "metrics.jsonl").read_text().splitlines())
    hits = {line["epoch"]: line["hit_pooled"] for line in lines if line["stage"] == "val"}
    assert set(hits) == set(range(1, 7))
    assert summary["val_hit_pooled"] == max(hits.values()) == hits[summary["epoch_kept"]]
    encoder = BiEncoder.load(str(tmp_path / "model"), "cpu")
    assert Validation(records, 0.5).measure(encoder)["hit_text"] == pytest.approx(summary["val_hit_text"], abs=0.1)


def test_validation_looks_from_queries_to_exemplars_where_roles_are_given(tmp_path: Path, tiny: EncodeConfig) -> None:
    rows: list[dict[str, object]] = []
    for number, name in enumerate(NAMES[:4]):
        for role in ("exemplar", "query"):
            rows.append({"text": name, "entity_id": f"e{number}", "split": "val", "role": role})
    rows.append({"text": "nobody", "entity_id": "e9", "split": "val", "role": "query_nomatch"})
    rows.append({"text": "nobody else", "entity_id": "e9", "split": "val", "role": "query_nomatch"})
    validation = Validation(Records.open(write_records(tmp_path / "records.parquet", rows)), 0.5)
    assert validation.queries == 4
    figures = validation.measure(BiEncoder.load(tiny.model, "cpu"))
    assert [figures[f"hit_{view}"] for view in ("pooled", "image", "text")] == [1.0, 1.0, 1.0]


def test_records_that_lack_a_crop_or_a_text_are_trained_on(tmp_path: Path, tiny: EncodeConfig) -> None:
    rows: list[dict[str, object]] = []
    for number, name in enumerate(NAMES[:8]):
        rows.append({"text": name, "crop": None, "entity_id": f"e{number}"})
        rows.append({"text": "", "crop": crop(name), "entity_id": f"e{number}"})
    rows.append({"text": "broken", "crop": b"no picture", "entity_id": "e0"})
    records = Records.open(write_records(tmp_path / "records.parquet", rows))
    summary = train(records, tmp_path / "model", config(), tiny, seed=0)
    assert summary["entities"] == 8
    assert all(
        torch.isfinite(value).all() for value in weights(tmp_path / "model").values() if value.is_floating_point()
    )


def test_nothing_to_train_on(tmp_path: Path, tiny: EncodeConfig) -> None:
    rows: list[dict[str, object]] = [{"text": name, "crop": None} for name in NAMES]
    records = Records.open(write_records(tmp_path / "records.parquet", rows))
    with pytest.raises(InputError, match=r"records\.parquet: nothing to train on"):
        train(records, tmp_path / "model", config(), tiny, seed=0)
    assert not (tmp_path / "model.partial").exists()


def test_a_loss_that_is_no_number_stops_training(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny")
    encoder = BiEncoder.load(str(folder), "cpu")
    with torch.no_grad():
        encoder.model.logit_scale.fill_(float("nan"))
    encoder.save(folder)
    with pytest.raises(InputError, match=r"lower train\.align_lr"):
        train(
            labelled(tmp_path / "records.parquet"), tmp_path / "out", config(), EncodeConfig(model=str(folder)), seed=0
        )
    assert not (tmp_path / "out").exists()


def test_tensorboard_is_asked_for_but_not_installed(
    tmp_path: Path, tiny: EncodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(DependencyError, match="tensorboard"):
        train(labelled(tmp_path / "r.parquet"), tmp_path / "out", config(tensorboard=True), tiny, seed=0)
    shutil.rmtree(tmp_path / "out.partial")


def everything(**changes: object) -> TrainConfig:
    """Every setting that has a state of its own."""
    rich = {"align_loss": "siglip", "chunk": 3, "modality_dropout": 0.5, "nested": [4]}
    return config(**(rich | {"margin": 0.1, "patience": 1, "align_epochs": 3} | changes))


def test_training_with_every_setting_that_was_cut_ends_the_same(
    tmp_path: Path, tiny: EncodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Records.open(write_records(tmp_path / "records.parquet", with_val_rows()))
    summary = train(records, tmp_path / "whole", everything(), tiny, seed=3)
    update = training.Learner.update
    for at in (1, summary["steps"] // 2, summary["steps"] // 3):  # steps after the last cut
        calls = 0

        def cut(self: training.Learner, *args: object, at: int = at) -> float:
            nonlocal calls
            calls += 1
            if calls == at:
                raise CutError
            return update(self, *args)  # type: ignore[arg-type]

        with monkeypatch.context() as patch, pytest.raises(CutError):
            patch.setattr(training.Learner, "update", cut)
            train(records, tmp_path / "cut", everything(), tiny, seed=3)
    train(records, tmp_path / "cut", everything(), tiny, seed=3)
    assert_same(tmp_path / "whole", tmp_path / "cut")


def with_val_rows() -> list[dict[str, object]]:
    return [
        {"text": name, "crop": crop(name, size), "entity_id": f"e{number}", "split": "val" if number < 6 else "train"}
        for number, name in enumerate(NAMES)
        for size in (30, 22)
    ]


def test_a_stage_ends_when_nothing_gets_better(tmp_path: Path, tiny: EncodeConfig) -> None:
    records = Records.open(write_records(tmp_path / "records.parquet", with_val_rows()))
    plan = config(align_epochs=6, supervised_epochs=3, align_lr=1e-12, supervised_lr=1e-12, patience=2)
    summary = train(records, tmp_path / "model", plan, tiny, seed=0)
    lines = map(json.loads, (tmp_path / "model" / "metrics.jsonl").read_text().splitlines())
    # One epoch sets the mark, two do not pass it; the second stage has a count of its own.
    assert [line["epoch"] for line in lines if line["stage"] == "val"] == [1, 2, 3, 7, 8]
    assert (summary["epochs"], summary["epoch_kept"]) == (5, 1)


def puzzle(path: Path, shuffled: bool) -> Records:
    """An entity is three letters of ten; most of each text is chance. Which letters count has to be learned."""
    rng = np.random.default_rng(0)
    keys = ["".join(key) for key in combinations("abcdefghij", 3)]
    rng.shuffle(keys)
    rows: list[dict[str, object]] = []
    for number, key in enumerate(keys[:90]):
        for _ in range(4):
            text = "".join(rng.choice(list("nopqrstuvwxyz"), 9)) + " " + key
            split = "val" if number < 20 else "train"
            rows.append({"text": text, "crop": None, "entity_id": key, "split": split})
    for split in ("train", "val") if shuffled else ():
        part = [row for row in rows if row["split"] == split]
        for row, entity in zip(part, rng.permutation([row["entity_id"] for row in part]).tolist(), strict=True):
            row["entity_id"] = entity
    return Records.open(write_records(path, rows))


@pytest.mark.parametrize("shuffled", [False, True], ids=["labels", "shuffled labels"])
def test_what_counts_is_learned_from_labels_and_only_from_labels(
    tmp_path: Path, tiny: EncodeConfig, shuffled: bool
) -> None:
    records = puzzle(tmp_path / "records.parquet", shuffled)
    untrained = Validation(records, 0.3).measure(BiEncoder.load(tiny.model, "cpu"))["hit_pooled"]
    plan = config(supervised_epochs=16, batch_size=64, per_class=4, supervised_lr=2e-2, patience=0)
    hit = train(records, tmp_path / "model", plan, tiny, seed=0)["val_hit_pooled"]
    if shuffled:  # by chance 3 of 79; the best of 16 epochs on 80 queries lies somewhat above
        assert hit < 0.2
    else:
        assert untrained < 0.5
        assert hit > 0.85
