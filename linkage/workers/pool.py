"""Worker processes that survive what they read: an item that ends its process, or takes too much, costs only itself.

Each process holds one item at a time, so it is always known which one it was; executors of the standard library hand
out several ahead, and all of them fall with a process. The limits are kept by the parent, which no C code in a worker
can hold up. Memory is the resident set of the worker with the programs it started, looked at five times a second:
limits of the kernel count what is mapped, and torch and onnxruntime map far more than they use.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

import psutil
from pydantic import ByteSize

Item = TypeVar("Item")
Result = TypeVar("Result")

KILLED = "the system killed its reader, as it does when memory runs out"
"""Why an item is lost whose process was killed from outside."""

_SECONDS_BETWEEN_LOOKS = 0.2
_TRIES = 2  # of an item whose process died: the system may have killed it for its neighbour's hunger
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class LostItem:
    """An item that was not done, and why: time, memory, or how its process `died`."""

    reason: str
    died: bool = False


@dataclass(frozen=True)
class WorkLimits:
    """What an item may take: seconds, and bytes of memory beyond what its process held before (None: any).

    After `recycle` items a process is replaced by a new one, so that what libraries leak does not add up. `named` is
    what the settings of the limits are called, without `_seconds` and `_memory`.
    """

    seconds: float
    memory: ByteSize | None
    recycle: int
    named: str = "ingest.page"


UNLIMITED = WorkLimits(float("inf"), None, recycle=256)
"""What may take as long as it needs."""


class Workers:
    """Processes with one thread each, kept between calls of `run`; a context manager.

    They are forked from a server that has imported what they need, so a new one costs milliseconds.

    Args:
        count: processes.
        scratch: folder for the temporary files of the workers.
        limits: of every item.
        preload: modules that the work needs, imported once for all processes.
    """

    def __init__(
        self, count: int, scratch: Path, limits: WorkLimits, preload: Sequence[str] = ("linkage.ingest.work",)
    ) -> None:
        self._scratch = scratch
        self._preload = ["__main__", *preload]
        self._limits = limits
        self._next_look = 0.0
        self._workers: list[_Worker[Any]] = [self._start() for _ in range(count)]

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for worker in self._workers:
            worker.end()

    def run(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        more_seconds: Callable[[Item], float] = lambda item: 0.0,
    ) -> Iterator[tuple[Item, Result | LostItem]]:
        """Yield (item, result) for every item as it is done, in any order; `items` are consumed as workers free up.

        Args:
            work: what is done, in another process; what it raises is raised here.
            items: what it is done to; hashable.
            more_seconds: what an item may take beyond the limit.
        """
        remaining = iter(items)
        again: list[Item] = []
        tries: Counter[Item] = Counter()
        try:
            while True:
                for worker in self._workers:
                    if worker.idle and (item := again.pop() if again else next(remaining, None)) is not None:
                        worker.give(work, item, self._limits.seconds + more_seconds(item))
                if all(worker.idle for worker in self._workers):
                    return
                for place, item, result in self._wait():
                    if isinstance(result, LostItem) or self._workers[place].done >= self._limits.recycle:
                        self._workers[place].end()
                        self._workers[place] = self._start()
                    if isinstance(result, LostItem) and result.died:
                        tries[item] += 1
                        if tries[item] < _TRIES:
                            again.append(item)
                            continue
                    yield item, result
        finally:
            for place, worker in enumerate(self._workers):
                if not worker.idle:  # the caller went away, or an item raised
                    worker.end()
                    self._workers[place] = self._start()

    def _wait(self) -> Iterator[tuple[int, Any, Any]]:
        """Wait for a while: the workers' places and the items that were done or lost."""
        busy = {worker.pipe: place for place, worker in enumerate(self._workers) if not worker.idle}
        ready = connection.wait(list(busy), timeout=_SECONDS_BETWEEN_LOOKS)
        for pipe in ready:
            worker = self._workers[busy[pipe]]  # type: ignore[index]
            item = worker.item
            for result in worker.take():
                yield busy[pipe], item, result  # type: ignore[index]
        if len(ready) == len(busy) or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _SECONDS_BETWEEN_LOOKS
        held = _resident_sets()
        for place, worker in enumerate(self._workers):
            if not worker.idle and (lost := self._beyond(worker, held)):
                yield place, worker.item, lost

    def _beyond(self, worker: _Worker[Any], held: Counter[int]) -> LostItem | None:
        memory, named = self._limits.memory, self._limits.named
        if memory is not None and held[worker.pid] > worker.held + memory:  # first: it makes a page slow as well
            size = memory.human_readable(decimal=True)
            return LostItem(f"it took more memory than {named}_memory = {size} allows")
        if time.monotonic() > worker.deadline:
            return LostItem(f"it took longer than {named}_seconds = {self._limits.seconds:g} allows")
        return None

    def _start(self) -> _Worker[Any]:
        return _Worker(self._scratch, self._preload)


@dataclass
class _GivenItem(Generic[Item]):
    item: Item
    seconds: float


class _Worker(Generic[Item]):
    """One process as its parent sees it.

    Attributes:
        pipe: to it.
        done: items it has done.
        held: bytes it held when it got its item.
        deadline: when its item must be done, by the monotonic clock.
    """

    def __init__(self, scratch: Path, preload: list[str]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(preload)  # of the first pool of this process: the server is started once
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, scratch, dict(os.environ)), daemon=True)
        self._process.start()
        theirs.close()
        self.pid = self._process.pid or 0
        self.done = 0
        self.held, self.deadline = sys.maxsize, float("inf")  # until it has started
        self._started = False
        self._work: Any = None
        self._given: _GivenItem[Item] | None = None

    @property
    def idle(self) -> bool:
        return self._given is None

    @property
    def item(self) -> Item:
        assert self._given
        return self._given.item

    def give(self, work: Any, item: Item, seconds: float) -> None:
        """Send an item to an idle process; the work itself only when it is another than before."""
        self._given = _GivenItem(item, seconds)
        with contextlib.suppress(OSError):  # it died: the pipe says so to `take`
            self.pipe.send((None if work is self._work else work, item))
        self._work = work
        self._begin()

    def take(self) -> list[Any]:
        """What a process whose pipe is ready has to say: nothing but that it started, its result, or how it died.

        Raises:
            Exception: what the work raised.
            RuntimeError: the process cannot even start.
        """
        try:
            raised, result = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            if not self._started:
                raise RuntimeError(f"a worker process cannot start (exit code {self._process.exitcode})") from None
            return [LostItem(_death(self._process.exitcode), died=True)]
        if not self._started:
            self._started = True
            self._begin()
            return []
        self._given = None
        self.done += 1
        if raised:
            raise result
        return [result]

    def end(self) -> None:
        """End it: at once where it has an item, with the programs it started."""
        if self.idle:
            self.pipe.close()
            self._process.join(timeout=5)
        with contextlib.suppress(OSError):
            if self._process.is_alive() and os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self.pipe.close()

    def _begin(self) -> None:
        if self._started and self._given:
            self.deadline = time.monotonic() + self._given.seconds
            with contextlib.suppress(psutil.NoSuchProcess):
                self.held = psutil.Process(self.pid).memory_info().rss


def _death(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return KILLED
    how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
    return f"its reader crashed on it ({how})"


def _resident_sets() -> Counter[int]:
    """Bytes of memory by session: each worker is the leader of one, with the programs it started."""
    held: Counter[int] = Counter()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            held[os.getsid(process.pid)] += process.memory_info().rss
    return held


def _serve(pipe: Any, scratch: Path, environment: dict[str, str]) -> None:
    """What a worker process does: work on what comes through the pipe until it closes."""
    os.setsid()  # an interrupt typed at the terminal is the parent's business; so are the programs started from here
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ |= environment | _ONE_THREAD  # read by libraries and programs that are yet to start
    tempfile.tempdir = str(scratch)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    work: Any = None
    with contextlib.suppress(EOFError, OSError):  # of the pipe: the parent is gone, or needs this process no more
        pipe.send((False, None))
        while True:
            other, item = pipe.recv()
            work = other or work
            pipe.send(_done(work, item))


def _done(work: Callable[[Any], Any], item: Any) -> tuple[bool, Any]:
    """Whether the work raised, and what it raised or returned."""
    try:
        return False, work(item)
    except Exception as error:
        error.add_note("".join(traceback.format_tb(error.__traceback__)))  # it does not travel itself
        return True, error


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
