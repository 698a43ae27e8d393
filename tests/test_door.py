"""The door: what a newcomer meets before any work is done."""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import pytest
import typer
from PIL import Image
from pydantic import BaseModel
from typer.testing import CliRunner

from linkage import __version__, errors
from linkage.choices import OCR_ALONE, OCR_ENGINES, TranscriptFormat, names
from linkage.cli import app, main
from linkage.config import Config, IngestConfig, load_config
from linkage.distribution import DISTRIBUTION, OPTIONAL, install, requirements
from linkage.errors import EXIT_CODES, ConfigError, ExitCode, LinkageError
from linkage.evaluate.scores import SPLITS
from linkage.ingest.ingest import EXISTING
from linkage.transcripts.export import FORMATS
from linkage.workers.engine import ENGINES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


class Ended(NamedTuple):
    """How a call of the command line ended: its code, and what it wrote to stdout and stderr."""

    code: int
    out: str
    said: str


@pytest.fixture
def linkage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """The command line in this process, errors included."""

    def call(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["linkage", "-q", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        return Ended(int(stop.value.code or 0), *capsys.readouterr())

    return call


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
    assert f"Exit codes: {'; '.join(told)}." == EXIT_CODES
    assert EXIT_CODES in shown and EXIT_CODES in words(README)
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LinkageError)]
    raised = [kind.exit_code for kind in classes if kind is not LinkageError]
    assert all(isinstance(code, ExitCode) for code in raised)
    assert sorted(raised) == [code for code in ExitCode if 2 <= code < ExitCode.INTERRUPTED]


def literals(model: type[BaseModel]) -> dict[str, set[str]]:
    """Every key of a configuration that has a fixed set of values, with these."""
    found: dict[str, set[str]] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= literals(field.annotation)
        elif get_origin(field.annotation) is Literal:
            found[name] = set(map(str, get_args(field.annotation)))
    return found


def accepted_engines() -> set[str]:
    """Every name that `ingest.ocr` accepts, of all words that stand anywhere in its help and its description."""
    said = f"{IngestConfig.model_fields['ocr'].description} {options()['ingest', 'ocr']}"
    accepted = set()
    for word in set(re.findall(r"[a-z]+", said)):
        with contextlib.suppress(ConfigError):
            accepted.add(load_config(None, [f"ingest.ocr={word}"]).ingest.ocr)
    return accepted


def options() -> dict[tuple[str, str], str]:
    """The help of every parameter of every command."""
    found = {}

    def walk(name: str, command: Any) -> None:
        for one in getattr(command, "commands", {}).items():
            walk(f"{name} {one[0]}".strip(), one[1])
        for parameter in command.params:
            found[name, parameter.name] = getattr(parameter, "help", None) or ""

    walk("", typer.main.get_command(app))
    return found


CHOICES = {
    **literals(Config),
    "existing": set(EXISTING),
    "engine": set(ENGINES),
    "form": set(FORMATS) & set(names(TranscriptFormat)),
    "split": set(SPLITS),
}


def test_every_choice_that_help_names_is_one_that_is_accepted_and_none_is_left_out() -> None:
    checked = set()
    for (command, name), said in options().items():
        spoken = set(re.findall(r"[\w-]+", said))
        if name == "ocr":
            assert accepted_engines() == {*OCR_ENGINES, *OCR_ALONE} and accepted_engines() <= spoken
        elif name in CHOICES:
            listed = said.partition(":")[2].partition(".")[0].partition(";")[0]
            assert set(re.split(r", | or ", listed.strip())) == CHOICES[name], f"{command} --{name}: {said}"
            checked.add(name)
        else:
            lists = [re.split(r", | or ", found) for found in re.findall(r"[\w-]+(?:, [\w-]+)+(?: or [\w-]+)?", said)]
            few = {key for key, values in CHOICES.items() if any(len(values & set(one)) > 1 for one in lists)}
            assert not few, f"{command} --{name} names choices of {few} by hand: {said}"
    assert checked >= {"regions", "kind", "constraint", "engine", "existing", "rotate", "form", "split"}


@pytest.mark.parametrize(
    ("arguments", "code", "near"),
    [
        (["ingest", "{scan}", "--out", "{out}.parquet", "--regions", "line"], 3, "'boxes' or 'tagged', not 'line'"),
        (["ingest", "{scan}", "--out", "{out}.parquet", "--existing", "keep"], 2, "skip, retry, overwrite or abort"),
        (["ingest", "{scan}", "--out", "{out}.parquet", "--engine", "dask", "--ocr", "none", "--regions", "page"], 2,
         "local or ray"),
        (["export", "{scan}", "--out", "{out}", "--format", "tei"], 2, "alto, page or hocr"),
        (["evaluate", "{scan}", "--truth", "{scan}", "--split", "dev"], 2, "test, val or train"),
    ],
)  # fmt: skip
def test_what_is_no_choice_is_refused_with_the_choices(
    linkage: Callable[..., Ended], tmp_path: Path, arguments: list[str], code: int, near: str
) -> None:
    scan = tmp_path / "scan.png"
    Image.new("L", (40, 40), 255).save(scan)
    done = linkage(*(part.format(scan=scan, out=tmp_path / "out") for part in arguments))
    assert done.code == code and near in done.said


def project() -> dict[str, Any]:
    """What pyproject.toml says of the project."""
    told: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return told


WARNING = "**do not\n`pip install linkage`**"
INSTALLED = re.compile(
    r"""(?:pip install|pip download|uv add|requires\(|version\(|metadata\()(?: -\S+)*\W*linkage\b(?![-/.])"""
)


def test_nothing_sends_anyone_to_the_stranger_s_package() -> None:
    told = project()
    assert told["name"] == DISTRIBUTION != "linkage" and list(told["scripts"]) == ["linkage"]
    assert WARNING in README and DISTRIBUTION in README
    assert INSTALLED.search("run `pip install 'linkage[ocr]'`") and INSTALLED.search('metadata.version("linkage")')
    folders = ("linkage", "scripts", "benchmarks", "docs", "data_cards", "configs")
    files = [
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".md", ".yaml"}
    ]
    for path in [*files, *(path for path in ROOT.iterdir() if path.is_file())]:
        text = path.read_text(encoding="utf-8", errors="ignore").replace(WARNING, "")
        assert "linkage[" not in text, path
        assert not INSTALLED.search(text), path


def test_what_is_missing_is_installed_in_the_versions_that_are_asked_for() -> None:
    asked = {line for lines in project()["optional-dependencies"].values() for line in lines}
    assert set(OPTIONAL.values()) <= asked
    assert install("rapidocr", "onnxruntime") == "pip install 'rapidocr>=3.10,<3.11' 'onnxruntime>=1.20'"
    assert any(line.startswith("torch") for line in requirements())


def test_a_stranger_s_metadata_is_not_taken_for_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / "linkage-0.1.0.dist-info"
    theirs.mkdir()
    (theirs / "METADATA").write_text("Metadata-Version: 2.1\nName: linkage\nVersion: 0.1.0\nRequires-Dist: rdkit\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert importlib.metadata.requires("linkage") == ["rdkit"]
    assert "rdkit" not in requirements() and requirements()
