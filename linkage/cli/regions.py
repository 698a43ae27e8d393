"""The command that shows regions before they become records: regions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linkage.cli.app import Boxes, ConfigFile, Inputs, Languages, Overwrite, Regions, Settings, app
from linkage.cli.claims import free
from linkage.places import TABLE


@app.command("regions")
def show(
    scans: Inputs,
    regions: Regions = None,
    boxes: Boxes = None,
    lang: Languages = None,
    config: ConfigFile = None,
    settings: Settings = None,
    preview: Annotated[
        Path | None, typer.Option(help="Folder for one PNG per page with the regions drawn on it.")
    ] = None,
    texts: Annotated[bool, typer.Option("--texts", help="--preview: the readings beside the page.")] = False,
    pages: Annotated[int, typer.Option(min=0, help="Look at so many pages, spread evenly; 0 = all.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="CSV of boxes to write, which --boxes reads; default: print it.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Show what would become records: as pictures to look at, or as a table of boxes to correct and give back.

    Example: linkage regions scans/ --regions lines --preview preview/ --pages 10

    A table to correct: linkage regions scans/ --regions lines --out boxes.csv, and then: linkage ingest scans/
    --regions boxes --boxes boxes.csv --out records.parquet
    """
    from linkage.config import load_config, update
    from linkage.ingest.show import show_regions
    from linkage.tables import escape_cell, write_table

    languages = lang.split("+") if lang else None
    section = update(load_config(config, settings or ()).ingest, regions=regions, boxes=boxes, languages=languages)
    for place, kind in ((preview, ""), (out, TABLE)):
        if place:
            free(place, overwrite, kind)
    found = show_regions(scans, section, pages=pages, preview=preview, texts=texts)
    if out:
        write_table(found.boxes, out)
    elif not preview:
        cells = found.boxes.map(lambda cell: escape_cell(cell) if isinstance(cell, str) else cell)
        typer.echo(cells.to_csv(index=False, lineterminator="\n"), nl=False)
    for source, page, reason in found.failures:
        typer.echo(f"{source}{f', page {page}' if page else ''}: {reason}", err=True)
    typer.echo(f"{len(found.boxes)} regions on {found.pages} pages", err=True)
