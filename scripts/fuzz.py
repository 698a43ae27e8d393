"""Feed thousands of damaged files to every reader and count what comes of them: `make fuzz`.

Outcomes: accepted; refused, with one line that says why; stopped: a page that took too much time or memory, which ends
its worker process, here as in an ingest, and is set aside. And what must not be: a crash (any other exception or a
signal), a hang, memory (of readers that no such worker guards, or faster than it can be stopped) and an escape (files,
programs, code or networks touched that are none of the reader's business).

A case is known by seed, kind and number: `fuzz.py --seed 0 --only pdf --case 731` does one again and keeps its files.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import psutil

sys.path.insert(0, str(Path(__file__).parent))

from fuzzing.cases import case, write
from fuzzing.readers import READERS, scan, sharing
from fuzzing.watch import Seen, work

from linkage.machine import cores
from linkage.progress import progress

OUTCOMES = ("accepted", "refused", "stopped", "crash", "hang", "memory", "escape")
WRONG = OUTCOMES[3:]
_PATIENCE = 300.0  # seconds for a worker to import what it needs and to make a case
_FASTEST = 1500.0  # megabytes that a worker may take between two looks at it
_IDLE = 10  # times its processor time that a reader may sit there, on a busy machine


@dataclass(frozen=True)
class Limits:
    """What one file may cost: seconds of processor time to be read, megabytes that the process grows by."""

    seconds: float = 20.0
    megabytes: float = 2500.0  # a progressive JPEG of ingest.max_megapixels = 200 takes 2000


class Result(NamedTuple):
    """What came of one case."""

    kind: str
    number: int
    seen: Seen


def plan(files: int, kinds: Sequence[str]) -> list[tuple[str, int]]:
    """The cases (kind, number) of `files` in all, spread over the kinds, those of one kind together."""
    shares = sharing(kinds)
    total = sum(shares.values())
    counts = {kind: -(-files * share // total) for kind, share in shares.items()}  # rounded up
    return [(kind, number) for kind, count in counts.items() for number in range(count)]


def fuzz(tasks: Sequence[tuple[str, int]], seed: int, *, workers: int = 2) -> list[Result]:
    """Have every case read in worker processes; a worker that dies or must be killed is replaced."""
    results = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch, progress("fuzz", len(tasks), "files") as advance:
        crew = [_Worker(Path(scratch, f"{n}"), seed, Limits()) for n in range(workers)]
        try:
            for result in _results(crew, tasks):
                results.append(result)
                advance()
            return results
        finally:
            for worker in crew:
                worker.end()


def _results(crew: list[_Worker], tasks: Sequence[tuple[str, int]]) -> Iterator[Result]:
    remaining = iter(tasks)
    busy = [worker for worker in crew if worker.take(next(remaining, None))]
    while busy:
        connection.wait([handle for worker in busy for handle in worker.handles()], timeout=0.1)
        for worker in list(busy):
            if (seen := worker.look()) is not None:
                assert worker.task is not None
                yield Result(*worker.task, seen)
                if not worker.take(next(remaining, None)):
                    busy.remove(worker)


class _Worker:
    """One process and the case that it is at."""

    def __init__(self, root: Path, seed: int, limits: Limits) -> None:
        self._root, self._seed, self._limits = root, seed, limits
        self.task: tuple[str, int] | None = None
        self._reading = False
        self._number = 0
        self._start()

    def take(self, task: tuple[str, int] | None) -> bool:
        """Begin with a case; False where there is none."""
        self.task = task
        if task is None:
            return False
        if not self._process.is_alive():
            self._start()
        self._since, self._reading, self._base = time.monotonic(), False, self._resident()
        self._connection.send(task)
        return True

    def handles(self) -> list[Any]:
        """What to wait for."""
        return [self._connection, self._process.sentinel]

    def look(self) -> Seen | None:
        """What came of the case, None while it is being read."""
        try:
            while self._connection.poll():
                message = self._connection.recv()
                if isinstance(message, Seen):
                    return message
                self._since, self._reading, self._base = time.monotonic(), True, self._resident()
                self._busy_before = self._busy()
        except EOFError:
            self._process.join(10)
        seconds = time.monotonic() - self._since
        if not self._process.is_alive():
            if not self._reading:
                raise RuntimeError(f"a worker cannot make case {self.task} of seed {self._seed}: {self._last_words()}")
            code = self._process.exitcode or 0
            return Seen("crash", f"{signal.Signals(-code).name if code < 0 else code}: {self._last_words()}", seconds)
        guarded = self.task is not None and READERS[self.task[0]] is scan
        if self._too_long(seconds):
            return self._stopped(Seen("stopped" if guarded else "hang", f"more than {seconds:.0f} s", seconds))
        grown = self._resident() - self._base
        if self._reading and grown > self._limits.megabytes:
            slow = not guarded or grown > self._limits.megabytes + _FASTEST
            return self._stopped(Seen("memory" if slow else "stopped", f"{grown:.0f} MB and growing", seconds, grown))
        return None

    def _too_long(self, seconds: float) -> bool:
        if not self._reading:
            return seconds > _PATIENCE
        return self._busy() - self._busy_before > self._limits.seconds or seconds > _IDLE * self._limits.seconds

    def end(self) -> None:
        """Stop the process."""
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._number += 1
        root = self._root / str(self._number)
        root.mkdir(parents=True)
        self._log = root.with_suffix(".log")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, root.resolve(), self._seed, self._limits.megabytes, self._log)
        self._process = context.Process(target=_begin, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def _stopped(self, seen: Seen) -> Seen:
        os.kill(self._process.pid or 0, signal.SIGABRT)  # faulthandler then says where it was
        self._process.join(10)
        self.end()
        return seen._replace(detail=f"{seen.detail}; {self._last_words()}")

    def _resident(self) -> float:
        try:
            return float(psutil.Process(self._process.pid).memory_info().rss) / 2**20
        except psutil.Error:
            return 0.0

    def _busy(self) -> float:
        try:
            times = psutil.Process(self._process.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        frames = [line.strip() for line in lines if line.strip().startswith(("File", "Fatal", "python"))]
        return " ".join(frames[-40:][:6])[:600] or " ".join(lines[-3:])[:300]


def _begin(theirs: connection.Connection, root: Path, seed: int, megabytes: float, log: Path) -> None:
    """Where a worker starts: what libraries print goes to its log."""
    for name in ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT"):
        os.environ[name] = "1"
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
        os.dup2(file.fileno(), 1)
    work(theirs, root, seed, megabytes)


def report(results: Sequence[Result]) -> pd.DataFrame:
    """A row per kind of file and one for all: files, outcomes, slowest second and greatest growth in memory."""
    rows = []
    kinds = list(dict.fromkeys(result.kind for result in results))
    for kind in [*kinds, "all"]:
        chosen = [result.seen for result in results if kind in (result.kind, "all")]
        counts = {outcome: sum(seen.outcome == outcome for seen in chosen) for outcome in OUTCOMES}
        worst = {"seconds": round(max(s.seconds for s in chosen), 1), "mb": round(max(s.megabytes for s in chosen))}
        rows.append({"kind": kind, "files": len(chosen)} | counts | worst)
    return pd.DataFrame(rows)


def keep(results: Sequence[Result], seed: int, folder: Path) -> None:
    """Write the files of the cases, each into a folder of its own with what came of it."""
    for result in results:
        place = folder / f"{result.kind}-{seed}-{result.number}"
        write(case(result.kind, seed, result.number)[0], place)
        (place / "outcome.txt").write_text(f"{result.seen}\n", encoding="utf-8", errors="backslashreplace")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000, help="files in all (default: 10,000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=sorted(READERS), help="kinds of file")
    parser.add_argument("--case", type=int, help="this case of one kind alone; its files are kept")
    parser.add_argument("--workers", type=int, default=min(cores(), 8))
    parser.add_argument("--report", type=Path, help="also write the table as CSV")
    parser.add_argument("--keep", type=Path, default=Path("runs/fuzz"), help="folder for the files that did harm")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("linkage").setLevel(logging.INFO)
    kinds = options.only or list(READERS)
    tasks = [(kind, options.case) for kind in kinds] if options.case is not None else plan(options.files, kinds)
    results = fuzz(tasks, options.seed, workers=options.workers)
    table = report(results)
    print(table.to_string(index=False))
    if options.report:
        table.to_csv(options.report, index=False)
    wrong = [result for result in results if result.seen.outcome in WRONG]
    for result in wrong if options.case is None else results:
        print(f"{result.kind} {result.number}: {result.seen.outcome}: {result.seen.detail}")
    keep(wrong if options.case is None else results, options.seed, options.keep)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
