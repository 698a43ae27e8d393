"""The command line as its users meet it: help, examples, exit codes, one-line errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from drawn import speckled
from linkdata import people, save
from typer.testing import CliRunner

from linkage.cli import app
from linkage.locks import alone
from linkage.records import Records
from linkage.search.index import build_index
from linkage.tables import read_table, write_table

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
HEAVY = {"torch", "pandas", "numpy", "faiss", "hdbscan", "open_clip", "sklearn", "scipy", "altair", "pyarrow"}


def linkage(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "linkage", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['linkage', '--help']\n"
        "from linkage.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: linkage" in done.stdout
    assert not HEAVY & set(done.stdout.partition("LOADED")[2].split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"]).stdout
    assert f"Example: linkage {command} " in " ".join(shown.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_stands_in_the_readme(command: str) -> None:
    assert f"linkage {command}" in (ROOT / "README.md").read_text(encoding="utf-8")


CASES = {
    "no such command": (2, ["bogus"]),
    "option missing": (2, ["link", "a.csv"]),
    "result exists": (2, ["cluster", "good.csv", "--out", "."]),
    "wrong key": (3, ["check", "wrong.yaml"]),
    "wrong value": (3, ["check", "good.yaml", "--set", "link.k=0"]),
    "unknown model": (3, ["embed", "good.csv", "--out", "new", "--model", "no-such-model"]),
    "records missing": (4, ["cluster", "missing.csv", "--out", "new"]),
    "no record_id": (4, ["cluster", "noid.csv", "--out", "new"]),
    "duplicate record_id": (4, ["cluster", "double.csv", "--out", "new"]),
    "records without crops": (4, ["synth", "--out", "new.csv", "--entities", "2"]),
    "nothing to draw": (4, ["synth", "--out", "new.parquet", "--entities", "0"]),
    "path that climbs": (4, ["cluster", "climbs.csv", "--out", "new"]),
    "empty folder": (4, ["ingest", "empty", "--out", "new.parquet"]),
    "no index": (6, ["link", "good.csv", "--index", "empty", "--out", "new.csv"]),
    "no model folder": (6, ["embed", "good.csv", "--out", "new", "--model", "./empty"]),
    "no run": (6, ["report", "empty"]),
}


@pytest.mark.parametrize(("code", "arguments"), CASES.values(), ids=CASES.keys())
def test_a_mistake_gives_one_line_and_its_exit_code(tmp_path: Path, code: int, arguments: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    files = {
        "good.csv": "record_id,text\na,one\nb,two\n",
        "noid.csv": "id,text\na,one\n",
        "double.csv": "record_id,text\na,one\na,two\n",
        "climbs.csv": "record_id,image\na,../../secret.png\n",
        "good.yaml": "seed: 1\n",
        "wrong.yaml": "ingest: {region: lines}\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    done = linkage(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    if code > 2:
        assert done.stderr.startswith("linkage: ")
        assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*files, "empty"])


def test_check_prints_the_resolved_configuration(tmp_path: Path) -> None:
    done = linkage("check", ROOT / "configs" / "receipts.yaml", "--set", "link.k=3")
    assert done.returncode == 0
    assert "  k: 3\n" in done.stdout


def test_drawn_records_can_be_read_again(tmp_path: Path) -> None:
    out = tmp_path / "synth.parquet"
    done = linkage("synth", "--entities", "6", "--views", "2", "--seed", "7", "--out", out, "--workers", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["records"] == 12
    assert linkage("synth", "--entities", "6", "--out", out).returncode == 2, "nothing is overwritten unasked"
    assert len(Records.open(out)) == 12


def test_records_without_pictures_are_clustered_and_the_summary_is_json(tmp_path: Path) -> None:
    texts = ["Dupont & Fils, quincailliers", "Dupont & Fils, quincaillers", "Moreau, boulanger", "=1+1"]
    rows = "".join(f'r{n},"{text}",{n}\n' for n, text in enumerate(texts))
    (tmp_path / "records.csv").write_text(f"record_id,text,shelf\n{rows}")
    done = linkage("cluster", tmp_path / "records.csv", "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["records"] == 4
    members = (tmp_path / "out" / "members.csv").read_text()
    assert "shelf" in members.splitlines()[0]
    assert "'=1+1" in members
    assert (tmp_path / "out" / "columns.md").exists()


def test_more_set_aside_than_allowed_fails_after_all_is_written(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    speckled(0).save(tmp_path / "scans" / "good.png")
    (tmp_path / "scans" / "bad.png").write_text("no picture")
    call = ("ingest", "scans", "--regions", "page", "--ocr", "none", "--out", "r.parquet")
    failed = linkage(*call, "--max-failures", "1%", cwd=tmp_path)
    assert (failed.returncode, len(failed.stderr.splitlines())) == (4, 1)
    assert "1 of 2 pages were set aside" in failed.stderr and "bad.png: not an image" in failed.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.failures.csv", "r.pages.csv", "r.parquet", "scans"]
    assert linkage(*call, "--max-failures", "50%", cwd=tmp_path).returncode == 0
    refused = linkage(*call, "--existing", "abort", cwd=tmp_path)
    assert refused.returncode == 2 and "exists already" in refused.stderr


@pytest.mark.parametrize("command", ["cluster", "index", "embed", "train"])
def test_two_at_once_on_one_result_are_refused(command: str, tmp_path: Path) -> None:
    (tmp_path / "records.csv").write_text("record_id,text\na,one\nb,two\n")
    with alone(tmp_path / "out"):
        done = linkage(command, "records.csv", "--out", "out", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "out: another process is writing it" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["records.csv"]


def test_a_limit_on_threads_does_not_hang_the_search(tmp_path: Path) -> None:
    frame, image, text = people(0, 500, 2, dim=256)  # as many as FAISS multiplies with threads
    records, embeddings = save(tmp_path, frame, image, text)
    is_query = frame["role"] == "query"
    build_index(records.take(np.flatnonzero(~is_query)), embeddings, tmp_path / "index")
    write_table(frame.loc[is_query, ["record_id", "text"]], tmp_path / "queries.csv")
    command = [sys.executable, "-m", "linkage", "link", "queries.csv", "--index", "index", "--out", "links.csv"]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [*command, "--embeddings", "embeddings"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment | {"OMP_THREAD_LIMIT": "1"},
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert len(read_table(tmp_path / "links.csv")) >= 500
