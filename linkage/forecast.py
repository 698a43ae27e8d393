"""What a run will take, before it starts: a few pages are read and embedded as the run would, the rest is reckoned."""

from __future__ import annotations

import fnmatch
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from linkage.config import Config
from linkage.errors import InputError
from linkage.evaluate.truth import read_truth
from linkage.ingest.job import IngestJob
from linkage.ingest.parts import read_part
from linkage.ingest.table import is_table
from linkage.ingest.work import PageTask, make_part, modules_for, survey
from linkage.machine import cores, free_disk, free_memory
from linkage.records import SCHEMA, Records
from linkage.rundir import peak_memory
from linkage.scans.pages import Source, count_pages, find_sources
from linkage.search.graph import EXACT_UP_TO
from linkage.workers.pool import LostItem, Workers, WorkLimits

_SECONDS = 20.0  # for reading the sample: what is not begun by then is left out of it
_EMBEDDED = 48  # records of the sample that are embedded
_WARM = 8  # of them are embedded before, for the first ones take longer
_THREAD_MB = 300.0  # that each further thread holds while it embeds
_START = 3.0  # seconds until workers are ready
_SURE = 2.0  # standard errors in a range
_DOUBT = 1.3  # factor either way that the load of a machine makes in any case

# Linking and clustering are reckoned, not tried: seconds on two cores and megabytes, measured with `make bench` on
# drawn cards (200 to 10,000) and made-up records (100,000 queries to 100,000 exemplars), on receipts, and on the
# README's demonstration. A pair is compared once in each of three spaces. Clustering compares texts letter by letter:
# 0.6 ms a record with a firm's name of some 20 letters, 8 ms with the head of a receipt of some 90.
_LINK_START, _LINK_QUERY, _LINK_PAIR = 3.0, 2.5e-3, 1.3e-8
_FIT_QUERY = 0.032  # with labels: fitting scorer and thresholds
_CLUSTER_START, _CLUSTER_RECORD, _CLUSTER_LETTERS, _CLUSTER_PAIR = 0.5, 1e-4, 1.1e-6, 1.2e-8
_REPORT_START, _REPORT_RECORD, _EVALUATE = 7.0, 5e-5, 2.5  # with the start of Python and the model
_BASE_MB, _LINK_MB, _CLUSTER_MB = 1200.0, 0.012, 0.02  # of torch and FAISS; more per record
_KB_LINKED, _KB_GROUPED, _KB_EXPORTED = 1.0, 0.3, 1.5  # of tables, per record


class StageForecast(NamedTuple):
    """What one stage of a run takes.

    Attributes:
        name: ingest, embed, link, cluster or report.
        items: pages or records.
        unit: which of them.
        seconds, least, most: of wall clock: the likeliest figure and the range.
        memory_mb: peak of all processes together.
        disk_mb: at most, while it runs.
    """

    name: str
    items: int
    unit: str
    seconds: float
    least: float
    most: float
    memory_mb: float
    disk_mb: float


@dataclass(frozen=True)
class Forecast:
    """What a run will take, and what there is.

    Attributes:
        sources, pages, records: how many; records are reckoned from the sample.
        sampled: pages read for it.
        stages: in their order.
        free_memory_mb, free_disk_mb: what the machine has.
        warnings: one line each.
    """

    sources: int
    pages: int
    records: int
    sampled: int
    stages: list[StageForecast]
    free_memory_mb: float
    free_disk_mb: float
    warnings: list[str] = field(default_factory=list)

    @property
    def total(self) -> StageForecast:
        """All stages together."""
        seconds, least, most = (
            sum(times)
            for times in zip(*((stage.seconds, stage.least, stage.most) for stage in self.stages), strict=True)
        )
        memory = max(stage.memory_mb for stage in self.stages)
        return StageForecast(
            "all", self.pages, "pages", seconds, least, most, memory, sum(stage.disk_mb for stage in self.stages)
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        parts = {name: getattr(self, name) for name in ("sources", "pages", "records", "sampled")}
        free = {"free_memory_mb": round(self.free_memory_mb), "free_disk_mb": round(self.free_disk_mb)}
        stages = [stage._asdict() for stage in (*self.stages, self.total)]
        return parts | {"stages": stages} | free | {"warnings": self.warnings}


def forecast(
    config: Config, inputs: Sequence[Path], *, out: Path, labels: Path | None = None, sample: int = 5
) -> Forecast:
    """Reckon what `run` would take with these arguments; nothing is left behind.

    Args:
        config: every setting; `seed` also draws the sample.
        inputs: scans, or one table of records.
        out: where the run directory would be, for the room on its disk.
        labels: table of known entities: its rows with role exemplar are counted.
        sample: pages to read, spread over all pages.

    Raises:
        InputError: no scans, or none of the sampled pages can be read.
        DependencyError, ConfigError, ArtefactError: as the run would raise them.
    """
    with tempfile.TemporaryDirectory(prefix="linkage-") as scratch:
        table = next((path for path in inputs if is_table(path)), None)
        seen = _given(table) if table else _read_sample(config, inputs, Path(scratch), sample)
        embedded = _embed_sample(config, seen)
    exemplars = _exemplars(config, labels, seen)
    letters = float(seen.sample.frame["text"].str.len().mean())
    stages = [seen.stage, embedded, *_reckoned(seen.records, exemplars, letters, labels is not None)]
    free = free_memory() / 1e6, free_disk(out) / 1e6
    made = Forecast(len(seen.pages), sum(seen.pages.values()), seen.records, seen.read, stages, *free)
    made.warnings.extend([*seen.warnings, *_warnings(made, config)])
    return made


@dataclass(frozen=True)
class _ForecastBasis:
    """What is known before anything is reckoned.

    Attributes:
        pages: of every source, by its name.
        records: in all.
        spread: relative error of `records`.
        read: pages that were read.
        sample: records to embed.
        stage: what reading all takes.
    """

    pages: dict[str, int]
    records: int
    spread: float
    read: int
    sample: Records
    stage: StageForecast
    warnings: list[str] = field(default_factory=list)


def _given(table: Path) -> _ForecastBasis:
    """A table of records in place of scans."""
    records = Records.open(table)
    size = table.stat().st_size / 1e6
    times = _range(2 + len(records) * 1e-3, 0.5)  # pictures are decoded once, to see that they can be
    return _ForecastBasis(
        {}, len(records), 0.0, 0, records, StageForecast("ingest", len(records), "records", *times, 400.0, 2 * size)
    )


def _read_sample(config: Config, inputs: Sequence[Path], scratch: Path, sample: int) -> _ForecastBasis:
    """Count the pages of all sources and read some, with the workers and the code of the ingest."""
    job = IngestJob(find_sources(inputs), scratch / "records.parquet", config.ingest)
    settings = config.ingest
    limits = WorkLimits(settings.page_seconds, settings.page_memory, settings.recycle)
    count = settings.workers or cores()
    with peak_memory() as memory, Workers(count, scratch, limits, modules_for(settings)) as workers:
        counted = dict(workers.run(_count, (source.path for source in job.sources)))
        pages = {source: _whole(counted[source.path]) for source in job.sources}
        tasks = list(_drawn(job, pages, sample, Random(config.seed)))
        work = partial(_timed, config=settings, engine=job.engine, columns=job.columns)
        deadline = time.monotonic() + _SECONDS
        seconds = {
            task: settings.page_seconds if isinstance(took, LostItem) else took
            for task, took in workers.run(work, _until(deadline, tasks))
        }
    parts = [read_part(task.part) for task in seconds if task.part.exists()]
    reasons = [reason for _, note in parts for reason in note.reasons]
    if sum(len(rows) for rows, _ in parts) == 0:
        raise InputError(
            f"none of the {len(seconds)} pages tried holds a record: {(reasons or ['nothing on them'])[0]}"
        )
    total = sum(pages.values())
    found = [len(rows) for rows, _ in parts]
    error = _error(list(seconds.values()))
    times = _range(_START + total * mean(seconds.values()) / min(count, max(total, 1)), error)
    size = total * mean(task.part.stat().st_size for task in seconds if task.part.exists()) / 1e6
    stage = StageForecast("ingest", total, "pages", *times, memory(), 2 * size)  # the parts, and the table made of them
    warnings = [f"{len(reasons)} of the {len(seconds)} pages tried would be set aside: {reasons[0]}"] if reasons else []
    unread = sum(not number for number in pages.values())
    warnings += [f"{unread} of {len(pages)} sources cannot be read"] if unread else []
    return _ForecastBasis(
        {source.name: number for source, number in pages.items()},
        max(1, round(total * mean(found))),
        _error(found),
        len(seconds),
        _joined([rows for rows, _ in parts], scratch / "sample.parquet"),
        stage,
        warnings,
    )


def _count(path: Path) -> int:
    try:
        return count_pages(path)
    except InputError:
        return 0


def _whole(counted: int | LostItem) -> int:
    return 0 if isinstance(counted, LostItem) else counted


def _drawn(job: IngestJob, pages: dict[Source, int], sample: int, dice: Random) -> Iterator[PageTask]:
    """Pages, one out of each of `sample` equal stretches of all pages, in no order."""
    total = sum(pages.values())
    wanted = min(sample, total)
    places = [dice.randrange(total * n // wanted, total * (n + 1) // wanted) for n in range(wanted)]
    ends = np.cumsum(list(pages.values()))
    sources = list(pages)
    dice.shuffle(places)
    for place in places:
        number = int(np.searchsorted(ends, place, side="right"))
        seen = survey(job.files(sources[number]))
        page = place - int(ends[number]) + pages[sources[number]]
        yield from islice(job.tasks(sources[number], seen), page, page + 1)


def _timed(task: PageTask, **settings: Any) -> float:
    """Seconds that a page takes."""
    start = time.monotonic()
    make_part(task, **settings)
    return time.monotonic() - start


def _until(deadline: float, tasks: Sequence[PageTask]) -> Iterator[PageTask]:
    for number, task in enumerate(tasks):
        if number and time.monotonic() > deadline:
            return
        yield task


def _joined(parts: Sequence[pa.Table], path: Path) -> Records:
    """The records of the sample as a table; their ids are numbers, because a page may have been drawn twice."""
    rows = pa.concat_tables([part.select(SCHEMA.names) for part in parts])
    rows = rows.set_column(0, SCHEMA.field("record_id"), pa.array([str(n) for n in range(len(rows))]))
    pq.write_table(rows, path)
    return Records.open(path)


def _embed_sample(config: Config, seen: _ForecastBasis) -> StageForecast:
    """Embed some of the sample's records; time, memory and disk grow with all of them."""
    from linkage.encode.biencoder import BiEncoder
    from linkage.encode.embed import embed_records, threads

    rows = sorted(Random(config.seed).sample(range(len(seen.sample)), min(len(seen.sample), _EMBEDDED)))
    encoder = BiEncoder.load(config.encode.model, config.encode.device, config.folding)
    alone = config.encode.model_copy(update={"threads": 1})
    with tempfile.TemporaryDirectory(prefix="linkage-") as scratch, peak_memory() as memory:
        embed_records(seen.sample.take(np.array(rows[:_WARM])), encoder, Path(scratch) / "warm", alone)
        start = time.monotonic()
        made = embed_records(seen.sample.take(np.array(rows)), encoder, Path(scratch) / "made", alone)
        seconds = time.monotonic() - start
        size = sum(path.stat().st_size for path in made.folder.iterdir())
    count = threads(encoder, config.encode)
    peak = memory() + (count - 1) * _THREAD_MB
    times = _range(seconds / len(rows) / count * seen.records, seen.spread)
    made_mb = size / len(rows) * seen.records / 1e6
    return StageForecast(
        "embed", seen.records, "records", *times, peak, 2 * made_mb
    )  # parts, and the folder made of them


def _exemplars(config: Config, labels: Path | None, seen: _ForecastBasis) -> int:
    """How many of the records will be exemplars, as labels or `link.exemplars` say."""
    known = 0
    if labels:
        known = int((read_truth(labels)["role"] == "exemplar").sum())
    elif not seen.pages:
        known = int((seen.sample.frame["role"] == "exemplar").sum())
    if config.link.exemplars:
        matching = sum(n for name, n in seen.pages.items() if fnmatch.fnmatch(name, config.link.exemplars))
        known = max(known, round(seen.records * matching / max(sum(seen.pages.values()), 1)))
    return min(known, seen.records)


def _reckoned(records: int, exemplars: int, letters: float, labelled: bool) -> list[StageForecast]:
    """Linking, clustering and the report, by the figures above; without exemplars nothing is linked.

    Args:
        records, exemplars: how many there will be.
        letters: of the text of a record, on average.
        labelled: whether there are labels.
    """
    queries = records - exemplars if exemplars else 0
    linking = (_LINK_START + queries * (_LINK_QUERY + _LINK_PAIR * exemplars)) * bool(queries)
    linking += queries * _FIT_QUERY * labelled
    rest = records - exemplars  # at most: what finds its exemplar is not clustered
    grouping = _CLUSTER_START + rest * (_CLUSTER_RECORD + _CLUSTER_LETTERS * letters**2)
    grouping += _CLUSTER_PAIR * rest * min(rest, EXACT_UP_TO)
    telling = _REPORT_START + _REPORT_RECORD * records + _EVALUATE * labelled
    return [
        StageForecast(
            "link", queries, "records", *_range(linking, 0.5), _BASE_MB + _LINK_MB * records, queries * _KB_LINKED / 1e3
        ),
        StageForecast(
            "cluster",
            rest,
            "records",
            *_range(grouping, 0.5),
            _BASE_MB + _CLUSTER_MB * rest,
            records * _KB_GROUPED / 1e3,
        ),
        StageForecast("report", records, "records", *_range(telling, 0.5), _BASE_MB, records * _KB_EXPORTED / 1e3),
    ]


def _error(values: Sequence[float]) -> float:
    """Relative error of a mean, at _SURE standard errors; 1 where a single value tells nothing."""
    if len(values) < 2 or not mean(values):
        return 1.0
    return float(_SURE * stdev(values) / mean(values) / len(values) ** 0.5)


def _range(seconds: float, error: float) -> tuple[float, float, float]:
    """Seconds with the least and the most that they may be."""
    factor = _DOUBT * (1 + error) if seconds else 1.0
    return round(seconds, 1), round(seconds / factor, 1), round(seconds * factor, 1)


def _warnings(made: Forecast, config: Config) -> list[str]:
    total = made.total
    said = []
    if total.memory_mb > made.free_memory_mb:
        worst = max(made.stages, key=lambda stage: stage.memory_mb)
        remedy = {"ingest": "set ingest.workers lower", "embed": "set encode.batch_size lower"}.get(worst.name, "")
        remedy = remedy or "work on parts of the records"
        said.append(f"{worst.name} needs {worst.memory_mb:.0f} MB, {made.free_memory_mb:.0f} are free: {remedy}")
    if total.disk_mb > made.free_disk_mb:
        said.append(
            f"the run needs {total.disk_mb:.0f} MB of disk, {made.free_disk_mb:.0f} are free: name another --out"
        )
    if config.train.enabled:
        said.append("training (train.enabled) is not reckoned: it comes on top")
    return said
