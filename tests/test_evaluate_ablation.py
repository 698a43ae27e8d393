"""The tables beside the figures: does the picture help, and are probabilities what they say?"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from linkage.cli import app
from linkage.config import EvaluateConfig
from linkage.errors import UsageError
from linkage.evaluate.ablation import BEST_STRINGS, DIFFERENCE, LEAST_IN_BIN, MOST_BINS, equal_bins
from linkage.evaluate.evaluate import Evaluation, evaluate
from linkage.tables import read_table, write_table

NAMES = ["Atkinson & Sons", "Baker Brothers", "Carter, cooper", "Dubois, drapier"]


def evaluated(folder: Path, confidence: list[float | None], column: str = "ocr_confidence") -> Evaluation:
    """Queries that linkage always finds; strings only find those that were read with more than 0.5."""
    rows, truth = [], ["record_id,entity_id"]
    for number, known in enumerate(confidence):
        right = number % 4
        text = NAMES[right] if known is not None and known > 0.5 else "?"
        rows.append((f"q{number:03d}", f"e{right}", f"x{right}", 1, "match", 0.75, 0.8, text, known))
        truth.append(f"q{number:03d},e{right}")
    names = ["record_id", "entity_id", "exemplar_id", "rank", "decision", "probability", "score", "text", column]
    write_table(pd.DataFrame(rows, columns=names), folder / "links.parquet")
    exemplars = pd.DataFrame({"record_id": [f"x{n}" for n in range(4)], "entity_id": [f"e{n}" for n in range(4)]})
    (folder / "index").mkdir()
    exemplars.assign(text=NAMES).to_parquet(folder / "index" / "exemplars.parquet")
    (folder / "links.parquet.manifest.json").write_text(json.dumps({"index": "index"}))
    (folder / "truth.csv").write_text("\n".join(truth) + "\n")
    return evaluate(folder / "links.parquet", folder / "truth.csv", EvaluateConfig(bootstrap=100))


def test_the_table_shows_where_strings_fail_and_the_rest_helps(tmp_path: Path) -> None:
    table = evaluated(tmp_path, [*np.linspace(0.1, 0.4, 30), *np.linspace(0.6, 0.9, 30), None, None]).tables["picture"]
    value = table.set_index(["bin", "system"])["value"]
    assert value["all", "linkage"] == 1.0
    assert value["all", BEST_STRINGS] == pytest.approx(30 / 62)
    assert value["unknown", "Levenshtein"] == 0.0
    bins = table[(table["system"] == DIFFERENCE) & table["confidence_low"].notna()]
    assert bins["n"].tolist() == [20, 20, 20]
    assert bins["value"].tolist() == pytest.approx([1.0, 0.5, 0.0])
    assert bins["confidence_low"].tolist()[0] == pytest.approx(0.1)
    assert bins["confidence_high"].tolist()[-1] == pytest.approx(0.9)
    assert (bins["confidence_low"] <= bins["confidence_high"]).all()
    assert set(table.loc[table["system"] == BEST_STRINGS, "note"]) == {
        "exact text"
    }  # as good as the others here, and the first


def test_the_models_own_confidence_stands_in_where_no_engine_gave_one(tmp_path: Path) -> None:
    table = evaluated(tmp_path, [0.2] * 20 + [0.7] * 20, "reading_confidence").tables["picture"]
    rows = table[table["system"] == "linkage"]
    assert rows["bin"].tolist() == ["all", "1", "2"]
    assert rows["confidence_low"].tolist()[1:] == [0.2, 0.7]


def test_few_queries_make_one_bin_and_no_confidence_none(tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    (tmp_path / "none").mkdir()
    few = evaluated(tmp_path / "few", [0.2, 0.3, 0.9]).tables["picture"]
    assert few["bin"].unique().tolist() == ["all", "1"]
    none = evaluated(tmp_path / "none", [None, None]).tables["picture"]
    assert none["bin"].unique().tolist() == ["all"]


@given(st.lists(st.sampled_from([0.1, 0.2, 0.2001, 0.5, 0.9, 0.91, 0.92, 1.0]), max_size=400))
def test_bins_keep_every_query_once_and_ties_together(values: list[float]) -> None:
    bins = equal_bins(np.array(values))
    assert sorted(np.concatenate(bins).tolist() if bins else []) == list(range(len(values)))
    assert len(bins) <= MOST_BINS
    if len(bins) > 1:
        assert min(map(len, bins)) >= LEAST_IN_BIN
    found = [np.array(values)[rows] for rows in bins]
    for low, high in pairwise(found):
        assert low.max() < high.min()


def test_reliability_sets_probability_beside_what_came_true(tmp_path: Path) -> None:
    table = evaluated(tmp_path, [0.9] * 40).tables["reliability"]
    assert table[["n", "probability", "value", "high"]].to_numpy().tolist() == [[40, 0.75, 1.0, 1.0]], "one probability"


def test_the_tables_are_written_beside_the_figures(tmp_path: Path) -> None:
    evaluated(tmp_path, [0.2, 0.7])
    links, truth, out = (tmp_path / name for name in ("links.parquet", "truth.csv", "figures.csv"))
    command = ["evaluate", str(links), "--truth", str(truth), "--out", str(out)]
    assert CliRunner().invoke(app, command).exit_code == 0
    for name in ("figures", "figures.picture", "figures.reliability"):
        assert len(read_table(tmp_path / f"{name}.csv"))
    out.unlink()
    assert isinstance(CliRunner().invoke(app, command).exception, UsageError)  # a table beside it is in the way
    assert not out.exists()
    assert CliRunner().invoke(app, [*command, "--overwrite"]).exit_code == 0
