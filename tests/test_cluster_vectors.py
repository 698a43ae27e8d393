from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from linkdata import unit

from linkage.cluster import cluster_vectors
from linkage.cluster.average import average_merges
from linkage.cluster.selection import single_linkage
from linkage.cluster.tree import forest
from linkage.cluster.vectors import collapse
from linkage.config import ClusterConfig
from linkage.errors import InputError
from linkage.search.graph import Edges, graph_edges, knn_graph


def drawn(n: int, dim: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(n), rng.integers(1, 8, n))[:n]
    return unit(rng.normal(size=(n, dim))[truth] + 0.2 * rng.normal(size=(n, dim))).astype(np.float32), truth


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_an_approximate_graph_knows_how_many_neighbours_it_found(kind: str) -> None:
    vectors, _ = drawn(2000)
    exact, found = knn_graph(vectors, 8), knn_graph(vectors, 8, kind=kind)  # type: ignore[arg-type]
    assert exact.searched[:4] == ("exact", 2000, 8, 1.0)
    edges = [set(zip(*(column.tolist() for column in graph_edges(one)[:2]), strict=True)) for one in (exact, found)]
    share = len(edges[0] & edges[1]) / len(edges[0])
    assert share > 0.8
    assert abs(found.searched.recall - share) < 0.05
    assert found.searched.recall_near >= found.searched.recall - 0.05


@pytest.mark.parametrize("kind", ["exact", "ivf"])
def test_threads_do_not_change_the_graph(kind: str) -> None:
    import faiss

    vectors, _ = drawn(9000, 24)
    before, graphs = faiss.omp_get_max_threads(), []
    for threads in (1, 3):
        faiss.omp_set_num_threads(threads)
        graphs.append(knn_graph(vectors, 5, kind=kind, seed=3))  # type: ignore[arg-type]
    faiss.omp_set_num_threads(before)
    assert (graphs[0].neighbours == graphs[1].neighbours).all()
    assert (graphs[0].cosines == graphs[1].cosines).all()


def test_merges_are_those_of_hdbscan() -> None:
    from hdbscan._hdbscan_linkage import label

    vectors, _ = drawn(300)
    tree = forest(graph_edges(knn_graph(vectors, 299)), 300)
    assert (single_linkage(tree) == label(np.column_stack(tree).astype(np.float64))).all()


def test_average_linkage_is_that_of_scipy() -> None:
    from scipy.cluster.hierarchy import linkage

    vectors, _ = drawn(60)
    edges = graph_edges(knn_graph(vectors, 59))
    edges = edges._replace(weight=edges.weight / 2)
    expected = linkage(edges.weight, "average")[:, 2]
    assert average_merges(edges, 60, np.inf).weight == pytest.approx(expected)


def test_pieces_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from linkage.cluster import average

    monkeypatch.setattr(average, "MOST", 10)
    a = np.arange(99)
    merges = average_merges(Edges(a, a + 1, np.full(99, 0.1)), 100, 0.5)
    group = np.arange(100)
    for one, other in zip(merges.a, merges.b, strict=True):
        group[group == group[other]] = group[one]
    assert np.bincount(group).max() <= 10


@pytest.mark.parametrize("method", ["hdbscan", "average", "components"])
@pytest.mark.parametrize("n", [0, 1, 2, 5, 300])
def test_every_method_and_size(method: str, n: int) -> None:
    vectors, truth = drawn(max(n, 1))
    vectors, truth = vectors[:n], truth[:n]
    config = ClusterConfig(method=method, max_distance=0.4)  # type: ignore[arg-type]
    found = cluster_vectors(vectors, config)
    assert found.entity.shape == (n,)
    assert found.cutting.source == "given"
    twice = np.vstack([vectors, vectors, np.zeros((2, 32), np.float32)])
    again = cluster_vectors(twice, config).entity
    assert (again[:n] == again[n : 2 * n]).all()
    assert len(set(again.tolist())) == len(set(found.entity.tolist())) + 2
    if n == 300:
        same = np.equal.outer(truth, truth), np.equal.outer(found.entity, found.entity)
        assert (same[0] == same[1]).mean() > 0.995


@pytest.mark.parametrize("convert", [lambda v: v, lambda v: v.astype(np.float16)])
def test_equal_rows_are_one_node(convert: Callable[[np.ndarray], np.ndarray]) -> None:
    vectors = convert(drawn(40)[0])
    rows = np.random.default_rng(1).integers(0, 40, 200)
    node, first = collapse(vectors[rows])
    assert len(first) == len(set(rows.tolist())) == node.max() + 1
    assert (rows[first][node] == rows).all()
    assert (np.diff(first) > 0).all()
    texts = np.array([f"text {row % 2}" for row in range(200)], dtype=object)
    node, first = collapse(vectors[rows], texts)
    assert len(first) == len(set(zip(rows.tolist(), texts.tolist(), strict=True)))


def test_vectors_of_another_length_are_refused() -> None:
    with pytest.raises(InputError, match="length 2"):
        cluster_vectors(2 * drawn(5)[0], ClusterConfig())
