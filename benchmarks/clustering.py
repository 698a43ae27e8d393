"""Clustering of vectors beside the libraries that a user would take instead, to a million records.

Cuts are fitted on the labels of a twentieth of the entities; quality is of the others.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from results import Row, measured_alone, shown
from sklearn.metrics import adjusted_rand_score

from linkage.cluster.selection import flat_clusters
from linkage.cluster.tree import mutual_reachability, spanning_tree
from linkage.cluster.vectors import cluster_vectors, pooled_distance
from linkage.config import ClusterConfig
from linkage.evaluate.metrics import CLUSTERING, entity_sums
from linkage.search.graph import graph_edges, knn_graph

JOB = "clustering of vectors"
_DENSE = 20_000  # records up to which libraries that hold all distances are run
_FAST = 100_000  # records up to which fast_hdbscan, and average linkage, are
_LABELLED = 20  # one entity in so many has labels
_CUTS = np.linspace(0.02, 0.8, 79)


def write_vectors(folder: Path, n: int, seed: int = 0, dim: int = 256, inner: int = 48) -> None:
    """Unit rows float16 (n, dim) and the entity of each: `vectors.npy`, `entity.npy`.

    Two in five entities have one record, others up to 50; a quarter is a look-alike of another one; how far records lie
    from their entity's centre is another matter with each entity.
    """
    rng = np.random.default_rng(seed)
    sizes = np.where(rng.random(n) < 0.4, 1, np.minimum(50, 1 + rng.geometric(0.18, n)))
    sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), n)) + 1]
    entity = rng.permutation(np.repeat(np.arange(len(sizes)), sizes)[:n])
    centres = rng.normal(size=(len(sizes), inner))
    alike = np.flatnonzero(rng.random(len(sizes)) < 0.25)[1:]
    centres[alike] = centres[alike - 1] + 0.6 * rng.normal(size=(len(alike), inner))
    noise = rng.uniform(0.15, 0.55, len(sizes))
    turn = np.linalg.qr(rng.normal(size=(dim, inner)))[0].T
    out = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float16, (n, dim))
    for start in range(0, n, 1 << 15):
        own = entity[start : start + (1 << 15)]
        rows = (centres[own] + noise[own, None] * rng.normal(size=(len(own), inner))) @ turn
        rows += 0.02 * rng.normal(size=rows.shape)
        out[start : start + len(own)] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    out.flush()
    np.save(folder / "entity.npy", entity)


def rows(sizes: list[int]) -> list[Row]:
    """Each way in a process of its own."""
    made = []
    for n in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_vectors(folder, n)
            entity = np.load(folder / "entity.npy")
            measured = entity % _LABELLED != 0
            dense: np.ndarray | None = None
            for way, call in _ways(n).items():
                seconds, memory, (found, told) = measured_alone(partial(call, folder))
                if way == _DENSE_WAY:
                    dense = found
                sums = entity_sums(entity[measured], found[measured]).sum(0)
                quality = {one: float(figure(sums)) for one, figure in CLUSTERING.items() if one.endswith("F1")} | told
                if dense is not None:
                    quality["ARI to dense"] = float(adjusted_rand_score(dense, found))
                made.append(Row(JOB, n, way, seconds, memory, quality))
                print(way, f"{seconds:.1f} s", f"{memory:.0f} MB", quality, flush=True)
    return made


_DENSE_WAY = "scikit-learn HDBSCAN, all cosines"
Way = Callable[[Path], tuple[np.ndarray, dict[str, float]]]


def _ways(n: int) -> dict[str, Way]:
    ways: dict[str, Way] = {}
    if n <= _DENSE:
        ways |= {_DENSE_WAY: _sklearn, "hdbscan.HDBSCAN": _hdbscan, "scipy average linkage": _scipy}
    if n <= _FAST:
        if all(map(importlib.util.find_spec, ("fast_hdbscan", "pynndescent"))):
            ways["fast_hdbscan.HDBSCAN"] = _fast_hdbscan
        else:
            print("fast_hdbscan is not installed: left out (extra `bench`)")
    for method in ("hdbscan", "components", *(["average"] if n <= _FAST else [])):
        ways[f"linkage, {method}"] = partial(_linkage, method=method)
    return ways | ({"linkage, hdbscan without a cut": _uncut} if n <= _DENSE else {})


def _vectors(folder: Path) -> np.ndarray:
    return np.load(folder / "vectors.npy", mmap_mode="r")


def _labels(folder: Path) -> pd.DataFrame:
    entity = np.load(folder / "entity.npy")
    known = np.where(entity % _LABELLED == 0, entity.astype(str), "")
    return pd.DataFrame({"entity_id": known.astype(object), "split": "train"})


def _linkage(folder: Path, method: str) -> tuple[np.ndarray, dict[str, float]]:
    config = ClusterConfig.model_validate({"method": method})
    found = cluster_vectors(_vectors(folder), config, labels=_labels(folder), device="cpu")
    told = {"recall": found.searched.recall, "of 8": found.searched.recall_near, "cut": found.cutting.max_distance}
    return found.entity, told


def _uncut(folder: Path) -> tuple[np.ndarray, dict[str, float]]:
    vectors = np.asarray(_vectors(folder), dtype=np.float32)
    graph = knn_graph(vectors, ClusterConfig().neighbours)
    edges = mutual_reachability(graph_edges(graph), len(vectors), 1)
    tree = spanning_tree(edges, vectors, pooled_distance(vectors))
    return _alone(flat_clusters(tree, len(vectors), 2)), {"recall": graph.searched.recall}


def _sklearn(folder: Path) -> tuple[np.ndarray, dict[str, float]]:
    from sklearn.cluster import HDBSCAN
    from threadpoolctl import threadpool_limits

    vectors = np.asarray(_vectors(folder), dtype=np.float64)
    with threadpool_limits(1, "blas"):  # OpenBLAS 0.3 crashed in two threads on the product of 20,000 rows
        return _alone(HDBSCAN(min_cluster_size=2, min_samples=2, metric="cosine", copy=True).fit_predict(vectors)), {}


def _hdbscan(folder: Path) -> tuple[np.ndarray, dict[str, float]]:
    import hdbscan

    peer = hdbscan.HDBSCAN(min_cluster_size=2, min_samples=1)
    return _alone(peer.fit_predict(np.asarray(_vectors(folder), dtype=np.float64))), {}


def _fast_hdbscan(folder: Path) -> tuple[np.ndarray, dict[str, float]]:
    import fast_hdbscan

    peer = fast_hdbscan.HDBSCAN(min_cluster_size=2, min_samples=1)
    return _alone(peer.fit_predict(np.asarray(_vectors(folder), dtype=np.float32))), {}


def _scipy(folder: Path) -> tuple[np.ndarray, dict[str, float]]:
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist

    tree = linkage(pdist(np.asarray(_vectors(folder), dtype=np.float64), "cosine"), "average")
    labels = _labels(folder)["entity_id"].to_numpy()
    known = labels != ""
    best = max(_CUTS, key=lambda cut: CLUSTERING["B-cubed F1"](_sums(labels, fcluster(tree, cut, "distance"), known)))
    return fcluster(tree, best, "distance"), {"cut": float(best)}


def _sums(labels: np.ndarray, found: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.asarray(entity_sums(labels[rows], found[rows]).sum(0))


def _alone(labels: np.ndarray) -> np.ndarray:
    """Noise as entities of one record."""
    labels = labels.astype(np.int64)
    return np.where(labels < 0, labels.max() + 1 + np.arange(len(labels)), labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[20_000])
    for n in parser.parse_args().records:
        print(shown(rows([n])), flush=True)


if __name__ == "__main__":
    main()
