"""Real and drawn lines as `scripts/train_base.py` learns from them: a table to read, and pairs of crops of one line.

Real lines come from Parquet files with the columns image (encoded, one line each), text, source, script, page, split.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from linkage.encode.augment import augment_image
from linkage.tables import replacing
from linkage.text import FOLDING, clean

WIDEST = 720  # pixels at a height of 64: shorter lines show more hands in the same time
SHARES = {"hand": 1.0, "fraktur": 0.8, "print": 0.6, "typewriter": 0.6}  # of the lines of each script that are kept
DRAWN = 3500  # drawn lines beside the real ones, so that what was read before is not forgotten
VAL_PER_SOURCE = 14
LEAST_LETTERS, MOST_TIMES = 4, 6  # of lines that are linked: shorter ones and more printings of one tell little
OTHERS, NO_MATCH = 500, 120  # lines that stand once: exemplars that nobody looks for, queries that find nobody


def real_lines(folder: Path) -> pd.DataFrame:
    """The real lines that are not too wide: image, text, source, script, split ("train" or "val")."""
    tables = [pq.read_table(path).to_pandas() for path in sorted(folder.glob("*.parquet"))]
    frame: pd.DataFrame = pd.concat(tables, ignore_index=True)[["image", "text", "source", "script", "page", "split"]]
    widths = np.array([Image.open(io.BytesIO(image)).width for image in frame["image"]])
    return frame.loc[widths <= WIDEST]


def lines_to_read(real: pd.DataFrame, drawn: Path, out: Path, seed: int) -> None:
    """Write the table that the recogniser learns to read from: record_id, crop, transcription, split."""
    train = real[real["split"] == "train"]
    parts = [part.sample(frac=SHARES[str(script)], random_state=seed) for script, part in train.groupby("script")]
    val = [part.head(VAL_PER_SOURCE) for _, part in real[real["split"] == "val"].groupby("source")]
    made = pq.read_table(drawn, columns=["crop", "truth", "layout", "split"]).to_pandas()
    made = made[(made["layout"] == "line") & (made["split"] == "train")]
    made = made.sample(min(DRAWN, len(made)), random_state=seed).rename(columns={"crop": "image", "truth": "text"})
    frame = pd.concat([*parts, *val, made.drop(columns="layout")], ignore_index=True)
    _write(frame["image"].tolist(), frame["text"].tolist(), frame["split"].tolist(), [""] * len(frame), out)


def pairs_of_lines(real: pd.DataFrame, count: int, out: Path, seed: int) -> None:
    """Write a table of real lines, each twice, as it is and written differently: of one entity, for SupCon."""
    train = real[real["split"] == "train"].sample(count, random_state=seed)
    images, texts, entities = [], [], []
    for number, (image, text) in enumerate(zip(train["image"], train["text"], strict=True)):
        rng = np.random.default_rng((seed, number))
        images += [image, _again(image, rng)]
        texts += [text, text]
        entities += [f"line{number:06d}"] * 2
    _write(images, texts, ["train"] * len(images), entities, out)


def lines_to_link(real: pd.DataFrame, out: Path, seed: int) -> None:
    """Write a table to fit the scorer on: lines of one source that say the same on several pages are one entity.

    The first is the exemplar, the others are queries; lines that stand once are further exemplars, or queries without a
    match. Every second crop is written differently, so that readings are of every quality.
    """
    lines = real[real["split"] == "train"].assign(
        core=[FOLDING.core(text) for text in real["text"][real["split"] == "train"]]
    )
    lines = lines[lines["core"].str.len() >= LEAST_LETTERS].drop_duplicates(["source", "page", "core"])
    lines["entity"] = lines["source"] + "/" + lines["core"]
    lines["times"] = lines.groupby("entity")["entity"].transform("size")
    again = lines[lines["times"] > 1].groupby("entity").head(MOST_TIMES)
    once = lines[lines["times"] == 1].sample(OTHERS + NO_MATCH, random_state=seed)
    first = ~again["entity"].duplicated()
    roles = ["exemplar" if one else "query" for one in first] + ["exemplar"] * OTHERS + ["query_nomatch"] * NO_MATCH
    frame = pd.concat([again, once])
    images = []
    for number, image in enumerate(frame["image"]):
        rng = np.random.default_rng((seed, number))
        images.append(_again(image, rng) if rng.random() < 0.5 else image)
    _write(images, [""] * len(frame), ["val"] * len(frame), frame["entity"].tolist(), out, roles)


def _again(image: bytes, rng: np.random.Generator) -> bytes:
    """A line written differently, encoded."""
    other = io.BytesIO()
    augment_image(Image.open(io.BytesIO(image)), rng).save(other, "PNG")
    return other.getvalue()


def _write(
    images: list[bytes],
    texts: list[str],
    splits: list[str],
    entities: list[str],
    out: Path,
    roles: list[str] | None = None,
) -> None:
    told = [clean(text) for text in texts]
    table = pa.table(
        {
            "record_id": [f"l{number:07d}" for number in range(len(images))],
            "crop": pa.array(images, pa.binary()),
            "text": told if any(entities) else [""] * len(images),
            "transcription": told,
            "entity_id": entities,
            "split": splits,
            "role": roles or [""] * len(images),
        }
    )
    with replacing(out) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=256)
