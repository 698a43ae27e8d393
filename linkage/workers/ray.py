"""Workers on every machine of a Ray cluster.

Every item is a Ray task of one CPU: Ray starts it where there is room, asks its autoscaler for more, and does it again
elsewhere when its machine dies. (Ray Data's pools of actors were tried first: with Ray 2.60 a run stood still for
minutes after a machine had died.) Ray uses its processes again, and in each one `pool.Workers` holds one process with
what is loaded there: limits, and the words for what went wrong, are those of this machine. Items and results are small;
what the work makes are files, on folders that every machine sees.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from linkage import __version__
from linkage.distribution import install
from linkage.errors import DependencyError
from linkage.workers.pool import KILLED, LostItem, Workers, WorkLimits

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 1000  # items that Ray knows of at a time: the rest need not exist yet
_TRIES = 5  # more, of an item whose machine or process dies
_PROBE = "seen-by-all"


class _Place(NamedTuple):
    """What the work needs on the machine that does it."""

    folder: Path
    scratch: Path
    version: str
    limits: WorkLimits
    preload: tuple[str, ...]


class RayWorkers:
    """The processors of the Ray cluster at RAY_ADDRESS, or of one that is started on this machine; a context manager.

    Args:
        scratch: folder for the temporary files of the workers, on a file system that every machine sees.
        limits: of every item.
        preload: modules that the work needs, imported once a process.

    Raises:
        DependencyError: Ray is not installed, or its cluster cannot be reached.
    """

    def __init__(self, scratch: Path, limits: WorkLimits, preload: Sequence[str]) -> None:
        self._ray = _ray()
        self._place = _Place(Path.cwd(), scratch.absolute(), __version__, limits, tuple(preload))
        self._started = False

    def __enter__(self) -> RayWorkers:
        if not self._ray.is_initialized():
            address = os.environ.get("RAY_ADDRESS", "local")
            try:
                self._ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="error")
            except (ConnectionError, RuntimeError, ValueError) as error:
                said = " ".join(str(error).split())[:300]
                raise DependencyError(f"RAY_ADDRESS={address}: the cluster cannot be reached ({said})") from None
            self._started = True
        (self._place.scratch / _PROBE).touch()
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            self._ray.shutdown()

    def run(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        more_seconds: Callable[[Item], float] = lambda item: 0.0,
    ) -> Iterator[tuple[Item, Result | LostItem]]:
        """Yield (item, result) for every item as it is done, in any order; see `pool.Workers.run`.

        Raises:
            DependencyError: a machine does not see the folders or has another Linkage, or Ray itself failed.
        """
        ray = self._ray
        pickled = ray.cloudpickle.dumps((self._place, work, more_seconds))
        do = ray.remote(num_cpus=1, max_retries=_TRIES)(_do)
        remaining = iter(items)
        waiting: dict[Any, Item] = {}
        try:
            while True:
                for item in islice(remaining, _AHEAD - len(waiting)):
                    waiting[do.remote(pickled, ray.cloudpickle.dumps(item))] = item
                if not waiting:
                    return
                ready, _ = ray.wait(list(waiting))
                for task in ready:
                    yield waiting.pop(task), self._result(task)
        finally:
            for task in waiting:  # the caller went away, or an item raised
                ray.cancel(task, force=True)

    def _result(self, task: Any) -> Any:
        try:
            raised, result = self._ray.cloudpickle.loads(self._ray.get(task))
        except self._ray.exceptions.WorkerCrashedError:
            return LostItem(KILLED, died=True)
        except self._ray.exceptions.RayError as error:
            said = " ".join(str(error).split())[-300:]
            raise DependencyError(f"Ray: {said}; every machine needs the same Linkage and the same folders") from error
        if raised:
            raise result
        return result


def _do(work: bytes, item: bytes) -> bytes:
    """One item, in a process of Ray; returns, pickled, whether the work raised, and what it raised or returned."""
    cloudpickle = _ray().cloudpickle
    try:
        workers, call, more_seconds = _opened(work)
        ((_, result),) = workers.run(call, [cloudpickle.loads(item)], more_seconds)
        return bytes(cloudpickle.dumps((False, result)))
    except Exception as error:
        return bytes(cloudpickle.dumps((True, error)))


@lru_cache(maxsize=1)
def _opened(work: bytes) -> tuple[Workers, Any, Any]:
    """The local worker of this process of Ray; it ends with the process."""
    place, call, more_seconds = _ray().cloudpickle.loads(work)
    if wrong := _wrong(place):
        raise DependencyError(wrong)
    os.chdir(place.folder)  # paths need not be absolute
    return Workers(1, place.scratch, place.limits, place.preload), call, more_seconds


def _wrong(place: _Place) -> str:
    """Why nothing can be done on this machine; "": nothing is wrong."""
    here = f"Ray: {socket.gethostname()}"
    if place.version != __version__:
        return f"{here} has Linkage {__version__}, not {place.version}; install the same version on every machine"
    for folder, seen in ((place.folder, place.folder), (place.scratch, place.scratch / _PROBE)):
        if not seen.exists():
            return f"{here} does not see {folder}; use --engine ray on folders that every machine has at the same path"
    return ""


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise DependencyError(f"--engine ray: Ray is not installed; run `{install('ray')}`") from None
    return ray
