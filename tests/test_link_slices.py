"""Slices of queries: their size, a kill and the process they are searched in make no difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from linkdata import people, save
from pydantic import ByteSize
from typer.testing import CliRunner

from linkage.cli import app
from linkage.config import LinkConfig
from linkage.encode.embeddings import Embeddings
from linkage.errors import UsageError
from linkage.link import slices
from linkage.link.link import LinkResult, link, link_share
from linkage.link.slices import SearchPlan, SliceTask, find
from linkage.records import Records
from linkage.search.index import Index, build_index
from linkage.workers.pool import Workers, WorkLimits
from linkage.workers.share import Share

SETTINGS: list[dict[str, Any]] = [
    {"blocking": ("shelf",), "fields": {"shelf": "text"}},
    {"constraint": "one-to-one", "coverage": 0.9},
]


def given(folder: Path) -> tuple[Records, Embeddings, Index]:
    frame, image, text = people(1, 60, 3, noise=0.6)
    order = np.random.default_rng(0).permutation(len(frame))
    records, embeddings = save(folder, frame.iloc[order].reset_index(drop=True), image[order], text[order])
    is_exemplar = (records.frame["role"] == "exemplar").to_numpy()
    index = build_index(records.take(np.flatnonzero(is_exemplar)), embeddings, folder / "index")
    return records.take(np.flatnonzero(~is_exemplar)), embeddings, index


def linked(folder: Path, settings: dict[str, Any], **more: Any) -> LinkResult:
    return link(*given(folder), LinkConfig.model_validate({"device": "cpu"} | settings), **more)


def written(result: LinkResult, folder: Path) -> bytes:
    """The tables of a result, as bytes."""
    folder.mkdir()
    result.save(folder / "links.csv", index=Path("index"), queries=Path("queries"))
    nearest = pd.read_parquet(folder / "links.nearest.parquet").to_csv()
    return (folder / "links.csv").read_bytes() + nearest.encode()


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_size_of_a_slice_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    whole = written(linked(tmp_path / "a", settings), tmp_path / "whole")
    monkeypatch.setattr(slices, "SLICE", 17)
    result = linked(tmp_path / "b", settings)
    assert len(result.plan.numbers) == 8
    for number in result.plan.numbers:  # a query has one number, its place in the order of record_id
        frame, queries = result.plan.frame(number), result.plan.queries(number)
        assert frame.index.tolist() == list(queries)
        assert set(result.plan.found(number)["query"]) == set(result.plan.nearest(number)["query"]) == set(queries)
    assert written(result, tmp_path / "parts") == whole
    twin = pd.read_parquet(tmp_path / "parts" / "links.parquet")
    pd.testing.assert_frame_equal(twin, result.links, check_dtype=False)


def test_a_killed_link_goes_on_from_what_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", 17)
    whole = written(linked(tmp_path / "a", {}), tmp_path / "whole")
    search, searched = SearchPlan.find, []

    def killed(plan: SearchPlan, number: int) -> None:
        if len(searched) == 3:
            raise KeyboardInterrupt
        searched.append(number)
        search(plan, number)

    work = tmp_path / "work"
    monkeypatch.setattr(SearchPlan, "find", killed)
    with pytest.raises(KeyboardInterrupt):
        linked(tmp_path / "b", {}, work=work)
    again: list[int] = []
    monkeypatch.setattr(SearchPlan, "find", lambda plan, number: (again.append(number), search(plan, number))[1])
    result = linked(tmp_path / "b", {}, work=work)
    assert (searched, again) == ([0, 1, 2], [3, 4, 5, 6, 7])
    assert written(result, tmp_path / "resumed") == whole
    again.clear()
    linked(tmp_path / "b", {"neighbours": 7}, work=work)
    assert again == list(range(8)), "what was found with other settings is not taken"


def test_another_process_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", 30)
    whole = written(linked(tmp_path / "a", SETTINGS[0]), tmp_path / "whole")
    limits = WorkLimits(120.0, ByteSize(4 * 10**9), 100)
    with Workers(2, tmp_path, limits, ("linkage.link.slices",)) as place:
        result = linked(tmp_path / "b", SETTINGS[0], work=tmp_path / "work", place=place)
    assert written(result, tmp_path / "apart") == whole
    find(SliceTask(result.plan.folder, result.plan.digest, 0))  # it is there: nothing is done


def test_shares_find_what_one_call_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", 17)
    whole = written(linked(tmp_path / "a", SETTINGS[1]), tmp_path / "whole")
    config, work = LinkConfig.model_validate({"device": "cpu"} | SETTINGS[1]), tmp_path / "work"
    did = [link_share(*given(tmp_path / "b"), config, Share(number, 3), work) for number in (3, 1)]
    assert did == [(2 * 17, 120), (3 * 17, 120)]
    searched: list[int] = []
    search = SearchPlan.find
    monkeypatch.setattr(SearchPlan, "find", lambda plan, number: (searched.append(number), search(plan, number))[1])
    assert written(linked(tmp_path / "b", SETTINGS[1], work=work), tmp_path / "joined") == whole
    assert searched == [1, 4, 7], "the share that nobody did"


def test_shares_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", 50)
    monkeypatch.chdir(tmp_path)
    queries, _, _ = given(tmp_path)
    queries.frame.to_parquet("queries.parquet", index=False)

    def called(*more: str) -> Result:
        options = ["--embeddings", "embeddings", "--index", "index", "--set", "link.device=cpu"]
        return CliRunner().invoke(app, ["link", "queries.parquet", *options, *more])

    said = [called("--out", "shared.csv", "--shard", f"{number}/2").stdout.strip() for number in (1, 2)]
    assert said == ["shard 1/2: 70 of 120 queries searched", "shard 2/2: 50 of 120 queries searched"]
    assert not Path("shared.csv").exists()
    for out in ("plain.csv", "shared.csv"):
        assert called("--out", out).exit_code == 0
    assert Path("shared.csv").read_bytes() == Path("plain.csv").read_bytes()
    assert not list(tmp_path.glob("*.partial"))
    bare = ["link", "queries.parquet", "--index", "index", "--out", "x.csv", "--shard", "1/2"]
    refused = CliRunner().invoke(app, bare).exception
    assert isinstance(refused, UsageError) and "--embeddings" in str(refused)


def test_readings_that_were_read_in_row_groups_are_searched(tmp_path: Path) -> None:
    whole = written(linked(tmp_path / "a", {}), tmp_path / "whole")
    frame, image, text = people(1, 60, 3, noise=0.6)
    order = np.random.default_rng(0).permutation(len(frame))
    records, embeddings = save(tmp_path, frame.iloc[order].reset_index(drop=True), image[order], text[order])
    path = tmp_path / "grouped" / "records.parquet"
    path.parent.mkdir()
    table = pa.Table.from_pandas(embeddings.readings, preserve_index=False)
    pq.write_table(table, path, row_group_size=7)
    embeddings = Embeddings(path.parent, embeddings.image, embeddings.text, None, embeddings.manifest)
    is_exemplar = (records.frame["role"] == "exemplar").to_numpy()
    index = build_index(records.take(np.flatnonzero(is_exemplar)), embeddings, tmp_path / "index")
    assert len(embeddings.readings) == len(frame), "from here on they are in memory, in pieces"
    result = link(records.take(np.flatnonzero(~is_exemplar)), embeddings, index, LinkConfig(device="cpu"))
    assert written(result, tmp_path / "grouped-links") == whole
