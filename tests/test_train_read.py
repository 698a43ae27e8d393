"""The stage of training in which the recogniser learns to read lines whose words are known."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lines import NAMES, write_records
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import load_file
from typer.testing import CliRunner

from linkage.cli import app
from linkage.encode import read
from linkage.encode.biencoder import BiEncoder
from linkage.encode.transcribed import TranscribedLines
from linkage.records import Records

WORDS = [f"{name} {number}" for number, name in enumerate(NAMES)]


def strange(text: str) -> bytes:
    """A line in a hand that no recogniser has seen: every other letter is turned over."""
    font = ImageFont.load_default(34)
    image = Image.new("L", (24 * len(text) + 16, 56), 235)
    for place, letter in enumerate(text):
        cell = Image.new("L", (24, 48), 235)
        ImageDraw.Draw(cell).text((2, 4), letter, font=font, fill=30)
        image.paste(cell.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if place % 2 else cell, (8 + 24 * place, 4))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def table(path: Path) -> Path:
    rows: list[dict[str, object]] = [
        {"text": "", "transcription": text, "crop": strange(text), "split": "val" if number % 4 == 3 else "train"}
        for number, text in enumerate(WORDS)
    ]
    rows.append({"text": "", "transcription": "", "crop": strange("nobody read this"), "split": "train"})
    rows.append({"text": "", "transcription": "Ꙗко 3", "crop": strange("a b"), "split": "train"})
    return write_records(path, rows)


def run_train(records: Path, out: Path, *settings: str) -> dict[str, object]:
    sets = [part for setting in settings for part in ("--set", setting)]
    call = ["train", str(records), "--out", str(out), "--json", "--set", "encode.device=cpu", *sets]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout[result.stdout.index("{") :]))


def test_a_strange_hand_is_read_better_after_training(tmp_path: Path) -> None:
    sets = ("train.read_epochs=12", "train.read_batch=6", "train.align_epochs=0", "train.supervised_epochs=0")
    told = run_train(table(tmp_path / "records.parquet"), tmp_path / "model", *sets)
    assert (told["lines"], told["lines_left_out"]) == (12, 1)
    assert told["val_character_error"] < told["val_character_error_before"]  # type: ignore[operator]
    assert told["read_share"] in read.SHARES
    encoder, records = BiEncoder.load(str(tmp_path / "model"), "cpu"), Records.open(tmp_path / "records.parquet")
    again = read.character_error(encoder, TranscribedLines(records, encoder, ("val",)))
    assert again == pytest.approx(told["val_character_error"], abs=0.02)  # kept in 16 bits
    assert not (tmp_path / "model.partial").exists()


def test_an_interrupted_training_ends_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = table(tmp_path / "records.parquet")
    sets = ("train.read_epochs=2", "train.read_batch=4", "train.align_epochs=0", "train.supervised_epochs=0")
    sets += ("train.checkpoint_steps=2",)
    run_train(records, tmp_path / "whole", *sets)
    learn, steps = read._Pupil._learn, []

    def cut(self: read._Pupil, *args: object) -> None:
        if len(steps) == 3:
            raise RuntimeError("cut")
        steps.append(1)
        learn(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(read._Pupil, "_learn", cut)
    with pytest.raises(AssertionError):
        run_train(records, tmp_path / "cut", *sets)
    monkeypatch.setattr(read._Pupil, "_learn", learn)
    run_train(records, tmp_path / "cut", *sets)
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(np.array_equal(whole[name].numpy(), resumed[name].numpy()) for name in whole)


def test_without_transcriptions_the_recogniser_stays(tmp_path: Path) -> None:
    frame = pd.read_parquet(table(tmp_path / "records.parquet"))
    frame.drop(columns="transcription").assign(text=[*WORDS, "", ""]).to_parquet(tmp_path / "plain.parquet")
    told = run_train(tmp_path / "plain.parquet", tmp_path / "model", "train.align_epochs=1")
    assert "read_steps" not in told
    names = [name for name in load_file(tmp_path / "model" / "model.safetensors") if ".reader." in name]
    before, after = (
        BiEncoder.load(name, "cpu").model.state_dict() for name in ("linkage-line", str(tmp_path / "model"))
    )
    assert names
    assert all(np.array_equal(before[name].numpy(), after[name].numpy()) for name in names)
