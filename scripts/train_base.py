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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read by OpenMP when torch is imported

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFilter
from rapidfuzz.distance import Levenshtein
from torch import nn

from linkage.config import EncodeConfig, LinkConfig, TrainConfig
from linkage.encode import towers
from linkage.encode.augment import augment_image
from linkage.encode.biencoder import SHIPPED, BiEncoder
from linkage.encode.crops import read_crop
from linkage.encode.embed import embed_records
from linkage.encode.tokenizer import CharTokenizer
from linkage.encode.train import train
from linkage.errors import DependencyError
from linkage.link.index import build_index
from linkage.link.link import link
from linkage.link.scorer import SCORER_FILE, Scorer
from linkage.records import Records
from linkage.synth.records import synth_records
from linkage.synth.render import choose_face, load

log = logging.getLogger("train_base")

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
    waves = np.concatenate([np.sin(angle), np.cos(angle)], axis=1) * (POSITION_SIZE * np.sqrt(2))
    return np.asarray(waves, dtype=np.float32)


def start(seed: int) -> BiEncoder:
    """The untrained model: random weights but for characters (by look) and positions (by sines)."""
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
    return encoder


class Spelling(nn.Module):
    """Characters along a line, for learning to read: columns against character vectors, and a score for none."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, width)
        self.blank = nn.Linear(width, 1)

    def forward(self, columns: torch.Tensor, characters: torch.Tensor) -> torch.Tensor:
        """Columns (B, T, D), unit character vectors (C, D) -> log probabilities (B, T, 1 + C); 0 is no character."""
        scores = torch.cat((self.blank(columns), self.project(columns) @ characters.T), dim=2)
        return scores.float().log_softmax(dim=2)


def reading_loss(spelling: torch.Tensor, pixels: torch.Tensor, texts: list[torch.Tensor], even: float) -> torch.Tensor:
    """CTC (Graves et al. 2006), helped at first by pretending that the characters are spread evenly over the ink.

    Without that help CTC needs some hundred thousand lines before it reads anything.

    Args:
        spelling: log probabilities (B, T, 1 + C).
        pixels: uint8 (B, 1, H, W).
        texts: class numbers 1..C of each line.
        even: weight of the help, 0..1.
    """
    lengths = torch.tensor([len(text) for text in texts])
    full = torch.full_like(lengths, spelling.shape[1])
    loss = F.ctc_loss(spelling.transpose(0, 1), torch.cat(texts), full, lengths, zero_infinity=True)
    if even <= 0:
        return loss
    ink = (pixels[:, 0] < 128).any(dim=1)  # (B, W)
    step = pixels.shape[3] / spelling.shape[1]
    target = torch.full(spelling.shape[:2], -100)
    for row, text in enumerate(texts):
        inked = ink[row].nonzero()
        if not len(inked):
            continue
        left, right = float(inked[0]), float(inked[-1]) + 1
        share = ((torch.arange(spelling.shape[1]) + 0.5) * step - left) / (right - left)
        inside = (share >= 0) & (share < 1)
        target[row, inside] = text[(share[inside] * len(text)).long()]
    # "No character" is left out of this half: it has no place in an even spread.
    letters = spelling[:, :, 1:].flatten(0, 1).log_softmax(dim=1)
    return loss + even * F.nll_loss(letters, (target.flatten() - 1).clamp(min=-100), ignore_index=-100)


def learn_to_read(encoder: BiEncoder, records: Records, steps: int, batch: int, rate: float, seed: int) -> None:
    """Teach the image tower to spell single lines in the text tower's character vectors, before it learns names."""
    frame = records.frame
    chosen = (frame["split"] == "train") & frame["layout"].isin(("line", "entry")) & (frame["direction"] != "vertical")
    rows = np.flatnonzero(chosen & (frame["truth"].str.len() <= 48))
    tower = encoder.model.visual.trunk
    head = Spelling(tower.num_features)
    parameters = [p for p in (*tower.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.02, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    vectors = F.normalize(encoder.model.text.token_embedding.weight.detach(), dim=1)

    def prepare(step: int) -> tuple[torch.Tensor, list[list[int]]]:
        rng = np.random.default_rng((seed, step))
        drawn = rng.choice(rows, size=batch, replace=False).tolist()
        pixels = [encoder.pixels(augment_image(read_crop(records.crop(row) or b""), rng)) for row in drawn]
        texts = [encoder.tokenize.encode(frame["truth"][row])[1:-1] for row in drawn]  # type: ignore[union-attr]
        return torch.from_numpy(np.stack(pixels)), texts

    encoder.model.to(memory_format=torch.channels_last).train()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(prepare, 0)
        for step in range(steps):
            pixels, texts = waiting.result()
            waiting = pool.submit(prepare, step + 1)
            classes = torch.tensor(sorted({token for text in texts for token in text}))
            numbered = [torch.searchsorted(classes, torch.tensor(text)) + 1 for text in texts]
            with torch.autocast("cpu", torch.bfloat16):
                spelling = head(tower.read(towers.scaled(encoder.model, pixels)), vectors[classes])
            loss = reading_loss(spelling, pixels, numbered, max(0.0, 1 - 2 * step / steps))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            if (step + 1) % 20 == 0:
                log.info(
                    "reading: step %d, loss %.3f, character error %.3f",
                    step + 1,
                    loss.item(),
                    _error(spelling, numbered),
                )


def _error(spelling: torch.Tensor, texts: list[torch.Tensor]) -> float:
    """Character error rate of the best path."""
    wrong = total = 0
    for best, text in zip(spelling.argmax(dim=2), texts, strict=True):
        read = [int(c) for c in torch.unique_consecutive(best) if c]
        wrong += Levenshtein.distance(read, text.tolist())
        total += len(text)
    return wrong / max(total, 1)


def fit_default_scorer(folder: Path, records: Records, work: Path) -> Scorer:
    """Fit the scorer that ships with the model on the validation rows, and write it into the model's folder."""
    rows = records.take(np.flatnonzero(records.frame["split"] == "val"))
    config = EncodeConfig(model=str(folder), device="cpu")
    embeddings = embed_records(rows, BiEncoder.load(config.model, config.device), work / "embeddings", config)
    exemplar = (rows.frame["role"] == "exemplar").to_numpy()
    index = build_index(rows.take(np.flatnonzero(exemplar)), embeddings, work / "index")
    queries = rows.take(np.flatnonzero(~exemplar))
    queries.frame["split"] = "train"  # rows that `link` may fit on
    scorer = link(queries, embeddings, index, LinkConfig(device="cpu")).scorer
    scorer.save(folder / SCORER_FILE)
    return scorer


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
    parser.add_argument("--reading-steps", type=int, default=800)
    parser.add_argument("--align-epochs", type=int, default=0)
    parser.add_argument("--supervised-epochs", type=int, default=3)
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
    if not (work / "start" / "model.safetensors").exists():
        encoder = start(options.seed)
        learn_to_read(encoder, Records.open(table), options.reading_steps, options.batch_size, options.lr, options.seed)
        encoder.save(work / "start")
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
    print(fit_default_scorer(work / "model", Records.open(table), work))
    shutil.rmtree(options.out, ignore_errors=True)
    shutil.copytree(work / "model", options.out)
    print(summary)


if __name__ == "__main__":
    main()
