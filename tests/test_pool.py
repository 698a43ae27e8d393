"""Worker processes: what goes wrong with an item costs that item and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from crashing import go_wrong, process, refuse
from pydantic import ByteSize

from linkage.workers.pool import LostItem, Workers, WorkLimits

LIMITS = WorkLimits(seconds=8, memory=ByteSize(200_000_000), recycle=1000)


def test_an_item_that_goes_wrong_is_the_only_one_lost_and_the_reason_says_how(tmp_path: Path) -> None:
    with Workers(3, tmp_path, LIMITS) as workers:
        results = dict(workers.run(go_wrong, range(20)))
        assert {item: results.pop(item) for item in range(3, 8)} == {
            3: LostItem("its reader crashed on it (SIGSEGV)", died=True),
            4: LostItem("the system killed its reader, as it does when memory runs out", died=True),
            5: LostItem("it took longer than ingest.page_seconds = 8 allows"),
            6: LostItem("it took more memory than ingest.page_memory = 200.0MB allows"),
            7: LostItem("it took more memory than ingest.page_memory = 200.0MB allows"),
        }
        assert results == {item: item * item for item in range(20) if item not in range(3, 8)}
        assert dict(workers.run(go_wrong, [8, 9])) == {8: 64, 9: 81}, "and the pool is as good as new"
        left = psutil.Process().children(recursive=True)
    assert not [one for one in left if one.is_running() and "input()" in " ".join(one.cmdline())]


def test_what_the_work_raises_is_raised_and_the_next_call_starts_clean(tmp_path: Path) -> None:
    with Workers(2, tmp_path, LIMITS) as workers:
        with pytest.raises(ValueError, match="no 1") as caught:
            list(workers.run(refuse, [1]))
        assert "crashing.py" in caught.value.__notes__[0], "the worker's traceback comes along"
        assert dict(workers.run(go_wrong, [1, 2])) == {1: 1, 2: 4}
        next(workers.run(go_wrong, range(10, 20)))  # the caller goes away
        assert dict(workers.run(go_wrong, [1, 2])) == {1: 1, 2: 4}


def test_a_process_is_replaced_after_so_many_items_and_has_one_thread(tmp_path: Path) -> None:
    with Workers(1, tmp_path, replace(LIMITS, recycle=4)) as workers:
        told = [told for _, told in workers.run(process, range(10))]
    ids = [pid for pid, _ in told if isinstance(pid, int)]
    assert [ids.count(pid) for pid in dict.fromkeys(ids)] == [4, 4, 2]
    assert {limit for _, limit in told} == {"1"}


def test_an_item_may_be_given_more_time(tmp_path: Path) -> None:
    with Workers(1, tmp_path, replace(LIMITS, seconds=1e-9)) as workers:
        assert dict(workers.run(go_wrong, [1, 2], lambda item: 60.0)) == {1: 1, 2: 4}


def test_limits_go_by_the_names_of_their_settings_and_memory_needs_none(tmp_path: Path) -> None:
    limits = WorkLimits(seconds=1e-9, memory=None, recycle=9, named="other.item")
    with Workers(1, tmp_path, limits) as workers:
        ((_, lost),) = workers.run(go_wrong, [5])
    assert lost == LostItem("it took longer than other.item_seconds = 1e-09 allows")
