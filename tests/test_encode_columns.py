"""Training on what a frozen recogniser saw: looked at once, gone on from after an interruption, and it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lines import NAMES, crop, write_records

from linkage.config import EncodeConfig, TrainConfig
from linkage.encode.biencoder import BiEncoder
from linkage.encode.columns import CropColumns
from linkage.encode.crops import read_crop
from linkage.encode.folder import SHIPPED
from linkage.encode.train import train
from linkage.records import Records

pytestmark = pytest.mark.skipif(
    not (SHIPPED / "linkage-line").is_dir(), reason="the shipped model is being trained anew"
)


@pytest.fixture(scope="module")
def encoder() -> BiEncoder:
    return BiEncoder.load("linkage-line", "cpu")


def records(folder: Path) -> Records:
    rows: list[dict[str, object]] = []
    for number, name in enumerate(NAMES):
        for view, size in enumerate((18, 26, 34)):
            split = "val" if number % 4 == 3 else "train"
            rows.append({"text": "" if view else name, "crop": crop(name, size), "entity_id": name, "split": split})
    rows[0]["crop"] = None
    return Records.open(write_records(folder / "records.parquet", rows))


def test_columns_stand_for_the_crops(encoder: BiEncoder, tmp_path: Path) -> None:
    table = records(tmp_path)
    seen = CropColumns.of(table, encoder, tmp_path / "columns", np.arange(6))
    assert [reading.replace(" ", "") for reading in seen.readings[3:]] == ["BakerBrothers"] * 3
    assert seen.readings[0] == ""
    assert len(seen[0]) == 0
    pictures = [read_crop(table.crop(row) or b"") for row in range(1, 6)]
    found = encoder.encode_columns(seen.take(np.arange(6)))
    assert not found[0].any()
    np.testing.assert_allclose(found[1:], encoder.encode_image(pictures), atol=5e-3)  # kept in 16 bits


def test_a_second_call_opens_what_the_first_one_kept(encoder: BiEncoder, tmp_path: Path) -> None:
    table = records(tmp_path)
    first = CropColumns.of(table, encoder, tmp_path / "columns", np.arange(4))
    written = (tmp_path / "columns" / "columns.bin").stat().st_mtime_ns
    again = CropColumns.of(table, encoder, tmp_path / "columns", np.arange(4))
    assert (tmp_path / "columns" / "columns.bin").stat().st_mtime_ns == written
    np.testing.assert_array_equal(first[3], again[3])
    other = CropColumns.of(table, encoder, tmp_path / "columns", np.arange(4, 8))
    assert (tmp_path / "columns" / "columns.bin").stat().st_mtime_ns != written
    assert other.readings != first.readings


def test_the_recogniser_stays_as_it_was(encoder: BiEncoder, tmp_path: Path) -> None:
    config = TrainConfig(align_epochs=1, supervised_epochs=1, batch_size=16, supervised_lr=1e-3)
    summary = train(records(tmp_path), tmp_path / "model", config, EncodeConfig(device="cpu"), seed=0)
    assert summary["pairs"] == 35  # all that have a crop: a reading stands for a missing text
    assert summary["val_hit_pooled"] == 1.0
    trained = BiEncoder.load(str(tmp_path / "model"), "cpu")
    before, after = (model.model.visual.trunk for model in (encoder, trained))
    for name, weight in before.reader.state_dict().items():
        np.testing.assert_array_equal(weight, after.reader.state_dict()[name])
    assert not np.allclose(before.says.weight.detach(), after.says.weight.detach())
