"""What this machine has to give: cores, memory and room on its disks, within what a container is allowed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """Processors that this process may use: those it is bound to, within the quota of its control group."""
    bound = len(os.sched_getaffinity(0))
    quota, _, period = _control("cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit() and int(period):
        return max(1, min(bound, int(quota) // int(period)))
    return bound


def free_memory() -> int:
    """Bytes of memory that can still be had, within the limit of the control group."""
    import psutil

    available = int(psutil.virtual_memory().available)
    limit, used = _control("memory.max"), _control("memory.current")
    if limit.isdigit() and used.isdigit():
        return max(0, min(available, int(limit) - int(used)))
    return available


def free_disk(path: Path) -> int:
    """Bytes that can still be written to the disk on which a path lies or would lie."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _control(name: str) -> str:
    """A setting of this process's control group (version 2); "" where there is none."""
    try:
        group = Path("/proc/self/cgroup").read_text(encoding="ascii").strip().rpartition("::")[2]
        own = _CGROUP / group.lstrip("/") / name
        return (own if own.exists() else _CGROUP / name).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
