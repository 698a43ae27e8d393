"""A run that goes on after any change ends with the bytes of a fresh one."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from rerun import SETTINGS, compare, keys_of, sequences

EXAMPLES = 6  # scripts/torture_reruns.py tries hundreds


def test_every_setting_is_tried() -> None:
    assert set(keys_of()) == set(SETTINGS)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(sequences)
def test_a_rerun_is_a_fresh_run(sequence: tuple[bool, list[tuple[str, str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert compare(Path(folder), *sequence) == []
