"""What a run directory or a links table holds to explain a link or an entity from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from linkage.config import load_config
from linkage.records import Records
from linkage.tables import read_table, require_columns

if TYPE_CHECKING:
    from linkage.explain.explanation import Evidence, Explanation


def explain_run(path: Path, name: str, *, as_entity: bool = False, page: Path | None = None) -> Explanation:
    """Why a record was linked, or what holds an entity together; see `explanation.explain`.

    Args:
        path: a run directory, or a links table of `linkage link`.
        name: id of a record or an entity.
        as_entity: take the id for an entity's where it is also a record's.
        page: also write the explanation there, as HTML with the crops.

    Raises:
        UsageError: there is nothing of this id.
        InputError, ArtefactError: the tables are not there or not readable.
    """
    from linkage.explain.explanation import explain
    from linkage.explain.page import write_explanation

    evidence, records = _run_evidence(path) if path.is_dir() else _links_evidence(path)
    explanation = explain(name, evidence, as_entity=as_entity)
    if page:
        write_explanation(page, explanation, Records.open(records) if records else None, evidence.folding)
    return explanation


def _run_evidence(run: Path) -> tuple[Evidence, Path]:
    """What a run directory holds to explain from, and where its records are."""
    from linkage.compare.scorer import SCORER_FILE, Scorer
    from linkage.encode.embeddings import Embeddings
    from linkage.explain.explanation import Evidence
    from linkage.explain.grouping import ClusterEvidence
    from linkage.link.links import link_scorer, links_manifest
    from linkage.rundir import read_manifest, result_tables

    manifest, tables = read_manifest(run), result_tables(run)
    config = load_config(run / "config.yaml")
    counts = manifest["stages"]["cluster"]["counts"]
    records = run / "ingest" / "records.parquet"

    def grouping() -> ClusterEvidence:
        return ClusterEvidence(
            frame=Records.open(records).frame,
            embeddings=Embeddings.open(run / "embed"),
            scorer=Scorer.load(run / "cluster" / SCORER_FILE),
            fields=config.link.fields,
            max_distance=float(counts["max_distance"]),
            max_distance_source=str(counts["max_distance_source"]),
            pooled=config.cluster.distance == "pooled",
        )

    links = tables.get("links", pd.DataFrame())
    made = run / "link" / "links.parquet"
    scorer, sets = (link_scorer(made), links_manifest(made).get("sets")) if len(links) else (None, None)
    said = sets["sentence"] if sets else ""
    return Evidence(tables["members"], links, scorer, grouping, said, config.folding), records


def _links_evidence(table: Path) -> tuple[Evidence, Path | None]:
    """What a links table holds to explain from, and where the records of the queries are, if that is known."""
    from linkage.explain.explanation import Evidence, members_of_links
    from linkage.link.links import check_links, link_folding, link_scorer, links_manifest

    links = read_table(table)
    require_columns(links, ("record_id", "entity_id", "exemplar_id", "rank", "decision", "probability"), table)
    check_links(links.columns, table, "run `linkage link` again")
    manifest = links_manifest(table)
    sets, queries = manifest.get("sets"), manifest.get("queries")
    records = Path(queries) if isinstance(queries, str) else None
    said = sets["sentence"] if sets else ""
    evidence = Evidence(members_of_links(links), links, link_scorer(table), sets=said, folding=link_folding(table))
    return evidence, records if records and records.is_file() else None
