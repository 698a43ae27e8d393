from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
from drawn import page, speckled, write_bomb, write_broken_tiff, write_empty_pdf, write_encrypted_pdf
from PIL import Image

from linkage.config import IngestConfig, update
from linkage.errors import ConfigError, InputError, UsageError
from linkage.ingest.ingest import ingest
from linkage.ingest.merge import failures_path, pages_path
from linkage.ingest.parts import FACTS
from linkage.ingest.work import PageTask
from linkage.locks import alone
from linkage.records import SCHEMA, Records
from linkage.scans.images import decode_crop
from linkage.tables import read_table
from linkage.workers.pool import Workers

WHOLE_PAGES = IngestConfig(regions="page", ocr="none", workers=1, padding=0)


def failures(out: Path) -> dict[tuple[str, str], str]:
    table = read_table(failures_path(out))
    assert list(table.columns) == ["source", "page", "reason"]
    return {(row.source, "" if pd.isna(row.page) else str(row.page)): row.reason for row in table.itertuples()}


def boxes_config(tmp_path: Path, text: str, **changes: object) -> IngestConfig:
    (tmp_path / "boxes.csv").write_text(text, encoding="utf-8")
    options = {"regions": "boxes", "boxes": tmp_path / "boxes.csv", "ocr": "none", "workers": 1, "padding": 0}
    return IngestConfig(**(options | changes))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(3):
        speckled(number).save(folder / f"p{number}.png")
    return folder


def test_pages_become_records_with_provenance(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "run" / "records.parquet"
    summary = ingest([scans], out, WHOLE_PAGES)
    assert (summary.sources, summary.pages, summary.records, len(summary.failures)) == (3, 3, 3, 0)
    records = Records.open(out)
    frame = records.frame
    assert frame["source"].tolist() == ["p0.png", "p1.png", "p2.png"]
    assert frame["source_sha256"][1] == hashlib.sha256((scans / "p1.png").read_bytes()).hexdigest()
    assert frame[["page", "x0", "y0", "x1", "y1"]].to_numpy().tolist() == [[1, 0, 0, 60, 40]] * 3
    assert frame["direction"].eq("horizontal").all()
    crop = decode_crop(records.crop(2) or b"")
    assert np.abs(np.asarray(crop, float) - np.asarray(speckled(2), float)).mean() < 6
    assert failures(out) == {}
    assert pq.read_schema(out).remove_metadata().equals(SCHEMA)
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "records.failures.csv",
        "records.pages.csv",
        "records.parquet",
    ]


def test_other_boxes_give_other_records_at_once(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.parquet"
    for right in (20, 30):
        table = "source,x0,y0,x1,y1\np0.png,0,0,10,10\np1.png,0,0," + f"{right},10\n"
        ingest([scans], out, boxes_config(tmp_path, table))
        assert Records.open(out).frame["x1"].tolist() == [10, right]


def test_a_finished_table_is_kept_until_something_changes(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "records.parquet"
    ingest([scans], out, WHOLE_PAGES)
    first = out.stat().st_ino

    def again(config: IngestConfig = WHOLE_PAGES, **options: str) -> tuple[bool, bool]:
        nonlocal first
        summary = ingest([scans], out, config, **options)
        same, first = out.stat().st_ino == first, out.stat().st_ino
        return summary.reused, same

    assert again() == (True, True)
    os.utime(scans / "p1.png", (1, 1))
    assert again() == (True, True), "touched, but the content is the same"
    assert again(WHOLE_PAGES.model_copy(update={"workers": 2})) == (True, True), "no setting that changes a record"
    assert again(WHOLE_PAGES.model_copy(update={"padding": 1})) == (False, False)
    assert again(existing="overwrite") == (False, False)
    speckled(9).save(scans / "p1.png")
    assert again() == (False, False)
    for path in (failures_path(out), pages_path(out)):
        path.write_text("another table's")
    assert again() == (True, True)
    assert failures(out) == {} and len(read_table(pages_path(out))) == 3, "the table knows its pages"


def test_the_same_content_elsewhere_gets_other_ids(scans: Path, tmp_path: Path) -> None:
    (scans / "copy").mkdir()
    for name in ("p1.png", "again.png"):
        shutil.copy(scans / "p1.png", scans / "copy" / name)
    out = tmp_path / "records.parquet"
    ingest([scans], out, WHOLE_PAGES)
    ids = Records.open(out).frame.set_index("source")["record_id"]
    assert ids["copy/p1.png"] == ids["copy/again.png"] + "-2"
    assert ids["p1.png"] == ids["copy/again.png"] + "-3"


def test_what_cannot_be_read_is_set_aside_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    page().save(folder / "good.png")
    page().save(folder / "good.jpg")
    (folder / "cut.jpg").write_bytes((folder / "good.jpg").read_bytes()[:3000])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("this is no picture")
    (folder / "gone.png").symlink_to(tmp_path / "nowhere")
    write_bomb(folder / "bomb.png")
    write_encrypted_pdf(folder / "locked.pdf")
    write_empty_pdf(folder / "none.pdf")
    write_broken_tiff(folder / "three.tif")
    out = tmp_path / "records.parquet"
    with pytest.raises(InputError, match=r"failures\.csv: 8 of 12 pages were set aside"):
        ingest([folder], out, WHOLE_PAGES)
    reasons = failures(out)
    assert {key: reason.split("(")[0].strip() for key, reason in reasons.items()} == {
        ("bomb.png", "1"): "60000 x 60000 pixels are more than ingest.max_megapixels = 200 allows",
        ("cut.jpg", "1"): "damaged or unreadable image",
        ("empty.png", ""): "the file is empty",
        ("gone.png", ""): "not a regular file that can be read",
        ("locked.pdf", ""): "the PDF is encrypted; save it without its password",
        ("none.pdf", ""): "the PDF is damaged or has no pages",
        ("text.png", ""): "not an image",
        ("three.tif", "2"): "damaged or unreadable image",
    }
    pages = read_table(pages_path(out))
    assert list(pages.columns) == ["source", "page", "status", "records", *FACTS, "reason"]
    assert len(pages) == 12
    assert set(zip(pages["source"], pages["status"], pages["records"], strict=True)) == {
        *((source, "failed", 0) for source, _ in reasons),
        *((source, "read", 1) for source in ("good.jpg", "good.png", "three.tif")),
    }
    assert pages.loc[pages["source"] == "good.png", ["width", "height"]].to_numpy().tolist() == [[700, 300]]
    assert pages.loc[pages["source"] == "bomb.png", "width"].isna().all()
    frame = Records.open(out).frame
    assert frame[["source", "page"]].to_numpy().tolist() == [
        ["good.jpg", 1],
        ["good.png", 1],
        ["three.tif", 1],
        ["three.tif", 3],
    ]
    allowed = WHOLE_PAGES.model_copy(update={"max_failures": 8 / 12})
    assert len(ingest([folder], out, allowed).failures) == 8, "the limit is inclusive"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_read_once_it_may_be(scans: Path, tmp_path: Path) -> None:
    config = WHOLE_PAGES.model_copy(update={"max_failures": 1.0})
    (scans / "p1.png").chmod(0)
    assert len(ingest([scans], tmp_path / "r.parquet", config).failures) == 1
    (scans / "p1.png").chmod(0o644)
    assert len(ingest([scans], tmp_path / "r.parquet", config).failures) == 0


def test_errors_of_use(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no scan found"):
        (tmp_path / "empty").mkdir()
        ingest([tmp_path / "empty"], tmp_path / "r.parquet", WHOLE_PAGES)
    with pytest.raises(UsageError, match=r"\.parquet"):
        ingest([scans], tmp_path / "r.csv", WHOLE_PAGES)
    with pytest.raises(ConfigError, match="need an OCR engine"):
        ingest([scans], tmp_path / "r.parquet", IngestConfig(regions="lines", ocr="none"))
    (tmp_path / "mine.parquet").write_bytes(b"my own")
    with pytest.raises(UsageError, match="not written by ingest"):
        ingest([scans], tmp_path / "mine.parquet", WHOLE_PAGES)
    assert (tmp_path / "mine.parquet").read_bytes() == b"my own"


def test_given_boxes_in_all_units(tmp_path: Path) -> None:
    page(size=(200, 100)).save(tmp_path / "a.png")
    page(size=(200, 100)).save(tmp_path / "b.pdf", resolution=72)
    config = boxes_config(
        tmp_path,
        "source,page,unit,x,y,w,h,record_id,text,entity_id,shelf mark\n"
        "a.png,,px,10,20,20.5,20,one,Abel & Co,e1,001\n"
        "a.png,1,%,50,50,60,50,,Cain,e2,NA\n"
        "b.pdf,1,pt,1,2,10,10,three,Seth,e1,\n",
        dpi=144,
    )
    summary = ingest([tmp_path / "a.png", tmp_path / "b.pdf"], tmp_path / "r.parquet", config)
    frame = Records.open(tmp_path / "r.parquet").frame
    assert summary.records == 3
    assert frame[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == [
        [10, 20, 31, 40],
        [100, 50, 200, 100],
        [2, 4, 22, 24],
    ]
    assert frame["record_id"][0] == "one" and frame["record_id"][1].startswith("r")
    assert frame["text"].tolist() == ["Abel & Co", "Cain", "Seth"]
    assert frame["entity_id"].tolist() == ["e1", "e2", "e1"]
    assert frame["shelf mark"].tolist() == ["001", "NA", ""]
    assert frame["ocr_engine"].eq("").all()


def test_boxes_find_their_file_by_path_or_name(scans: Path, tmp_path: Path) -> None:
    (scans / "sub").mkdir()
    speckled(7).save(scans / "sub" / "q.png")
    config = boxes_config(
        tmp_path, "image,x,y,w,h\nimages/q.png,0,0,5,5\np1.png,1,2,3,4\nabsent.png,0,0,1,1\n", max_failures=0
    )
    ingest([scans], tmp_path / "r.parquet", config)
    frame = Records.open(tmp_path / "r.parquet").frame
    assert frame["source"].tolist() == ["p1.png", "sub/q.png"]
    assert frame[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == [[1, 2, 4, 6], [0, 0, 5, 5]]
    (scans / "q.png").write_bytes((scans / "sub" / "q.png").read_bytes())
    (tmp_path / "boxes.csv").write_text("image,x,y,w,h\nimages/q.png,0,0,5,5\n")
    with pytest.raises(InputError, match=r"could be q\.png or sub/q\.png"):
        ingest([scans], tmp_path / "r2.parquet", config)


def test_boxes_that_lie_nowhere_are_set_aside(scans: Path, tmp_path: Path) -> None:
    config = boxes_config(
        tmp_path,
        "source,page,x0,y0,x1,y1,unit\np0.png,1,0,0,9,9,px\np0.png,1,60,0,70,9,px\np1.png,4,0,0,9,9,px\n"
        "p2.png,1,0,0,9,9,pt\n",
        max_failures=1,
    )
    assert ingest([scans], tmp_path / "r.parquet", config).records == 1
    reasons = failures(tmp_path / "r.parquet")
    assert "outside the page of 60 x 40" in reasons["p0.png", "1"]
    assert "page 4, but it has 1" in reasons["p1.png", ""]
    assert "only PDF pages have points" in reasons["p2.png", "1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source,x0,y0,x1\na,1,2,3\n", "column x, y, w, h is missing"),
        ("x,y,w,h\n1,2,3,4\n", "column image is missing"),
        ("source,x,y,w,h\np0.png,1,2,0,4\n", "row 2: .* is no box"),
        ("source,x,y,w,h,page\np0.png,1,2,3,4,0\n", "row 2: page counts from 1"),
        ("source,x,y,w,h,unit\np0.png,1,2,3,4,cm\n", "row 2: .*unit is px, % or pt"),
        ("source,x,y,w,h,record_id\np0.png,1,2,3,4,i\np1.png,1,2,3,4,i\n", "'i' stands twice"),
        ("source,x,y,w,h\nabsent.png,1,2,3,4\n", "none of its sources"),
    ],
)
def test_tables_of_boxes_are_checked(text: str, message: str, scans: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        ingest([scans], tmp_path / "r.parquet", boxes_config(tmp_path, text))


def test_equal_boxes_have_different_ids(scans: Path, tmp_path: Path) -> None:
    config = boxes_config(tmp_path, "source,x,y,w,h\np0.png,0,0,5,5\np0.png,0,0,5,5\n")
    ingest([scans], tmp_path / "r.parquet", config)
    assert Records.open(tmp_path / "r.parquet").frame["record_id"].is_unique


def test_a_template_holds_where_a_page_has_no_rows_of_its_own(tmp_path: Path) -> None:
    pages = [speckled(number) for number in range(4)]
    (tmp_path / "in").mkdir()
    pages[0].save(tmp_path / "in" / "many.tif", save_all=True, append_images=pages[1:])
    speckled(9).save(tmp_path / "in" / "one[1].png")
    config = boxes_config(
        tmp_path,
        "source,page,unit,x,y,w,h,name\n*,odd,%,0,0,50,50,firm\n*.tif,last,px,1,1,5,5,date\nmany.tif,3,px,7,7,2,2,own\n"
        "one[[]1].png,,px,0,0,1,1,nothing\n",
    )
    summary = ingest([tmp_path / "in"], tmp_path / "r.parquet", config)
    frame = Records.open(tmp_path / "r.parquet").frame
    assert list(zip(frame["source"], frame["page"], frame["name"], frame["x1"], strict=True)) == [
        ("many.tif", 1, "firm", 30),
        ("many.tif", 3, "own", 9),
        ("many.tif", 4, "date", 6),
        ("one[1].png", 1, "firm", 30),
    ]
    assert frame["record_id"].is_unique and summary.records == 4
    config = boxes_config(tmp_path, "source,x,y,w,h,record_id\n*,0,0,5,5,mine\n")
    with pytest.raises(InputError, match="row 2: a row for many pages cannot name a record_id"):
        ingest([tmp_path / "in"], tmp_path / "r2.parquet", config)


def test_row_groups_are_small(scans: Path, tmp_path: Path) -> None:
    rows = "".join(f"p{n % 3}.png,{n % 50},0,5,5\n" for n in range(700))
    ingest([scans], tmp_path / "r.parquet", boxes_config(tmp_path, "source,x,y,w,h\n" + rows))
    metadata = pq.read_metadata(tmp_path / "r.parquet")
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [256, 256, 188]


def read_again(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The (file name, page) of what is read from here on."""
    seen: list[tuple[str, int]] = []
    run = Workers.run

    def listen(self: Workers, work: Any, items: Iterable[Any], *more: Any) -> Iterator[tuple[Any, Any]]:
        for item, result in run(self, work, items, *more):
            if isinstance(item, PageTask):
                seen.append((item.path.name, item.page))
            yield item, result

    monkeypatch.setattr(Workers, "run", listen)
    return seen


def test_only_what_was_set_aside_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(3):
        speckled(number, (60 + number, 1000 + 1000 * number)).save(folder / f"p{number}.png")
    for copy in ("a.png", "q.png"):  # one before, one behind the first
        shutil.copy(folder / "p1.png", folder / copy)
    pages = [speckled(number, (90, 500 * number)) for number in (1, 4, 2)]
    pages[0].save(folder / "three.tif", save_all=True, append_images=pages[1:])
    out, plain = tmp_path / "out" / "r.parquet", tmp_path / "plain" / "r.parquet"
    strict = WHOLE_PAGES.model_copy(update={"max_megapixels": 0.15, "max_failures": 1})
    loose = WHOLE_PAGES.model_copy(update={"max_megapixels": 1, "max_failures": 1})
    ingest([folder], plain, loose)
    seen = read_again(monkeypatch)
    ingest([folder], out, strict)
    assert sorted(failures(out)) == [("p2.png", "1"), ("three.tif", "2")]
    seen.clear()
    assert ingest([folder], out, loose).reused, "a limit is no setting: what was done is kept until asked"
    ingest([folder], out, loose, existing="retry")
    assert sorted(seen) == [("p2.png", 1), ("three.tif", 2)]
    for name in ("r.parquet", "r.pages.csv", "r.failures.csv"):
        assert out.with_name(name).read_bytes() == plain.with_name(name).read_bytes()
    seen.clear()
    assert ingest([folder], out, loose, existing="retry").reused, "nothing is left to be read again"
    speckled(7).save(folder / "new.png")
    (folder / "a.png").unlink()
    ingest([folder], out, loose)
    assert seen == [("new.png", 1)]
    ids = Records.open(out).frame.set_index("source")["record_id"]
    assert ids["q.png"] == ids["p1.png"] + "-2" and "-2" not in ids["p1.png"]


def test_what_to_do_with_an_earlier_result(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "r.parquet"
    ingest([scans], out, WHOLE_PAGES, existing="abort")
    with pytest.raises(UsageError, match="exists already, or was begun"):
        ingest([scans], out, WHOLE_PAGES, existing="abort")
    seen = read_again(monkeypatch)
    ingest([scans], out, WHOLE_PAGES, existing="overwrite")
    assert len(seen) == 3
    with pytest.raises(UsageError, match="skip, retry, overwrite or abort"):
        ingest([scans], out, WHOLE_PAGES, existing="resume")


def test_a_page_beyond_its_time_or_memory_is_set_aside(tmp_path: Path) -> None:
    speckled(0).save(tmp_path / "small.png")
    Image.new("RGB", (14_000, 14_000)).save(tmp_path / "large.png")
    for changes, reason in (
        ({"page_seconds": 2.0}, "it took longer than ingest.page_seconds = 2 allows"),
        ({"page_memory": 10**8}, "it took more memory than ingest.page_memory = 100.0MB allows"),
    ):
        config = update(WHOLE_PAGES, max_failures=1.0, **changes)
        assert ingest([tmp_path], tmp_path / "r.parquet", config, existing="overwrite").records == 1
        assert failures(tmp_path / "r.parquet") == {("large.png", "1"): reason}


SCRIPT = """
import sys
from pathlib import Path
from linkage.config import IngestConfig
from linkage.ingest.ingest import ingest

if __name__ == "__main__":
    config = IngestConfig(regions="page", ocr="none", padding=0, workers=int(sys.argv[3]))
    ingest([Path(sys.argv[1])], Path(sys.argv[2]), config)
"""


def test_killed_at_any_moment_it_ends_with_the_same_table(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    pages = [speckled(number, (500, 300)) for number in range(4)]
    pages[0].save(scans / "many.tif", save_all=True, append_images=pages[1:])
    for number in range(16):
        speckled(100 + number, (600, 400)).save(scans / f"s{number:02d}.png")
    uncut, cut = tmp_path / "uncut" / "r.parquet", tmp_path / "cut" / "r.parquet"
    ingest([scans], uncut, WHOLE_PAGES)
    (tmp_path / "script.py").write_text(SCRIPT)
    parts = cut.with_name("r.parquet.partial") / "parts"
    children: list[psutil.Process] = []
    moments = sorted(random.Random(5).sample(range(1, 19), 3))
    for moment, workers in zip(moments, "121", strict=True):
        process = subprocess.Popen([sys.executable, str(tmp_path / "script.py"), str(scans), str(cut), workers])
        while len(list(parts.rglob("[!.]*.parquet"))) < moment and process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.01)
        children += psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was meant to be cut off"
        assert not cut.exists()
    damaged = min(parts.rglob("[!.]*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:100])  # as a power cut can leave it
    cut.with_name(".r.parquet.123.tmp").write_bytes(b"PAR1")  # what a run killed while merging leaves
    ingest([scans], cut, WHOLE_PAGES)
    assert sorted(path.name for path in cut.parent.iterdir()) == ["r.failures.csv", "r.pages.csv", "r.parquet"]
    for name in ("r.failures.csv", "r.pages.csv", "r.parquet"):
        assert cut.with_name(name).read_bytes() == uncut.with_name(name).read_bytes()
    assert not parts.parent.exists()
    assert len(Records.open(cut)) == 20
    assert psutil.wait_procs(children, timeout=30)[1] == [], "workers go when their parent is gone"


def test_only_one_process_writes_a_table(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.parquet"
    with alone(out), pytest.raises(UsageError, match="another process is writing it"):
        ingest([scans], out, WHOLE_PAGES)
    assert ingest([scans], out, WHOLE_PAGES).records == 3
