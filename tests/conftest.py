"""One thread per library: on small machines two pools fight and every test takes many times longer."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # read by torch, faiss and BLAS when they are first imported
os.environ["OMP_THREAD_LIMIT"] = "1"  # read by tesseract

import pytest
from hypothesis import settings

settings.register_profile("linkage", deadline=None)  # first calls load libraries, and machines are of all speeds
settings.load_profile("linkage")

HEAVY = set(
    """
    check claims cli disk doctor door errors_told explain folding forecast fuzz ingest layout_entries ledger_cli
    link_slices make_sets ocr ocr_engines ocr_reader own_columns pool rerun run run_failures run_labels shards
    shared straighten synth train train_base train_photos transcripts_export transcripts_ingest workers_ray
    """.split()
)
"""Test modules that load the model, read pages or start processes; those of encode/ do, too."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of heavy modules, which `make test-fast` leaves out."""
    for item in items:
        name = item.path.stem.removeprefix("test_")
        if name in HEAVY or name.startswith("encode_"):
            item.add_marker(pytest.mark.heavy)


SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real scans; the test is skipped where they are absent."""
    if not SHARED.is_dir():
        pytest.skip("the real scans in ../shared/data are not on this machine")
    return SHARED
