"""The command line: parse, call, print. Nothing here decides anything."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional

import typer

from linkage import __version__
from linkage.errors import LinkageError, QualityGateError, UsageError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("linkage")

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
Settings = Annotated[Optional[list[str]], typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. link.k=3.")]
ConfigFile = Annotated[Optional[Path], typer.Option("--config", metavar="YAML", help="Configuration; default: every default.")]
Model = Annotated[Optional[str], typer.Option(help="Shipped model's name, model folder, or open_clip ARCH[:CHECKPOINT].")]
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
    labels: Annotated[Optional[Path], typer.Option(help="Table of known entities, to fit on and be measured by.")] = None,
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
        _print_json(result.manifest)
        return
    _print_stages(result.manifest)
    if len(result.metrics):
        _print_metrics(result.metrics)
    typer.echo(f"tables  {out / 'export'}\nreport  {out / 'report.html'}")


@app.command()
def ingest(
    scans: Inputs,
    out: Annotated[Path, typer.Option(help="Records table to write (.parquet); a cut-off call is continued.")],
    regions: Annotated[Optional[str], typer.Option(help="What becomes a record: page, lines, blocks, header or boxes.")] = None,
    boxes: Annotated[Optional[Path], typer.Option(help="CSV of source,page,x0,y0,x1,y1[,unit] for --regions boxes.")] = None,
    header_lines: Annotated[Optional[int], typer.Option(help="header: first N lines; 0 = first text block.")] = None,
    engine: Annotated[Optional[str], typer.Option(help="OCR engine: tesseract or none.")] = None,
    lang: Annotated[Optional[str], typer.Option(help="Tesseract languages, e.g. eng+jpn.")] = None,
    psm: Annotated[Optional[int], typer.Option(help="Tesseract page segmentation mode.")] = None,
    dpi: Annotated[Optional[int], typer.Option(help="Resolution at which PDF pages are rendered.")] = None,
    workers: Annotated[Optional[int], typer.Option(help="Worker processes; 0 = one per core.")] = None,
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
    _print_summary(
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
    """
    from linkage.config import load_config, update
    from linkage.encode.train import train as train_model
    from linkage.records import Records

    loaded = load_config(config, settings or ())
    _free(out, overwrite)
    summary = train_model(
        Records.open(records), out, loaded.train, update(loaded.encode, model=model), seed=loaded.seed
    )
    _print_summary(summary | {"out": str(out)}, as_json)


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

    Example: linkage embed records.parquet --model base --out embeddings/
    """
    from linkage.config import load_config, update
    from linkage.encode.biencoder import BiEncoder
    from linkage.encode.embed import embed_records
    from linkage.records import Records

    section = update(load_config(config, settings or ()).encode, model=model)
    _free(out, overwrite)
    opened = Records.open(records)
    embeddings = embed_records(opened, BiEncoder.load(section.model, section.device), out, section)
    _print_summary(embeddings.manifest | {"out": str(out)}, as_json)


@app.command()
def check(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration (YAML).")],
    input: Annotated[Optional[list[Path]], typer.Option("--input", help="Scans: file, folder or glob.")] = None,
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


def main() -> None:
    """Run the command line; errors a user can meet become one line and their exit code."""
    try:
        app(standalone_mode=False)
    except LinkageError as error:
        _fail(error, str(error), error.exit_code)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted; the same command continues where it was", err=True)
        sys.exit(130)
    except typer.BadParameter as error:
        error.show()
        sys.exit(UsageError.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        _fail(error, f"bug: {type(error).__name__}: {error} (run with -v for the traceback)", 1)


def _fail(error: BaseException, message: str, code: int) -> NoReturn:
    if log.isEnabledFor(logging.DEBUG):
        traceback.print_exception(error)
    typer.echo(f"linkage: {message}", err=True)
    sys.exit(code)
