"""Scans to one table of records, in worker processes, in constant memory, safe against being killed.

Every page becomes a part file in `<out>.partial/`, named after the content it was made from and the settings. A run
that is cut off continues with the parts that are there. The parts are then merged, in the order of the sources.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from linkage.config import IngestConfig
from linkage.errors import ConfigError, InputError, UsageError
from linkage.ingest.merge import Merged, failures_path, merge_parts
from linkage.ingest.pool import CrashedError, Workers
from linkage.ingest.work import Surveyed, Task, make_part, part_is_whole, survey, write_part
from linkage.layout.boxes import read_boxes
from linkage.ocr.engines import make_engine
from linkage.progress import progress
from linkage.scans.pages import Source, find_sources
from linkage.tables import read_table

log = logging.getLogger(__name__)

VERSION = 2
"""Raised whenever the same page and settings would give other records."""

CRASHED = "its reader crashed on it"
_METADATA = b"linkage.ingest"
_NOT_SETTINGS = {
    "workers",
    "max_failures",
    "boxes",
    "ocr_cache",
}  # none of them changes a record; boxes count by their rows


@dataclass(frozen=True)
class IngestSummary:
    """What an ingest did.

    Attributes:
        sources: files found, those set aside included.
        pages: pages found.
        records: rows of the table.
        failures: source, page (empty: the whole file), reason.
        reused: the table was there already, made from the same inputs with the same settings.
    """

    sources: int
    pages: int
    records: int
    failures: pd.DataFrame
    reused: bool = False


def ingest(
    inputs: Sequence[Path],
    out: Path,
    config: IngestConfig,
    *,
    existing: Literal["resume", "overwrite"] = "resume",
) -> IngestSummary:
    """Read scans into a Parquet table of records (`linkage.records.SCHEMA`) with the crops inside.

    Sources are ordered by name, records of a page in reading order. What cannot be read is set aside into
    `failures.csv` beside `out`. Killed at any moment and started again, it gives the same table as an uncut run.

    Args:
        inputs: files, folders or patterns; see `find_sources`.
        out: table to write, .parquet.
        config: ingest settings.
        existing: resume: keep a finished table of the same inputs and settings, and the parts of an unfinished one;
            overwrite: begin anew.

    Raises:
        InputError: nothing to read, or more than `config.max_failures` of the pages was set aside (the table is
            written all the same).
        ConfigError: the regions need an OCR engine and there is none.
        DependencyError: the OCR engine or a language is not installed.
        UsageError: `out` is no .parquet, holds something else than an ingest, or is being written by another one.
    """
    _check(out, config, existing)
    job = _Job(find_sources(inputs), out, config)
    before = None if existing == "overwrite" else _facts(out)
    signature = job.signature()
    if before and before["signature"] == signature:
        summary = _finished(before, out)
    else:
        with _alone(job.folder, out):
            if existing == "overwrite":
                shutil.rmtree(job.folder / "parts", ignore_errors=True)
            summary = _read(job, before, signature)
            shutil.rmtree(job.folder)
    _check_share(summary, out, config)
    return summary


class _Job:
    """What is to be read, and the names that its results go by."""

    def __init__(self, sources: list[Source], out: Path, config: IngestConfig) -> None:
        self.sources = sources
        self.out = out
        self.config = config
        self.folder = out.with_name(out.name + ".partial")
        self.engine = make_engine(config)
        boxes = read_boxes(config.boxes) if config.boxes else None
        self.columns = boxes.columns if boxes else ()
        self.ids_given = boxes is not None and boxes.ids_given
        self._given = boxes.assign(sources) if boxes else {}
        self._settings = _digest(
            VERSION, self.engine.name, config.model_dump(mode="json", exclude=_NOT_SETTINGS), self.columns
        )

    def signature(self) -> str:
        """Digest of names, sizes and times: while it stays, nothing need be read to know that nothing changed."""
        files = [(source.name, _stat(source.path), self._boxes(source)) for source in self.sources]
        return _digest(self._settings, files)

    def content(self, surveyed: dict[Source, Surveyed]) -> str:
        """Digest of names and contents."""
        files = [(source.name, self._key(source, seen), seen.reason) for source, seen in surveyed.items()]
        return _digest(self._settings, files)

    def tasks(self, source: Source, seen: Surveyed) -> Iterator[Task]:
        """The pages of a source in order."""
        key = self._key(source, seen)
        for page in range(1, seen.pages + 1):
            given = tuple(box for box in self._given.get(source.name, ()) if box.page == page)
            part = self.folder / "parts" / key[:2] / f"{key}-{page}.parquet"
            yield Task(source.path, seen.sha256, page, part, given)

    def merged(self, source: Source, seen: Surveyed) -> Merged:
        """The parts of a source, and what is wrong with it as a whole."""
        parts = [task.part for task in self.tasks(source, seen)]
        beyond = sorted({box.page for box in self._given.get(source.name, ()) if box.page > seen.pages > 0})
        reasons = [seen.reason] if seen.reason else []
        reasons += [f"boxes are given for page {page}, but it has {seen.pages}" for page in beyond]
        return Merged(source.name, seen.sha256, parts, reasons)

    def _key(self, source: Source, seen: Surveyed) -> str:
        return _digest(seen.sha256, self._settings, self._boxes(source))[:32]

    def _boxes(self, source: Source) -> list[str]:
        return [repr(box) for box in self._given.get(source.name, ())]


def _read(job: _Job, before: dict[str, Any] | None, signature: str) -> IngestSummary:
    scratch = job.folder / ".scratch"  # hidden: the folder may lie inside an input folder
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for unfinished in job.out.parent.glob(f".{glob.escape(job.out.name)}.*.tmp"):  # of a run killed while merging
        unfinished.unlink()
    with Workers(job.config.workers or len(os.sched_getaffinity(0)), scratch) as workers:
        surveyed = _survey(job, workers)
        content = job.content(surveyed)
        if before and before["content"] == content:
            return _finished(before, job.out)
        _read_pages(job, surveyed, workers)
    pages = sum(seen.pages for seen in surveyed.values())
    facts = {"signature": signature, "content": content, "sources": len(surveyed), "pages": pages}
    failures = merge_parts(
        (job.merged(source, seen) for source, seen in surveyed.items()),
        job.out,
        columns=job.columns,
        ids_given=job.ids_given,
        metadata={_METADATA: json.dumps(facts).encode()},
    )
    return IngestSummary(len(surveyed), pages, pq.read_metadata(job.out).num_rows, failures)


def _survey(job: _Job, workers: Workers) -> dict[Source, Surveyed]:
    seen: dict[Path, Surveyed] = {}
    with progress("looking at files", len(job.sources), "files") as advance:
        for path, result in workers.run(survey, (source.path for source in job.sources)):
            seen[path] = Surveyed(reason=CRASHED) if isinstance(result, CrashedError) else result
            advance()
    return {source: seen[source.path] for source in job.sources}


def _read_pages(job: _Job, surveyed: dict[Source, Surveyed], workers: Workers) -> None:
    work = partial(make_part, config=job.config, engine=job.engine, columns=job.columns)
    with progress("reading", sum(seen.pages for seen in surveyed.values()), "pages") as advance:

        def missing() -> Iterator[Task]:
            made = set()  # the same content in two places is read once
            for source, seen in surveyed.items():
                for task in job.tasks(source, seen):
                    if task.part in made or part_is_whole(task.part):
                        advance()
                    else:
                        yield task
                    made.add(task.part)

        for task, result in workers.run(work, missing()):
            if isinstance(result, CrashedError):
                write_part(task.part, [], [CRASHED], job.columns)
            advance()


def _facts(out: Path) -> dict[str, Any] | None:
    """What an earlier ingest noted in the table it finished; None where there is none."""
    if not out.exists():
        return None
    try:
        noted = (pq.read_metadata(out).metadata or {}).get(_METADATA)
    except (OSError, pa.ArrowException):
        noted = None
    if noted is None:
        raise UsageError(f"{out}: exists and was not written by ingest; choose another file or overwrite it")
    facts: dict[str, Any] = json.loads(noted)
    return facts if failures_path(out).exists() else None


def _finished(facts: dict[str, Any], out: Path) -> IngestSummary:
    log.info("%s: finished before, from the same inputs with the same settings", out)
    records = pq.read_metadata(out).num_rows
    return IngestSummary(facts["sources"], facts["pages"], records, read_table(failures_path(out)), reused=True)


@contextmanager
def _alone(folder: Path, out: Path) -> Iterator[None]:
    """Hold the folder of parts against a second ingest; the system lets go when the process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"{out}: another ingest is writing it; wait for it or choose another file") from None
        yield


def _check(out: Path, config: IngestConfig, existing: str) -> None:
    if existing not in ("resume", "overwrite"):
        raise UsageError(f"existing={existing!r}: must be resume or overwrite")
    if out.suffix != ".parquet":
        raise UsageError(f"{out}: records with their crops are written as .parquet")
    if config.ocr == "none" and config.regions not in ("page", "boxes"):
        raise ConfigError(
            f"ingest.regions: {config.regions} need an OCR engine; set ingest.ocr: tesseract, or regions: page"
        )


def _check_share(summary: IngestSummary, out: Path, config: IngestConfig) -> None:
    failures = summary.failures
    whole = int(failures["page"].isna().sum())
    failed = len(failures[["source", "page"]].drop_duplicates())
    share = failed / max(summary.pages + whole, 1)
    if failed and share > config.max_failures:
        raise InputError(
            f"{failures_path(out)}: {failed} of {summary.pages + whole} pages were set aside, more than "
            f"ingest.max_failures = {config.max_failures:g} allows; first: {failures['source'].iloc[0]}: "
            f"{failures['reason'].iloc[0]}"
        )


def _stat(path: Path) -> tuple[int, int, bool]:
    try:
        seen = path.stat()
    except OSError:
        return (-1, -1, False)
    return (seen.st_size, seen.st_mtime_ns, os.access(path, os.R_OK))


def _digest(*values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
