"""The application, the options that commands share, and how errors end."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from linkage import __version__
from linkage.choices import RegionKind, WorkEngine, either, names
from linkage.cli.claims import claimed, held, inputs
from linkage.errors import EXIT_CODES, ExitCode, LinkageError, UsageError, storage_error
from linkage.places import remote

if TYPE_CHECKING:
    from linkage.config import Config

log = logging.getLogger("linkage")

EPILOG = f"{EXIT_CODES} After {ExitCode.STORAGE:d} and {ExitCode.INTERRUPTED:d} the same command goes on where it was."

app = typer.Typer(
    name="linkage",
    help="Link the records that scanned documents hold to the entities they name, with picture and text together.\n\n"
    "Example: linkage run configs/receipts.yaml --input scans/ --out runs/receipts",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Inputs = Annotated[list[Path], typer.Argument(metavar="SCANS...", help="Image and PDF files, folders or globs.")]
RecordsFile = Annotated[Path, typer.Argument(metavar="RECORDS", help="Records table: CSV or Parquet.")]
Regions = Annotated[str | None, typer.Option(help=f"What becomes a record: {either(names(RegionKind))}.")]
Boxes = Annotated[
    Path | None,
    typer.Option(help="CSV of source,page,x0,y0,x1,y1[,unit] for --regions boxes; * and odd, even ... for templates."),
]
Languages = Annotated[str | None, typer.Option(help="Tesseract languages, e.g. eng+jpn.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. link.k=3.")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="YAML", help="Configuration; default: every default.")
]
Model = Annotated[str | None, typer.Option(help="Shipped model's name, model folder, or open_clip ARCH[:CHECKPOINT].")]
Embedded = Annotated[Path | None, typer.Option(help="Embeddings folder of `linkage embed`; default: embed now.")]
LedgerFile = Annotated[
    Path | None, typer.Option("--ledger", help="Ledger of entities: keeps their ids from run to run.")
]
MaxFailures = Annotated[
    str | None, typer.Option(help="Share of pages set aside from which the run fails, e.g. 1%; all is written first.")
]
Engine = Annotated[
    str,
    typer.Option(
        help=f"Who does the work: {either(names(WorkEngine))}; "
        "ray: the cluster at RAY_ADDRESS, on folders that every machine sees."
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="I/N", help="Do one of N shares and join nothing; the same call without it joins them."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing --out.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


OUTPUTS = ("out", "html", "preview")
"""Parameters that name what is written; every other path is read."""


class LocalCommand(TyperCommand):
    """A command that refuses places which are no files of this machine, whichever of its paths one is given for."""

    def invoke(self, ctx: Any) -> Any:
        """Look at every path, then do what the command does."""
        inputs.clear()
        for name, given in ctx.params.items():
            for one in given if isinstance(given, (list, tuple)) else [given]:
                if not (isinstance(one, Path) or name == "model") or not one:
                    continue
                if away := remote(one):
                    raise UsageError(away)
                if name not in OUTPUTS and Path(one).exists():
                    inputs.append(Path(one))
        return super().invoke(ctx)


def _version(wanted: bool) -> None:
    if wanted:  # before anything else is looked at: no command is needed
        typer.echo(f"linkage {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more; tracebacks for errors.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say only what went wrong.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and stop.")
    ] = False,
) -> None:
    context.with_resource(held)
    if limit := os.environ.get("OMP_THREAD_LIMIT"):  # FAISS waits for ever for a thread that the limit forbids
        os.environ.setdefault("OMP_NUM_THREADS", limit)
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logging.basicConfig(format="%(message)s", stream=sys.stderr, level=logging.WARNING, force=True)
    log.setLevel(level)


def load(config: Path | None, settings: list[str] | None, model: str | None) -> Config:
    """The configuration that the options name."""
    from linkage.config import load_config, update

    loaded = load_config(config, settings or ())
    return loaded.model_copy(update={"encode": update(loaded.encode, model=model)})


def main() -> None:
    """Run the command line; errors a user can meet become one line and their exit code."""
    try:
        app()
    except SystemExit as stop:
        if stop.code == ExitCode.INTERRUPTED:
            typer.echo("linkage: interrupted; the same command goes on where it was", err=True)
        raise
    except Exception as error:
        told = storage_error(error, within=claimed[-1] if claimed else None) or error
        if isinstance(told, LinkageError):
            _fail(error, str(told), told.exit_code)
        _fail(error, f"bug: {type(error).__name__}: {error} (run with -v for the traceback)", ExitCode.BUG)


def _fail(error: BaseException, message: str, code: int) -> NoReturn:
    if log.isEnabledFor(logging.DEBUG):
        traceback.print_exception(error)
    typer.echo(f"linkage: {message}", err=True)
    sys.exit(code)
