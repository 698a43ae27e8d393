"""The door: what a newcomer meets before any work is done."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from linkage import __version__, errors
from linkage.cli import app
from linkage.errors import EXIT_CODES, ExitCode, LinkageError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def words(text: str) -> str:
    """A text with every break of lines a space."""
    return " ".join(text.split())


@pytest.mark.parametrize("arguments", [["--version"], ["--version", "check"], ["-v", "--version"]])
def test_the_version_is_printed_and_nothing_else_is_wanted(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"linkage {__version__}\n", "")


def test_help_readme_and_errors_share_the_exit_codes() -> None:
    shown = words(CliRunner().invoke(app, ["--help"]).stdout)
    told = [f"{code.value} {code.meaning}" for code in ExitCode]
    assert EXIT_CODES == f"Exit codes: {'; '.join(told)}."
    assert EXIT_CODES in shown and EXIT_CODES in words(README)
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LinkageError)]
    raised = [kind.exit_code for kind in classes if kind is not LinkageError]
    assert all(isinstance(code, ExitCode) for code in raised)
    assert sorted(raised) == [code for code in ExitCode if 2 <= code < ExitCode.INTERRUPTED]
