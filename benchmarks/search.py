"""Search among exemplars by every kind of index, beside FAISS's flat search and scikit-learn's neighbours.

One space (pooled) of drawn vectors, as memory-mapped float16: 256 dimensions, 48 of them intrinsic, in clusters of
about 50; queries are noisy views of exemplars, three in ten of something that is not there.

The seconds are those of all queries; building is a figure beside. For a million:

    python benchmarks/search.py --n 1000000 --queries 100000
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from results import Row, measured_alone, shown

from linkage.arrays import read_array
from linkage.config import IndexConfig
from linkage.search.approximate import RerankedSearch, SearchEffort, VectorSearch
from linkage.search.choice import choose
from linkage.search.exact import ExactSearch

KINDS = ("auto", "exact", "float16", "ivf", "nested", "binary", "sq8", "hnsw")
DIM, INTRINSIC = 256, 48
_AT_A_TIME = 2048  # queries, as `link` asks
_ROWS = 65_536
_FEW = {"exact": 10_000, "float16": 10_000}  # queries that all are reckoned from
_K = 10


def rows(n: int, queries: int, kinds: tuple[str, ...] = KINDS) -> list[Row]:
    """Each kind in a process of its own; recall is against float16's exact answer to all or the first 10,000."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, n, queries)
        few = min(queries, _FEW["float16"])
        measured_alone(partial(_truth, folder, few))
        made = []
        for row in chain(_peers(folder, n, queries), (_row(folder, n, queries, kind) for kind in kinds)):
            made.append(row)
            print(row.way, f"{row.seconds:.1f} s", f"{row.megabytes:.0f} MB", row.quality, flush=True)
        return made


def write(folder: Path, n: int, queries: int, seed: int = 0) -> None:
    """Files pooled.npy (n, D) and queries.npy (q, D), float16, and target.npy: the row that is seen, or -1."""
    rng = np.random.default_rng(seed)
    families = max(n // 50, 1)
    basis = np.linalg.qr(rng.normal(size=(DIM, INTRINSIC)))[0].T.astype(np.float32)
    spectrum = (1 / np.sqrt(1 + np.arange(INTRINSIC) / 8)).astype(np.float32)
    centres = rng.normal(size=(families, INTRINSIC)).astype(np.float32)

    def entities(count: int) -> np.ndarray:
        own = 0.6 * rng.normal(size=(count, INTRINSIC)).astype(np.float32)
        return np.asarray(centres[rng.integers(families, size=count)] + own)

    def seen(some: np.ndarray, noise: float) -> np.ndarray:
        views = (some + noise * rng.normal(size=some.shape).astype(np.float32)) * spectrum @ basis
        views += 0.02 * rng.normal(size=views.shape).astype(np.float32)
        return np.asarray(views / np.linalg.norm(views, axis=1, keepdims=True)).astype(np.float16)

    known = entities(n)
    pooled = np.lib.format.open_memmap(folder / "pooled.npy", mode="w+", dtype=np.float16, shape=(n, DIM))
    for start in range(0, n, _ROWS):
        pooled[start : start + _ROWS] = seen(known[start : start + _ROWS], 0.2)
    pooled.flush()
    target = rng.integers(n, size=queries)
    asked = known[target]
    target[rng.random(queries) < 0.3] = -1
    asked[target < 0] = entities(int((target < 0).sum()))
    np.save(folder / "queries.npy", np.vstack([seen(asked[s : s + _ROWS], 0.55) for s in range(0, queries, _ROWS)]))
    np.save(folder / "target.npy", target)


def _search(folder: Path, search: VectorSearch, queries: int) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    """Seconds, cosines and rows of the first queries."""
    asked = read_array(folder / "queries.npy")[:queries]
    start = time.perf_counter()
    found = [search.search(asked[s : s + _AT_A_TIME].astype(np.float32), _K) for s in range(0, queries, _AT_A_TIME)]
    cosines, near = zip(*found, strict=True)
    return time.perf_counter() - start, (np.concatenate(cosines), np.concatenate(near))


def _truth(folder: Path, queries: int) -> None:
    _, (_, near) = _search(folder, ExactSearch(read_array(folder / "pooled.npy"), resident=False), queries)
    np.save(folder / "true.npy", near)


def _run(folder: Path, kind: str, queries: int) -> dict[str, Any]:
    vectors = read_array(folder / "pooled.npy")
    start = time.perf_counter()
    choice = choose({"pooled": vectors}, folder, IndexConfig.model_validate({"kind": kind}), seed=0)
    built = time.perf_counter() - start
    search: VectorSearch
    if choice.spaces:
        import faiss

        space = choice.spaces["pooled"]
        structure = faiss.read_index(str(folder / "pooled.faiss"))
        search = RerankedSearch(structure, vectors, SearchEffort(space["candidates"], space["breadth"]))
    else:
        start = time.perf_counter()
        search = ExactSearch(vectors, resident=choice.kind == "exact")
        built = time.perf_counter() - start
    seconds, (_, near) = _search(folder, search, queries)
    quality = {"build s": built, "index MB": choice.memory_bytes / 1e6, **_quality(folder, near)}
    quality |= {"sample's recall@1": choice.recall(1), "sample's recall@10": choice.recall(10)}
    if choice.spaces:
        quality |= {"candidates": space["candidates"], "breadth": space["breadth"]}
    return {"kind": choice.kind, "seconds": seconds, "quality": quality}


def _quality(folder: Path, near: np.ndarray) -> dict[str, float]:
    true, target = np.load(folder / "true.npy"), np.load(folder / "target.npy")
    both = min(len(true), len(near))
    hits = (near[:both, :, None] == true[:both, None, :]).any(axis=1)
    there = target[: len(near)] >= 0
    return {
        "recall@1": float((near[:both, 0] == true[:both, 0]).mean()),
        "recall@10": float(hits.mean()),
        "entity accuracy": float((near[there, 0] == target[: len(near)][there]).mean()),
    }


def _row(folder: Path, n: int, queries: int, kind: str) -> Row:
    asked = min(queries, _FEW.get(kind, queries))
    _, memory, made = measured_alone(partial(_run, folder, kind, asked))
    way = f"linkage, {made['kind']}" + (" (auto)" if kind == "auto" else "")
    return _reckoned(n, queries, asked, way, made["seconds"], memory, made["quality"])


def _reckoned(
    n: int, queries: int, asked: int, way: str, seconds: float, memory: float, quality: dict[str, Any]
) -> Row:
    way += f", reckoned from {asked}" if asked < queries else ""
    speed = {"queries/s": asked / seconds}
    return Row(f"search, {queries:,} queries, 10 nearest", n, way, seconds * queries / asked, memory, speed | quality)


def _peers(folder: Path, n: int, queries: int) -> Iterator[Row]:
    for way, call, few in (("FAISS IndexFlatIP", _faiss, 10_000), ("scikit-learn NearestNeighbors", _sklearn, 500)):
        asked = min(queries, few)
        _, memory, (seconds, near) = measured_alone(partial(call, folder, asked))
        yield _reckoned(n, queries, asked, way, seconds, memory, _quality(folder, near))


def _faiss(folder: Path, queries: int) -> tuple[float, np.ndarray]:
    import faiss

    index: Any = faiss.IndexFlatIP(DIM)
    index.add(np.load(folder / "pooled.npy").astype(np.float32))
    asked = np.load(folder / "queries.npy")[:queries].astype(np.float32)
    start = time.perf_counter()
    near = index.search(asked, _K)[1]
    return time.perf_counter() - start, near


def _sklearn(folder: Path, queries: int) -> tuple[float, np.ndarray]:
    from sklearn.neighbors import NearestNeighbors

    neighbours = NearestNeighbors(n_neighbors=_K, algorithm="brute", metric="cosine", n_jobs=-1)
    neighbours.fit(np.load(folder / "pooled.npy").astype(np.float32))
    asked = np.load(folder / "queries.npy")[:queries].astype(np.float32)
    start = time.perf_counter()
    near = neighbours.kneighbors(asked, return_distance=False)
    return time.perf_counter() - start, np.asarray(near)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[200_000], help="exemplars")
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    arguments = parser.parse_args()
    print(shown([row for n in arguments.n for row in rows(n, arguments.queries, tuple(arguments.kinds))]))


if __name__ == "__main__":
    main()
