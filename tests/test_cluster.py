from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from linkdata import people, save, unit

from linkage.cluster import ClusterResult, cluster, entities_table, merge_members
from linkage.cluster.fit import NodeLabels, best_cut
from linkage.cluster.selection import cut, flat_clusters
from linkage.cluster.tree import medoids, mutual_reachability, spanning_tree
from linkage.compare.scorer import DEFAULT_SCORER
from linkage.config import ClusterConfig
from linkage.search.graph import Edges, graph_edges, knn_graph
from linkage.tables import COLUMNS


def blobs(seed: int, groups: int = 12, dim: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors in groups of 1 to 9 around random centres, and the group of each."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(groups), rng.integers(1, 10, size=groups))
    vectors = rng.normal(size=(groups, dim))[truth] + 0.4 * rng.normal(size=(len(truth), dim))
    return unit(vectors).astype(np.float32), truth


def euclidean(vectors: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors[a].astype(np.float64) - vectors[b], axis=1)


def neighbour_pairs(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    edges = graph_edges(knn_graph(vectors, k))
    return edges.a, edges.b


def same_partition(one: np.ndarray, two: np.ndarray) -> bool:
    pairs = set(zip(one.tolist(), two.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(two.tolist()))


def grouped(
    folder: Path,
    frame: pd.DataFrame,
    image: np.ndarray,
    text: np.ndarray,
    *,
    seed: int | None = None,
    **settings: float,
) -> ClusterResult:
    """Cluster a table, rows shuffled by `seed`."""
    order = np.arange(len(frame)) if seed is None else np.random.default_rng(seed).permutation(len(frame))
    records, embeddings = save(folder, frame.iloc[order].reset_index(drop=True), image[order], text[order])
    return cluster(records, embeddings, ClusterConfig(**settings), device="cpu")  # type: ignore[arg-type]


def unlabelled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(entity_id="", role="")


@pytest.mark.parametrize("min_samples", [1, 3])
@pytest.mark.parametrize("min_cluster_size", [2, 4])
@pytest.mark.parametrize("seed", range(5))
def test_the_answer_is_that_of_hdbscan(seed: int, min_cluster_size: int, min_samples: int) -> None:
    """Beyond one sample mutual reachability has ties, which either may break as it likes: heights are compared."""
    import hdbscan

    vectors, _ = blobs(seed)
    n = len(vectors)
    dense = hdbscan.HDBSCAN(min_cluster_size=min_cluster_size, min_samples=min_samples, algorithm="generic")
    expected = dense.fit_predict(vectors.astype(np.float64))
    a, b = neighbour_pairs(vectors, n)
    assert len(a) == n * (n - 1) // 2
    edges = mutual_reachability(Edges(a, b, euclidean(vectors, a, b)), n, min_samples)
    tree = spanning_tree(edges, vectors, lambda a, b: euclidean(vectors, a, b))
    assert tree.weight == pytest.approx(dense.single_linkage_tree_.to_numpy()[:, 2])
    if min_samples > 1:
        return
    labels = flat_clusters(tree, n, min_cluster_size)
    if (expected < 0).all():
        assert (labels == 0).all()
    else:
        assert ((labels < 0) == (expected < 0)).all()
        assert same_partition(labels, expected)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_a_graph_in_pieces_still_gives_one_tree(k: int) -> None:
    vectors, _ = blobs(1)
    n = len(vectors)
    a, b = neighbour_pairs(vectors, k)
    weight = euclidean(vectors, a, b)
    tree = spanning_tree(Edges(a, b, weight), vectors, lambda a, b: euclidean(vectors, a, b))
    assert len(tree.a) == n - 1
    assert (np.diff(tree.weight) >= 0).all()
    assert len(set(cut(tree, np.zeros(n, int), 9.0))) == 1


def test_edges_of_weight_zero_are_kept() -> None:
    vectors = np.eye(4, dtype=np.float32)
    edges = Edges(np.array([0, 1, 2]), np.array([1, 2, 3]), np.array([0.0, 0.0, 1.0]))
    tree = spanning_tree(edges, vectors, lambda a, b: np.ones(len(a)))
    assert tree.weight.tolist() == [0.0, 0.0, 1.0]
    assert cut(tree, np.zeros(4, int), 0.0).tolist() == [0, 0, 0, 1]


def test_the_cut_is_inclusive_and_keeps_to_the_clusters() -> None:
    tree = Edges(np.array([0, 1, 3]), np.array([1, 2, 2]), np.array([0.1, 0.2, 0.3]))
    labels = np.array([0, 0, 0, 1])
    assert same_partition(cut(tree, labels, 0.2), np.array([0, 0, 0, 1]))
    assert same_partition(cut(tree, labels, np.nextafter(0.2, 0)), np.array([0, 0, 1, 2]))
    assert same_partition(cut(tree, np.array([0, -1, -1, 0]), 1.0), np.arange(4))


def test_medoids_are_the_most_central_nodes() -> None:
    vectors, truth = blobs(2)
    found = medoids(vectors, truth)
    for group, node in enumerate(found):
        rows = np.flatnonzero(truth == group)
        distances = 1 - vectors[rows] @ vectors[rows].T
        assert distances.sum(axis=1)[rows == node] == pytest.approx(distances.sum(axis=1).min(), abs=1e-4)
    assert medoids(vectors[[3, 3, 3]], np.array([0, 1, 0])).tolist() == [0, 1]


def b_cubed(truth: list[str], found: np.ndarray) -> float:
    """Bagga and Baldwin, record by record."""
    same = np.equal.outer(np.array(truth), np.array(truth)), np.equal.outer(found, found)
    both = (same[0] & same[1]).sum(axis=1)
    precision, recall = (both / same[1].sum(axis=1)).mean(), (both / same[0].sum(axis=1)).mean()
    return float(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize("seed", range(4))
def test_the_fitted_cut_is_the_best_of_all_cuts(seed: int) -> None:
    vectors, group = blobs(seed)
    truth = [f"entity {g}" for g in group]
    n = len(vectors)
    a, b = neighbour_pairs(vectors, n)
    tree = spanning_tree(Edges(a, b, euclidean(vectors, a, b)), vectors, lambda a, b: euclidean(vectors, a, b))
    one = np.zeros(n, dtype=np.int64)
    found = best_cut(NodeLabels([Counter([name]) for name in truth], np.zeros(len(truth), dtype=np.int64)), tree)
    scores = [b_cubed(truth, cut(tree, one, weight)) for weight in [0.0, *tree.weight]]
    assert found.f1 == pytest.approx(max(scores))
    assert b_cubed(truth, cut(tree, one, found.max_distance)) == pytest.approx(max(scores))


@pytest.mark.parametrize("labelled", ["whole entities", "single records"])
def test_labels_of_whole_entities_tell_of_joins_with_what_has_none(labelled: str) -> None:
    """Entities of four in a row, the next one as near as 0.3; half of them, or of their records, have labels."""
    entity = np.repeat(np.arange(40), 4)
    chosen = entity % 2 == 0 if labelled == "whole entities" else np.random.default_rng(0).random(160) < 0.5
    counts = [Counter([f"e{one}"]) if has else Counter[str]() for one, has in zip(entity, chosen, strict=True)]
    known = NodeLabels(counts, (~chosen).astype(np.int64))
    within = [4 * one + place for one in range(40) for place in range(3)]
    between = [4 * one + 3 for one in range(0, 40, 2)]
    a = np.array(within + between)
    tree = Edges(a, a + 1, np.array([0.1] * len(within) + [0.3] * len(between)))
    seen = known.seen_on(tree)
    found = best_cut(seen, tree)
    if labelled == "whole entities":
        assert (seen.others == known.others).all()
        assert found.f1 == 1.0 and found.max_distance == pytest.approx(0.2)
    else:
        assert not seen.others.any()
        assert found.max_distance == pytest.approx(0.2), "the labels on both sides tell"


def test_records_of_an_entity_come_together(tmp_path: Path) -> None:
    frame, image, text = people(0, 30, 4)
    extra, image_2, text_2 = people(9, 10, 1)
    extra["record_id"] = "x" + extra["record_id"]
    frame = pd.concat([frame, extra], ignore_index=True)
    result = grouped(tmp_path, unlabelled(frame), np.vstack([image, image_2]), np.vstack([text, text_2]))
    members = result.members
    assert result.source == "default"
    assert result.max_distance == pytest.approx(DEFAULT_SCORER.distance_at(0.5))
    assert members["record_id"].is_monotonic_increasing
    of_entity = members["record_id"].str[:4].where(members["origin"] == "clustered")
    assert members.groupby("entity_id")["record_id"].apply(lambda ids: ids.str[:4].nunique()).max() == 1
    assert of_entity.notna().mean() > 0.8
    alone = members["record_id"].str.startswith("x")
    assert (members["origin"][alone] == "singleton").all()
    assert (members["noise"] == (members["origin"] == "singleton")).all()
    assert (members.groupby("entity_id")["is_exemplar"].sum() == 1).all()
    assert members["membership"].between(0, 1).all()
    assert (members["membership"][members["is_exemplar"] == 1] == 1).all()
    assert members["shelf"].str.startswith("shelf").all()
    assert {"source", "page"} <= set(members)
    assert not {"entity_id_x", "split", "role", "image", "text_raw"} & set(members)
    entities = entities_table(members)
    assert entities["n_records"].sum() == len(frame)
    assert entities["n_sources"].max() == 4
    assert (entities["min_score"].isna() == (entities["n_records"] == 1)).all()
    assert set(entities) <= set(COLUMNS)


@pytest.mark.parametrize("labels", [True, False])
def test_the_order_of_records_does_not_matter(tmp_path: Path, labels: bool) -> None:
    frame, image, text = people(4, 40, 4, noise=0.5)
    image[5:9], text[5:9] = image[4], text[4]
    frame.loc[5:8, "text"] = frame["text"][4]
    frame = frame if labels else unlabelled(frame)
    one = grouped(tmp_path / "a", frame, image, text)
    two = grouped(tmp_path / "b", frame, image, text, seed=1)
    pd.testing.assert_frame_equal(one.members, two.members)
    assert one.max_distance == two.max_distance


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("alike", [True, False])
def test_few_records(tmp_path: Path, n: int, alike: bool) -> None:
    frame, image, text = people(0, 1 if alike else 7, 7 if alike else 1, noise=0.05)
    result = grouped(tmp_path, unlabelled(frame[:n]), image[:n], text[:n])
    assert len(result.members) == n
    assert result.members["entity_id"].nunique() == (min(n, 1) if alike else n)
    assert len(entities_table(result.members)) == (min(n, 1) if alike else n)


def test_all_records_the_same(tmp_path: Path) -> None:
    frame, image, text = people(0, 50, 1)
    frame["text"] = "same"
    result = grouped(tmp_path, unlabelled(frame), image[:1].repeat(50, 0), text[:1].repeat(50, 0))
    assert result.members["entity_id"].nunique() == 1
    assert result.members["is_exemplar"].tolist() == [1] + [0] * 49
    assert result.members["score"][1:].tolist() == pytest.approx([1.0] * 49, abs=1e-3)


def test_copies_do_not_tear_clusters_apart(tmp_path: Path) -> None:
    frame, image, text = people(0, 20, 4)
    before = grouped(tmp_path / "a", unlabelled(frame), image, text).members
    copies = frame.iloc[np.arange(0, 80, 2).repeat(5)].reset_index(drop=True)
    rows = np.concatenate([np.arange(80), np.arange(0, 80, 2).repeat(5)])
    copies["record_id"] = [f"z{i}" for i in range(len(copies))]
    both = unlabelled(pd.concat([frame, copies], ignore_index=True))
    after = grouped(tmp_path / "b", both, image[rows], text[rows]).members
    kept = after[after["record_id"].str.startswith("r")]
    assert same_partition(kept["entity_id"].to_numpy(), before["entity_id"].to_numpy())
    entity = after.set_index("record_id")["entity_id"]
    assert all(entity[f"z{i}"] == entity[both["record_id"][rows[80 + i]]] for i in range(len(copies)))


def test_near_copies_do_not_tear_clusters_apart(tmp_path: Path) -> None:
    frame, image, text = people(0, 20, 8)
    rng = np.random.default_rng(0)
    image[1::2] = unit(image[::2] + 1e-3 * rng.normal(size=image[::2].shape))
    text[1::2] = unit(text[::2] + 1e-3 * rng.normal(size=text[::2].shape))
    frame.loc[1::2, "text"] = frame["text"][::2].to_numpy()
    members = grouped(tmp_path, unlabelled(frame), image, text).members
    assert members["entity_id"].nunique() <= 30  # of 20; torn apart they would be 80


def test_a_record_with_neither_picture_nor_text_stays_by_itself(tmp_path: Path) -> None:
    frame, image, text = people(0, 5, 3)
    image[:2] = text[:2] = 0
    frame.loc[:1, "text"] = ""
    members = grouped(tmp_path, unlabelled(frame), image, text).members
    assert members["origin"].tolist()[:2] == ["singleton", "singleton"]
    assert members["entity_id"].nunique() >= 7


def test_labels_fit_the_cut_but_never_those_of_test(tmp_path: Path) -> None:
    frame, image, text = people(6, 60, 4, noise=1.2)
    default = grouped(tmp_path / "d", unlabelled(frame), image, text)
    fitted = grouped(tmp_path / "a", frame, image, text)
    assert (fitted.source, fitted.scorer.origin) == ("fitted", "fitted")
    rows = frame.set_index("record_id").loc[fitted.members["record_id"]]
    test = (rows["split"] == "test").to_numpy()
    scores = [
        b_cubed(rows["entity_id"][test].tolist(), result.members["entity_id"].to_numpy()[test])
        for result in (default, fitted)
    ]
    assert scores[1] > max(scores[0], 0.9)
    swapped = frame.copy()
    swapped.loc[frame["split"] == "test", "entity_id"] = "one and all"
    again = grouped(tmp_path / "b", swapped, image, text)
    pd.testing.assert_frame_equal(fitted.members, again.members)
    given = grouped(tmp_path / "c", frame, image, text, max_distance=0.0)
    assert (given.source, given.max_distance) == ("given", 0.0)


def test_the_same_entities_have_the_same_ids_in_another_run(tmp_path: Path) -> None:
    frame, image, text = people(0, 12, 3)
    whole = grouped(tmp_path / "a", unlabelled(frame), image, text).members
    half = grouped(tmp_path / "b", unlabelled(frame[:18]), image[:18], text[:18]).members
    assert half["entity_id"].tolist() == whole["entity_id"].tolist()[:18]
    assert half["entity_id"].str.fullmatch("e[0-9a-f]{16}").all()


def test_members_of_a_run(tmp_path: Path) -> None:
    frame, image, text = people(0, 6, 3)
    result = grouped(tmp_path, unlabelled(frame[9:]), image[9:], text[9:])
    exemplars = frame[frame["role"] == "exemplar"][:3][["record_id", "entity_id"]]
    second = pd.DataFrame({"record_id": ["r000_1"], "entity_id": ["entity 000"]})
    exemplars = pd.concat([second, exemplars], ignore_index=True)
    links = frame[frame["role"] == "query"][:6].assign(probability=0.9, score=0.8, decision="match")
    links = links[links["record_id"] != "r000_1"]
    worse = links.assign(entity_id="entity 005", decision="no-match")
    members = merge_members(exemplars, pd.concat([links, worse]), result.members, frame)
    assert len(members) == len(frame)
    assert members["record_id"].is_unique
    assert members.groupby("origin").size().to_dict() == {"clustered": 9, "exemplar": 4, "linked": 5}
    entities = entities_table(members)
    assert entities["n_records"].tolist() == [3] * 6
    first = entities.set_index("entity_id").loc["entity 000"]
    assert (first["exemplar_id"], first["min_score"]) == ("r000_0", 0.8)
    only = merge_members(None, None, result.members, frame)
    pd.testing.assert_frame_equal(only, result.members, check_dtype=False)
