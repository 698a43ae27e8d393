"""The command that looks at the machine: doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linkage.cli.app import AsJson, Settings, app
from linkage.console import print_json, print_table


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="Configuration (YAML); default: every default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where a run directory would be.")] = Path(),
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Try everything that a run needs, programs, model, devices, disk, and say how to mend what is missing.

    Example: linkage doctor configs/receipts.yaml
    """
    from linkage.config import load_config
    from linkage.doctor import examine
    from linkage.errors import DependencyError

    findings = examine(load_config(config, settings or ()), out)
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        print_table(("what", "state", "found", "fix"), (finding[:4] for finding in findings))
    missing = [finding.name for finding in findings if finding.needed and finding.state == "missing"]
    if missing:
        raise DependencyError(f"{', '.join(missing)}: missing, and needed here; the list says how to mend it")
