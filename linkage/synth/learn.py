"""Learning how a reading engine fails: real OCR of drawn views, aligned with their truth, counted by character."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from linkage.errors import InputError
from linkage.layout.regions import joined
from linkage.ocr.engine import Engine, Word
from linkage.ocr.tesseract import TesseractEngine
from linkage.progress import progress
from linkage.synth.names import make_entities
from linkage.synth.noise import BINS, QUANTILES, level_key
from linkage.synth.views import DrawnRecord, draw_view
from linkage.tables import replacing
from linkage.text import clean

_BATCH = 100  # crops per call of the engine
_LOST = 0.6  # from this error rate on, a reading is of something else and its alignment means nothing
_SHORT = 2  # longest piece of text or reading whose confusion is counted
_RARE = 2  # confusions seen less often are chance


def read_views(entities: int, seed: int, engines: Mapping[bool, Engine]) -> Iterator[tuple[DrawnRecord, list[Word]]]:
    """Draw a view of each entity and read it; yields view and reading, columns left out.

    Args:
        entities: how many.
        seed: the same seed and fonts give the same views.
        engines: what reads Japanese views (True) and the others (False).
    """
    made = make_entities(entities, seed)
    with progress("reading", entities) as advance:
        for japanese, engine in engines.items():
            chosen = [n for n, entity in enumerate(made) if (entity.kind == "japanese") == japanese]
            for first in range(0, len(chosen), _BATCH):
                numbers = chosen[first : first + _BATCH]
                views = [draw_view(made[n], Random(f"{seed}/read/{n}")) for n in numbers]
                for view, words in zip(views, engine.read_crops([view.image for view in views]), strict=True):
                    if view.layout != "column":
                        yield view, words
                advance(len(numbers))


def learn_noise(out: Path, *, entities: int, seed: int) -> dict[str, Any]:
    """Read views of `entities` drawn entities and write what went wrong as the JSON that `corrupt` samples.

    The file holds `pieces` (what stood there, up to two characters: what was read: how often), `seen` (how often a
    character stood anywhere) and `levels` (quantiles of the error rate by script, hand and strength of the scan).

    Args:
        out: JSON file, replaced atomically.
        entities: views to read, 100 or more.
        seed: the same seed, fonts and Tesseract give the same file.

    Returns:
        Counts: views read, confusions kept, and the mean error rate.

    Raises:
        InputError: fewer than 100 entities.
        DependencyError: Tesseract, or its English or Japanese, is not installed.
    """
    if entities < 100:
        raise InputError(f"{out}: 100 entities or more are needed to learn from, not {entities}")
    pieces: dict[str, Counter[str]] = defaultdict(Counter)
    seen: Counter[str] = Counter()
    rates: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in range(BINS)])
    engines = {False: TesseractEngine(("eng",), 3, 600.0), True: TesseractEngine(("jpn",), 3, 600.0)}
    for view, words in read_views(entities, seed, engines):
        reading = joined(" ".join(word.text for word in words))
        truth = clean(view.truth)
        rate, found = _compared(truth, reading)
        rates[level_key(truth, written=view.written)][view.bin].append(rate)
        if rate < _LOST:
            seen.update(truth)
            for piece, other in found:
                pieces[piece][other] += 1
    kept = {piece: {o: n for o, n in counts.most_common() if n >= _RARE} for piece, counts in sorted(pieces.items())}
    levels = {
        key: [np.round(np.quantile(rows or [0.0], QUANTILES), 3).tolist() for rows in bins]
        for key, bins in sorted(rates.items())
    }
    kept = {piece: counts for piece, counts in kept.items() if counts}
    content = {
        "pieces": kept,
        "seen": {c: n for c, n in sorted(seen.items()) if n >= _RARE},
        "levels": levels,
    }
    with replacing(out) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    everything = [rate for bins in rates.values() for rows in bins for rate in rows]
    return {
        "views": len(everything),
        "confusions": sum(len(counts) for counts in kept.values()),
        "error_rate": round(float(np.mean(everything)), 4),
    }


def _compared(truth: str, reading: str) -> tuple[float, list[tuple[str, str]]]:
    """The character error rate (1 at most) and the short pieces of `truth` that were read as something else."""
    from rapidfuzz.distance import Levenshtein

    found, start, other_start, end, other_end = [], 0, 0, 0, 0
    for block in Levenshtein.opcodes(truth, reading):
        if block.tag != "equal":
            end, other_end = block.src_end, block.dest_end
            continue
        found.append((truth[start:end], reading[other_start:other_end]))
        start, other_start, end, other_end = block.src_end, block.dest_end, block.src_end, block.dest_end
    found.append((truth[start:end], reading[other_start:other_end]))
    short = [(a, b) for a, b in found if (a or b) and max(len(a), len(b)) <= _SHORT]
    return min(1.0, Levenshtein.distance(truth, reading) / max(1, len(truth))), short
