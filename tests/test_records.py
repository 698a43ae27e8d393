"""Records as users bring them: CSV with image paths, or Parquet."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linkage import records as module
from linkage.errors import InputError
from linkage.records import Records, record_id


def write(folder: Path, text: str) -> Path:
    path = folder / "records.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_record_may_lack_its_image_or_its_text(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    records = Records.open(write(tmp_path, "record_id,image,text,mine\n1,a.png,,x\n2,,two  words,y\n3,,,z\n"))
    assert records.frame["text"].tolist() == ["", "two words", ""]
    assert records.frame["mine"].tolist() == ["x", "y", "z"]
    assert [records.crop(row) for row in range(3)] == [b"picture", None, None]
    assert list(records.batches(2)) == [(0, [b"picture", None]), (2, [None])]


def test_taken_records_keep_their_crops(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    records = Records.open(write(tmp_path, "record_id,image\n1,a\n2,b\n3,c\n")).take(np.array([2, 0]))
    assert records.frame["record_id"].tolist() == ["3", "1"]
    assert [records.crop(row) for row in range(2)] == [b"c", b"a"]


def test_crops_of_a_large_file_come_a_few_row_groups_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    crops = [rng.bytes(20_000) for _ in range(300)]
    crops[5] = None
    path = tmp_path / "records.parquet"
    rows = pa.table({"record_id": [str(row) for row in range(300)], "crop": pa.array(crops, pa.binary())})
    pq.write_table(rows, path, row_group_size=10)
    del rows
    monkeypatch.setattr(module, "_BYTES_KEPT", 500_000)
    records = Records.open(path)
    before = pa.total_allocated_bytes()
    order = rng.permutation(300)
    for row in order:
        assert records.crop(int(row)) == crops[row]
        assert pa.total_allocated_bytes() - before < 2_000_000, "of 6 MB"
    taken = records.take(order)
    assert [crop for _, batch in taken.batches(7) for crop in batch] == [crops[row] for row in order]
    lying = pickle.loads(pickle.dumps(taken.crops(290, 310)))
    assert list(lying) == [crops[row] for row in order[290:]]
    assert list(records.crops(4, 7)) == crops[4:7]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("id,text\n1,a\n", "column record_id is missing"),
        ("record_id,text\n1,a\n1,b\n", "'1' stands 2 times"),
        ("record_id,text\n,a\n", "row 2 has no record_id"),
        ("record_id,image\n1,../outside.png\n", "leaves the folder"),
        ("record_id,image\n1,/etc/passwd\n", "leaves the folder"),
        ("record_id,image\n1,sub/../../outside.png\n", "leaves the folder"),
    ],
)
def test_a_bad_table_is_refused_with_one_line(tmp_path: Path, table: str, message: str) -> None:
    path = write(tmp_path, table)
    with pytest.raises(InputError, match=message) as caught:
        Records.open(path)
    assert str(path) in str(caught.value)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    (folder / "picture.png").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="leaves the folder"):
        Records.open(write(folder, "record_id,image\n1,picture.png\n"))


def test_a_missing_image_is_noted_and_the_record_kept(tmp_path: Path) -> None:
    records = Records.open(write(tmp_path, "record_id,image,text\n1,gone.png,still here\n"))
    assert records.failures == [("1", "image gone.png is missing or must not be read")]
    assert records.frame["text"].tolist() == ["still here"]
    assert records.crop(0) is None


def test_record_ids_depend_on_content_page_and_region() -> None:
    ids = {record_id(sha, page, region) for sha in ("a", "b") for page in (1, 2) for region in ("x", "y")}
    assert len(ids) == 8
    assert record_id("a", 1, "x") in ids
