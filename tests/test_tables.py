"""Tables survive a round trip through CSV and through a spreadsheet's temper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.dictionary import COLUMNS
from linkage.errors import InputError
from linkage.jobs import export
from linkage.tables import escape_cell, read_table, table_parts, unescape_cell, write_dictionary, write_table

CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)


@given(CELL)
def test_escaping_is_harmless_and_can_be_undone(text: str) -> None:
    escaped = escape_cell(text)
    assert not escaped.startswith(("=", "+", "@", "\t", "\r"))
    assert not escaped.startswith("-") or float(escaped) <= 0
    assert unescape_cell(escaped) == text


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5))
def test_any_text_survives_csv(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    written = pd.DataFrame(rows, columns=["text", "of the user"], dtype=object)
    write_table(written, path)
    assert read_table(path).to_numpy().tolist() == written.to_numpy().tolist()


@pytest.mark.parametrize(
    "cell", ["001", "NA", "null", "nan", "None", "東京", 'a "quoted", b', "two\nlines", "=1+1", "'x"]
)
def test_ids_and_awkward_cells_stay_text(tmp_path: Path, cell: str) -> None:
    write_table(pd.DataFrame({"record_id": [cell], "text": [cell]}), tmp_path / "t.csv", twin=True)
    for suffix in (".csv", ".parquet"):
        assert read_table(tmp_path / f"t{suffix}")["text"].tolist() == [cell]


def test_a_formula_is_text_to_a_spreadsheet(tmp_path: Path) -> None:
    write_table(pd.DataFrame({"text": ['=HYPERLINK("http://x")', "-1+1"]}), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines()[1:] == ['"\'=HYPERLINK(""http://x"")"', "'-1+1"]


def test_numbers_and_empty_cells_are_typed_by_the_dictionary(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("record_id,page,score,noise\na,1,-0.5,1\nb,,,\n")
    table = read_table(tmp_path / "t.csv")
    assert table["page"].tolist() == [1, pd.NA]
    assert table["score"].isna().tolist() == [False, True]
    assert table["score"][0] == -0.5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"a,b\n1\n", "row 2 has 1 cells"),
        (b"a,a\n1,2\n", "twice"),
        (b"page\nx\n", "column page must hold numbers"),
        (b"page\n1.5\n", "whole numbers"),
        (b"a\n\xff\xfe\n", "not a readable table"),
        (b'a\n"open', "not a readable table"),
    ],
)
def test_a_bad_table_is_one_line_that_names_the_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_table(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_table(pd.DataFrame({"text": ["old"]}), path)
    with pytest.raises(UnicodeEncodeError):
        write_table(pd.DataFrame({"text": ["\ud800"]}), path)
    assert read_table(path)["text"].tolist() == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_the_dictionary_explains_every_column(tmp_path: Path) -> None:
    write_dictionary(tmp_path / "columns.md", {"links": (["record_id", "score", "my column"], 0)})
    text = (tmp_path / "columns.md").read_text()
    assert COLUMNS["score"].meaning in text
    assert "`my column` | text | the user's own column" in text


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_a_table_in_parts_is_exported_as_it_would_be_whole(tmp_path: Path, rows: int) -> None:
    columns = {"record_id": ["a", "=b", None, "d", "e"], "page": [1, 2, None, 4, 5], "rank": [1, 2, 3, 4, 5]}
    pq.write_table(pa.table(columns), tmp_path / "given.parquet", row_group_size=2)
    whole = read_table(tmp_path / "given.parquet")
    parts = list(table_parts(tmp_path / "given.parquet", rows))
    assert all(list(part.dtypes) == list(whole.dtypes) for part in parts)
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)
    export({"links": tmp_path / "given.parquet"}, tmp_path / "parts")
    export({"links": whole}, tmp_path / "whole")
    for name in ("links.csv", "columns.md"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    pd.testing.assert_frame_equal(read_table(tmp_path / "parts" / "links.parquet"), whole)


def test_a_table_without_rows_is_one_part(tmp_path: Path) -> None:
    pq.write_table(pa.table({"record_id": pa.array([], pa.string())}), tmp_path / "none.parquet")
    assert [list(part.columns) for part in table_parts(tmp_path / "none.parquet")] == [["record_id"]]
    with pytest.raises(InputError, match="no such file"):
        next(table_parts(tmp_path / "gone.parquet"))


def test_a_column_with_gaps_is_known_behind_nested_ones_and_damage_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "nested.parquet"
    words = [[{"text": "a", "x0": 1}], [], None, [{"text": "b", "x0": None}]]
    pq.write_table(pa.table({"words": words, "page": [1, 2, None, 4], "rank": [1, 2, 3, 4]}), path, row_group_size=2)
    assert [part["page"].dtype.kind + part["rank"].dtype.kind for part in table_parts(path, 2)] == ["fi", "fi"]
    path.write_bytes(path.read_bytes()[:-40] + bytes(40))
    with pytest.raises(InputError, match=r"nested\.parquet: not a readable table \(") as caught:
        list(table_parts(path))
    assert "\n" not in str(caught.value)


def test_only_what_was_measured_is_rounded(tmp_path: Path) -> None:
    columns = {"record_id": ["a", "b"], "origin": ["clustered"] * 2, "membership": [0.123456789, 1.0]}
    own = {"price": [1234567.89, 5.0], "length": [1234567.25, -0.5], "narrow": np.array([0.1, 2.5], np.float32)}
    write_table(pd.DataFrame(columns | own | {"x0": [1234567.5, 3.0], "page": [1234567.0, np.nan]}), tmp_path / "t.csv")
    _, first, second = (tmp_path / "t.csv").read_text().splitlines()
    assert first == "a,clustered,0.123457,1234567.89,1234567.25,0.1,1234567.5,1234567"
    assert second == "b,clustered,1,5.0,-0.5,2.5,3,"
    scores = {"probability": [0.123456789], "colour_score": [0.123456789], "length": [0.123456789]}
    write_table(pd.DataFrame(scores), tmp_path / "links.csv")
    assert (tmp_path / "links.csv").read_text().splitlines()[1] == "0.123457,0.123457,0.123457"
    write_table(pd.DataFrame({"value": [1 / 3], "low": [0.1 + 0.2], "high": [1.0]}), tmp_path / "figures.csv")
    assert (tmp_path / "figures.csv").read_text().splitlines()[1] == "0.333333,0.3,1"


def test_whole_numbers_with_gaps_stay_whole_numbers(tmp_path: Path) -> None:
    large = 9_007_199_254_740_993  # no fraction of 64 bits is this number
    own = {"account": [large, None, 3], "level": pa.array([1, None, 2], pa.uint8())}
    pq.write_table(pa.table(own | {"page": [1, None, 2]}), tmp_path / "t.parquet", row_group_size=1)
    export({"members": tmp_path / "t.parquet"}, tmp_path / "parts")
    export({"members": read_table(tmp_path / "t.parquet")}, tmp_path / "whole")
    for folder in ("parts", "whole"):
        assert (tmp_path / folder / "members.csv").read_text() == f"account,level,page\n{large},1,1\n,,\n3,2,2\n"
        assert pq.read_table(tmp_path / folder / "members.parquet")["account"].to_pylist() == own["account"]


@pytest.mark.parametrize("cell", ["-5", "-1234567.89", "-1e-05"])
def test_a_negative_number_is_no_formula(cell: str) -> None:
    assert escape_cell(cell) == unescape_cell(cell) == cell
    assert unescape_cell(escape_cell("'" + cell)) == "'" + cell


@pytest.mark.parametrize("name", ["=HYPERLINK(A1)", "@x", "+1", "-col", "'=x", "a|b`c", "\ttab", "plain"])
def test_a_column_named_like_a_formula_is_text_and_comes_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / "table.csv"
    write_table(pd.DataFrame({"record_id": ["r1"], name: ["v"]}), path)
    header = path.read_text(encoding="utf-8").splitlines()[0]
    assert not header.split(",", 1)[1].lstrip('"').startswith(("=", "@", "+", "-", "\t"))
    assert read_table(path).columns.tolist() == ["record_id", name]
    write_dictionary(tmp_path / "columns.md", {"table": (["record_id", name], 1)})
    rows = [line for line in (tmp_path / "columns.md").read_text().splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert all(row.replace("\\|", "").count("|") == 4 for row in rows)
