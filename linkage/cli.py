"""The command line: parse, call, print. Nothing here decides anything."""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from linkage import __version__
from linkage.console import print_highlights, print_json, print_metrics, print_stages, print_summary
from linkage.errors import LinkageError, UsageError

if TYPE_CHECKING:
    from linkage.config import Config

log = logging.getLogger("linkage")

INTERRUPTED = 130
EXIT_CODES = """
Exit codes: 0 done; 1 a bug; 2 wrong usage; 3 configuration invalid; 4 input invalid, or more set aside than
allowed; 5 a program or device is missing; 6 a model, index or run is missing or stale; 7 a quality gate failed;
130 interrupted.
"""

app = typer.Typer(
    name="linkage",
    help="Link the records that scanned documents hold to the entities they name, with picture and text together.\n\n"
    "Example: linkage run configs/receipts.yaml --input scans/ --out runs/receipts",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Inputs = Annotated[list[Path], typer.Argument(metavar="SCANS...", help="Image and PDF files, folders or globs.")]
RecordsFile = Annotated[Path, typer.Argument(metavar="RECORDS", help="Records table: CSV or Parquet.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. link.k=3.")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="YAML", help="Configuration; default: every default.")
]
Model = Annotated[str | None, typer.Option(help="Shipped model's name, model folder, or open_clip ARCH[:CHECKPOINT].")]
Embedded = Annotated[Path | None, typer.Option(help="Embeddings folder of `linkage embed`; default: embed now.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing --out.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more; tracebacks for errors.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say only what went wrong.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        typer.echo(f"linkage {__version__}")
        raise typer.Exit
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logging.basicConfig(format="%(message)s", stream=sys.stderr, level=logging.WARNING, force=True)
    log.setLevel(level)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration (YAML); ready ones are in configs/.")],
    input: Annotated[list[Path], typer.Option("--input", help="Scans: file, folder or glob; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Run directory; an earlier run is continued.")],
    labels: Annotated[Path | None, typer.Option(help="Table of known entities, to fit on and be measured by.")] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Do the whole job: scans in, one table of linked entities and a report out.

    Example: linkage run configs/receipts.yaml --input scans/ --out runs/receipts
    """
    from linkage.config import load_config
    from linkage.run import run as run_pipeline

    result = run_pipeline(load_config(config, settings or ()), input, out, labels=labels)
    if as_json:
        print_json(result.manifest)
        return
    print_stages(result.manifest)
    if len(result.metrics):
        print_highlights(result.metrics)
        typer.echo(f"figures {out / 'evaluate' / 'metrics.csv'}")
    typer.echo(f"tables  {out / 'export'}\nreport  {out / 'report.html'}")


@app.command()
def ingest(
    scans: Inputs,
    out: Annotated[Path, typer.Option(help="Records table to write (.parquet); a cut-off call is continued.")],
    regions: Annotated[
        str | None, typer.Option(help="What becomes a record: page, lines, blocks, header or boxes.")
    ] = None,
    boxes: Annotated[
        Path | None, typer.Option(help="CSV of source,page,x0,y0,x1,y1[,unit] for --regions boxes.")
    ] = None,
    header_lines: Annotated[int | None, typer.Option(help="header: first N lines; 0 = first text block.")] = None,
    engine: Annotated[str | None, typer.Option(help="OCR engine: tesseract or none.")] = None,
    lang: Annotated[str | None, typer.Option(help="Tesseract languages, e.g. eng+jpn.")] = None,
    psm: Annotated[int | None, typer.Option(help="Tesseract page segmentation mode.")] = None,
    dpi: Annotated[int | None, typer.Option(help="Resolution at which PDF pages are rendered.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; 0 = one per core.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Read scans into records: one row per region, with its text and its crop.

    Example: linkage ingest scans/ --regions lines --lang eng --out records.parquet
    """
    from linkage.config import load_config, update
    from linkage.ingest.ingest import ingest as ingest_scans

    section = update(
        load_config(config, settings or ()).ingest,
        regions=regions,
        boxes=boxes,
        header_lines=header_lines,
        engine=engine,
        languages=lang.split("+") if lang else None,
        psm=psm,
        dpi=dpi,
        workers=workers,
    )
    summary = ingest_scans(scans, out, section, existing="overwrite" if overwrite else "resume")
    print_summary(
        {
            "sources": summary.sources,
            "pages": summary.pages,
            "records": summary.records,
            "set_aside": len(summary.failures),
            "out": str(out),
        },
        as_json,
    )


@app.command()
def train(
    records: RecordsFile,
    out: Annotated[Path, typer.Option(help="Model folder to write; a cut-off call is continued.")],
    model: Model = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Train the bi-encoder on records: crop against text, then, with entity_id, by entity.

    Example: linkage train records.parquet --out model/ --set train.align_epochs=5

    On two processors: torchrun --standalone --nproc-per-node=2 -m linkage train records.parquet --out model/
    """
    from linkage.encode.train import train as train_model
    from linkage.records import Records

    loaded = _load(config, settings, model)
    _free(out, overwrite)
    summary = train_model(Records.open(records), out, loaded.train, loaded.encode, seed=loaded.seed)
    if summary:  # torchrun: the first process speaks for all
        print_summary(summary | {"out": str(out)}, as_json)


@app.command()
def embed(
    records: RecordsFile,
    out: Annotated[Path, typer.Option(help="Embeddings folder to write.")],
    model: Model = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Embed the crops and texts of records.

    Example: linkage embed records.parquet --model linkage-line --out embeddings/
    """
    from linkage.encode.biencoder import BiEncoder
    from linkage.encode.embed import embed_records
    from linkage.records import Records

    section = _load(config, settings, model).encode
    _free(out, overwrite)
    opened = Records.open(records)
    embeddings = embed_records(opened, BiEncoder.load(section.model, section.device), out, section)
    print_summary(embeddings.manifest | {"out": str(out)}, as_json)


@app.command()
def index(
    records: RecordsFile,
    out: Annotated[Path, typer.Option(help="Index folder to write.")],
    embeddings: Embedded = None,
    model: Model = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Build the index of exemplars that queries are linked to; entity_id names their entities.

    Example: linkage index exemplars.parquet --model linkage-line --out index/
    """
    from linkage.jobs import build_exemplar_index

    loaded = _load(config, settings, model)
    _free(out, overwrite)
    print_summary(build_exemplar_index(records, out, loaded, embeddings) | {"out": str(out)}, as_json)


@app.command()
def link(
    queries: RecordsFile,
    index: Annotated[Path, typer.Option(help="Index folder.")],
    out: Annotated[Path, typer.Option(help="Links table to write: .csv (with a Parquet twin) or .parquet.")],
    embeddings: Embedded = None,
    model: Annotated[str | None, typer.Option(help="Where the index's model is now, if it was moved.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Match probability from which a candidate matches.")] = None,
    k: Annotated[int | None, typer.Option("-k", help="Candidates reported per query.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Link records to the exemplars of an index, or to none.

    Example: linkage link queries.csv --index index/ --out links.csv
    """
    from linkage.config import update
    from linkage.jobs import link_queries

    loaded = _load(config, settings, None)
    loaded = loaded.model_copy(update={"link": update(loaded.link, threshold=threshold, k=k)})
    _free(out, overwrite)
    summary = link_queries(queries, index, out, loaded, model=model, embeddings=embeddings)
    print_summary(summary | {"out": str(out)}, as_json)


@app.command()
def cluster(
    records: RecordsFile,
    out: Annotated[Path, typer.Option(help="Folder for members.csv, entities.csv and columns.md.")],
    embeddings: Embedded = None,
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

    loaded = _load(config, settings, model)
    _free(out, overwrite)
    print_summary(cluster_records(records, out, loaded, embeddings) | {"out": str(out)}, as_json)


@app.command()
def evaluate(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="links, members or records table.")],
    truth: Annotated[Path, typer.Option(help="Known entities by record_id or source; or boxes with their text.")],
    index: Annotated[Path | None, typer.Option(help="links: the index folder, if it was moved.")] = None,
    split: Annotated[str | None, typer.Option(help="Score only this split of the truth.")] = None,
    fail_under: Annotated[
        list[str] | None, typer.Option(metavar="MEASURE=VALUE", help="Exit with 7 if Linkage's figure is lower.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the figures as a table.")] = None,
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

    loaded = _load(config, settings, None)
    evaluation = measure(table, truth, loaded.evaluate, index=index, split=split, seed=loaded.seed)
    if out:
        _free(out, overwrite)
        write_table(evaluation.metrics, out)
    if as_json:
        print_json(evaluation.as_dict())
    else:
        print_metrics(evaluation.metrics)
        for note in evaluation.notes:
            typer.echo(note)
    check_gates(evaluation, fail_under or [])


@app.command()
def synth(
    out: Annotated[Path, typer.Option(help="Records table to write (.parquet).")],
    entities: Annotated[int, typer.Option(help="Entities to invent.")] = 10_000,
    views: Annotated[int, typer.Option(help="Records per entity.")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed and fonts give the same records.")] = 0,
    workers: Annotated[int, typer.Option(help="Worker processes; 0 = one per core.")] = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Draw records of invented entities, with crops, noisy readings and labels: training data without any scan.

    Example: linkage synth --entities 10000 --views 3 --seed 7 --out synth.parquet
    """
    from linkage.jobs import draw_records

    _free(out, overwrite)
    print_summary(draw_records(out, entities=entities, views=views, seed=seed, workers=workers), as_json)


@app.command()
def report(
    run_directory: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.")],
) -> None:
    """Write the report of a run again.

    Example: linkage report runs/receipts
    """
    from linkage.run import write_run_report

    typer.echo(f"report  {write_run_report(run_directory)}")


@app.command()
def check(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration (YAML).")],
    input: Annotated[list[Path] | None, typer.Option("--input", help="Scans: file, folder or glob.")] = None,
    settings: Settings = None,
) -> None:
    """Validate a configuration and its inputs, and run nothing.

    Example: linkage check configs/receipts.yaml --input scans/
    """
    from linkage.config import dump_config, load_config

    loaded = load_config(config, settings or ())
    typer.echo(dump_config(loaded), nl=False)
    if input:
        from linkage.ingest.pages import find_sources

        typer.echo(f"# {len(find_sources(input))} sources")


def _load(config: Path | None, settings: list[str] | None, model: str | None) -> Config:
    from linkage.config import load_config, update

    loaded = load_config(config, settings or ())
    return loaded.model_copy(update={"encode": update(loaded.encode, model=model)})


def _free(out: Path, overwrite: bool) -> None:
    """Make room for a result, if asked to; nothing is overwritten otherwise."""
    if out.exists() and not overwrite and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out}: exists already; give --overwrite to replace it, or another --out")


def main() -> None:
    """Run the command line; errors a user can meet become one line and their exit code."""
    try:
        app()
    except LinkageError as error:
        _fail(error, str(error), error.exit_code)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            typer.echo("linkage: interrupted; the same command goes on where it was", err=True)
        raise
    except Exception as error:
        _fail(error, f"bug: {type(error).__name__}: {error} (run with -v for the traceback)", 1)


def _fail(error: BaseException, message: str, code: int) -> NoReturn:
    if log.isEnabledFor(logging.DEBUG):
        traceback.print_exception(error)
    typer.echo(f"linkage: {message}", err=True)
    sys.exit(code)
