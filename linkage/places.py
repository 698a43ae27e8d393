"""What lies at a path that the user gave: named in messages where something else is wanted."""

from __future__ import annotations

import json
import re
from pathlib import Path

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{1,30}):/{1,3}(?=[^/])")  # a Path has lost the second stroke of s3://
_LEDGER = b"LKLG"  # its SQLite application id, at byte 68
TABLES = (".csv", ".parquet")
RUN, INDEX, EMBEDDINGS, MODEL, CLUSTERS = (
    "a run directory", "an index", "embeddings", "a model", "a folder of `linkage cluster`"
)  # fmt: skip
TABLE, LINKS, RECORDS = "a table", "a links table", "a records table"

_MAKERS = {RUN: "run", INDEX: "index", EMBEDDINGS: "embed", MODEL: "train"}
_INSIDE = {
    (RUN, INDEX): ("index",),
    (RUN, EMBEDDINGS): ("embed",),
    (RUN, MODEL): ("train",),
    (RUN, TABLE): ("export/links.csv", "export/members.csv", "ingest/records.parquet"),
    (INDEX, TABLE): ("exemplars.parquet",),
    (CLUSTERS, TABLE): ("members.csv",),
}
"""Of a folder that was given and the kind that is wanted: where such a thing lies in it."""


def remote(place: Path | str) -> str:
    """What to say of a place that is none of this machine's files, such as s3://bucket/scans; "" where it is one."""
    found = _SCHEME.match(str(place))
    if not found or (isinstance(place, str) and "://" not in place) or Path(f"{found[1]}:").exists():
        return ""
    strokes = "///" if found[1].lower() == "file" else "//"
    return (
        f"{found[1]}:{strokes}{str(place)[found.end() :]}: only files and folders that this machine sees are read and "
        "written; copy it here or mount it. Images of a IIIF manifest on disk are brought by `linkage fetch`"
    )


def kind_of(path: Path) -> str:
    """What of ours lies at a path, with its article: a run directory, an index, ...; "" where it is nothing of ours."""
    try:
        return _folder_kind(path) if path.is_dir() else _file_kind(path) if path.is_file() else ""
    except (OSError, ValueError):
        return ""


def unwanted(path: Path, wanted: str) -> str:
    """Why a path is not what is wanted, and what to give instead; "" where it may be that, as far as can be seen.

    Args:
        path: what the user gave.
        wanted: RUN, INDEX, EMBEDDINGS, MODEL or TABLE.
    """
    if away := remote(path):
        return away
    kind = kind_of(path)
    if kind in ("", wanted) or (wanted == TABLE and kind.endswith(TABLE[2:])):
        return f"{path}: is a folder, not {wanted}" if not kind and wanted == TABLE and path.is_dir() else ""
    there = [path / inside for inside in _INSIDE.get((kind, wanted), ()) if (path / inside).exists()]
    remedy = f"name {' or '.join(map(str, there))}" if there else f"`linkage {_MAKERS.get(wanted, 'ingest')}` makes one"
    return f"{path}: is {kind}, not {wanted}; {remedy}"


def no_table(path: Path) -> str:
    """Why there is no table to read at a path that is no file."""
    return unwanted(path, TABLE) or f"{path}: no such file"


def _folder_kind(folder: Path) -> str:
    there = {path.name for path in folder.iterdir()}
    if "open_clip_config.json" in there:
        return MODEL
    if {"exemplars.parquet", "manifest.json"} <= there:
        return INDEX
    if {"records.parquet", "image.npy", "text.npy", "manifest.json"} <= there:
        return EMBEDDINGS
    if "manifest.json" in there:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        return RUN if isinstance(manifest, dict) and "stages" in manifest else ""
    return CLUSTERS if {"members.csv", "entities.csv"} <= there else ""


def _file_kind(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith(b"SQLite format 3\0"):
        return "a ledger of entities" if head[68:72] == _LEDGER else "a SQLite database"
    if path.suffix == ".safetensors":
        return "weights of a model"
    if path.suffix not in TABLES:
        return ""
    columns = _columns(path, head)
    if {"rank", "decision"} <= columns:
        return LINKS
    if {"origin", "membership"} <= columns:
        return "a members table"
    return RECORDS if "record_id" in columns else TABLE


def _columns(path: Path, head: bytes) -> set[str]:
    if path.suffix == ".csv":
        first = head.decode("utf-8-sig", "replace").splitlines()[:1]
        return {name.strip('"') for line in first for name in line.split(",")}
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return set(pq.read_schema(path).names)
    except pa.ArrowException:
        return set()
