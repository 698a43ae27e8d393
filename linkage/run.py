"""The whole job: a folder of scans and one configuration in, a run directory with one table of entities out."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from linkage.config import Config, IngestConfig, dump_config, load_config
from linkage.errors import InputError
from linkage.jobs import clustered_by, export, model_scorer
from linkage.records import LABELS, Records
from linkage.rundir import RunDirectory, digest_input, read_manifest, result_files, result_tables
from linkage.tables import read_table, replacing, write_table

if TYPE_CHECKING:
    from linkage.compare.scorer import Scorer

log = logging.getLogger(__name__)


class RunResult(NamedTuple):
    """What a run ended with: its manifest, its directory, and the figures (empty without labels)."""

    manifest: dict[str, Any]
    folder: Path
    metrics: pd.DataFrame

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The exported tables by name, read into memory."""
        return result_tables(self.folder)


def run(
    config: Config,
    inputs: Sequence[Path],
    out: Path,
    *,
    labels: Path | None = None,
    retry_failed: bool = False,
    engine: str = "local",
) -> RunResult:
    """Turn scans into linked entities in the run directory `out`; stages that are up to date are kept.

    Records are linked to exemplars where there are some (labelled so, or named by `link.exemplars`); matched
    records join their exemplar's entity, the rest is clustered.

    Args:
        config: every setting.
        inputs: scans: files, folders or globs.
        out: run directory, new, empty, or of an earlier run.
        labels: table of known entities (`entity_id`, optionally `split` and `role`), joined as
            `linkage.evaluate.truth` says. Train and val rows fit the settings; every row is scored.
        retry_failed: read again the pages that were set aside before; what depends on them follows.
        engine: who reads, embeds and searches; see `workers.engine.open_workers`. A run may go on with another.

    Raises:
        InputError: no scans, bad labels, more pages set aside than allowed, or `out` is in use or foreign.
        ConfigError, DependencyError, ArtefactError: as the stages raise them.
    """
    with RunDirectory(out) as directory:
        pipeline = _Pipeline(config, directory, labels, engine)
        ingested = pipeline.ingest(inputs, retry_failed)
        records = pipeline.labelled(ingested)
        trained = pipeline.train(records, ingested)
        embedded = pipeline.embed(records, ingested, trained)
        linked = pipeline.link(records, embedded)
        clustered = pipeline.cluster(records, embedded, linked)
        pipeline.evaluate(linked, clustered)
        directory.finish()
        export(result_files(out), out / "export")
        _write_report(out, directory.manifest, config)
        return RunResult(directory.manifest, out, _evaluated(out, "metrics"))


def write_run_report(run_path: Path) -> Path:
    """Write `report.html` of a finished run again, with the run's own configuration; returns its path.

    Raises:
        ArtefactError: it is no run directory, or the run did not finish.
    """
    manifest = read_manifest(run_path)
    return _write_report(run_path, manifest, load_config(run_path / "config.yaml"))


class _Pipeline:
    """The stages of one run, in order; each returns the digest of what it made."""

    def __init__(self, config: Config, directory: RunDirectory, labels: Path | None, engine: str) -> None:
        self.config = config
        self.engine = engine
        self.directory = directory
        self.path = directory.path
        self.labels = labels
        self.labels_digest = digest_input(labels) if labels else None
        with replacing(self.path / "config.yaml") as temporary:
            temporary.write_text(dump_config(config), encoding="utf-8")
        directory.manifest |= {"seed": config.seed, "labels_sha256": self.labels_digest}

    def ingest(self, inputs: Sequence[Path], retry_failed: bool) -> str:
        """Scans, or one table of records, to `ingest/records.parquet`; of scans, only what is new is read."""
        from linkage.ingest.ingest import ingest
        from linkage.ingest.table import import_records, is_table

        config = self.config.ingest
        tables = [path for path in inputs if is_table(path)]
        if tables and len(inputs) > 1:
            raise InputError(f"{tables[0]}: a table of records must be the only input")
        seen = [digest_input(path) if is_table(path) else _signatures(path, config) for path in inputs]
        settings = config.model_dump(mode="json", exclude={"workers", "recycle", "max_failures"})
        before = self.directory.manifest["stages"].get("ingest", {"counts": {}})

        def make(folder: Path) -> dict[str, Any]:
            folder.mkdir(exist_ok=True)
            out = folder / "records.parquet"
            try:
                if tables:
                    n, failures = import_records(tables[0], out, config)
                    return {"records": n, "set_aside": len(failures)}
                if "pages" in before["counts"] and not out.exists():
                    with suppress(OSError):  # without the earlier table all is read again
                        out.hardlink_to(self.path / "ingest" / out.name)
                existing = "retry" if retry_failed else "skip"
                summary = ingest(inputs, out, config, existing=existing, engine=self.engine)
            finally:  # also when too much was set aside: the list says what
                if (folder / "failures.csv").exists():
                    write_table(read_table(folder / "failures.csv"), self.path / "failures.csv")
            counts = {"sources": summary.sources, "pages": summary.pages, "records": summary.records}
            return counts | {"set_aside": len(summary.failures)}

        boxes = digest_input(config.boxes) if config.boxes else None
        return self.directory.stage("ingest", [settings, seen, boxes], make, again=retry_failed)

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
            config.text.model_dump(),
            config.seed,
            ingested,
            self.labels_digest,
        ]
        return self.directory.stage(
            "train",
            depends_on,
            lambda folder: train(records, folder, config.train, config.encode, seed=config.seed),
        )

    def embed(self, records: Records, ingested: str, trained: str | None) -> str:
        from linkage.encode.biencoder import BiEncoder
        from linkage.encode.embed import embed_records

        config = self.config.encode
        encoder = BiEncoder.load(str(self.path / "train") if trained else config.model, config.device)
        self.directory.manifest["model"] = {"name": encoder.name, "sha256": encoder.sha256}

        def make(folder: Path) -> dict[str, Any]:
            embeddings = embed_records(records, encoder, folder, config, engine=self.engine)
            keep = ("n", "dim", "n_without_image", "n_without_text")
            return {name: embeddings.manifest[name] for name in keep}

        return self.directory.stage(
            "embed",
            [config.image_weight, config.reading, self.config.text.model_dump(), encoder.sha256, ingested],
            make,
        )

    def link(self, records: Records, embedded: str) -> str | None:
        """Link every record that is no exemplar to the exemplars, where there are any."""
        config = self.config
        exemplars = _exemplars(records.frame, config.link.exemplars)
        if not exemplars.any():
            for name in ("index", "link"):
                self.directory.drop(name)
            return None
        from linkage.encode.embed import Embeddings
        from linkage.link.link import link
        from linkage.search.index import Index, build_index
        from linkage.workers.engine import elsewhere

        embeddings = Embeddings.open(self.path / "embed")
        depends_on = [config.link.exemplars, embedded, self.labels_digest, config.index.model_dump(), config.seed]

        def make_index(folder: Path) -> dict[str, Any]:
            rows = np.flatnonzero(exemplars)
            return {"exemplars": len(build_index(records.take(rows), embeddings, folder, config.index, config.seed))}

        indexed = self.directory.stage("index", depends_on, make_index)

        def make_links(folder: Path) -> dict[str, Any]:
            folder.mkdir(exist_ok=True)
            queries = records.take(np.flatnonzero(~exemplars))
            index = Index.open(self.path / "index")
            work = folder.with_name("found")  # beside the result: an interrupted run goes on from it
            with elsewhere(self.engine, folder.with_name("scratch"), ("linkage.link.slices",)) as place:
                result = link(queries, embeddings, index, config.link, scorer=self.scorer(), work=work, place=place)
            counts = result.save(folder / "links.parquet", index=self.path / "index", queries=records.path)
            return counts | {"threshold": result.threshold.value, "threshold_source": result.threshold.source}

        return self.directory.stage("link", [config.link.model_dump(), self.scorer().as_dict(), indexed], make_links)

    def cluster(self, records: Records, embedded: str, linked: str | None) -> str:
        """Give every record its entity: its exemplar's where it was matched, else that of its cluster."""
        from linkage.cluster import entities_table, merge_members
        from linkage.compare.scorer import SCORER_FILE
        from linkage.encode.embed import Embeddings
        from linkage.link.links import link_scorer, read_answers
        from linkage.search.index import Index

        config = self.config
        scorer = self.scorer().as_dict()
        depends_on = [
            config.cluster.model_dump(),
            config.link.fields,
            config.seed,
            scorer,
            embedded,
            linked,
            self.labels_digest,
        ]

        def make(folder: Path) -> dict[str, Any]:
            folder.mkdir(exist_ok=True)
            table = self.path / "link" / "links.parquet"
            links = read_answers(table) if linked else None
            scorer = link_scorer(table) if linked else self.scorer()
            exemplars = Index.open(self.path / "index").exemplars if linked else None
            placed = _placed(links, exemplars)
            rest = records.take(np.flatnonzero(~records.frame["record_id"].isin(placed)))
            embeddings = Embeddings.open(self.path / "embed")
            result = clustered_by(scorer, rest, embeddings, config)
            members = merge_members(exemplars, links, result.members, records.frame)
            entities = entities_table(members)
            write_table(members, folder / "members.parquet")
            write_table(entities, folder / "entities.parquet")
            result.scorer.save(folder / SCORER_FILE)
            counts = {"records": len(members), "clustered": len(rest), "entities": len(entities)}
            return counts | result.counts()

        return self.directory.stage("cluster", depends_on, make)

    def scorer(self) -> Scorer:
        return model_scorer(str(self.path / "train") if self.config.train.enabled else self.config.encode.model)

    def evaluate(self, linked: str | None, clustered: str) -> None:
        """Figures against the labels, where the user gave some."""
        if not self.labels:
            self.directory.drop("evaluate")
            return
        from linkage.evaluate.evaluate import evaluate

        labels, config = self.labels, self.config
        tables = [self.path / "cluster" / "members.parquet"]
        if linked:
            tables.insert(0, self.path / "link" / "links.parquet")

        def make(folder: Path) -> dict[str, Any]:
            folder.mkdir(exist_ok=True)
            parts = [evaluate(table, labels, config.evaluate, seed=config.seed) for table in tables]
            metrics = pd.concat([part.metrics for part in parts], ignore_index=True)
            write_table(metrics, folder / "metrics.csv", twin=True)
            for name, extra in (pair for part in parts for pair in part.tables.items()):
                write_table(extra, folder / f"{name}.csv", twin=True)
            return {"figures": len(metrics)}

        depends_on = [config.evaluate.model_dump(), config.seed, linked, clustered, self.labels_digest]
        self.directory.stage("evaluate", depends_on, make)


def _evaluated(run_path: Path, name: str) -> pd.DataFrame:
    path = run_path / "evaluate" / f"{name}.parquet"
    return read_table(path) if path.exists() else pd.DataFrame()


def _write_report(run_path: Path, manifest: dict[str, Any], config: Config) -> Path:
    from linkage.link.links import read_best
    from linkage.report.quality import Figures
    from linkage.report.report import write_report

    path, files = run_path / "report.html", result_files(run_path)
    write_report(
        path,
        records=Records.open(run_path / "ingest" / "records.parquet"),
        links=read_best(files["links"]) if "links" in files else pd.DataFrame(),
        members=read_table(files["members"]),
        entities=read_table(files["entities"]),
        failures=read_table(run_path / "failures.csv"),
        figures=Figures(*(_evaluated(run_path, name) for name in Figures._fields)),
        sentences=_sentences(files["links"]) if "links" in files else [],
        manifest=manifest,
        config=config.report,
        seed=config.seed,
    )
    return path


def _sentences(links: Path) -> list[str]:
    """What the parts of the links' manifest (threshold, sets) say of themselves."""
    from linkage.link.links import links_manifest

    return [
        part["sentence"] for part in links_manifest(links).values() if isinstance(part, dict) and "sentence" in part
    ]


def _placed(links: pd.DataFrame | None, exemplars: pd.DataFrame | None) -> set[str]:
    """Records that have an entity already: the exemplars, and the queries that matched one."""
    placed: set[str] = set()
    if exemplars is not None:
        placed |= set(exemplars["record_id"])
    if links is not None:
        placed |= set(links.loc[links["decision"] == "match", "record_id"])
    return placed


def _exemplars(frame: pd.DataFrame, pattern: str | None) -> pd.Series:
    """Which records form the index: those labelled `exemplar`, or whose source matches the glob."""
    chosen = frame["role"] == "exemplar"
    if pattern is not None:
        chosen |= frame["source"].map(lambda source: fnmatch.fnmatch(source, pattern))
        if not chosen.any():
            raise InputError(f"link.exemplars: no source matches {pattern!r}; sources look like {frame['source'][0]!r}")
    return chosen


def _signatures(path: Path, config: IngestConfig) -> list[list[Any]]:
    """Names of the scans of one input, and what tells them and their transcripts from changed ones."""
    from linkage.scans.pages import find_sources
    from linkage.transcripts.find import find_transcripts

    sources = find_sources([path])
    transcripts = find_transcripts(sources) if config.ocr == "file" else {}
    return [
        [source.name, *map(_signature, [source.path, *(transcripts[source].files if source in transcripts else ())])]
        for source in sources
    ]


def _signature(path: Path) -> list[int]:
    """What tells a changed file from an unchanged one without reading it."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]
