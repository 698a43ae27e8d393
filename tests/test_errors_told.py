"""Errors are told by what they are, not by words that a user's own text may hold; small inputs stay small."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import linkage
from linkage.config import load_config
from linkage.errors import ConfigError, InputError, StorageError, storage_error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the disk is full"),
        KeyError("No space left on device"),
        InputError("scans/disk is full.png: not an image"),
        TypeError("os error 28"),
    ],
)
def test_words_of_a_user_are_no_full_disk(error: Exception) -> None:
    assert storage_error(error) is None


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device", "a.csv"), sqlite3.OperationalError("database or disk is full"),
     RuntimeError("write error: No space left on device"), OSError("No space left on device")],
)  # fmt: skip
def test_libraries_tell_of_a_full_disk_in_words(error: Exception) -> None:
    assert isinstance(storage_error(error), StorageError)
    try:
        try:
            raise error
        except Exception as cause:
            raise ValueError("wrapped") from cause
    except ValueError as wrapped:
        assert isinstance(storage_error(wrapped), StorageError)


def test_a_configuration_that_speaks_of_disks_is_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text('seed: "disk is full"\n')
    with pytest.raises(ConfigError, match="seed"):
        load_config(path, [])


def test_aliases_of_aliases_are_refused(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for one, before in zip("bcdefghij", "abcdefghi", strict=True):
        lines.append(f"{one}: &{one} [{', '.join([f'*{before}'] * 9)}]")
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="aliases"):
        load_config(path, [])


def patterns() -> list[re.Pattern[str]]:
    """Every compiled pattern that a module of the package keeps."""
    found = []
    for module in pkgutil.walk_packages(linkage.__path__, "linkage."):
        if ".synth" in module.name or module.name.endswith("__main__"):
            continue
        kept = vars(importlib.import_module(module.name)).values()
        found += [value for value in kept if isinstance(value, re.Pattern) and isinstance(value.pattern, str)]
    return list({one.pattern: one for one in found}.values())


def search_long_texts() -> None:
    for pattern in patterns():
        sys.stdout.write(pattern.pattern + "\n")
        sys.stdout.flush()
        for unit in ("1", "a", " ", "1,", "a1-", "<", "-", ".", "&", "A "):
            for end in ("", "!"):
                pattern.search(unit * (200_000 // len(unit)) + end)


def test_no_pattern_is_quadratic() -> None:
    """One that is would take some minutes for 200,000 characters, where all others together take seconds."""
    code = "import resource; resource.setrlimit(resource.RLIMIT_CPU, (120, 120)); import test_errors_told as test; "
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    call = [sys.executable, "-c", code + "test.search_long_texts()"]
    done = subprocess.run(call, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1:] + done.stderr.splitlines()[-1:]
