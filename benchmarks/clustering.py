"""Clustering beside the libraries that a user would take instead."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from results import Row, measured

from linkage.cluster.entities import cluster
from linkage.config import ClusterConfig
from linkage.encode.embed import Embeddings
from linkage.records import Records

JOB = "clustering of vectors"


def rows(sizes: list[int]) -> list[Row]:
    """The kNN-graph route against hdbscan on all pairs."""
    with tempfile.TemporaryDirectory() as folder:
        return [row for n in sizes for row in _rows(n, Path(folder))]


def _rows(n: int, folder: Path) -> list[Row]:
    import hdbscan

    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 8, n)
    entity = np.repeat(np.arange(n), sizes)[:n]
    vectors = rng.normal(size=(n, 64))[entity] + 0.35 * rng.normal(size=(n, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"r{row:06}" for row in range(n)]
    (folder / "records.csv").write_text("record_id\n" + "\n".join(ids) + "\n")
    records = Records.open(folder / "records.csv")
    image = vectors.astype(np.float16)
    manifest = {"model": "drawn", "model_sha256": "", "image_weight": 0.5}
    unread = pd.DataFrame({"record_id": ids, "reading": "", "reading_confidence": np.nan, "lattice": None})
    embeddings = Embeddings(folder, image, np.zeros_like(image), unread, manifest)
    ours = measured(lambda: cluster(records, embeddings, ClusterConfig()))
    peer = hdbscan.HDBSCAN(min_cluster_size=2, min_samples=1, core_dist_n_jobs=1)
    theirs = measured(lambda: peer.fit(vectors))
    return [Row(JOB, n, "linkage", *ours[:2]), Row(JOB, n, "hdbscan.HDBSCAN", *theirs[:2])]
