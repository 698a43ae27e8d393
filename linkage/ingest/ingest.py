"""Scans to one table of records, in worker processes, in constant memory, safe against being killed.

Every page becomes a part file in `<out>.partial/`, named after the content it was made from and the settings. A run
that is cut off continues with the parts that are there. The parts are then merged, in the order of the sources.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections import Counter
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
from linkage.ingest.boxes import GivenBox, read_boxes
from linkage.ingest.merge import merge_parts
from linkage.ingest.ocr import make_engine
from linkage.ingest.pages import Source, find_sources
from linkage.ingest.pool import CrashedError, run_all
from linkage.ingest.work import Surveyed, Task, make_part, part_is_whole, survey, write_part
from linkage.progress import progress
from linkage.tables import read_table, write_table

log = logging.getLogger(__name__)

VERSION = 1
"""Raised whenever the same page and settings would give other records."""

_METADATA = b"linkage.ingest"
_NOT_SETTINGS = {"workers", "max_failures", "boxes"}  # none of them changes a record; boxes count by their rows


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
    job = _Job.of(inputs, out, config)
    with job.alone():
        if existing == "overwrite":
            shutil.rmtree(job.parts, ignore_errors=True)
        summary = _finished(job, out, "signature", job.signature) if existing == "resume" else None
        summary = summary or _read_all(job, existing)
        shutil.rmtree(job.folder, ignore_errors=True)
    _check_failures(summary, out, config)
    return summary


@dataclass(frozen=True)
class _Job:
    sources: list[Source]
    out: Path
    config: IngestConfig
    given: dict[str, list[GivenBox]]
    columns: tuple[str, ...]
    settings: str  # digest of all that changes a record but the content of the source and its boxes

    @classmethod
    def of(cls, inputs: Sequence[Path], out: Path, config: IngestConfig) -> _Job:
        sources = find_sources(inputs)
        boxes = read_boxes(config.boxes) if config.boxes else None
        given = boxes.assign(sources, config.boxes) if boxes and config.boxes else {}
        columns = boxes.columns if boxes else ()
        settings = config.model_dump(mode="json", exclude=_NOT_SETTINGS)
        return cls(
            sources, out, config, given, columns, _digest(VERSION, make_engine(config).name, settings, columns)
        )

    @property
    def folder(self) -> Path:
        return self.out.with_name(self.out.name + ".partial")

    @property
    def parts(self) -> Path:
        return self.folder / "parts"

    @property
    def scratch(self) -> Path:
        return self.folder / ".scratch"

    @property
    def signature(self) -> str:
        """Digest of names, sizes and times: equal means that nothing need be read to know that nothing changed."""
        return _digest(self.settings, [(source.name, *_stat(source.path), self._boxes(source)) for source in self.sources])

    def key(self, source: Source, sha256: str) -> str:
        """Name of the parts of a source: its content and everything that decides on the records."""
        return _digest(sha256, self.settings, self._boxes(source))

    def _boxes(self, source: Source) -> str:
        return _digest([repr(box) for box in self.given.get(source.name, [])])

    def part(self, source: Source, sha256: str, page: int) -> Path:
        key = self.key(source, sha256)
        return self.parts / key[:2] / f"{key}-{page}.parquet"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder of parts against a second ingest; the system lets go when the process dies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(f"{self.out}: another ingest is writing it; wait for it or choose another") from None
            yield


def _read_all(job: _Job, existing: str) -> IngestSummary:
    shutil.rmtree(job.scratch, ignore_errors=True)
    job.scratch.mkdir(parents=True)
    surveyed = _survey(job)
    content = _digest(
        job.settings, [(source.name, job.key(source, seen.sha256), seen.reason) for source, seen in surveyed]
    )
    if existing == "resume" and (summary := _finished(job, job.out, "content", content)):
        return summary
    pages = sum(seen.pages for _, seen in surveyed)
    _read_pages(job, surveyed, pages)
    facts = {"signature": job.signature, "content": content, "sources": len(job.sources), "pages": pages}
    parts = ((source, page, job.part(source, seen.sha256, page)) for source, seen, page in _pages(surveyed))
    merged = merge_parts(parts, ...)
    return merged
