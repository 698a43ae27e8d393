"""How often the 95 % interval of a share holds the true one: simulated rows, alone and in entities.

Prints a table: the percentile bootstrap over entities beside the interval that the figures have.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import pandas as pd

from linkage.evaluate.intervals import CONFIDENCE, share_interval

SHARES, SIZES = (0.5, 0.9, 0.97, 0.99), (20, 50, 100, 200, 500)
KINDS = ("alone", "in fives", "unequal")


def sizes_of(kind: str, n: int) -> np.ndarray:
    """Rows of each entity, int64 (g,): one each, five each, or 1 to some 15 (geometric, mean 3.3)."""
    if kind == "alone":
        return np.ones(n, dtype=np.int64)
    if kind == "in fives":
        return np.full(n // 5, 5, dtype=np.int64)
    drawn = np.cumsum(np.random.default_rng(1).geometric(0.3, n))
    ends = np.append(drawn[drawn < n], n)
    return np.diff(ends, prepend=0)


def drawn_hits(share: float, sizes: np.ndarray, alike: float, times: int, rng: np.random.Generator) -> np.ndarray:
    """Right rows of each entity, (times, g): rows of one entity agree with correlation `alike` (0: not, 1: wholly)."""
    shape = (times, len(sizes))
    if alike == 0:
        return rng.binomial(sizes, share, shape)
    if alike == 1:
        return np.asarray((rng.random(shape) < share) * sizes)
    spread = (1 - alike) / alike
    return rng.binomial(sizes, rng.beta(share * spread, (1 - share) * spread, shape))


def percentile_interval(hits: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """The percentile bootstrap over entities, of 400 resamples."""
    times = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=400)
    low, high = np.quantile(times @ hits / (times @ sizes), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def cases() -> Iterator[tuple[str, float, int, float]]:
    """Kind of entities, agreement within them, rows, true share."""
    for kind in KINDS:
        for alike in (0.0,) if kind == "alone" else (0.0, 0.3, 1.0):
            for n in SIZES:
                for share in SHARES:
                    yield kind, alike, n, share


def covered(
    kind: str, alike: float, n: int, share: float, times: int, *, bootstrap: bool = False
) -> tuple[float, float, float]:
    """Coverage and mean width of the figures' interval; coverage of the bootstrap (NaN: not asked for)."""
    rng, sizes = np.random.default_rng(7), sizes_of(kind, n)
    hits = drawn_hits(share, sizes, alike, times, rng)
    ends = np.array([share_interval(row, sizes) for row in hits])
    inside = (ends[:, 0] <= share) & (share <= ends[:, 1])
    earlier = np.nan
    if bootstrap:
        old = np.array([percentile_interval(row, sizes, rng) for row in hits])
        earlier = float(((old[:, 0] <= share + 1e-12) & (share <= old[:, 1] + 1e-12)).mean())
    return float(inside.mean()), float((ends[:, 1] - ends[:, 0]).mean()), earlier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=500, help="samples of each case")
    times = parser.parse_args().times
    rows = []
    for case in cases():
        coverage, width, earlier = covered(*case, times, bootstrap=True)
        rows.append((*case, earlier, coverage, width))
    columns = ["entities", "agreement", "rows", "true share", "bootstrap", "interval", "width"]
    table = pd.DataFrame(rows, columns=columns)
    wide = table.pivot(index=["entities", "agreement", "rows"], columns="true share", values=["bootstrap", "interval"])
    print(wide.to_string(float_format="%.3f"))
    print(f"lowest: bootstrap {table['bootstrap'].min():.3f}, interval {table['interval'].min():.3f}")
    print(table.groupby(["entities", "agreement"])["width"].mean().to_string(float_format="%.3f"))


if __name__ == "__main__":
    main()
