"""What makes two texts equal belongs to a configuration: several of them live in one process."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from linkage.config import Config, load_config
from linkage.evaluate.evaluate import evaluate
from linkage.explain.evidence import explain_run
from linkage.jobs import build_exemplar_index, cluster_records, link_queries
from linkage.link.links import manifest_of

NAMES = ["ABBOT SONS", "Baker and Frost", "Carr Miller", "Dunn & Webb"]
ALONE = ["encode.device=cpu", "link.device=cpu", "link.threshold=0.5", "link.fields={trade: exact}", "encode.threads=1"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exemplars, queries that differ from them in case alone, and what is true of them."""
    folder = tmp_path_factory.mktemp("tables")
    ids = [f"e{row}" for row in range(len(NAMES))]
    known = pd.DataFrame({"record_id": ids, "text": NAMES, "entity_id": NAMES, "trade": "Baker"})
    known.to_csv(folder / "exemplars.csv", index=False)
    asked = pd.DataFrame({"record_id": [f"q{one}" for one in ids], "text": [name.swapcase() for name in NAMES]})
    asked.assign(trade="BAKER").to_csv(folder / "queries.csv", index=False)
    truth = pd.concat([known[["record_id", "entity_id"]], asked[["record_id"]].assign(entity_id=NAMES)])
    truth.to_csv(folder / "truth.csv", index=False)
    return folder


def indexed(tables: Path, out: Path, config: Config) -> None:
    build_exemplar_index(tables / "exemplars.csv", out / "index", config)


def linked(tables: Path, out: Path, config: Config) -> pd.DataFrame:
    link_queries(tables / "queries.csv", out / "index", out / "links.csv", config)
    return pd.read_parquet(out / "links.parquet")


def test_two_configurations_in_one_process_do_not_meet(tables: Path, tmp_path: Path) -> None:
    equal, apart = load_config(None, ALONE), load_config(None, [*ALONE, "text.case=false"])
    alone = {}
    for name, config in (("equal", equal), ("apart", apart)):
        indexed(tables, tmp_path / f"{name}-alone", config)
        alone[name] = linked(tables, tmp_path / f"{name}-alone", config)
    indexed(tables, tmp_path / "equal", equal)
    indexed(tables, tmp_path / "apart", apart)  # made between the index and the links of the other
    pd.testing.assert_frame_equal(linked(tables, tmp_path / "equal", equal), alone["equal"])
    pd.testing.assert_frame_equal(linked(tables, tmp_path / "apart", apart), alone["apart"])

    best = {name: links[links["rank"] == 1] for name, links in alone.items()}
    assert (best["equal"]["string_score"] == 1.0).all() and (best["equal"]["trade_score"] == 1.0).all()
    assert (best["apart"]["string_score"] < 0.7).all() and (best["apart"]["trade_score"] == 0.0).all()
    said = [json.loads(manifest_of(tmp_path / name / "links.csv").read_text())["text"]["case"] for name in best]
    assert said == [True, False]


def test_baselines_explanations_and_clusters_go_by_their_own(tables: Path, tmp_path: Path) -> None:
    configs = {"equal": load_config(None, ALONE), "apart": load_config(None, [*ALONE, "text.case=false"])}
    for name, config in configs.items():
        indexed(tables, tmp_path / name, config)
        linked(tables, tmp_path / name, config)
        cluster_records(tables / "queries.csv", tmp_path / name / "clusters", config)
    exact, differs = {}, {}
    for name, config in configs.items():
        links = tmp_path / name / "links.csv"
        found = evaluate(links, tables / "truth.csv", config.evaluate, folding=config.folding).metrics
        own = (found["system"] == "exact text") & (found["measure"] == "matched accuracy")
        exact[name] = float(found.loc[own, "value"].iloc[0])
        link = explain_run(links, "qe0", page=tmp_path / f"{name}.html").link
        assert link is not None
        differs[name] = any(step.differs for step in link.best.aligned)
    assert exact == {"equal": 1.0, "apart": 0.0}
    assert differs == {"equal": False, "apart": True}


def test_an_index_is_not_asked_by_queries_of_other_text_settings(tables: Path, tmp_path: Path) -> None:
    from linkage.errors import ArtefactError

    indexed(tables, tmp_path, load_config(None, [*ALONE, "text.case=false"]))
    with pytest.raises(ArtefactError, match="use the same `text` section"):
        linked(tables, tmp_path, load_config(None, ALONE))
