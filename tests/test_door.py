"""The door: what a newcomer meets before any work is done."""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np
import pandas as pd
import pytest
import typer
from linkdata import people, save
from PIL import Image
from pydantic import BaseModel
from typer.testing import CliRunner

from linkage import __version__, errors
from linkage.choices import OCR_ALONE, OCR_ENGINES, TranscriptFormat, names
from linkage.cli import app, main
from linkage.cli.entities import ledger
from linkage.config import Config, IngestConfig, load_config
from linkage.distribution import DISTRIBUTION, OPTIONAL, install, requirements
from linkage.errors import EXIT_CODES, ConfigError, ExitCode, LinkageError
from linkage.evaluate.scores import SPLITS
from linkage.evaluate.truth import read_truth
from linkage.ingest.ingest import EXISTING
from linkage.ledger.ledger import Ledger
from linkage.records import Records
from linkage.rundir import read_manifest
from linkage.scans.pages import find_sources
from linkage.search.index import Index, build_index
from linkage.tables import read_table, table_parts, write_table
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


def parameters(command: Any = None, called: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every parameter of every command: how the command is called, the parameter's name, and the parameter."""
    command = command or typer.main.get_command(app)
    for name, one in getattr(command, "commands", {}).items():
        yield from parameters(one, f"{called} {name}".strip())
    for parameter in command.params:
        yield called, parameter.name, parameter


def options() -> dict[tuple[str, str], str]:
    """The help of every parameter of every command."""
    return {(command, name): getattr(one, "help", None) or "" for command, name, one in parameters()}


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


AWAY = "s3://bucket/scans"


def calls_with_a_place_far_away() -> list[list[str]]:
    """For every parameter of every command that takes a path: a call in which that one is on another machine."""
    calls = []
    named = [("", one) for one in app.registered_commands] + [("ledger", one) for one in ledger.registered_commands]
    for before, one in named:
        assert one.callback is not None
        hints = get_type_hints(one.callback)
        command = f"{before} {one.name or one.callback.__name__}".strip()
        own = [(name, parameter) for called, name, parameter in parameters() if called == command]
        for name in (name for name, hint in hints.items() if "Path" in str(hint) or name == "model"):
            call = command.split()
            for other, parameter in own:
                value = AWAY if other == name else "1" if "int" in str(hints.get(other)) else "x"
                if parameter.required or other == name:
                    call += (
                        [value] if parameter.param_type_name == "argument" else [max(parameter.opts, key=len), value]
                    )
            calls.append(call)
    return calls


@pytest.mark.parametrize("call", calls_with_a_place_far_away(), ids=" ".join)
def test_places_on_other_machines_are_refused_wherever_a_path_is_taken(
    linkage: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = linkage(*call)
    assert (done.code, done.out, len(done.said.splitlines())) == (2, "", 1)
    assert done.said.startswith(f"linkage: {AWAY}: only files and folders that this machine sees")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url", ["s3://b/x", "gs://b/x", "http://h/x", "https://h/m.json", "abfss://c@a/x", "file:///x"]
)
def test_readers_and_settings_refuse_them_too(tmp_path: Path, url: str) -> None:
    readers: list[Callable[[Path], Any]] = [
        read_table, Records.open, read_truth, read_manifest, Index.open, Ledger.open, load_config,
        lambda path: find_sources([path]), lambda path: next(table_parts(path)),
    ]  # fmt: skip
    for read in readers:
        with pytest.raises(LinkageError, match=f"^{url}: only files and folders"):
            read(Path(url))
    for setting in ("encode.model", "ingest.boxes", "ingest.ocr_cache"):
        with pytest.raises(ConfigError, match=f"--set {setting}={url}: {setting}: {url}: only files"):
            load_config(None, [f"{setting}={url}"])
    (tmp_path / "records.csv").write_text(f"record_id,image\na,{url}\n")
    assert url in Records.open(tmp_path / "records.csv").failures[0][1]


def test_a_checkpoint_behind_an_architecture_is_no_scheme() -> None:
    assert load_config(None, ["encode.model=ViT-B-32:/weights/x.safetensors"]).encode.model.startswith("ViT")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of each kind of thing that this program writes."""
    place = tmp_path_factory.mktemp("ours")
    frame, image, text = people(0, 6, 2)
    records, embeddings = save(place, frame, image, text)
    build_index(records.take(np.arange(6)), embeddings, place / "index")
    (place / "run" / "index").mkdir(parents=True)
    (place / "run" / "manifest.json").write_text('{"stages": {}}')
    (place / "run" / "export").mkdir()
    write_table(frame[["record_id", "text"]], place / "run" / "export" / "members.csv")
    (place / "model").mkdir()
    (place / "model" / "open_clip_config.json").write_text("{}")
    write_table(frame[["record_id", "text"]], place / "records.csv")
    links = pd.DataFrame({"record_id": ["a"], "entity_id": ["e"], "rank": [1], "decision": ["match"]})
    write_table(links, place / "links.csv", twin=True)
    with Ledger.open(place / "firms.ledger", create=True):
        pass
    return place


WRONG = [
    ("evaluate run --truth records.csv", 4, "run: is a run directory, not a table; name run/export/members.csv"),
    ("evaluate index --truth records.csv", 4, "index: is an index, not a table; name index/exemplars.parquet"),
    ("evaluate embeddings --truth records.csv", 4, "embeddings: is embeddings, not a table; "),
    ("evaluate links.csv --truth index", 4, "index: is an index, not a table; "),
    ("evaluate firms.ledger --truth records.csv", 4, "firms.ledger: is a ledger of entities, not a table; "),
    ("link records.csv --index embeddings --out new.csv", 6, "embeddings: is embeddings, not an index; "),
    ("link records.csv --index run --out new.csv", 6, "run: is a run directory, not an index; name run/index"),
    ("link records.csv --index model --out new.csv", 6, "model: is a model, not an index; `linkage index` makes one"),
    ("link records.csv --index records.csv --out new.csv", 6, "records.csv: is a records table, not an index; "),
    ("link index --index index --out new.csv", 4, "index: is an index, not a table; "),
    ("link records.csv --index index --embeddings index --out new.csv", 6, "index: is an index, not embeddings; "),
    ("index run --out new", 4, "run: is a run directory, not a table; name run/export/members.csv"),
    ("index records.csv --embeddings model --out new", 6, "model: is a model, not embeddings; `linkage embed` makes"),
    ("cluster model --out new", 4, "model: is a model, not a table; "),
    ("report index", 6, "index: is an index, not a run directory; `linkage run` makes one"),
    ("report links.csv", 6, "links.csv: is a links table, not a run directory; "),
    ("explain embeddings r1", 6, "embeddings: is embeddings, not a run directory; "),
    ("explain firms.ledger r1", 4, "firms.ledger: is a ledger of entities, not a table; "),
    ("embed embeddings --out new", 4, "embeddings: is embeddings, not a table; "),
    ("embed records.csv --model index --out new", 6, "index: is an index, not a model; `linkage train` makes one"),
    ("embed records.csv --model run --out new", 6, "run: is a run directory, not a model; "),
    ("embed records.csv --model links.csv --out new", 6, "links.csv: is a links table, not a model; "),
    ("train index --out new", 4, "index: is an index, not a table; "),
    ("map run records.csv --model linkage-line", 6, "run: is a run directory, not an index; name run/index"),
    ("ingest records.csv --out new.parquet", 4, "records.csv: is a records table, not a scan; "),
    ("ingest index --out new.parquet", 4, "no scan found; .* index is an index"),
    ("export index --format alto --out new", 4, "index: is an index, not a table; "),
    ("ledger show index", 6, "index: is an index, not a ledger; "),
    ("ledger show links.csv", 6, "links.csv: "),
    ("cluster records.csv --ledger run --out new", 6, "run: is a run directory, not a ledger; "),
    ("check links.csv", 3, "links.csv: "),
    ("check run", 3, "run: is a run directory, not a configuration"),
]


@pytest.mark.parametrize(("call", "code", "said"), WRONG, ids=[call for call, _, _ in WRONG])
def test_what_lies_there_is_named_where_something_else_is_wanted(
    linkage: Callable[..., Ended],
    ours: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(ours)
    done = linkage(*call.split())
    assert (done.code, len(done.said.splitlines())) == (code, 1), done.said
    assert re.search(said, done.said), done.said
    assert not list(ours.glob("new*"))


def test_a_run_does_not_go_into_what_is_no_run(linkage: Callable[..., Ended], ours: Path) -> None:
    (ours / "c.yaml").write_text("ingest: {ocr: none}\n")
    done = linkage("run", ours / "c.yaml", "--input", ours / "records.csv", "--out", ours / "index")
    assert done.code == 4 and "index: is an index, no run directory" in done.said
