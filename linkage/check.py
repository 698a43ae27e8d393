"""What a run would refuse, found by the readers that it uses and before any work is done; all of it at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pandas as pd

from linkage.config import Config, IngestConfig
from linkage.errors import InputError, LinkageError
from linkage.records import LABELS, SCHEMA, Records
from linkage.stages import INPUTS, RunInputs, choose_exemplars

Found = TypeVar("Found")
_PACKED = ("crop", "words", "readings")  # columns of SCHEMA that no setting can name


class Problem(NamedTuple):
    """Something that a run would refuse.

    Attributes:
        about: configuration, input, ocr, model, device, labels, exemplars or columns.
        message: one line that names the file or the setting, and the remedy.
        exit_code: with which the run would end.
    """

    about: str
    message: str
    exit_code: int


@dataclass
class Findings:
    """What was found of a run's inputs.

    Attributes:
        sources: scans; None: no scans were given, or they cannot be listed.
        records: of a table; None: none was given, or it cannot be read.
        labels: rows of the table of labels; None likewise.
        problems: what a run would refuse; empty: nothing.
    """

    sources: int | None = None
    records: int | None = None
    labels: int | None = None
    problems: list[Problem] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        counts = {"sources": self.sources, "records": self.records, "labels": self.labels}
        return {**counts, "problems": [problem._asdict() for problem in self.problems]}

    def attempt(self, about: str, do: Callable[[], Found]) -> Found | None:
        """What `do` returns; where it raises an error that a user can meet, that becomes a problem."""
        try:
            return do()
        except LinkageError as error:
            self.problems.append(Problem(about, str(error), int(error.exit_code)))
            return None


def check(config: Config, inputs: Sequence[Path] = (), labels: Path | None = None) -> Findings:
    """Look for what `run` with these arguments would refuse; nothing is written, no page is read.

    What shows only on pages is not found: a damaged file, a page without text, ids that labels name but no record has.

    Args:
        config: every setting.
        inputs: scans, or one table of records; empty: configuration, engines and model alone are looked at.
        labels: table of known entities.
    """
    found = Findings()
    found.attempt("ocr", lambda: _check_engines(config.ingest, inputs))
    found.attempt("model", lambda: _check_model(config))
    found.attempt("device", lambda: _check_device(config))
    frame = found.attempt("input", lambda: _frame(config, inputs, found)) if inputs else None
    truth = found.attempt("labels", lambda: _truth(labels, config, frame, inputs)) if labels else None
    found.labels = None if truth is None else len(truth)
    if frame is not None:
        exemplars = found.attempt("exemplars", lambda: choose_exemplars(frame, config.link.exemplars))
        named = truth is not None and bool((truth["role"] == "exemplar").any())
        linked = named or (exemplars is not None and bool(exemplars.any()))
        if truth is not None and _is_table(inputs):
            found.attempt("labels", lambda: _check_splits(config, frame, truth, linked))
        found.attempt("columns", lambda: _check_columns(config, frame, inputs[0], linked))
    return found


def _is_table(inputs: Sequence[Path]) -> bool:
    from linkage.ingest.table import is_table

    return any(map(is_table, inputs))


def _check_engines(config: IngestConfig, inputs: Sequence[Path]) -> None:
    """The engines, their languages, and, where pages are to be read, what finds the lines on them."""
    from linkage.ocr.detector import check_detector
    from linkage.ocr.engines import BEST, make_engine

    make_engine(config.model_copy(update={"ocr_cache": None}))  # whose folder would be made
    first = BEST[0] if config.ocr == "best" else config.ocr.split("+")[0]
    if first == "recogniser" and config.regions not in ("boxes", "entries") and not _is_table(inputs):
        check_detector()


def _check_model(config: Config) -> None:
    from linkage.encode.biencoder import check_model

    check_model(config.encode.model, config.encode.device)


def _check_device(config: Config) -> None:
    from linkage.search.exact import choose_device

    choose_device(config.link.device)


def _frame(config: Config, inputs: Sequence[Path], found: Findings) -> pd.DataFrame:
    """What is known of the records before they are made: of a table its rows, of scans one row a source."""
    if not _is_table(inputs):
        return _scans_frame(config.ingest, inputs, found)
    if len(inputs) > 1:
        INPUTS["scans"](config, RunInputs(tuple(inputs)))  # which refuses it
    records = Records.open(inputs[0])
    found.records = len(records)
    if not len(records):
        raise InputError(f"{inputs[0]}: the table holds no record")
    frame = records.frame.reindex(columns=[*records.frame.columns, *_missing(records.frame)])
    frame["source"] = frame["source"].where(frame["source"] != "", frame["image"])  # as the import does
    return frame


def _missing(frame: pd.DataFrame) -> list[str]:
    """Columns that every table of records has once it is imported."""
    return [name for name in SCHEMA.names if name not in {*_PACKED, *frame.columns}]


def _scans_frame(config: IngestConfig, inputs: Sequence[Path], found: Findings) -> pd.DataFrame:
    from linkage.ingest.ingest import check_settings
    from linkage.ingest.job import IngestJob
    from linkage.scans.pages import find_sources

    sources = find_sources(inputs)
    found.sources = len(sources)
    found.attempt("configuration", lambda: check_settings(config))
    unread = config if config.ocr == "file" else config.model_copy(update={"ocr": "none", "ocr_cache": None})
    job = IngestJob(sources, Path("check.parquet"), unread)  # reads boxes and lists transcripts; engines were tried
    if config.ocr == "file" and not any(len(job.files(source)) > 1 for source in sources):
        from linkage.transcripts.find import SOUGHT

        raise InputError(f"ingest.ocr: file: none of the {len(sources)} sources has a transcript; {SOUGHT}")
    frame = pd.DataFrame({"source": [source.name for source in sources]})
    known = [name for name in (*SCHEMA.names, "image", *LABELS, *job.columns) if name not in {*_PACKED, "source"}]
    frame[known] = ""
    return frame


def _truth(labels: Path, config: Config, frame: pd.DataFrame | None, inputs: Sequence[Path]) -> pd.DataFrame:
    """The labels; of a table of records it is known which rows they mean, of scans on which files they lie."""
    from linkage.evaluate.truth import join_truth, pages_of, read_truth

    truth = read_truth(labels)
    if frame is None:
        return truth
    if _is_table(inputs):
        joined = bool((join_truth(frame, truth, config.evaluate.iou) >= 0).any())
    else:
        by_id = "record_id" in truth.columns and bool((truth["record_id"] != "").any())
        joined = by_id or any(place is not None for place in pages_of(truth, frame))
    if not joined:
        raise InputError(f"{labels}: no row belongs to a record of this input; check its record_id and source")
    return truth


def _check_splits(config: Config, frame: pd.DataFrame, truth: pd.DataFrame, linked: bool) -> None:
    """Entities that are fitted on, and promised for, by the same labels."""
    from linkage.evaluate.truth import attach_labels
    from linkage.link.splits import check_splits

    labelled = frame.copy()
    attach_labels(labelled, truth, config.evaluate.iou)
    check_splits(labelled, config.link.aim if linked else "")


def _check_columns(config: Config, frame: pd.DataFrame, given: Path, linked: bool) -> None:
    """The columns that settings name; where nothing is linked, no blocking is done."""
    from linkage.compare.fields import check_columns

    check_columns([*(config.link.blocking if linked else ()), *config.link.fields], {str(given): frame})
