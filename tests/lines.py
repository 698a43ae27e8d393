"""Small records tables of drawn lines, and a model small enough to train in a test."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageDraw, ImageFont

from linkage.encode import towers
from linkage.encode.biencoder import BiEncoder
from linkage.encode.folder import CONFIG_FILE
from linkage.encode.lattice import Lattice
from linkage.encode.tokenizer import CharTokenizer

NAMES = (
    "Abbot & Sons|Baker Brothers|Cordier fils|Dubois et Cie|Evans Mills|Fischer Druck|Garnier|Holt Foundry|"
    "Ibarra Hermanos|Jansen Kaas|Kowal|Lambert Vins|Moretti|Nilsson Varv|Oakley Iron|Pereira Sal"
).split("|")


def draw(text: str, size: int = 30) -> Image.Image:
    """One line of print, grey."""
    font = ImageFont.load_default(size)
    box = font.getbbox(text)
    image = Image.new("L", (int(box[2]) + 16, size + 16), 235)
    ImageDraw.Draw(image).text((8, 6), text, font=font, fill=30)
    return image


def crop(text: str, size: int = 30) -> bytes:
    """The same, encoded."""
    buffer = io.BytesIO()
    draw(text, size).save(buffer, "PNG")
    return buffer.getvalue()


def lattice(
    text: str,
    *,
    others: str = "",
    weight: list[float] | None = None,
    shares: list[float] | None = None,
    gaps: list[bool] | None = None,
) -> Lattice:
    """A lattice of one column per character: its share of the weight, the rest to the character of `others`."""
    n = len(text)
    heavy = np.array(weight if weight is not None else [0.99] * n, dtype=np.float64)
    share = np.array(shares if shares is not None else [0.95] * n, dtype=np.float64)
    letters, chances = np.zeros((n, 8), dtype=np.uint32), np.zeros((n, 8))
    letters[:, 0] = [ord(character) for character in text]
    chances[:, 0] = heavy * share
    if others:
        letters[:, 1] = [ord(character) for character in others]
        chances[:, 1] = heavy * (1 - share)
    return Lattice(letters, chances.astype(np.float16), heavy.astype(np.float16), np.array(gaps or [False] * n))


def write_records(path: Path, rows: list[dict[str, object]]) -> Path:
    """A Parquet records table; `crop` is drawn from `text` where a row has no such key."""
    table = [
        {"record_id": f"r{number:03d}", "source": "drawn", "page": 1, "direction": "horizontal"}
        | ({} if "crop" in row else {"crop": crop(str(row["text"]))})
        | row
        for number, row in enumerate(rows)
    ]
    pq.write_table(pa.Table.from_pylist(table), path)
    return path


def tiny_model(folder: Path, seed: int = 0) -> Path:
    """A folder with an untrained model of some 130,000 weights."""
    vision = {"image_size": [32, 96], "patch_size": 16, "layers": 1, "width": 32, "head_width": 16}
    text = {"context_length": 24, "vocab_size": CharTokenizer().vocab_size, "width": 16, "heads": 1, "layers": 1}
    cfg = {"embed_dim": 16, "custom_text": True, "vision_cfg": vision}
    cfg["text_cfg"] = text | {"no_causal_mask": True, "pool_type": "none"}
    folder.mkdir()
    (folder / CONFIG_FILE).write_text(json.dumps({"model_cfg": cfg}))
    torch.manual_seed(seed)
    model = towers.build(f"local-dir:{folder}")
    torch.nn.init.normal_(model.text.token_embedding.table.weight)  # open_clip's own is for long trainings
    tokenize = CharTokenizer(context_length=24)
    BiEncoder("tiny", model, tokenize, cfg, torch.device("cpu")).save(folder)
    return folder
