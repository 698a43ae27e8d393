"""Truth tables find their records: by id, by file, by page and by box; and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.errors import InputError
from linkage.evaluate.truth import attach_labels, attach_truth, join_truth, match_sources, overlap, read_truth
from linkage.layout.boxes import read_boxes
from linkage.records import Records
from linkage.tables import write_table


def truth_of(folder: Path, text: str) -> pd.DataFrame:
    path = folder / "truth.csv"
    path.write_text(text, encoding="utf-8")
    return read_truth(path)


def records(*rows: tuple[str, str, int, tuple[int, int, int, int]]) -> pd.DataFrame:
    flat = [(name, source, page, *box) for name, source, page, box in rows]
    return pd.DataFrame(flat, columns=["record_id", "source", "page", "x0", "y0", "x1", "y1"])


BOX = (10, 10, 110, 30)


def test_ids_decide_where_the_tables_share_any(tmp_path: Path) -> None:
    frame = records(("r1", "a.png", 1, BOX), ("r2", "a.png", 1, BOX), ("r3", "b.png", 1, BOX))
    truth = truth_of(tmp_path, "record_id,source,entity_id,split,role\nr2,b.png,E,test,query\nr9,a.png,F,train,query\n")
    attached = attach_truth(frame, truth)
    assert attached["entity_id"].tolist() == ["", "E", ""]
    assert attached["split"].tolist() == ["", "test", ""]
    assert attached["role"].tolist() == ["", "query", ""]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("1898/p1.png", "1898/p1.png"),  # the path as it is
        ("./1898/p1.png", "1898/p1.png"),
        ("scans/1908/p1.png", "1908/p1.png"),  # the longest common end
        ("p2.png", "1908/p2.png"),  # the name, where it is the only one
        ("p1.png", None),  # two files answer to it
        ("p3.png", None),
        ("", None),
    ],
)
def test_files_are_matched_by_the_end_of_their_path(wanted: str, found: str | None) -> None:
    sources = ["1898/p1.png", "1908/p1.png", "1908/p2.png"]
    assert match_sources([wanted], sources).get(wanted) == found


def test_a_page_with_one_record_needs_no_box_and_one_with_several_does(tmp_path: Path) -> None:
    frame = records(("r1", "a.png", 1, BOX), ("r2", "b.png", 1, BOX), ("r3", "b.png", 1, (0, 50, 9, 60)))
    truth = truth_of(tmp_path, "image,entity_id\nimages/a.png,A\nimages/b.png,B\n")
    assert attach_truth(frame, truth)["entity_id"].tolist() == ["A", "", ""]


def test_pages_count_from_one_and_default_to_it(tmp_path: Path) -> None:
    frame = records(("r1", "a.pdf", 1, BOX), ("r2", "a.pdf", 2, BOX))
    assert attach_truth(frame, truth_of(tmp_path, "source,entity_id\na.pdf,A\n"))["entity_id"].tolist() == ["A", ""]
    truth = truth_of(tmp_path, "source,page,entity_id\na.pdf,2,A\n")
    assert attach_truth(frame, truth)["entity_id"].tolist() == ["", "A"]


def test_boxes_pair_one_to_one_by_best_overlap(tmp_path: Path) -> None:
    frame = records(("near", "a.png", 1, (0, 0, 90, 10)), ("exact", "a.png", 1, (0, 0, 100, 10)))
    truth = truth_of(tmp_path, "source,x,y,w,h,entity_id\na.png,0,0,100,10,A\na.png,300,0,5,5,B\n")
    assert join_truth(frame, truth, 0.5).tolist() == [-1, 0]


def test_the_least_overlap_is_inclusive(tmp_path: Path) -> None:
    frame = records(("r", "a.png", 1, (0, 0, 50, 10)))
    truth = truth_of(tmp_path, "source,x0,y0,x1,y1,entity_id\na.png,0,0,100,10,A\n")
    assert join_truth(frame, truth, 0.5).tolist() == [0]
    assert join_truth(frame, truth, 0.51).tolist() == [-1]


SIDES = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 40), st.integers(1, 40))
BOXES = st.lists(SIDES.map(lambda s: (s[0], s[1], s[0] + s[2], s[1] + s[3])), min_size=1, max_size=8)


@given(BOXES, BOXES)
def test_overlap_is_that_of_the_pixels_and_no_truth_is_used_twice(left, right) -> None:
    found = overlap(np.array(left), np.array(right))
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            masks = np.zeros((2, 80, 80), dtype=bool)
            for mask, (x0, y0, x1, y1) in zip(masks, (a, b), strict=True):
                mask[y0:y1, x0:x1] = True
            assert found[i, j] == pytest.approx((masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum())
    frame = records(*((f"r{i}", "a.png", 1, box) for i, box in enumerate(left)))
    truth = pd.DataFrame(right, columns=["x0", "y0", "x1", "y1"]).astype(float).assign(source="a.png")
    rows = join_truth(frame, truth, 0.3)
    used = rows[rows >= 0]
    assert len(set(used)) == len(used)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("record_id,name\nr1,x\n", "entity_id is missing"),
        ("entity_id,name\nE,x\n", "record_id, or source"),
        ("record_id,entity_id\nr1,E\nr1,F\n", "'r1' stands twice"),
        ("source,entity_id,x,y,w,h\na,E,1,1,0,5\n", "row 2 has no area"),
        ("source,entity_id,x,y,w,h\na,E,1,one,3,5\n", "must hold numbers"),
        ("source,entity_id,unit\na,E,pt\n", "in pixels"),
    ],
)
def test_a_wrong_truth_table_is_refused_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"truth.csv.*{reason}"):
        truth_of(tmp_path, text)


def test_labels_leave_a_tables_own_where_they_say_nothing(tmp_path: Path) -> None:
    frame = pd.DataFrame({"record_id": ["a", "b", "c", "d"], "entity_id": ["A", "B", "C", "D"]})
    frame = frame.assign(split=["train", "val", "", "test"], role=["exemplar", "query", "query", ""])
    truth = truth_of(tmp_path, "record_id,entity_id,role\nb,X,\nc,,query_nomatch\nz,Z,query\n")
    assert attach_labels(frame, truth) == 2
    assert frame["entity_id"].tolist() == ["A", "X", "", "D"], "a correction corrects one row"
    assert frame["split"].tolist() == ["train", "val", "", "test"]
    assert frame["role"].tolist() == ["exemplar", "query", "query_nomatch", ""]


@pytest.mark.parametrize(("name", "value"), [("role", "reference"), ("split", "training")])
@pytest.mark.parametrize("kind", ["labels", "records", "parquet", "boxes"])
def test_a_role_or_split_that_there_is_not_is_refused(tmp_path: Path, name: str, value: str, kind: str) -> None:
    table = pd.DataFrame({"record_id": ["a", "b"], "entity_id": ["A", ""], name: ["", value]})
    readers = {"labels": read_truth, "records": Records.open, "parquet": Records.open, "boxes": read_boxes}
    path = tmp_path / f"table.{'parquet' if kind == 'parquet' else 'csv'}"
    if kind == "boxes":
        table = table.assign(source="a.png", x0=0, y0=0, x1=9, y1=9)
    write_table(table, path)
    with pytest.raises(InputError) as caught:
        readers[kind](path)
    allowed = "exemplar, query, query_nomatch" if name == "role" else "train, val, test"
    assert all(
        part in str(caught.value) for part in (f"table.{path.suffix[1:]}: {name} '{value}' of record 'b'", allowed)
    )
