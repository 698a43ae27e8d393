"""Labels of a run: what they decide, what they leave alone, and what cannot be measured with them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from drawn import page
from typer.testing import CliRunner

from linkage.cli import app
from linkage.config import load_config
from linkage.evaluate.evaluate import evaluate
from linkage.explain.evidence import explain_run
from linkage.link.links import links_manifest
from linkage.run import run
from linkage.tables import read_table, write_table

SETTINGS = ["ingest.ocr=none", "evaluate.bootstrap=100"]
ROWS = [
    ("e0", "Moreau & Cie, libraires", "moreau", "exemplar", ""),
    ("e1", "Durand, horloger", "durand", "exemplar", ""),
    ("q0", "Moreau & Cie, libraire", "moreau", "query", "test"),
    ("q1", "Durand, horlogers", "", "", ""),
    ("q2", "Lefebvre Fils, drapiers", "lefebvre", "", "test"),
    ("q3", "Lefebvre Fils, drapier", "", "", ""),
    ("q4", "Moreau & Cie, librairie", "", "", ""),
]


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Two exemplars and five queries, some of them with what is known of them."""
    table = pd.DataFrame(ROWS, columns=["record_id", "text", "entity_id", "role", "split"])
    write_table(table, tmp_path / "records.csv")
    return tmp_path / "records.csv"


def members_of(out: Path) -> pd.DataFrame:
    return read_table(out / "export" / "members.csv").set_index("record_id")


def test_labels_that_name_exemplars_only_are_no_error(records: Path, tmp_path: Path) -> None:
    table = read_table(records).assign(entity_id="", role="", split="")
    write_table(table, records)
    (tmp_path / "labels.csv").write_text("record_id,entity_id,role\ne0,moreau,exemplar\ne1,durand,exemplar\n")
    out = tmp_path / "run"
    command = ["run", "/dev/null", "--input", str(records), "--out", str(out), "--labels", str(tmp_path / "labels.csv")]
    done = CliRunner().invoke(app, [*command, *(part for one in SETTINGS for part in ("--set", one))])
    assert done.exit_code == 0, done.output
    said = f"linking could not be measured: {tmp_path / 'labels.csv'} names no query with its entity"
    assert said in done.output and "clustering could not be measured" in done.output
    assert len(members_of(out)) == len(ROWS) and (out / "report.html").exists()
    assert members_of(out).loc["q0", "entity_id"] == "moreau"
    refused = CliRunner().invoke(app, ["evaluate", str(out / "export" / "members.csv"), "--truth", command[-1]])
    assert "only its exemplars" in str(refused.exception)


def test_one_correction_decides_and_leaves_the_rest_as_it_was(records: Path, tmp_path: Path) -> None:
    plain, corrected = tmp_path / "plain", tmp_path / "corrected"
    run(load_config(None, SETTINGS), [records], plain)
    (tmp_path / "labels.csv").write_text("record_id,entity_id\nq1,petit\nq4,lefebvre\n")
    result = run(load_config(None, SETTINGS), [records], corrected, labels=tmp_path / "labels.csv")
    before, after = members_of(plain), members_of(corrected)
    assert before.loc[["q0", "q1", "q4"], "entity_id"].tolist() == ["moreau", "durand", "moreau"]
    assert before.loc[["q2", "q3"], "entity_id"].tolist() == ["lefebvre", "lefebvre"], "the table's own labels count"
    assert before.loc[["e0", "q0", "q1", "q3"], "origin"].tolist() == ["exemplar", "labelled", "linked", "clustered"]
    assert after.loc[["q1", "q4"], ["entity_id", "origin"]].to_numpy().tolist() == [
        ["petit", "labelled"],
        ["lefebvre", "labelled"],
    ]
    rest = ["e0", "e1", "q0", "q2", "q3"]
    assert after.loc[rest, "entity_id"].tolist() == before.loc[rest, "entity_id"].tolist()
    known = read_table(corrected / "label" / "known.parquet").set_index("record_id")
    assert known.loc[["e0", "q0"], "role"].tolist() == ["exemplar", "query"] and known.loc["q0", "split"] == "test"
    columns = ["predicted_entity_id", "predicted_origin"]
    assert after[columns].equals(before[columns]), "no label changes what was found without it"
    links = read_table(corrected / "export" / "links.csv")
    assert links[(links["record_id"] == "q1") & (links["rank"] == 1)]["entity_id"].tolist() == ["durand"]
    own = result.metrics[(result.metrics["system"] == "linkage") & (result.metrics["measure"] == "link precision")]
    assert own["value"].tolist() == [0.0], "measured is the prediction, which knew neither"
    said = explain_run(corrected, "q1").says
    assert said[0] == "Its label decides: it is of petit; without it, it would be in durand (linked)."
    assert "Linked to durand" in said[1]
    assert "the same was found without it" in explain_run(corrected, "q0").says[0]
    assert explain_run(corrected, "q3").group is not None
    assert [member.record_id for member in explain_run(corrected, "lefebvre").members or []]
    assert "placed by their label" in (corrected / "report.html").read_text(encoding="utf-8")


def test_the_figures_do_not_change_by_giving_the_truth_as_labels(records: Path, tmp_path: Path) -> None:
    blank = read_table(records).assign(split="")
    blank.loc[blank["role"] != "exemplar", ["entity_id", "role"]] = ""
    write_table(blank, records)
    truth = (
        "record_id,entity_id,split\nq0,moreau,test\nq1,durand,test\nq2,lefebvre,test\nq3,petit,test\nq4,durand,test\n"
    )
    (tmp_path / "truth.csv").write_text(truth)
    config = load_config(None, SETTINGS)
    run(config, [records], tmp_path / "without")
    run(config, [records], tmp_path / "with", labels=tmp_path / "truth.csv")
    without, known = (
        evaluate(tmp_path / name / "export" / "members.csv", tmp_path / "truth.csv", config.evaluate).metrics
        for name in ("without", "with")
    )
    pd.testing.assert_frame_equal(without, known)
    members = members_of(tmp_path / "with")
    assert members.loc[["q0", "q1", "q2", "q3", "q4"], "entity_id"].tolist() == [
        *("moreau", "durand", "lefebvre", "petit", "durand")
    ]


def test_a_query_known_to_match_nothing_is_in_no_exemplars_entity(records: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("record_id,entity_id,role\nq0,,query_nomatch\nq1,,query_nomatch\n")
    run(load_config(None, SETTINGS), [records], tmp_path / "run", labels=tmp_path / "labels.csv")
    members = members_of(tmp_path / "run")
    assert not set(members.loc[["q0", "q1"], "entity_id"]) & {"moreau", "durand"}
    assert members.loc[["q0", "q1"], "predicted_entity_id"].tolist() == ["moreau", "durand"]


def test_clustering_lets_labels_decide_too(records: Path, tmp_path: Path) -> None:
    table = read_table(records).assign(role="")
    table.loc[table["record_id"] == "q4", "entity_id"] = "another"
    write_table(table, records)
    done = CliRunner().invoke(app, ["cluster", str(records), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    members = read_table(tmp_path / "out" / "members.csv").set_index("record_id")
    labelled = table[table["entity_id"] != ""]
    assert members.loc[labelled["record_id"], "entity_id"].tolist() == labelled["entity_id"].tolist()
    assert members.loc[labelled["record_id"], "origin"].eq("labelled").all()
    assert members.loc["q4", "predicted_entity_id"] == members.loc["q0", "predicted_entity_id"]


@pytest.mark.slow
def test_a_run_that_trains_marks_what_its_encoder_saw_and_promises_nothing_with_it(tmp_path: Path) -> None:
    rows = []
    for number, name in enumerate(["Moreau", "Durand", "Lefebvre", "Petit", "Caubert", "Martin", "Bernard", "Roux"]):
        for view, role in enumerate(("exemplar", "query", "query")):
            record = f"{number}_{view}"
            page([f"{name} & Cie"], (300, 60)).save(tmp_path / f"{record}.png")
            rows.append((record, f"{record}.png", f"{name} & Cie", name, ("train", "val")[number % 2], role))
    table = pd.DataFrame(rows, columns=["record_id", "image", "text", "entity_id", "split", "role"])
    write_table(table, tmp_path / "records.csv")
    write_table(table.drop(columns=["image", "text"]), tmp_path / "labels.csv")
    settings = ["train.enabled=true", "train.align_epochs=1", "train.supervised_epochs=1", "link.max_false_links=0.2"]
    config = load_config(None, [*SETTINGS, *settings])
    result = run(config, [tmp_path / "records.csv"], tmp_path / "run", labels=tmp_path / "labels.csv")
    own = result.metrics[result.metrics["system"] == "linkage"]
    for measure in ("matched accuracy", "B-cubed F1"):
        notes = own[own["measure"] == measure].set_index("split")["note"]
        assert "encoder trained on these rows" in notes["train"]
        assert "these rows chose the encoder's epoch" in notes["val"]
    sentence = links_manifest(tmp_path / "run" / "link" / "links.parquet")["threshold"]["sentence"]
    assert "16 labelled queries are no evidence" in sentence
