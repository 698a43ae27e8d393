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

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real scans; the test is skipped where they are absent."""
    if not SHARED.is_dir():
        pytest.skip("the real scans in ../shared/data are not on this machine")
    return SHARED
