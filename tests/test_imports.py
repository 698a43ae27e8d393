"""What loads what: reading a table costs no torch, and cores are counted in one place."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from linkage.config import IngestConfig
from linkage.ingest.work import modules_for

ROOT = Path(__file__).parents[1]
HEAVY = "torch torchvision open_clip timm faiss hdbscan sklearn scipy.stats altair ray".split()
LIGHT = """
    linkage.ingest.work linkage.link.link linkage.link.slices linkage.jobs linkage.run linkage.tables linkage.records
    linkage.evaluate.evaluate linkage.search.index linkage.explain.evidence linkage.forecast linkage.doctor
""".split()
COUNTS_OF_CORES = {"cpu_count", "process_cpu_count", "sched_getaffinity"}


def loaded_after(code: str) -> set[str]:
    """The modules of a fresh process that has run some code."""
    call = [sys.executable, "-c", f"{code}\nimport sys; print('LOADED', *sys.modules)"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_what_reads_and_decides_loads_no_library_of_models() -> None:
    # One process for all: a module that is light among these is light alone.
    loaded = loaded_after("\n".join(f"import {module}" for module in LIGHT))
    assert set(LIGHT) <= loaded
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize(
    ("ocr", "torch"), [("none", False), ("file", False), ("tesseract", False), ("recogniser", True), ("best", True)]
)
def test_workers_share_torch_for_the_recogniser_alone(ocr: str, torch: bool) -> None:
    assert ("linkage.ocr.reader" in modules_for(IngestConfig(ocr=ocr))) is torch


def python_files() -> list[Path]:
    return sorted(path for folder in ("linkage", "scripts", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


def test_cores_are_counted_in_one_place() -> None:
    own = ROOT / "linkage" / "machine.py"
    for path in python_files():
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = {getattr(node, "attr", getattr(node, "id", getattr(node, "name", ""))) for node in tree}
        assert path == own or not names & COUNTS_OF_CORES, f"{path}: use linkage.machine.cores"
