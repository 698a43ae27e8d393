"""The stages of a run, declared: what each makes, from which settings, which earlier stages and which inputs.

A stage is given no more than it declares: a configuration in which every other setting is at its default, the folders
of its upstream stages, and its inputs. Its key is made of the same, so it is made again exactly when one of them is
another.
"""

from __future__ import annotations

import fnmatch
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from linkage.arrays import digest_file
from linkage.config import Config
from linkage.errors import InputError
from linkage.jobs import clustered_by, decided_by, model_scorer
from linkage.records import LABELS, Records
from linkage.tables import read_table, write_table

if TYPE_CHECKING:
    from linkage.compare.scorer import Scorer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunInputs:
    """What the user gave a run beside its configuration.

    Attributes:
        scans: files, folders or globs; or one table of records.
        labels: table of known entities.
        retry_failed: read again the pages that were set aside before.
        engine: who reads, embeds and searches; see `workers.engine.open_workers`. No result hangs on it.
    """

    scans: tuple[Path, ...]
    labels: Path | None = None
    retry_failed: bool = False
    engine: str = "local"


@dataclass(frozen=True)
class StageContext:
    """What a stage is made of.

    Attributes:
        config: its own settings; all others are at their defaults.
        inputs: what the user gave.
        upstream: folder of each stage that it declares and that there is in this run.
        before: where the stage's own earlier result lies, if there is one; of other inputs or settings.
        made_of: what that was made of (settings, upstream, inputs), as the manifest has it; {} where unknown.
    """

    config: Config
    inputs: RunInputs
    upstream: Mapping[str, Path]
    before: Path | None
    made_of: Mapping[str, Any]

    @property
    def model(self) -> str:
        """The model of this run: the trained one where there is one."""
        return str(self.upstream.get("train", self.config.encode.model))

    @property
    def scorer(self) -> Scorer:
        """The scorer that comes with the model."""
        return model_scorer(self.model)

    @property
    def encoder_saw(self) -> tuple[str, ...]:
        """Splits that this run's encoder was trained on ("" for none given), or its epoch chosen by."""
        if "train" not in self.upstream:
            return ()
        told = json.loads((self.upstream["train"] / "training.json").read_text(encoding="utf-8"))
        return ("", "train", "val") if any(name.startswith("val_") for name in told) else ("", "train")

    def records(self) -> Records:
        """The ingested records, with what is known of them where the stage declares `label`."""
        records = Records.open(self.upstream["ingest"] / RECORDS)
        if "label" in self.upstream:
            known = read_table(self.upstream["label"] / KNOWN)
            for column in LABELS:
                records.frame[column] = known[column].to_numpy(dtype=object)
        return records

    def exemplars(self) -> np.ndarray:
        """Which of the records are exemplars, bool (n,)."""
        return read_table(self.upstream["label"] / KNOWN, columns=["is_exemplar"])["is_exemplar"].to_numpy(dtype=bool)


@dataclass(frozen=True)
class Stage:
    """One row of the table of stages.

    Attributes:
        name: of the stage and of its folder.
        make: makes the folder whose path it is given; returns counts for the manifest.
        settings: sections of the configuration, or settings of one (`link.fields`), that it sees.
        upstream: stages whose folders it opens.
        inputs: names in INPUTS of what else it opens.
        wanted: whether a run has this stage, from its configuration, its inputs and the counts of the stages before.
    """

    name: str
    make: Callable[[StageContext, Path], dict[str, Any]]
    settings: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    wanted: Callable[[Config, RunInputs, Mapping[str, Any]], bool] = lambda config, inputs, counts: True


RECORDS, KNOWN, LINKS, MEMBERS, ENTITIES = (
    f"{name}.parquet" for name in ("records", "known", "links", "members", "entities")
)


def make_records(context: StageContext, folder: Path) -> dict[str, Any]:
    """Scans, or one table of records, to `records.parquet`; of scans, only what is new is read."""
    from linkage.ingest.ingest import ingest
    from linkage.ingest.merge import name_lists
    from linkage.ingest.table import import_records, is_table

    folder.mkdir(exist_ok=True)
    config, inputs, out = context.config.ingest, context.inputs, folder / RECORDS
    if is_table(inputs.scans[0]):
        records, failures = import_records(inputs.scans[0], out, config)
        name_lists(out)
        return {"records": records, "set_aside": len(failures)}
    existing = _existing(context)
    if context.before and existing != "overwrite" and not out.exists():
        with suppress(OSError):  # without the earlier table all is read again
            out.hardlink_to(context.before / RECORDS)
    config = config.model_copy(update={"max_failures": 1.0})  # the run says so at its end, when all is written
    summary = ingest(inputs.scans, out, config, existing=existing, engine=inputs.engine)
    name_lists(out)
    counts = {"sources": summary.sources, "pages": summary.pages, "records": summary.records}
    return counts | {"set_aside": len(summary.failures)}


def _existing(context: StageContext) -> str:
    """What an earlier reading is worth: limits that were raised may let pages in, lowered ones may keep them out."""
    now = limits_of(context.config)
    before = context.made_of.get("settings", {}).get("ingest", {})
    if any(now[name] < before.get(name, now[name]) for name in now):
        return "overwrite"
    raised = any(now[name] > before.get(name, now[name]) for name in now)
    return "retry" if raised or context.inputs.retry_failed else "skip"


def limits_of(config: Config) -> dict[str, Any]:
    """The settings of ingest that decide what is set aside."""
    settings = config.ingest.result_settings()
    without = config.ingest.result_settings("limit")
    return {name: value for name, value in settings.items() if name not in without}


def make_known(context: StageContext, folder: Path) -> dict[str, Any]:
    """What is known of every record, row by row: the labels that the user gave, and which are exemplars."""
    records = context.records()
    if not len(records):
        raise InputError(_without_records(context.upstream["ingest"]))
    from linkage.link.splits import check_splits

    frame, labels, counts = records.frame, context.inputs.labels, {}
    if labels:
        from linkage.evaluate.truth import attach_labels, read_truth

        truth = read_truth(labels)
        found = attach_labels(frame, truth, context.config.evaluate.iou)
        log.info("labels: %d of %d rows of %s found their record", found, len(truth), labels)
        if not found:
            raise InputError(f"{labels}: no row belongs to a record of this run; check its `source` column")
        counts = {"rows": len(truth), "labelled": found}
    exemplars = choose_exemplars(frame, context.config.link.exemplars)
    check_splits(frame[~exemplars], context.config.link.aim if exemplars.any() else "")
    folder.mkdir(exist_ok=True)
    write_table(frame[["record_id", *LABELS]].assign(is_exemplar=exemplars), folder / KNOWN)
    return counts | {"exemplars": int(exemplars.sum())}


def _without_records(ingested: Path) -> str:
    """What to say where there is nothing to go on with."""
    failures, listed = read_table(ingested / "failures.csv"), ingested.parent / "failures.csv"
    if not len(failures):
        return f"{ingested.parent}: the inputs hold no record"
    first = f"{failures['source'].iloc[0]}: {failures['reason'].iloc[0]}"
    return f"{listed}: no record was found on any page; see the reasons there; first: {first}"


def choose_exemplars(frame: pd.DataFrame, pattern: str | None) -> pd.Series:
    """Which records form the index: those labelled `exemplar`, or whose source matches the glob.

    Raises:
        InputError: no source does.
    """
    chosen = frame["role"] == "exemplar"
    if pattern is not None:
        chosen |= frame["source"].map(lambda source: fnmatch.fnmatch(source, pattern))
        if not chosen.any():
            raise InputError(f"link.exemplars: no source matches {pattern!r}; sources look like {frame['source'][0]!r}")
    return chosen


def make_model(context: StageContext, folder: Path) -> dict[str, Any]:
    """The bi-encoder fitted to the records."""
    from linkage.encode.train import train

    config = context.config
    return train(context.records(), folder, config.train, config.encode, seed=config.seed, folding=config.folding)


def make_embeddings(context: StageContext, folder: Path) -> dict[str, Any]:
    """The vectors of every record."""
    from linkage.encode.biencoder import BiEncoder
    from linkage.encode.embed import embed_records

    config = context.config.encode
    encoder = BiEncoder.load(context.model, config.device, context.config.folding)
    embeddings = embed_records(context.records(), encoder, folder, config, engine=context.inputs.engine)
    return {name: embeddings.manifest[name] for name in ("n", "dim", "n_without_image", "n_without_text")}


def make_index(context: StageContext, folder: Path) -> dict[str, Any]:
    """The index of the exemplars."""
    from linkage.encode.embeddings import Embeddings
    from linkage.search.index import build_index

    exemplars = context.records().take(np.flatnonzero(context.exemplars()))
    embeddings = Embeddings.open(context.upstream["embed"])
    return {"exemplars": len(build_index(exemplars, embeddings, folder, context.config.index, context.config.seed))}


def make_links(context: StageContext, folder: Path) -> dict[str, Any]:
    """Links of every record that is no exemplar to the exemplars."""
    from linkage.encode.embeddings import Embeddings
    from linkage.link.link import link
    from linkage.search.index import Index
    from linkage.workers.engine import elsewhere

    folder.mkdir(exist_ok=True)
    records, index = context.records(), context.upstream["index"]
    queries = records.take(np.flatnonzero(~context.exemplars()))
    embeddings = Embeddings.open(context.upstream["embed"])
    work = folder.with_name("found")  # beside the result: an interrupted run goes on from it
    with elsewhere(context.inputs.engine, folder.with_name("scratch"), ("linkage.link.slices",)) as place:
        result = link(
            queries, embeddings, Index.open(index), context.config.link,
            scorer=context.scorer, work=work, place=place, encoder_saw=context.encoder_saw,
        )  # fmt: skip
    counts = result.save(folder / LINKS, index=index, queries=records.path)
    return counts | {"threshold": result.threshold.value, "threshold_source": result.threshold.source}


def make_entities(context: StageContext, folder: Path) -> dict[str, Any]:
    """The entity of every record: its label's, else its exemplar's where it was matched, else that of its cluster."""
    from linkage.cluster import entities_table, merge_members
    from linkage.cluster.members import save_made_by
    from linkage.compare.scorer import SCORER_FILE
    from linkage.encode.embeddings import Embeddings
    from linkage.link.links import link_scorer, links_manifest, read_answers
    from linkage.search.index import Index

    folder.mkdir(exist_ok=True)
    records, linked = context.records(), context.upstream.get("link")
    links = read_answers(linked / LINKS) if linked else None
    exemplars = Index.open(context.upstream["index"]).exemplars if linked else None
    scorer = link_scorer(linked / LINKS) if linked else context.scorer
    rest = records.take(np.flatnonzero(~records.frame["record_id"].isin(_placed(links, exemplars))))
    embeddings = Embeddings.open(context.upstream["embed"])
    result = clustered_by(scorer, rest, embeddings, context.config)
    predicted = merge_members(exemplars, links, result.members, records.frame)
    members = decided_by(result.scorer, predicted, records, embeddings, context.config)
    entities = entities_table(members)
    write_table(members, folder / MEMBERS)
    write_table(entities, folder / ENTITIES)
    result.scorer.save(folder / SCORER_FILE)
    called = links_manifest(linked / LINKS)["threshold"]["source"] if linked else ""
    save_made_by(folder / MEMBERS, result.counts(), [*result.fitted, *(["threshold"] if called == "fitted" else [])])
    return {"records": len(members), "clustered": len(rest), "entities": len(entities)} | result.counts()


def _placed(links: pd.DataFrame | None, exemplars: pd.DataFrame | None) -> set[str]:
    """Records that have an entity already: the exemplars, and the queries that matched one."""
    placed: set[str] = set()
    if exemplars is not None:
        placed |= set(exemplars["record_id"])
    if links is not None:
        placed |= set(links.loc[links["decision"] == "match", "record_id"])
    return placed


def make_figures(context: StageContext, folder: Path) -> dict[str, Any]:
    """Figures against the labels."""
    from linkage.evaluate.evaluate import evaluate_all

    labels, config, upstream = context.inputs.labels, context.config, context.upstream
    assert labels is not None
    folder.mkdir(exist_ok=True)
    tables = [upstream["link"] / LINKS] if "link" in upstream else []
    tables.append(upstream["cluster"] / MEMBERS)
    found = evaluate_all(
        tables, labels, config.evaluate, seed=config.seed, folding=config.folding, encoder_saw=context.encoder_saw
    )
    write_table(found.metrics, folder / "metrics.csv", twin=True)
    for name, extra in found.tables.items():
        write_table(extra, folder / f"{name}.csv", twin=True)
    for sentence in found.unmeasured:
        log.warning("evaluate: %s", sentence)
    not_measured = {"not_measured": "; ".join(found.unmeasured)} if found.unmeasured else {}
    return {"figures": len(found.metrics)} | not_measured


def _has_exemplars(config: Config, inputs: RunInputs, counts: Mapping[str, Any]) -> bool:
    return bool(counts["label"]["exemplars"])


STAGES = (
    Stage("ingest", make_records, ("ingest",), inputs=("scans", "boxes")),
    Stage("label", make_known, ("evaluate.iou", "link.exemplars", "link.aim"), ("ingest",), ("labels",)),
    Stage(
        "train", make_model, ("train", "encode", "text", "seed"), ("ingest", "label"), ("model",),
        wanted=lambda config, inputs, counts: config.train.enabled,
    ),
    Stage("embed", make_embeddings, ("encode", "text"), ("ingest", "train"), ("model",)),
    Stage("index", make_index, ("index", "seed"), ("ingest", "label", "embed"), wanted=_has_exemplars),
    Stage(
        "link", make_links, ("link", "text", "encode.model"), ("ingest", "label", "train", "embed", "index"),
        ("model",), wanted=_has_exemplars,
    ),
    Stage(
        "cluster", make_entities, ("cluster", "link.fields", "link.device", "text", "encode.model", "seed"),
        ("ingest", "label", "train", "embed", "index", "link"), ("model",),
    ),
    Stage(
        "evaluate", make_figures, ("evaluate", "text", "seed"), ("train", "index", "link", "cluster"), ("labels",),
        wanted=lambda config, inputs, counts: inputs.labels is not None,
    ),
)  # fmt: skip
"""In the order in which they are made."""


def _scans(config: Config, inputs: RunInputs) -> Any:
    """Of a table its content and its pictures; of scans their names and what tells each from a changed one."""
    from linkage.ingest.ingest import signature_of
    from linkage.ingest.table import is_table, table_signature

    tables = [path for path in inputs.scans if is_table(path)]
    if not tables:
        return signature_of(inputs.scans, config.ingest)
    if len(inputs.scans) > 1:
        raise InputError(f"{tables[0]}: a table of records must be the only input")
    return table_signature(tables[0], config.ingest)


def _model(config: Config, inputs: RunInputs) -> Any:
    """The files of a model folder; of an open_clip architecture its name and its checkpoint."""
    from linkage.encode.folder import model_folder

    name = config.encode.model
    folder = model_folder(name)
    if folder:
        return {
            str(path.relative_to(folder)): digest_file(path) for path in sorted(folder.rglob("*")) if path.is_file()
        }
    architecture, _, checkpoint = name.partition(":")
    return [architecture, file_digest(Path(checkpoint)) if checkpoint else None]


INPUTS: dict[str, Callable[[Config, RunInputs], Any]] = {
    "scans": _scans,
    "boxes": lambda config, inputs: file_digest(config.ingest.boxes) if config.ingest.boxes else None,
    "labels": lambda config, inputs: file_digest(inputs.labels) if inputs.labels else None,
    "model": _model,
}
"""What tells each input of a run from a changed one, as JSON-like values."""


def file_digest(path: Path) -> str:
    """SHA-256 of the bytes of a file that the user gave.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return digest_file(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
