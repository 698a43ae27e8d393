"""Join the parts of all pages into one table, one small row group at a time, and keep a list of the pages in it."""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from linkage.errors import UsageError
from linkage.ingest.duplicates import PageFingerprint, find_duplicates
from linkage.ingest.parts import FACTS, PartNote, part_schema, read_note, read_part
from linkage.progress import progress
from linkage.scans.rescans import PageLook
from linkage.tables import replacing, write_table

ROWS_PER_GROUP = 256
_BYTES_PER_GROUP = 32 * 2**20
_FACTS, _PAGES = b"linkage.ingest", b"linkage.pages"

NO_RECORD = "no record was found on it: it is blank, or what it holds was not seen"
"""Reason of a page that was read and gave no record; such a page is listed, but not set aside."""


@dataclass(frozen=True)
class SourceParts:
    """One source to merge: its parts in the order of pages, and what is wrong with the source as a whole.

    `key` is a digest of all that its rows were made from; `look` reads a page again to see what it looks like.
    """

    name: str
    sha256: str
    key: str
    parts: Sequence[Path]
    reasons: Sequence[str]
    look: Callable[[int], PageLook]


@dataclass(frozen=True, slots=True)
class PageNote:
    """What a finished table keeps of one page, or of what is wrong with a source as a whole (`page` None).

    Attributes:
        source, sha256, key: as of `SourceParts`.
        page: from 1.
        records: rows of the page.
        reasons: why it, or some of its given boxes, were set aside.
        facts: see `parts.PartNote`.
    """

    source: str
    sha256: str
    key: str
    page: int | None
    records: int
    reasons: list[str]
    facts: dict[str, Any]


@dataclass(frozen=True)
class FinishedTable:
    """What a finished table keeps of the ingest that wrote it: its facts, and its pages in order."""

    facts: dict[str, Any]
    pages: list[PageNote]

    def failures(self) -> pd.DataFrame:
        """What was set aside: source, page (empty: the whole file), reason."""
        return _listed((note, note.reasons) for note in self.pages)

    def empty(self, note: PageNote) -> bool:
        """Whether a page was read and gave no record; where the user gave the boxes, a page may well have none."""
        return note.page is not None and not (note.records or note.reasons or self.facts.get("boxes"))

    def table(self) -> pd.DataFrame:
        """All pages: source, page, status, records, FACTS, reason."""
        rows = [_row(note, self._reasons(note)) for note in self.pages]
        columns = ["source", "page", "status", "records", *FACTS, "reason"]
        return pd.DataFrame(rows, columns=columns, dtype=object).convert_dtypes()

    def write_lists(self, out: Path) -> None:
        """Write the lists of pages and of what gave no record beside the table."""
        write_table(self.table(), pages_path(out))
        write_table(_listed((note, self._reasons(note)) for note in self.pages), failures_path(out))

    def _reasons(self, note: PageNote) -> list[str]:
        return [NO_RECORD] if self.empty(note) else note.reasons


def pages_path(out: Path) -> Path:
    """Where the list of all pages of a table is kept: beside it, under its name."""
    return out.with_name(f"{out.stem}.pages.csv")


def failures_path(out: Path) -> Path:
    """Where the list of what was set aside, and of pages without a record, is kept: beside the table."""
    return out.with_name(f"{out.stem}.failures.csv")


def name_lists(out: Path) -> None:
    """Give the lists of a table in a folder of its own the names pages.csv and failures.csv."""
    for path in (pages_path(out), failures_path(out)):
        if path.exists():
            path.replace(path.with_name(path.name.removeprefix(f"{out.stem}.")))


def merge_parts(
    sources: Sequence[SourceParts],
    out: Path,
    *,
    columns: Sequence[str],
    ids_given: bool,
    ids_may_repeat: bool,
    facts: Mapping[str, Any],
) -> FinishedTable:
    """Write all parts, in order, into `out` (Parquet, zstd) atomically, after the lists beside it.

    The table keeps the list of its pages itself, compressed: the lists beside it can be written again.

    Args:
        sources: in the order of the table.
        out: file to write.
        columns: the user's own columns.
        ids_given: ids are the user's and stay; else those of a source whose content came before get "-2", "-3", ...
        ids_may_repeat: some ids come from the user's files, unchecked: they stay, and what comes twice gets "-2", ....
        facts: JSON values, kept in the file.
    """
    finished = FinishedTable(dict(facts), [])
    met = _met_before(sources)
    schema = part_schema(columns)
    with replacing(out) as temporary:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            tables = _tables(sources, finished.pages, met, ids_given, _Ids() if ids_may_repeat else None)
            for group in _groups(tables, schema):
                writer.write_table(group, row_group_size=ROWS_PER_GROUP)
            writer.add_key_value_metadata({_FACTS: json.dumps(finished.facts), _PAGES: _packed(finished.pages)})
        finished.write_lists(out)
    return finished


def read_finished(out: Path) -> FinishedTable | None:
    """What an earlier ingest noted in the table it finished; None where there is no table.

    Raises:
        UsageError: it is something else than the table of an ingest.
    """
    if not out.exists():
        return None
    try:
        metadata = pq.read_metadata(out).metadata or {}
    except (OSError, pa.ArrowException):
        metadata = {}
    if not {_FACTS, _PAGES} <= metadata.keys():
        raise UsageError(f"{out}: exists and was not written by ingest; choose another file or overwrite it")
    return FinishedTable(json.loads(metadata[_FACTS]), _unpacked(metadata[_PAGES]))


def rows_by_page(out: Path, finished: FinishedTable) -> Iterator[tuple[PageNote, pa.Table]]:
    """The pages of a finished table with their rows, in order, one row group at a time in memory."""
    with pq.ParquetFile(out) as file:
        held = file.schema_arrow.empty_table()
        groups = map(file.read_row_group, range(file.num_row_groups))
        for note in finished.pages:
            while len(held) < note.records:
                held = pa.concat_tables([held, next(groups)])
            yield note, held.slice(0, note.records)
            held = held.slice(note.records)


def _listed(reasons: Iterable[tuple[PageNote, Sequence[str]]]) -> pd.DataFrame:
    rows = [(note.source, note.page, reason) for note, some in reasons for reason in some]
    return pd.DataFrame(rows, columns=["source", "page", "reason"]).astype({"page": "Int64"})


def _row(note: PageNote, reasons: Sequence[str]) -> dict[str, Any]:
    status = "failed" if note.reasons and not note.records else "read"
    row = {"source": note.source, "page": note.page, "status": status, "records": note.records}
    return {**row, **note.facts, "reason": "; ".join(reasons)}


def _packed(pages: Sequence[PageNote]) -> bytes:
    return base64.b64encode(zlib.compress(json.dumps([astuple(note) for note in pages]).encode()))


def _unpacked(data: bytes) -> list[PageNote]:
    return [PageNote(*row) for row in json.loads(zlib.decompress(base64.b64decode(data)))]


def _met_before(sources: Sequence[SourceParts]) -> dict[tuple[str, int], dict[str, str]]:
    """Facts of the pages that were met before, by source and page."""
    places = [(source, page) for source in sources for page in range(1, len(source.parts) + 1)]
    seen = []
    for source, page in places:
        note = read_note(source.parts[page - 1]) or PartNote()
        bits = bytes.fromhex(note.facts.get("hash", ""))
        seen.append(PageFingerprint((source.sha256, page), note.facts.get("pixels", ""), bits))

    def look(place: int) -> PageLook:
        source, page = places[place]
        note = read_note(source.parts[page - 1])
        # What a page looks like is not kept in the table that parts are made from again.
        return PageLook.unpacked(note.look) if note and note.look else source.look(page)

    with progress("comparing", len(places), "pages") as advance:
        found = []
        for duplicate in find_duplicates(seen, look):
            found.append(duplicate)
            advance()
    firsts = [f"{source.name}:{page}" for source, page in places]
    return {
        (source.name, page): {"duplicate": duplicate.kind, "duplicate_of": firsts[duplicate.first]}
        for (source, page), duplicate in zip(places, found, strict=True)
        if duplicate
    }


class _Ids:
    """The ids that are taken."""

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()

    def free(self, name: str) -> str:
        """The id, or with a number behind it that makes it a new one; taken from now on."""
        found = name
        while found in self._times:
            self._times[name] += 1
            found = f"{name}-{self._times[name]}"
        self._times[found] = 1
        return found


def _tables(
    sources: Sequence[SourceParts],
    pages: list[PageNote],
    met: Mapping[tuple[str, int], dict[str, str]],
    ids_given: bool,
    taken: _Ids | None,
) -> Iterator[pa.Table]:
    """Tables of the parts with `source` and final ids; appends to `pages` on the way."""
    copies: Counter[str] = Counter()
    for source in sources:
        if source.reasons:
            pages.append(PageNote(source.name, source.sha256, source.key, None, 0, list(source.reasons), {}))
        copies[source.sha256] += 1
        suffix = f"-{copies[source.sha256]}" if copies[source.sha256] > 1 and not (ids_given or taken) else ""
        for page, part in enumerate(source.parts, start=1):
            table, note = read_part(part)
            facts = {name: value for name, value in note.facts.items() if not name.startswith("duplicate")}
            facts |= met.get((source.name, page), {})
            pages.append(PageNote(source.name, source.sha256, source.key, page, len(table), note.reasons, facts))
            names = pa.array([source.name] * len(table), pa.string())
            ids = [name + suffix for name in table["record_id"].to_pylist()]
            ids = pa.array(list(map(taken.free, ids)) if taken else ids, pa.string())
            table = table.set_column(table.schema.get_field_index("source"), "source", names)
            yield table.set_column(0, table.schema.field("record_id"), ids)


def _groups(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of all tables in groups that are small in rows and in bytes."""
    held: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        while len(table):
            head, table = table.slice(0, ROWS_PER_GROUP - rows), table.slice(ROWS_PER_GROUP - rows)
            held.append(head)
            rows += len(head)
            size += head.nbytes
            if rows >= ROWS_PER_GROUP or size >= _BYTES_PER_GROUP:
                yield pa.concat_tables(held).cast(schema)
                held, rows, size = [], 0, 0
    if held:
        yield pa.concat_tables(held).cast(schema)
