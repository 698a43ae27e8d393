"""Our recogniser beside the published one, and the tower on top of it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from lines import NAMES, draw

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from convert_recogniser import characters, convert, published_model

from linkage.encode.biencoder import BiEncoder
from linkage.encode.line import LineTower
from linkage.ocr.lines import fit_line
from linkage.ocr.reader import LineReader, batches_of_lines

LINES = [fit_line(draw(name, size), 48, 2048) for name, size in zip(NAMES[:8], (14, 20, 30, 40) * 2, strict=True)]


@pytest.fixture(scope="module")
def published() -> onnx.ModelProto:
    return onnx.load(str(published_model()))


@pytest.fixture(scope="module")
def reader(published: onnx.ModelProto) -> LineReader:
    return convert(published)


def scaled(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels / np.float32(127.5) - 1, 3, axis=0)[None]


def test_it_computes_what_the_published_graph_computes(reader: LineReader) -> None:
    session = onnxruntime.InferenceSession(str(published_model()), providers=["CPUExecutionProvider"])
    for line in LINES:
        (expected,) = session.run(None, {"x": scaled(line)})
        with torch.inference_mode():
            found = reader.classify(reader(torch.from_numpy(scaled(line)))[0]).softmax(dim=2).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_line_does_not_depend_on_its_batch(reader: LineReader) -> None:
    widest = max(line.shape[2] for line in LINES) + 64
    batch = torch.zeros(len(LINES), 3, 48, widest)
    for row, line in enumerate(LINES):
        batch[row, :, :, : line.shape[2]] = torch.from_numpy(scaled(line)[0])
    with torch.inference_mode():
        together, real = reader(batch)
        for row, line in enumerate(LINES):
            alone, _ = reader(torch.from_numpy(scaled(line)))
            columns = alone.shape[1]
            assert real[row].sum() == columns
            np.testing.assert_allclose(together[row, :columns], alone[0], atol=5e-4)
            assert not together[row, columns:].any()


def test_the_tower_reads_print_and_keeps_what_it_saw(reader: LineReader, published: onnx.ModelProto) -> None:
    tower = LineTower(width=32, layers=1, heads=2)
    tower.reader.load_state_dict(reader.state_dict())
    names = [" ", *characters(published)]
    with torch.inference_mode():
        ((_, batch),) = batches_of_lines([fit_line(draw("Fischer Druck", 40), 48, 2048)])
        seen, lattices = tower.eval().see(batch)
    read = [
        names[int(best[0])]
        for best, weight in zip(lattices.classes[0], lattices.weight[0], strict=True)
        if weight > 0.5
    ]
    assert "".join(dict.fromkeys(read)) == "FischerDuk"  # each letter once
    assert seen.says.shape == (*seen.weight.shape, 120)
    assert ((seen.weight >= 0) & (seen.weight <= 1)).all()
    assert (seen.place.diff() >= -1e-6).all()
    assert float(seen.place.max()) == pytest.approx(len("FischerDruck") - 1, abs=1.0)


def test_reading_and_embedding_are_one_pass() -> None:
    torch.manual_seed(0)
    encoder = BiEncoder.load("linkage_line", "cpu")
    pictures = [draw("Abbot"), None, draw("Baker Brothers")]
    vectors, sights = encoder.look(pictures)
    np.testing.assert_allclose(vectors, encoder.encode_image(pictures), atol=1e-5)
    assert sights[1] is None
    columns = [sight.columns if sight else np.zeros((0, 242), dtype=np.float16) for sight in sights]
    np.testing.assert_allclose(encoder.encode_columns(columns), vectors, atol=5e-3)  # columns are kept in 16 bits
