"""Two processes learn what one learns from the same batches."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lines import NAMES, crop, tiny_model, write_records
from safetensors.torch import load_file, save_file
from torch import distributed

from linkage.config import TrainConfig
from linkage.encode.biencoder import BiEncoder
from linkage.encode.data import TrainingSet
from linkage.encode.distributed import Ranks, joined
from linkage.encode.learner import Learner
from linkage.records import Records

RATE = 1e-3
STEPS = (("align", np.arange(7)), ("supervised", np.arange(4, 15)), ("supervised", np.array([3])))


def records(path: Path) -> Records:
    rows: list[dict[str, object]] = [
        {"text": name, "crop": crop(name, size), "entity_id": f"e{number}"}
        for number, name in enumerate(NAMES[:8])
        for size in (30, 22)
    ]
    rows[6]["crop"] = None
    return Records.open(write_records(path, rows))


def some_steps(folder: Path, ranks: Ranks, settings: dict[str, object], out: str) -> None:
    """Three steps on batches that two do not divide, the last with a single row; weights go to `out`."""
    encoder = BiEncoder.load(str(folder / "tiny"), "cpu")
    config = TrainConfig.model_validate({"bf16": "off"} | settings)
    data = TrainingSet(Records.open(folder / "records.parquet"))
    learner = Learner(encoder, data, config, 0.3, 0, ranks)
    learner.train_mode()
    for number, (stage, rows) in enumerate(STEPS):
        learner.set_rate(RATE)
        learner.update(stage, data.batch(ranks.part(rows), encoder, (0, 0)), rows, number)  # type: ignore[arg-type]
    values = {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in learner.model.state_dict().items()
    }
    save_file(values | {"bank": learner.bank}, folder / out)


def a_rank(folder: Path, rank: int, settings: dict[str, object]) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    some_steps(folder, Ranks(rank, 2), settings, f"rank{rank}")
    distributed.destroy_process_group()


@pytest.mark.parametrize("settings", [{}, {"align_loss": "siglip", "chunk": 2, "nested": (8,)}], ids=["plain", "rich"])
def test_two_ranks_do_what_one_does(tmp_path: Path, settings: dict[str, object]) -> None:
    tiny_model(tmp_path / "tiny")
    records(tmp_path / "records.parquet")
    some_steps(tmp_path, Ranks(), settings, "alone")
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=a_rank, args=(tmp_path, rank, settings)) for rank in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
        assert child.exitcode == 0
    alone, one, two = (load_file(tmp_path / name) for name in ("alone", "rank0", "rank1"))
    start = load_file(tmp_path / "tiny" / "model.safetensors")
    assert all(torch.equal(one[name], two[name]) for name in one)  # the ranks never part
    for name, value in alone.items():
        torch.testing.assert_close(one[name], value, rtol=0, atol=1e-3 if name == "bank" else 0.05 * RATE, msg=name)
    moved = {name for name, value in start.items() if (alone[name] - value.float()).abs().max() > 0.5 * RATE}
    assert len(moved) > 20


def test_parts_and_gathering_alone() -> None:
    ranks = Ranks()
    rows = np.arange(5)
    assert ranks.part(rows).tolist() == rows.tolist()
    assert sorted(np.concatenate([Ranks(rank, 3).part(rows) for rank in range(3)]).tolist()) == rows.tolist()
    assert ranks.leads and not Ranks(1, 2).leads
    with joined("cpu") as found:  # not under torchrun
        assert (found.rank, found.world) == (0, 1)


@pytest.mark.slow
def test_torchrun_trains_and_one_process_writes(tmp_path: Path) -> None:
    tiny_model(tmp_path / "tiny")
    rows: list[dict[str, object]] = [
        {"text": name, "crop": crop(name, size), "entity_id": f"e{number}", "split": "val" if number < 4 else "train"}
        for number, name in enumerate(NAMES)
        for size in (30, 22)
    ]
    write_records(tmp_path / "records.parquet", rows)
    settings = ("align_epochs=1", "supervised_epochs=2", "batch_size=8", "checkpoint_steps=2")
    command = ["-m", "linkage", "train", str(tmp_path / "records.parquet"), "--model", str(tmp_path / "tiny")]
    command += [part for setting in settings for part in ("--set", f"train.{setting}")]
    command += ["--set", "encode.device=cpu", "--json"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    figures = {}
    for name, launcher in (("one", []), ("two", torchrun)):
        call = [sys.executable, *launcher, *command, "--out", str(tmp_path / name)]
        done = subprocess.run(call, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        figures[name] = json.loads(done.stdout)  # one summary, not two
    assert figures["one"]["steps"] == figures["two"]["steps"] > 0
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for key, value in one.items():
        torch.testing.assert_close(two[key].float(), value.float(), rtol=0.01, atol=0.01)
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two", "tiny", "records.parquet"}
