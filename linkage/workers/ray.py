"""Workers on every machine of a Ray cluster: Ray Data hands out the items, its actors do them as a local worker does.

Ray Data (ray.data.Dataset.map_batches with an actor pool) starts actors as the cluster has room, moves the items, and
starts an actor again elsewhere when its machine dies, with the items it had. Each actor has one CPU and holds one
process of `pool.Workers`: limits, what is cached in the process, and the words for what went wrong are the same as
here. Items and results are small; what the work makes are files, on folders that every machine sees.
"""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from linkage import __version__
from linkage.errors import DependencyError
from linkage.workers.pool import KILLED, Limits, Lost, Workers

Item = TypeVar("Item")
Result = TypeVar("Result")

_AT_A_TIME = 100_000  # items handed to Ray at once: the rest need not exist yet
_MOST_IN_BLOCK = 32  # items that are done again when the machine that has them dies
_BLOCKS_PER_CPU = 16
_TRIES = 3  # of a block whose actor dies with it
_PROBE = "seen-by-all"


class RayWorkers:
    """Actors of the Ray cluster at RAY_ADDRESS, or of one that is started on this machine; a context manager.

    Args:
        scratch: folder for the temporary files of the workers, on a file system that every machine sees.
        limits: of every item.
        preload: modules that the work needs, imported once an actor.

    Raises:
        DependencyError: Ray is not installed, or its cluster cannot be reached.
    """

    def __init__(self, scratch: Path, limits: Limits, preload: Sequence[str]) -> None:
        self._ray = _ray()
        self._place = (Path.cwd(), scratch.absolute(), __version__)
        self._limits, self._preload = limits, tuple(preload)
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
        (self._place[1] / _PROBE).touch()
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            self._ray.shutdown()

    def run(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        more_seconds: Callable[[Item], float] = lambda item: 0.0,
    ) -> Iterator[tuple[Item, Result | Lost]]:
        """Yield (item, result) for every item as it is done, in any order; see `pool.Workers.run`.

        Raises:
            DependencyError: a machine does not see the folders or has another Linkage, or Ray itself failed.
        """
        remaining = iter(items)
        while some := list(islice(remaining, _AT_A_TIME)):
            left = dict(enumerate(some))
            for size in (_block_size(len(some), self._cpus()), 1):  # alone, an item brings down only its own actor
                if not left:
                    break
                for place, raised, result in self._answers(work, left, more_seconds, size):
                    if raised:
                        raise result
                    yield left.pop(place), result
            for item in left.values():
                yield item, Lost(KILLED, died=True)

    def _answers(
        self, work: Any, items: dict[int, Any], more_seconds: Any, size: int
    ) -> Iterator[tuple[int, bool, Any]]:
        """Places of items, whether the work raised, and what it raised or returned; without what Ray gave up on."""
        from ray.data import ActorPoolStrategy, from_arrow

        cloudpickle = self._ray.cloudpickle

        rows = [(place, cloudpickle.dumps(item)) for place, item in items.items()]
        blocks = [_table(rows[start : start + size]) for start in range(0, len(rows), size)]
        data = from_arrow(blocks)
        data.context.enable_progress_bars = False
        data.context.max_errored_blocks = -1
        with warnings.catch_warnings():  # retries have no end unless told, and a later Ray will tell otherwise
            warnings.simplefilter("ignore")
            answers = data.map_batches(
                _Actor,
                fn_constructor_args=(self._place, self._limits, self._preload, cloudpickle.dumps((work, more_seconds))),
                batch_format="pyarrow",
                batch_size=None,
                num_cpus=1,
                compute=ActorPoolStrategy(min_size=min(self._cpus(), len(blocks)), max_size=len(blocks)),
                max_restarts=-1,
                max_task_retries=_TRIES,
            )
        try:
            tables: Any = answers.iter_batches(batch_format="pyarrow", batch_size=None, prefetch_batches=0)
            for table in tables:
                for place, answer in zip(table["place"].to_pylist(), table["data"].to_pylist(), strict=True):
                    yield place, *cloudpickle.loads(answer)
        except self._ray.exceptions.RayError as error:
            said = " ".join(str(error).split())[-300:]
            raise DependencyError(f"Ray: {said}; every machine needs the same Linkage and the same folders") from error

    def _cpus(self) -> int:
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))


class _Actor:
    """What one CPU of the cluster does: the blocks of items that Ray hands to it."""

    def __init__(self, place: tuple[Path, Path, str], limits: Limits, preload: Sequence[str], work: bytes) -> None:
        from ray import cloudpickle

        folder, scratch, version = place
        self._wrong = _wrong(folder, scratch, version)
        if not self._wrong:
            os.chdir(folder)  # paths need not be absolute
            self._work, self._more_seconds = cloudpickle.loads(work)
            self._workers = Workers(1, scratch, limits, preload)

    def __call__(self, items: pa.Table) -> pa.Table:
        cloudpickle = _ray().cloudpickle
        done = []
        for place, item in zip(items["place"].to_pylist(), items["data"].to_pylist(), strict=True):
            done.append((place, cloudpickle.dumps(self._done(cloudpickle.loads(item)))))
        return _table(done)

    def _done(self, item: Any) -> tuple[bool, Any]:
        if self._wrong:
            return True, DependencyError(self._wrong)
        try:
            ((_, result),) = self._workers.run(self._work, [item], self._more_seconds)
            return False, result
        except Exception as error:
            return True, error


def _table(rows: Sequence[tuple[int, bytes]]) -> pa.Table:
    places, data = zip(*rows, strict=True)
    return pa.table({"place": pa.array(places, pa.int64()), "data": pa.array(data, pa.large_binary())})


def _block_size(items: int, cpus: int) -> int:
    return max(1, min(_MOST_IN_BLOCK, items // (cpus * _BLOCKS_PER_CPU)))


def _wrong(folder: Path, scratch: Path, version: str) -> str:
    """Why nothing can be done on this machine; "": nothing is wrong."""
    here = f"Ray: {socket.gethostname()}"
    if version != __version__:
        return f"{here} has Linkage {__version__}, not {version}; install the same version on every machine"
    if not folder.is_dir() or not (scratch / _PROBE).exists():
        unseen = scratch if folder.is_dir() else folder
        return f"{here} does not see {unseen}; use --engine ray on folders that every machine has at the same path"
    return ""


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError:
        raise DependencyError("--engine ray: Ray is not installed; pip install 'linkage[ray]'") from None
    return ray
