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
from types import TracebackType
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 3  # tasks handed out per worker: enough to keep it busy, few enough to keep memory flat


class CrashedError(Exception):
    """The process died on an item, also when it was alone with it."""


class Workers:
    """Spawned processes, kept between calls of `run`; a context manager.

    Args:
        count: processes; 1: everything is done in this process, which nothing then protects from a crash.
        scratch: folder for the temporary files of the workers.
    """

    def __init__(self, count: int, scratch: Path) -> None:
        self._count = count
        self._scratch = scratch
        self._executor = self._start(count) if count > 1 else None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._executor:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def run(
        self, work: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result | CrashedError]]:
        """Yield (item, result) for every item as it is done, in any order; `items` are consumed as workers free up."""
        if not self._executor:
            for item in items:
                yield item, work(item)
            return
        remaining = iter(items)
        flying: list[Item] = []
        while True:
            try:
                yield from self._fly(work, remaining, flying)
                return
            except BrokenProcessPool:
                self._executor.shutdown(wait=True)
            # One of these killed its process and the others went down with it: now one at a time.
            yield from self._one_by_one(work, flying)
            flying.clear()
            self._executor = self._start(self._count)

    def _fly(
        self, work: Callable[[Item], Result], remaining: Iterator[Item], flying: list[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Run until nothing remains; `flying` always holds the items that are not done."""
        executor = self._executor
        pending: dict[Future[Result], Item] = {}
        while executor:
            for item in islice(remaining, self._count * _AHEAD - len(pending)):
                flying.append(item)
                pending[executor.submit(work, item)] = item
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                result = future.result()
                item = pending.pop(future)
                flying.remove(item)
                yield item, result

    def _one_by_one(
        self, work: Callable[[Item], Result], items: list[Item]
    ) -> Iterator[tuple[Item, Result | CrashedError]]:
        self._executor = self._start(1)
        for item in items:
            result: Result | CrashedError
            try:
                result = self._executor.submit(work, item).result()
            except BrokenProcessPool:
                self._executor.shutdown(wait=True)
                self._executor = self._start(1)
                result = CrashedError()
            yield item, result
        self._executor.shutdown(wait=True)

    def _start(self, count: int) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(count, context, initializer=_start_worker, initargs=(self._scratch,))


def _start_worker(scratch: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    tempfile.tempdir = str(scratch)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
