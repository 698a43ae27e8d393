"""What one ingest is to read, and the names that its results go by: digests of contents and settings."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa

from linkage.config import IngestConfig
from linkage.errors import InputError
from linkage.ingest.merge import FinishedTable, SourceParts, rows_by_page
from linkage.ingest.parts import PartNote, part_schema, read_note, write_part
from linkage.ingest.work import PageTask, SourceSurvey
from linkage.keys import digest, file_state, result_key
from linkage.layout.boxes import GivenBox, read_boxes
from linkage.ocr.engines import make_engine
from linkage.scans.pages import Source, read_page
from linkage.scans.rescans import PageLook, look_at
from linkage.transcripts.find import find_transcripts


class IngestJob:
    """One ingest: its sources, its engine, and the folder `<out>.partial` in which its parts lie until they are merged.

    A part is named after the content and the settings it was made from, so what is there can be used.
    """

    def __init__(self, sources: list[Source], out: Path, config: IngestConfig) -> None:
        self.sources = sources
        self.out = out
        self.config = config
        # Absolute, because workers need not be in this process's folder.
        self.folder = Path(os.path.abspath(out.with_name(out.name + ".partial")))  # noqa: PTH100 - links stay links
        self.engine = make_engine(config)
        self._boxes_read = boxes = read_boxes(config.boxes) if config.boxes else None
        self.columns = boxes.columns if boxes else ()
        self.ids_given = boxes is not None and boxes.ids_given
        self._transcripts = find_transcripts(sources) if config.ocr == "file" else {}
        self._given: dict[str, dict[int, list[GivenBox]]] = {}
        for name, rows in (boxes.assign(sources) if boxes else {}).items():
            self._given[name] = defaultdict(list)
            for box in rows:
                self._given[name][box.page].append(box)
        # Boxes count by their rows, see `_key`; limits decide what is set aside, which can be asked for again.
        self.settings = result_key(self.engine.name, config.result_settings("limit"), self.columns)

    def signature(self) -> str:
        """Digest of names, sizes and times: while it stays, nothing need be read to know that nothing changed."""
        files = [
            (source.name, [file_state(path) for path in self.files(source)], self._boxes(source))
            for source in self.sources
        ]
        return digest([self.settings, files])

    def files(self, source: Source) -> tuple[Path, ...]:
        """The file of a source and those of its transcripts."""
        return source.path, *(self._transcripts[source].files if source in self._transcripts else ())

    def content(self, surveyed: dict[Source, SourceSurvey]) -> str:
        """Digest of names and contents."""
        files = [(source.name, self._key(source, seen), seen.reason) for source, seen in surveyed.items()]
        return digest([self.settings, files])

    def tasks(self, source: Source, seen: SourceSurvey) -> Iterator[PageTask]:
        """The pages of a source in order."""
        key = self._key(source, seen)
        for page in range(1, seen.pages + 1):
            part = self._part(key, page)
            transcript = self._transcripts[source].page(page) if source in self._transcripts else None
            yield PageTask(source.path, seen.sha256, page, part, self._on(source, page, seen.pages), transcript)

    def known(self, before: FinishedTable, *, failed: bool) -> set[tuple[str, Path]]:
        """Names of sources and parts of the pages of an earlier table; of those set aside only where `failed`."""
        return {
            (note.source, self._part(note.key, note.page))
            for note in before.pages
            if note.page is not None and (failed or not note.reasons)
        }

    def _part(self, key: str, page: int) -> Path:
        return self.folder / "parts" / key[:2] / f"{key}-{page}.parquet"

    def _on(self, source: Source, page: int, pages: int) -> tuple[GivenBox, ...]:
        """The boxes of a page: those of its own rows, else those that templates make."""
        own = self._given.get(source.name, {}).get(page)
        if own or not self._boxes_read:
            return tuple(own or ())
        return tuple(self._boxes_read.by_template(source.name, page, pages))

    def merged(self, source: Source, seen: SourceSurvey) -> SourceParts:
        """The parts of a source, and what is wrong with it as a whole."""
        parts = [task.part for task in self.tasks(source, seen)]
        beyond = sorted(page for page in self._given.get(source.name, ()) if page > seen.pages > 0)
        reasons = [seen.reason] if seen.reason else []
        reasons += [f"boxes are given for page {page}, but it has {seen.pages}" for page in beyond]
        look = partial(_look_again, source.path, self.config)
        return SourceParts(source.name, seen.sha256, self._key(source, seen), parts, reasons, look)

    def seed(self, before: FinishedTable, surveyed: dict[Source, SourceSurvey], *, failed: bool) -> None:
        """Make parts of the pages of the earlier table `out` that are still wanted, without reading their scans.

        Args:
            before: what the table says of itself.
            surveyed: what is wanted now.
            failed: also of pages that were set aside.
        """
        wanted = {source.name: (source, seen) for source, seen in surveyed.items()}
        tasks: list[PageTask] = []
        copies: Counter[str] = Counter()
        name = None
        for note, rows in rows_by_page(self.out, before):
            if note.source != name:
                name = note.source
                copies[note.sha256] += 1
                source, seen = wanted.get(name, (None, SourceSurvey()))
                tasks = list(self.tasks(source, seen)) if source and self._key(source, seen) == note.key else []
            if note.page is None or note.page > len(tasks) or (note.reasons and not failed):
                continue
            part = tasks[note.page - 1].part
            if read_note(part) is None:
                suffix = f"-{copies[note.sha256]}" if copies[note.sha256] > 1 and not self.ids_given else ""
                write_part(part, self._nameless(rows, suffix), PartNote(note.reasons, note.facts))

    def _nameless(self, rows: pa.Table, suffix: str) -> pa.Table:
        """Rows of the merged table as they were in their part."""
        schema = part_schema(self.columns)
        ids = pa.array([name.removesuffix(suffix) for name in rows["record_id"].to_pylist()], pa.string())
        rows = rows.set_column(0, schema.field("record_id"), ids)
        source = schema.get_field_index("source")
        return rows.set_column(source, schema.field(source), pa.nulls(len(rows), pa.string())).cast(schema)

    def _key(self, source: Source, seen: SourceSurvey) -> str:
        return digest([seen.sha256, self.settings, self._boxes(source), seen.transcripts])[:32]

    def _boxes(self, source: Source) -> list[str]:
        own = [repr(box) for boxes in self._given.get(source.name, {}).values() for box in boxes]
        templates = self._boxes_read.templates if self._boxes_read else ()
        return own + [repr(template) for template in templates if template.matches(source.name)]


def _look_again(path: Path, config: IngestConfig, page: int) -> PageLook:
    try:
        return look_at(read_page(path, page, dpi=config.dpi, max_megapixels=config.max_megapixels).image)
    except InputError:  # it could be read before: then it is like nothing else
        return PageLook()
