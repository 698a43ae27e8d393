from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from linkdata import people, save, unit

from linkage.errors import ArtefactError, DependencyError, InputError
from linkage.search.exact import ExactSearch, choose_device
from linkage.search.index import Index, build_index


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index of five exemplars, written in an order that is not that of their ids."""
    frame, image, text = people(0, 5, 1)
    frame.loc[2, "entity_id"] = ""
    order = [3, 0, 4, 2, 1]
    build_index(*save(tmp_path / "in", frame.iloc[order], image[order], text[order]), tmp_path / "index")
    return tmp_path / "index"


def test_the_folder_holds_exemplars_in_the_order_of_their_ids(folder: Path) -> None:
    index = Index.open(folder)
    assert index.exemplars["record_id"].tolist() == [f"r{n:03d}_0" for n in range(5)]
    assert index.exemplars["entity_id"].tolist()[1:4] == ["entity 001", "r002_0", "entity 003"]
    assert index.exemplars["page"].tolist() == [1] * 5
    assert (index.manifest["n"], index.manifest["dim"], index.image_weight) == (5, 32, 0.5)
    assert np.linalg.norm(index.pooled, axis=1) == pytest.approx(1, abs=1e-3)
    _, image, text = people(0, 5, 1)
    for by, vectors in (("image", image), ("text", text), ("pooled", unit(image + text))):
        cosines, rows = index.search(vectors, 2, by=by)  # type: ignore[arg-type]
        assert rows[:, 0].tolist() == [0, 1, 2, 3, 4]
        assert cosines[:, 0] == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("name", ["pooled.npy", "image.npy", "text.npy", "exemplars.parquet", "manifest.json"])
@pytest.mark.parametrize("kept", [None, 0, 40])
def test_a_missing_or_cut_off_part_is_an_artefact_error(folder: Path, name: str, kept: int | None) -> None:
    part = folder / name
    data = part.read_bytes()
    part.unlink()
    if kept is not None:
        part.write_bytes(data[:kept])
    with pytest.raises(ArtefactError, match="index"):
        Index.open(folder)


def test_parts_of_two_indexes_are_refused(folder: Path, tmp_path: Path) -> None:
    frame, image, text = people(1, 4, 1)
    build_index(*save(tmp_path / "other", frame, image, text), tmp_path / "second")
    (tmp_path / "second" / "pooled.npy").replace(folder / "pooled.npy")
    with pytest.raises(ArtefactError, match="do not belong together"):
        Index.open(folder)


def test_building_again_replaces_the_folder_and_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    frame, image, text = people(1, 3, 1)
    index = build_index(*save(tmp_path / "in", frame, image, text), folder)
    assert len(index) == len(Index.open(folder)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "index"]


def test_what_cannot_be_indexed_is_refused(tmp_path: Path) -> None:
    frame, image, text = people(0, 3, 1)
    records, _ = save(tmp_path / "all", frame, image, text)
    _, fewer = save(tmp_path / "two", frame[:2], image[:2], text[:2])
    with pytest.raises(ArtefactError, match="r002_0"):
        build_index(records, fewer, tmp_path / "index")
    with pytest.raises(InputError, match="no exemplars"):
        build_index(records.take(np.empty(0, dtype=np.int64)), fewer, tmp_path / "index")
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("seed", range(3))
def test_search_is_exact_and_breaks_ties_by_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    distinct = unit(rng.normal(size=(15, 8))).astype(np.float32)
    vectors = distinct[rng.integers(15, size=200)]
    vectors[rng.integers(200, size=20)] = 0
    queries = np.vstack([distinct[:5], unit(rng.normal(size=(5, 8))), np.zeros((1, 8))]).astype(np.float32)
    cosines, rows = ExactSearch(vectors).search(queries, 30)
    filled = np.flatnonzero(vectors.any(axis=1))
    for row, query in enumerate(queries[:-1]):
        similarity = (vectors[filled] @ query).round(5)
        assert rows[row].tolist() == filled[np.lexsort((filled, -similarity))[:30]].tolist()
        assert cosines[row] == pytest.approx(np.sort(similarity)[::-1][:30], abs=1e-4)
    assert (rows[-1] == -1).all()


def test_search_for_more_than_there_is() -> None:
    vectors = unit(np.eye(3)).astype(np.float32)
    _, rows = ExactSearch(vectors).search(vectors[:1], 5)
    assert rows.tolist() == [[0, 1, 2, -1, -1]]
    assert (ExactSearch(np.zeros((3, 3), np.float32)).search(vectors, 2)[1] == -1).all()


def test_a_gpu_that_is_not_there() -> None:
    import faiss

    if faiss.get_num_gpus():
        pytest.skip("this machine has a GPU")
    assert choose_device("cpu") == choose_device("auto") == "cpu"
    with pytest.raises(DependencyError, match="cuda"):
        choose_device("cuda")


def test_gpu_search_finds_what_the_cpu_finds() -> None:
    if choose_device("auto") == "cpu":
        pytest.skip("needs a GPU that FAISS can use")
    vectors = unit(np.random.default_rng(0).normal(size=(2000, 64))).astype(np.float32)
    here, there = (ExactSearch(vectors, device).search(vectors[:100], 10) for device in ("cpu", "cuda"))
    assert (here[1] == there[1]).mean() > 0.99
    pd.testing.assert_frame_equal(pd.DataFrame(here[0]), pd.DataFrame(there[0]), atol=1e-4)
