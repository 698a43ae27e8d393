"""The whole job: a folder of scans and one configuration in, a run directory with one table of entities out."""

from __future__ import annotations

import fnmatch
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from linkage.config import Config, dump_config
from linkage.errors import ArtefactError, InputError
from linkage.records import LABELS, Records
from linkage.rundir import RunDirectory, digest, digest_file, read_manifest
from linkage.tables import read_table, replacing, write_dictionary, write_table

log = logging.getLogger(__name__)

EXPORTED = ("links", "members", "entities")


class RunResult(NamedTuple):
    """What a run ended with: its manifest, the exported tables by name, and the figures (empty without labels)."""

    manifest: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    metrics: pd.DataFrame


def run(config: Config, inputs: Sequence[Path], out: Path, *, labels: Path | None = None) -> RunResult:
    """Turn scans into linked entities in the run directory `out`; stages that are up to date are kept.

    Records are linked to exemplars where there are some (labelled so, or named by `link.exemplars`); matched
    records join their exemplar's entity, the rest is clustered.

    Args:
        config: every setting.
        inputs: scans: files, folders or globs.
        out: run directory, new, empty, or of an earlier run.
        labels: table of known entities (`entity_id`, optionally `split` and `role`), joined as
            `linkage.evaluate.truth` says. Train and val rows fit the settings; every row is scored.

    Raises:
        InputError: no scans, bad labels, more pages set aside than allowed, or `out` is in use or foreign.
        ConfigError, DependencyError, ArtefactError: as the stages raise them.
    """
    with RunDirectory(out) as directory:
        pipeline = _Pipeline(config, directory, labels)
        ingested = pipeline.ingest(inputs)
        records = pipeline.labelled(ingested)
        trained = pipeline.train(records, ingested)
        embedded = pipeline.embed(records, ingested, trained)
        entities = pipeline.entities(records, embedded)
        metrics = pipeline.evaluate(entities)
        pipeline.export()
        pipeline.report(metrics)
        directory.finish()
        tables = {name: read_table(out / "export" / f"{name}.parquet") for name in EXPORTED}
        return RunResult(directory.manifest, tables, pipeline.metrics())


def write_run_report(run_path: Path, config: Config) -> Path:
    """Write `report.html` of a finished run again.

    Raises:
        ArtefactError: it is no run directory, or a stage is missing.
    """
    manifest = read_manifest(run_path)
    if "entities" not in manifest["stages"]:
        raise ArtefactError(f"{run_path}: the run did not finish; run `linkage run` with the same arguments again")
    return _write_report(run_path, manifest, config)


class _Pipeline:
    """The stages of one run, in order; each returns the digest of what it made."""

    def __init__(self, config: Config, directory: RunDirectory, labels: Path | None) -> None:
        self.config = config
        self.directory = directory
        self.path = directory.path
        self.labels = labels
        self.labels_digest = digest_file(labels) if labels else None
        with replacing(self.path / "config.yaml") as temporary:
            temporary.write_text(dump_config(config), encoding="utf-8")
        directory.manifest |= {"seed": config.seed, "labels_sha256": self.labels_digest}

    def ingest(self, inputs: Sequence[Path]) -> str:
        from linkage.ingest.ingest import ingest
        from linkage.ingest.pages import find_sources

        sources = find_sources(inputs)
        seen = [(source.name, _signature(source.path)) for source in sources]
        boxes = self.config.ingest.boxes
        settings = self.config.ingest.model_dump(mode="json", exclude={"workers"})
        depends_on = [settings, seen, digest_file(boxes) if boxes else None]

        def make(folder: Path) -> dict[str, Any]:
            folder.mkdir(exist_ok=True)
            try:
                summary = ingest(inputs, folder / "records.parquet", self.config.ingest)
            finally:
                if (folder / "failures.csv").exists():
                    write_table(read_table(folder / "failures.csv"), self.path / "failures.csv")
            return {
                "sources": summary.sources,
                "pages": summary.pages,
                "records": summary.records,
                "set_aside": len(summary.failures),
            }

        return self.directory.stage("ingest", depends_on, make)

    def labelled(self, ingested: str) -> Records:
        """The ingested records with the labels that the user gave."""
        records = Records.open(self.path / "ingest" / "records.parquet")
        if not len(records):
            raise InputError(f"{self.path / 'failures.csv'}: no record was found on any page; see the reasons there")
        if self.labels:
            from linkage.evaluate.truth import attach_truth, read_truth

            truth = read_truth(self.labels)
            attached = attach_truth(records.frame, truth, self.config.evaluate.iou)
            for column in LABELS:
                records.frame[column] = attached[column]
            found = int((records.frame["entity_id"] != "").sum())
            log.info("labels: %d of %d rows of %s found their record", found, len(truth), self.labels)
            self.directory.manifest["labels"] = {"rows": len(truth), "records": found}
            if not found:
                raise InputError(f"{self.labels}: no row belongs to a record of this run; check its `source` column")
        return records

    def train(self, records: Records, ingested: str) -> str | None:
        config = self.config
        if not config.train.enabled:
            self.directory.drop("train")
            return None
        from linkage.encode.train import train

        depends_on = [
            config.train.model_dump(),
            config.encode.model,
            config.encode.image_weight,
            config.seed,
            ingested,
            self.labels_digest,
        ]
        return self.directory.stage(
            "train", depends_on, lambda folder: train(records, folder, config.train, config.encode, seed=config.seed)
        )

    def embed(self, records: Records, ingested: str, trained: str | None) -> str:
        from linkage.encode.biencoder import BiEncoder
        from linkage.encode.embed import embed_records

        config = self.config.encode
        encoder = BiEncoder.load(str(self.path / "train") if trained else config.model, config.device)
        self.directory.manifest["model"] = {"name": encoder.name, "sha256": encoder.sha256}

        def make(folder: Path) -> dict[str, Any]:
            embeddings = embed_records(records, encoder, folder, config)
            keep = ("n", "dim", "n_without_image", "n_without_text")
            return {name: embeddings.manifest[name] for name in keep}

        return self.directory.stage("embed", [config.image_weight, encoder.sha256, ingested], make)

    def link(self, records: Records, embedded: str) -> str | None:
        """Link every record that is no exemplar to the exemplars, where there are any."""
        config = self.config
        exemplars = _exemplars(records.frame, config.link.exemplars)
        if not exemplars.any():
            for name in ("index", "link"):
                self.directory.drop(name)
            return None
        from linkage.encode.embed import Embeddings
        from linkage.link.index import Index, build_index
        from linkage.link.link import link

        embeddings = Embeddings.open(self.path / "embed")
        depends_on = [config.link.exemplars, embedded, self.labels_digest]

        def make_index(folder: Path) -> dict[str, Any]:
            rows = np.flatnonzero(exemplars)
            index = build_index(records.take(rows), embeddings.take(rows), folder)
            return {"exemplars": len(index)}

        indexed = self.directory.stage("index", depends_on, make_index)

        def make_links(folder: Path) -> dict[str, Any]:
            folder.mkdir(exist_ok=True)
            rows = np.flatnonzero(~exemplars)
            index = Index.open(self.path / "index")
            result = link(records.take(rows), embeddings.take(rows), index, config.link)
            result.save(folder / "links.parquet", index=self.path / "index")
            matches = result.links["decision"] == "match"
            return {"queries": len(rows), "matched": int(matches.sum()), "threshold": result.threshold}

        return self.directory.stage("link", [config.link.model_dump(), indexed], make_links)

    def cluster(self, records: Records, embedded: str, linked: str | None) -> str:
        """Give every record its entity: its exemplar's where it was matched, else that of its cluster."""
        from linkage.cluster import cluster, entities_table, merge_members
        from linkage.encode.embed import Embeddings

        config = self.config
        depends_on = [config.cluster.model_dump(), config.seed, embedded, linked, self.labels_digest]

        def make(folder: Path) -> dict[str, Any]:
            folder.mkdir(exist_ok=True)
            embeddings = Embeddings.open(self.path / "embed")
            links = self.links() if linked else None
            members = merge_members(records, embeddings, links, config.cluster, config.seed)
            raise NotImplementedError

        return self.directory.stage("cluster", depends_on, make)

    def evaluate(self, entities: str) -> str | None:
        if not self.labels:
            self.directory.drop("evaluate")
            return None
        from linkage.evaluate.evaluate import evaluate

        labels, config, stage = self.labels, self.config, self.path / "entities"

        def make(folder: Path) -> dict[str, Any]:
            folder.mkdir(exist_ok=True)
            rows = []
            for name, index in (("links", stage / "index"), ("members", None)):
                table = stage / f"{name}.parquet"
                if len(read_table(table)):
                    figures = evaluate(table, labels, config.evaluate, index=index, seed=config.seed)
                    rows.append(figures.metrics)
            metrics = pd.concat(rows, ignore_index=True)
            write_table(metrics, folder / "metrics.csv", twin=True)
            return {"figures": len(metrics)}

        depends_on = [config.evaluate.model_dump(), config.seed, entities, self.labels_digest]
        return self.directory.stage("evaluate", depends_on, make)

    def export(self) -> None:
        """Write the exported tables with their data dictionary; cheap, so always done."""
        tables = {name: read_table(self.path / "entities" / f"{name}.parquet") for name in EXPORTED}
        folder = self.path / "export"
        for name, table in tables.items():
            write_table(table, folder / f"{name}.csv", twin=True)
        write_dictionary(folder / "columns.md", tables)

    def report(self, metrics: str | None) -> None:
        _write_report(self.path, self.directory.manifest, self.config)

    def metrics(self) -> pd.DataFrame:
        path = self.path / "evaluate" / "metrics.parquet"
        return read_table(path) if path.exists() else pd.DataFrame()


def _write_report(run_path: Path, manifest: dict[str, Any], config: Config) -> Path:
    from linkage.report.report import write_report

    tables = {name: read_table(run_path / "entities" / f"{name}.parquet") for name in EXPORTED}
    metrics = run_path / "evaluate" / "metrics.parquet"
    write_report(
        run_path / "report.html",
        records=Records.open(run_path / "ingest" / "records.parquet"),
        failures=read_table(run_path / "failures.csv"),
        metrics=read_table(metrics) if metrics.exists() else pd.DataFrame(),
        manifest=manifest,
        config=config.report,
        seed=config.seed,
        **tables,
    )
    return run_path / "report.html"


def _exemplars(frame: pd.DataFrame, pattern: str | None) -> pd.Series:
    """Which records form the index: those labelled `exemplar`, or whose source matches the glob."""
    chosen = frame["role"] == "exemplar"
    if pattern is not None:
        chosen |= frame["source"].map(lambda source: fnmatch.fnmatch(source, pattern))
        if not chosen.any():
            raise InputError(f"link.exemplars: no source matches {pattern!r}; sources look like {frame['source'][0]!r}")
    return chosen


def _signature(path: Path) -> list[int]:
    """What tells a changed file from an unchanged one without reading it."""
    stat = os.stat(path)
    return [stat.st_size, stat.st_mtime_ns]
