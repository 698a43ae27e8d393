"""What an ingest of thousands of pages holds in memory, and whether being killed changes its table: `make bench`.

One document of n pages, as a multi-page TIFF and as a PDF, is ingested uncut and then again, killed at random moments
(kill -9, seeded) and started anew until it ends; the files that come out must be the same to the byte.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import psutil
from PIL import Image, ImageDraw, ImageFont

from linkage.config import IngestConfig
from linkage.ingest.ingest import ingest
from linkage.synth.names import make_entities

KINDS = ("tif", "pdf")
OUTPUTS = ("records.parquet", "records.pages.csv", "records.failures.csv")
_SECONDS_BETWEEN_LOOKS = 0.1


def write_document(path: Path, pages: int) -> None:
    """A document of small pages, each with the name of another firm."""
    font = ImageFont.truetype("DejaVuSans.ttf", 26)
    drawn = []
    for number, entity in enumerate(make_entities(pages, 0), start=1):
        sheet = Image.new("1", (640, 120), 1)
        ImageDraw.Draw(sheet).text((20, 20), f"{entity.name[:36]}\n{number}, Market Street", font=font, fill=0)
        drawn.append(sheet)
    options = {"compression": "group4"} if path.suffix == ".tif" else {"resolution": 100}
    drawn[0].save(path, save_all=True, append_images=drawn[1:], **options)


def started(document: Path, out: Path, config: IngestConfig) -> multiprocessing.Process:
    process = multiprocessing.get_context("spawn").Process(target=ingest, args=([document], out, config))
    process.start()
    return process


def parts_of(out: Path) -> int:
    return len(list(out.with_name(out.name + ".partial").rglob("[!.]*.parquet")))


def memory(process: psutil.Process) -> int:
    """Bytes that a process and those it started hold, shared pages once for each."""
    held = 0
    for one in (process, *process.children(recursive=True)):
        try:
            held += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return held


def uncut(document: Path, out: Path, config: IngestConfig, pages: int) -> str:
    """Ingest in one go; tells the seconds, and the peak of memory in each quarter of the pages and while merging."""
    start = time.perf_counter()
    process = started(document, out, config)
    peaks = [0] * 5
    while process.exitcode is None and process.pid:
        try:
            quarter = 4 if out.exists() else min(4 * parts_of(out) // pages, 4)
            peaks[quarter] = max(peaks[quarter], memory(psutil.Process(process.pid)))
        except (psutil.NoSuchProcess, FileNotFoundError):
            pass
        process.join(_SECONDS_BETWEEN_LOOKS)
    seconds = time.perf_counter() - start
    quarters = " ".join(f"{peak / 1e6:.0f}" for peak in peaks)
    return f"{seconds:7.1f} s {pages / seconds:6.1f} pages/s   peak MB by quarter and while merging: {quarters}"


def cut(document: Path, out: Path, config: IngestConfig, pages: int, kills: int) -> int:
    """Ingest, killed when so many pages are done as a seed says; returns how often it was."""
    done = 0
    for moment in sorted(random.Random(7).sample(range(1, pages), kills)):
        process = started(document, out, config)
        while process.exitcode is None and parts_of(out) < moment:
            process.join(_SECONDS_BETWEEN_LOOKS)
        if process.exitcode is None and process.pid:
            os.kill(process.pid, signal.SIGKILL)
            done += 1
        process.join()
    process = started(document, out, config)
    process.join()
    return done


def measure(kind: str, pages: int, kills: int, ocr: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _measure(Path(folder, f"document.{kind}"), pages, kills, ocr)


def _measure(document: Path, pages: int, kills: int, ocr: bool) -> None:
    write_document(document, pages)
    settings = {"regions": "lines"} if ocr else {"regions": "page", "ocr": "none"}
    config = IngestConfig(dpi=100, **settings)
    whole, parted = (document.parent / name / OUTPUTS[0] for name in ("uncut", "cut"))
    name = f"{pages} pages, {document.suffix[1:]}, {'tesseract' if ocr else 'no OCR'}"
    print(f"{name:32} {uncut(document, whole, config, pages)}", flush=True)
    killed = cut(document, parted, config, pages, kills)
    same = all(whole.with_name(one).read_bytes() == parted.with_name(one).read_bytes() for one in OUTPUTS)
    print(f"{name:32} killed {killed} times: {'the same bytes' if same else 'OTHER BYTES'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, nargs="+", default=[500, 1000, 2000], help="without OCR")
    parser.add_argument("--read", type=int, nargs="*", default=[200], help="with Tesseract")
    parser.add_argument("--kills", type=int, default=10)
    arguments = parser.parse_args()
    for ocr, counts in ((False, arguments.pages), (True, arguments.read)):
        for pages in counts:
            for kind in KINDS:
                measure(kind, pages, arguments.kills, ocr)


if __name__ == "__main__":
    main()
