"""The file of a ledger: two writers, a killed one, and what is no ledger."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from ledgers import altered, dump, groups, made

from linkage.errors import ArtefactError, InputError
from linkage.ledger.ledger import Ledger, RecordGroup

WRITER = """
import sys
from pathlib import Path
from linkage.ledger.ledger import Ledger, RecordGroup
name = sys.argv[2]
with Ledger.open(Path(sys.argv[1]), create=True) as ledger:
    for n in range(10):
        own, both = RecordGroup((f"{name}{n}", f"{name}{n}b"), "clustered"), RecordGroup((f"both{n}", name), "x")
        ledger.record([own, both], command=name)
"""


def test_two_processes_at_once_both_get_all_their_runs_in(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, name], stderr=subprocess.PIPE, text=True) for name in ("one", "two")]
    for writer in writers:
        assert not writer.communicate()[1]
        assert writer.returncode == 0
    with Ledger.open(path) as ledger:
        assert Counter(run.command for run in ledger.runs()) == {"one": 10, "two": 10}
        assert [run.run for run in ledger.runs()] == list(range(1, 21))
        records = [stay.record_id for stay in ledger.members()]
        assert len(records) == len(set(records)) == 2 * 20 + 10 + 2


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from linkage.ledger.ledger import Ledger, RecordGroup
connect = sqlite3.connect
def deadly(*arguments, **options):
    database = connect(*arguments, **options)
    database.execute("PRAGMA cache_size = 2")  # pages go to the disk before the transaction ends
    steps = iter(range(10**9))
    stop = int(sys.argv[2])
    def step():
        if database.in_transaction and next(steps) >= stop:
            os.kill(os.getpid(), signal.SIGKILL)
    database.set_progress_handler(step, 100)
    return database
sqlite3.connect = deadly
with Ledger.open(Path(sys.argv[1])) as ledger:
    ledger.record([RecordGroup((f"r{n}", f"s{n}"), "clustered") for n in range(3000)], command="killed")
"""


@pytest.mark.parametrize("stop", [0, 30, 300, 1500])
def test_a_process_killed_amid_its_transaction_leaves_the_state_before(tmp_path: Path, stop: int) -> None:
    path = tmp_path / "ledger"
    with made(path) as ledger:
        ledger.record([RecordGroup((f"r{n}", f"t{n}"), "clustered") for n in range(2000)], command="test")
        before = dump(path)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path), str(stop)], check=False, stderr=subprocess.PIPE)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with Ledger.open(path) as ledger:
        assert dump(path) == before
        ledger.record(groups("ab"), command="test")


def test_a_locked_ledger_is_one_line_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkage.ledger.ledgerfile._PATIENCE", 0.0)
    path = tmp_path / "ledger"
    with made(path), made(path) as second:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ArtefactError, match=r"ledger: another process"):
            second.record(groups("ab"), command="test")
        other.execute("ROLLBACK")
        other.close()
        second.record(groups("ab"), command="test")


def foreign(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE members (record_id TEXT)")
    database.close()


def newer(path: Path) -> None:
    made(path).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 2")
    database.close()


def damaged(path: Path) -> None:
    with made(path) as ledger:
        ledger.record([RecordGroup((f"r{n}",), "clustered") for n in range(3000)], command="test")
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 12] = b"\xa5" * (4096 * 9)
    path.write_bytes(data)


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    "spoil",
    [
        foreign,
        newer,
        damaged,
        Path.mkdir,
        lambda path: path.write_text("record_id,entity_id\na,b\n" * 100),
        altered("DELETE FROM ledger"),
        altered("INSERT INTO ledger VALUES ('another')"),
        altered("CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM members; END"),
        altered("CREATE VIEW v AS SELECT * FROM members"),
        altered("CREATE TABLE t (a)"),
        altered("DROP INDEX one_entity_per_record"),
        altered(
            "DROP TABLE members",
            "CREATE TABLE members (record_id, entity_id, since_run, until_run)",
            "INSERT INTO members VALUES (x'ff', 5, 1, NULL)",
        ),
    ],
    ids=[
        *("another database", "newer", "damaged", "folder", "no database"),
        *("no salt", "two salts", "trigger", "view", "table", "no index", "no types"),
    ],
)
def test_what_is_no_ledger_is_refused_by_name_and_not_touched(tmp_path: Path, spoil: object, create: bool) -> None:
    path = tmp_path / "some.ledger"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(ArtefactError, match=r"some\.ledger: ") as caught:
        Ledger.open(path, create=create)
    assert "\n" not in str(caught.value)
    assert before == (path.read_bytes() if path.is_file() else None)


def test_a_missing_or_empty_ledger_is_made_only_where_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "some.ledger"
    with pytest.raises(ArtefactError, match="linkage cluster --ledger"):
        Ledger.open(path)
    assert not path.exists()
    path.touch()
    with pytest.raises(ArtefactError):
        Ledger.open(path)
    made(path).close()
    with Ledger.open(path) as ledger:
        assert (ledger.members(), ledger.runs()) == ([], [])
        for run in (-1, 1):
            with pytest.raises(InputError, match="no run"):
                ledger.members(run)
