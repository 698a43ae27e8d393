"""Drawn records with known entities: the training data of the shipped model, made without any scan or label."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from linkage.errors import InputError
from linkage.progress import progress
from linkage.records import SCHEMA
from linkage.synth.degrade import degrade, encode_jpeg
from linkage.synth.names import Entity, make_entities
from linkage.synth.noise import corrupt
from linkage.synth.render import Line, choose_face, margins, set_column, set_line, stack
from linkage.synth.variants import variant
from linkage.tables import replacing
from linkage.text import clean

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
    (10 %), in 20 % of the Japanese lines downward; each view another spelling, face, paper and reading noise.
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
    workers = min(workers or os.cpu_count() or 1, len(tasks))
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
            row = _draw_view(entity, rng)
            source = f"synthetic/{number:07d}"
            row |= {"record_id": f"s{number:07d}_{view:02d}", "source": source, "page": view + 1}
            row |= {"entity_id": f"se{number:07d}", "split": split, "role": role}
            rows.append(row)
    return rows


def _draw_view(entity: Entity, rng: Random) -> dict[str, Any]:
    layout = rng.choices(("line", "header", "entry"), (70, 20, 10))[0]
    if layout == "line" and entity.kind == "japanese" and rng.random() < 0.2:
        layout = "column"
    ink, truth = _LAYOUTS[layout](entity, rng)
    strength = rng.betavariate(1.4, 1.8)
    image = degrade(_frame(ink, rng), rng, strength)
    level = 0.0 if rng.random() < 0.2 else rng.betavariate(1.2, 5) * 0.45
    text = clean(corrupt(truth, rng, level)) or truth
    return {
        "x0": 0,
        "y0": 0,
        "x1": image.width,
        "y1": image.height,
        "direction": "vertical" if layout == "column" else "horizontal",
        "text": text,
        "text_raw": text,
        "ocr_engine": "synthetic",
        "crop": encode_jpeg(image, rng),
        "truth": truth,
        "layout": layout,
    }


def _set(text: str, rng: Random, size: int) -> Image.Image:
    spacing = size * rng.uniform(0.03, 0.2) if rng.random() < 0.12 else 0.0
    return set_line(Line(text, choose_face(text, rng), size, spacing))


def _line(entity: Entity, rng: Random) -> tuple[Image.Image, str]:
    text = variant(entity, rng)
    return _set(text, rng, rng.randint(18, 40)), text


def _column(entity: Entity, rng: Random) -> tuple[Image.Image, str]:
    text = variant(entity, rng)
    return set_column(Line(text, choose_face(text, rng), rng.randint(20, 38), rng.uniform(0, 6))), text


def _header(entity: Entity, rng: Random) -> tuple[Image.Image, str]:
    """A block of two to four lines, as at the head of a bill: the name and what stands around it."""
    size = rng.randint(22, 34)
    small = max(13, int(size * rng.uniform(0.5, 0.85)))
    name = variant(entity, rng)
    around = [
        entity.address,
        f"{rng.choice(('No.', 'Tel', 'Reg.', 'Co. No.', 'N°'))} {entity.number}",
        entity.trade,
    ]
    around = rng.sample(around, rng.randint(1, 3))
    before = rng.random() < 0.12  # a line of something else above the name
    texts = [around[0], name, *around[1:]] if before else [name, *around]
    upper = rng.random() < 0.4
    texts = [text.upper() if upper and text != name else text for text in texts]
    face = partial(choose_face, rng=rng)
    shared = face("".join(texts))
    lines = [set_line(Line(text, face(text), size) if text == name else Line(text, shared, small)) for text in texts]
    return stack(lines, rng.randint(-2, 5), rng.choice((0.5, 0.5, 0.0))), " ".join(texts)


def _entry(entity: Entity, rng: Random) -> tuple[Image.Image, str]:
    comma = rng.choice((", ", ", ", " ", "; ", ". "))
    parts = [variant(entity, rng), entity.trade, entity.address]
    if rng.random() < 0.3:
        parts.pop(rng.choice((1, 2)))
    text = comma.join(parts)
    return _set(text, rng, rng.randint(16, 26)), text


_LAYOUTS = {"line": _line, "column": _column, "header": _header, "entry": _entry}


def _frame(ink: Image.Image, rng: Random) -> Image.Image:
    """Cut the crop out of its page: uneven margins, at times a rule or the edges of the lines around it."""
    high = max(2, ink.height // 6)
    framed = margins(ink, rng.randint(0, 20), rng.randint(-2, high), rng.randint(0, 20), rng.randint(-2, high))
    draw = rng.random()
    if draw < 0.08:
        _neighbours(framed, ink, rng)
    elif draw < 0.16:
        thick = rng.randint(1, 2)
        y = rng.choice((0, framed.height - thick, int(framed.height * 0.9)))
        framed.paste(rng.randint(120, 255), (0, y, framed.width, min(framed.height, y + thick)))
    return framed


def _neighbours(framed: Image.Image, ink: Image.Image, rng: Random) -> None:
    """Let the feet of the line above or the heads of the line below show at the edge."""
    seen = rng.randint(2, max(3, ink.height // 7))
    other = ink.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.5:
        foot = int(other.height * 0.78)
        framed.paste(other.crop((0, foot - seen, other.width, foot)), (rng.randint(-60, 60), 0))
    else:
        head = int(other.height * 0.25)
        framed.paste(other.crop((0, head, other.width, head + seen)), (rng.randint(-60, 60), framed.height - seen))
