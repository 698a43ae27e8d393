"""Two editions of a trade directory, drawn as scanned pages, with the truth about every entry."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
from PIL import Image

from linkage.errors import InputError
from linkage.synth.firms import Firm, entry, two_editions
from linkage.synth.sheet import Box, PrintedEntry, PrintedSheet, PrintStyle, scan, set_sheets
from linkage.tables import replacing, write_table

EARLIER, LATER = "1898", "1908"
TITLE = "THE BOROUGH TRADES DIRECTORY"
_STYLES = {
    EARLIER: PrintStyle(
        families=("Old Standard TT", "Libertinus Serif", "Liberation Serif", "DejaVu Serif"),
        bold_names=False,
        width=1654,
        height=2339,
        columns=2,
        size=28,
        pitch=36,
        weight=0.4,
        ragged=1.3,
        paper=205,
        ink=52,
        blur=1.0,
        grain=6.0,
        through=0.10,
    ),
    LATER: PrintStyle(
        families=("Linux Libertine O", "EB Garamond", "Liberation Serif", "DejaVu Serif"),
        bold_names=True,
        width=2200,
        height=2400,
        columns=3,
        size=24,
        pitch=36,
        weight=-0.05,
        ragged=0.72,
        paper=226,
        ink=70,
        blur=0.9,
        grain=6.0,
        through=0.06,
    ),
}


def write_editions(out: Path, *, firms: int, seed: int) -> None:
    """Draw two editions of a directory and write their pages and the truth.

    `out`/1898/page_01.jpg ... and `out`/1908/pages.tif (all pages in one file) are grey scans at about 200 dpi;
    every entry stands on one printed line. `out`/truth.csv has one row per entry: record_id, source, page,
    x0, y0, x1, y1 (pixels), text, entity_id, split (train, val, test: 40/20/40 by entity) and role (exemplar in
    the earlier edition; in the later query, or query_nomatch for a firm that is new).

    Args:
        out: folder, made where missing.
        firms: entries per edition, 4 or more.
        seed: the same seed and fonts give the same pages.

    Raises:
        InputError: too few firms.
        DependencyError: no font with Latin letters is installed.
    """
    if firms < 4:
        raise InputError(f"{out}: a directory needs 4 firms or more, not {firms}")
    rng = Random(f"{seed}/directory")
    earlier, later = two_editions(firms, rng)
    split_of = _splits([*earlier, *later], rng)
    known = {firm.entity_id for firm in earlier}
    rows: list[dict[str, Any]] = []
    for year, listed in ((EARLIER, earlier), (LATER, later)):
        pages = _pages(year, listed, rng)
        sources = _save(out, year, [image for image, _ in pages])
        texts = {firm.entity_id: "".join(entry(firm, short=year == EARLIER)) for firm in listed}
        for (source, page), (_, boxes) in zip(sources, pages, strict=True):
            for key, box in boxes.items():
                role = "exemplar" if year == EARLIER else "query" if key in known else "query_nomatch"
                row = {"record_id": f"t_{len(rows) + 1:05d}", "source": source, "page": page}
                row |= dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
                rows.append(row | {"text": texts[key], "entity_id": key, "split": split_of[key], "role": role})
    write_table(pd.DataFrame(rows), out / "truth.csv")


def _splits(firms: list[Firm], rng: Random) -> dict[str, str]:
    ids = sorted({firm.entity_id for firm in firms})
    rng.shuffle(ids)
    train, val = round(0.4 * len(ids)), round(0.6 * len(ids))
    return {key: "train" if n < train else "val" if n < val else "test" for n, key in enumerate(ids)}


def _pages(year: str, firms: list[Firm], rng: Random) -> list[tuple[Image.Image, dict[str, Box]]]:
    style = _STYLES[year]
    entries = [PrintedEntry(firm.entity_id, firm.surname[0], *entry(firm, short=year == EARLIER)) for firm in firms]
    sheets: list[PrintedSheet] = set_sheets(entries, f"{TITLE}, {year}.", style)
    backs = sheets[1:] + sheets[:1]
    return [
        scan(sheet, back, number, style, rng)
        for number, (sheet, back) in enumerate(zip(sheets, backs, strict=True), start=1)
    ]


def _save(out: Path, year: str, images: list[Image.Image]) -> list[tuple[str, int]]:
    """Write the pages; returns (source, page) of each."""
    (out / year).mkdir(parents=True, exist_ok=True)
    if year == LATER:
        with replacing(out / year / "pages.tif") as temporary:
            first, *others = images
            options = {"compression": "jpeg", "quality": 80, "dpi": (200, 200)}
            first.save(temporary, "TIFF", save_all=True, append_images=others, **options)
        return [(f"{year}/pages.tif", page) for page in range(1, len(images) + 1)]
    names = [f"{year}/page_{page:02d}.jpg" for page in range(1, len(images) + 1)]
    for name, image in zip(names, images, strict=True):
        with replacing(out / name) as temporary:
            image.save(temporary, "JPEG", quality=70, dpi=(200, 200))
    return [(name, 1) for name in names]
