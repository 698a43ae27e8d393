"""A run directory: stages are kept while nothing changed, resumed when cut off, and never mixed up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from linkage.errors import ArtefactError, InputError
from linkage.rundir import RunDirectory, read_manifest


def writer(text: str, calls: list[str]) -> Any:
    def make(folder: Path) -> dict[str, Any]:
        calls.append(text)
        folder.mkdir()
        (folder / "result.txt").write_text(text)
        return {"letters": len(text)}

    return make


def test_a_stage_is_redone_only_when_what_it_depends_on_changed(tmp_path: Path) -> None:
    calls: list[str] = []
    for depends_on, text in ((1, "a"), (1, "b"), (2, "c")):
        with RunDirectory(tmp_path / "run") as run:
            run.stage("one", depends_on, writer(text, calls))
    assert calls == ["a", "c"]
    assert (tmp_path / "run" / "one" / "result.txt").read_text() == "c"
    entry = read_manifest(tmp_path / "run")["stages"]["one"]
    assert entry["counts"] == {"letters": 1}
    assert entry["peak_memory_mb"] > 0


def test_a_damaged_stage_is_made_again(tmp_path: Path) -> None:
    calls: list[str] = []
    for _ in range(2):
        with RunDirectory(tmp_path) as run:
            run.stage("one", 1, writer("whole", calls))
        (tmp_path / "one" / "result.txt").write_text("cut")
    assert calls == ["whole", "whole"]


def test_an_interrupted_stage_goes_on_only_for_the_same_settings(tmp_path: Path) -> None:
    def cut(folder: Path) -> dict[str, Any]:
        (folder.parent / "half").write_text("half")
        raise KeyboardInterrupt

    found: list[bool] = []

    def look(folder: Path) -> dict[str, Any]:
        found.append((folder.parent / "half").exists())
        folder.mkdir()
        return {}

    for second in (1, 2):
        with pytest.raises(KeyboardInterrupt), RunDirectory(tmp_path / str(second)) as run:
            run.stage("one", 1, cut)
        with RunDirectory(tmp_path / str(second)) as run:
            run.stage("one", second, look)
    assert found == [True, False]


def test_two_runs_do_not_share_a_directory_and_a_dead_one_holds_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from linkage.rundir import RunDirectory\n"
        "RunDirectory(Path(sys.argv[1])).__enter__(); print('held', flush=True); os.kill(os.getpid(), 9)"
    )
    with RunDirectory(tmp_path / "run"), pytest.raises(InputError, match="another run"):
        RunDirectory(tmp_path / "run").__enter__()
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True, check=False
    )
    assert done.stdout == "held\n"
    assert done.returncode == -9
    with RunDirectory(tmp_path / "run"):
        pass


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("precious")
    with pytest.raises(InputError, match="no run directory"):
        RunDirectory(tmp_path).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no manifest"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ArtefactError, match="damaged"):
        read_manifest(tmp_path)


def test_peak_memory_sees_what_was_held() -> None:
    code = (
        "from linkage.rundir import peak_memory\n"
        "with peak_memory() as low: pass\n"
        "with peak_memory() as high: block = b'x' * 200_000_000\n"
        "print(high() - low())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 150 < float(done.stdout) < 300
