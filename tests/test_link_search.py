"""Every kind of index against exact search, what is chosen for how many exemplars and how much memory."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest
from linkdata import people, save, unit

from linkage.config import IndexConfig
from linkage.errors import ArtefactError, ConfigError
from linkage.search import choice
from linkage.search.approximate import KINDS, RerankedSearch, SearchEffort, build
from linkage.search.choice import choose, reckon
from linkage.search.exact import ExactSearch
from linkage.search.index import Index, build_index


def drawn(n: int, seed: int = 0, dim: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Exemplars float16 (n, dim) in clusters, some missing, some twice; and 100 noisy views of them."""
    rng = np.random.default_rng(seed)
    known = unit(rng.normal(size=(n // 20, dim))[rng.integers(n // 20, size=n)] + 0.6 * rng.normal(size=(n, dim)))
    known[3::11] = 0
    known[5::50] = known[4::50]
    queries = unit(known[rng.integers(n, size=100)] + 0.1 * rng.normal(size=(100, dim)))
    queries[7] = 0
    return known.astype(np.float16), queries.astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_looking_at_every_candidate_is_exact_search(kind: str) -> None:
    vectors, queries = drawn(2500)
    search = RerankedSearch(build(kind, vectors, 0), vectors, SearchEffort(2500, 2500))
    cosines, rows = search.search(queries, 12)
    exact_cosines, exact_rows = ExactSearch(vectors).search(queries, 12)
    assert (rows == exact_rows).all()
    assert np.allclose(cosines, exact_cosines, atol=1e-5)
    assert (rows[7] == -1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_structure_and_answer_whatever_the_threads(kind: str) -> None:
    vectors, queries = drawn(3000)
    made = []
    for threads in (1, 2):
        faiss.omp_set_num_threads(threads)
        structure = build(kind, vectors, 0)
        answer = RerankedSearch(structure, vectors, SearchEffort(64, 16)).search(queries, 10)
        made.append((faiss.serialize_index(structure).tobytes(), answer[0].tobytes(), answer[1].tobytes()))
    faiss.omp_set_num_threads(1)
    assert made[0] == made[1]


def test_exact_search_is_the_same_from_disk_and_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = drawn(3000)
    here = ExactSearch(vectors).search(queries, 10)
    monkeypatch.setattr("linkage.search.exact.BLOCK", 700)
    there = ExactSearch(vectors, resident=False).search(queries, 10)
    assert (here[1] == there[1]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_recall_that_was_asked_for_within_the_memory_that_was_reckoned(kind: str, tmp_path: Path) -> None:
    vectors, queries = drawn(20_000, dim=64)
    chosen = choose({"pooled": vectors}, tmp_path, IndexConfig(kind=kind, recall=0.95), 0)
    assert chosen.recall(1) >= 0.95
    assert chosen.memory_bytes <= reckon(kind, chosen.filled, len(vectors), 64)
    space = chosen.spaces["pooled"]
    structure = faiss.read_index(str(tmp_path / "pooled.faiss"))
    rows = RerankedSearch(structure, vectors, SearchEffort(space["candidates"], space["breadth"])).search(queries, 1)[1]
    assert (rows == ExactSearch(vectors).search(queries, 1)[1]).mean() >= 0.95


def test_auto_goes_by_number_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = {"pooled": drawn(4000)[0]}
    assert choose(vectors, tmp_path, IndexConfig(), 0).kind == "exact"
    monkeypatch.setattr(choice, "EXACT_UP_TO", 1000)
    fast = choose(vectors, tmp_path, IndexConfig(recall=0.9), 0)
    assert fast.kind == "ivf"
    assert fast.recall(1) >= 0.9
    with pytest.raises(ConfigError, match=r"exact needs .*; the least that 4000 exemplars need is"):
        choose(vectors, tmp_path, IndexConfig(kind="exact", memory=1000), 0)


def test_a_folder_with_a_structure_is_searched_by_it_and_refused_when_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "LEAST", 600)
    frame, image, text = people(0, 700, 1)
    index = build_index(*save(tmp_path / "in", frame, image, text), tmp_path / "index", IndexConfig(kind="binary"))
    assert index.manifest["kind"] == "binary"
    assert set(index.manifest["spaces"]) == {"pooled", "image", "text"}
    assert index.search(image.astype(np.float32), 1, by="image")[1][:, 0].tolist() == list(range(700))
    part = index.take(np.arange(50, 100))
    assert part.search(text[50:60].astype(np.float32), 1, by="text")[1][:, 0].tolist() == list(range(10))
    path = tmp_path / "index" / "text.faiss"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtefactError, match=r"text\.faiss is not what was written"):
        Index.open(tmp_path / "index")
