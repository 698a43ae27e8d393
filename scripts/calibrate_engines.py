"""Count how right the OCR engines are by how sure they were, on drawn crops; writes linkage/ocr/calibration.json."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from rapidfuzz.distance import Levenshtein

from linkage.errors import LinkageError
from linkage.layout.regions import joined
from linkage.ocr import calibration
from linkage.ocr.calibration import fit_map, mean_confidence, script_of
from linkage.ocr.engine import Engine
from linkage.ocr.recogniser import Recogniser
from linkage.ocr.tesseract import TesseractEngine
from linkage.synth.learn import read_views
from linkage.tables import replacing
from linkage.text import FOLDING


def calibrate(out: Path, entities: int, seed: int) -> None:
    """Draw a view of each entity, read it with every engine, and fit each engine's map.

    Args:
        out: JSON file, replaced atomically.
        entities: views drawn.
        seed: the same seed, fonts and engines give the same file.
    """
    languages = {False: ("eng",), True: ("jpn",)}
    engines: dict[str, dict[bool, Engine]] = {
        "tesseract": {japanese: TesseractEngine(names, 3, 600.0) for japanese, names in languages.items()},
        "recogniser": {japanese: Recogniser(names, 600.0) for japanese, names in languages.items()},
    }
    maps: dict[str, dict[str, object]] = defaultdict(dict)
    for name, by_script in engines.items():
        seen: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for view, words in read_views(entities, seed, by_script):
            confidence = mean_confidence(words)
            if confidence is not None:
                text = joined(" ".join(word.text for word in words))
                seen[script_of(text)].append((confidence, share_right(text, view.truth)))
        for script, pairs in sorted(seen.items()):
            confidence, right = np.array(pairs).T
            maps[name][script] = fit_map(confidence, right)
            print(name, script, json.dumps(maps[name][script]), flush=True)
    with replacing(out) as temporary:
        temporary.write_text(json.dumps(maps, indent=1) + "\n", encoding="utf-8")


def share_right(text: str, truth: str) -> float:
    """One minus the character error rate of a folded reading, 0..1."""
    return max(
        0.0, 1.0 - Levenshtein.distance(FOLDING.fold(text), FOLDING.fold(truth)) / max(1, len(FOLDING.fold(truth)))
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=calibration.FILE)
    parser.add_argument("--entities", type=int, default=1500, help="views to read with every engine (default: 1500)")
    parser.add_argument("--seed", type=int, default=4321)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        calibrate(options.out, options.entities, options.seed)
    except LinkageError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
