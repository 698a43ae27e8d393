"""The whole job: a folder of scans and one configuration in, a run directory with one table of entities out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from linkage.config import Config, dump_config, load_config
from linkage.ingest.ingest import check_set_aside
from linkage.jobs import export
from linkage.records import Records
from linkage.rundir import RunDirectory, read_manifest, result_files, result_tables
from linkage.sections import only, settings_of
from linkage.stages import INPUTS, STAGES, RunInputs, StageContext
from linkage.tables import read_table, replacing, write_table


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
    given = RunInputs(tuple(inputs), labels, retry_failed, engine)
    with RunDirectory(out) as directory:
        with replacing(out / "config.yaml") as temporary:
            temporary.write_text(dump_config(config), encoding="utf-8")
        directory.manifest |= {"seed": config.seed, "labels": str(labels) if labels else None}
        try:
            counts = _make_stages(directory, config, given)
        finally:  # also where a later stage fails
            _list_failures(out)
        directory.manifest["model"] = _model_of(out / "embed")
        directory.finish()
        _write_report(out, directory.manifest, config)
        if "pages" in counts["ingest"]:
            failures, listed = read_table(out / "failures.csv"), out / "failures.csv"
            check_set_aside(failures, counts["ingest"]["pages"], config.ingest.max_failures, listed, "--retry-failed")
        return RunResult(directory.manifest, out, _evaluated(out, "metrics"))


def write_run_report(run_path: Path) -> Path:
    """Write `report.html` of a finished run again, with the run's own configuration; returns its path.

    Raises:
        ArtefactError: it is no run directory, or the run did not finish.
    """
    manifest = read_manifest(run_path)
    return _write_report(run_path, manifest, load_config(run_path / "config.yaml"))


def _make_stages(directory: RunDirectory, config: Config, inputs: RunInputs) -> dict[str, dict[str, Any]]:
    """Make every stage that this run has, unless its result is there; returns their counts by name."""
    digests: dict[str, str] = {}
    counts: dict[str, dict[str, Any]] = {}
    for stage in STAGES:
        if stage.name == "evaluate":  # whatever becomes of the figures, the tables are there
            _export(directory.path)
        if not stage.wanted(config, inputs, counts):
            directory.drop(stage.name)
            continue
        own = only(config, stage.settings)
        folder = directory.path / stage.name
        upstream = {name: directory.path / name for name in stage.upstream if name in digests}
        before = directory.manifest["stages"].get(stage.name, {}).get("hangs_on", {})
        context = StageContext(own, inputs, upstream, folder if folder.exists() else None, before)
        hangs_on = {
            "settings": settings_of(config, stage.settings),
            "upstream": {name: digests.get(name) for name in stage.upstream},
            "inputs": {name: INPUTS[name](own, inputs) for name in stage.inputs},
        }
        again = inputs.retry_failed and stage.name == "ingest"
        digests[stage.name] = directory.stage(stage.name, hangs_on, partial(stage.make, context), again=again)
        counts[stage.name] = directory.manifest["stages"][stage.name]["counts"]
    return counts


def _list_failures(run_path: Path) -> None:
    """What the reading set aside, where people look for it: beside the export."""
    listed = run_path / "ingest" / "failures.csv"
    if listed.exists():
        write_table(read_table(listed), run_path / "failures.csv")


def _model_of(embeddings: Path) -> dict[str, str]:
    manifest = json.loads((embeddings / "manifest.json").read_text(encoding="utf-8"))
    return {"name": manifest["model"], "sha256": manifest["model_sha256"]}


def _export(run_path: Path) -> None:
    """Write the tables of this run; those that an earlier one had and this one has not are removed."""
    folder, files = run_path / "export", result_files(run_path)
    for name in {"links", "members", "entities"} - files.keys():
        for suffix in (".csv", ".parquet"):
            (folder / f"{name}{suffix}").unlink(missing_ok=True)
    export(files, folder)


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
        folding=config.folding,
    )
    return path


def _sentences(links: Path) -> list[str]:
    """What the parts of the links' manifest (threshold, sets) say of themselves."""
    from linkage.link.links import links_manifest

    return [
        part["sentence"] for part in links_manifest(links).values() if isinstance(part, dict) and "sentence" in part
    ]
