"""Train the shipped model `base` from nothing, on drawn records, on the CPU in under an hour.

Run: python scripts/train_base.py [--work build/base] [--entities 30000] ...
What was drawn and trained stays in the work folder, so that an interrupted call goes on where it stopped.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import shutil
import sys
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read by OpenMP when torch is imported

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

from linkage.config import EncodeConfig, TrainConfig
from linkage.encode import towers
from linkage.encode.biencoder import SHIPPED, BiEncoder
from linkage.encode.tokenizer import CharTokenizer
from linkage.encode.train import train
from linkage.errors import DependencyError
from linkage.records import Records
from linkage.synth.records import synth_records
from linkage.synth.render import choose_face, load

CELL = 24  # pixels of the square in which a character is drawn
FACES = 4  # faces averaged per character
LOOK = 192  # leading principal components kept
TOKEN_SIZE, POSITION_SIZE = 0.3, 0.15  # root mean square: large enough for early steps not to wipe out


def glyph_vectors(characters: list[str], width: int, rng: np.random.Generator) -> np.ndarray:
    """Vectors in which characters that look alike are near: principal components of their drawn shapes.

    Returns:
        float32 (n, width), rows of length TOKEN_SIZE * sqrt(width); random where no font has the character.
    """
    shapes = np.stack([_shape(character) for character in characters])
    shapes -= shapes.mean(axis=0)
    _, axes = np.linalg.eigh(shapes.T @ shapes)
    look = shapes @ axes[:, ::-1][:, :LOOK]
    look /= np.maximum(np.linalg.norm(look, axis=1, keepdims=True), 1e-6)
    vectors = rng.normal(0, 0.02, (len(characters), width))
    vectors[:, :LOOK] += look
    unseen = ~shapes.any(axis=1)
    vectors[unseen] = rng.normal(0, 1, (int(unseen.sum()), width))
    vectors *= TOKEN_SIZE * np.sqrt(width) / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def _shape(character: str) -> np.ndarray:
    """Small and capital form side by side, each the mean over some faces, blurred; float32 (2 CELL CELL,)."""
    forms = [character, character.upper() if len(character.upper()) == 1 else character]
    total = np.zeros((2, CELL, CELL), dtype=np.float32)
    for number in range(FACES):
        for place, form in enumerate(forms):
            try:
                face = choose_face(form, Random(number))
            except DependencyError:
                continue
            image = Image.new("L", (CELL, CELL), 0)
            font = load(face.path, face.index, CELL - 6)
            ImageDraw.Draw(image).text((CELL // 2, CELL - 6), form, 255, font=font, anchor="ms")
            total[place] += np.asarray(image.filter(ImageFilter.GaussianBlur(1.0)), dtype=np.float32)
    return total.ravel() / (255 * FACES)


def positions(length: int, width: int) -> np.ndarray:
    """Sine and cosine positions (Vaswani et al. 2017, section 3.5), float32 (length, width)."""
    angle = np.arange(length)[:, None] / 10000 ** (np.arange(0, width, 2) / width)[None, :]
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32) * POSITION_SIZE * np.sqrt(2)


def start(folder: Path, seed: int) -> None:
    """Write the untrained model: random weights but for characters (by look) and positions (by sines)."""
    torch.manual_seed(seed)
    encoder = BiEncoder.load(towers.ARCHITECTURE, "cpu")
    characters = list(CharTokenizer().ids)
    with torch.no_grad():
        tokens = encoder.model.text.token_embedding.weight
        tokens.normal_(0, TOKEN_SIZE)
        vectors = glyph_vectors(characters, tokens.shape[1], np.random.default_rng(seed))
        tokens[-len(characters) :] = torch.from_numpy(vectors)
        encoder.model.text.positional_embedding.copy_(
            torch.from_numpy(positions(*encoder.model.text.positional_embedding.shape))
        )
    encoder.save(folder)


def keep_memory() -> None:
    """Tell glibc to keep freed memory: giving it back after every step took half of the time (mallopt(3))."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        for parameter, value in ((-3, 1 << 30), (-1, 2**31 - 1), (-2, 1 << 28)):  # mmap and trim threshold, padding
            libc.mallopt(parameter, value)


def main() -> None:
    keep_memory()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/base"))
    parser.add_argument("--out", type=Path, default=SHIPPED / "base")
    parser.add_argument("--entities", type=int, default=30_000)
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--align-epochs", type=int, default=0)
    parser.add_argument("--supervised-epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--temperature", type=float, default=0.07)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    table = work / f"records_{options.entities}_{options.views}_{options.seed}.parquet"
    if not table.exists():
        synth_records(table, entities=options.entities, views=options.views, seed=options.seed)
    if not (work / "start").exists():
        start(work / "start", options.seed)
    config = TrainConfig(
        enabled=True,
        align_epochs=options.align_epochs,
        supervised_epochs=options.supervised_epochs,
        batch_size=options.batch_size,
        per_class=2,
        align_lr=options.lr,
        supervised_lr=options.lr,
        temperature=options.temperature,
    )
    summary = train(
        Records.open(table),
        work / "model",
        config,
        EncodeConfig(model=str(work / "start"), device="cpu"),
        seed=options.seed,
    )
    shutil.rmtree(options.out, ignore_errors=True)
    shutil.copytree(work / "model", options.out)
    print(summary)


if __name__ == "__main__":
    main()
