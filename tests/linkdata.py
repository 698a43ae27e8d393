"""Records and embeddings on disk with vectors made by hand, for the tests of linking and clustering."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from linkage.compare.likeness import ComparedRecords
from linkage.compare.scorer import DEFAULT_SCORER
from linkage.compare.wording import LIKELIHOODS, MEASURES, Wording, likelihoods, written
from linkage.config import LinkConfig
from linkage.encode.embeddings import Embeddings
from linkage.link.candidates import Candidates, Exemplars, candidates
from linkage.records import Records
from linkage.search.index import Index
from linkage.text import Folding


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length one; rows of zeros stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > 0, vectors / np.maximum(length, 1e-12), 0.0)


def save(
    folder: Path,
    frame: pd.DataFrame,
    image: np.ndarray,
    text: np.ndarray,
    *,
    model: str = "m",
    weight: float = 0.5,
) -> tuple[Records, Embeddings]:
    """Write a records table and the embeddings folder of its rows, and open both."""
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / "records.parquet", index=False)
    embedded = folder / "embeddings"
    embedded.mkdir(exist_ok=True)
    np.save(embedded / "image.npy", image.astype(np.float16))
    np.save(embedded / "text.npy", text.astype(np.float16))
    unread = frame[["record_id"]].assign(reading="", reading_confidence=np.nan, lattice=None)
    unread.to_parquet(embedded / "records.parquet", index=False)
    manifest = {"format": 2, "model": model, "model_sha256": f"sha of {model}", "dim": image.shape[1], "n": len(frame)}
    manifest |= {
        "folding": Folding()._asdict(),
        "reading": True,
        "image_weight": weight,
        "records_sha256": "",
        "n_without_image": 0,
        "n_without_text": 0,
    }
    (embedded / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return Records.open(folder / "records.parquet"), Embeddings.open(embedded)


def people(
    seed: int, entities: int, views: int, *, noise: float = 0.25, dim: int = 32
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Records of entities with `views` noisy views each: frame, image rows and text rows (n, dim).

    The first view is labelled exemplar, the others query; the text is the entity's name with one letter changed.
    Entities take turns in splits train, val and test.
    """
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    rows = []
    for entity in range(entities):
        name = rng.choice(letters, size=12)
        for view in range(views):
            seen = name.copy()
            seen[rng.integers(len(seen))] = rng.choice(letters)
            rows.append(
                {
                    "record_id": f"r{entity:03d}_{view}",
                    "text": "".join(seen),
                    "source": f"page_{view}.png",
                    "page": view + 1,
                    "entity_id": f"entity {entity:03d}",
                    "split": ("train", "val", "test")[entity % 3],
                    "role": "query" if view else "exemplar",
                    "shelf": f"shelf {entity % 4}",
                }
            )
    centres = np.repeat(rng.normal(size=(2, entities, dim)), views, axis=1)
    image, text = centres + noise * rng.normal(size=centres.shape)
    return pd.DataFrame(rows), unit(image), unit(text)


def alike(left: Wording, a: np.ndarray, right: Wording, b: np.ndarray) -> np.ndarray:
    """All MEASURES of pairs of wordings (m, 7)."""
    known = written(left, a, right, b)
    known[:, [MEASURES.index(name) for name in LIKELIHOODS]] = likelihoods(left, a, right, b)
    return known


def searched(
    embeddings: Embeddings, rows: np.ndarray, frame: pd.DataFrame, index: Index, config: LinkConfig
) -> list[Candidates]:
    """The candidates of queries by the default scorer: their records, and their rows in the embeddings."""
    exemplars, readings = Exemplars(index, config), embeddings.readings_of(rows)
    asked = ComparedRecords(embeddings, rows, frame, Wording.of(frame, readings, index.folding))
    return list(candidates(asked, exemplars, DEFAULT_SCORER))
