"""The recogniser as an engine, several engines at once, calibrated confidences and kept readings."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from drawn import page
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from linkage.config import IngestConfig, load_config
from linkage.errors import ConfigError, DependencyError, InputError
from linkage.ingest.ingest import ingest
from linkage.ingest.table import import_records
from linkage.layout.regions import lines_of
from linkage.ocr.cache import CachedEngine
from linkage.ocr.calibration import calibrated, fit_map
from linkage.ocr.ctc import LineOutput, pieces_of
from linkage.ocr.engine import Word
from linkage.ocr.engines import Engines, make_engine, reading, surest
from linkage.ocr.order import in_reading_order
from linkage.ocr.recogniser import Recogniser
from linkage.ocr.tesseract import TesseractEngine

needs_tesseract = pytest.mark.skipif(not shutil.which("tesseract"), reason="the program tesseract is not installed")
LETTERS = ["", *"abcdefgh", " "]
ENGLISH, JAPANESE = Recogniser(["eng"], 300), Recogniser(["jpn"], 300)


def texts(found: Sequence[Sequence[Word]]) -> list[str]:
    return [" ".join(word.text for word in words) for words in found]


def said(text: str) -> LineOutput:
    """Columns of a letter each; "_" is none, "~" a none that may be a space."""
    classes = [0 if letter in "_~" else LETTERS.index(letter) for letter in text]
    space = [0.4 if letter == "~" else float(letter == " ") for letter in text]
    return LineOutput(
        np.array(classes, dtype=np.int64), np.full(len(text), 0.9, np.float32), np.array(space, np.float32)
    )


def column(text: str, size: int = 40) -> Image.Image:
    """Japanese that runs from top to bottom."""
    font = ImageFont.truetype("NotoSansCJK-Regular.ttc", size)
    image = Image.new("L", (size + 24, len(text) * (size + 4) + 24), 255)
    for place, letter in enumerate(text):
        ImageDraw.Draw(image).text((12, 4 + place * (size + 4)), letter, font=font, fill=0)
    return image


def test_columns_become_words() -> None:
    assert [piece.text for piece in pieces_of(said("_a_bb_b  c_"), LETTERS)] == ["abb", "c"]
    assert [piece.text for piece in pieces_of(said("a_b~~c"), LETTERS)] == ["ab", "c"], "a space that two columns share"
    (piece,) = pieces_of(said("__ab__"), LETTERS)
    assert (piece.first, piece.end) == (2, 4)
    assert pieces_of(said(""), LETTERS) == pieces_of(said("__ "), LETTERS) == []


@given(st.text("abc_~ ", max_size=30))
def test_pieces_lie_in_order_and_hold_no_space(line: str) -> None:
    pieces = pieces_of(said(line), LETTERS)
    ends = [edge for piece in pieces for edge in (piece.first, piece.end)]
    assert ends == sorted(ends)
    assert all(piece.text and " " not in piece.text and 0 < piece.confidence <= 1 for piece in pieces)


def test_the_recogniser_reads_lines_and_blocks_of_print() -> None:
    crops = [page(["Linkage & Sons"], (340, 90)), page(["First line here", "and a second"], (400, 150))]
    crops.insert(1, Image.new("RGB", (30, 20), "white"))
    found = ENGLISH.read_crops(crops)
    assert texts(found) == ["Linkage & Sons", "", "First line here and a second"]
    assert ENGLISH.name.startswith("recogniser ")
    for crop, words in zip(crops, found, strict=True):
        for word in words:
            x0, y0, x1, y1 = word.box
            assert 0 <= x0 < x1 <= crop.width and 0 <= y0 < y1 <= crop.height
    x0, y0, x1, _ = found[0][0].box
    assert abs(x0 - 40) < 8 and 25 < y0 < 45 and x1 < 180
    assert ENGLISH.read_crops([]) == []


def test_a_slanted_block_is_read_line_by_line() -> None:
    sheet = page(["Abel and Brothers", "wine merchants"], (480, 150))
    slanted = sheet.transform(sheet.size, Image.Transform.AFFINE, (1, 0, 0, 0.04, 1, -8), fillcolor=255)
    assert texts(ENGLISH.read_crops([slanted])) == ["Abel and Brothers wine merchants"]


def test_text_that_runs_downward_is_read_in_place() -> None:
    (words,) = JAPANESE.read_crops([column("東京製作所")], [True])
    assert "".join(word.text for word in words) == "東京製作所"
    x0, y0, x1, y1 = words[0].box
    assert y1 - y0 > 4 * (x1 - x0) and y0 < 30


@needs_tesseract
def test_tesseract_has_its_own_data_for_text_that_runs_downward() -> None:
    engine = TesseractEngine(["jpn"], 3, 60)
    across = page(["Abel"], (200, 80))
    first, second = engine.read_crops([column("東京製作所"), across], [True, False])
    assert "".join(word.text for word in first) == "東京製作所"
    assert texts([second]) == ["Abel"]


def test_pages_are_read_column_by_column_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rapidocr")

    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    sheet = page(["left one", "left two"], (800, 200))
    sheet.paste(page(["right one", "right two"], (400, 200)), (400, 0))
    assert texts(lines_of(ENGLISH.read_page(sheet, [400]))) == ["left one", "left two", "right one", "right two"]
    assert ENGLISH.read_page(Image.new("L", (300, 300), 255)) == []


def test_pages_need_rapidocr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkage.ocr.detector.find_spec", lambda name: None)
    monkeypatch.setattr("linkage.ocr.detector._detector", lambda: pytest.fail("loaded"))
    from linkage.ocr.detector import _model_path

    with pytest.raises(DependencyError, match=r"run `pip install 'rapidocr>=3.10,<3.11' 'onnxruntime>=1.20'`"):
        _model_path()


def test_the_recogniser_keeps_to_its_time() -> None:
    with pytest.raises(InputError, match=r"OCR took longer than ingest\.page_seconds = 1e-06 allows"):
        Recogniser(["eng"], 1e-6).read_crops([page(["slow"])])


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900)), max_size=12), st.sampled_from([(), (300,)]))
def test_reading_order_keeps_every_word(places: list[tuple[int, int]], cuts: tuple[int, ...]) -> None:
    runs = [[Word(str(number), 0.5, (x, y, x + 40, y + 20))] for number, (x, y) in enumerate(places)]
    ordered = in_reading_order(runs, cuts)
    assert sorted(word.text for word in ordered) == sorted(word.text for (word,) in runs)
    columns = [any((word.box[0] + 20) >= cut for cut in cuts) for word in ordered]
    assert columns == sorted(columns)
    blocks = [word.block for word in ordered]
    assert blocks == sorted(blocks)


class Sure:
    """An engine that reads the same everywhere, and counts how often it is asked."""

    def __init__(self, name: str, text: str, confidence: float) -> None:
        self.name = name
        self.words = [Word(text, confidence, (1, 2, 11, 12))] if text else []
        self.asked = 0

    def read_page(self, image: Image.Image, cuts: Sequence[int] = ()) -> list[Word]:
        self.asked += 1
        return self.words

    def read_crops(self, images: Sequence[Image.Image], vertical: Sequence[bool] = ()) -> list[list[Word]]:
        self.asked += len(images)
        return [self.words for _ in images]


def test_confidences_are_compared_calibrated_and_ties_go_to_the_first() -> None:
    low, high = Word("Abel", 0.7, (0, 0, 9, 9)), Word("Abel", 0.75, (0, 0, 9, 9))
    one, other = calibrated("tesseract 5.3.0", [low]), calibrated("recogniser 1", [high])
    assert one is not None and other is not None and one > other, "Tesseract is modest, the recogniser is not"
    readings = [reading(Sure(name, "Abel", 0.7), [low]) for name in ("a", "b")]
    assert surest(readings).engine == "a"
    assert surest([reading(Sure("a", "", 0), []), readings[1]]).engine == "b"
    assert calibrated("tesseract", []) is None


@given(st.lists(st.floats(0, 1), min_size=10, max_size=60), st.integers(0, 99))
def test_a_fitted_map_rises(confidence: list[float], seed: int) -> None:
    right = np.random.default_rng(seed).random(len(confidence))
    fitted = fit_map(np.array(confidence), right)
    assert fitted["confidence"] == sorted(fitted["confidence"])
    assert all(one <= other + 1e-4 for one, other in zip(fitted["right"], fitted["right"][1:], strict=False))
    assert all(0 <= value <= 1 for value in fitted["right"])


@pytest.mark.parametrize("name", ["tesseract+none", "best+tesseract", "tesseract+tesseract", "abbyy", "", "none+none"])
def test_engines_that_are_not_there_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="recogniser"):
        load_config(None, [f"ingest.ocr='{name}'"])
    assert load_config(None, ["ingest.ocr=[tesseract, recogniser]"]).ingest.ocr == "tesseract+recogniser"


@needs_tesseract
def test_every_engine_reads_every_region(tmp_path: Path) -> None:
    page(["Abel and Brothers", "Marchetti Wine"]).save(tmp_path / "scan.png")
    ingest([tmp_path / "scan.png"], tmp_path / "out" / "r.parquet", IngestConfig(ocr="tesseract+recogniser", workers=1))
    rows = pq.read_table(tmp_path / "out" / "r.parquet").to_pylist()
    assert [row["text"] for row in rows] == ["Abel and Brothers", "Marchetti Wine"]
    for row in rows:
        assert [one["ocr_engine"].split()[0] for one in row["readings"]] == ["tesseract", "recogniser"]
        best = max(row["readings"], key=lambda one: one["ocr_confidence"])
        assert (row["ocr_engine"], row["text_raw"]) == (best["ocr_engine"], best["text_raw"])
        assert row["ocr_confidence"] == pytest.approx(best["ocr_confidence"])
        assert all(row["x0"] - 5 <= word["x0"] < word["x1"] <= row["x1"] + 5 for word in row["words"])


def test_pictures_of_a_table_are_read_by_every_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page(["Abel"]).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("record_id,image,text\na,a.png,\nb,a.png,given\n")
    both = Engines([Sure("one", "less", 0.2), Sure("two", "more", 0.9)])
    monkeypatch.setattr("linkage.ingest.table.make_engine", lambda config: both)
    import_records(tmp_path / "t.csv", tmp_path / "r.parquet", IngestConfig())
    read, kept = pq.read_table(tmp_path / "r.parquet").to_pylist()
    assert (read["text"], read["ocr_engine"], [one["text"] for one in read["readings"]]) == (
        "more",
        "two",
        ["less", "more"],
    )
    assert (kept["text"], kept["readings"]) == ("given", None)


def test_what_was_read_before_is_not_read_again(tmp_path: Path) -> None:
    crops = [page(["a"], (90, 40)), page(["b"], (90, 50))]
    engine = Sure("engine 1", 'Abel "&" 東京\ud800', 0.7)
    cached = CachedEngine(engine, "eng", tmp_path / "kept")
    first = cached.read_crops(crops), cached.read_page(crops[0])
    assert (cached.read_crops(crops), cached.read_page(crops[0])) == first == ([engine.words] * 2, engine.words)
    assert engine.asked == 3
    cached.read_crops(crops[:1], [True])
    CachedEngine(engine, "jpn", tmp_path / "kept").read_crops(crops)
    assert engine.asked == 6, "direction and settings count"


@given(
    st.binary(max_size=40) | st.sampled_from([b"[[1, 2, 3]]", b'[["a", 7, [0, 0, 1, 1], 0, 0, 0]]', b"{}", b"[" * 9999])
)
def test_damaged_entries_are_read_anew(tmp_path_factory: pytest.TempPathFactory, damage: bytes) -> None:
    folder = tmp_path_factory.mktemp("kept")
    engine = Sure("engine 1", "Abel", 0.7)
    cached = CachedEngine(engine, "", folder)
    cached.read_page(page())
    (path,) = folder.rglob("*.json")
    path.write_bytes(damage)
    read = cached.read_page(page())
    assert read == engine.words or damage.strip() in (b"[]", b"{}")
    assert cached.read_page(page()) == read


def test_a_cache_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"ingest\.ocr_cache"):
        make_engine(IngestConfig(ocr="recogniser", ocr_cache=tmp_path / "file" / "kept"))
