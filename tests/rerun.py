"""A small world of scans or records, labels, settings and models that changes step by step, and what a run makes of it.

`scripts/torture_reruns.py` tries many such sequences, the tests a few.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from drawn import page
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import linkage
from linkage.config import Config, load_config
from linkage.errors import LinkageError
from linkage.run import run
from linkage.sections import Section

NAMES = (
    *("Moreau & Cie, libraires", "Durand, horloger", "Lefebvre Fils", "Caubert, architecte", "Chaubert, notaire"),
    *("Petit, boucher", "Moreau et Cie, libraire", "Durant, horloger", "Lefebvre et Fils", "Société générale"),
)
BOXES = ("source,page,x0,y0,x1,y1\n*,1,0,0,400,60\n", "source,page,x0,y0,x1,y1\n*,1,10,10,390,70\n")
SETTINGS: dict[str, tuple[str, ...]] = {
    "seed": ("0", "7"),
    "ingest.regions": ("page", "boxes"),
    "ingest.header_lines": ("0", "2"),
    "ingest.boxes": ("null", "BOXES"),
    "ingest.tag": ("''", "entry"),
    "ingest.ocr": ("none", "tesseract"),
    "ingest.languages": ("[eng]", "[eng, jpn]"),
    "ingest.ocr_cache": ("null", "CACHE"),
    "ingest.psm": ("3", "6"),
    "ingest.dpi": ("300", "150"),
    "ingest.max_megapixels": ("200", "0.05", "0.01"),
    "ingest.rotate": ("0", "180"),
    "ingest.deskew": ("false", "true"),
    "ingest.frame": ("false", "true"),
    "ingest.contrast": ("false", "true"),
    "ingest.rescans": ("false", "true"),
    "ingest.padding": ("4", "0"),
    "ingest.workers": ("1", "2"),
    "ingest.recycle": ("200", "2"),
    "ingest.page_seconds": ("120", "60"),
    "ingest.page_memory": ("4G", "3G"),
    "ingest.max_failures": ("0.9", "0.01"),
    "text.width": ("true", "false"),
    "text.case": ("true", "false"),
    "text.kanji": ("true", "false"),
    "encode.model": ("linkage-line", "OTHER"),
    "encode.image_weight": ("0.5", "0.9", "0"),
    "encode.reading": ("true", "false"),
    "encode.batch_size": ("32", "1"),
    "encode.threads": ("0", "1"),
    "encode.device": ("auto", "cpu"),
    "index.kind": ("auto", "exact", "float16"),
    "index.memory": ("null", "1G"),
    "index.recall": ("0.99", "0.9"),
    "link.exemplars": ("null", "'a*'"),
    "link.k": ("5", "1"),
    "link.neighbours": ("50", "2"),
    "link.rescored": ("20", "1"),
    "link.blocking": ("[]", "[shelf]"),
    "link.exclude": ("none", "source"),
    "link.fields": ("{}", "{shelf: number}"),
    "link.constraint": ("many-to-one", "one-to-one"),
    "link.threshold": ("null", "0.1", "0.99"),
    "link.review_threshold": ("null", "0.05"),
    "link.aim": ("accuracy", "f1"),
    "link.max_false_links": ("null", "0.2"),
    "link.risk": ("0.05", "0.2"),
    "link.coverage": ("null", "0.9"),
    "link.device": ("auto", "cpu"),
    "cluster.method": ("hdbscan", "average", "components"),
    "cluster.distance": ("fused", "pooled"),
    "cluster.graph": ("auto", "exact"),
    "cluster.neighbours": ("32", "1"),
    "cluster.min_cluster_size": ("2", "3"),
    "cluster.min_samples": ("1", "2"),
    "cluster.max_distance": ("null", "0.2", "2"),
    "evaluate.recall_at": ("[1, 5]", "[1]"),
    "evaluate.bootstrap": ("100", "150"),
    "evaluate.iou": ("0.5", "0.9"),
    "report.entities": ("8", "1"),
    "report.crops": ("8", "1"),
}
"""Values that are tried for every setting, the first one to begin with."""


def keys_of(section: type[Section] = Config, prefix: str = "") -> Iterator[str]:
    """Every setting by its name, but those of training."""
    for name, info in section.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from keys_of(inner, f"{prefix}{name}.")
        elif prefix != "train.":
            yield prefix + name


@dataclass(frozen=True)
class Row:
    """A record of a table, or a scan: what its picture and its text say, and what is known of it."""

    text: int
    picture: int | None
    shelf: int
    entity: str = ""
    role: str = ""
    split: str = ""


rows = st.builds(
    Row,
    text=st.integers(0, len(NAMES) - 1),
    picture=st.none() | st.integers(0, len(NAMES) - 1),
    shelf=st.integers(1, 3),
    entity=st.sampled_from(["", "", "m", "d", "l"]),
    role=st.sampled_from(["", "exemplar", "query"]),
    split=st.sampled_from(["", "train", "val", "test"]),
)
names = st.sampled_from(["a1", "a2", "a3", "b1", "b2", "b3", "c1"])
changes = st.one_of(
    st.tuples(st.just("row"), names, rows),
    st.tuples(st.just("drop"), names, st.none()),
    st.tuples(st.just("label"), names, rows),
    st.tuples(st.just("unlabel"), names, st.none()),
    st.sampled_from(sorted(SETTINGS)).flatmap(
        lambda key: st.tuples(st.just("set"), st.just(key), st.sampled_from(SETTINGS[key]))
    ),
    st.tuples(st.just("model"), st.just(""), st.integers(0, 2)),
    st.tuples(st.just("boxes"), st.just(""), st.integers(0, 1)),
    st.tuples(st.just("damage"), names, st.none()),
)
sequences = st.tuples(st.booleans(), st.lists(changes, min_size=1, max_size=4))
"""Whether records come as a table (or as scans), and what changes before each further run."""


@dataclass
class World:
    """Files as a user has them."""

    folder: Path
    table: bool
    rows: dict[str, Row] = field(default_factory=dict)
    labels: dict[str, Row] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=lambda: {key: values[0] for key, values in SETTINGS.items()})

    def begin(self) -> None:
        """Seven records, three of which are labelled."""
        for number, name in enumerate(("a1", "a2", "a3", "b1", "b2", "b3")):
            role = "exemplar" if name.startswith("a") else "query"
            self.rows[name] = Row(number, number, 1 + number % 2, "mdl"[number % 3] if number < 4 else "", role)
        self.labels = {name: row for name, row in self.rows.items() if row.entity}
        (self.folder / "scans").mkdir(parents=True)
        for name in self.rows:
            self._draw(name)
        (self.folder / "boxes.csv").write_text(BOXES[0])
        self.change("model", "", 1)

    def change(self, kind: str, name: str, value: Any) -> None:
        """Change one thing."""
        if kind == "row":
            self.rows[name] = value
            self._draw(name)
        elif kind == "drop" and len(self.rows) > 1:
            self.rows.pop(name, None)
            (self.folder / "scans" / f"{name}.png").unlink(missing_ok=True)
        elif kind == "label":
            self.labels[name] = value
        elif kind == "unlabel":
            self.labels.pop(name, None)
        elif kind == "set":
            self.settings[name] = value
        elif kind == "model":
            _write_model(self.folder / "model", value)
        elif kind == "boxes":
            (self.folder / "boxes.csv").write_text(BOXES[value])
        elif kind == "damage" and (self.folder / "scans" / f"{name}.png").exists():
            (self.folder / "scans" / f"{name}.png").write_bytes(b"no picture")

    def outcome(self, out: Path) -> dict[str, bytes] | str:
        """Run it; every byte of what comes out by its name, or the kind of error that it ends with."""
        given = {key: value for key, value in self.settings.items() if value != "null"}
        places = {"BOXES": "boxes.csv", "CACHE": "cache", "OTHER": "model"}
        given = {key: str(self.folder / places[value]) if value in places else value for key, value in given.items()}
        if (given["ingest.regions"] == "boxes") != ("ingest.boxes" in given):  # one without the other is refused
            given |= {"ingest.regions": "page"}
            given.pop("ingest.boxes", None)
        source = self.folder / "scans"
        if self.table:
            source = self._write("records.csv", self.rows, ("text", "image", "shelf", "entity_id", "role", "split"))
        labels = None
        if self.labels:
            columns = ("entity_id", "role", "split")
            labels = self._write("labels.csv", self.labels, columns if self.table else ("source", *columns))
        try:
            config = load_config(None, [f"{key}={value}" for key, value in given.items()])
            run(config, [source], out, labels=labels)
        except LinkageError as error:
            return type(error).__name__
        files = [*(out / "export").iterdir(), *(out / "evaluate").glob("*.csv"), out / "failures.csv"]
        return {str(path.relative_to(out)): path.read_bytes() for path in sorted(files)}

    def _draw(self, name: str) -> None:
        picture = self.rows[name].picture
        place = self.folder / "scans" / f"{name}.png"
        if picture is None and self.table:
            place.unlink(missing_ok=True)
        else:
            page([NAMES[picture or 0]], (420 if name < "c" else 640, 90)).save(place)

    def _write(self, file: str, rows: dict[str, Row], columns: tuple[str, ...]) -> Path:
        key = "record_id" if self.table else "number"
        lines = [",".join([key, *columns])]
        for name, row in sorted(rows.items()):
            told = {
                "text": f'"{NAMES[row.text]}"' if row.text % 3 or row.picture is None else "",
                "image": f"scans/{name}.png" if row.picture is not None else "",
                "source": f"{name}.png",
                "shelf": str(row.shelf),
                "entity_id": row.entity or "m",
                "role": row.role,
                "split": row.split,
            }
            lines.append(",".join([name, *(told[column] for column in columns)]))
        path = self.folder / file
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path


def _write_model(folder: Path, kind: int) -> None:
    """A model folder: the shipped one, with other weights (1), or with another scorer (2)."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(Path(linkage.__file__).parent / "models" / "linkage-line", folder)
    if kind == 1:
        weights = load_file(folder / "model.safetensors")
        name = max((name for name in weights if name.startswith("text")), key=lambda one: weights[one].size)
        weights[name] = (weights[name] * np.float32(1.05)).astype(weights[name].dtype)
        save_file(weights, folder / "model.safetensors")
    if kind == 2:
        scorer = json.loads((folder / "scorer.json").read_text())
        for level in scorer["levels"].values():
            level["intercept"] -= 1
        (folder / "scorer.json").write_text(json.dumps(scorer))


def compare(
    folder: Path, table: bool, steps: list[tuple[str, str, Any]], ends: Counter[str] | None = None
) -> list[str]:
    """Names of what a run that goes on makes otherwise than a fresh one, after any of the steps.

    `ends` counts how the fresh ones ended: done, or the kind of error.
    """
    world = World(folder / "world", table)
    world.begin()
    world.outcome(folder / "run")
    for number, step in enumerate(steps):
        world.change(*step)
        again = world.outcome(folder / "run")
        fresh = world.outcome(folder / f"fresh-{number}")
        if ends is not None:
            ends[fresh if isinstance(fresh, str) else "done"] += 1
        if isinstance(again, str) or isinstance(fresh, str):
            if again != fresh:
                return [f"step {number}: {again if isinstance(again, str) else 'done'}, fresh: {fresh!s:.60}"]
        elif wrong := [name for name in {*again, *fresh} if again.get(name) != fresh.get(name)]:
            return [f"step {number}: {name}" for name in sorted(wrong)]
        shutil.rmtree(folder / f"fresh-{number}", ignore_errors=True)  # a refused configuration leaves none
    return []
