"""Measure a model on labelled sets, each part of it beside string baselines: the tables of the model card.

Run: python scripts/measure_model.py SETS [--model linkage-line] [--extra DIR] [--train] [--out tables.csv]
SETS holds the real sets (gw_words, hand_lines, sroie_crops, txt_jp_firms), --extra what scripts/make_sets.py wrote.
With --train the model is first trained on the train split. Val rows (test rows of the drawn set) are measured, never
trained on.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import binomtest

from linkage.config import EncodeConfig, LinkConfig, TrainConfig, update
from linkage.encode.biencoder import BiEncoder
from linkage.encode.embed import embed_records
from linkage.encode.embeddings import Embeddings
from linkage.encode.train import train
from linkage.evaluate.baselines import rank_by_strings
from linkage.evaluate.metrics import share
from linkage.jobs import model_scorer
from linkage.link.link import link
from linkage.records import Records
from linkage.search.index import build_index

SEED = 0


class Case(NamedTuple):
    """One set and how it is given to the system.

    Attributes:
        name: of the row in the table.
        folder: holds records.csv.
        texts: "given" (as in the table), "tesseract" (ocr_tesseract.csv) or "none".
        reading: the model's own reading may be used.
        split: measured.
    """

    name: str
    folder: Path
    texts: str
    reading: bool = True
    split: str = "val"


def cases(sets: Path, extra: Path | None) -> list[Case]:
    """All sets that are there."""
    found = [
        Case("gw_words", sets / "gw_words", "none"),
        Case("gw_words, no reading", sets / "gw_words", "none", reading=False),
        Case("hand_lines", sets / "hand_lines", "none"),
        Case("sroie_crops", sets / "sroie_crops", "tesseract"),
        Case("txt_jp_firms", sets / "txt_jp_firms", "given"),
    ]
    if extra:
        found += [
            Case("sroie_crops, degraded", extra / "sroie_degraded", "given"),
            Case("drawn Japanese firms", extra / "jp_firms", "given", split="test"),
        ]
    return [case for case in found if (case.folder / "records.csv").is_file()]


def table_of(case: Case, path: Path) -> Records:
    """The records of a case as a Parquet table with the crops inside, so that its texts are what the case says."""
    frame = pd.read_csv(case.folder / "records.csv", dtype=str, keep_default_na=False)
    if case.texts == "tesseract":
        read = pd.read_csv(case.folder / "ocr_tesseract.csv", dtype=str, keep_default_na=False)
        frame["text"] = frame["record_id"].map(dict(zip(read["record_id"], read["ocr"], strict=True))).fillna("")
    elif case.texts == "none":
        frame["text"] = ""
    crops = [(case.folder / name).read_bytes() if name else None for name in frame["image"]]
    kept = frame[["record_id", "text", "entity_id", "split", "role"]]
    pq.write_table(pa.Table.from_pandas(kept, preserve_index=False).append_column("crop", pa.array(crops)), path)
    return Records.open(path)


def measure(case: Case, model: str, work: Path, *, labels: bool) -> pd.DataFrame:
    """Matched accuracy of every system on one case.

    Args:
        case: what is measured.
        model: name or folder.
        work: for files in between.
        labels: the scorer may be fitted on the train rows.
    """
    records = table_of(case, work / "records.parquet")
    if not labels:
        records = records.take(np.flatnonzero(records.frame["split"] == case.split))
    frame = records.frame
    config = EncodeConfig(model=model, device="cpu", reading=case.reading)
    vectors = embed_records(records, BiEncoder.load(model, "cpu"), work / "embeddings", config)
    rows = np.flatnonzero(frame["split"] == case.split)
    part = frame.iloc[rows]
    queries, exemplars = (rows[(part["role"] == role).to_numpy()] for role in ("query", "exemplar"))
    entity = frame["entity_id"].to_numpy(dtype=object)
    hits: dict[str, np.ndarray] = {}
    views = {"picture": vectors.image, "text": vectors.text, "pooled": vectors.pooled()}
    for name, matrix in views.items():
        matrix = np.asarray(matrix, dtype=np.float32)
        if matrix[queries].any():
            best = (matrix[queries] @ matrix[exemplars].T).argmax(axis=1)
            hits[name] = entity[exemplars[best]] == entity[queries]
    hits["fused (linkage)"] = _fused(records, vectors, rows, case, model, work, labels)[queries]
    for source, texts in (("given text", frame["text"]), ("own reading", vectors.readings["reading"])):
        words = texts.to_numpy(dtype=object)
        if words[queries].astype(bool).any():
            ranked = rank_by_strings(words[queries].tolist(), words[exemplars].tolist(), entity[exemplars].tolist(), 1)
            for name, ranking in ranked.items():
                if name != "exact text":
                    hits[f"{name} of {source}"] = ranking.entities[:, 0] == entity[queries]
    return _figures(case, hits, entity[queries])


def _fused(
    records: Records, vectors: Embeddings, rows: np.ndarray, case: Case, model: str, work: Path, labels: bool
) -> np.ndarray:
    """Whether linkage's best candidate is right, by row of the table, over the exemplars of the measured split."""
    frame = records.frame
    split, role = frame["split"].to_numpy(), frame["role"].to_numpy()
    index = build_index(records.take(rows[role[rows] == "exemplar"]), vectors, work / "index")
    scorer = model_scorer(model)
    if labels:
        train_rows = np.flatnonzero((split == "train") & (role != "exemplar"))
        known = build_index(
            records.take(np.flatnonzero((split == "train") & (role == "exemplar"))), vectors, work / "t"
        )
        scorer = link(records.take(train_rows), vectors, known, LinkConfig(device="cpu"), scorer=scorer).scorer
    asked = records.take(rows[role[rows] == "query"])
    truth = dict(zip(asked.frame["record_id"], asked.frame["entity_id"], strict=True))
    asked.frame["entity_id"] = ""  # nothing is fitted on what is measured
    links = link(asked, vectors, index, LinkConfig(device="cpu"), scorer=scorer).links
    first = links[links["rank"] == 1]
    right = {row.record_id for row in first.itertuples() if truth[row.record_id] == row.entity_id}
    return frame["record_id"].isin(right).to_numpy()


def _figures(case: Case, hits: dict[str, np.ndarray], entity: np.ndarray) -> pd.DataFrame:
    strings = {name: hit for name, hit in hits.items() if " of " in name}
    given = {name: hit for name, hit in strings.items() if name.endswith("given text")}
    best = max(given or strings, key=lambda name: strings[name].mean()) if strings else ""
    table = []
    for name, hit in hits.items():
        figure = share(hit, entity)
        row = {"set": case.name, "system": name, "hit@1": figure.value, "low": figure.low, "high": figure.high}
        row |= {"n": figure.n, "errors": int((~hit).sum()), "beside": best if name != best else ""}
        if best and name != best:
            better, worse = int((hit & ~strings[best]).sum()), int((~hit & strings[best]).sum())
            row["p (McNemar)"] = binomtest(better, better + worse).pvalue if better + worse else 1.0
        table.append(row)
    return pd.DataFrame(table)


def trained(case: Case, model: str, work: Path, overrides: dict[str, object]) -> str:
    """The model trained on the case's train split; returns its folder."""
    records = table_of(case, work / "to_train.parquet")
    config = update(TrainConfig(enabled=True), **overrides)
    encode = EncodeConfig(model=model, device="cpu", reading=case.reading)
    print(train(records, work / "model", config, encode, seed=SEED))
    return str(work / "model")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", type=Path)
    parser.add_argument("--extra", type=Path)
    parser.add_argument("--model", default="linkage-line")
    parser.add_argument("--only", default="", help="part of a case's name")
    parser.add_argument("--train", action="store_true", help="train on the train split first")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the section train, with --train")
    parser.add_argument("--split", help="measure these rows; train ones only of a model that never saw them")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    tables = []
    for case in cases(options.sets, options.extra):
        if options.only not in case.name:
            continue
        case = case._replace(split=options.split or case.split)
        with tempfile.TemporaryDirectory() as folder:
            overrides = dict(item.split("=", 1) for item in options.set)
            model = trained(case, options.model, Path(folder), overrides) if options.train else options.model
            tables.append(measure(case, model, Path(folder), labels=options.train))
        print(tables[-1].round(4).to_string(index=False), flush=True)
    if not tables:
        raise SystemExit(f"{options.sets}: no set here whose name contains {options.only!r}")
    if options.out:
        pd.concat(tables).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
