"""Nothing of anybody's is lost to a result: inputs, tables of another kind and strangers' folders stay."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from linkage.cli import app
from linkage.errors import UsageError
from linkage.tables import replacing_folder

NAMES = ("Abbot & Sons", "Baker Brothers", "Cordier fils", "Dubois et Cie")


def run(*arguments: str | Path) -> None:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output


def state(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records, an index of them, a ledger and a links table."""
    folder = tmp_path_factory.mktemp("claims")
    frame = pd.DataFrame({"record_id": [f"r{n}" for n in range(4)], "text": NAMES, "entity_id": list("abcd")})
    frame.to_csv(folder / "firms.csv", index=False)
    frame.drop(columns="entity_id").to_parquet(folder / "queries.parquet")
    run("index", folder / "firms.csv", "--out", folder / "index")
    run("link", folder / "queries.parquet", "--index", folder / "index", "--out", folder / "links.csv")
    run("cluster", folder / "firms.csv", "--out", folder / "clusters", "--ledger", folder / "firms.ledger")
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "work")
    return tmp_path / "work"


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("link queries.parquet --index index --out queries.csv", "queries.parquet is read by this command"),
        ("link queries.parquet --index index --out queries.parquet", "queries.parquet is read by this command"),
        ("link queries.parquet --index index --out index", "index is read by this command"),
        ("index index/exemplars.parquet --out index", "exemplars.parquet is read by this command"),
        ("embed data/queries.parquet --out data", "queries.parquet is read by this command"),
        ("cluster clusters/members.csv --out clusters", "members.csv is read by this command"),
        ("ledger members firms.ledger --out firms.ledger", "firms.ledger is read by this command"),
        ("evaluate links.csv --truth firms.csv --out firms.csv", "firms.csv is read by this command"),
    ],
)
def test_an_input_is_never_written_over(
    here: Path, monkeypatch: pytest.MonkeyPatch, command: str, message: str, overwrite: tuple[str, ...]
) -> None:
    monkeypatch.chdir(here)
    (here / "data").mkdir()
    shutil.copy(here / "queries.parquet", here / "data")
    before = state(here)
    with pytest.raises(UsageError, match=message):
        run(*command.split(), *overwrite)
    assert state(here) == before


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("ledger members firms.ledger --out other.ledger", "other.ledger: is a ledger of entities"),
        ("link queries.parquet --index index --out table.csv", "table.csv: is a records table"),
        ("link queries.parquet --index index --out new.csv", "new.parquet: is a records table"),
        ("index firms.csv --out mine", "mine: is a folder that Linkage did not make"),
        ("index firms.csv --out clusters", "clusters: is a folder of `linkage cluster`"),
        ("embed queries.parquet --out index", "index: is an index"),
        ("explain links.csv r0 --html links.csv", "links.csv is read by this command"),
        ("explain links.csv r0 --html table.csv", "table.csv: is a records table"),
        ("synth --entities 2 --out queries.csv", "written as .parquet only|no file|records table"),
    ],
)
def test_what_is_of_another_kind_is_not_replaced(
    here: Path, monkeypatch: pytest.MonkeyPatch, command: str, message: str
) -> None:
    monkeypatch.chdir(here)
    shutil.copy(here / "firms.ledger", here / "other.ledger")
    shutil.copy(here / "firms.csv", here / "table.csv")
    shutil.copy(here / "queries.parquet", here / "new.parquet")
    (here / "mine").mkdir()
    (here / "mine" / "thesis.txt").write_text("ten years")
    before = state(here)
    with pytest.raises(Exception, match=message):
        run(*command.split(), "--overwrite")
    assert state(here) == before


def test_an_earlier_result_is_replaced_when_asked(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    link = ("link", "queries.parquet", "--index", "index", "--out", "links.csv")
    with pytest.raises(UsageError, match="exists already; give --overwrite"):
        run(*link)
    run(*link, "--overwrite")
    run("index", "firms.csv", "--out", "index", "--overwrite")
    run("ledger", "members", "firms.ledger", "--out", "members.csv")
    run("ledger", "members", "firms.ledger", "--out", "members.csv", "--overwrite")


def test_killed_while_a_folder_is_replaced_the_old_one_is_found_again(tmp_path: Path) -> None:
    place = tmp_path / "index"
    place.mkdir()
    (place / "old").touch()
    place.rename(tmp_path / ".index.replaced")  # where a kill between the two renames leaves it
    with pytest.raises(RuntimeError), replacing_folder(place):
        assert (place / "old").exists()
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    with replacing_folder(place) as new:
        (new / "new").touch()
    assert [path.name for path in place.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
