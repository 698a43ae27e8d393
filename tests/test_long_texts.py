"""One page of text among names: nothing is as wide as the longest text."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd

from linkage.arrays import codes_of
from linkage.config import EvaluateConfig
from linkage.evaluate.evaluate import evaluate
from linkage.tables import write_table

LONG = 50_000
ROWS = 400
MOST = 60_000_000  # bytes; an array of ROWS texts as wide as the longest takes 80 MB, and every step makes another


def test_codes_are_in_the_order_of_the_values_as_text() -> None:
    values = ["b", "a", "", "b", "é", "\0x", "10", "9"]
    np.testing.assert_array_equal(codes_of(values), np.unique(np.array(values), return_inverse=True)[1])
    assert codes_of([]).dtype == np.int64


def test_figures_of_clusters_take_no_memory_for_the_longest_text(tmp_path: Path) -> None:
    texts = ["Moreau & Cie, libraires " * (LONG // 24), *(f"Firm {row // 2}" for row in range(1, ROWS))]
    ids = [f"r{row}" for row in range(ROWS)]
    entities = ["x" * LONG, *(f"e{row // 2}" for row in range(1, ROWS))]
    members = pd.DataFrame({"record_id": ids, "entity_id": entities, "origin": "clustered", "text": texts})
    write_table(members, tmp_path / "members.parquet")
    truth = pd.DataFrame({"record_id": ids, "entity_id": entities, "split": "val"})
    write_table(truth, tmp_path / "truth.parquet")
    tracemalloc.start()
    figures = evaluate(tmp_path / "members.parquet", tmp_path / "truth.parquet", EvaluateConfig(bootstrap=100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert figures.value("B-cubed F1") == 1.0
    assert peak < MOST, f"{peak / 1e6:.0f} MB"
