"""Progress on stderr: a bar with rate and time left on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 15.0


class Advance(Protocol):
    """Tell the progress display that `n` more items are done."""

    def __call__(self, n: int = 1) -> None:
        """Count `n` more."""


@contextmanager
def progress(what: str, total: int | None, unit: str = "records") -> Iterator[Advance]:
    """Show the progress of `total` items (unknown: None); yields the function to call as items are done."""
    if sys.stderr.isatty():
        with _bar(what, total, unit) as advance:
            yield advance
    else:
        yield _lines(what, total, unit)


@contextmanager
def _bar(what: str, total: int | None, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, rate="")

        def advance(n: int = 1) -> None:
            bar.advance(task, n)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.3g} {unit}/s" if speed else "")

        yield advance


def _lines(what: str, total: int | None, unit: str) -> Advance:
    start = last = time.monotonic()
    done = 0

    def advance(n: int = 1) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        finished = total is not None and done >= total
        if now - last < SECONDS_BETWEEN_LINES and not (finished and now - start >= SECONDS_BETWEEN_LINES):
            return
        last = now
        rate = done / max(now - start, 1e-9)
        left = f", {(total - done) / rate:.0f} s left" if total is not None else ""
        log.info("%s: %d%s %s, %.3g/s%s", what, done, f"/{total}" if total is not None else "", unit, rate, left)

    return advance
