"""Maps between models: a turn is found again; a newer model's queries link through it; what does not fit is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from linkdata import people, save, unit
from safetensors.numpy import save_file

from linkage.compare.likeness import Vectors
from linkage.config import LinkConfig
from linkage.encode.embeddings import Embeddings
from linkage.encode.pooling import pool
from linkage.errors import ArtefactError
from linkage.link.link import link
from linkage.records import Records
from linkage.search.index import Index, build_index
from linkage.search.maps import ModelMap, fit_map, load_map, mapped, turned

NEW = "ab" * 32


def turn(seed: int, new: int, old: int) -> np.ndarray:
    """A random matrix (new, old), orthonormal along its shorter side, float32."""
    rows = np.random.default_rng(seed).normal(size=(max(new, old), min(new, old)))
    matrix = np.linalg.qr(rows)[0]
    return np.asarray(matrix if new >= old else matrix.T, dtype=np.float32)


def drawn(seed: int, n: int, dim: int) -> Vectors:
    """Random unit rows, some of them missing, as float16 keeps them."""
    rng = np.random.default_rng(seed)
    image, text = (unit(rng.normal(size=(n, dim))) for _ in range(2))
    image[rng.random(n) < 0.2] = 0
    text[rng.random(n) < 0.2] = 0
    return Vectors(*(part.astype(np.float16).astype(np.float32) for part in (image, text)))


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 24), st.integers(0, 12))
def test_a_turn_is_found_again_to_what_float16_keeps(seed: int, old: int, more: int) -> None:
    known = drawn(seed, 4 * (old + more), old)
    turned_back = turn(seed, old, old + more)  # old vectors as the new model has them, of more dimensions
    new = Vectors(*((part @ turned_back).astype(np.float16) for part in known))
    matrix = fit_map(new, known)
    assert matrix.shape == (old + more, old)
    assert np.abs(matrix.T @ matrix - np.eye(old)).max() < 1e-5
    for ours, theirs in zip(new, known, strict=True):
        assert np.abs(turned(ours, matrix) - theirs).max() < 4e-3


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 32), st.floats(0, 1))
def test_mapping_queries_or_exemplars_gives_the_same_cosines(seed: int, dim: int, weight: float) -> None:
    queries, exemplars, matrix = drawn(seed, 20, dim), drawn(seed + 1, 30, dim), turn(seed, dim, dim)
    here = Vectors(*(turned(part, matrix) for part in queries))
    there = Vectors(*(turned(part, matrix.T) for part in exemplars))
    for one in (0, 1):
        for other in (0, 1):
            assert unit(here[one]) @ unit(exemplars[other]).T == pytest.approx(
                unit(queries[one]) @ unit(there[other]).T, abs=1e-5
            )
    exact = [Vectors(*map(unit, vectors)) for vectors in (queries, exemplars, here, there)]  # float16 keeps no lengths
    # Where picture and text all but cancel, pooling makes much of the last bits.
    asked, known = (np.linalg.norm(weight * i + (1 - weight) * t, axis=1) > 0.01 for i, t in exact[:2])
    pooled = [pool(*vectors, weight) for vectors in exact]
    ours, theirs = (pooled[2] @ pooled[1].T)[asked][:, known], (pooled[0] @ pooled[3].T)[asked][:, known]
    assert ours == pytest.approx(theirs, abs=2e-3)


def test_too_few_vectors_leave_a_space_as_it_is() -> None:
    new, old = drawn(0, 3, 16), drawn(1, 3, 16)
    matrix = fit_map(new, old)
    assert np.abs(matrix @ matrix.T - np.eye(16)).max() < 1e-5
    same = Vectors(*(part[:2] for part in new))
    assert np.abs(fit_map(same, same) - np.eye(16)).max() < 1e-3


@pytest.fixture
def case(tmp_path: Path) -> tuple[Path, Records, Embeddings, Embeddings, np.ndarray]:
    """An index, its queries as the index's model embeds them and as a turned one does, and the turn back."""
    frame, image, text = people(0, 60, 2)
    records, old = save(tmp_path / "old", frame, image, text)
    exemplar = (frame["role"] == "exemplar").to_numpy()
    build_index(records.take(np.flatnonzero(exemplar)), old, tmp_path / "index")
    matrix = turn(7, 32, 32)
    _, new = save(tmp_path / "new", frame, image @ matrix.T, text @ matrix.T, model="newer")
    new.manifest["model_sha256"] = NEW
    return tmp_path / "index", records.take(np.flatnonzero(~exemplar)), old, new, matrix


def test_links_through_a_map_are_those_of_the_index_own_model(
    case: tuple[Path, Records, Embeddings, Embeddings, np.ndarray],
) -> None:
    folder, queries, old, new, matrix = case
    index = Index.open(folder)
    ModelMap(matrix, index.manifest["model_sha256"], NEW, 60, {"own": (1.0, 1.0, 1.0, 60)}).save(folder)
    wanted = link(queries, old, index, LinkConfig(device="cpu")).links
    with mapped(new, index, folder, folder.parent / "work") as seen:
        assert seen.image.dtype == np.float16 and seen.image.shape == old.image.shape
        result = link(queries, seen, index, LinkConfig(device="cpu"))
        told = result.mapped
    first = wanted["rank"] == 1
    assert result.links[result.links["rank"] == 1]["entity_id"].tolist() == wanted[first]["entity_id"].tolist()
    assert result.links["score"].to_numpy() == pytest.approx(wanted["score"].to_numpy(), abs=5e-3)
    assert told and told["model"] == "newer" and "100.0 %" in told["sentence"]
    result.save(folder.parent / "links.csv", index=folder, queries=queries.path)
    manifest = json.loads((folder.parent / "links.csv.manifest.json").read_text())
    assert manifest["map"]["new_sha256"] == NEW
    with mapped(old, index, folder, folder.parent / "work") as same:
        assert same is old


def test_without_a_map_both_ways_out_are_named(case: tuple[Path, Records, Embeddings, Embeddings, np.ndarray]) -> None:
    folder, _, _, new, _ = case
    work = folder.parent / "work"
    wanted = r"linkage map .*--model newer.*`linkage index"
    with (
        pytest.raises(ArtefactError, match=wanted) as caught,
        mapped(new, Index.open(folder), folder, folder.parent / "work"),
    ):
        pass
    assert "\n" not in str(caught.value) and not work.exists()
    new.manifest["model_sha256"] = "../../elsewhere"
    with pytest.raises(ArtefactError, match="linkage map"), mapped(new, Index.open(folder), folder, work):
        pass


def test_what_is_no_map_of_this_index_is_refused(
    case: tuple[Path, Records, Embeddings, Embeddings, np.ndarray],
) -> None:
    folder, _, _, _, matrix = case
    index = Index.open(folder)
    good = ModelMap(matrix, index.manifest["model_sha256"], NEW, 60, {"loss": (0.01, 0.0, 0.02, 60)})
    path = good.save(folder)
    whole = path.read_bytes()
    found = load_map(folder, index, NEW, 32, "newer")
    assert found.figures == good.figures and (found.matrix == matrix).all()
    assert "1.0 points" in found.sentence
    header = {"format": 1} | good.facts()
    files: dict[str, bytes] = {"empty": b"", "cut off": whole[:-5], "no safetensors": b"x" * 300, "long": whole * 9}
    for name, tensor, facts in (
        ("not orthogonal", 2 * matrix, header),
        ("not finite", matrix * np.float32(np.nan), header),
        ("another shape", matrix[:, :20], header),
        ("of float64", matrix.astype(np.float64), header),
        ("another format", matrix, header | {"format": 9}),
        ("another index", matrix, header | {"old_sha256": "cd" * 32}),
        ("no figures", matrix, header | {"figures": {}}),
        ("wrong figures", matrix, header | {"figures": {"loss": ["a", 0, 0, 1]}}),
        ("no mapping", matrix, header | {"figures": 3}),
        ("no facts", matrix, None),
    ):
        save_file({"matrix": np.ascontiguousarray(tensor)}, folder / "t", metadata={"map": json.dumps(facts)})
        files[name] = (folder / "t").read_bytes()
    save_file({"other": matrix}, folder / "t")
    files["no metadata"] = (folder / "t").read_bytes()
    for name, content in files.items():
        path.write_bytes(content)
        with pytest.raises(ArtefactError, match="linkage map") as caught:
            load_map(folder, index, NEW, 32, "newer")
        assert str(path) in str(caught.value), name
    replace(good, sample=61).save(folder)
    assert load_map(folder, index, NEW, 32, "newer").sample == 61
