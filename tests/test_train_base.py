"""The job that makes the shipped model: its parts, on small inputs; and the model itself."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lines import NAMES, crop, draw

from linkage.encode.biencoder import BiEncoder
from linkage.encode.folder import SHIPPED
from linkage.records import Records
from linkage.synth.records import synth_records

MODEL = SHIPPED / "linkage-line"


@pytest.fixture(scope="module")
def job() -> ModuleType:
    path = Path(__file__).parents[1] / "scripts" / "train_base.py"
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("train_base", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_base"] = module
    spec.loader.exec_module(module)
    return module


def test_a_character_the_recogniser_does_not_know_starts_at_its_look_alikes(job: ModuleType) -> None:
    known = list("oöôwl8 ")
    rows = np.random.default_rng(0).normal(size=(7, 120)).astype(np.float32)
    table = job.character_table(rows, known, [*known, "ő"])
    assert table.shape == (8, 120)
    assert np.abs(table[:7].mean(axis=0)).max() < 1e-5
    cosine = dict(zip(known, table[:7] @ table[7], strict=True))
    assert min(cosine["o"], cosine["ö"]) > max(cosine["l"], cosine["w"])


def test_positions_differ_and_are_small(job: ModuleType) -> None:
    waves = job.positions(96, 256)
    assert waves.shape == (96, 256)
    assert np.sqrt((waves**2).mean()) == pytest.approx(job.POSITION_SIZE, rel=0.01)
    assert len(np.unique(waves.round(5), axis=0)) == 96


def test_a_line_read_without_fault_starts_beside_its_text(job: ModuleType) -> None:
    encoder = job.start(0)
    names = ["Fischer Druck", "Oakley Iron", "Baker Brothers"]
    vectors, sights = encoder.look([draw(name, 40) for name in names])
    assert [sight.lattice.read()[0].replace(" ", "") for sight in sights if sight] == [
        n.replace(" ", "") for n in names
    ]
    cosine = vectors @ encoder.encode_text(names).T
    assert (np.diag(cosine) > 0.9).all()
    assert cosine.argmax(axis=1).tolist() == [0, 1, 2]


def test_real_lines_become_tables_to_read_pair_and_link(
    job: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = sys.modules["base_lines"]
    rows = [
        {
            "image": crop(text),
            "text": text,
            "source": source,
            "script": "hand",
            "page": f"{source} {page}",
            "split": split,
        }
        for source, split in (("one", "train"), ("two", "val"))
        for page in range(3)
        for text in ("Ceci est mon testament.", f"le {page + 3} mars 1914", NAMES[page])
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "lines.parquet")
    monkeypatch.setattr(base, "OTHERS", 4)
    monkeypatch.setattr(base, "NO_MATCH", 2)
    real = base.real_lines(tmp_path)
    base.lines_to_link(real, tmp_path / "linked.parquet", 0)
    linked = Records.open(tmp_path / "linked.parquet").frame
    assert set(linked["split"]) == {"val"}
    assert (linked["text"] == "").all()  # the transcription is the label
    again = linked[linked["entity_id"] == "one/ceciestmontestament"]
    assert again["role"].tolist() == ["exemplar", "query", "query"]
    assert (linked["role"] == "query_nomatch").sum() == 2
    base.pairs_of_lines(real, 5, tmp_path / "pairs.parquet", 0)
    pairs = Records.open(tmp_path / "pairs.parquet").frame
    assert pairs["entity_id"].value_counts().tolist() == [2] * 5
    synth_records(tmp_path / "drawn.parquet", entities=6, views=1, seed=0, workers=1)
    base.lines_to_read(real, tmp_path / "drawn.parquet", tmp_path / "read.parquet", 0)
    read = Records.open(tmp_path / "read.parquet").frame
    assert (read["split"] == "val").sum() == 9
    assert (read["transcription"] != "").all()


@pytest.mark.skipif(not MODEL.is_dir(), reason="the shipped model is being trained anew")
def test_the_shipped_model_is_small_and_reads_past_noise() -> None:
    assert sum(path.stat().st_size for path in MODEL.iterdir()) < 45e6
    notice = (MODEL / "NOTICE").read_text()
    assert "PaddleOCR" in notice
    assert "CC BY 4.0" in notice
    encoder = BiEncoder.load("linkage-line", "cpu")
    names = ["Dubois et Cie, quincaillerie", "Dubost & fils, quincaillier", "Kowalski Import SA", "東京製鋼株式会社"]
    misread = ["Duhois ef Cie, qnincaillerie", "Dubosf & tils, quincaillier", "K0walski lmport SA", "東京製綱株式会社"]
    cosines = encoder.encode_text(misread) @ encoder.encode_text(names).T
    assert cosines.argmax(axis=1).tolist() == [0, 1, 2, 3]
    pictures = encoder.encode_image([draw(name, 24) for name in names[:3]])
    assert (pictures @ encoder.encode_text(names).T).argmax(axis=1).tolist() == [0, 1, 2]
