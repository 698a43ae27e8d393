"""What a benchmark measured, and the table that is made of it."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from linkage.machine import cores
from linkage.rundir import peak_memory


@dataclass(frozen=True)
class Row:
    """One way to do a job, measured.

    Attributes:
        job: what is done, equal for all that are compared with one another; `n` of what.
        way: who does it: linkage with its settings, or the peer.
        seconds: of wall clock.
        megabytes: peak of the resident sets of this process and those it started.
        quality: further figures by name, e.g. recall@1.
    """

    job: str
    n: int
    way: str
    seconds: float
    megabytes: float
    quality: dict[str, Any] = field(default_factory=dict)


def measured(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds and peak megabytes of a call, and what it returned."""
    start = time.perf_counter()
    with peak_memory() as memory:
        result = call()
    return time.perf_counter() - start, memory(), result


def measured_alone(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """What `measured` returns, of a process of its own: its peak holds nothing of what ran before.

    Args:
        call: can be pickled, and so can what it returns; the seconds are its own, without the start of the process.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measured, call).result()


def shown(rows: list[Row]) -> str:
    """Rows as Markdown, a table for each job; ratios are to the first row of a job and its n."""
    lines = []
    for job in dict.fromkeys(row.job for row in rows):
        own = [row for row in rows if row.job == job]
        names = list(dict.fromkeys(name for row in own for name in row.quality))
        head = ["n", "way", "seconds", "times as long", "peak MB", *names]
        lines += [f"## {job}", "", _line(head), _line(["---:", ":---", *["---:"] * (len(head) - 2)])]
        for row in own:
            first = next(one for one in own if one.n == row.n)
            ratio = f"{row.seconds / first.seconds:.2f}" if first.seconds else ""
            figures = [_shown(row.quality.get(name, "")) for name in names]
            lines.append(_line([f"{row.n:,}", row.way, f"{row.seconds:.2f}", ratio, f"{row.megabytes:.0f}", *figures]))
        lines.append("")
    return "\n".join(lines)


def write(rows: list[Row], path: Path) -> None:
    """Write all tables, with what they were measured on."""
    head = (
        "# Measured\n\nWritten by `make bench`. Read the ratios, not the seconds: within a table and an n, all was "
        "measured in one run, and the first way is what the others are compared with.\n\n"
        f"{time.strftime('%Y-%m-%d')}, {cores()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}.\n"
    )
    path.write_text(f"{head}\n{shown(rows)}", encoding="utf-8")


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
