"""Entities that keep their names, as a user of the command line meets them."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from linkdata import people, save
from typer.testing import CliRunner

from linkage.cli import app
from linkage.errors import ArtefactError, InputError, UsageError
from linkage.ledger.ledger import Ledger
from linkage.tables import COLUMNS, read_table

COMMANDS = sorted(typer.main.get_command(app).commands["ledger"].commands)  # type: ignore[attr-defined]


def linkage(*arguments: object) -> dict[str, Any]:
    """Run a command that prints JSON; errors are raised as they are."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


class Work:
    """A folder with drawn records of 12 firms, four views each: two come first, two views and a firm later."""

    def __init__(self, folder: Path) -> None:
        frame, image, text = people(4, 12, 4)
        self.frame = frame.drop(columns=["entity_id", "split", "role"])
        self.truth = frame.set_index("record_id")["entity_id"]
        self.embeddings = save(folder, self.frame, image, text)[1].folder
        late = self.frame["record_id"].str[-1].isin(["2", "3"]) | self.frame["record_id"].str.startswith("r011")
        self.early, self.late = folder / "early.csv", folder / "late.csv"
        self.frame[~late].to_csv(self.early, index=False)
        self.frame[late].to_csv(self.late, index=False)
        self.folder, self.ledger = folder, folder / "firms.ledger"

    def cluster(self, records: Path, out: str, *more: object) -> dict[str, Any]:
        options = ("--embeddings", self.embeddings, "--ledger", self.ledger, *more)
        return linkage("cluster", records, "--out", self.folder / out, *options)

    def index(self, records: Path, out: str = "index") -> dict[str, Any]:
        options = ("--embeddings", self.embeddings, "--ledger", self.ledger)
        return linkage("index", records, "--out", self.folder / out, *options)

    def link(self, records: Path, out: str = "links.csv", *more: object) -> dict[str, Any]:
        options = ("--embeddings", self.embeddings, "--ledger", self.ledger, "--index", self.folder / "index", *more)
        return linkage("link", records, "--out", self.folder / out, *options)

    def members(self, out: str, *more: object) -> dict[str, str]:
        linkage("ledger", "members", self.ledger, "--out", self.folder / out, *more)
        return read_table(self.folder / out).set_index("record_id")["entity_id"].to_dict()

    def dump(self) -> list[str]:
        database = sqlite3.connect(self.ledger)
        try:
            return list(database.iterdump())
        finally:
            database.close()


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def test_new_records_join_what_is_known_and_each_other_and_the_rest_stays(work: Work) -> None:
    first = work.cluster(work.early, "first")
    assert (first["run"], first["create"], first["entities"]) == (1, 11, 11)
    before, dump = work.members("before.csv"), work.dump()
    exported = read_table(work.folder / "first" / "members.csv").set_index("record_id")["entity_id"].to_dict()
    assert exported == before, "what is exported and what the ledger says is one"
    assert work.index(work.early)["entities"] == 11
    linked = work.link(work.late)
    assert (linked["run"], linked["matched"], linked["create"], linked["absorb"]) == (2, 22, 1, 11)

    after = work.members("after.csv")
    assert {record: after[record] for record in before} == before
    entity = pd.Series(after)
    assert entity.groupby(work.truth[entity.index]).nunique().eq(1).all(), "a firm has one entity"
    assert entity.nunique() == 12
    members = read_table(work.folder / "links.members.csv")
    assert members["entity_id"].tolist() == [after[record] for record in members["record_id"]]
    assert members["origin"].value_counts().to_dict() == {"linked": 22, "clustered": 4}
    assert "shelf" in members, "the user's own columns travel along"
    assert (work.folder / "links.members.parquet").exists()

    walked = linkage("ledger", "crosswalk", work.ledger, "--from", 1, "--to", 2, "--out", work.folder / "walk.csv")
    assert (walked["same"], walked["absorbed"], walked["created"]) == (11, 11, 1)
    assert read_table(work.folder / "walk.csv")["n_records"].sum() == 48
    assert {*read_table(work.folder / "walk.csv"), *read_table(work.folder / "after.csv")} <= set(COLUMNS)

    undone = linkage("ledger", "undo", work.ledger)
    assert (undone["undone"], undone["command"], undone["note"]) == (2, "linkage link", str(work.late))
    assert work.dump() == dump
    work.members("again.csv")
    assert (work.folder / "again.csv").read_bytes() == (work.folder / "before.csv").read_bytes()


def test_linking_twice_changes_nothing_and_nothing_known_is_torn_out(work: Work) -> None:
    work.cluster(work.early, "first")
    work.index(work.early)
    work.link(work.late)
    members = work.members("one.csv")
    again = work.link(work.late, "again.csv")
    assert (again["run"], again["create"], again["absorb"], again["split"], again["merge"]) == (3, 0, 0, 0, 0)
    assert work.members("two.csv") == members
    work.link(work.late, "none.csv", "--threshold", 1, "--set", "cluster.max_distance=0")
    assert work.members("three.csv") == members, "no match is no reason to leave an entity"


def test_clustering_again_keeps_ids_by_overlap_and_tells_what_became_of_them(work: Work) -> None:
    work.cluster(work.early, "first")
    before = work.members("before.csv")
    everything = work.folder / "every.csv"
    work.frame.to_csv(everything, index=False)
    work.cluster(everything, "second")
    after = work.members("after.csv")
    assert {record: after[record] for record in before} == before
    assert work.cluster(everything, "third", "--set", "cluster.max_distance=0")["split"] > 0
    apart = work.members("apart.csv")
    assert set(after.values()) <= set(apart.values()), "one record at least keeps the id"
    assert work.members("at_2.csv", "--at", 2) == after
    split = linkage("ledger", "history", work.ledger, after["r000_0"])
    assert [event["kind"] for event in split["events"]][:2] == ["create", "absorb"]
    gone = next(record for record in sorted(after) if apart[record] != after[record])
    stays = linkage("ledger", "history", work.ledger, gone)["stays"]
    assert [stay["entity_id"] for stay in stays] == [after[gone], apart[gone]]


def test_entities_of_the_users_own_keep_their_ids(work: Work) -> None:
    exemplars = work.folder / "known.csv"
    first = work.frame[work.frame["record_id"].str.endswith("_0")]
    first.assign(entity_id=work.truth[first["record_id"]].to_numpy()).iloc[:10].to_csv(exemplars, index=False)
    linkage("index", exemplars, "--out", work.folder / "index", "--embeddings", work.embeddings)
    rest = work.folder / "rest.csv"
    work.frame[~work.frame["record_id"].str.endswith("_0")].to_csv(rest, index=False)
    work.link(rest)
    members = pd.Series(work.members("members.csv"))
    known = work.truth[members.index].isin([f"entity {n:03d}" for n in range(10)])
    assert (members[known] == work.truth[members.index][known]).all()
    assert members[~known].nunique() == 2
    assert members[~known].str.fullmatch("e[a-z2-7]{12}").all()


def test_a_retired_entity_and_records_not_known_are_no_exemplars(work: Work) -> None:
    work.cluster(work.early, "first")
    members = work.members("members.csv")
    done = linkage("ledger", "retire", work.ledger, members["r000_0"], "--reason", "not a firm")
    assert done == {"run": 2, "retired": members["r000_0"]}
    with pytest.raises(InputError, match=r"early\.csv: .*firms\.ledger has no entity for 2 records.* 'r000_0'"):
        work.index(work.early)
    assert not (work.folder / "index").exists()
    last = linkage("ledger", "history", work.ledger, members["r000_0"])["events"][-1]
    assert (last["kind"], last["n_records"], last["reason"]) == ("retire", 2, "not a firm")


def test_linking_goes_on_after_an_entity_of_the_index_was_retired_unless_a_query_matches_it(work: Work) -> None:
    work.cluster(work.early, "first")
    work.index(work.early)
    members = work.members("members.csv")
    linkage("ledger", "retire", work.ledger, members["r000_0"], "--reason", "not a firm")
    late = read_table(work.late)
    for name, chosen in {"others": late["record_id"] != "", "it": late["record_id"].str.startswith("r000")}.items():
        rows = late[chosen & (late["record_id"].str.startswith("r000") == (name == "it"))]
        rows.to_csv(work.folder / f"{name}.csv", index=False)
    work.link(work.folder / "others.csv", "others_links.csv")
    after = work.members("after.csv")
    assert after["r001_2"] == members["r001_0"]
    assert not {"r000_0", "r000_1"} & set(after)
    assert members["r000_0"] not in after.values()
    with pytest.raises(ArtefactError, match=r"firms\.ledger: entity .* was retired in run 2 \(not a firm\)"):
        work.link(work.folder / "it.csv", "its_links.csv")


def test_show_prints_counts_and_runs(work: Work) -> None:
    work.cluster(work.early, "first")
    shown = linkage("ledger", "show", work.ledger)
    assert (shown["records"], shown["entities"], len(shown["runs"])) == (22, 11, 1)
    assert shown["runs"][0]["events"]["create"] == 11
    table = CliRunner().invoke(app, ["ledger", "show", str(work.ledger)]).stdout
    assert "linkage cluster" in table
    assert "retire" in table


def test_mistakes_are_told_in_one_line(work: Work) -> None:
    with pytest.raises(ArtefactError, match=r"firms\.ledger: no ledger here"):
        linkage("ledger", "show", work.ledger)
    with pytest.raises(ArtefactError, match=r"firms\.ledger: no ledger here"):
        work.index(work.early)
    with pytest.raises(ArtefactError, match=r"late\.csv: not a usable ledger"):
        linkage("cluster", work.early, "--out", work.folder / "out", "--ledger", work.late)
    Ledger.open(work.ledger, create=True).close()
    with pytest.raises(InputError, match="no run that could be undone"):
        linkage("ledger", "undo", work.ledger)
    with pytest.raises(InputError, match="neither an entity nor a record 'x'"):
        linkage("ledger", "history", work.ledger, "x")
    with pytest.raises(InputError, match="no run 2; its runs go from 1 to 0"):
        work.members("members.csv", "--at", 2)
    with pytest.raises(UsageError, match="--overwrite"):
        work.members("late.csv")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    shown = CliRunner().invoke(app, ["ledger", command, "--help"]).stdout
    assert f"Example: linkage ledger {command} " in " ".join(shown.split())


def test_results_are_the_same_however_the_rows_are_ordered(tmp_path: Path) -> None:
    """Two ledgers never share an id, but they hold the same groups."""
    works = [Work(tmp_path / name) for name in "ab"]
    for seed, work in enumerate(works):
        for path in (work.early, work.late):
            frame = pd.read_csv(path)
            order = np.random.default_rng(seed).permutation(len(frame))
            frame.iloc[order].to_csv(path, index=False)
        work.cluster(work.early, "first")
        work.index(work.early)
        work.link(work.late)
    one, two = (pd.Series(work.members("members.csv")) for work in works)
    assert not set(one) & set(two)
    assert (one.groupby(two).nunique() == 1).all()
    assert (two.groupby(one).nunique() == 1).all()
