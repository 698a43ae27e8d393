"""Truth tables: what the user knows, joined to records by id, or by source file, page and box."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from linkage.errors import InputError
from linkage.records import LABELS, check_labels
from linkage.tables import plain, read_table

log = logging.getLogger(__name__)

CORNERS = ("x0", "y0", "x1", "y1")
_SIZED = ("x", "y", "w", "h")


UNKNOWN_RECORDS = "the truth table knows none of its records; check record_id, source and boxes"


class UnknownRecordsError(InputError):
    """A truth table says nothing of the records of a table, so that nothing can be measured there."""


def read_truth(path: Path, *, entities: bool = True) -> pd.DataFrame:
    """Read a truth table and check it.

    It needs `record_id`, or `source` (or `image`) with optional `page` (from 1; default 1) and box, given as
    x0,y0,x1,y1 or x,y,w,h in pixels of the page. Columns `entity_id`, `split`, `role` and `text` may follow. Boxes
    come back as x0..y1.

    Args:
        path: CSV or Parquet.
        entities: whether `entity_id` is required.

    Raises:
        InputError: unreadable, a needed column is missing, a record_id stands twice, there is no such split or role,
            or a box is no box.
    """
    truth = read_table(path).reset_index(drop=True)
    if entities and "entity_id" not in truth.columns:
        raise InputError(f"{path}: column entity_id is missing; it has {', '.join(truth.columns)}")
    if not {"record_id", "source", "image"} & set(truth.columns):
        raise InputError(f"{path}: needs a column record_id, or source, to tell which record a row means")
    for name in {"record_id", "source", "image", "text", *LABELS} & set(truth.columns):
        truth[name] = _texts(truth[name])
    for name in LABELS:
        if name not in truth.columns:
            truth[name] = ""
    check_labels(truth, path)
    if "record_id" in truth.columns:
        _check_ids(truth["record_id"], path)
    _corners(truth, path)
    return truth


def attach_truth(frame: pd.DataFrame, truth: pd.DataFrame, iou: float = 0.5) -> pd.DataFrame:
    """The frame with the truth's `entity_id`, `split` and `role`; "" where the truth says nothing.

    Args:
        frame: one row per record (see `join_truth`).
        truth: from `read_truth`.
        iou: overlap from which a truth box is a region.
    """
    rows = join_truth(frame, truth, iou)
    attached = frame.copy()
    for name in LABELS:
        known = truth[name].to_numpy(dtype=object)
        attached[name] = [known[row] if row >= 0 else "" for row in rows]
    return attached


def attach_labels(frame: pd.DataFrame, truth: pd.DataFrame, iou: float = 0.5) -> int:
    """Put the truth's `entity_id`, `split` and `role` into a table of records; returns how many records it names.

    What a table says itself stays where the truth has no row or an empty cell. But for one case: a row of role
    `query_nomatch` without an entity takes away the entity that the table gave.

    Args:
        frame: one row per record, with LABELS; changed.
        truth: from `read_truth`.
        iou: overlap from which a truth box is a region.
    """
    rows = join_truth(frame, truth, iou)
    found = rows >= 0
    if not found.any():
        return 0
    said = {name: np.where(found, truth[name].to_numpy(dtype=object)[rows], "") for name in LABELS}
    nobody = (said["role"] == "query_nomatch") & (said["entity_id"] == "")
    for name, known in said.items():
        own = frame[name].to_numpy(dtype=object)
        frame[name] = np.where((known != "") | (nobody & (name == "entity_id")), known, own)
    return int(found.sum())


def join_truth(frame: pd.DataFrame, truth: pd.DataFrame, iou: float = 0.5) -> np.ndarray:
    """Which truth row each record is, one to one.

    By `record_id` when the two tables share any; else by source file: the relative path, or its longest common end,
    provided that only one source answers to it. On the page, boxes are paired by best overlap; a truth without
    boxes names the only record of a page, and says nothing about a page that holds several.

    Args:
        frame: one row per record, with `record_id` or `source`, optionally `page` and x0..y1.
        truth: from `read_truth`.
        iou: least overlap (intersection over union, inclusive) of a pair of boxes.

    Returns:
        int64 (len(frame),): row of the truth, -1 where there is none.
    """
    rows = _by_id(frame, truth)
    if rows is None:
        rows = _by_place(frame, truth, iou)
    log.info(
        "truth: %d of %d rows joined to %d records, %d rows and %d records left over",
        (rows >= 0).sum(),
        len(truth),
        len(frame),
        len(truth) - (rows >= 0).sum(),
        (rows < 0).sum(),
    )
    return rows


def overlap(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair of boxes.

    Args:
        left: (n, 4) x0, y0, x1, y1, any numeric type.
        right: (m, 4).

    Returns:
        float64 (n, m), 0..1.
    """
    a, b = np.asarray(left, np.float64)[:, None], np.asarray(right, np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    inner = np.clip(sides, 0, None).prod(-1)
    area = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inner
    shared: np.ndarray = inner / np.maximum(area, 1e-12)
    return shared


def match_sources(wanted: Iterable[str], sources: Iterable[str]) -> dict[str, str]:
    """For each wanted file, the one source that it names; files that name none, or several, are left out.

    The whole relative path counts first, then the longest common end of the two paths (at least the file name).
    """
    by_name: dict[str, set[str]] = defaultdict(set)
    for source in sources:
        by_name[PurePosixPath(source).name].add(source)
    found = {}
    for name in set(wanted):
        candidates = by_name.get(PurePosixPath(name).name, set()) if name else set()
        lengths = {source: _common_end(name, source) for source in candidates}
        best = [source for source, length in lengths.items() if length == max(lengths.values())]
        exact = [source for source in candidates if PurePosixPath(source) == PurePosixPath(name)]
        if len(exact or best) == 1:
            found[name] = (exact or best)[0]
    return found


def pages_of(truth: pd.DataFrame, frame: pd.DataFrame) -> list[tuple[str, int] | None]:
    """The (source, page) of the frame that each truth row lies on; None where its file names no source."""
    sources = set(_texts(frame["source"])) if "source" in frame.columns else set()
    for column in ("source", "image"):
        names = match_sources(truth[column], sources) if column in truth.columns else {}
        if names:
            files = zip(truth[column], _pages(truth), strict=True)
            return [(names[name], page) if name in names else None for name, page in files]
    return [None] * len(truth)


def _common_end(left: str, right: str) -> int:
    ends = zip(reversed(PurePosixPath(left).parts), reversed(PurePosixPath(right).parts), strict=False)
    length = 0
    for a, b in ends:
        if a != b:
            break
        length += 1
    return length


def _check_ids(ids: pd.Series, path: Path) -> None:
    double = ids[(ids != "") & ids.duplicated()]
    if len(double):
        raise InputError(f"{path}: record_id {double.iloc[0]!r} stands twice; give every record one row")


def _corners(truth: pd.DataFrame, path: Path) -> None:
    """Bring boxes to x0..y1; rows without a box hold NaN."""
    if "unit" in truth.columns and not truth["unit"].isin(["", "px"]).all():
        raise InputError(f"{path}: boxes of a truth table are in pixels; column unit holds something else")
    given = CORNERS if set(CORNERS) <= set(truth.columns) else _SIZED if set(_SIZED) <= set(truth.columns) else None
    if given is None:
        return
    try:
        cells = [pd.to_numeric(truth[name].replace("", None)).astype(float) for name in given]
    except (ValueError, TypeError):
        raise InputError(f"{path}: columns {', '.join(given)} must hold numbers") from None
    if given is _SIZED:
        cells = [cells[0], cells[1], cells[0] + cells[2], cells[1] + cells[3]]
    bad = (cells[2] <= cells[0]) | (cells[3] <= cells[1])
    if bad.any():
        raise InputError(f"{path}: the box in row {int(bad.to_numpy().argmax()) + 2} has no area")
    for name, values in zip(CORNERS, cells, strict=True):
        truth[name] = values


def _by_id(frame: pd.DataFrame, truth: pd.DataFrame) -> np.ndarray | None:
    if "record_id" not in truth.columns or "record_id" not in frame.columns:
        return None
    place = {name: row for row, name in enumerate(truth["record_id"]) if name != ""}
    rows = np.array([place.get(name, -1) for name in frame["record_id"]], dtype=np.int64)
    return rows if (rows >= 0).any() else None


def _by_place(frame: pd.DataFrame, truth: pd.DataFrame, iou: float) -> np.ndarray:
    rows = np.full(len(frame), -1, dtype=np.int64)
    records: dict[tuple[str, int], list[int]] = defaultdict(list)
    if "source" in frame.columns:
        for row, place in enumerate(zip(_texts(frame["source"]), _pages(frame), strict=True)):
            records[place].append(row)
    wanted: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row, key in enumerate(pages_of(truth, frame)):
        if key is not None:
            wanted[key].append(row)
    regions, boxes = _boxes(frame), _boxes(truth)
    unsure = 0
    for key, truths in wanted.items():
        found = records.get(key, [])
        boxed = [row for row in truths if not np.isnan(boxes[row]).any()]
        if boxed:
            for record, row in _pairs(regions[found], boxes[boxed], iou):
                rows[found[record]] = boxed[row]
        elif len(found) == 1 and len(truths) == 1:
            rows[found[0]] = truths[0]
        else:
            unsure += len(found) > 0
    if unsure:
        log.warning("truth: %d pages hold several records or labels; say which by boxes (x0,y0,x1,y1)", unsure)
    return rows


def _pairs(left: np.ndarray, right: np.ndarray, iou: float) -> list[tuple[int, int]]:
    """One-to-one pairs of boxes, best overlap first; boxes with NaN pair with none."""
    shared = np.nan_to_num(overlap(left, right))
    pairs: list[tuple[int, int]] = []
    taken: tuple[set[int], set[int]] = (set(), set())
    rows, columns = np.nonzero(shared >= iou)
    for place in np.argsort(-shared[rows, columns], kind="stable"):
        row, column = int(rows[place]), int(columns[place])
        if row not in taken[0] and column not in taken[1]:
            pairs.append((row, column))
            taken[0].add(row)
            taken[1].add(column)
    return pairs


def _texts(cells: pd.Series) -> list[str]:
    return [plain(value) for value in cells]


def _pages(table: pd.DataFrame) -> list[int]:
    if "page" not in table.columns:
        return [1] * len(table)
    return pd.to_numeric(table["page"], errors="coerce").fillna(1).astype(int).tolist()


def _boxes(table: pd.DataFrame) -> np.ndarray:
    if not set(CORNERS) <= set(table.columns):
        return np.full((len(table), 4), np.nan)
    return np.column_stack([pd.to_numeric(table[name], errors="coerce").astype(float) for name in CORNERS])
