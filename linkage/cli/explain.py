"""The command that says why: explain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linkage.cli.app import app
from linkage.cli.claims import free
from linkage.console import print_explanation


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory, or a links table of `linkage link`.")],
    name: Annotated[str, typer.Argument(metavar="RECORD|ENTITY", help="Id of a record or of an entity.")],
    entity: Annotated[bool, typer.Option("--entity", help="Take the id for an entity's.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also write a page with the crops.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing --html.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the explanation as JSON.")] = False,
) -> None:
    """Say why a record was linked, grouped or left alone, or what holds an entity together.

    Example: linkage explain runs/receipts r0225d59579474301 --html why.html
    """
    from linkage.explain.evidence import explain_run

    if html:
        free(html, overwrite, "")
    print_explanation(explain_run(run, name, as_entity=entity, page=html), as_json)
