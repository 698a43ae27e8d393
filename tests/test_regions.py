"""`linkage regions`: what it draws and writes, and that the table can be given back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn import page, speckled
from PIL import Image
from typer.testing import CliRunner

from linkage.cli import app
from linkage.config import IngestConfig
from linkage.ingest.ingest import ingest
from linkage.ingest.show import show_regions
from linkage.layout.preview import LONGEST, RegionOutline, draw_regions
from linkage.records import Records
from linkage.tables import read_table


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    (folder / "deep er").mkdir(parents=True)
    page(["Linkage & Sons", "=1+1 Market Street"]).save(folder / "a.png")
    page(["Abel Brothers"]).save(folder / "deep er" / "a.png")
    (folder / "bad.png").write_text("no picture")
    return folder


def test_the_table_of_boxes_gives_the_same_records_again(scans: Path, tmp_path: Path) -> None:
    arguments = ["regions", str(scans), "--out", str(tmp_path / "boxes.csv"), "--preview", str(tmp_path / "seen")]
    done = CliRunner().invoke(app, [*arguments, "--texts", "--set", "ingest.workers=1"])
    assert done.exit_code == 0, done.output
    boxes = read_table(tmp_path / "boxes.csv")
    assert boxes["text"].tolist() == ["Linkage & Sons", "=1+1 Market Street", "Abel Brothers"]
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == [
        "0001-a.png-1.png",
        "0003-deep_er_a.png-1.png",
    ]
    options = {"workers": 1, "max_failures": 1.0}
    found = IngestConfig(**options)
    given = IngestConfig(regions="boxes", boxes=tmp_path / "boxes.csv", **options)
    for name, config in (("found", found), ("given", given)):
        ingest([scans], tmp_path / name / "r.parquet", config)
    frames = [Records.open(tmp_path / name / "r.parquet").frame for name in ("found", "given")]
    assert frames[0]["record_id"].tolist() == frames[1]["record_id"].tolist()
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code != 0, "nothing is overwritten unasked"


def test_pages_are_sampled_from_end_to_end(tmp_path: Path) -> None:
    pages = [speckled(number) for number in range(9)]
    pages[0].save(tmp_path / "many.tif", save_all=True, append_images=pages[1:])
    found = show_regions([tmp_path], IngestConfig(regions="page", ocr="none", workers=1), pages=3)
    assert found.boxes["page"].tolist() == [1, 5, 9] and found.pages == 3


def test_a_picture_shows_outlines_at_a_sensible_size() -> None:
    regions = [RegionOutline(((100, 200), (3900, 200), (3900, 900), (100, 900)), "horizontal", "some text")]
    drawn = draw_regions(Image.new("L", (4000, 1000), 255), regions)
    assert drawn.size == (LONGEST, 450)
    assert (np.asarray(drawn)[90, 200:1700] != 255).any(axis=1).all(), "the upper edge"
    assert draw_regions(Image.new("L", (400, 100), 255), regions[:0], texts=True).size == (400, 100)
    assert draw_regions(Image.new("L", (400, 100), 255), regions, texts=True).width > 400
