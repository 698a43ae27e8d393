"""Locks: one process at a time writes a result. The system takes a lock back when its process dies, however it dies."""

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
        UsageError: another process is writing it.
        StorageError: the disk is full.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    place = Path(os.path.abspath(out))  # noqa: PTH100 - "." has no name, and links stay links
    path = place.with_name(f".{place.name}.lock")
    while True:
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(f"{out}: another process is writing it; wait for it or choose another --out") from None
            if not _is_still(path, lock.fileno()):  # its last holder removed it between the two lines above
                continue
            try:
                yield
            except Exception as error:
                if no_room := storage_error(error, within=out):
                    raise no_room from error
                raise
            finally:
                path.unlink(missing_ok=True)
            return


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
