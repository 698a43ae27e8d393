"""The whole job through the command line, on drawn scans: what a first-time user does."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from drawn import page, write_bomb
from PIL import Image

from linkage.config import load_config
from linkage.errors import InputError
from linkage.run import run
from linkage.rundir import read_manifest
from linkage.synth.directory import write_editions
from linkage.tables import COLUMNS, read_table

SETTINGS = ["evaluate.bootstrap=100"]
FIRMS = 24


@pytest.fixture(scope="module")
def editions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two editions of a small directory, and among them files that are no scans."""
    folder = tmp_path_factory.mktemp("editions")
    write_editions(folder, firms=FIRMS, seed=3)
    (folder / "1898" / "notes.png").write_text("not a picture")
    write_bomb(folder / "1908" / "bomb.png")
    return folder


@pytest.fixture(scope="module")
def finished(editions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    run(load_config(None, [*SETTINGS, "ingest.max_failures=0.9"]), [editions], out, labels=editions / "truth.csv")
    return out


def table(run_path: Path, name: str) -> pd.DataFrame:
    return read_table(run_path / "export" / f"{name}.csv")


def test_every_record_ends_in_one_entity(finished: Path) -> None:
    members, entities, links = (table(finished, name) for name in ("members", "entities", "links"))
    records = pd.read_parquet(finished / "ingest" / "records.parquet", columns=["record_id"])
    assert sorted(members["record_id"]) == sorted(records["record_id"])
    assert entities["n_records"].sum() == len(members)
    assert set(members["entity_id"]) == set(entities["entity_id"])
    assert (members.groupby("entity_id")["is_exemplar"].sum() == 1).all()
    assert {"exemplar", "linked"} <= set(members["predicted_origin"])
    matched = links[links["decision"] == "match"]
    assert (matched["rank"] == 1).all()
    assert (matched["probability"] >= matched["threshold"]).all()
    parts = links["image_score"] + links["text_score"] + links["cross_score"]
    assert (parts - links["score"]).abs().max() < 1e-4
    linked = members[members["predicted_origin"] == "linked"].set_index("record_id")["predicted_entity_id"]
    assert linked.to_dict() == matched.set_index("record_id")["entity_id"].to_dict()


def test_the_export_explains_itself_and_leads_back_to_the_page(finished: Path) -> None:
    dictionary = (finished / "export" / "columns.md").read_text(encoding="utf-8")
    for name in ("links", "members", "entities"):
        exported = table(finished, name)
        assert all(f"`{column}`" in dictionary for column in exported.columns)
        assert set(exported.columns) <= set(COLUMNS)
        twin = read_table(finished / "export" / f"{name}.parquet")
        assert twin.columns.tolist() == exported.columns.tolist()
        assert len(twin) == len(exported)
    members = table(finished, "members")
    assert (members["x1"] > members["x0"]).all()
    assert members["source_sha256"].str.len().eq(64).all()


def test_what_could_not_be_read_is_listed(finished: Path) -> None:
    failures = read_table(finished / "failures.csv")
    assert sorted(failures["source"]) == ["1898/notes.png", "1908/bomb.png"]
    assert failures["reason"].str.len().min() > 10


def test_the_manifest_tells_what_it_took(finished: Path) -> None:
    manifest = read_manifest(finished)
    assert list(manifest["stages"]) == ["ingest", "label", "embed", "index", "link", "cluster", "evaluate"]
    assert all(stage["seconds"] >= 0 and stage["peak_memory_mb"] > 0 for stage in manifest["stages"].values())
    assert len(manifest["model"]["sha256"]) == 64
    assert manifest["finished"]


def test_figures_stand_beside_string_baselines(finished: Path) -> None:
    metrics = pd.read_csv(finished / "evaluate" / "metrics.csv")
    for measure in ("matched accuracy", "B-cubed F1", "pairwise F1", "adjusted Rand index"):
        systems = set(metrics.loc[metrics["measure"] == measure, "system"])
        assert "linkage" in systems
        assert sum(name.startswith(("Levenshtein", "Jaro-Winkler", "TF-IDF")) for name in systems) == 3
    assert (metrics["n"] > 0).all()
    assert ((metrics["low"] <= metrics["value"]) & (metrics["value"] <= metrics["high"])).all()


def test_the_report_opens_from_disk_with_no_network(finished: Path) -> None:
    report = (finished / "report.html").read_text(encoding="utf-8")
    assert "data:image/webp;base64," in report
    assert "<svg" in report
    assert "1908/bomb.png" in report
    for outside in ("<script", 'src="http', 'href="http', "url(http"):
        assert outside not in report


def test_a_second_run_keeps_what_has_not_changed(finished: Path, editions: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(finished, again)
    labels = editions / "truth.csv"
    settings = [*SETTINGS, "ingest.max_failures=0.9"]
    same = run(load_config(None, settings), [editions], again, labels=labels)
    assert all(stage["kept"] for stage in same.manifest["stages"].values())
    changed = run(load_config(None, [*settings, "cluster.neighbours=5"]), [editions], again, labels=labels)
    kept = {name for name, stage in changed.manifest["stages"].items() if stage["kept"]}
    assert kept >= {"ingest", "embed", "index", "link"}
    assert "cluster" not in kept


def test_the_same_scans_give_the_same_bytes(finished: Path, editions: Path, tmp_path: Path) -> None:
    again = tmp_path / "elsewhere"
    settings = [*SETTINGS, "ingest.max_failures=0.9", "ingest.workers=1"]
    run(load_config(None, settings), [editions], again, labels=editions / "truth.csv")
    for name in ("links.csv", "members.csv", "entities.csv", "columns.md"):
        assert (again / "export" / name).read_bytes() == (finished / "export" / name).read_bytes()


def test_without_labels_and_exemplars_everything_is_clustered(editions: Path, tmp_path: Path) -> None:
    result = run(load_config(None), [editions / "1898" / "page_01.jpg"], tmp_path / "run")
    assert set(result.tables) == {"members", "entities"}
    assert set(result.tables["members"]["origin"]) <= {"clustered", "singleton"}
    assert not len(result.metrics)
    assert (tmp_path / "run" / "report.html").exists()


def test_exemplars_can_be_named_by_their_source(editions: Path, tmp_path: Path) -> None:
    config = load_config(None, ["link.exemplars='1898/*'", "ingest.max_failures=0.9"])
    result = run(config, [editions], tmp_path / "run")
    exemplars = result.tables["members"].query("origin == 'exemplar'")
    assert exemplars["source"].str.startswith("1898/").all()
    assert set(result.tables["links"]["threshold_source"]) == {"default"}
    with pytest.raises(InputError, match="no source matches '1700"):
        run(load_config(None, ["link.exemplars='1700/*'", "ingest.max_failures=0.9"]), [editions], tmp_path / "run")


def test_too_much_set_aside_fails_the_run_and_says_what(editions: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"failures\.csv"):
        run(load_config(None, ["ingest.max_failures=0.01"]), [editions], tmp_path / "run")
    assert len(read_table(tmp_path / "run" / "failures.csv")) == 2


def test_a_limit_that_was_moved_is_applied_to_pages_read_and_set_aside_before(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    page(["Moreau & Cie"], (400, 100)).save(tmp_path / "scans" / "a.png")
    page(["Durand, horloger"], (900, 400)).save(tmp_path / "scans" / "b.png")

    def again(megapixels: float, **options: bool) -> dict[str, Any]:
        settings = ["ingest.regions=page", "ingest.ocr=none", "ingest.max_failures=50%"]
        config = load_config(None, [*settings, f"ingest.max_megapixels={megapixels}"])
        return run(config, [tmp_path / "scans"], tmp_path / "run", **options).manifest["stages"]

    assert again(0.1)["ingest"]["counts"]["set_aside"] == 1
    stages = again(1)
    assert stages["ingest"]["counts"] == {"sources": 2, "pages": 2, "records": 2, "set_aside": 0}
    assert not stages["embed"]["kept"] and len(table(tmp_path / "run", "members")) == 2
    assert again(1, retry_failed=True)["embed"]["kept"], "nothing is left to be read again"
    assert again(0.1)["ingest"]["counts"]["set_aside"] == 1
    assert len(table(tmp_path / "run", "members")) == 1


def test_a_table_of_records_runs_like_a_folder_of_scans(tmp_path: Path) -> None:
    page(["Moreau & Cie"], (400, 100)).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    rows = ["a,a.png,,3", "b,,Moreau & Cie,4", "c,cut.png,Durand,5", "d,,=Durand,6"]
    (tmp_path / "records.csv").write_text("\n".join(["record_id,image,text,shelf", *rows]) + "\n")
    result = run(load_config(None), [tmp_path / "records.csv"], tmp_path / "run")
    members = table(tmp_path / "run", "members").set_index("record_id")
    assert members["shelf"].tolist() == ["3", "4", "5", "6"]
    assert members.loc["a", "text"] == "Moreau & Cie", "a picture without text is read"
    assert members.loc["a", "entity_id"] == members.loc["b", "entity_id"]
    assert read_table(tmp_path / "run" / "failures.csv")["source"].tolist() == ["cut.png"]
    assert result.manifest["stages"]["ingest"]["counts"]["set_aside"] == 1


def test_a_run_killed_again_and_again_ends_with_the_same_table(finished: Path, editions: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "linkage", "run", "/dev/null", "--input", str(editions), "--out", str(out)]
    command += ["--labels", str(editions / "truth.csv")]
    for setting in [*SETTINGS, "ingest.max_failures=0.9"]:
        command += ["--set", setting]
    for reached in (".work", "ingest", "embed", "link", "cluster"):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while not (out / reached).exists() and process.poll() is None:
            try:
                process.wait(timeout=0.01)
            except subprocess.TimeoutExpired:
                continue
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stages"]["ingest"]["kept"]
    for name in ("links.csv", "members.csv", "entities.csv"):
        assert (out / "export" / name).read_bytes() == (finished / "export" / name).read_bytes()


@pytest.mark.parametrize("modality", ["image", "text", "both"])
def test_queries_may_be_pictures_or_texts_or_both(tmp_path: Path, modality: str) -> None:
    names = ["Moreau & Cie, libraires", "Durand, horloger", "Lefebvre Fils, drapiers"]
    for number, name in enumerate(names):
        picture = page([name], (620, 110))
        picture.save(tmp_path / f"e{number}.png")
        picture.rotate(1, fillcolor=255).resize((560, 100), Image.Resampling.BICUBIC).save(tmp_path / f"q{number}.png")
    rows = [f'e{n},e{n}.png,"{name}",firm{n}' for n, name in enumerate(names)]
    (tmp_path / "exemplars.csv").write_text("\n".join(["record_id,image,text,entity_id", *rows]) + "\n")
    rows = []
    for number, name in enumerate(names):
        image = "" if modality == "text" else f"q{number}.png"
        text = "" if modality == "image" else name[:-1]
        rows.append(f'q{number},{image},"{text}"')
    (tmp_path / "queries.csv").write_text("\n".join(["record_id,image,text", *rows]) + "\n")
    run_cli("index", tmp_path / "exemplars.csv", "--out", tmp_path / "index")
    run_cli("link", tmp_path / "queries.csv", "--index", tmp_path / "index", "--out", tmp_path / "links.csv")
    links = read_table(tmp_path / "links.csv")
    assert sorted(set(links["record_id"])) == ["q0", "q1", "q2"]
    assert links["string_score"].notna().all()  # a picture without a text has the model's own reading
    best = links[links["rank"] == 1].set_index("record_id")["entity_id"]
    assert best.tolist() == ["firm0", "firm1", "firm2"]


def run_cli(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "linkage", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
