"""Commands that make records: ingest, synth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linkage.choices import OCR_ALONE, OCR_ENGINES, Existing, Rotation, either, names
from linkage.cli.app import (
    AsJson,
    Boxes,
    ConfigFile,
    Engine,
    Inputs,
    Languages,
    MaxFailures,
    Overwrite,
    Regions,
    Settings,
    Shard,
    app,
)
from linkage.cli.claims import free
from linkage.console import print_shard, print_summary
from linkage.places import RECORDS


@app.command()
def ingest(
    scans: Inputs,
    out: Annotated[Path, typer.Option(help="Records table to write (.parquet); a cut-off call is continued.")],
    regions: Regions = None,
    boxes: Boxes = None,
    header_lines: Annotated[int | None, typer.Option(help="header: first N lines; 0 = first text block.")] = None,
    tag: Annotated[str | None, typer.Option(help="tagged: what the transcript calls these blocks or lines.")] = None,
    ocr: Annotated[
        str | None,
        typer.Option(
            help=f"Who reads: {', '.join(OCR_ENGINES)}, both joined by +, {either(OCR_ALONE)}; "
            "file: ALTO, PAGE or hOCR beside the scan."
        ),
    ] = None,
    lang: Languages = None,
    psm: Annotated[int | None, typer.Option(help="Tesseract page segmentation mode.")] = None,
    dpi: Annotated[int | None, typer.Option(help="Resolution at which PDF pages are rendered.")] = None,
    rotate: Annotated[
        str | None, typer.Option(help=f"Degrees clockwise to turn pages: {either(names(Rotation))}.")
    ] = None,
    deskew: Annotated[bool | None, typer.Option("--deskew", help="Take off the tilt of a page's lines.")] = None,
    frame: Annotated[bool | None, typer.Option("--frame", help="Crop pages to the sheet and its ink.")] = None,
    contrast: Annotated[bool | None, typer.Option("--contrast", help="Even out light and contrast.")] = None,
    rescans: Annotated[bool | None, typer.Option("--rescans", help="Find sheets that were scanned twice.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; 0 = one per core.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    max_failures: MaxFailures = None,
    existing: Annotated[
        str,
        typer.Option(
            help=f"An earlier --out: {either(names(Existing))}; skip what is done, retry what was set aside, or refuse."
        ),
    ] = "skip",
    engine: Engine = "local",
    shard: Shard = None,
    as_json: AsJson = False,
) -> None:
    """Read scans into records: one row per region, with its text and its crop.

    Example: linkage ingest scans/ --regions lines --lang eng --out records.parquet

    Only what was set aside, with more time: linkage ingest scans/ --regions lines --lang eng --out records.parquet
    --existing retry --set ingest.page_seconds=600

    On 16 machines of a Slurm cluster, then joined: sbatch --array=1-16 --wrap 'linkage ingest scans/ --out
    records.parquet --shard $SLURM_ARRAY_TASK_ID/16'; linkage ingest scans/ --out records.parquet
    """
    from linkage.config import load_config, update
    from linkage.ingest.ingest import ingest as ingest_scans
    from linkage.ingest.ingest import ingest_shard
    from linkage.workers.share import Share

    section = update(
        load_config(config, settings or ()).ingest,
        regions=regions,
        boxes=boxes,
        header_lines=header_lines,
        tag=tag,
        ocr=ocr,
        languages=lang.split("+") if lang else None,
        psm=psm,
        dpi=dpi,
        rotate=rotate,
        deskew=deskew,
        frame=frame,
        contrast=contrast,
        rescans=rescans,
        workers=workers,
        max_failures=max_failures,
    )
    if shard:
        did = ingest_shard(scans, out, section, Share.read(shard), existing=existing, engine=engine)
        print_shard(did.shard, did.pages, did.of, "pages read", as_json)
        return
    summary = ingest_scans(scans, out, section, existing=existing, engine=engine)
    print_summary(
        {
            "sources": summary.sources,
            "pages": summary.pages,
            "records": summary.records,
            "duplicates": summary.duplicates,
            "set_aside": len(summary.failures),
            "out": str(out),
        },
        as_json,
    )


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

    free(out, overwrite, RECORDS)
    print_summary(draw_records(out, entities=entities, views=views, seed=seed, workers=workers), as_json)
