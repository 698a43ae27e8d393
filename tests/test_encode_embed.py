from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lines import NAMES, tiny_model, write_records

from linkage.config import EncodeConfig
from linkage.encode.biencoder import BiEncoder
from linkage.encode.embed import embed_records
from linkage.encode.embeddings import Embeddings
from linkage.encode.pooling import pool
from linkage.errors import ArtefactError
from linkage.records import Records

CONFIG = EncodeConfig(batch_size=4, image_weight=0.25)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> BiEncoder:
    return BiEncoder.load(str(tiny_model(tmp_path_factory.mktemp("encoder") / "tiny")), "cpu")


@pytest.fixture
def records(tmp_path: Path) -> Records:
    rows: list[dict[str, object]] = [{"text": name} for name in NAMES[:9]]
    rows[1] = {"text": "no crop", "crop": None}
    rows[2] = {"text": "broken crop", "crop": b"no picture"}
    rows[3] |= {"text": "", "crop": rows[3].get("crop", b"")}
    rows[4] |= {"direction": "vertical"}
    return Records.open(write_records(tmp_path / "records.parquet", rows))


def test_rows_follow_the_records_and_gaps_are_counted(records: Records, encoder: BiEncoder, tmp_path: Path) -> None:
    made = embed_records(records, encoder, tmp_path / "out", CONFIG)
    assert made.record_ids.tolist() == records.frame["record_id"].tolist()
    assert made.image.shape == made.text.shape == (9, 16)
    assert made.image.dtype == np.float16
    assert (~made.image.any(axis=1)).nonzero()[0].tolist() == [1, 2, 3]
    assert (~made.text.any(axis=1)).nonzero()[0].tolist() == [3]
    assert made.manifest["n_without_image"] == 3
    assert made.manifest["n_without_text"] == 1
    assert made.manifest["model_sha256"] == encoder.sha256
    failures = pd.read_csv(tmp_path / "out" / "failures.csv")
    assert failures["record_id"].tolist() == ["r002"]
    assert failures["source"].tolist() == ["drawn"]
    np.testing.assert_allclose(made.text[0], encoder.encode_text([NAMES[0]])[0], atol=1e-3)


def test_pooled_uses_the_weight_of_the_manifest(records: Records, encoder: BiEncoder, tmp_path: Path) -> None:
    made = embed_records(records, encoder, tmp_path / "out", CONFIG)
    np.testing.assert_array_equal(made.pooled(), pool(made.image, made.text, 0.25))
    np.testing.assert_array_equal(made.pooled(1.0), pool(made.image, made.text, 1.0))
    assert made.pooled().dtype == np.float32


def test_batch_size_does_not_matter(records: Records, encoder: BiEncoder, tmp_path: Path) -> None:
    first = embed_records(records, encoder, tmp_path / "one", CONFIG)
    second = embed_records(records, encoder, tmp_path / "two", EncodeConfig(batch_size=100))
    np.testing.assert_allclose(first.image, second.image, atol=1e-3)
    np.testing.assert_allclose(first.text, second.text, atol=1e-3)


def test_an_earlier_folder_is_replaced_and_nothing_else_is_left(
    records: Records, encoder: BiEncoder, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "stale").touch()
    embed_records(records, encoder, out, CONFIG)
    assert sorted(path.name for path in out.iterdir()) == [
        "failures.csv",
        "image.npy",
        "manifest.json",
        "records.parquet",
        "text.npy",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "records.parquet"]


def test_missing_and_damaged_embeddings_say_what_to_run(records: Records, encoder: BiEncoder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ArtefactError, match="linkage embed"):
        Embeddings.open(out)
    embed_records(records, encoder, out, CONFIG)
    good = np.load(out / "text.npy")
    for wrong in (np.nan, np.inf):
        bad = good.copy()
        bad[-1, 3] = wrong
        np.save(out / "text.npy", bad)
        with pytest.raises(ArtefactError, match=r"text\.npy: damaged, it holds values that are no numbers"):
            Embeddings.open(out)
    np.save(out / "text.npy", np.zeros((2, 16), dtype=np.float16))
    with pytest.raises(ArtefactError, match="do not belong together"):
        Embeddings.open(out)
    np.save(out / "image.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ArtefactError, match=r"image\.npy"):
        Embeddings.open(out)
    manifest = json.loads((out / "manifest.json").read_text())
    for weight in (float("nan"), -1.0, 2.0):
        (out / "manifest.json").write_text(json.dumps(manifest | {"image_weight": weight}))
        with pytest.raises(ArtefactError, match="image weight"):
            Embeddings.open(out)
    del manifest["dim"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match="damaged"):
        Embeddings.open(out)
