"""Commands from records to entities: index, link, cluster, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linkage.choices import Constraint, IndexKind, Split, either, names
from linkage.cli.app import (
    AsJson,
    ConfigFile,
    Embedded,
    LedgerFile,
    Model,
    Overwrite,
    RecordsFile,
    Settings,
    Shard,
    app,
    load,
)
from linkage.cli.claims import free
from linkage.console import print_json, print_metrics, print_shard, print_summary
from linkage.errors import UsageError
from linkage.places import CLUSTERS, INDEX, LINKS, TABLE


@app.command()
def index(
    records: RecordsFile,
    out: Annotated[Path, typer.Option(help="Index folder to write.")],
    embeddings: Embedded = None,
    ledger: LedgerFile = None,
    model: Model = None,
    kind: Annotated[str | None, typer.Option(help=f"How it is searched: {either(names(IndexKind))}.")] = None,
    memory: Annotated[
        str | None, typer.Option(help="Memory that searching it may take, e.g. 8G; default: half of what is free.")
    ] = None,
    recall: Annotated[
        float | None, typer.Option(help="Least share of nearest exemplars to find, measured on a sample; e.g. 0.99.")
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Build the index of exemplars that queries are linked to; entity_id, or the ledger, names their entities.

    Example: linkage index exemplars.parquet --model linkage-line --out index/

    A million exemplars within 1 GB of memory: linkage index exemplars.parquet --out index/ --memory 1G
    """
    from linkage.config import update
    from linkage.jobs import build_exemplar_index

    loaded = load(config, settings, model)
    chosen = update(loaded.index, kind=kind, memory=memory, recall=recall)
    loaded = loaded.model_copy(update={"index": chosen})
    free(out, overwrite, INDEX, [out.with_name(f"{out.name}.failures.csv")])
    made = build_exemplar_index(records, out, loaded, embeddings, ledger) | {"out": str(out)}
    print_summary(made if as_json else {name: value for name, value in made.items() if name != "spaces"}, as_json)


@app.command("map")
def map_model(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="Index folder; the map is kept in it.")],
    records: RecordsFile,
    model: Annotated[str, typer.Option(help="The newer model that queries are to be embedded with.")],
    queries: Annotated[
        Path | None, typer.Option(help="Labelled records to measure on; default: exemplars of one entity.")
    ] = None,
    sample: Annotated[int, typer.Option(min=20, help="Exemplars embedded to fit it, queries to measure it.")] = 2_000,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Keep an index usable after retraining: fit a map of the newer model's queries into its space; say what it loses.

    RECORDS are the index's exemplars. An earlier map of the same model is replaced. The other choice, which loses
    nothing, is to embed all exemplars again: linkage index RECORDS --model NEW.

    Example: linkage map index/ exemplars.parquet --model newer/ --queries labelled.parquet

    Then: linkage link queries.csv --index index/ --model newer/ --out links.csv
    """
    from linkage.jobs import map_model as fit

    print_summary(fit(index, records, load(config, settings, model), queries=queries, sample=sample), as_json)


@app.command()
def link(
    queries: RecordsFile,
    index: Annotated[Path, typer.Option(help="Index folder.")],
    out: Annotated[Path, typer.Option(help="Links table to write: .csv (with a Parquet twin) or .parquet.")],
    embeddings: Embedded = None,
    ledger: LedgerFile = None,
    model: Annotated[
        str | None, typer.Option(help="The index's model, if it was moved; or a newer one, after `linkage map`.")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Match probability from which a candidate matches.")] = None,
    max_false_links: Annotated[
        float | None, typer.Option(help="Promise at most this share of false links, on labelled queries; e.g. 0.01.")
    ] = None,
    coverage: Annotated[
        float | None, typer.Option(help="List for each query a set that holds the true entity at this rate; e.g. 0.95.")
    ] = None,
    constraint: Annotated[
        str | None, typer.Option(help=f"How many queries an entity may take: {either(names(Constraint))}.")
    ] = None,
    k: Annotated[int | None, typer.Option("-k", help="Candidates reported per query.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    shard: Shard = None,
    as_json: AsJson = False,
) -> None:
    """Link records to the exemplars of an index, or to none; with --ledger also to each other.

    Example: linkage link queries.csv --index index/ --out links.csv

    One query per entity, by price too: linkage link queries.csv --index index/ --out links.csv
    --constraint one-to-one --set "link.fields={price: number}"

    Millions of queries on 16 machines of a Slurm cluster: sbatch --array=1-16 --wrap 'linkage link queries.parquet
    --embeddings queries/ --index index/ --out links.parquet --shard $SLURM_ARRAY_TASK_ID/16'; then the same without it
    """
    from linkage.config import update
    from linkage.jobs import link_queries, link_queries_share
    from linkage.workers.share import Share

    loaded = load(config, settings, None)
    chosen = update(
        loaded.link,
        threshold=threshold,
        aim=None if max_false_links is None else "false-links",
        max_false_links=max_false_links,
        coverage=coverage,
        constraint=constraint,
        k=k,
    )
    loaded = loaded.model_copy(update={"link": chosen})
    if shard:
        share = Share.read(shard)
        if embeddings is None:
            raise UsageError(f"--shard {shard}: shares need --embeddings, a folder of `linkage embed`")
        did = link_queries_share(queries, index, out, loaded, share, embeddings=embeddings, model=model)
        print_shard(share, *did, "queries searched", as_json)
        return
    free(out, overwrite, LINKS, _beside(out))
    summary = link_queries(queries, index, out, loaded, model=model, embeddings=embeddings, ledger=ledger)
    print_summary(summary | {"out": str(out)}, as_json)


def _beside(links: Path) -> list[Path]:
    """What is written beside a links table."""
    from linkage.link.links import manifest_of, nearest_of

    lists = [links.with_name(f"{links.stem}.{name}.csv") for name in ("failures", "members")]
    return [links.with_suffix(".parquet"), manifest_of(links), nearest_of(links), *lists]


@app.command()
def cluster(
    records: RecordsFile,
    out: Annotated[Path, typer.Option(help="Folder for members.csv, entities.csv and columns.md.")],
    embeddings: Embedded = None,
    ledger: LedgerFile = None,
    model: Model = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Group records into entities where no exemplars exist.

    Example: linkage cluster records.parquet --out clusters/
    """
    from linkage.jobs import cluster_records

    loaded = load(config, settings, model)
    written = ("members.csv", "members.parquet", "entities.csv", "entities.parquet", "failures.csv", "columns.md")
    free(out, overwrite, CLUSTERS, [out / name for name in written])
    print_summary(cluster_records(records, out, loaded, embeddings, ledger) | {"out": str(out)}, as_json)


@app.command()
def evaluate(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="links, members or records table.")],
    truth: Annotated[Path, typer.Option(help="Known entities by record_id or source; or boxes with their text.")],
    index: Annotated[Path | None, typer.Option(help="links: the index folder, if it was moved.")] = None,
    split: Annotated[
        str | None, typer.Option(help=f"Score only this split of the truth: {either(names(Split))}.")
    ] = None,
    fail_under: Annotated[
        list[str] | None, typer.Option(metavar="MEASURE=VALUE", help="Exit with 7 if Linkage's figure is lower.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Also write the figures as a table; of links, more beside it.")
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Measure a result against the truth, beside string baselines on the same text.

    Example: linkage evaluate links.csv --truth truth.csv --split val --fail-under matched_accuracy=0.9
    """
    from linkage.evaluate.evaluate import check_gates
    from linkage.evaluate.evaluate import evaluate as measure
    from linkage.tables import write_table

    loaded = load(config, settings, None)
    evaluation = measure(
        table, truth, loaded.evaluate, index=index, split=split, seed=loaded.seed, folding=loaded.folding
    )
    if out:
        tables = {out.with_name(f"{out.stem}.{name}{out.suffix}"): extra for name, extra in evaluation.tables.items()}
        for path in (out, *tables):
            free(path, overwrite, TABLE)
        for path, written in ({out: evaluation.metrics} | tables).items():
            write_table(written, path)
    if as_json:
        print_json(evaluation.as_dict())
    else:
        print_metrics(evaluation.metrics)
        for note in evaluation.notes:
            typer.echo(note)
    check_gates(evaluation, fail_under or [])
