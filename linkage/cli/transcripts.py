"""Commands that exchange with others: fetch, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linkage.choices import TranscriptFormat, either, names
from linkage.cli.app import AsJson, ConfigFile, Overwrite, RecordsFile, Settings, app
from linkage.console import print_json, print_summary, print_table
from linkage.errors import UsageError


@app.command()
def fetch(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="IIIF manifest (JSON, version 2 or 3) on disk.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; a cut-off call is continued.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Pixels across; default: as large as they are.")] = None,
    only_list: Annotated[bool, typer.Option("--list", help="Print the canvases; make no request.")] = False,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Fetch the images of a IIIF manifest; the only command that uses a network.

    Example: linkage fetch manifest.json --out scans/ --width 3000
    """
    from linkage.scans.fetch import canvas_table, fetch_images
    from linkage.scans.iiif import read_manifest

    if only_list:
        table = canvas_table(read_manifest(manifest), width)
        rows = table[["source", "label", "canvas_id", "image_url"]]
        if as_json:
            print_json(rows.to_dict("records"))
        else:
            print_table(list(rows.columns), rows.itertuples(index=False))
        return
    if out is None:
        raise UsageError("give --out FOLDER to fetch into, or --list to see the canvases")
    from linkage.config import load_config

    limit = load_config(config, settings or ()).ingest.max_failures
    counts = fetch_images(manifest, out, width=width, max_failures=limit, overwrite=overwrite)
    print_summary(counts | {"out": str(out)}, as_json)


@app.command()
def export(
    records: RecordsFile,
    form: Annotated[str, typer.Option("--format", help=f"What to write: {either(names(TranscriptFormat))}.")],
    out: Annotated[Path, typer.Option(help="Folder to write into: one file per page, called as its scan.")],
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write records as ALTO, PAGE XML or hOCR, for other programs and for `ingest --ocr file`.

    Example: linkage export records.parquet --format page --out transcripts/
    """
    from linkage.transcripts.export import export_records

    counts = export_records(records, out, form, overwrite=overwrite)
    print_summary(counts | {"out": str(out)}, as_json)
