"""Train the shipped model `linkage-line`: its recogniser on transcribed lines, its towers on drawn and real ones.

Run: python scripts/train_base.py --lines FOLDER [--begin linkage-line] [--work build/base] [--entities 11000] ...
It begins with the recogniser that the `rapidocr` wheel carries, or with a model that was trained before. Without
--lines (see `base_lines.py`) nothing is read, and the towers are trained on drawn records alone. On two cores reading
takes about an hour and the rest another. What was drawn, read, seen and trained stays in the work folder, so that an
interrupted call goes on where it stopped; for other options give it another one.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read by OpenMP when torch is imported

import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from base_lines import lines_to_link, lines_to_read, pairs_of_lines, real_lines
from convert_recogniser import characters, convert, published_model
from PIL import Image, ImageDraw, ImageFilter

from linkage.compare.fit import LabelledPairs, fit_scorer
from linkage.compare.scorer import DEFAULT_SCORER, FEATURES, SCORER_FILE, Scorer
from linkage.config import EncodeConfig, LinkConfig, TrainConfig
from linkage.encode import towers
from linkage.encode.biencoder import BiEncoder
from linkage.encode.embed import embed_records
from linkage.encode.folder import SHIPPED
from linkage.encode.read import learn_to_read
from linkage.encode.tokenizer import FIRST, CharTokenizer
from linkage.encode.train import train
from linkage.encode.transcribed import TranscribedLines
from linkage.errors import DependencyError
from linkage.link.link import labelled_pairs
from linkage.records import Records
from linkage.search.index import build_index
from linkage.synth.records import synth_records
from linkage.synth.render import choose_face, load
from linkage.tables import replacing
from linkage.text import FOLDING, is_core

log = logging.getLogger("train_base")

NAME = "linkage-line"
CELL = 24  # pixels of the square in which a character is drawn
FACES = 3  # faces averaged per character
NEAREST = 3  # characters of the recogniser whose vectors an unknown one takes the mean of
PULL = 10.0  # of the default scorer: of those tried, the best on train rows of hand_lines and gw_words
TOKEN_SIZE, POSITION_SIZE = 0.3, 0.15  # root mean square: large enough for early steps not to wipe out


def start(seed: int) -> BiEncoder:
    """The untrained model: the recogniser; characters in its own vectors; two transformers that begin alike.

    A line that is read without fault begins where its text does, so that training starts from agreement.
    """
    torch.manual_seed(seed)
    encoder = BiEncoder.load(towers.ARCHITECTURE, "cpu")
    published = onnx.load(str(published_model()))
    reader, known, tokenize = convert(published), characters(published), CharTokenizer()
    table = character_table(reader.classify.weight.detach().numpy()[1:], known, list(tokenize.ids))
    trunk, text = encoder.model.visual.trunk, encoder.model.text
    spelling, width = text.token_embedding, text.width
    with torch.no_grad():
        trunk.reader.load_state_dict(reader.state_dict())
        spelling.table.weight.normal_(0, table.shape[1] ** -0.5)
        spelling.table.weight[FIRST:] = torch.from_numpy(table)
        turned = torch.linalg.qr(torch.randn(width, table.shape[1]))[0]
        spelling.project.weight.copy_(turned * TOKEN_SIZE * width**0.5)
        trunk.says.weight.copy_(spelling.project.weight)
        for number, character in enumerate(known[:-1], start=1):
            trunk.counts[number] = any(map(is_core, FOLDING.fold(character)))
            if trunk.counts[number]:
                trunk.rows[number] = spelling.table.weight[torch.tensor(tokenize.encode(character))].mean(dim=0)
        places = torch.from_numpy(positions(len(trunk.places), width))
        trunk.places.copy_(places)
        text.positional_embedding.copy_(places[: len(text.positional_embedding)])
        trunk.transformer.load_state_dict(text.transformer.state_dict())
        trunk.norm.load_state_dict(text.ln_final.state_dict())
        encoder.model.visual.head.proj.weight.copy_(text.text_projection.T)
    return encoder


def character_table(rows: np.ndarray, known: list[str], wanted: list[str]) -> np.ndarray:
    """Vectors of characters by their look, float32 (wanted, 120): mean 0, length about 1.

    The rows of the recogniser's classifier, which stand where the columns that show the character do; a character
    that it does not know takes the mean of those that are drawn most like it.

    Args:
        rows: float32 (known, 120).
        known: the recogniser's characters.
        wanted: all characters; begins with `known`.
    """
    assert wanted[: len(known)] == known  # a class of the recogniser and a token of the text tower are one character
    centred = rows - rows.mean(axis=0)
    centred /= np.sqrt((centred**2).sum(axis=1).mean())
    unknown = wanted[len(known) :]
    printable = [number for number, character in enumerate(known) if not character.isspace()]
    shapes = _unit(np.stack([_shape(known[number]) for number in printable]))
    drawn = _unit(np.stack([_shape(character) for character in unknown]))
    order = np.argsort(-(drawn @ shapes.T), axis=1, kind="stable")[:, :NEAREST]
    return np.concatenate([centred, centred[np.array(printable)[order]].mean(axis=1)]).astype(np.float32)


def _unit(shapes: np.ndarray) -> np.ndarray:
    return np.asarray(shapes / np.maximum(np.linalg.norm(shapes, axis=1, keepdims=True), 1e-6))


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


def fit_default_scorer(folder: Path, tables: list[Records], work: Path) -> Scorer:
    """Fit the default scorer on the validation rows of some tables, and write it into the model's folder.

    Where records stand is not looked at: drawn ones stand nowhere.
    """
    parts = [_pairs(folder, records, work / f"pairs_{number}") for number, records in enumerate(tables)]
    pairs = LabelledPairs(
        pd.concat([part.alike for part in parts], ignore_index=True),
        np.concatenate([part.is_match for part in parts]),
        np.concatenate([part.query + number * 10**6 for number, part in enumerate(parts)]),
        np.concatenate([part.group for part in parts]),
    )
    scorer = fit_scorer(pairs, DEFAULT_SCORER, strength=PULL).scorer
    scorer.save(folder / SCORER_FILE)
    return scorer


def _pairs(folder: Path, records: Records, work: Path) -> LabelledPairs:
    """The candidates of the validation queries of a table, by the model in a folder."""
    rows = records.take(np.flatnonzero(records.frame["split"] == "val"))
    config = EncodeConfig(model=str(folder), device="cpu")
    embeddings = embed_records(rows, BiEncoder.load(config.model, config.device), work / "embeddings", config)
    exemplar = (rows.frame["role"] == "exemplar").to_numpy()
    index = build_index(rows.take(np.flatnonzero(exemplar)), embeddings, work / "index")
    queries = rows.take(np.flatnonzero(~exemplar))
    pairs = labelled_pairs(queries, embeddings, index, LinkConfig(device="cpu"), DEFAULT_SCORER)
    return pairs._replace(alike=pairs.alike[list(FEATURES)])


def begin(options: Any, drawn: Path) -> tuple[Path, Path]:
    """The model that the towers' training begins with, its recogniser trained, and the table that they learn from."""
    work: Path = options.work
    folder = work / f"start_{options.seed}"
    if not (folder / "model.safetensors").exists():
        encoder = BiEncoder.load(options.begin, "cpu") if options.begin else start(options.seed)
        encoder.save(folder.with_suffix(".tmp"))
        folder.with_suffix(".tmp").rename(folder)
    if options.lines is None:
        return folder, drawn
    lines, pairs, read = work / "lines.parquet", work / "pairs.parquet", work / "read"
    if not pairs.exists():
        real = real_lines(options.lines)
        lines_to_read(real, drawn, lines, options.seed)
        pairs_of_lines(real, options.real, work / "real.parquet", options.seed)
        lines_to_link(real, work / "linked.parquet", options.seed)
        _join([drawn, work / "real.parquet"], pairs)
    if not (read / "model.safetensors").exists():
        encoder, records = BiEncoder.load(str(folder), "cpu"), Records.open(lines)
        train_lines, val_lines = (TranscribedLines(records, encoder, (split,)) for split in ("train", "val"))
        config = TrainConfig(enabled=True, read_epochs=options.read_epochs)
        print(learn_to_read(encoder, train_lines, val_lines, config, work, encoder.sha256))
        encoder.save(read.with_suffix(".tmp"))
        read.with_suffix(".tmp").rename(read)
    return read, pairs


def _join(tables: list[Path], out: Path) -> None:
    names = ["record_id", "crop", "text", "entity_id", "split", "role"]
    with replacing(out) as temporary:
        pq.write_table(
            pa.concat_tables([pq.read_table(path, columns=names) for path in tables]), temporary, row_group_size=256
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/base"))
    parser.add_argument("--out", type=Path, default=SHIPPED / NAME)
    parser.add_argument("--lines", type=Path, help="folder of Parquet files with transcribed lines")
    parser.add_argument("--begin", default="", help="model to begin with instead of the recogniser alone")
    parser.add_argument("--read-epochs", type=int, default=1)
    parser.add_argument("--real", type=int, default=3000, help="real lines that the towers learn from")
    parser.add_argument("--entities", type=int, default=11_000)
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=13)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--temperature", type=float, default=0.07)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    drawn = work / f"records_{options.entities}_{options.views}_{options.seed}.parquet"
    if not drawn.exists():
        synth_records(drawn, entities=options.entities, views=options.views, seed=options.seed)
    folder, table = begin(options, drawn)
    if not (work / "model" / "training.json").exists():
        train(Records.open(table), work / "model", _config(options), _encode(folder), seed=options.seed)
    tables = [drawn] if options.lines is None else [drawn, work / "linked.parquet"]
    print(fit_default_scorer(work / "model", [Records.open(table) for table in tables], work))
    shutil.copy(Path(__file__).with_name(f"{NAME}.NOTICE"), work / "model" / "NOTICE")
    shutil.rmtree(options.out, ignore_errors=True)
    shutil.copytree(work / "model", options.out)
    print((work / "model" / "training.json").read_text(encoding="utf-8"))


def _config(options: Any) -> TrainConfig:
    return TrainConfig(
        enabled=True,
        align_epochs=0,
        supervised_epochs=options.epochs,
        batch_size=options.batch_size,
        per_class=2,
        supervised_lr=options.lr,
        temperature=options.temperature,
        trunk_rate=0.0,
        weight_decay=0.02,
        patience=0,
    )


def _encode(folder: Path) -> EncodeConfig:
    return EncodeConfig(model=str(folder), device="cpu")


if __name__ == "__main__":
    main()
