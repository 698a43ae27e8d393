"""Records from transcripts: what was read elsewhere, with our own crops."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from drawn import page
from PIL import Image
from pydantic import ValidationError
from transcribed import block, write

from linkage.config import IngestConfig
from linkage.errors import InputError
from linkage.ingest.ingest import ingest, signature_of
from linkage.records import Records
from linkage.scans.images import decode_crop
from linkage.tables import read_table
from linkage.transcripts.export import export_records
from linkage.transcripts.model import TranscriptBlock, TranscriptLine

FILE = IngestConfig(ocr="file", workers=1, padding=0, max_failures=1.0)


def records(scans: Path, **settings: object) -> pd.DataFrame:
    out = scans.parent / "records.parquet"
    ingest([scans], out, FILE.model_copy(update=settings))
    return pq.read_table(out).to_pandas()


def reasons(scans: Path) -> dict[str, str]:
    table = read_table(scans.parent / "records.failures.csv")
    return dict(zip(table["source"], table["reason"], strict=True))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    page(size=(400, 300)).save(folder / "1.png")
    write(folder / "1.xml", block("Abel & Co\ncutlers"), block("—", 100), block("Cain, smith", 150, tags=("entry",)))
    return folder


def test_lines_and_blocks_are_the_transcripts_own(scans: Path) -> None:
    frame = records(scans)
    assert frame["text"].tolist() == ["Abel & Co", "cutlers", "Cain, smith"], "what holds no letter is no record"
    assert frame["ocr_engine"].eq("page:a hand 1").all()
    assert frame["ocr_confidence"].tolist() == [0.5] * 3
    assert frame.loc[0, ["page_width", "page_height", "x0", "y0", "x1", "y1"]].tolist() == [400, 300, 10, 10, 150, 30]
    assert [word["text"] for word in frame["words"][0]] == ["Abel", "&", "Co"]
    assert records(scans, regions="blocks")["text"].tolist() == ["Abel & Co cutlers", "Cain, smith"]


def test_tagged_regions_are_those_that_the_file_calls_so(scans: Path) -> None:
    assert records(scans, regions="tagged", tag="entry")["text"].tolist() == ["Cain, smith"]
    assert records(scans, regions="tagged", tag="heading").empty
    for wrong in ({"regions": "tagged"}, {"tag": "entry"}, {"regions": "tagged", "tag": "entry", "ocr": "tesseract"}):
        with pytest.raises(ValidationError, match="go together"):
            IngestConfig(**wrong)


def test_our_own_layout_takes_the_words_of_the_file(scans: Path) -> None:
    (whole,) = records(scans, regions="page").itertuples()
    assert (whole.text, whole.x1, whole.y1, len(whole.words)) == ("Abel & Co cutlers — Cain, smith", 400, 300, 7)
    (head,) = records(scans, regions="header", header_lines=2).itertuples()
    assert (head.text, head.ocr_confidence) == ("Abel & Co cutlers", 0.5)
    (scans.parent / "boxes.csv").write_text("source,x,y,w,h,record_id\n1.png,0,140,400,60,mine\n1.png,0,280,9,9,none\n")
    given = records(scans, regions="boxes", boxes=scans.parent / "boxes.csv")
    assert given[["record_id", "text"]].to_numpy().tolist() == [["mine", "Cain, smith"], ["none", ""]]


def test_coordinates_follow_the_size_of_the_picture(scans: Path) -> None:
    write(scans / "1.xml", block("Abel", 10), size=(200.5, 150.2))
    assert records(scans)[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == [[20, 20, 100, 60]]
    write(scans / "1.xml", block("Abel", 10), size=(300, 400))
    assert records(scans).empty
    assert reasons(scans)["1.png"] == (
        "its transcript 1.xml: is of a page of 300 x 400, the picture has 400 x 300 pixels"
    )


def test_what_lies_outside_is_clipped_or_dropped_with_a_reason(scans: Path) -> None:
    over = TranscriptBlock("over", box=(-50, 280, 500, 900), lines=(TranscriptLine("over", (-50, 280, 500, 900)),))
    beyond = TranscriptBlock("beyond", box=(500, 10, 600, 20), lines=(TranscriptLine("beyond", (500, 10, 600, 20)),))
    nowhere = TranscriptBlock("nowhere")
    write(scans / "1.xml", over, beyond, nowhere, form="alto")
    frame = records(scans, regions="blocks")
    assert frame[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == [[0, 280, 400, 300]]
    assert reasons(scans) == {"1.png": "1 blocks of its transcript have no place on the page"}


def test_a_page_without_a_sound_transcript_is_set_aside(scans: Path) -> None:
    for name in ("2.png", "3.png", "4.png"):
        page(["other"], size=(400, 300 + int(name[0]))).save(scans / name)
    (scans / "3.xml").write_text("<alto")
    (scans / "4.html").write_text("<html><body>no hOCR</body></html>")
    assert records(scans)["source"].unique().tolist() == ["1.png"]
    found = reasons(scans)
    assert found["2.png"].startswith("no transcript was found; looked for its name with .xml, .hocr")
    assert found["3.png"].startswith("its transcript 3.xml: not well-formed XML")
    assert found["4.png"] == "its transcript 4.html: has 0 pages, and none for page 1"
    with pytest.raises(InputError, match="3 of 4 pages were set aside"):
        records(scans, max_failures=0.5)


def test_a_crop_follows_the_outline_and_the_direction_is_the_files(scans: Path) -> None:
    Image.new("L", (400, 300), 100).save(scans / "1.png")
    outline = ((100.0, 100.0), (200.0, 100.0), (100.0, 200.0))
    text = TranscriptLine("縦書き", (100, 100, 200, 200))
    write(scans / "1.xml", TranscriptBlock("縦書き", (100, 100, 200, 200), outline, vertical=True, lines=(text,)))
    (row,) = records(scans, regions="blocks").itertuples()
    assert (row.polygon, row.direction) == ("100,100 200,100 100,200", "vertical")
    assert decode_crop(row.crop).size == (100, 100)
    assert (row.text, len(row.words)) == ("縦書き", 0)
    assert row.ocr_confidence is None or np.isnan(row.ocr_confidence), "the file does not say"


def test_a_block_without_lines_is_its_own_line(scans: Path) -> None:
    text = '<TextRegion><Coords points="10,10 90,10 90,40 10,40"/><TextEquiv conf="0.5"><Unicode>Abel, smith</Unicode>'
    (scans / "1.xml").write_text(
        f'<PcGts><Page imageWidth="400" imageHeight="300">{text}</TextEquiv></TextRegion></Page></PcGts>'
    )
    for regions in ("lines", "blocks", "header", "page"):
        (row,) = records(scans, regions=regions).itertuples()
        assert (row.text, row.ocr_confidence) == ("Abel, smith", 0.5)


def test_a_page_of_no_size_is_taken_as_pixels(scans: Path) -> None:
    for size in ("", 'WIDTH="1e-300" HEIGHT="1e-300"', 'WIDTH="-4" HEIGHT="0"'):
        line = '<TextLine HPOS="1" VPOS="2" WIDTH="50" HEIGHT="20"><String CONTENT="Abel"/></TextLine>'
        (scans / "1.xml").write_text(f"<alto><Layout><Page {size}><TextBlock>{line}</TextBlock></Page></Layout></alto>")
        assert records(scans)[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == [[1, 2, 51, 22]]
    unit = "<Description><MeasurementUnit>mm10</MeasurementUnit></Description><Layout>"
    (scans / "1.xml").write_text((scans / "1.xml").read_text().replace("<Layout>", unit))
    assert records(scans).empty
    assert reasons(scans)["1.png"] == "its transcript 1.xml: gives no page size, which its units need"


def test_a_changed_transcript_is_read_again(scans: Path) -> None:
    assert "Abel & Co" in records(scans)["text"].tolist()
    before = (scans / "1.xml").stat()
    write(scans / "1.xml", block("Seth & Co"))
    os.utime(scans / "1.xml", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert records(scans)["text"].tolist() == ["Seth & Co"]
    (scans / "1.xml").unlink()
    assert records(scans).empty


def test_ids_that_files_bring_stay_unique(scans: Path) -> None:
    page(["two"], size=(400, 300)).save(scans / "2.png")
    blocks = [block("Abel", 10, record_id="same"), block("Cain", 50, record_id="same"), block("Seth", 90)]
    for name in ("1", "2"):
        write(scans / f"{name}.xml", *blocks, form="hocr")
    ids = records(scans, regions="blocks")["record_id"].tolist()
    assert ids[:2] + ids[3:5] == ["same", "same-2", "same-3", "same-4"]
    Records.open(scans.parent / "records.parquet")


def test_pages_of_one_source_find_their_part_of_a_file_or_their_file(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    sheets = [page([f"page {n}"], size=(400, 300)) for n in (1, 2)]
    sheets[0].save(scans / "t.tif", save_all=True, append_images=sheets[1:])
    for number in (1, 2):
        write(scans / f"t_{number:04}.xml", block(f"sheet {number}"))
    assert records(scans)[["page", "text"]].to_numpy().tolist() == [[1, "sheet 1"], [2, "sheet 2"]]
    half = "<div class='ocr_page' title='bbox 0 0 400 300'><p class='ocr_line' title='bbox 1 1 50 20'>half {}</p></div>"
    (scans / "t.hocr").write_text(f"<html><body>{half.format(1)}{half.format(2)}</body></html>")
    assert records(scans)[["page", "text"]].to_numpy().tolist() == [[1, "half 1"], [2, "half 2"]]


def test_a_mets_file_stands_for_its_images(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    for name in ("one", "two"):
        (folder / "img").mkdir(parents=True, exist_ok=True)
        page([name], size=(400, 300)).save(folder / "img" / f"{name}.png")
        write(folder / "text" / f"of {name}.xml", block(f"page {name}"), form="alto")
    names = ["img/one.png", "img/two.png", "../three.png", "http://example.org/four.png"]
    images = "".join(
        f'<file ID="I{n}" MIMETYPE="image/png"><FLocat href="{name}"/></file>' for n, name in enumerate(names)
    )
    texts = "".join(
        f'<file ID="T{n}"><FLocat href="text/of%20{name}.xml"/></file>' for n, name in enumerate(["one", "two"])
    )
    (folder / "mets.xml").write_text(
        f'<mets><fileSec><fileGrp USE="MAX">{images}</fileGrp><fileGrp USE="ALTO">{texts}</fileGrp></fileSec></mets>'
    )
    frame = records(folder / "mets.xml")
    assert frame[["source", "text"]].to_numpy().tolist() == [["img/one.png", "page one"], ["img/two.png", "page two"]]
    table = read_table(folder / "records.failures.csv")
    assert table["source"].tolist() == ["mets.xml#I2", "mets.xml#I3"]
    assert table["reason"].tolist()[0] == "'../three.png' lies outside the folder of the METS file"


def test_a_run_sees_that_a_transcript_changed(scans: Path) -> None:
    without = FILE.model_copy(update={"ocr": "tesseract"})
    before, unseen = signature_of([scans], FILE), signature_of([scans], without)
    write(scans / "1.xml", block("Seth & Co, much longer than before"))
    assert signature_of([scans], FILE) != before
    assert signature_of([scans], without) == unseen


@pytest.mark.shared
@pytest.mark.slow
def test_a_real_page_goes_out_and_comes_back(shared_data: Path, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    shutil.copyfile(shared_data / "directory_pages" / "images" / "page_0035.jpg", scans / "page.jpg")
    ingest([scans], tmp_path / "own.parquet", IngestConfig(workers=1))
    own = pq.read_table(tmp_path / "own.parquet").to_pandas()
    assert len(own) > 100
    for form in ("alto", "page", "hocr"):
        export_records(tmp_path / "own.parquet", scans, form, overwrite=True)
        back = records(scans, regions="blocks")
        same = ["record_id", "source", "page", "x0", "y0", "x1", "y1", "polygon", "direction", "text"]
        pd.testing.assert_frame_equal(own[same], back[same])
        assert np.allclose(own["ocr_confidence"], back["ocr_confidence"], atol=1e-3)
        (scans / "page.xml").unlink(missing_ok=True)
