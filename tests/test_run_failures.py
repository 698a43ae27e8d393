"""One bad file: everything else is read, linked and written, and then the exit code says what was set aside."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from drawn import page
from typer.testing import CliRunner

from linkage.cli import app
from linkage.config import IngestConfig, load_config
from linkage.errors import InputError
from linkage.ingest.ingest import ingest
from linkage.ingest.merge import NO_RECORD
from linkage.run import run
from linkage.tables import read_table

WHOLE = ["ingest.regions=page", "ingest.ocr=none", "ingest.workers=1", "train.enabled=false", "evaluate.bootstrap=100"]
NAMES = ["Moreau & Cie", "Durand, horloger", "Lefebvre Fils", "Petit, boulanger"]


@pytest.fixture
def receipts(tmp_path: Path) -> Path:
    """Four good scans and a corrupt one."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        page([name], (400, 100)).save(folder / f"{number}.png")
    (folder / "bad.png").write_bytes((folder / "0.png").read_bytes()[:50])
    return folder


def test_one_bad_file_of_five_is_said_when_all_is_written(receipts: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(InputError) as caught:
        run(load_config(None, WHOLE), [receipts], out)
    said = str(caught.value)
    assert said.startswith(f"{out / 'failures.csv'}: 1 of 5 pages were set aside")
    assert "--max-failures 20%" in said and "--retry-failed" in said
    assert len(read_table(out / "export" / "members.csv")) == 4
    assert (out / "report.html").exists() and (out / "manifest.json").exists()
    assert read_table(out / "failures.csv")["source"].tolist() == ["bad.png"]
    with pytest.raises(InputError, match="1 of 5"):  # nothing changed, and so does the exit code not
        run(load_config(None, WHOLE), [receipts], out)
    accepted = run(load_config(None, [*WHOLE, "ingest.max_failures=20%"]), [receipts], out)
    assert accepted.manifest["stages"]["ingest"]["kept"], "a way out is not a reason to read again"
    page([NAMES[0]], (400, 100)).save(receipts / "bad.png")
    assert run(load_config(None, WHOLE), [receipts], out, retry_failed=True).manifest["finished"]


def test_a_blank_page_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    page([], (400, 300)).save(tmp_path / "scans" / "blank.png")
    config = load_config(None, ["ingest.regions=lines", "ingest.workers=1"])
    with pytest.raises(InputError, match=r"no record was found on any page.*first: blank.png"):
        run(config, [tmp_path / "scans"], tmp_path / "run")
    assert read_table(tmp_path / "run" / "failures.csv")["reason"].tolist() == [NO_RECORD]


def test_a_blank_page_among_others_is_listed_and_set_nothing_aside(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    page([], (400, 300)).save(tmp_path / "scans" / "blank.png")
    page(["Moreau & Cie"], (400, 300)).save(tmp_path / "scans" / "full.png")
    config = IngestConfig(regions="lines", workers=1, max_failures=0.0)
    summary = ingest([tmp_path / "scans"], tmp_path / "r.parquet", config)
    assert summary.failures.empty
    failures, pages = (read_table(tmp_path / f"r.{name}.csv") for name in ("failures", "pages"))
    assert failures[["source", "reason"]].to_numpy().tolist() == [["blank.png", NO_RECORD]]
    assert pages["reason"].tolist() == [NO_RECORD, ""]
    assert pages["status"].tolist() == ["read", "read"]


def test_two_tables_in_one_folder_keep_lists_of_their_own(receipts: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    page(["Moreau"], (400, 100)).save(tmp_path / "more" / "other.png")
    config = IngestConfig(regions="page", ocr="none", workers=1, max_failures=1.0)
    ingest([receipts], tmp_path / "a.parquet", config)
    ingest([tmp_path / "more"], tmp_path / "b.parquet", config)
    assert read_table(tmp_path / "a.failures.csv")["source"].tolist() == ["bad.png"]
    assert len(read_table(tmp_path / "a.pages.csv")) == 5
    assert read_table(tmp_path / "b.failures.csv").empty
    assert read_table(tmp_path / "b.pages.csv")["source"].tolist() == ["other.png"]


def test_ingest_names_its_list_and_its_ways_out(receipts: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.parquet"
    command = ["ingest", str(receipts), "--regions", "page", "--ocr", "none", "--workers", "1", "--out", str(out)]
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, InputError)
    assert f"{tmp_path / 'r.failures.csv'}: 1 of 5" in str(done.exception)
    assert "--max-failures 20%" in str(done.exception) and "--existing retry" in str(done.exception)
    assert len(pd.read_parquet(out, columns=["record_id"])) == 4
