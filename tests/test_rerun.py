"""A run that goes on after any change ends with the bytes of a fresh one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from drawn import page
from hypothesis import HealthCheck, Phase, given, settings
from rerun import SETTINGS, compare, keys_of, sequences

import linkage
from linkage.cli import app
from linkage.config import Config, load_config
from linkage.keys import code_version
from linkage.rundir import read_manifest
from linkage.sections import only, settings_of
from linkage.stages import INPUTS, STAGES
from linkage.tables import read_table

CONFIGS = Path(__file__).parents[1] / "configs"
READ = ("--set", "ingest.ocr=tesseract")

EXAMPLES = 6  # scripts/torture_reruns.py tries hundreds


def test_every_setting_is_tried() -> None:
    assert set(keys_of()) == set(SETTINGS)


@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    phases=[Phase.generate],  # a sequence that fails is short: to look for a shorter one takes minutes
    suppress_health_check=list(HealthCheck),
)
@given(sequences)
def test_a_rerun_is_a_fresh_run(sequence: tuple[bool, list[tuple[str, str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert compare(Path(folder), *sequence) == []


def cli(*arguments: object) -> None:
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, [str(one) for one in arguments])
    assert done.exit_code == 0, done.output


def members(run: Path) -> dict[str, str]:
    table = read_table(run / "export" / "members.csv")
    return dict(zip(table["record_id"], table["entity_id"], strict=True))


def kept(run: Path) -> set[str]:
    return {name for name, stage in read_manifest(run)["stages"].items() if stage["kept"]}


HEAD = "record_id,text,entity_id,role"
KNOWN = ["e1,Moreau & Cie libraires,moreau,exemplar", "e2,Durand horloger,durand,exemplar"]
KNOWN += ["e3,Lefebvre Fils drapiers,lefebvre,exemplar"]


def test_queries_that_changed_or_came_are_linked_anew(tmp_path: Path) -> None:
    table, out = tmp_path / "records.csv", tmp_path / "run"
    table.write_text("\n".join([HEAD, *KNOWN, "q1,Moreau & Cie libraires,,", "q2,Durand horloger,,"]) + "\n")
    cli("run", CONFIGS / "text.yaml", "--input", table, "--out", out)
    assert members(out)["q2"] == "durand"
    changed = ["q1,Moreau & Cie libraires,,", "q2,Lefebvre Fils drapiers,,", "q3,Durand horloger,,"]
    table.write_text("\n".join([HEAD, *KNOWN, *changed]) + "\n")
    cli("run", CONFIGS / "text.yaml", "--input", table, "--out", out)
    assert {name: members(out)[name] for name in ("q1", "q2", "q3")} == {
        "q1": "moreau",
        "q2": "lefebvre",
        "q3": "durand",
    }


def test_new_labels_are_heard(tmp_path: Path) -> None:
    table, labels, out = tmp_path / "records.csv", tmp_path / "labels.csv", tmp_path / "run"
    queries = ["q1,Moreau & Cie libraires,,", "q2,Durand horloger,,"]
    table.write_text("\n".join([HEAD, *KNOWN, *queries]) + "\n")
    exemplars = ["e1,moreau,exemplar,", "e2,durand,exemplar,", "e3,lefebvre,exemplar,"]

    def again(*rows: str) -> set[str]:
        labels.write_text("\n".join(["record_id,entity_id,role,split", *exemplars, *rows]) + "\n")
        cli("run", CONFIGS / "text.yaml", "--input", table, "--labels", labels, "--out", out)
        return kept(out) & {"embed", "link", "cluster"}

    again("q1,moreau,,")
    assert again("q1,moreau,,", "q2,durand,,") == {"embed"}
    assert again("q2,durand,,", "q1,moreau,,") == {"embed", "link", "cluster"}, "other bytes that say the same"
    assert again("q1,moreau,,val", "q2,durand,,") == {"embed"}
    assert again("q2,durand,,") == {"embed"}


def test_a_picture_that_was_exchanged_is_seen_though_its_size_and_time_stay(tmp_path: Path) -> None:
    picture, out = tmp_path / "a.bmp", tmp_path / "run"
    page(["Moreau & Cie"], (400, 100)).save(picture)
    (tmp_path / "records.csv").write_text("record_id,image,text\na,a.bmp,\n")
    before = picture.stat()
    cli("run", CONFIGS / "text.yaml", "--input", tmp_path / "records.csv", "--out", out, *READ)
    assert "Moreau" in read_table(out / "export" / "members.csv")["text"][0]
    other = tmp_path / "other.bmp"
    page(["Durand, horloger"], (400, 100)).save(other)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(picture)
    assert (picture.stat().st_size, picture.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    cli("run", CONFIGS / "text.yaml", "--input", tmp_path / "records.csv", "--out", out, *READ)
    assert "Durand" in read_table(out / "export" / "members.csv")["text"][0]


def test_tables_that_a_run_no_longer_has_are_gone(tmp_path: Path) -> None:
    table, out = tmp_path / "records.csv", tmp_path / "run"
    table.write_text("\n".join([HEAD, *KNOWN, "q1,Moreau & Cie libraires,,"]) + "\n")
    cli("run", CONFIGS / "text.yaml", "--input", table, "--out", out)
    assert (out / "export" / "links.csv").exists()
    (out / "export" / "mine.txt").write_text("kept")
    table.write_text("record_id,text\nq1,Moreau & Cie libraires\n")
    cli("run", CONFIGS / "text.yaml", "--input", table, "--out", out)
    exported = {path.name for path in (out / "export").iterdir()}
    assert not {"links.csv", "links.parquet"} & exported
    assert "mine.txt" in exported


def test_another_program_makes_all_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "records.csv").write_text("record_id,text\na,Moreau\nb,Moreau\n")
    for version, left in (("1", set()), ("1", {"ingest", "label", "embed", "cluster"}), ("2", set())):
        monkeypatch.setattr("linkage.keys.code_version", lambda version=version: version)
        cli("run", CONFIGS / "text.yaml", "--input", tmp_path / "records.csv", "--out", tmp_path / "run")
        assert kept(tmp_path / "run") == left


def test_the_code_of_a_checkout_is_part_of_every_key() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from linkage.keys import code_version; print(code_version())"],
        capture_output=True, text=True, check=True, cwd=CONFIGS.parent,
    )  # fmt: skip
    assert done.stdout.strip() == code_version()
    assert code_version() != linkage.__version__


def test_a_stage_sees_no_more_than_it_declares() -> None:
    changed = load_config(None, ["link.k=3", "link.device=cpu", "cluster.neighbours=7", "seed=4"])
    seen = only(changed, ("cluster", "link.device"))
    assert (seen.cluster.neighbours, seen.link.device) == (7, "cpu")
    assert (seen.link.k, seen.seed) == (5, 0)
    assert settings_of(changed, ("link.device", "seed")) == {"link.device": "cpu", "seed": 4}
    names = [stage.name for stage in STAGES]
    for number, stage in enumerate(STAGES):
        assert set(stage.upstream) <= set(names[:number])
        assert set(stage.inputs) <= set(INPUTS)


def test_settings_of_how_a_result_is_made_are_in_no_key() -> None:
    config = Config()
    told = {name for section in ("ingest", "encode", "train") for name in settings_of(config, [section])[section]}
    assert not told & {
        "workers",
        "recycle",
        "threads",
        "ocr_cache",
        "checkpoint_steps",
        "tensorboard",
        "boxes",
        "model",
    }
    assert "page_seconds" in told
    assert "page_seconds" not in config.ingest.result_settings("limit")
    assert "threshold" not in config.link.result_settings("decision")
