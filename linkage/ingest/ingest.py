"""Scans to one table of records, in worker processes, in constant memory, safe against being killed.

Every page becomes a part file in `<out>.partial/`, named after the content it was made from and the settings. A run
that is cut off continues with the parts that are there. The parts are then merged, in the order of the sources.
"""

from __future__ import annotations

import glob
import logging
import math
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from linkage.choices import Existing, either, names
from linkage.config import IngestConfig
from linkage.errors import ConfigError, InputError, UsageError
from linkage.ingest.job import IngestJob
from linkage.ingest.merge import NO_RECORD, FinishedTable, failures_path, merge_parts, read_finished
from linkage.ingest.passes import read_pages, survey_sources
from linkage.ingest.work import modules_for
from linkage.locks import alone, among
from linkage.scans.pages import find_sources
from linkage.workers.engine import Pool, open_workers
from linkage.workers.pool import WorkLimits
from linkage.workers.share import Share

log = logging.getLogger(__name__)

EXISTING = names(Existing)


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


@dataclass(frozen=True)
class ShardSummary:
    """What a call for one shard did: `pages` of the `of` pages found are in the shard, and all of them are read."""

    shard: Share
    pages: int
    of: int


def ingest(
    inputs: Sequence[Path],
    out: Path,
    config: IngestConfig,
    *,
    existing: str = "skip",
    engine: str = "local",
) -> IngestSummary:
    """Read scans into a Parquet table of records (`linkage.records.SCHEMA`) with the crops inside.

    Sources are ordered by name, records of a page in reading order. What cannot be read is set aside into
    `<out>.failures.csv` beside `out` (its name without the ending), where pages without a record are listed too;
    `<out>.pages.csv` lists every page. Killed at any moment and started again, it gives the same table as an uncut run.

    Args:
        inputs: files, folders or patterns; see `find_sources`.
        out: table to write, .parquet.
        config: ingest settings.
        existing: what to do with an earlier result. skip: keep every page that was read or set aside before, from
            the same content with the same settings, and go on; retry: the same, but read again what was set aside;
            overwrite: begin anew; abort: refuse. The limits of a page (`page_seconds`, `page_memory`,
            `max_megapixels`) are no settings in this sense: raise one and retry.
        engine: who reads; see `workers.engine.open_workers`. The table is the same.

    Raises:
        InputError: nothing to read, or more than `config.max_failures` of the pages was set aside (the table is
            written all the same).
        ConfigError: the regions need an OCR engine and there is none.
        DependencyError: the OCR engine or a language is not installed; Ray is not, or does not see these folders.
        UsageError: `out` is no .parquet, holds something else than an ingest, is being written by another process,
            or is there already and `existing` is abort.
        StorageError: the disk is full; the parts that were written are kept.
    """
    _check(out, config, existing)
    job = IngestJob(find_sources(inputs), out, config)
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
            summary = _read(job, before, signature, retry, engine)
            shutil.rmtree(job.folder)
    check_set_aside(summary.failures, summary.pages, config.max_failures, failures_path(out), "--existing retry")
    return summary


def signature_of(inputs: Sequence[Path], config: IngestConfig) -> str:
    """What tells inputs, settings and engine from others without reading a scan; see `ingest` for what it raises."""
    return IngestJob(find_sources(inputs), Path("signature.parquet"), config).signature()


def ingest_shard(
    inputs: Sequence[Path],
    out: Path,
    config: IngestConfig,
    shard: Share,
    *,
    existing: str = "skip",
    engine: str = "local",
) -> ShardSummary:
    """Read the pages of one shard into parts, which `ingest` with the same arguments finds, completes and merges.

    Shards may be at work at once, on any machines that see the same folders; `ingest` itself only without them.

    Args:
        inputs, out, config, engine: as of `ingest`.
        shard: which share of the pages.
        existing: skip or retry, as of `ingest`.

    Raises:
        UsageError: `existing` is another; this shard, or the whole, is being worked on.
        ConfigError, DependencyError, StorageError: as `ingest`.
    """
    _check(out, config, existing)
    if existing not in ("skip", "retry"):
        raise UsageError(f"--shard: takes --existing skip or retry; to begin anew, remove {out} and {out}.partial")
    job, retry = IngestJob(find_sources(inputs), out, config), existing == "retry"
    with among(out, str(shard)):
        before = read_finished(out)
        known = job.known(before, failed=not retry) if before else ()
        scratch = job.folder / f".scratch-{shard.number}-of-{shard.of}"
        with _workers(job, scratch, engine) as workers:
            surveyed = survey_sources(job, workers, shard)
            pages = read_pages(job, surveyed, workers, retry=retry, shard=shard, known=known)
        shutil.rmtree(scratch)
    return ShardSummary(shard, pages, sum(seen.pages for seen in surveyed.values()))


def _workers(job: IngestJob, scratch: Path, engine: str) -> AbstractContextManager[Pool]:
    """Workers with the limits of pages, and an empty folder for their temporary files."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    config = job.config
    limits = WorkLimits(config.page_seconds, config.page_memory, config.recycle)
    return open_workers(engine, config.workers, scratch, limits, modules_for(config))


def _read(job: IngestJob, before: FinishedTable | None, signature: str, retry: bool, engine: str) -> IngestSummary:
    for scratch in job.folder.glob(".scratch*"):  # of shards that were killed
        shutil.rmtree(scratch, ignore_errors=True)
    for unfinished in job.out.parent.glob(f".{glob.escape(job.out.name)}.*.tmp"):  # of a run killed while merging
        unfinished.unlink()
    with _workers(job, job.folder / ".scratch", engine) as workers:  # hidden: the folder may lie inside an input folder
        surveyed = survey_sources(job, workers)
        content = job.content(surveyed)
        if before and before.facts["content"] == content and not retry:
            return _kept(before, job.out)
        if before:
            job.seed(before, surveyed, failed=not retry)
        read_pages(job, surveyed, workers, retry=retry)
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
            "boxes": job.config.boxes is not None,
        },
    )
    return _summary(finished, job.out)


def _kept(before: FinishedTable, out: Path) -> IngestSummary:
    log.info("%s: finished before, from the same inputs with the same settings", out)
    before.write_lists(out)
    return _summary(before, out, reused=True)


def _summary(finished: FinishedTable, out: Path, *, reused: bool = False) -> IngestSummary:
    records = pq.read_metadata(out).num_rows
    duplicates = sum("duplicate" in note.facts for note in finished.pages)
    return IngestSummary(
        finished.facts["sources"], finished.facts["pages"], records, finished.failures(), duplicates, reused
    )


def _check(out: Path, config: IngestConfig, existing: str) -> None:
    if existing not in EXISTING:
        raise UsageError(f"--existing {existing}: must be {either(EXISTING)}")
    if out.suffix != ".parquet":
        raise UsageError(f"{out}: records with their crops are written as .parquet")
    check_settings(config)


def check_settings(config: IngestConfig) -> None:
    """Refuse settings that need an OCR engine where there is none.

    Raises:
        ConfigError: these do.
    """
    if config.ocr == "none" and config.regions not in ("page", "boxes", "entries"):
        raise ConfigError(
            f"ingest.regions: {config.regions} need an OCR engine; set ingest.ocr: tesseract, or regions: page"
        )
    if config.ocr == "none" and config.rotate == "auto":
        raise ConfigError("ingest.rotate: auto needs an OCR engine; set ingest.ocr: tesseract, or rotate by hand")


def check_set_aside(failures: pd.DataFrame, pages: int, allowed: float, listed: Path, again: str) -> None:
    """Refuse a result of which too much was set aside; it is all written by then.

    Args:
        failures: source, page (empty: the whole file), reason; pages that merely gave no record do not count.
        pages: pages found.
        allowed: share of the pages that may be set aside, 0..1.
        listed: the file that lists them, for the message.
        again: what to say on the command line to have them read again.

    Raises:
        InputError: it is more; the message says where the list is and both ways out.
    """
    failures = failures[failures["reason"] != NO_RECORD]
    whole = int(failures["page"].isna().sum())
    failed = len(failures[["source", "page"]].drop_duplicates())
    share = failed / max(pages + whole, 1)
    if failed and share > allowed:
        accepted = math.ceil(1000 * share) / 10
        raise InputError(
            f"{listed}: {failed} of {pages + whole} pages were set aside, more than ingest.max_failures = {allowed:g} "
            f"allows; first: {failures['source'].iloc[0]}: {failures['reason'].iloc[0]}. All else is done: go on "
            f"without them by --max-failures {accepted:g}%, or mend them and give the command again (with {again} "
            "where the files stay as they are)"
        )
