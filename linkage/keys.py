"""Keys of results: what a result hangs on, as one digest. Stages and part files alike are found again by theirs."""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from linkage import __version__

_PACKAGE = Path(__file__).parent
_INSTALLED = {"site-packages", "dist-packages"}


def digest(value: Any) -> str:
    """SHA-256 of a JSON-like value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def result_key(*hangs_on: Any) -> str:
    """The key of a result: a digest of JSON-like values that it hangs on, and of the program that makes it."""
    return digest([code_version(), *hangs_on])


@lru_cache(maxsize=1)
def code_version() -> str:
    """What tells this program from another one: its version; of a checkout also a digest of the package's files.

    An installed package is not edited; in a checkout (an editable install) the version stays while the code changes.
    """
    if _INSTALLED & set(_PACKAGE.parts):
        return __version__
    whole = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            whole.update(f"{path.relative_to(_PACKAGE)}\0".encode() + path.read_bytes())
    return f"{__version__}+{whole.hexdigest()}"


def file_state(path: Path) -> list[int] | None:
    """What tells a changed file from an unchanged one without reading it; None where it is not there to be read.

    The time of the last change of its node is part of it: tools that copy files set the other one back.
    """
    try:
        seen = path.stat()
    except OSError:
        return None
    return [seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, int(os.access(path, os.R_OK))]
