"""How fast OCR engines read, and how well: crops and pages, against pytesseract as it is called most often.

Engines take turns, a part of the crops or one page at a time, so that what else the machine does falls on all alike.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
from PIL import Image
from rapidfuzz.distance import Levenshtein
from rapidfuzz.fuzz import partial_ratio
from results import Row, measured

from linkage.config import IngestConfig
from linkage.layout.regions import joined
from linkage.machine import cores
from linkage.ocr.engine import Word
from linkage.ocr.engines import Engines, make_engine, reading, surest
from linkage.records import Records
from linkage.scans.images import decode_crop, open_image
from linkage.synth.directory import EARLIER, write_editions
from linkage.synth.records import synth_records
from linkage.tables import read_table
from linkage.text import FOLDING

Reader = Callable[[Sequence[Image.Image]], list[str]]
_PART = 40  # crops an engine reads before it is the next one's turn: about those of a page


def crops_of(n: int, folder: Path, table: Path | None = None) -> tuple[list[Image.Image], list[str]]:
    """Crops with what is printed on them: the first n of a table of images and texts, or drawn Latin ones."""
    if table:
        rows = pd.read_csv(table, keep_default_na=False)[:n]
        return [open_image((table.parent / name).read_bytes()) for name in rows["image"]], rows["text"].tolist()
    synth_records(folder / "crops.parquet", entities=2 * n, views=1, seed=0)
    records = Records.open(folder / "crops.parquet")
    crops = [crop for _, batch in records.batches(256) for crop in batch]
    pairs = zip(crops, records.frame["truth"], strict=True)
    latin = [(decode_crop(crop), truth) for crop, truth in pairs if crop and FOLDING.fold(truth).isascii()][:n]
    return [image for image, _ in latin], [truth for _, truth in latin]


def rows(crops: int, firms: int, table: Path | None, folder: Path) -> list[Row]:
    """OCR of crops and of pages, by engine."""
    return _crop_rows(*crops_of(crops, folder, table)) + _page_rows(*pages_of(firms, folder / "directory"))


def _crop_rows(images: Sequence[Image.Image], truth: Sequence[str]) -> list[Row]:
    """One row per way to read crops, with the character error rate, folded."""
    import pytesseract

    def plain(some: Sequence[Image.Image]) -> list[str]:
        with _default_threads():
            return [pytesseract.image_to_string(image, config="--psm 7") for image in some]

    ways: dict[str, Reader] = {"pytesseract per crop, default threads": plain}
    with ProcessPoolExecutor(cores(), get_context("spawn")) as pool:
        for name in ("tesseract", "recogniser", "best"):
            engines = make_engine(_config(name))
            ways[f"--ocr {name}"] = partial(_read, engines)
            ways[f"--ocr {name}, a worker per core"] = partial(_read_parallel, pool, engines)
        return _measured("reading crops", ways, images, _PART, partial(_error_rate, truth=truth))


def pages_of(firms: int, folder: Path) -> tuple[list[Image.Image], list[list[str]]]:
    """Drawn pages of a directory in two columns, and the entries printed on each."""
    write_editions(folder, firms=firms, seed=0)
    truth = read_table(folder / "truth.csv")
    pages = truth[truth["source"].str.startswith(EARLIER)].groupby("source")["text"].apply(list)
    return [open_image((folder / name).read_bytes()) for name in pages.index], pages.tolist()


def _page_rows(images: Sequence[Image.Image], truth: Sequence[Sequence[str]]) -> list[Row]:
    """One row per way to read pages, with the error rate of the entries, each where it is read best."""
    import pytesseract

    def plain(some: Sequence[Image.Image]) -> list[str]:
        with _default_threads():
            return [pytesseract.image_to_string(image) for image in some]

    with ProcessPoolExecutor(cores(), get_context("spawn")) as pool:
        ways: dict[str, Reader] = {"pytesseract, default threads": plain}
        for name in ("tesseract", "recogniser"):
            engine = make_engine(_config(name))
            ways[f"--ocr {name}, a worker per core"] = partial(_pages_parallel, pool, engine)
        return _measured("reading pages", ways, images, cores(), partial(_entry_error_rate, truth=truth))


def _measured(
    job: str,
    ways: dict[str, Reader],
    images: Sequence[Image.Image],
    part: int,
    error_rate: Callable[[list[str]], float],
) -> list[Row]:
    for read in ways.values():
        read(images[:2])  # models load at the first call
    seconds = dict.fromkeys(ways, 0.0)
    peaks = dict.fromkeys(ways, 0.0)
    texts: dict[str, list[str]] = {name: [] for name in ways}
    for start in range(0, len(images), part):
        for name, read in ways.items():
            took, peak, found = measured(partial(read, images[start : start + part]))
            seconds[name] += took
            peaks[name] = max(peaks[name], peak)
            texts[name] += found
    return [
        Row(job, len(images), name, seconds[name], peaks[name], {"error rate": error_rate(texts[name])})
        for name in ways
    ]


def _read(engines: Engines, images: Sequence[Image.Image]) -> list[str]:
    """What ingest makes of crops: the surest reading of each."""
    found = [engine.read_crops(images) for engine in engines.each]
    return [
        joined(surest([reading(one, words) for one, words in zip(engines.each, read, strict=True)]).text_raw)
        for read in zip(*found, strict=True)
    ]


def _read_parallel(pool: ProcessPoolExecutor, engines: Engines, images: Sequence[Image.Image]) -> list[str]:
    step = -(-len(images) // cores())
    parts = [images[start : start + step] for start in range(0, len(images), step)]
    return [text for texts in pool.map(partial(_read, engines), parts) for text in texts]


def _pages_parallel(pool: ProcessPoolExecutor, engines: Engines, images: Sequence[Image.Image]) -> list[str]:
    return [_page_text(words) for words in pool.map(engines.read_page, images)]


def _page_text(words: Sequence[Word]) -> str:
    return joined(" ".join(word.text for word in words))


def _error_rate(texts: Sequence[str], truth: Sequence[str]) -> float:
    pairs = [(FOLDING.fold(text), FOLDING.fold(right)) for text, right in zip(texts, truth, strict=True)]
    return sum(Levenshtein.distance(*pair) for pair in pairs) / sum(len(right) for _, right in pairs)


def _entry_error_rate(texts: Sequence[str], truth: Sequence[Sequence[str]]) -> float:
    """Mean over the letters of 1 - rapidfuzz's partial ratio of an entry in its page."""
    wrong = letters = 0.0
    for text, entries in zip(texts, truth, strict=True):
        page = FOLDING.fold(text)
        for entry in map(FOLDING.fold, entries):
            wrong += len(entry) * (1 - partial_ratio(entry, page) / 100)
            letters += len(entry)
    return wrong / letters


def _config(name: str) -> IngestConfig:
    return IngestConfig.model_validate({"ocr": name})


@contextmanager
def _default_threads() -> Iterator[None]:
    """Let Tesseract take the threads it takes by itself."""
    before = {name: os.environ.pop(name) for name in ("OMP_THREAD_LIMIT", "OMP_NUM_THREADS") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
