"""The two passes of an ingest over its scans: all are looked at, then every page that is missing is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path

from linkage.ingest.job import IngestJob
from linkage.ingest.parts import PartNote, part_of, read_note, write_part
from linkage.ingest.work import PageTask, SourceSurvey, make_part, survey
from linkage.progress import progress
from linkage.scans.pages import Source
from linkage.workers.engine import Pool
from linkage.workers.pool import LostItem
from linkage.workers.share import Share

_SLOWEST_DISK = 10e6  # bytes per second: a network drive on a bad day

_Placed = tuple[int, tuple[Path, ...]]
"""The place of a source among all, and its files."""


def survey_sources(job: IngestJob, workers: Pool, shard: Share | None = None) -> dict[Source, SourceSurvey]:
    """Look at every source; of a shard, those without a page in it are counted but not hashed."""
    seen: dict[int, SourceSurvey] = {}
    with progress("looking at files", len(job.sources), "files") as advance:
        files = ((place, job.files(source)) for place, source in enumerate(job.sources) if not source.reason)
        for (place, _), result in workers.run(partial(_survey, shard=shard), files, _seconds_to_hash):
            seen[place] = SourceSurvey(reason=result.reason) if isinstance(result, LostItem) else result
            advance()
    return {
        source: SourceSurvey(reason=source.reason) if source.reason else seen[place]
        for place, source in enumerate(job.sources)
    }


def tasks_of(
    job: IngestJob, surveyed: Mapping[Source, SourceSurvey], shard: Share | None = None
) -> Iterator[tuple[Source, PageTask]]:
    """Every page, or every page of a shard, in order.

    Where a source stands and the number of its page say which shard a page is in: to know that, nobody need have
    looked at the other sources.
    """
    for place, (source, seen) in enumerate(surveyed.items()):
        for task in job.tasks(source, seen):
            if shard is None or shard.has(place + task.page - 1):
                yield source, task


def read_pages(
    job: IngestJob,
    surveyed: Mapping[Source, SourceSurvey],
    workers: Pool,
    *,
    retry: bool,
    shard: Share | None = None,
    known: Collection[tuple[str, Path]] = (),
) -> int:
    """Make the parts that are missing; returns how many pages there are.

    Args:
        job: what is read.
        surveyed: all sources.
        workers: who reads.
        retry: also make those of pages again that were set aside.
        shard: only its pages.
        known: see `IngestJob.known`: pages that need no part.
    """
    work = partial(make_part, config=job.config, engine=job.engine, columns=job.columns)
    total = sum(1 for _ in tasks_of(job, surveyed, shard)) if shard else sum(seen.pages for seen in surveyed.values())
    with progress("reading", total, "pages") as advance:

        def missing() -> Iterator[PageTask]:
            made = set()  # the same content in two places is read once
            for source, task in tasks_of(job, surveyed, shard):
                there = task.part in made or (source.name, task.part) in known
                note = None if there else read_note(task.part)
                if there or (note and not (retry and note.reasons)):
                    advance()
                else:
                    yield task
                made.add(task.part)

        for task, result in workers.run(work, missing()):
            if isinstance(result, LostItem):
                write_part(task.part, part_of([], job.columns), PartNote([result.reason]))
            advance()
    return total


def _survey(placed: _Placed, shard: Share | None) -> SourceSurvey:
    place, files = placed
    return survey(files, None if shard is None else partial(_is_wanted, place, shard))


def _is_wanted(place: int, shard: Share, pages: int) -> bool:
    return any(shard.has(place + page) for page in range(min(pages, shard.of)))


def _seconds_to_hash(placed: _Placed) -> float:
    """How long reading files from end to end may take."""
    try:
        return sum(path.stat().st_size for path in placed[1]) / _SLOWEST_DISK
    except OSError:
        return 0.0
