"""The errors a user can meet. Each message names the file and the fix; each class carries its exit code."""

from __future__ import annotations

_LONGEST, _END = 1500, 300  # characters of a message, and of its end where it is cut: there stands the fix


class LinkageError(Exception):
    """Base of every error that is the world's fault rather than a bug; never raised itself.

    Its message is one line that a terminal and a table can take, whatever stood in the file that it speaks of: what
    cannot be printed is written as an escape, and the middle of a long one is left out.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        cut = len(line) > _LONGEST
        super().__init__(f"{line[: _LONGEST - _END]} ... {line[-_END:]}" if cut else line)


class UsageError(LinkageError):
    """The command was called in a way that cannot mean anything (exit code 2)."""

    exit_code = 2


class ConfigError(LinkageError):
    """The configuration is invalid; the message lists every problem at once (exit code 3)."""

    exit_code = 3


class InputError(LinkageError):
    """An input is invalid, or more inputs were set aside than is allowed (exit code 4)."""

    exit_code = 4


class DependencyError(LinkageError):
    """A program, a language pack or a device that was asked for is not there (exit code 5)."""

    exit_code = 5


class ArtefactError(LinkageError):
    """A model, index or table is missing, stale or made by another model (exit code 6)."""

    exit_code = 6


class QualityGateError(LinkageError):
    """A measured figure is below the one given with `--fail-under` (exit code 7)."""

    exit_code = 7
