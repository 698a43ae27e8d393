"""Commands that exchange with others: fetch, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linkage.cli.app import AsJson, Overwrite, RecordsFile, app
from linkage.console import print_summary


@app.command()
def export(
    records: RecordsFile,
    form: Annotated[str, typer.Option("--format", help="alto, page or hocr.")],
    out: Annotated[Path, typer.Option(help="Folder to write into: one file per page, called as its scan.")],
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write records as ALTO, PAGE XML or hOCR, for other programs and for `ingest --ocr file`.

    Example: linkage export records.parquet --format page --out transcripts/
    """
    from linkage.transcripts.export import check_format, export_records

    counts = export_records(records, out, check_format(form), overwrite=overwrite)
    print_summary(counts | {"out": str(out)}, as_json)
