"""Linking of queries to exemplars beside the nearest of all texts by Levenshtein."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from made import made
from results import Row, measured

from linkage.config import LinkConfig
from linkage.link.link import link
from linkage.search.index import build_index

JOB = "linking n queries to n exemplars"
_COMPARED = 20_000_000  # pairs of texts that the peer compares: its table of them takes 80 MB


def rows(sizes: list[int]) -> list[Row]:
    """Vectors and readings are given."""
    with tempfile.TemporaryDirectory() as folder:
        return [row for n in sizes for row in _rows(n, Path(folder))]


def _rows(n: int, folder: Path) -> list[Row]:
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    exemplars, queries, embeddings = made(n, folder)
    index = build_index(exemplars, embeddings, folder / "index")
    ours = measured(lambda: link(queries, embeddings, index, LinkConfig(device="cpu")))
    some = queries.frame["text"].tolist()[: max(1, _COMPARED // n)]
    known = exemplars.frame["text"].tolist()
    alike = partial(cdist, some, known, scorer=Levenshtein.normalized_similarity, dtype=np.float32, workers=-1)
    seconds, memory, _ = measured(lambda: alike().argmax(axis=1))
    peer = Row(JOB, n, f"rapidfuzz cdist, reckoned from {len(some)} queries", seconds * n / len(some), memory)
    return [Row(JOB, n, "linkage", *ours[:2]), peer]
