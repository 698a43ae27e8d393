"""A full disk: one line, exit code 8, nothing half-written under a finished name, and the same command goes on.

Every test runs a script in a mount namespace of its own, in which a small disk is made and later enlarged.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from drawn import speckled

from linkage.config import IngestConfig
from linkage.ingest.ingest import ingest
from linkage.synth.records import synth_records

SETTINGS = ("--regions", "page", "--ocr", "none", "--workers", "2")
PRELUDE = """
import contextlib, io, os, subprocess, sys
from pathlib import Path
from linkage.cli import main

def disk(size, option="size"):
    subprocess.run(["mount", "-o", f"remount,{option}={size}", "disk"], check=True)

def linkage(*arguments):
    sys.argv = ["linkage", "-q", *arguments]
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
            main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    return code, told.getvalue()

def is_refused(*arguments, named):
    code, told = linkage(*arguments)
    assert code == 8, (code, told)
    assert len(told.splitlines()) == 1 and named in told, told
    assert "No space left on device" in told or "disk is full" in told, told
    assert "MB are free" in told and "the same command" in told, told
"""


def on_a_small_disk(folder: Path, size: str, script: str) -> None:
    """Run Python statements where `folder/disk` is a disk of that size."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace may be made here (unshare -rm)")
    (folder / "disk").mkdir()
    (folder / "script.py").write_text(PRELUDE + "\nif __name__ == '__main__':\n" + script)
    mounted = f'mount -t tmpfs -o size={size} tmpfs disk && exec "$0" script.py'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mounted, sys.executable], capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr


def test_ingest_goes_on_with_the_same_table(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    for number in range(40):
        speckled(number, (500, 400)).save(tmp_path / "scans" / f"s{number:02d}.png")
    config = IngestConfig(regions="page", ocr="none")
    ingest([tmp_path / "scans"], tmp_path / "plain" / "r.parquet", config)
    on_a_small_disk(
        tmp_path,
        "4m",
        f"""
    call = ("ingest", "scans", "--out", "disk/r.parquet", *{SETTINGS})
    is_refused(*call, named="disk/r.parquet")
    assert not os.path.exists("disk/r.parquet") and not os.path.exists("disk/r.pages.csv")
    kept = {{path: path.stat().st_mtime_ns for path in Path("disk/r.parquet.partial/parts").rglob("[!.]*.parquet")}}
    assert len(kept) > 5
    disk("11m")  # enough for the parts, not for the table
    is_refused(*call, named="disk/r.parquet")
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items()), "what was read is kept"
    assert sorted(os.listdir("disk")) == ["r.parquet.partial"]
    disk("64m")
    assert linkage(*call) == (0, "")
    for name in ("r.parquet", "r.pages.csv", "r.failures.csv"):
        assert Path("disk", name).read_bytes() == Path("plain", name).read_bytes(), name
""",
    )


@pytest.mark.slow
def test_every_command_says_which_file_has_no_room(tmp_path: Path) -> None:
    synth_records(tmp_path / "records.parquet", entities=40, views=2, seed=0, workers=1)
    on_a_small_disk(
        tmp_path,
        "64m",
        """
    train = ("train", "records.parquet", "--set", "train.align_epochs=1", "--set", "train.supervised_epochs=0",
             "--set", "train.batch_size=8")
    calls = {
        "synth": ("synth", "--entities", "40", "--workers", "1", "--out", "disk/synth.parquet"),
        "embed": ("embed", "records.parquet", "--out", "disk/embeddings"),
        "index": ("index", "records.parquet", "--embeddings", "embeddings", "--out", "disk/index"),
        "link": ("link", "records.parquet", "--index", "index", "--embeddings", "embeddings", "--out", "disk/l.csv"),
        "cluster": ("cluster", "records.parquet", "--embeddings", "embeddings", "--out", "disk/clusters"),
        "evaluate": ("evaluate", "links.csv", "--truth", "records.parquet", "--out", "disk/figures.csv"),
        "train": (*train, "--out", "disk/model"),
        "ledger": ("cluster", "records.parquet", "--embeddings", "embeddings", "--ledger", "disk/firms.ledger",
                   "--out", "clusters"),
        "run": ("run", "config.yaml", "--input", "records.parquet", "--out", "disk/run"),
    }
    Path("config.yaml").write_text("seed: 0\\n")
    assert linkage("embed", "records.parquet", "--out", "embeddings") == (0, "")
    assert linkage(*calls["index"][:-1], "index") == (0, "")
    assert linkage(*calls["link"][:-1], "links.csv") == (0, "")
    disk("4k")
    Path("disk/full").write_bytes(b"0" * 4096)
    for name, call in calls.items():
        is_refused(*call, named="disk")
        written = {path.name for path in Path("disk").rglob("*") if path.is_file() and ".partial" not in str(path)}
        assert written <= {"full", "firms.ledger", ".lock"}, (name, written)
    disk("64m")
    for name in ("link", "ledger", "run"):
        assert linkage(*calls[name])[0] == 0, name
""",
    )
