"""What a run will take: counts that are right, a table that can be read, nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drawn import page, speckled
from test_cli import linkage

from linkage.config import Config, IngestConfig
from linkage.errors import InputError
from linkage.forecast import forecast

PAGES = Config(ingest=IngestConfig(regions="page", ocr="none", workers=1))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    (folder / "1898").mkdir(parents=True)
    sheets = [page([f"Firm {number}"]) for number in range(6)]
    sheets[0].save(folder / "1898" / "book.pdf", save_all=True, append_images=sheets[1:4])
    speckled(1).save(folder / "loose.png")
    (folder / "bad.png").write_bytes(b"no picture")
    return folder


def test_pages_and_records_are_counted_and_a_few_are_read(scans: Path, tmp_path: Path) -> None:
    made = forecast(PAGES, [scans], out=tmp_path / "run", sample=3)
    assert (made.sources, made.pages, made.records, made.sampled) == (3, 5, 5, 3)
    stages = {stage.name: stage for stage in made.stages}
    assert list(stages) == ["ingest", "embed", "link", "cluster", "report"]
    assert all(0 <= stage.least <= stage.seconds <= stage.most for stage in made.stages)
    assert stages["ingest"].disk_mb > 0
    assert stages["embed"].memory_mb > 100
    assert stages["link"].items == 0
    assert made.total.seconds == pytest.approx(sum(stage.seconds for stage in made.stages))
    assert "1 of 3 sources cannot be read" in made.warnings
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scans"]


def test_exemplars_are_known_by_their_files_or_labels(scans: Path, tmp_path: Path) -> None:
    config = PAGES.model_copy(update={"link": PAGES.link.model_copy(update={"exemplars": "1898/*"})})
    stages = {stage.name: stage.items for stage in forecast(config, [scans], out=tmp_path, sample=1).stages}
    assert (stages["link"], stages["cluster"]) == (1, 1)
    (tmp_path / "labels.csv").write_text("source,page,entity_id,role\nloose.png,1,e,exemplar\n")
    made = forecast(PAGES, [scans], out=tmp_path, labels=tmp_path / "labels.csv", sample=1)
    assert made.stages[2].items == 4


def test_a_run_that_does_not_fit_is_warned_of(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkage.forecast.free_memory", lambda: 10**6)
    monkeypatch.setattr("linkage.forecast.free_disk", lambda path: 1)
    warnings = " ".join(forecast(PAGES, [scans], out=tmp_path, sample=1).warnings)
    assert "MB, 1 are free" in warnings
    assert "name another --out" in warnings


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="none of the 0 pages"):
        forecast(PAGES, [tmp_path], out=tmp_path)


def test_the_command_plans_a_table_of_records(tmp_path: Path) -> None:
    rows = "".join(f"r{n},Firm {n},{'exemplar' if n < 4 else 'query'}\n" for n in range(9))
    (tmp_path / "records.csv").write_text(f"record_id,text,role\n{rows}")
    (tmp_path / "c.yaml").write_text("ingest: {ocr: none, regions: page}\n")
    done = linkage("plan", "c.yaml", "--input", "records.csv", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["records"] == 9
    assert [stage["items"] for stage in made["stages"]][:4] == [9, 9, 5, 5]
    done = linkage("plan", "c.yaml", "--input", "records.csv", cwd=tmp_path)
    assert "stage" in done.stdout and "free" in done.stdout
