"""Commands on the ledger of entities: show, history, members, crosswalk, retire, undo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linkage.cli.app import AsJson, Overwrite, app
from linkage.cli.claims import free
from linkage.console import print_json, print_summary, print_table
from linkage.places import RECORDS, TABLE

ledger = typer.Typer(
    help="Look into a ledger of entities, or take its last run back; --ledger of link and cluster writes it.\n\n"
    "Example: linkage ledger show firms.ledger",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(ledger, name="ledger")

LedgerPath = Annotated[Path, typer.Argument(metavar="LEDGER", help="Ledger file.")]


@ledger.command()
def show(path: LedgerPath, as_json: AsJson = False) -> None:
    """Show what a ledger holds: its counts and its runs.

    Example: linkage ledger show firms.ledger
    """
    from linkage.ledger.ledger import Ledger
    from linkage.ledger.reassign import KINDS

    with Ledger.open(path) as opened:
        runs, members = opened.runs(), opened.members()
    counts = {"records": len(members), "entities": len({stay.entity_id for stay in members}), "runs": len(runs)}
    if as_json:
        print_json(counts | {"runs": [run._asdict() for run in runs]})
        return
    print_summary(counts, as_json)
    header = ("run", "time", "command", *KINDS, "note")
    print_table(header, ((run.run, run.time, run.command, *run.events.values(), run.note) for run in runs))


@ledger.command()
def history(
    path: LedgerPath,
    name: Annotated[str, typer.Argument(metavar="ENTITY|RECORD", help="Id of an entity or of a record.")],
    as_json: AsJson = False,
) -> None:
    """Tell what happened to one entity, or which entities a record was in.

    Example: linkage ledger history firms.ledger e3vn52bopnd2f
    """
    from linkage.errors import InputError
    from linkage.ledger.ledger import Ledger, LedgerEvent, RecordStay

    with Ledger.open(path) as opened:
        events, stays = opened.events(name), opened.stays(name)
    if not events and not stays:
        raise InputError(f"{path}: knows neither an entity nor a record {name!r}; `linkage ledger members` lists them")
    if as_json:
        print_json({"events": [event._asdict() for event in events], "stays": [stay._asdict() for stay in stays]})
        return
    if events:
        print_table(LedgerEvent._fields, events)
    if stays:
        print_table(RecordStay._fields, stays)


@ledger.command()
def members(
    path: LedgerPath,
    out: Annotated[Path, typer.Option(help="Table to write: .csv or .parquet.")],
    at: Annotated[int | None, typer.Option(help="As it was after this run; default: now.")] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write which entity every record belongs to.

    Example: linkage ledger members firms.ledger --out members.csv
    """
    from linkage.jobs import export_members

    free(out, overwrite, RECORDS)
    print_summary(export_members(path, out, at) | {"out": str(out)}, as_json)


@ledger.command()
def crosswalk(
    path: LedgerPath,
    old: Annotated[int, typer.Option("--from", metavar="RUN", help="Run of the old ids; 0: before the first.")],
    new: Annotated[int, typer.Option("--to", metavar="RUN", help="Run of the new ids.")],
    out: Annotated[Path, typer.Option(help="Table to write: .csv or .parquet.")],
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write what became of the entities between two runs: old id, new id, records, relation.

    Example: linkage ledger crosswalk firms.ledger --from 1 --to 3 --out crosswalk.csv
    """
    from linkage.jobs import export_crosswalk

    free(out, overwrite, TABLE)
    print_summary(export_crosswalk(path, old, new, out) | {"out": str(out)}, as_json)


@ledger.command()
def retire(
    path: LedgerPath,
    entity: Annotated[str, typer.Argument(metavar="ENTITY", help="Id of the entity.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")],
    as_json: AsJson = False,
) -> None:
    """End an entity: its records belong to none, its id is never used again.

    Example: linkage ledger retire firms.ledger e3vn52bopnd2f --reason "a page of another book"
    """
    from linkage.ledger.ledger import Ledger

    with Ledger.open(path) as opened:
        run = opened.retire(entity, reason=reason, command="linkage ledger retire")
    print_summary({"run": run.run, "retired": entity}, as_json)


@ledger.command()
def undo(path: LedgerPath, as_json: AsJson = False) -> None:
    """Take the last run back, as if it had never been.

    Example: linkage ledger undo firms.ledger
    """
    from linkage.ledger.ledger import Ledger

    with Ledger.open(path) as opened:
        run = opened.undo()
    undone = {"undone": run.run, "command": run.command, "time": run.time, "note": run.note}
    print_summary(undone | run.events, as_json)
