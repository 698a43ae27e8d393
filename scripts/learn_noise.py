"""Learn again how Tesseract misreads drawn lines; writes linkage/synth/confusions.json, which the package ships."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from linkage.errors import LinkageError
from linkage.synth import noise
from linkage.synth.learn import learn_noise


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(noise.__file__).with_name("confusions.json"))
    parser.add_argument("--entities", type=int, default=9000, help="views to read (default: 9000, three minutes)")
    parser.add_argument("--seed", type=int, default=99)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        print(json.dumps(learn_noise(options.out, entities=options.entities, seed=options.seed)))
    except LinkageError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
