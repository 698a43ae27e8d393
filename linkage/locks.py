"""Locks: one process at a time writes a result. The system takes a lock back when its process dies, however it dies.

Shards of a result are worked on at once, on any machines that see its folder, and lock the whole out together. The
package filelock has shared locks in a database or with a heartbeat only: the first does not work on network drives, and
the second outlives its process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from linkage.errors import UsageError, storage_error


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Be the only process that writes `out`, by a hidden file beside it that is gone afterwards.

    Raises:
        UsageError: another process is writing it, or a shard of it.
        StorageError: the disk is full.
    """
    taken = f"{out}: another process is writing it, or a shard of it; wait for it or choose another --out"
    with _within(out), _held(_hidden(out), fcntl.LOCK_EX, taken):
        yield


@contextmanager
def among(out: Path, shard: str) -> Iterator[None]:
    """Be the only process that works on one shard of `out`; others may work on other shards, none on the whole.

    Args:
        out: the result.
        shard: the shard, like "3/16".

    Raises:
        UsageError: another process is at work on this shard, or on the whole.
        StorageError: the disk is full.
    """
    whole = f"{out}: another process is writing it; wait for it or choose another --out"
    taken = f"{out}: another process is at work on shard {shard}; wait for it or give another --shard"
    own = _hidden(out.with_name(f"{out.name}.{shard.replace('/', '-of-')}"))
    with _within(out), _held(_hidden(out), fcntl.LOCK_SH, whole), _held(own, fcntl.LOCK_EX, taken):
        yield


def _hidden(out: Path) -> Path:
    place = Path(os.path.abspath(out))  # noqa: PTH100 - "." has no name, and links stay links
    return place.with_name(f".{place.name}.lock")


@contextmanager
def _within(out: Path) -> Iterator[None]:
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except Exception as error:
        if no_room := storage_error(error, within=out):
            raise no_room from error
        raise


@contextmanager
def _held(path: Path, kind: int, taken: str) -> Iterator[None]:
    """Hold a lock on a file, which the last holder removes."""
    while True:
        with path.open("a+") as lock:  # network drives want the file readable for a shared lock, writable for the other
            try:
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(taken) from None
            if not _is_still(path, lock.fileno()):  # its last holder removed it between the two lines above
                continue
            try:
                yield
            finally:
                if _is_last(lock.fileno(), kind):
                    path.unlink(missing_ok=True)
            return


def _is_last(descriptor: int, kind: int) -> bool:
    if kind == fcntl.LOCK_EX:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
