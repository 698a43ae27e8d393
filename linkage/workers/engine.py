"""Engines: who gives a stage its workers. What they make does not depend on it, so no digest holds an engine's name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from linkage.choices import WorkEngine, either, names
from linkage.errors import UsageError
from linkage.machine import cores
from linkage.workers.pool import UNLIMITED, LostItem, Workers, WorkLimits

Item = TypeVar("Item")
Result = TypeVar("Result")

ENGINES = names(WorkEngine)


class Pool(Protocol):
    """Workers of any engine."""

    def run(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        more_seconds: Callable[[Item], float] = ...,
    ) -> Iterator[tuple[Item, Result | LostItem]]:
        """Yield (item, result) for every item as it is done, in any order; as `pool.Workers.run`."""


def open_workers(
    engine: str, count: int, scratch: Path, limits: WorkLimits, preload: Sequence[str] = ("linkage.ingest.work",)
) -> AbstractContextManager[Pool]:
    """The workers of an engine, as a context manager.

    Args:
        engine: local: processes of this machine; ray: one process for every CPU of a Ray cluster.
        count: processes of this machine; 0: one per core. Of a cluster Ray says how many.
        scratch: folder for the temporary files of the workers, which every machine must see.
        limits: of every item.
        preload: modules that the work needs.

    Raises:
        UsageError: there is no such engine.
        DependencyError: Ray is not installed, or its cluster cannot be reached.
    """
    if engine == "local":
        return Workers(count or cores(), scratch, limits, preload)
    if engine == "ray":
        from linkage.workers.ray import RayWorkers

        return RayWorkers(scratch, limits, preload)
    raise UsageError(f"--engine {engine}: must be {either(ENGINES)}")


@contextmanager
def elsewhere(engine: str, scratch: Path, preload: Sequence[str]) -> Iterator[Pool | None]:
    """The workers of an engine for what this process does by itself where the engine is local: then None."""
    if engine == "local":
        yield None
        return
    scratch.mkdir(parents=True, exist_ok=True)
    with open_workers(engine, 0, scratch, UNLIMITED, preload) as workers:
        yield workers
