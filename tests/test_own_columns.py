"""The user's own columns: numbers and ids come out of every command as they went in."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from linkdata import people, save

from linkage.cluster.members import merge_members
from linkage.config import Config, IngestConfig
from linkage.encode.embeddings import Embeddings
from linkage.ingest.table import import_records
from linkage.jobs import build_exemplar_index, cluster_records, export, link_queries
from linkage.records import Records
from linkage.search.index import Index, build_index
from linkage.tables import read_table, unescape_cell

ROWS = 4
_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
_FLOAT = st.floats(allow_nan=False)
_INTEGER = st.integers(-(2**63), 2**63 - 1)
_NUMBER = st.one_of(_INTEGER.map(str), _FLOAT.map(repr), st.just("001.50"), st.just("1,234.50"))


def cells(kind: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.none() | kind, min_size=ROWS, max_size=ROWS)


OWN = st.fixed_dictionaries(
    {
        "price": cells(_FLOAT),
        "length": cells(_FLOAT),  # a name that a column of links.csv has
        "account": cells(_INTEGER),
        "note": cells(_TEXT),
        "mixed": cells(_TEXT | _NUMBER),
        "narrow": cells(st.floats(width=32, allow_nan=False).map(np.float32)),
    }
)
TYPES = {"price": pa.float64(), "length": pa.float64(), "account": pa.int64(), "narrow": pa.float32()}


def as_said(cell: Any) -> str:
    return "" if cell is None else cell if isinstance(cell, str) else str(cell)


def exported(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: unescape_cell(cell) for name, cell in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with embeddings of the records 0 to 3."""
    folder = tmp_path_factory.mktemp("own")
    frame, image, text = people(0, 2, 2)
    save(folder, frame.assign(record_id=[str(row) for row in range(ROWS)]), image, text)
    return folder / "embeddings"


@settings(max_examples=25)
@given(own=OWN)
def test_own_columns_survive_every_way_to_members(embedded: Path, own: dict[str, list[Any]]) -> None:
    folder = embedded.parent
    ids = [str(row) for row in range(ROWS)]
    columns = {name: pa.array(values, TYPES.get(name, pa.string())) for name, values in own.items()}
    pq.write_table(pa.table({"record_id": ids, "text": list("abcd")} | columns), folder / "given.parquet")
    with (folder / "given.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["record_id", "text", *own])
        writer.writerows([ids[row], "abcd"[row], *(as_said(own[name][row]) for name in own)] for row in range(ROWS))
    expected = [{name: as_said(own[name][row]) for name in own} for row in range(ROWS)]
    for path in (folder / "given.parquet", folder / "given.csv"):
        if path.suffix == ".csv":  # where a leading ' says that a spreadsheet was kept from it
            expected = [{name: unescape_cell(cell) for name, cell in row.items()} for row in expected]
        cluster_records(path, folder / "clusters", Config(), embedded)
        assert [{name: row[name] for name in own} for row in exported(folder / "clusters" / "members.csv")] == expected
        import_records(path, folder / "imported.parquet", IngestConfig(ocr="none"))  # as `run` takes a table in
        records = Records.open(folder / "imported.parquet")
        exemplars = build_index(records, Embeddings.open(embedded), folder / "index").exemplars
        empty = pd.DataFrame(
            columns=["record_id", "entity_id", "origin", "membership", "noise", "is_exemplar", "score"]
        )
        export({"members": merge_members(exemplars, None, empty, records.frame)}, folder / "export")
        assert [{name: row[name] for name in own} for row in exported(folder / "export" / "members.csv")] == expected


def test_linked_queries_keep_their_numbers(tmp_path: Path) -> None:
    frame, image, text = people(0, 3, 2)
    frame["record_id"] = np.arange(1001, 1007)
    own = {
        "price": [1234567.89, 20190011234.0, 0.1, 5.0, -2.5, 1e22],
        "account": [9_007_199_254_740_993, 4, 5, 6, 7, 8],
    }
    frame = frame.assign(**own)
    save(tmp_path, frame.assign(record_id=frame["record_id"].astype(str)), image, text)
    exemplar = frame["role"] == "exemplar"
    frame[exemplar].to_parquet(tmp_path / "exemplars.parquet", index=False)
    frame[~exemplar].to_parquet(tmp_path / "queries.parquet", index=False)
    config, embeddings, ledger = Config(), tmp_path / "embeddings", tmp_path / "l.ledger"
    cluster_records(tmp_path / "exemplars.parquet", tmp_path / "clusters", config, embeddings, ledger)
    assert [row["price"] for row in exported(tmp_path / "clusters" / "members.csv")] == ["1234567.89", "0.1", "-2.5"]
    build_exemplar_index(tmp_path / "exemplars.parquet", tmp_path / "index", config, embeddings, ledger)
    out = tmp_path / "links.csv"
    link_queries(tmp_path / "queries.parquet", tmp_path / "index", out, config, embeddings=embeddings, ledger=ledger)
    rows = exported(tmp_path / "links.members.csv")
    assert [row["record_id"] for row in rows] == ["1002", "1004", "1006"]
    assert [row["price"] for row in rows] == ["20190011234.0", "5.0", "1e+22"]
    assert [row["account"] for row in rows] == ["4", "6", "8"]


@pytest.mark.parametrize("kind", ["integers", "fractions"])
def test_ids_of_numbers_are_ids(tmp_path: Path, kind: str) -> None:
    """Integers, and what pandas makes of them where one is missing."""
    number = pd.Series([1, 2, 3, 4], dtype="int64" if kind == "integers" else "float64")
    ids = number.astype(str) if kind == "integers" else pd.Series(["1", "2", "3", ""])
    table = pd.DataFrame({"record_id": number, "text": list("abcd"), "entity_id": number})
    if kind == "fractions":
        table.loc[3, "entity_id"] = np.nan
    table.to_parquet(tmp_path / "t.parquet", index=False)
    records = Records.open(tmp_path / "t.parquet")
    assert records.frame["record_id"].tolist() == ["1", "2", "3", "4"]
    assert records.frame["entity_id"].tolist() == ids.tolist()
    import_records(tmp_path / "t.parquet", tmp_path / "imported.parquet", IngestConfig(ocr="none"))
    assert read_table(tmp_path / "imported.parquet")["entity_id"].tolist() == ids.tolist()


def test_an_index_of_numbered_entities_knows_them_by_text(tmp_path: Path) -> None:
    frame, image, text = people(0, 4, 1)
    _, embeddings = save(tmp_path, frame, image, text)
    pd.DataFrame({"record_id": frame["record_id"], "text": frame["text"], "entity_id": [1, 2, 3, 4]}).to_parquet(
        tmp_path / "numbered.parquet", index=False
    )
    build_index(Records.open(tmp_path / "numbered.parquet"), embeddings, tmp_path / "index")
    assert Index.open(tmp_path / "index").exemplars["entity_id"].tolist() == ["1", "2", "3", "4"]
