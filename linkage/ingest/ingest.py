"""Scans to one table of records, in worker processes, in constant memory, safe against being killed.

Every page becomes a part file in `<out>.partial/`, named after the content it was made from and the settings. A run
that is cut off continues with the parts that are there. The parts are then merged, in the order of the sources.
"""

from __future__ import annotations

import glob
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from linkage.config import IngestConfig
from linkage.errors import ConfigError, InputError, UsageError
from linkage.ingest.job import Job
from linkage.ingest.merge import Finished, failures_path, merge_parts, read_finished
from linkage.ingest.parts import Note, part_of, read_note, write_part
from linkage.ingest.work import Surveyed, Task, make_part, survey
from linkage.locks import alone
from linkage.progress import progress
from linkage.scans.pages import Source, find_sources
from linkage.workers.pool import Limits, Lost, Workers

log = logging.getLogger(__name__)

_SLOWEST_DISK = 10e6  # bytes per second: a network drive on a bad day

EXISTING = ("skip", "retry", "overwrite", "abort")


@dataclass(frozen=True)
class IngestSummary:
    """What an ingest did.

    Attributes:
        sources: files found, those set aside included.
        pages: pages found.
        records: rows of the table.
        failures: source, page (empty: the whole file), reason.
        duplicates: pages that were met before, in the same file, as the same pixels or as another scan of the sheet.
        reused: the table was there already, made from the same inputs with the same settings.
    """

    sources: int
    pages: int
    records: int
    failures: pd.DataFrame
    duplicates: int = 0
    reused: bool = False


def ingest(
    inputs: Sequence[Path],
    out: Path,
    config: IngestConfig,
    *,
    existing: str = "skip",
) -> IngestSummary:
    """Read scans into a Parquet table of records (`linkage.records.SCHEMA`) with the crops inside.

    Sources are ordered by name, records of a page in reading order. What cannot be read is set aside into
    `failures.csv` beside `out`, where `pages.csv` lists every page. Killed at any moment and started again, it gives
    the same table as an uncut run.

    Args:
        inputs: files, folders or patterns; see `find_sources`.
        out: table to write, .parquet.
        config: ingest settings.
        existing: what to do with an earlier result. skip: keep every page that was read or set aside before, from
            the same content with the same settings, and go on; retry: the same, but read again what was set aside;
            overwrite: begin anew; abort: refuse. The limits of a page (`page_seconds`, `page_memory`,
            `max_megapixels`) are no settings in this sense: raise one and retry.

    Raises:
        InputError: nothing to read, or more than `config.max_failures` of the pages was set aside (the table is
            written all the same).
        ConfigError: the regions need an OCR engine and there is none.
        DependencyError: the OCR engine or a language is not installed.
        UsageError: `out` is no .parquet, holds something else than an ingest, is being written by another process,
            or is there already and `existing` is abort.
        StorageError: the disk is full; the parts that were written are kept.
    """
    _check(out, config, existing)
    job = Job(find_sources(inputs), out, config)
    with alone(out):
        if existing == "abort" and (out.exists() or job.folder.exists()):
            raise UsageError(f"{out}: exists already, or was begun; give --existing skip, retry or overwrite")
        if existing == "overwrite":
            shutil.rmtree(job.folder, ignore_errors=True)
        before = None if existing == "overwrite" else read_finished(out)
        signature = job.signature()
        retry = existing == "retry" and not (before and before.failures().empty)
        if before and before.facts["signature"] == signature and not retry:
            summary = _kept(before, out)
        else:
            summary = _read(job, before, signature, retry)
            shutil.rmtree(job.folder)
    _check_share(summary, out, config)
    return summary


def _read(job: Job, before: Finished | None, signature: str, retry: bool) -> IngestSummary:
    scratch = job.folder / ".scratch"  # hidden: the folder may lie inside an input folder
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for unfinished in job.out.parent.glob(f".{glob.escape(job.out.name)}.*.tmp"):  # of a run killed while merging
        unfinished.unlink()
    config = job.config
    limits = Limits(config.page_seconds, config.page_memory, config.recycle)
    with Workers(config.workers or len(os.sched_getaffinity(0)), scratch, limits) as workers:
        surveyed = _survey(job, workers)
        content = job.content(surveyed)
        if before and before.facts["content"] == content and not retry:
            return _kept(before, job.out)
        if before:
            job.seed(before, surveyed, failed=not retry)
        _read_pages(job, surveyed, workers, retry)
    pages = sum(seen.pages for seen in surveyed.values())
    finished = merge_parts(
        [job.merged(source, seen) for source, seen in surveyed.items()],
        job.out,
        columns=job.columns,
        ids_given=job.ids_given,
        ids_may_repeat=job.config.ocr == "file" or job.ids_given,
        facts={
            "signature": signature,
            "content": content,
            "sources": len(surveyed),
            "pages": pages,
        },
    )
    return _summary(finished, job.out)


def _survey(job: Job, workers: Workers) -> dict[Source, Surveyed]:
    seen: dict[tuple[Path, ...], Surveyed] = {}
    with progress("looking at files", len(job.sources), "files") as advance:
        files = (job.files(source) for source in job.sources if not source.reason)
        for paths, result in workers.run(survey, files, _seconds_to_hash):
            seen[paths] = Surveyed(reason=result.reason) if isinstance(result, Lost) else result
            advance()
    unreadable = {source: Surveyed(reason=source.reason) for source in job.sources if source.reason}
    return {source: unreadable.get(source) or seen[job.files(source)] for source in job.sources}


def _seconds_to_hash(paths: tuple[Path, ...]) -> float:
    """How long reading files from end to end may take."""
    try:
        return sum(path.stat().st_size for path in paths) / _SLOWEST_DISK
    except OSError:
        return 0.0


def _read_pages(job: Job, surveyed: dict[Source, Surveyed], workers: Workers, retry: bool) -> None:
    """Make the parts that are missing; with `retry` also those of pages that were set aside."""
    work = partial(make_part, config=job.config, engine=job.engine, columns=job.columns)
    with progress("reading", sum(seen.pages for seen in surveyed.values()), "pages") as advance:

        def missing() -> Iterator[Task]:
            made = set()  # the same content in two places is read once
            for source, seen in surveyed.items():
                for task in job.tasks(source, seen):
                    note = None if task.part in made else read_note(task.part)
                    if task.part in made or (note and not (retry and note.reasons)):
                        advance()
                    else:
                        yield task
                    made.add(task.part)

        for task, result in workers.run(work, missing()):
            if isinstance(result, Lost):
                write_part(task.part, part_of([], job.columns), Note([result.reason]))
            advance()


def _kept(before: Finished, out: Path) -> IngestSummary:
    log.info("%s: finished before, from the same inputs with the same settings", out)
    before.write_lists(out)
    return _summary(before, out, reused=True)


def _summary(finished: Finished, out: Path, *, reused: bool = False) -> IngestSummary:
    records = pq.read_metadata(out).num_rows
    duplicates = sum("duplicate" in note.facts for note in finished.pages)
    return IngestSummary(
        finished.facts["sources"], finished.facts["pages"], records, finished.failures(), duplicates, reused
    )


def _check(out: Path, config: IngestConfig, existing: str) -> None:
    if existing not in EXISTING:
        raise UsageError(f"--existing {existing}: must be {', '.join(EXISTING[:-1])} or {EXISTING[-1]}")
    if out.suffix != ".parquet":
        raise UsageError(f"{out}: records with their crops are written as .parquet")
    if config.ocr == "none" and config.regions not in ("page", "boxes", "entries"):
        raise ConfigError(
            f"ingest.regions: {config.regions} need an OCR engine; set ingest.ocr: tesseract, or regions: page"
        )
    if config.ocr == "none" and config.rotate == "auto":
        raise ConfigError("ingest.rotate: auto needs an OCR engine; set ingest.ocr: tesseract, or rotate by hand")


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
