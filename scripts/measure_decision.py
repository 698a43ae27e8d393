"""Measure what is decided from labels: links, no-match, calibration and the promise on false links, beside baselines.

Run: python scripts/measure_decision.py SETS [--only NAME] [--embeddings DIR] [--out figures.csv]
Scorer and thresholds, ours and the baselines', are fitted on the train split; val rows are measured as test rows and
never looked at before. Every query is linked to the exemplars of both splits.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from measure_model import Case, table_of

from linkage.config import EncodeConfig, EvaluateConfig, LinkConfig
from linkage.encode.biencoder import BiEncoder
from linkage.encode.embed import embed_records
from linkage.encode.embeddings import Embeddings
from linkage.evaluate.evaluate import evaluate
from linkage.jobs import model_scorer
from linkage.link.link import link
from linkage.records import Records
from linkage.search.index import build_index

MODEL = "linkage-line"
SETS: dict[str, tuple[str, dict[str, object]]] = {
    "sroie_crops": ("tesseract", {}),
    "gw_words": ("none", {}),
    "txt_jp_firms": ("given", {"aim": "f1"}),
    "txt_abt_buy": (
        "given",
        {"aim": "f1", "fields": {"f_name": "text", "f_description": "text", "f_price": "number"}},
    ),
    "txt_restaurants": (
        "given",
        {
            "aim": "f1",
            "fields": {"f_name": "text", "f_address": "text", "f_city": "text", "f_cuisine": "text"},
        },
    ),
}
"""Where the texts of a set come from, and settings of `link`; F1 where that is what others report."""

MEASURES = (
    *("matched accuracy", "no-match accuracy", "no-match AUROC", "calibration error"),
    *("link precision", "link recall", "link F1"),
)


def records_of(folder: Path, texts: str, work: Path) -> Records:
    """The records of a set with all their columns; val rows as test rows, which no fit looks at."""
    table_of(Case(folder.name, folder, texts), work / "plain.parquet")
    table = pq.read_table(work / "plain.parquet")
    full = pd.read_csv(folder / "records.csv", dtype=str, keep_default_na=False)
    for name in full.columns:
        if name.startswith("f_"):
            table = table.append_column(name, pa.array(full[name].tolist()))
    split = pa.array(full["split"].replace("val", "test").tolist())
    table = table.set_column(table.column_names.index("split"), "split", split)
    pq.write_table(table, work / "records.parquet")
    return Records.open(work / "records.parquet")


def measure(folder: Path, work: Path, made: Path | None) -> pd.DataFrame:
    """Figures of every system on the test rows of one set.

    Args:
        folder: the set.
        work: for files in between.
        made: embeddings of the set, if they are there already.
    """
    texts, settings = SETS[folder.name]
    records = records_of(folder, texts, work)
    config = LinkConfig.model_validate({"device": "cpu"} | settings)
    if made and (made / folder.name / "embeddings").is_dir():
        vectors = Embeddings.open(made / folder.name / "embeddings")
    else:
        encode = EncodeConfig(model=MODEL, device="cpu")
        vectors = embed_records(records, BiEncoder.load(MODEL, "cpu"), work / "embeddings", encode)
    exemplar = (records.frame["role"] == "exemplar").to_numpy()
    index = build_index(records.take(np.flatnonzero(exemplar)), vectors, work / "index")
    queries = records.take(np.flatnonzero(~exemplar))
    result = link(queries, vectors, index, config, scorer=model_scorer(MODEL))
    result.save(work / "links.parquet", index=work / "index", queries=work / "records.parquet")
    truth = records.frame[["record_id", "entity_id", "split", "role"]]
    truth.to_csv(work / "truth.csv", index=False)
    figures = evaluate(work / "links.parquet", work / "truth.csv", EvaluateConfig(), split="test").metrics
    print(f"{folder.name}: {result.threshold.sentence} Scorer: pull {result.scorer.strength}")
    return figures.assign(set=folder.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", type=Path)
    parser.add_argument("--only", default="", help="part of a set's name")
    parser.add_argument("--embeddings", type=Path, help="folder of SET/embeddings, made before with this model")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    tables = []
    for name in SETS:
        if options.only not in name or not (options.sets / name).is_dir():
            continue
        with tempfile.TemporaryDirectory() as folder:
            tables.append(measure(options.sets / name, Path(folder), options.embeddings))
        table = tables[-1]
        shown = table[table["measure"].isin(MEASURES)]
        print(
            shown.pivot(index="system", columns="measure", values="value")
            .reindex(columns=list(MEASURES))
            .round(4)
            .to_string()
        )
        own = shown[shown["system"] == "linkage"]
        print(own[["measure", "value", "low", "high", "n"]].round(4).to_string(index=False), flush=True)
        rest = table[~table["measure"].isin(MEASURES) & (table["system"] == "linkage")]
        print(rest[["measure", "value", "low", "high", "n", "note"]].round(4).to_string(index=False), flush=True)
    if not tables:
        raise SystemExit(f"{options.sets}: no set here whose name contains {options.only!r}")
    if options.out:
        pd.concat(tables).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
