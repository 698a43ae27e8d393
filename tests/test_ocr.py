from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn import page
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from linkage.config import IngestConfig
from linkage.errors import DependencyError, InputError
from linkage.ingest.ingest import ingest
from linkage.layout.boxes import GivenBox
from linkage.layout.columns import ColumnCut, lines_crossing
from linkage.layout.header import header_of, lines_of
from linkage.layout.regions import Region, blocks_of, find_regions, given_regions, has_letters
from linkage.ocr.engine import NoEngine, Word
from linkage.ocr.engines import make_engine
from linkage.ocr.tesseract import TesseractEngine
from linkage.records import Records
from linkage.scans.pages import Page
from linkage.text import FOLDING

needs_tesseract = pytest.mark.skipif(not shutil.which("tesseract"), reason="the program tesseract is not installed")


def word(text: str, line: int = 1, *, block: int = 1, confidence: float = 0.9, x: int = 0) -> Word:
    return Word(text, confidence, (x, 30 * line, x + 50, 30 * line + 20), block, 1, line)


class Reading:
    """An engine that read these words."""

    name = "reading 1"

    def __init__(self, *words: Word) -> None:
        self.words = list(words)

    def read_page(self, image: Image.Image, cuts: object = ()) -> list[Word]:
        return self.words

    def read_crops(self, images: list[Image.Image], vertical: object = ()) -> list[list[Word]]:
        return [[replace(found, box=(1, 2, 11, 12)) for found in self.words] for _ in images]


def texts(groups: list[list[Word]]) -> list[str]:
    return [" ".join(found.text for found in group) for group in groups]


def test_lines_and_blocks_keep_the_engines_order() -> None:
    words = [word("b", 2), word("c", 2), word("a", 1, block=2), word("z", 1, block=3)]
    assert texts(lines_of(words)) == ["b c", "a", "z"]
    assert texts(blocks_of(words)) == ["b c", "a", "z"]


def test_a_header_begins_with_the_first_real_word() -> None:
    noise = [word("~|", 1), word("=", 2), word("xkcd", 3, confidence=0.2)]
    body = [word(f"Line{n}", 4 + n, block=7) for n in range(9)]
    assert texts(header_of(noise + body)) == ["Line0 Line1 Line2 Line3 Line4"]
    assert texts(header_of(noise + body, 1)) == ["Line0"]
    assert texts(header_of(noise + body, 2)) == ["Line0 Line1"]
    assert texts(header_of([word("Logo", 1), *body])) == ["Logo Line0 Line1"], "a small first block draws in the next"
    assert texts(header_of(body[:1])) == ["Line0"]
    assert header_of(noise) == header_of([]) == []
    assert texts(header_of([word("株", 1), word("式", 1, x=60)])) == ["株 式"], "one Han character is a word"


def test_regions_are_boxes_of_their_words() -> None:
    engine = Reading(word("Abel", 1, x=10, confidence=0.8), word("&Co", 1, x=70), word("—", 2), word("1898", 3))
    sheet = Page(Image.new("L", (300, 200), 255))
    regions = find_regions(sheet, IngestConfig(), engine)
    assert [region.text for region in regions] == ["Abel &Co", "1898"], "what holds no letter or digit is no record"
    assert regions[0].box == (10, 30, 120, 50)
    assert regions[0].confidence == pytest.approx(0.85)
    (whole,) = find_regions(sheet, IngestConfig(regions="page"), engine)
    assert whole.box == (0, 0, 300, 200)
    assert whole.text == "Abel &Co — 1898"
    (blank,) = find_regions(sheet, IngestConfig(regions="page"), Reading())
    assert (blank.text, blank.confidence) == ("", None)
    assert find_regions(sheet, IngestConfig(regions="header"), Reading()) == []


def test_vertical_languages_give_vertical_regions() -> None:
    tall = Reading(replace(word("株式会社"), box=(10, 0, 30, 120)))
    sheet = Page(Image.new("L", (300, 200), 255))
    assert find_regions(sheet, IngestConfig(languages=("jpn_vert",)), tall)[0].vertical
    assert not find_regions(sheet, IngestConfig(languages=("jpn",)), tall)[0].vertical


def test_scripts_without_spaces_are_closed_up() -> None:
    assert Region((0, 0, 1, 1), "東京 株式 会社 ABC 商 店").text == "東京株式会社 ABC 商店"
    assert Region((0, 0, 1, 1), "  Abel\n&  Co ").text == "Abel & Co"


@given(st.text())
def test_letters_and_digits_of_any_script(text: str) -> None:
    assert has_letters(text + "é") and has_letters(text + "4") and has_letters(text + "株")
    assert not has_letters("—|~ .,;:_%$©")


@given(
    st.tuples(*[st.floats(0, 99)] * 2, *[st.floats(0.5, 300)] * 2),
    st.sampled_from(["px", "%"]),
    st.tuples(st.integers(100, 900), st.integers(100, 900)),
)
def test_given_boxes_lie_on_the_page(box: tuple[float, float, float, float], unit: str, size: tuple[int, int]) -> None:
    x, y, w, h = box
    x0, y0, x1, y1 = GivenBox(1, (x, y, x + w, y + h), unit).pixels(Page(Image.new("L", size)))
    assert 0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]


def test_given_boxes_are_read_in_place() -> None:
    boxes = [GivenBox(1, (5, 6, 25, 26), text="given"), GivenBox(1, (500, 0, 510, 9))]
    (region,), (reason,) = given_regions(Page(Image.new("L", (100, 100))), Reading(word("read")), boxes)
    assert region.text == "read"
    assert region.words[0].box == (6, 8, 16, 18)
    assert "outside the page" in reason
    (region,), _ = given_regions(Page(Image.new("L", (100, 100))), NoEngine(), boxes)
    assert (region.text, region.words, region.confidence) == ("given", [], None)


def test_lines_across_a_gutter_are_counted() -> None:
    lines = [[word("a"), word("b", x=200)], [word("c")], [word("d", x=200)]]
    assert lines_crossing(lines, [ColumnCut(120, 0)]) == pytest.approx(1 / 3)
    assert lines_crossing(lines, []) == lines_crossing([], [ColumnCut(120, 0)]) == 0


def test_a_missing_program_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DependencyError, match="apt-get install tesseract-ocr"):
        make_engine(IngestConfig())
    assert make_engine(IngestConfig(ocr="none")).name == ""


@needs_tesseract
def test_a_missing_language_is_named_with_its_package() -> None:
    with pytest.raises(DependencyError, match="no language xyz_vert; run `apt-get install tesseract-ocr-xyz-vert`"):
        TesseractEngine(["eng", "xyz_vert"], 3, 60)


@needs_tesseract
def test_tesseract_reads_a_page() -> None:
    before = os.environ.get("OMP_THREAD_LIMIT")
    engine = TesseractEngine(["eng"], 3, 60)
    assert engine.name.startswith("tesseract ") and engine.name[10].isdigit()
    words = engine.read_page(page(["Linkage & Sons", '12, "Market" Street']))
    assert texts(lines_of(words)) == ["Linkage & Sons", '12, "Market" Street']
    assert all(0.5 < found.confidence <= 1 for found in words)
    x0, y0, x1, y1 = words[0].box
    assert abs(x0 - 40) < 6 and 25 < y0 < y1 < 70 and x1 < 200
    assert engine.read_page(Image.new("L", (300, 300), 255)) == []
    assert os.environ.get("OMP_THREAD_LIMIT") == before


@needs_tesseract
def test_tesseract_reads_many_crops_in_order() -> None:
    names = ["Abel and Brothers", "Marchetti Wine", "Sons of Thomas", "Linden Bakery"]
    crops = [page([name], (460, 80)) for name in names]
    crops.insert(2, page(["First line here", "Second line"], (460, 140)))
    crops.insert(3, Image.new("L", (1, 1), 255))
    engine = TesseractEngine(["eng"], 3, 60)
    found = engine.read_crops(crops)
    assert texts(found) == [*names[:2], "First line here Second line", "", *names[2:]]
    for crop, words in zip(crops, found, strict=True):
        for read in words:
            x0, y0, x1, y1 = read.box
            assert 0 <= x0 < x1 <= crop.width and 0 <= y0 < y1 <= crop.height
    assert engine.read_crops([]) == []


@needs_tesseract
def test_columns_are_read_one_after_the_other() -> None:
    sheet = page(["left one", "left two"], (800, 200))
    sheet.paste(page(["right one", "right two"], (400, 200)), (400, 0))
    words = TesseractEngine(["eng"], 3, 60).read_page(sheet, [400])
    assert texts(lines_of(words)) == ["left one", "left two", "right one", "right two"]
    assert len({found.block for found in words}) >= 2
    assert min(found.box[0] for found in words if found.text == "right") > 400


@needs_tesseract
def test_a_page_that_takes_too_long_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"OCR took longer than ingest\.page_seconds = 0\.01 allows"):
        TesseractEngine(["eng"], 3, 0.01).read_page(page(["slow"] * 20, (1500, 1500)))


@needs_tesseract
def test_scans_are_read_into_lines(tmp_path: Path) -> None:
    firms = ["Abel and Brothers, bakers", "Marchetti, wine merchant", "Thomas Linden, cutler"]
    page(firms).save(tmp_path / "scan.png")
    page(firms[::-1]).convert("RGB").save(tmp_path / "scan.pdf", resolution=100)
    out = tmp_path / "out" / "records.parquet"
    config = IngestConfig(workers=2, dpi=150)
    ingest([tmp_path], out, config)
    records = Records.open(out)
    frame = records.frame
    assert [FOLDING.fold(text) for text in frame["text"]] == [FOLDING.fold(text) for text in firms[::-1] + firms]
    assert frame["source"].tolist() == ["scan.pdf"] * 3 + ["scan.png"] * 3
    assert frame["ocr_engine"].str.startswith("tesseract ").all()
    assert frame["ocr_confidence"].between(0.5, 1).all()
    assert frame["record_id"].is_unique
    assert records.crop(0) is not None
    again = tmp_path / "again" / "records.parquet"
    ingest([tmp_path / "scan.pdf", tmp_path / "scan.png"], again, config.model_copy(update={"workers": 1}))
    assert again.read_bytes() == out.read_bytes()


@needs_tesseract
def test_headers_and_boxes_of_scans(tmp_path: Path) -> None:
    page(["Linkage Trading Ltd", "12 Market Street", "Total 44.10"]).save(tmp_path / "receipt.png")
    (tmp_path / "boxes.csv").write_text("image,x,y,w,h\nreceipt.png,30,75,400,50\n")
    header = IngestConfig(regions="header", header_lines=2, psm=4, workers=1)
    ingest([tmp_path / "receipt.png"], tmp_path / "h" / "r.parquet", header)
    assert Records.open(tmp_path / "h" / "r.parquet").frame["text"].tolist() == ["Linkage Trading Ltd 12 Market Street"]
    boxes = IngestConfig(regions="boxes", boxes=tmp_path / "boxes.csv", workers=1)
    ingest([tmp_path / "receipt.png"], tmp_path / "b" / "r.parquet", boxes)
    assert Records.open(tmp_path / "b" / "r.parquet").frame["text"].tolist() == ["12 Market Street"]


@pytest.mark.shared
@needs_tesseract
def test_lines_cover_the_entries_of_a_real_directory_page(shared_data: Path) -> None:
    import pandas as pd

    from linkage.scans.images import open_image

    truth = pd.read_csv(shared_data / "directory_pages" / "boxes.csv")
    truth = truth[(truth["image"] == "images/page_0023.jpg") & (truth["h"] < 30)]
    image = open_image(shared_data / "directory_pages" / "images" / "page_0023.jpg")
    regions = find_regions(Page(image), IngestConfig(), TesseractEngine(["eng"], 3, 120))
    found = np.array([region.box for region in regions], dtype=float)
    covered = 0
    for x, y, w, h in truth[["x", "y", "w", "h"]].to_numpy(float):
        wide = np.clip(np.minimum(found[:, 2], x + w) - np.maximum(found[:, 0], x), 0, None)
        high = np.clip(np.minimum(found[:, 3], y + h) - np.maximum(found[:, 1], y), 0, None)
        area = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
        covered += bool((wide * high / (area + w * h - wide * high) >= 0.5).any())
    assert covered / len(truth) >= 0.9
