"""Photographs and captions go through the same training as print: drawn shapes, each with the words for it."""

from __future__ import annotations

import io
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from lines import write_records
from PIL import Image, ImageDraw

from linkage.config import EncodeConfig, TrainConfig
from linkage.encode import towers
from linkage.encode.biencoder import BiEncoder
from linkage.encode.folder import CONFIG_FILE
from linkage.encode.tokenizer import CharTokenizer
from linkage.encode.train import train
from linkage.records import Records

COLOURS = {"red": (210, 30, 30), "green": (30, 160, 50), "blue": (40, 60, 210), "yellow": (230, 210, 40)}
SHAPES = ("disc", "square", "bar", "ring")
CAPTIONS = [f"a {colour} {shape}" for colour, shape in product(COLOURS, SHAPES)]


def photo(caption: str, rng: np.random.Generator) -> Image.Image:
    """A shape somewhere on grey ground, in some size."""
    _, colour, shape = caption.split()
    image = Image.new("RGB", (48, 48), tuple(rng.integers(90, 170, 1).repeat(3).tolist()))
    pen, radius = ImageDraw.Draw(image), int(rng.integers(13, 18))
    x, y = rng.integers(20, 28, 2).tolist()
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape == "disc":
        pen.ellipse(box, COLOURS[colour])
    elif shape == "square":
        pen.rectangle(box, COLOURS[colour])
    elif shape == "ring":
        pen.ellipse(box, outline=COLOURS[colour], width=5)
    else:
        pen.rectangle((box[0], y - 4, box[2], y + 4), COLOURS[colour])
    return image


def tiny_photo_model(folder: Path) -> Path:
    """A convolutional image tower and a text tower over characters, both untrained."""
    text = {"context_length": 24, "vocab_size": CharTokenizer().vocab_size, "width": 32, "heads": 1, "layers": 1}
    cfg = {
        "embed_dim": 32,
        "custom_text": True,
        "vision_cfg": {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "linear", "image_size": 32},
        "text_cfg": text | {"no_causal_mask": True, "pool_type": "none"},
    }
    folder.mkdir()
    (folder / CONFIG_FILE).write_text(json.dumps({"model_cfg": cfg, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    model = towers.build(f"local-dir:{folder}")
    BiEncoder(str(folder), model, CharTokenizer(), cfg, torch.device("cpu")).save(folder)
    return folder


def recall_after_training(folder: Path, captions: list[str]) -> float:
    """Train on six photographs of each thing, captioned as told; recall@1 photo to caption on new photographs."""
    rng = np.random.default_rng(0)
    things = CAPTIONS * 6
    rows: list[dict[str, object]] = []
    for thing, caption in zip(things, captions, strict=True):
        buffer = io.BytesIO()
        photo(thing, rng).save(buffer, "PNG")
        rows.append({"crop": buffer.getvalue(), "text": caption})
    records = Records.open(write_records(folder / "records.parquet", rows))
    plan = TrainConfig(align_epochs=25, batch_size=16, align_lr=2e-3, bf16="off", checkpoint_steps=10_000)
    model = tiny_photo_model(folder / "tiny")
    train(records, folder / "model", plan, EncodeConfig(model=str(model), device="cpu"), seed=0)
    encoder = BiEncoder.load(str(folder / "model"), "cpu")
    new = encoder.encode_image([photo(thing, rng) for thing in CAPTIONS * 4])
    nearest = (new @ encoder.encode_text(CAPTIONS).T).argmax(axis=1)
    return float((nearest == np.tile(np.arange(len(CAPTIONS)), 4)).mean())


@pytest.mark.slow
def test_captions_are_learned_and_shuffled_captions_are_not(tmp_path: Path) -> None:
    """Chance is 1 in 16; what shuffled captions reach shows that no other way leads to the right one."""
    for name in ("true", "shuffled"):
        (tmp_path / name).mkdir()
    assert recall_after_training(tmp_path / "true", CAPTIONS * 6) >= 0.6
    shuffled = np.random.default_rng(1).permutation(CAPTIONS * 6).tolist()
    assert recall_after_training(tmp_path / "shuffled", shuffled) <= 0.25
