"""Drawn records with known entities: the training data of the shipped model, made without any scan or label."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from linkage.errors import InputError
from linkage.machine import cores
from linkage.progress import progress
from linkage.records import SCHEMA
from linkage.synth.names import Entity, make_entities
from linkage.synth.views import draw_view
from linkage.tables import replacing

SYNTH_SCHEMA = pa.schema(
    [*SCHEMA, *(pa.field(name, pa.string()) for name in ("entity_id", "split", "role", "truth", "layout"))]
)
"""`SCHEMA` with the labels, `truth` (what is printed) and `layout` (line, column, header or entry)."""

ROWS_PER_GROUP = 256
NO_MATCH_SHARE = 0.2  # of the validation and test entities: all their records are queries without an exemplar
TRAIN, HELD_OUT = 0.90, 0.05


@dataclass(frozen=True)
class _Task:
    """The views of a few entities, drawn by one worker; `first` is the number of the first entity."""

    first: int
    entities: tuple[Entity, ...]
    labels: tuple[tuple[str, bool], ...]  # split, and whether the entity has an exemplar
    views: int
    seed: int


def synth_records(out: Path, *, entities: int, views: int, seed: int, workers: int = 0) -> None:
    """Draw `entities` x `views` records, crops inside, and write them as Parquet (`SYNTH_SCHEMA`).

    Single lines (70 %), header blocks with the name set biggest (20 %) and "name, trade, address" entries
    (10 %), in 30 % of the Japanese lines downward, single words always as lines; each view another spelling, face or
    hand, paper and reading noise.
    Splits are entity-disjoint, 90/5/5, look-alike siblings on one side. In val and test an entity has one
    exemplar and the rest are queries, or (20 %) it has queries without a match only.

    Args:
        out: Parquet file, replaced atomically.
        entities: number of entities, 1 or more.
        views: records per entity, 1 or more.
        seed: the same seed, sizes and fonts give the same file, whatever `workers` is.
        workers: processes; 0 = one per core, 1 = in this process.

    Raises:
        InputError: a count below 1.
        DependencyError: no usable font is installed.
    """
    if entities < 1 or views < 1:
        raise InputError(f"{out}: entities and views must be 1 or more, not {entities} and {views}")
    tasks = _tasks(entities, views, seed)
    with (
        replacing(out) as temporary,
        pq.ParquetWriter(temporary, SYNTH_SCHEMA, compression="zstd") as writer,
        progress("drawing", entities * views) as advance,
        _mapped(tasks, workers) as batches,
    ):
        for batch in batches:
            writer.write_table(pa.Table.from_pylist(batch, schema=SYNTH_SCHEMA))
            advance(len(batch))


@contextmanager
def _mapped(tasks: list[_Task], workers: int) -> Iterator[Iterable[list[dict[str, Any]]]]:
    workers = min(workers or cores(), len(tasks))
    if workers == 1:
        yield map(_draw_task, tasks)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield pool.imap(_draw_task, tasks)


def _tasks(entities: int, views: int, seed: int) -> list[_Task]:
    made = make_entities(entities, seed)
    labels = _labels(entities, seed)
    step = max(1, ROWS_PER_GROUP // views)
    return [
        _Task(first, tuple(made[first : first + step]), tuple(labels[first : first + step]), views, seed)
        for first in range(0, entities, step)
    ]


def _labels(entities: int, seed: int) -> list[tuple[str, bool]]:
    """Split and has-an-exemplar per entity; entities 2k and 2k+1, which may be siblings, share the split."""
    rng = Random(f"{seed}/splits")
    pairs = list(range((entities + 1) // 2))
    rng.shuffle(pairs)
    held_out = max(1, round(HELD_OUT * len(pairs))) if len(pairs) >= 3 else 0
    split_of = dict.fromkeys(pairs, "train")
    split_of |= dict.fromkeys(pairs[:held_out], "val") | dict.fromkeys(pairs[held_out : 2 * held_out], "test")
    return [(split_of[number // 2], rng.random() >= NO_MATCH_SHARE) for number in range(entities)]


def _draw_task(task: _Task) -> list[dict[str, Any]]:
    rows = []
    for offset, (entity, (split, has_exemplar)) in enumerate(zip(task.entities, task.labels, strict=True)):
        number = task.first + offset
        rng = Random(f"{task.seed}/views/{number}")
        for view in range(task.views):
            role = "" if split == "train" else "query" if has_exemplar else "query_nomatch"
            if role == "query" and view == 0:
                role = "exemplar"
            row = draw_view(entity, rng).row()
            name = f"s{number:07d}_{view:02d}"
            row |= {"record_id": name, "source": f"synthetic/{name}", "page": 1}  # where it stands tells nothing
            row |= {"entity_id": f"se{number:07d}", "split": split, "role": role}
            rows.append(row)
    return rows
