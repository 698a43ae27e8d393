"""Measure what adding records to a ledger costs against clustering all of them at once.

Run: python scripts/measure_incremental.py RUN --labels labels.csv [--seeds 5] [--out table.csv]
RUN is the run directory of `linkage run` over the records. 80 % of them are clustered and indexed, the other 20 % are
linked, all with one ledger; then everything is clustered again with it. The 20 % are drawn by record, or are whole
entities, so that none of them is known before. Labels draw that second split and score; nothing is fitted on them.
"""

from __future__ import annotations

import argparse
import logging
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from linkage.config import Config, load_config
from linkage.evaluate.metrics import CLUSTERING, entity_sums, measure
from linkage.evaluate.truth import attach_truth, read_truth
from linkage.jobs import build_exemplar_index, cluster_records, export_crosswalk, export_members, link_queries
from linkage.ledger.ledger import Ledger
from linkage.records import LABELS, Records
from linkage.tables import read_table, write_table

SHARE, BOOTSTRAP = 0.2, 2000
F1 = CLUSTERING["B-cubed F1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--labels", type=Path, required=True, help="entity_id by record or source")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also write the table here")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    config = load_config(options.run / "config.yaml")
    records = pd.read_parquet(options.run / "ingest" / "records.parquet").drop(columns=list(LABELS), errors="ignore")
    frame = Records.open(options.run / "ingest" / "records.parquet").frame
    truth = attach_truth(frame, read_truth(options.labels), config.evaluate.iou)["entity_id"].to_numpy(dtype=object)
    embeddings = options.run / "embed"
    with tempfile.TemporaryDirectory() as folder:
        at_once = clustered_at_once(records, embeddings, config, Path(folder))
        rows = []
        for held in ("records", "entities"):
            for seed in range(options.seeds):
                late = late_rows(truth, held, seed)
                work = Path(folder) / f"{held}_{seed}"
                done = incremental(records, late, embeddings, config, work)
                rows.append({"held back": held, "seed": seed} | scored(truth, at_once, done.pop("ids")) | done)
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="%.3f"))
    if options.out:
        write_table(table, options.out)


def late_rows(truth: np.ndarray, held: str, seed: int) -> np.ndarray:
    """True for the fifth of the records that comes later, (n,)."""
    rng = np.random.default_rng(seed)
    late = np.zeros(len(truth), dtype=bool)
    if held == "records":
        late[rng.permutation(len(truth))[: round(SHARE * len(truth))]] = True
        return late
    for entity in rng.permutation(np.unique(truth.astype(str))):
        if late.sum() + (truth == entity).sum() <= SHARE * len(truth):
            late |= truth == entity
    return late


def clustered_at_once(records: pd.DataFrame, embeddings: Path, config: Config, work: Path) -> np.ndarray:
    """Entity of every record, all clustered together, (n,)."""
    cluster_records(save(records, work / "every.parquet"), work / "every", config, embeddings)
    return entities(records, work / "every" / "members.parquet")


def incremental(
    records: pd.DataFrame, late: np.ndarray, embeddings: Path, config: Config, work: Path
) -> dict[str, Any]:
    """Cluster the early records, link the late ones, cluster all again, and take both back; ids and counts."""
    ledger = work / "entities.ledger"
    early = save(records[~late], work / "early.parquet")
    cluster_records(early, work / "early", config, embeddings, ledger)
    before, dump = members(ledger, work / "1.csv"), dump_of(ledger)
    build_exemplar_index(early, work / "index", config, embeddings, ledger)
    queries = save(records[late], work / "late.parquet")
    linked = link_queries(queries, work / "index", work / "links.csv", config, embeddings=embeddings, ledger=ledger)
    after, dump_linked = members(ledger, work / "2.csv"), dump_of(ledger)
    crosswalk = export_crosswalk(ledger, 1, 2, work / "crosswalk.csv")
    cluster_records(save(records, work / "every.parquet"), work / "again", config, embeddings, ledger)
    again = entities(records, work / "again" / "members.parquet")
    ids = entities(records, work / "2.csv")
    with Ledger.open(ledger) as opened:
        opened.undo()
        undone = dump_of(ledger) == dump_linked and members(ledger, work / "2_again.csv") == after
        opened.undo()
        undone &= dump_of(ledger) == dump and members(ledger, work / "1_again.csv") == before
    early_ids = entities(records[~late], work / "1.csv")
    return {
        "ids": ids,
        "matched": linked["matched"],
        "new entities": linked["create"],
        "crosswalk": " ".join(f"{name} {n}" for name, n in crosswalk.items() if name != "rows"),
        "ids kept": f"{(ids[~late] == early_ids).sum()}/{(~late).sum()}",
        "kept when clustered again": f"{(again == ids).sum()}/{len(ids)}",
        "undone to the byte": "yes" if undone else "NO",
    }


def scored(truth: np.ndarray, at_once: np.ndarray, ids: np.ndarray) -> dict[str, Any]:
    """B-cubed F1 of either clustering and their difference, with 95 % intervals by bootstrap over entities."""
    sums = np.hstack([entity_sums(truth, at_once), entity_sums(truth, ids)])
    formulas = {
        "at once": lambda t: F1(t[..., :6]),
        "incremental": lambda t: F1(t[..., 6:]),
        "difference": lambda t: F1(t[..., 6:]) - F1(t[..., :6]),
    }
    figures = measure(sums, formulas, len(truth), bootstrap=BOOTSTRAP, seed=0)
    shown = {name: f"{f.value:.3f} ({f.low:.3f} to {f.high:.3f})" for name, f in figures.items()}
    return {"n": len(truth)} | shown


def save(records: pd.DataFrame, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    records.to_parquet(path, index=False)
    return path


def members(ledger: Path, out: Path) -> bytes:
    export_members(ledger, out)
    return out.read_bytes()


def dump_of(ledger: Path) -> list[str]:
    database = sqlite3.connect(ledger)
    try:
        return list(database.iterdump())
    finally:
        database.close()


def entities(records: pd.DataFrame, path: Path) -> np.ndarray:
    """Entity of every record in a members table, (n,)."""
    found = read_table(path).set_index("record_id")["entity_id"]
    return found.loc[records["record_id"]].to_numpy(dtype=object)


if __name__ == "__main__":
    main()
