"""Worker processes that survive what they read: a page that kills its process is set aside, not the run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import connection
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 3  # tasks handed out per worker: enough to keep it busy, few enough to keep memory flat


class CrashedError(Exception):
    """The process died on an item, also when it was alone with it."""


def run_all(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int, scratch: Path
) -> Iterator[tuple[Item, Result | CrashedError]]:
    """Yield (item, result) for every item as they are done, in any order.

    Args:
        work: picklable function.
        items: consumed as workers become free.
        workers: processes; 1: all work is done in this process, unprotected.
        scratch: folder for temporary files.
    """
    if workers == 1:
        for item in items:
            yield item, work(item)
        return
    remaining = iter(items)
    lost: list[Item] = []
    done = False
    while not done:
        with _Pool(workers, scratch) as pool:
            pending: dict[Future[Result], Item] = {}
            try:
                while not done:
                    for item in islice(remaining, workers * _AHEAD - len(pending)):
                        lost.append(item)  # until it is known to be safe
                        pending[pool.submit(work, item)] = item
                    for future in wait(pending, return_when=FIRST_COMPLETED).done:
                        result = future.result()
                        item = pending.pop(future)
                        lost.remove(item)
                        yield item, result
                    done = not pending
            except BrokenProcessPool:
                pass
        for item in lost:
            yield item, _alone(work, item, scratch)
        lost = []


def _alone(work: Callable[[Item], Result], item: Item, scratch: Path) -> Result | CrashedError:
    with _Pool(1, scratch) as pool:
        try:
            return pool.submit(work, item).result()
        except BrokenProcessPool:
            return CrashedError()


class _Pool(ProcessPoolExecutor):
    """Fresh processes; leaving the block early does not wait for what is still queued."""

    def __init__(self, workers: int, scratch: Path) -> None:
        context = multiprocessing.get_context("spawn")
        super().__init__(workers, context, initializer=_start_worker, initargs=(scratch,))

    def __exit__(self, *_: object) -> None:
        self.shutdown(wait=True, cancel_futures=True)


def _start_worker(scratch: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    tempfile.tempdir = str(scratch)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
