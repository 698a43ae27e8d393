"""Shards of an ingest: shares done by separate calls, in any order and at once, give what one call gives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from drawn import speckled
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from linkage.config import IngestConfig
from linkage.errors import UsageError
from linkage.ingest.ingest import ingest, ingest_shard
from linkage.locks import alone, among
from linkage.records import Records
from linkage.workers.share import Share

WHOLE_PAGES = IngestConfig(regions="page", ocr="none", workers=1, padding=0, max_failures=1)
RESULTS = ("records.parquet", "records.pages.csv", "records.failures.csv")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Single pages, one with a copy, a file of five pages, a damaged one."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(4):
        speckled(number).save(folder / f"p{number}.png")
    shutil.copy(folder / "p1.png", folder / "q.png")
    (folder / "cut.png").write_bytes((folder / "p1.png").read_bytes()[:300])
    (folder / "empty.png").touch()
    pages = [Image.fromarray(255 - 7 * number - speckled_array(number)) for number in range(5)]
    pages[0].save(folder / "five.tif", save_all=True, append_images=pages[1:])
    return folder


def speckled_array(number: int):  # type: ignore[no-untyped-def]
    import numpy as np

    return np.asarray(speckled(number).convert("L")) // 2


def files(folder: Path) -> dict[str, bytes]:
    assert sorted(path.name for path in folder.iterdir()) == sorted(RESULTS), "and nothing else is left"
    return {name: (folder / name).read_bytes() for name in RESULTS}


@given(of=st.integers(1, 40), length=st.integers(0, 100))
def test_every_place_is_in_one_shard(of: int, length: int) -> None:
    shards = [Share(number, of) for number in range(1, of + 1)]
    assert [sum(shard.has(place) for shard in shards) for place in range(length)] == [1] * length


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "3/", "/4", "a/b", "-1/4", "1/0", "²/4", ""])
def test_what_names_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="like 3/16"):
        Share.read(text)


def test_shards_give_the_files_of_one_call(scans: Path, tmp_path: Path) -> None:
    ingest([scans], tmp_path / "plain" / "records.parquet", WHOLE_PAGES)
    out = tmp_path / "sharded" / "records.parquet"
    done = [ingest_shard([scans], out, WHOLE_PAGES, Share(number, 3)) for number in (3, 1, 2)]
    assert sum(one.pages for one in done) == done[0].of == 11
    assert not out.exists()
    parts = {path: path.stat().st_ino for path in out.with_name("records.parquet.partial").rglob("*.parquet")}
    assert len(parts) == 10, "the copy shares its part"
    ingest([scans], out, WHOLE_PAGES)
    assert files(out.parent) == files(tmp_path / "plain")


def test_what_no_shard_did_is_done_when_they_are_merged(scans: Path, tmp_path: Path) -> None:
    ingest([scans], tmp_path / "plain" / "records.parquet", WHOLE_PAGES)
    out = tmp_path / "sharded" / "records.parquet"
    for _ in range(2):  # twice the same one
        ingest_shard([scans], out, WHOLE_PAGES, Share(2, 3))
    ingest([scans], out, WHOLE_PAGES)
    assert files(out.parent) == files(tmp_path / "plain")


def test_shards_read_only_what_is_new(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "sharded" / "records.parquet"
    ingest([scans], out, WHOLE_PAGES)
    speckled(9).save(scans / "z.png")
    for number in (1, 2):
        ingest_shard([scans], out, WHOLE_PAGES, Share(number, 2))
    assert len(list(out.with_name("records.parquet.partial").rglob("*.parquet"))) == 1
    ingest([scans], out, WHOLE_PAGES)
    ingest([scans], tmp_path / "plain" / "records.parquet", WHOLE_PAGES)
    assert files(out.parent) == files(tmp_path / "plain")


def test_shards_retry_what_was_set_aside(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "sharded" / "records.parquet"
    small = WHOLE_PAGES.model_copy(update={"max_megapixels": 0.001})
    assert ingest([scans], out, small).records == 0
    for number in (1, 2):
        ingest_shard([scans], out, WHOLE_PAGES, Share(number, 2), existing="retry")
    ingest([scans], out, WHOLE_PAGES, existing="retry")
    ingest([scans], tmp_path / "plain" / "records.parquet", WHOLE_PAGES)
    assert files(out.parent) == files(tmp_path / "plain")
    with pytest.raises(UsageError, match="skip or retry"):
        ingest_shard([scans], out, WHOLE_PAGES, Share(1, 2), existing="overwrite")


def test_shards_keep_out_of_each_other_and_of_the_merging(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "records.parquet"
    with among(out, "1/2"):
        with pytest.raises(UsageError, match="at work on shard 1/2"):
            ingest_shard([scans], out, WHOLE_PAGES, Share(1, 2))
        with pytest.raises(UsageError, match="or a shard of it"):
            ingest([scans], out, WHOLE_PAGES)
        scratch = out.with_name("records.parquet.partial") / ".scratch-1-of-2"
        scratch.mkdir(parents=True)
        ingest_shard([scans], out, WHOLE_PAGES, Share(2, 2))
        assert scratch.exists(), "what another shard is at work in stays"
    with alone(out), pytest.raises(UsageError, match="another process is writing it"):
        ingest_shard([scans], out, WHOLE_PAGES, Share(1, 2))
    ingest([scans], out, WHOLE_PAGES)
    assert len(Records.open(out).frame) == 10
    files(out.parent)


def test_shards_at_once_on_the_command_line(scans: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "linkage", "ingest", str(scans), "--regions", "page", "--ocr", "none"]
    command += ["--workers", "1", "--max-failures", "1"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    sharded, plain = tmp_path / "sharded" / "records.parquet", tmp_path / "plain" / "records.parquet"

    def start(*options: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*command, *options], env=environment, stdout=subprocess.PIPE, text=True)

    calls = [start("--out", str(sharded), "--shard", f"{number}/2") for number in (1, 2)]
    said = [call.communicate()[0].strip() for call in calls]
    assert [call.returncode for call in calls] == [0, 0]
    assert said == ["shard 1/2: 6 of 11 pages read", "shard 2/2: 5 of 11 pages read"]
    for out in (sharded, plain):
        joined = start("--out", str(out), "--json")
        assert json.loads(joined.communicate()[0])["pages"] == 11
    assert files(sharded.parent) == files(plain.parent)
