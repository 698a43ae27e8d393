"""Every reader as users reach it: the folder with the damaged file goes in, what was said about it comes out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGES_READ = 6  # of a source: what else it holds is of the same kind

_SHEET = (120, 80)


def scan(folder: Path) -> str:
    """Survey a source and make the parts of its pages, as `linkage ingest` does in its workers.

    Raises:
        InputError: what the survey or the first bad page says.
    """
    from linkage.config import IngestConfig
    from linkage.errors import InputError
    from linkage.ingest.parts import read_part
    from linkage.ingest.work import PageTask, make_part, survey
    from linkage.ocr.engine import NoEngine
    from linkage.ocr.engines import Engines

    (path,) = folder.iterdir()
    seen = survey((path,))
    if seen.reason:
        raise InputError(seen.reason)
    if seen.pages > path.stat().st_size:
        raise AssertionError(f"{seen.pages} pages in {path.stat().st_size} bytes")
    config = IngestConfig(regions="page", ocr="none")
    texts: list[str] = []
    for page in range(1, min(seen.pages, PAGES_READ) + 1):
        part = folder / f"{page}.parquet"
        make_part(PageTask(path, seen.sha256, page, part), config, Engines([NoEngine()]), ())
        table, note = read_part(part)
        if note.reasons:
            assert not note.reasons[0].startswith("a bug"), note.reasons[0]
            raise InputError(note.reasons[0])
        assert len(table) == 1
        texts += table["text"].to_pylist()
    return " ".join(texts)


def transcribed(folder: Path) -> str:
    """Make the parts of pages that have transcripts, or that a METS file lists, as `linkage ingest` does.

    Raises:
        InputError: what the first bad page says.
    """
    from linkage.config import IngestConfig
    from linkage.errors import InputError
    from linkage.ingest.job import IngestJob
    from linkage.ingest.parts import read_part
    from linkage.ingest.work import make_part, survey
    from linkage.scans.pages import find_sources

    config = IngestConfig(regions="lines", ocr="file")
    mets = folder / "mets.xml"
    job = IngestJob(find_sources([mets if mets.exists() else folder]), folder / "out" / "records.parquet", config)
    texts: list[str] = []
    for source in job.sources[:PAGES_READ]:
        seen = survey(job.files(source))
        if seen.reason:
            raise InputError(f"{source.path}: {seen.reason}")
        for task in job.tasks(source, seen):
            make_part(task, config, job.engine, ())
            table, note = read_part(task.part)
            if note.reasons:
                assert not note.reasons[0].startswith("a bug"), note.reasons[0]
                raise InputError(f"{source.path}: {note.reasons[0]}")
            texts += table["text"].to_pylist()
    return " ".join(texts)


def iiif(folder: Path) -> str:
    """Read a IIIF manifest and list what would be fetched."""
    from linkage.scans.fetch import canvas_table
    from linkage.scans.iiif import read_manifest

    table = canvas_table(read_manifest(folder / "manifest.json"), 800)
    return " ".join(map(str, table.to_numpy().ravel()))


def table_of_records(folder: Path) -> str:
    """Take a table of records into a run and read it back, crops included."""
    from linkage.config import IngestConfig
    from linkage.encode.crops import read_crops
    from linkage.ingest.table import import_records
    from linkage.records import Records

    path = next(path for path in folder.iterdir() if path.stem == "records")
    import_records(path, folder / "out" / "records.parquet", IngestConfig(ocr="none"))
    records = Records.open(folder / "out" / "records.parquet")
    for _, crops in records.batches(4):
        read_crops(crops, [""] * len(crops), [])
    return " ".join(records.frame["text"])


def boxes(folder: Path) -> str:
    """Read a table of boxes, assign them to sources and cut a page by them."""
    from PIL import Image

    from linkage.layout.boxes import read_boxes
    from linkage.layout.regions import given_regions
    from linkage.ocr.engine import NoEngine
    from linkage.scans.pages import Page, Source

    read = read_boxes(folder / "boxes.csv")
    assigned = read.assign([Source(name, Path(name)) for name in ("scan.png", "scan.pdf")])
    texts = []
    for given in assigned.values():
        regions, _ = given_regions(Page(Image.new("L", _SHEET), 1.0), NoEngine(), given[:500])
        texts += [region.text for region in regions]
    return " ".join(texts)


def truth(folder: Path) -> str:
    """Read a truth table and join it to records."""
    import pandas as pd

    from linkage.evaluate.truth import attach_truth, read_truth

    read = read_truth(folder / "truth.csv")
    frame = pd.DataFrame(
        {"record_id": [f"r{n}" for n in range(5)], "source": "scan.png", "page": 1}
        | dict.fromkeys(("x0", "y0"), 1.0)
        | dict.fromkeys(("x1", "y1"), 9.0)
    )
    return " ".join(attach_truth(frame, read)["entity_id"])


def config(folder: Path) -> str:
    """Load a configuration, and write it back as a run does."""
    from linkage.config import dump_config, load_config

    return dump_config(load_config(folder / "config.yaml"))


def model(folder: Path) -> str:
    """Load a model with its scorer and look at one crop and one text."""
    from fuzzing.samples import picture
    from linkage.compare.scorer import Scorer
    from linkage.encode.biencoder import BiEncoder

    encoder = BiEncoder.load(str(folder), "cpu")
    Scorer.of_model(folder)
    if encoder.ink:
        encoder.look([picture()])
    encoder.encode_image([picture()])
    encoder.encode_text(["Dupont & Fils"])
    return encoder.name


def embeddings(folder: Path) -> str:
    """Open an embeddings folder and build an index from it."""
    from linkage.config import Config
    from linkage.jobs import build_exemplar_index

    manifest = build_exemplar_index(folder / "records.parquet", folder / "new", Config(), folder / "embeddings")
    return str(manifest["model"])


def index(folder: Path) -> str:
    """Link the records to the exemplars of an index, through a map where it is of another model."""
    from linkage.config import Config
    from linkage.jobs import link_queries

    out = folder / "links.csv"
    links = link_queries(
        folder / "records.parquet",
        folder / "index",
        out,
        Config(),
        model="linkage-line",
        embeddings=folder / "embeddings",
    )
    return str(links) + out.read_text(encoding="utf-8", errors="replace")[:2000]


def scorer(folder: Path) -> str:
    """Load a scorer and let it judge."""
    import numpy as np
    import pandas as pd

    from linkage.compare.scorer import FEATURES, Scorer

    loaded = Scorer.load(folder / "scorer.json")
    alike = pd.DataFrame(np.eye(len(FEATURES)), columns=list(FEATURES))
    chances = loaded.probability(alike)
    assert np.isfinite(chances).all() and ((chances >= 0) & (chances <= 1)).all()
    assert np.isfinite(loaded.distance(alike)).all()
    return str(loaded.origin)


def ledger(folder: Path) -> str:
    """Everything that `linkage ledger` and a run do with a ledger."""
    from linkage.jobs import export_crosswalk, export_members
    from linkage.ledger.ledger import Ledger, RecordGroup

    path = folder / "firms.ledger"
    with Ledger.open(path) as book:
        runs, members = book.runs(), book.members()
        for stay in members[:3]:
            book.events(stay.entity_id)
            book.stays(stay.record_id)
        export_members(path, folder / "members.csv")
        if runs:
            export_crosswalk(path, 0, runs[-1].run, folder / "crosswalk.csv")
        book.record([RecordGroup(tuple("abx"), "clustered")], command="fuzz")
        book.undo()
    return " ".join(stay.entity_id for stay in members)


def run(folder: Path) -> str:
    """Explain a record from a links table and the manifest beside it."""
    from linkage.explain.evidence import explain_run
    from linkage.explain.text import explanation_lines

    return "\n".join(explanation_lines(explain_run(folder / "links.parquet", "r1")))


READERS: dict[str, Callable[[Path], str]] = {
    **dict.fromkeys(("pdf", "tiff", "png", "jpeg", "webp", "jp2", "gif", "bmp", "ppm"), scan),
    **dict.fromkeys(("alto", "page", "hocr", "mets"), transcribed),
    "iiif": iiif,
    "records": table_of_records,
    "parquet": table_of_records,
    "boxes": boxes,
    "truth": truth,
    "config": config,
    "model": model,
    "embeddings": embeddings,
    "index": index,
    "map": index,
    "scorer": scorer,
    "ledger": ledger,
    "run": run,
}


def sharing(kinds: Any = READERS) -> dict[str, int]:
    """How 100 % of the files are shared among the kinds, in parts of a thousand."""
    heavy = {
        "model": 20,
        "embeddings": 30,
        "index": 30,
        "map": 20,
        "run": 25,
        "scorer": 30,
        "ledger": 40,
        "ppm": 30,
        "bmp": 30,
    }
    often = {"pdf": 120, "tiff": 120, "png": 90, "jpeg": 70}
    return {kind: heavy.get(kind, often.get(kind, 50)) for kind in kinds}
