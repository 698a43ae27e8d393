"""The errors a user can meet. Each message names the file and the fix; each class carries its exit code."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

_LONGEST, _END = 1500, 300  # characters of a message, and of its end where it is cut: there stands the fix


class ExitCode(IntEnum):
    """How a command can end; help, README and errors take number and meaning from here.

    Attributes:
        meaning: what a caller is told of it, in a few words.
    """

    meaning: str

    def __new__(cls, number: int, meaning: str) -> ExitCode:
        """Take a number and its meaning."""
        code = int.__new__(cls, number)
        code._value_ = number
        code.meaning = meaning
        return code

    DONE = 0, "done"
    BUG = 1, "a bug"
    USAGE = 2, "wrong usage"
    CONFIG = 3, "configuration invalid"
    INPUT = 4, "input invalid, or more set aside than allowed"
    DEPENDENCY = 5, "a program or device is missing"
    ARTEFACT = 6, "a model, index or run is missing or stale"
    QUALITY = 7, "a quality gate failed"
    STORAGE = 8, "a disk is full or must not be written to"
    INTERRUPTED = 130, "interrupted"


EXIT_CODES = "Exit codes: " + "; ".join(f"{code.value} {code.meaning}" for code in ExitCode) + "."
"""All of them as one sentence."""


class LinkageError(Exception):
    """Base of every error that is the world's fault rather than a bug; never raised itself.

    Its message is one line that a terminal and a table can take, whatever stood in the file that it speaks of: what
    cannot be printed is written as an escape, and the middle of a long one is left out.
    """

    exit_code = ExitCode.BUG

    def __init__(self, message: str) -> None:
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        cut = len(line) > _LONGEST
        super().__init__(f"{line[: _LONGEST - _END]} ... {line[-_END:]}" if cut else line)


class UsageError(LinkageError):
    """The command was called in a way that cannot mean anything."""

    exit_code = ExitCode.USAGE


class ConfigError(LinkageError):
    """The configuration is invalid; the message lists every problem at once."""

    exit_code = ExitCode.CONFIG


class InputError(LinkageError):
    """An input is invalid, or more inputs were set aside than is allowed."""

    exit_code = ExitCode.INPUT


class DependencyError(LinkageError):
    """A program, a language pack or a device that was asked for is not there."""

    exit_code = ExitCode.DEPENDENCY


class ArtefactError(LinkageError):
    """A model, index or table is missing, stale or made by another model."""

    exit_code = ExitCode.ARTEFACT


class QualityGateError(LinkageError):
    """A measured figure is below the one given with `--fail-under`."""

    exit_code = ExitCode.QUALITY


class StorageError(LinkageError):
    """A disk is full, a quota used up, or a place must not be written to."""

    exit_code = ExitCode.STORAGE


_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_SAID = "|".join(re.escape(os.strerror(code)) for code in sorted(_NO_ROOM))
_LIBRARIES = {"sqlite3", "safetensors", "safetensors_rust", "pyarrow", "ray"}
_READ = 10_000  # characters of an error
# SQLite and Rust libraries have words of their own.
_TOLD = re.compile(rf"{_SAID}|disk is full|\b(?:code: |os error )(?:{'|'.join(map(str, sorted(_NO_ROOM)))})\b")


def storage_error(error: BaseException, path: Path | None = None, *, within: Path | None = None) -> StorageError | None:
    """The error to raise instead where a disk is behind `error`, else None.

    Libraries wrap what the system says in errors of their own, so the chain of causes is searched: numbers,
    and the words of libraries that give nothing else.

    Args:
        error: what was raised.
        path: what was being written, if it is known; else the file that the error names.
        within: what to name where neither is known.
    """
    if isinstance(error, StorageError):
        return error
    for one in _chain(error):
        known = isinstance(one, OSError) and one.errno in _NO_ROOM
        said = _TOLD.search(str(one)[:_READ]) if known or _speaks_of_disks(one) else None
        if known or said:
            named = Path(os.fsdecode(one.filename)) if isinstance(one, OSError) and one.filename else within
            return StorageError(_no_room(path or named, said.group() if said else "no space left"))
    return None


def _speaks_of_disks(error: BaseException) -> bool:
    """Whether an error is one in whose words a library says what the system told it, and no text of a user's.

    A configuration, a cell or a file's name may say "disk is full", too.
    """
    if isinstance(error, OSError):
        return error.errno is None
    return type(error) is RuntimeError or type(error).__module__.partition(".")[0] in _LIBRARIES


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _no_room(path: Path | None, said: str) -> str:
    place = next((one for one in (path, *path.parents) if one.exists()), None) if path else None
    free = ""
    if place:
        usage = shutil.disk_usage(place)
        free = f" ({usage.free / 1e6:.0f} of {usage.total / 1e6:.0f} MB are free)"
    remedy = "make room or name another place; the same command then goes on from what is finished"
    return f"{path or 'a file'}: cannot be written: {said}{free}; {remedy}"
