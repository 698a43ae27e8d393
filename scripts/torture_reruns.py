"""Change a run's inputs, labels, settings and model at random, again and again; every re-run must equal a fresh run.

Usage: python scripts/torture_reruns.py --sequences 200 --seed 1
"""

from __future__ import annotations

import argparse
import collections
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from hypothesis import HealthCheck, Phase, given, seed, settings
from rerun import compare, sequences


def main() -> int:
    """Try sequences; print every one that ends otherwise; 1 if there is any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    wrong: list[str] = []
    steps: collections.Counter[str] = collections.Counter()
    ends: collections.Counter[str] = collections.Counter()
    start = time.monotonic()

    @seed(asked.seed)
    @settings(
        max_examples=asked.sequences,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(sequences)
    def one(sequence):  # type: ignore[no-untyped-def]
        with tempfile.TemporaryDirectory() as folder:
            found = compare(Path(folder), sequence[0], sequence[1], ends)
        steps.update(f"{kind} {name}" if kind == "set" else kind for kind, name, _ in sequence[1])
        steps["sequences"] += 1
        if found:
            wrong.append(f"{sequence}: {'; '.join(found)}")
            print(wrong[-1], flush=True)
        if steps["sequences"] % 10 == 0:
            print(f"{steps['sequences']} sequences, {len(wrong)} wrong, {time.monotonic() - start:.0f} s", flush=True)

    one()
    changes = sum(steps.values()) - steps["sequences"]
    print(f"{steps['sequences']} sequences of {changes} changes, {len(wrong)} wrong")
    for told in (ends, steps):
        print(", ".join(f"{name} {n}" for name, n in sorted(told.items())))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
