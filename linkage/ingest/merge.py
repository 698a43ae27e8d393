"""Join the parts of all pages into one table, one small row group at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from linkage.ingest.work import part_schema, read_part
from linkage.tables import replacing, write_table

ROWS_PER_GROUP = 256
_BYTES_PER_GROUP = 32 * 2**20


@dataclass(frozen=True)
class Merged:
    """One source to merge: its parts in the order of pages, and what is wrong with the source as a whole."""

    name: str
    sha256: str
    parts: Sequence[Path]
    reasons: Sequence[str] = ()


def failures_path(out: Path) -> Path:
    """Where the list of what was set aside is kept: beside the table."""
    return out.with_name("failures.csv")


def merge_parts(
    sources: Iterable[Merged],
    out: Path,
    *,
    columns: Sequence[str],
    ids_given: bool,
    ids_may_repeat: bool,
    metadata: dict[bytes, bytes],
) -> pd.DataFrame:
    """Write all parts, in order, into `out` (Parquet, zstd) atomically, after `failures.csv` beside it.

    Args:
        sources: in the order of the table.
        out: file to write.
        columns: the user's own columns.
        ids_given: ids are the user's and stay; else those of a source whose content came before get "-2", "-3", ...
        ids_may_repeat: some ids come from the user's files, unchecked: they stay, and what comes twice gets "-2", ....
        metadata: kept in the file.

    Returns:
        What was set aside: source, page, reason.
    """
    failures: list[tuple[str, int | None, str]] = []
    schema = part_schema(columns)
    with replacing(out) as temporary:
        with pq.ParquetWriter(temporary, schema.with_metadata(metadata), compression="zstd") as writer:
            for group in _groups(_tables(sources, failures, ids_given, _Ids() if ids_may_repeat else None), schema):
                writer.write_table(group, row_group_size=ROWS_PER_GROUP)
        table = pd.DataFrame(failures, columns=["source", "page", "reason"]).astype({"page": "Int64"})
        write_table(table, failures_path(out))
    return table


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
    sources: Iterable[Merged], failures: list[tuple[str, int | None, str]], ids_given: bool, taken: _Ids | None
) -> Iterator[pa.Table]:
    """Tables of the parts with `source` and final ids; appends to `failures` on the way."""
    copies: Counter[str] = Counter()
    for source in sources:
        failures += [(source.name, None, reason) for reason in source.reasons]
        copies[source.sha256] += 1
        suffix = f"-{copies[source.sha256]}" if copies[source.sha256] > 1 and not (ids_given or taken) else ""
        for page, part in enumerate(source.parts, start=1):
            table, reasons = read_part(part)
            failures += [(source.name, page, reason) for reason in reasons]
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
