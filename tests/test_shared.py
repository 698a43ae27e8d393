"""Real scans with labels: skipped where they are absent. The floors lie below what was measured, not at it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from linkage.config import Config, IngestConfig
from linkage.evaluate.evaluate import evaluate
from linkage.ingest.ingest import ingest
from linkage.jobs import build_exemplar_index, link_queries
from linkage.tables import read_table, write_table

pytestmark = pytest.mark.shared


def test_receipt_lines_are_linked_at_least_as_well_as_by_strings(shared_data: Path, tmp_path: Path) -> None:
    records = read_table(shared_data / "sroie_crops" / "records.csv")
    ocr = read_table(shared_data / "sroie_crops" / "ocr_tesseract.csv").set_index("record_id")["ocr"]
    records["text"] = records["record_id"].map(ocr).fillna("")  # what was read, not what the label says
    shutil.copytree(shared_data / "sroie_crops" / "images", tmp_path / "images")
    for role in ("exemplar", "query"):
        chosen = records[records["role"].str.startswith(role)]
        write_table(chosen[["record_id", "image", "text", "entity_id", "split", "role"]], tmp_path / f"{role}.csv")
    build_exemplar_index(tmp_path / "exemplar.csv", tmp_path / "index", Config())
    link_queries(tmp_path / "query.csv", tmp_path / "index", tmp_path / "links.csv", Config())
    truth = shared_data / "sroie_crops" / "records.csv"
    metrics = evaluate(tmp_path / "links.csv", truth, Config().evaluate, split="val").metrics
    accuracy = metrics[metrics["measure"] == "matched accuracy"].set_index("system")["value"]
    assert accuracy["linkage"] >= accuracy.drop(["linkage", "pooled embedding"]).max() - 0.02
    assert accuracy["linkage"] >= 0.95


def test_handwritten_words_are_linked_by_their_pictures(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "gw_words"
    records = read_table(folder / "records.csv")
    records = records[(records["split"] == "val") & (records["role"] != "query_nomatch")].assign(text="")
    # A word of which there are 190 would decide the figure alone: twelve of each are enough.
    records = records[records.groupby(["entity_id", "role"]).cumcount() < 12]
    (tmp_path / "images").mkdir()
    for name in records["image"]:
        shutil.copy(folder / name, tmp_path / name)
    for role in ("exemplar", "query"):
        chosen = records[records["role"] == role]
        labels = {"entity_id": chosen["entity_id"] if role == "exemplar" else ""}
        write_table(chosen[["record_id", "image", "text"]].assign(**labels), tmp_path / f"{role}.csv")
    build_exemplar_index(tmp_path / "exemplar.csv", tmp_path / "index", Config())
    link_queries(tmp_path / "query.csv", tmp_path / "index", tmp_path / "links.csv", Config())
    links = read_table(tmp_path / "links.csv")
    found = links[links["rank"] == 1].set_index("record_id")["entity_id"]
    truth = records[records["role"] == "query"].set_index("record_id")["entity_id"]
    assert (found.reindex(truth.index) == truth).mean() >= 0.93


def test_entries_of_an_old_directory_are_found(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "directory_pages"
    page = folder / "images" / "page_0023.jpg"
    ingest([page], tmp_path / "records.parquet", IngestConfig(workers=1))
    boxes = pd.read_csv(folder / "boxes.csv")
    write_table(boxes[boxes["page_id"] == "page_0023"].astype({"page_id": str}), tmp_path / "boxes.csv")
    found = evaluate(tmp_path / "records.parquet", tmp_path / "boxes.csv", Config().evaluate)
    assert found.value("region recall") >= 0.85
    assert found.value("character error rate") <= 0.2
