"""A run directory: its lock, its manifest, and stages that are redone only when something they depend on changed."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pandas as pd
from filelock import FileLock, Timeout

from linkage import __version__
from linkage.arrays import digest_file
from linkage.errors import ArtefactError, InputError, storage_error
from linkage.keys import digest, result_key
from linkage.machine import cores
from linkage.places import RUN, kind_of, unwanted
from linkage.tables import read_table, replacing, table_parts

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_VERSIONS_OF = (
    "torch open_clip_torch faiss-gpu faiss-cpu hdbscan numpy pandas pyarrow pillow pypdfium2 rapidfuzz".split()
)
_SECONDS_BETWEEN_SAMPLES = 0.2


class RunDirectory:
    """The folder of one run, held by a lock while it is open (use it in a `with` statement).

    Attributes:
        path: the folder.
        manifest: what `manifest.json` holds; written after every stage.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: is a file; give a folder for the run")
        foreign = self.path.is_dir() and any(self.path.iterdir()) and not (self.path / ".lock").exists()
        if foreign:
            kind = kind_of(self.path)
            said = f"is {kind}, no run directory" if kind else "holds files but is no run directory"
            raise InputError(f"{self.path}: {said}; choose a new or empty folder")
        self.path.mkdir(parents=True, exist_ok=True)
        # The kernel drops this lock when the process dies, however it dies; a soft one would stay.
        self._lock = FileLock(self.path / ".lock", fallback_to_soft=False)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise InputError(f"{self.path}: another run is at work here; wait for it or choose another --out") from None
        self.manifest = read_manifest(self.path) if (self.path / MANIFEST).exists() else {"stages": {}}
        self.manifest |= {"linkage": __version__, "started": _now(), "finished": None} | _environment()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._lock.release()
        if error and (no_room := storage_error(error, within=self.path)):
            raise no_room from error

    def stage(self, name: str, depends_on: Any, make: Callable[[Path], dict[str, Any]], *, again: bool = False) -> str:
        """Run one stage unless its result is there already.

        Args:
            name: the stage and its folder.
            depends_on: JSON-like value of all that the result depends on.
            make: makes the folder whose path it is given and returns the counts for the manifest. That path, and
                anything beside it, may hold what an interrupted call with the same `depends_on` left there.
            again: make it also where it is there already.

        Returns:
            A digest of what the stage made, for the stages after it to depend on.
        """
        key = result_key(name, depends_on)
        folder = self.path / name
        done = self.manifest["stages"].get(name, {})
        if not again and done.get("key") == key and _sizes(folder) == done.get("files"):
            log.info("%s: unchanged, kept", name)
            done["kept"] = True
            return str(done["digest"])
        log.info("%s%s ...", name, _changed(done.get("hangs_on"), depends_on))
        work = self._work(name, key)
        start = time.monotonic()
        with peak_memory() as memory:
            counts = make(work / name)
        files = _sizes(work / name)
        entry = {
            "key": key,
            "hangs_on": depends_on,
            "digest": digest({file: digest_file(work / name / file) for file in files}),
            "files": files,
            "counts": counts,
            "seconds": round(time.monotonic() - start, 2),
            "peak_memory_mb": memory(),
            "kept": False,
        }
        self.drop(name)
        (work / name).rename(folder)
        shutil.rmtree(work)
        self.manifest["stages"][name] = entry
        self.save()
        return str(entry["digest"])

    def _work(self, name: str, key: str) -> Path:
        """The folder to make a stage in; what calls with other keys left behind is removed."""
        work = self.path / ".work" / f"{name}-{key[:12]}"
        for stale in self.path.glob(f".work/{name}-*"):
            if stale != work:
                shutil.rmtree(stale)
        work.mkdir(parents=True, exist_ok=True)
        return work

    def drop(self, name: str) -> None:
        """Remove the result of a stage: the manifest first, so that a kill in between leaves no wrong entry."""
        if self.manifest["stages"].pop(name, None) or (self.path / name).exists():
            self.save()
            shutil.rmtree(self.path / name, ignore_errors=True)

    def save(self) -> None:
        """Write the manifest atomically."""
        with replacing(self.path / MANIFEST) as temporary:
            temporary.write_text(json.dumps(self.manifest, indent=2, default=str) + "\n", encoding="utf-8")

    def finish(self) -> None:
        """Note in the manifest that the run came to its end."""
        self.manifest["finished"] = _now()
        self.save()


def read_manifest(run: Path) -> dict[str, Any]:
    """The manifest of a run directory.

    Raises:
        ArtefactError: there is none, or it is damaged.
    """
    if other := unwanted(run, RUN):
        raise ArtefactError(other)
    try:
        manifest = json.loads((run / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(manifest, dict) or not isinstance(manifest.get("stages"), dict):
            raise ValueError("no stages in it")
    except FileNotFoundError:
        raise ArtefactError(f"{run}: no {MANIFEST} here; make a run with `linkage run`") from None
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{run / MANIFEST}: damaged ({error}); remove the folder and run again") from None
    return manifest


def result_files(run_path: Path) -> dict[str, Path]:
    """The Parquet files of a finished run's tables: links (where there were exemplars), members, entities.

    Raises:
        ArtefactError: the run did not come that far, or an earlier version made its links.
        InputError: its links cannot be read.
    """
    from linkage.link.links import check_links

    folder = run_path / "cluster"
    if not (folder / "entities.parquet").exists():
        raise ArtefactError(f"{run_path}: no entities here yet; run `linkage run` with the same arguments again")
    links = run_path / "link" / "links.parquet"
    files = {"links": links} if links.exists() else {}
    for path in files.values():
        remedy = f"remove the folder {path.parent} and run `linkage run` again"
        check_links(next(table_parts(path, 1)).columns, path, remedy)
    return files | {name: folder / f"{name}.parquet" for name in ("members", "entities")}


def result_tables(run_path: Path) -> dict[str, pd.DataFrame]:
    """The tables of a finished run, all in memory; see `result_files`."""
    return {name: read_table(path) for name, path in result_files(run_path).items()}


@contextmanager
def peak_memory() -> Iterator[Callable[[], float]]:
    """Measure the peak memory of a block; yields a function that returns it in megabytes after the block.

    It is the sum of the resident sets of this process and its workers, sampled five times a second.
    """
    import psutil

    process = psutil.Process()
    peak = 0
    stop = threading.Event()

    def sample() -> None:
        nonlocal peak
        stopped = False
        while not stopped:
            stopped = stop.wait(_SECONDS_BETWEEN_SAMPLES)
            total = 0
            for one in (process, *process.children(recursive=True)):
                try:
                    total += one.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak = max(peak, total)

    thread = threading.Thread(target=sample, name="peak-memory", daemon=True)
    thread.start()
    try:
        yield lambda: round(peak / 1e6, 1)
    finally:
        stop.set()
        thread.join()


def _changed(before: Any, now: Any) -> str:
    """Which of the things that a stage hangs on are others than before, for people; "" where nothing was before."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return ""
    inner = [
        f"{kind} {name}"
        for kind, values in now.items()
        for name, value in values.items()
        if before.get(kind, {}).get(name) != value
    ]
    return f" (again: other {', '.join(inner)})" if inner else ""


def _sizes(folder: Path) -> dict[str, int]:
    """Size in bytes of every file below a folder; {} where there is no folder."""
    return {str(p.relative_to(folder)): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}


def _environment() -> dict[str, Any]:
    versions = {}
    for package in _VERSIONS_OF:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": cores(),
        "versions": versions,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
