"""Records of drawn names with vectors, readings and lattices made up, for measuring `link` without a model."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from linkage.encode.embeddings import Embeddings
from linkage.encode.lattice import BEST, Lattice
from linkage.records import Records
from linkage.synth.names import make_entities
from linkage.text import FOLDING

_DIM = 256
_LIKE = np.array(list("aeiocrnmlt"))  # what a letter is mistaken for


def made(n: int, folder: Path, seed: int = 0) -> tuple[Records, Records, Embeddings]:
    """An exemplar and a query of each of n entities, names of 10 to 40 characters, and the embeddings of all.

    A given text and a reading each differ from the name in a tenth of its letters; cosines of two views of an entity
    are about 0.7, of others up to about 0.4; a lattice has some 40 columns and holds the name under its doubts.
    """
    rng = np.random.default_rng(seed)
    names = _names(n, seed)
    ids = np.array([f"{role}{row:07}" for role in "eq" for row in range(n)], dtype=object)
    texts, readings = ([_misread(name, rng) for name in 2 * names] for _ in range(2))
    frame = pd.DataFrame({"record_id": ids, "text": texts, "entity_id": ""})
    paths = [folder / f"{role}.parquet" for role in "eq"]
    for path, rows in zip(paths, (frame[:n], frame[n:]), strict=True):
        rows.to_parquet(path, index=False)
    table = pd.DataFrame({"record_id": ids, "reading": readings, "reading_confidence": 0.9})
    table["lattice"] = _lattices(2 * names, rng)
    image, text = (_vectors(n, rng) for _ in range(2))
    manifest: dict[str, Any] = {"model": "made", "model_sha256": "", "image_weight": 0.5}
    embeddings = Embeddings(folder, image, text, table, manifest | {"folding": FOLDING._asdict()})
    exemplars, queries = (Records.open(path) for path in paths)
    return exemplars, queries, embeddings


def _names(n: int, seed: int) -> list[str]:
    names = [entity.name for entity in make_entities(n, seed)]
    return [name[:40] if len(name) >= 10 else f"{name} & {names[-1 - row]}"[:40] for row, name in enumerate(names)]


def _misread(name: str, rng: np.random.Generator) -> str:
    letters = np.array(list(name))
    wrong = rng.random(len(letters)) < 0.1
    letters[wrong] = rng.choice(_LIKE, int(wrong.sum()))
    return "".join(letters)


def _lattices(names: list[str], rng: np.random.Generator) -> list[bytes]:
    """One to three columns per letter, spaces as gaps; the letter is likeliest, seven others share what is left."""
    letters = ["".join(name.split()) for name in names]
    wide = rng.integers(1, 4, sum(map(len, letters)))
    begins = np.cumsum(wide) - wide
    gap = np.zeros(wide.sum(), dtype=bool)
    gap[begins] = [
        place > 0 and word == 0
        for name in names
        for place, part in enumerate(name.split())
        for word in range(len(part))
    ]
    points = rng.choice(_LIKE.view(np.uint32), (len(gap), BEST))
    points[:, 0] = np.repeat(np.frombuffer("".join(letters).encode("utf-32-le"), dtype="<u4"), wide)
    weight = rng.uniform(0.6, 1.0, len(gap)).astype(np.float32)
    first = weight * rng.uniform(0.6, 1.0, len(gap)).astype(np.float32)
    rest = 0.5 ** np.arange(1, BEST, dtype=np.float32)
    chances = np.column_stack([first, (weight - first)[:, None] * rest]).astype(np.float16)
    columns = np.add.reduceat(wide, np.cumsum([0, *map(len, letters[:-1])]))
    lattices = Lattice(points, chances, weight.astype(np.float16), gap)
    ends = np.cumsum([0, *columns]).tolist()
    return [Lattice(*(part[slice(*pair)] for part in lattices)).pack() for pair in itertools.pairwise(ends)]


def _vectors(n: int, rng: np.random.Generator) -> np.ndarray:
    """Unit rows float16 (2 n, D): views of n entities, which share a direction in groups of some hundred."""
    centres = rng.normal(size=(n, _DIM)) + 0.8 * rng.normal(size=(n // 100 + 1, _DIM))[np.arange(n) // 100]
    rows = np.concatenate([centres, centres]).astype(np.float32)
    rows += 0.8 * rng.normal(size=rows.shape).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
