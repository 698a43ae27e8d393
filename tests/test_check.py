"""`linkage check` refuses what `linkage run` refuses, before any work, and everything at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from drawn import speckled
from typer.testing import CliRunner, Result

from linkage.cli import app

RECORDS = "record_id,text,county,role\na,one,X,exemplar\nb,two,X,query\n"


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["-q", *map(str, arguments)])


def problems(*arguments: str | Path) -> list[dict[str, Any]]:
    """What `check --json` finds; its exit code is the least of theirs, and nothing else is printed."""
    done = call("check", *arguments, "--json")
    found: list[dict[str, Any]] = json.loads(done.stdout)["problems"]
    assert done.exit_code == min((one["exit_code"] for one in found), default=0), done.output
    assert done.stderr.splitlines() == [f"linkage: {one['message']}" for one in found]
    return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, scans, a table of records and tables of labels, in which the test is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    speckled(0).save(tmp_path / "scans" / "one.png")
    files = {
        "plain.yaml": "ingest: {ocr: none, regions: page}\n",
        "records.csv": RECORDS,
        "noid.csv": "id,text\na,one\n",
        "double.csv": "record_id,text\na,one\na,two\n",
        "none.csv": "record_id,text\n",
        "labels.csv": "record_id,entity_id\na,e1\n",
        "unnamed.csv": "record_id,name\na,e1\n",
        "nowhere.csv": "entity_id,name\ne1,a\n",
        "others.csv": "record_id,entity_id\nz,e1\n",
        "boxless.csv": "source,page\none.png,1\n",
        "away.csv": "source,entity_id\nother.png,e1\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "empty").mkdir()
    return tmp_path


REFUSED: dict[str, tuple[int, str, str, list[str]]] = {
    "no such file": (4, "input", "gone.csv: no such file", ["--input", "gone.csv"]),
    "no such folder": (4, "input", "gone: no such file or folder", ["--input", "gone"]),
    "no scan": (4, "input", "empty: no scan found", ["--input", "empty"]),
    "no record_id": (4, "input", "noid.csv: column record_id is missing", ["--input", "noid.csv"]),
    "one id twice": (4, "input", "double.csv: record_id 'a' stands 2 times", ["--input", "double.csv"]),
    "no record": (4, "input", "none.csv: the table holds no record", ["--input", "none.csv"]),
    "a table among scans": (4, "input", "must be the only input", ["--input", "records.csv", "--input", "scans"]),
    "no such model": (3, "model", "no model, folder or architecture", ["--set", "encode.model=lincage"]),
    "no model in it": (6, "model", "empty: no model here", ["--set", "encode.model=./empty"]),
    "no checkpoint": (
        6,
        "model",
        "gone.safetensors: no such checkpoint",
        ["--set", "encode.model=ViT-B-32:gone.safetensors"],
    ),
    "no such language": (
        5,
        "ocr",
        "no language tlh",
        ["--set", "ingest.ocr=tesseract", "--set", "ingest.languages=[eng,tlh]"],
    ),
    "lines without an engine": (
        3,
        "configuration",
        "lines need an OCR engine",
        ["--input", "scans", "--set", "ingest.regions=lines"],
    ),
    "turning without an engine": (
        3,
        "configuration",
        "auto needs an OCR engine",
        ["--input", "scans", "--set", "ingest.rotate=auto"],
    ),
    "no transcripts": (
        4,
        "input",
        "none of the 1 sources has a transcript",
        ["--input", "scans", "--set", "ingest.ocr=file"],
    ),
    "boxes without corners": (
        4,
        "input",
        "boxless.csv: ",
        ["--input", "scans", "--set", "ingest.regions=boxes", "--set", "ingest.boxes=boxless.csv"],
    ),
    "no labels": (4, "labels", "gone.csv: no such file", ["--input", "records.csv", "--labels", "gone.csv"]),
    "labels without entities": (4, "labels", "column entity_id is missing", ["--labels", "unnamed.csv"]),
    "labels that name no record": (4, "labels", "needs a column record_id", ["--labels", "nowhere.csv"]),
    "labels of other records": (
        4,
        "labels",
        "no row belongs to a record",
        ["--input", "records.csv", "--labels", "others.csv"],
    ),
    "labels of other scans": (4, "labels", "no row belongs to a record", ["--input", "scans", "--labels", "away.csv"]),
    "no exemplar": (
        4,
        "exemplars",
        "no source matches '1898/*'",
        ["--input", "scans", "--set", "link.exemplars=1898/*"],
    ),
    "no such field": (
        4,
        "columns",
        "column 'town' is not there",
        ["--input", "records.csv", "--set", "link.fields={town: text}"],
    ),
    "no such block": (
        4,
        "columns",
        "column 'town' is not there",
        ["--input", "records.csv", "--set", "link.blocking=[town]"],
    ),
    "a field of scans": (
        4,
        "columns",
        "column 'town' is not there",
        ["--input", "scans", "--set", "link.fields={town: text}"],
    ),
}


@pytest.mark.parametrize(("code", "about", "said", "arguments"), REFUSED.values(), ids=REFUSED.keys())
def test_what_a_run_would_refuse_is_a_problem(
    place: Path, code: int, about: str, said: str, arguments: list[str]
) -> None:
    before = sorted(place.rglob("*"))
    (found,) = problems("plain.yaml", *arguments)
    assert (found["about"], found["exit_code"]) == (about, code) and said in found["message"], found
    assert sorted(place.rglob("*")) == before, "nothing is written"


@pytest.mark.parametrize(
    "name", ["no record_id", "no scan", "labels without entities", "no such language", "lines without an engine"]
)
def test_a_run_does_refuse_it_with_the_same_words(place: Path, name: str) -> None:
    code, _, said, arguments = REFUSED[name]
    given = arguments if "--input" in arguments else ["--input", "records.csv", *arguments]
    done = call("run", "plain.yaml", *given, "--out", "out")
    assert done.exit_code and said in str(done.exception)
    assert getattr(done.exception, "exit_code", None) == code


def test_everything_is_found_at_once(place: Path) -> None:
    found = problems(
        *("plain.yaml", "--input", "scans", "--labels", "unnamed.csv"),
        *("--set", "encode.model=lincage", "--set", "ingest.regions=lines", "--set", "link.exemplars=1898/*"),
        *("--set", "link.fields={town: text}"),
    )
    assert [one["about"] for one in found] == ["model", "configuration", "labels", "exemplars", "columns"]
    assert {one["exit_code"] for one in found} == {3, 4}


def test_a_wrong_configuration_is_a_problem_too(place: Path) -> None:
    (found,) = problems("plain.yaml", "--set", "link.kk=3", "--set", "ingest.psm=99")
    assert found["about"] == "configuration" and found["exit_code"] == 3
    assert "did you mean link.k?" in found["message"] and "ingest.psm" in found["message"]


@pytest.mark.parametrize("given", ["records.csv", "scans"])
def test_what_is_in_order_is_counted_and_the_configuration_printed(place: Path, given: str) -> None:
    fine = ("plain.yaml", "--input", given, "--set", "link.fields={ocr_confidence: number}")
    done = call("check", *fine, *(["--labels", "labels.csv"] if given == "records.csv" else []))
    assert (done.exit_code, done.stderr) == (0, "")
    assert "  regions: page\n" in done.stdout
    counts = "# 2 records\n# 1 labels\n" if given == "records.csv" else "# 1 sources\n"
    assert done.stdout.endswith(counts)
    told = json.loads(call("check", *fine, "--json").stdout)
    assert told["problems"] == [] and told["config"]["ingest"]["regions"] == "page"


def test_blocking_is_no_matter_where_nothing_is_linked(place: Path) -> None:
    (place / "records.csv").write_text(RECORDS.replace("exemplar", "query"))
    assert problems("plain.yaml", "--input", "records.csv", "--set", "link.blocking=[town]") == []


def test_a_folder_for_readings_is_not_made(place: Path) -> None:
    problems("plain.yaml", "--input", "scans", "--set", "ingest.ocr=recogniser", "--set", "ingest.ocr_cache=kept")
    assert not (place / "kept").exists()
