"""Draw the demonstration: two editions of a trade directory as scanned pages, and the truth about them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from linkage.errors import LinkageError
from linkage.synth.directory import write_editions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write 1898/, 1908/ and truth.csv into")
    parser.add_argument("--firms", type=int, default=160, help="entries per edition (default: 160)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        write_editions(options.out, firms=options.firms, seed=options.seed)
    except LinkageError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
