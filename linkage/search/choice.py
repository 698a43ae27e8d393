"""Which way of searching an index gets: by the number of exemplars, the memory, and the recall that was measured."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ByteSize

from linkage.arrays import digest_file
from linkage.config import IndexConfig
from linkage.errors import ConfigError
from linkage.machine import free_memory
from linkage.search.approximate import (
    KINDS,
    RerankedSearch,
    SearchEffort,
    VectorSearch,
    build,
    bytes_needed,
    one_thread,
)
from linkage.search.exact import BLOCK, TIE, ExactSearch, Modality, filled_rows

log = logging.getLogger(__name__)

EXACT_UP_TO = 100_000  # exemplars: a thousand exact searches a second on two cores
LEAST = 2048  # vectors: fewer are searched exactly, whatever the kind
ASKED = 1000  # exemplars that recall is measured with
_QUERIES_MISS = 3  # times as often as exemplars do, at most: 1.8 times where it was measured, at a million
_FASTEST = ("ivf", "nested", "binary")  # those that are built in minutes, fastest first
HELD_OUT = f"at most {ASKED} exemplars, each searched among the others; against exact search"


class SearchChoice(NamedTuple):
    """How the spaces of an index are searched, as its manifest says it.

    Attributes:
        kind: of IndexConfig.kind, but never auto.
        why: one phrase.
        memory_bytes: that searching all three spaces takes, without the vectors on disk.
        spaces: for each space that has a file: its bytes, sha256, candidates and breadth (see `search.Effort`), and
            the recall at 1 and at 10 that was measured.
        filled: vectors of each space.
    """

    kind: str
    why: str
    memory_bytes: int
    spaces: dict[str, dict[str, Any]]
    filled: dict[Modality, int]

    def recall(self, at: int) -> float:
        """The least of the spaces, at 1 or 10; 1 where all are searched exactly."""
        return min([1.0, *(float(space[f"recall@{at}"]) for space in self.spaces.values())])


def reckon(kind: str, filled: Mapping[Modality, int], n: int, dim: int) -> int:
    """Bytes of memory that searching takes; `filled`: vectors of each space."""
    if kind == "float16":
        return 4 * BLOCK * dim * 4
    if kind == "exact":
        return 4 * dim * sum(filled.values())
    large = [count for count in filled.values() if count >= LEAST]
    small = sum(filled.values()) - sum(large)
    return 4 * dim * small + sum(bytes_needed(kind, count, dim, whole=count == n) for count in large)


def choose(vectors: Mapping[Modality, np.ndarray], folder: Path, config: IndexConfig, seed: int) -> SearchChoice:
    """Build what searches these spaces into the folder, one file `SPACE.faiss` for each that needs one.

    Args:
        vectors: float16 (n, D) of each space, memory-mapped.
        folder: to write to.
        config: kind, memory, recall.
        seed: of samples and of k-means.

    Raises:
        ConfigError: nothing fits the memory; the message says the least that is needed.
    """
    n, dim = vectors["pooled"].shape
    filled = {by: len(filled_rows(part)) for by, part in vectors.items()}
    memory = int(config.memory) if config.memory is not None else free_memory() // 2
    passed: list[str] = []
    for kind in _to_try(config.kind, n):
        needed = reckon(kind, filled, n, dim)
        if needed > memory:
            passed.append(f"{kind} needs {size(needed)} of memory")
            continue
        if kind in ("exact", "float16"):
            return SearchChoice(kind, _why(config, n, passed), needed, {}, filled)
        wanted = config.recall if config.kind == "auto" else 0.0
        spaces = _built(kind, vectors, filled, folder, config.recall, seed)
        least = min([1.0, *(space["recall@1"] for space in spaces.values())])
        if least < config.recall:
            passed.append(f"{kind} finds {least:.3f} of the nearest")
            log.warning("index: %s, less than index.recall %g", passed[-1], config.recall)
        if least >= wanted:
            small = sum(4 * dim * count for by, count in filled.items() if by not in spaces)
            held = small + sum(space["bytes"] for space in spaces.values())
            return SearchChoice(kind, _why(config, n, passed), held, spaces, filled)
        for by in spaces:
            (folder / f"{by}.faiss").unlink()
    every = {kind: reckon(kind, filled, n, dim) for kind in ("exact", "float16", *KINDS)}
    least_kind = min(every, key=lambda kind: every[kind])
    raise ConfigError(
        f"index.memory {size(memory)}: {'; '.join(passed)}; the least that {n} exemplars need is "
        f"{size(every[least_kind])} (index.kind {least_kind})"
    )


def _to_try(kind: str, n: int) -> tuple[str, ...]:
    if kind != "auto":
        return (kind,)
    return ("exact", "float16") if n <= EXACT_UP_TO else (*_FASTEST, "float16")


def _why(config: IndexConfig, n: int, passed: list[str]) -> str:
    if config.kind != "auto":
        return "as asked"
    first = f"{'up to' if n <= EXACT_UP_TO else 'more than'} {EXACT_UP_TO:,} exemplars"
    return "; ".join([first, *passed])


def _built(
    kind: str,
    vectors: Mapping[Modality, np.ndarray],
    filled: Mapping[Modality, int],
    folder: Path,
    recall: float,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Build and measure every space that is large enough, side by side, each by one thread."""
    import faiss

    large = [by for by in vectors if filled[by] >= LEAST]
    with ThreadPoolExecutor(min(len(vectors), faiss.omp_get_max_threads())) as threads:
        done = threads.map(lambda by: _space(kind, vectors[by], folder / f"{by}.faiss", recall, seed), large)
        return {str(by): space for by, space in zip(large, done, strict=True)}


def _space(kind: str, vectors: np.ndarray, path: Path, recall: float, seed: int) -> dict[str, Any]:
    import faiss

    structure = build(kind, vectors, seed)
    faiss.write_index(structure, str(path))
    effort, found = _tuned(kind, structure, vectors, recall, seed)
    figures = {f"recall@{at}": round(found[at], 4) for at in found}
    return {"bytes": path.stat().st_size, "sha256": digest_file(path), **effort._asdict(), **figures}


def _tuned(
    kind: str, structure: Any, vectors: np.ndarray, recall: float, seed: int
) -> tuple[SearchEffort, dict[int, float]]:
    """The first effort that will find enough of queries' nearest, else the greatest; and the recall at 1 and 10."""
    rows = filled_rows(vectors)
    asked = np.sort(np.random.default_rng(seed).choice(rows, min(ASKED, len(rows)), replace=False))
    with one_thread():
        true = _others(ExactSearch(vectors, resident=False), vectors, asked)
        for effort in KINDS[kind].efforts:
            near = _others(RerankedSearch(structure, vectors, effort), vectors, asked)
            found = {at: recall_at(at, near, true) for at in (1, 10)}
            if _QUERIES_MISS * (1 - found[1]) <= 1 - recall:
                break
    return effort, found


def _others(search: VectorSearch, vectors: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Cosines with the ten nearest rows other than itself of each row, (q, 10)."""
    cosines, rows = search.search(np.asarray(vectors[asked], dtype=np.float32), 11)
    last = np.argsort(rows == asked[:, None], axis=1, kind="stable")
    return np.take_along_axis(cosines, last, axis=1)[:, :10]


def recall_at(at: int, found: np.ndarray, true: np.ndarray) -> float:
    """Share of the `at` nearest that were found, by cosines (q, m), best first: an equal one is as good."""
    return float((found[:, :at] >= true[:, at - 1 : at] - 2 * TIE).mean())


def size(count: int) -> str:
    """Bytes for people."""
    return ByteSize(count).human_readable(decimal=True)
