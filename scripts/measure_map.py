"""Measure what linking through a map between two models loses, by the number of exemplars that it was fitted on.

Run: python scripts/measure_map.py SETS OLD NEW [NEW ...] [--work FOLDER] [--out table.csv]
SETS holds gw_words and sroie_crops. Their val exemplars and, to have more of them, all train records are the index; the
val queries, whose entities no NEW may have been trained on, ask. Maps are fitted on train records alone. All models
must see crops through one frozen recogniser, as those do that `linkage train` made of linkage-line: it then looks
once for all of them. --work keeps what it saw.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from measure_model import SEED, Case, table_of

from linkage.encode.biencoder import BiEncoder
from linkage.encode.columns import CropColumns
from linkage.encode.pooling import Vectors, pool
from linkage.evaluate.metrics import ratio
from linkage.records import Records
from linkage.search.maps import fit_map, turned

SETS = {"gw_words": "none", "sroie_crops": "tesseract"}  # and where their texts come from
SIZES = (200, 500, 1000, 2000)
DRAWS = 5  # samples of each size, whose hits are averaged
WEIGHT = 0.5  # of the picture

BOOTSTRAP = 2000


class Asked(NamedTuple):
    """The records of both sets, and which of them do what."""

    records: Records
    entities: np.ndarray
    exemplars: np.ndarray
    queries: np.ndarray
    fit: np.ndarray

    @classmethod
    def of(cls, sets: Path, work: Path) -> Asked:
        """Write and open one table of both sets, unless `work` has it."""
        path = work / "records.parquet"
        if not path.exists():
            tables = []
            for name, texts in SETS.items():
                table_of(Case(name, sets / name, texts), work / "part.parquet")
                tables.append(pq.read_table(work / "part.parquet"))
            pq.write_table(pa.concat_tables(tables), path)
        records = Records.open(path)
        train, val = ((records.frame["split"] == name).to_numpy() for name in ("train", "val"))
        role = records.frame["role"].to_numpy()
        parts = (train | val & (role == "exemplar"), val & (role == "query"), train)
        entities = records.frame["entity_id"].to_numpy(dtype=object)
        return cls(records, entities, *(np.flatnonzero(part) for part in parts))


def embed(asked: Asked, model: str, work: Path, recogniser: BiEncoder) -> Vectors:
    """Embed all records with a model, through what the recogniser saw of them."""
    encoder = BiEncoder.load(model, "cpu")
    states = (one.model.visual.trunk.reader.state_dict() for one in (encoder, recogniser))
    if not all((one == other).all() for one, other in zip(*(state.values() for state in states), strict=True)):
        raise SystemExit(f"{model}: its recogniser is another one; train it with train.trunk_rate=0")
    columns = CropColumns.of(asked.records, recogniser, work / "columns")
    given, own = (encoder.encode_text(texts) for texts in (asked.records.frame["text"].tolist(), columns.readings))
    image = encoder.encode_columns(columns.take(np.arange(len(asked.records))))
    return Vectors(*(part.astype(np.float16).astype(np.float32) for part in (image, pool(given, own, 0.5))))


def at(vectors: Vectors, rows: np.ndarray) -> Vectors:
    """Some of the vectors."""
    return Vectors(vectors.image[rows], vectors.text[rows])


def hits(asked: Asked, queries: Vectors, exemplars: Vectors) -> np.ndarray:
    """Whether the nearest exemplar of each query is of its entity, float64 (q,)."""
    cosines = pool(*queries, WEIGHT) @ pool(*exemplars, WEIGHT).T
    return np.asarray(asked.entities[asked.exemplars[cosines.argmax(axis=1)]] == asked.entities[asked.queries], float)


def systems(asked: Asked, old: Vectors, new: Vectors) -> dict[str, np.ndarray]:
    """Hits of every way to link, by name."""
    ask, known = at(new, asked.queries), at(old, asked.exemplars)
    found = {
        "old on old": hits(asked, at(old, asked.queries), known),
        "new on new": hits(asked, ask, at(new, asked.exemplars)),
        "new on old, no map": hits(asked, ask, known),
    }
    for size in SIZES:
        ways: dict[str, list[np.ndarray]] = {"one map": [], "a map each": []}
        for draw in range(DRAWS):
            rows = np.random.default_rng((SEED, draw)).permutation(asked.fit)[:size]
            now, then = at(new, rows), at(old, rows)
            one = fit_map(now, then)
            each = [fit_map(Vectors(n, n), Vectors(o, o)) for n, o in zip(now, then, strict=True)]
            for name, matrices in (("one map", [one, one]), ("a map each", each)):
                seen = Vectors(*(turned(part, matrix) for part, matrix in zip(ask, matrices, strict=True)))
                ways[name].append(hits(asked, seen, known))
        found |= {f"new on old, {name} of {size}": np.mean(drawn, axis=0) for name, drawn in ways.items()}
    return found


def figures(asked: Asked, model: str, found: dict[str, np.ndarray]) -> pd.DataFrame:
    """Hit@1 and what it is below `new on new`, with 95 % intervals over entities, for each set."""
    words = np.char.startswith(asked.entities[asked.queries].astype(str), "w_")
    rows = []
    for name, part in (("gw_words", words), ("sroie_crops", ~words)):
        entities = asked.entities[asked.queries[part]]
        for system, hit in found.items():
            ones: np.ndarray = np.ones(part.sum())
            draws: dict[str, Any] = {"bootstrap": BOOTSTRAP, "seed": SEED}
            best = ratio(hit[part], ones, entities, **draws)
            loss = ratio((found["new on new"] - hit)[part], ones, entities, within=(-1.0, 1.0), **draws)
            row = {"new model": model, "set": name, "system": system, "n": best.n, "hit@1": best.value}
            row |= {"low": best.low, "high": best.high, "loss": loss.value}
            rows.append(row | {"loss low": loss.low, "loss high": loss.high})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", type=Path)
    parser.add_argument("old")
    parser.add_argument("new", nargs="+")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        asked, recogniser = Asked.of(options.sets, work), BiEncoder.load(options.old, "cpu")
        old = embed(asked, options.old, work, recogniser)
        tables = [
            figures(asked, model, systems(asked, old, embed(asked, model, work, recogniser))) for model in options.new
        ]
    table = pd.concat(tables, ignore_index=True)
    print(table.round(4).to_string(index=False))
    if options.out:
        table.to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
