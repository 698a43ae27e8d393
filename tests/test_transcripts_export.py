"""Records out as ALTO, PAGE and hOCR, and back in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn import page
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from transcribed import block, write
from typer.testing import CliRunner

from linkage.cli import app
from linkage.config import IngestConfig
from linkage.errors import InputError, UsageError
from linkage.ingest.ingest import ingest
from linkage.layout.regions import joined
from linkage.records import SCHEMA
from linkage.scans.pages import Page
from linkage.transcripts.export import FORMATS, export_records
from linkage.transcripts.find import find_transcripts
from linkage.transcripts.model import TranscriptBlock, TranscriptLine, TranscriptPiece
from linkage.transcripts.regions import transcribed_regions

SIZE = (400, 300)
BLOCKS = IngestConfig(ocr="file", regions="blocks", workers=1)
EDGES = ("x0", "y0", "x1", "y1")
needs_tesseract = pytest.mark.skipif(not shutil.which("tesseract"), reason="the program tesseract is not installed")

letters = st.characters(categories=["L", "M", "N", "P", "S"])
texts = st.text(letters, min_size=1, max_size=6)
confidences = st.none() | st.floats(0, 1, width=32)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    x0, y0 = draw(st.integers(0, SIZE[0] - 1)), draw(st.integers(0, SIZE[1] - 1))
    return x0, y0, draw(st.integers(x0 + 1, SIZE[0])), draw(st.integers(y0 + 1, SIZE[1]))


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """A record as ingest might have made it."""
    box = draw(boxes())
    polygon: list[tuple[int, int]] = []
    if draw(st.booleans()):
        points = st.tuples(st.integers(0, SIZE[0]), st.integers(0, SIZE[1]))
        polygon = draw(st.lists(points, min_size=3, max_size=7, unique=True))
        xs, ys = zip(*polygon, strict=True)
        box = (min(xs), min(ys), max(xs), max(ys))
        corners = {(x, y) for x in box[::2] for y in box[1::2]}
        assume(box[0] < box[2] and box[1] < box[3] and set(polygon) != corners)
    words = [
        {"text": text, "confidence": sure} | dict(zip(EDGES, place, strict=True))
        for text, sure, place in draw(st.lists(st.tuples(texts, confidences, boxes()), max_size=5))
    ]
    known = [word for word in words if word["confidence"] is not None]
    raw = " ".join(word["text"] for word in words)
    lengths = [len(word["text"]) for word in known]
    sure = float(np.average([word["confidence"] for word in known], weights=lengths)) if known else None
    if not words and draw(st.booleans()):
        raw = " ".join(draw(st.lists(texts, min_size=2, max_size=4)))  # a text that was given
        sure = draw(confidences)
    return {
        "record_id": draw(st.text(letters | st.sampled_from(" :/&<_"), min_size=1, max_size=9)),
        "source": "1.png",
        "page": 1,
        "page_width": SIZE[0],
        "page_height": SIZE[1],
        "polygon": " ".join(f"{x},{y}" for x, y in polygon),
        "direction": draw(st.sampled_from(["horizontal", "vertical"])),
        "text": joined(raw),
        "text_raw": raw,
        "ocr_confidence": sure,
        "words": words,
    } | dict(zip(EDGES, box, strict=True))


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=60)
@given(table=st.lists(rows(), min_size=1, max_size=3, unique_by=lambda row: row["record_id"]))
def test_records_come_back_as_they_went_out(
    tmp_path_factory: pytest.TempPathFactory, form: str, table: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"round-{form}"
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(table, SCHEMA), folder / "records.parquet")
    export_records(folder / "records.parquet", folder / "out", form, overwrite=True)
    place = (folder / "out" / ("1" + FORMATS[form][0]), 1)
    regions, reasons, engine = transcribed_regions(Page(Image.new("L", SIZE, 255)), place, BLOCKS)
    assert reasons == []
    assert engine.startswith(f"{form}:linkage ")
    assert len(regions) == len(table)
    for row, region in zip(table, regions, strict=True):
        assert region.record_id == row["record_id"]
        assert region.box == tuple(row[edge] for edge in EDGES)
        assert " ".join(f"{x},{y}" for x, y in region.polygon) == row["polygon"]
        assert region.vertical == (row["direction"] == "vertical")
        assert (region.text_raw, region.text) == (row["text_raw"], row["text"])
        assert region.confidence == (row["ocr_confidence"] and pytest.approx(row["ocr_confidence"], abs=6e-5))
        assert [word.text for word in region.words] == [word["text"] for word in row["words"]]
        for found, word in zip(region.words, row["words"], strict=True):
            assert found.box == tuple(word[edge] for edge in EDGES)
            sure = np.nan if word["confidence"] is None else word["confidence"]
            assert found.confidence == pytest.approx(sure, abs=6e-5, nan_ok=True)


def linkage(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("form", FORMATS)
def test_there_and_back_by_the_command_line(tmp_path: Path, form: str) -> None:
    scans = tmp_path / "scans"
    outline = ((20.0, 200.0), (300.0, 210.0), (290.0, 260.0), (20.0, 250.0))
    word = TranscriptPiece("縦", (20, 200, 60, 240), confidence=0.25)
    slanted = TranscriptBlock(
        "縦", (20, 200, 300, 260), outline, vertical=True, lines=(TranscriptLine("縦", word.box, words=(word,)),)
    )
    for name in ("a/1", "b/1"):
        (scans / name).parent.mkdir(parents=True)
        page(size=SIZE).save(scans / f"{name}.png")
        write(scans / f"{name}.page.xml", block("Abel & Co\ncutlers <1898>"), slanted)
    arguments = ["ingest", scans, "--ocr", "file", "--regions", "blocks", "--set", "ingest.workers=1"]
    linkage(*arguments, "--out", tmp_path / "one.parquet")
    for written in scans.rglob("*.page.xml"):
        written.unlink()
    counts = json.loads(linkage("export", tmp_path / "one.parquet", "--format", form, "--out", scans, "--json"))
    assert counts == {"pages": 2, "records": 4, "left_out": 0, "without_page_size": 0, "out": str(scans)}
    linkage(*arguments, "--out", tmp_path / "two.parquet")
    one, two = (pq.read_table(tmp_path / f"{name}.parquet").to_pandas() for name in ("one", "two"))
    assert two["ocr_engine"].eq(f"{form}:a hand 1").all()
    pd.testing.assert_frame_equal(one.drop(columns="ocr_engine"), two.drop(columns="ocr_engine"))
    again = CliRunner().invoke(app, ["export", str(tmp_path / "one.parquet"), "--format", form, "--out", str(scans)])
    assert isinstance(again.exception, UsageError)
    assert "exists already; give --overwrite" in str(again.exception)


def table(path: Path, *rows: tuple[str, str, int], **columns: Any) -> Path:
    frame = pd.DataFrame(rows, columns=["record_id", "source", "page"])
    frame = frame.assign(**({"x0": 1, "y0": 1, "x1": 50, "y1": 20, "text": "Abel"} | columns))
    frame.to_parquet(path, index=False)
    return path


def written(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_files_are_called_so_that_they_are_found_again(tmp_path: Path) -> None:
    sources = [
        ("a/one.tif", 1),
        ("a/one.tif", 12),
        ("a/two.png", 1),
        ("a/two.jpg", 1),
        ("b/Bd. 2.pdf", 3),
        ("é.png", 1),
    ]
    path = table(tmp_path / "r.parquet", *((f"r{n}", *source) for n, source in enumerate(sources)))
    counts = export_records(path, tmp_path / "out", "hocr")
    assert (counts["pages"], counts["without_page_size"]) == (6, 6)
    assert written(tmp_path / "out") == [
        "a/one_0001.hocr",
        "a/one_0012.hocr",
        "a/two.jpg.hocr",
        "a/two.png.hocr",
        "b/Bd. 2_0003.hocr",
        "é.hocr",
    ]
    from linkage.scans.pages import Source

    for name, number in sources:
        source = Source(name, tmp_path / "out" / name)
        assert find_transcripts([source])[source].page(number) is not None, name


def test_nothing_is_written_outside_the_folder(tmp_path: Path) -> None:
    hostile = [
        "../up.png",
        "/etc/passwd",
        "a/../../b.png",
        "..",
        "a\\..\\b",
        "x\0y",
        "",
        "A.png",
        "a.jpg",
        "long" * 100,
    ]
    path = table(tmp_path / "r.parquet", *((f"r{n}", name, 1) for n, name in enumerate(hostile)))
    counts = export_records(path, tmp_path / "out", "alto")
    assert (counts["pages"], counts["left_out"]) == (9, 1)
    assert len(written(tmp_path / "out")) == 9
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "r.parquet"]
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "%2E%2E").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="leads out of"):
        export_records(path, tmp_path / "linked", "alto")
    assert written(tmp_path / "out") == written(tmp_path / "out") and len(list(tmp_path.iterdir())) == 3


def test_records_without_a_place_are_left_out_and_tables_without_any_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "r.parquet", ("a", "1.png", 1), ("b", "1.png", 1), x1=[50, None])
    assert export_records(path, tmp_path / "out", "page")["left_out"] == 1
    (tmp_path / "r.csv").write_text("record_id,text\na,Abel\n")
    with pytest.raises(InputError, match="column page, x0, y0, x1, y1 is missing"):
        export_records(tmp_path / "r.csv", tmp_path / "out", "page")
    (tmp_path / "boxed.csv").write_text("record_id,source,page,x0,y0,x1,y1,text\na,2.png,1,1,1,5,5,Abel\x02\x01\n")
    assert export_records(tmp_path / "boxed.csv", tmp_path / "out", "page")["pages"] == 1
    assert CliRunner().invoke(app, ["export", str(path), "--format", "tei", "--out", str(tmp_path)]).exit_code


def test_words_that_are_not_the_text_stay_behind(tmp_path: Path) -> None:
    word = {"text": "Abcl", "confidence": 0.5, "x0": 1, "y0": 1, "x1": 9, "y1": 9}
    path = table(tmp_path / "r.parquet", ("a", "1.png", 1), words=[[word]], page_width=SIZE[0], page_height=SIZE[1])
    export_records(path, tmp_path / "out", "page")
    (region,), _, _ = transcribed_regions(Page(Image.new("L", SIZE)), (tmp_path / "out" / "1.xml", 1), BLOCKS)
    assert (region.text, region.words) == ("Abel", [])


@needs_tesseract
@pytest.mark.parametrize("form", ["alto", "hocr"])
def test_what_tesseract_writes_gives_the_records_of_our_own_layout(tmp_path: Path, form: str) -> None:
    import subprocess

    scans = tmp_path / "scans"
    scans.mkdir()
    page(["Linkage & Sons", "12, Market Street", "Abel <cutlers>"], size=(900, 300)).save(scans / "p.png")
    ingest([scans], tmp_path / "own.parquet", IngestConfig(workers=1))
    command = ["tesseract", str(scans / "p.png"), str(scans / "p"), "-l", "eng", "--psm", "3", form]
    subprocess.run(command, check=True, capture_output=True)
    ingest([scans], tmp_path / "file.parquet", IngestConfig(ocr="file", workers=1))
    own, file = (pq.read_table(tmp_path / f"{name}.parquet").to_pandas() for name in ("own", "file"))
    same = ["record_id", *EDGES, "text", "text_raw", "direction", "polygon", "crop"]
    pd.testing.assert_frame_equal(own[same], file[same])
    assert np.allclose(own["ocr_confidence"], file["ocr_confidence"], atol=0.03), "the file has whole percents"
    assert file["ocr_engine"].str.startswith(f"{form}:tesseract 5").all()
