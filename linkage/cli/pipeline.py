"""Commands on a whole run: run, report, check, plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linkage.cli.app import AsJson, Engine, MaxFailures, Settings, app
from linkage.console import print_forecast, print_highlights, print_json, print_stages


@app.command()
def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration (YAML); ready ones are in configs/.")],
    input: Annotated[list[Path], typer.Option("--input", help="Scans: file, folder or glob; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Run directory; an earlier run is continued.")],
    labels: Annotated[Path | None, typer.Option(help="Table of known entities, to fit on and be measured by.")] = None,
    max_failures: MaxFailures = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Read again the pages that were set aside before.")
    ] = False,
    engine: Engine = "local",
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Do the whole job: scans in, one table of linked entities and a report out.

    Example: linkage run configs/receipts.yaml --input scans/ --out runs/receipts

    Scans read, records embedded and queries searched by a cluster: RAY_ADDRESS=head:6379 linkage run ... --engine ray
    """
    from linkage.config import load_config, update
    from linkage.run import run as run_pipeline

    loaded = load_config(config, settings or ())
    loaded = loaded.model_copy(update={"ingest": update(loaded.ingest, max_failures=max_failures)})
    result = run_pipeline(loaded, input, out, labels=labels, retry_failed=retry_failed, engine=engine)
    if as_json:
        print_json(result.manifest)
        return
    print_stages(result.manifest)
    if len(result.metrics):
        print_highlights(result.metrics)
        typer.echo(f"figures {out / 'evaluate' / 'metrics.csv'}")
    typer.echo(f"tables  {out / 'export'}\nreport  {out / 'report.html'}")


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
    labels: Annotated[Path | None, typer.Option(help="Table of known entities that the run will be given.")] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Find everything that `linkage run` would refuse, and run nothing; print the configuration with its defaults.

    Example: linkage check configs/receipts.yaml --input scans/ --labels labels.csv
    """
    from linkage.check import Findings
    from linkage.check import check as look
    from linkage.config import dump_config, load_config

    found = Findings()
    loaded = found.attempt("configuration", lambda: load_config(config, settings or ()))
    if loaded:
        found = look(loaded, input or (), labels)
    if as_json:
        print_json(found.as_dict() | {"config": loaded.model_dump(mode="json") if loaded else None})
    elif loaded and not found.problems:
        typer.echo(dump_config(loaded), nl=False)
        counts = {"sources": found.sources, "records": found.records, "labels": found.labels}
        for what, count in counts.items():
            if count is not None:
                typer.echo(f"# {count} {what}")
    for problem in found.problems:
        typer.echo(f"linkage: {problem.message}", err=True)
    if found.problems:
        raise typer.Exit(min(problem.exit_code for problem in found.problems))


@app.command()
def plan(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration (YAML).")],
    input: Annotated[list[Path], typer.Option("--input", help="Scans: file, folder or glob; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Where the run directory would be.")] = Path(),
    labels: Annotated[Path | None, typer.Option(help="Table of known entities that the run will be given.")] = None,
    sample: Annotated[int, typer.Option(min=1, help="Pages to read for it, spread over all.")] = 5,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Say what a run will take, before it starts: pages, records, minutes, memory and disk, from a few pages.

    Example: linkage plan configs/receipts.yaml --input scans/ --sample 10
    """
    from linkage.config import load_config
    from linkage.forecast import forecast

    loaded = load_config(config, settings or ())
    print_forecast(forecast(loaded, input, out=out, labels=labels, sample=sample), as_json)
