"""The figures of an epoch, with an encoder whose vectors are known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lines import crop, write_records

from linkage.encode import validate
from linkage.encode.pooling import pool
from linkage.encode.validate import Validation
from linkage.records import Records

ENTITIES = ("a", "a", "a", "b", "b", "c")


def unit(rows: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Known:
    """An encoder that gives the vectors it was made with, in order."""

    def __init__(self, image: np.ndarray, text: np.ndarray) -> None:
        self.image, self.text = image, text
        self.model = SimpleNamespace(eval=lambda: None)

    def encode_image(self, pictures: list[Any]) -> np.ndarray:
        present = np.array([picture is not None for picture in pictures])
        return self.image * present[:, None]

    def encode_text(self, texts: list[str]) -> np.ndarray:
        return self.text * np.array([text != "" for text in texts])[:, None]


def a_validation(path: Path, rows: list[dict[str, object]] | None = None) -> Validation:
    rows = rows or [{"text": f"t{n}", "entity_id": entity, "split": "val"} for n, entity in enumerate(ENTITIES)]
    return Validation(Records.open(write_records(path / "records.parquet", rows)), 0.3)


def figures(validation: Validation, image: np.ndarray, text: np.ndarray) -> dict[str, float]:
    return validation.measure(Known(image, text))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(3))
def test_every_figure_is_what_its_definition_says(tmp_path: Path, seed: int) -> None:
    image, text = unit(6, seed), unit(6, seed + 5)
    validation = a_validation(tmp_path)
    found = figures(validation, image, text)
    assert (validation.rows, validation.queries) == (6, 5)  # c has nobody to find
    pooled = pool(image, text, 0.3)
    hits, distances, positives = [], [], []
    for i in range(6):
        others = [j for j in range(5) if j != i]
        nearest = max(others, key=lambda j: float(pooled[i] @ pooled[j]))
        hits += [ENTITIES[nearest] == ENTITIES[i]] if i < 5 else []
        for j in range(i):
            distances.append(float(((pooled[i] - pooled[j]) ** 2).sum()))
            positives += distances[-1:] if ENTITIES[i] == ENTITIES[j] else []
    wanted = {
        "hit_pooled": np.mean(hits),
        "alignment": np.mean(positives),
        "uniformity": np.log(np.mean(np.exp(-2 * np.array(distances)))),
    }
    for name, one, other in (("image_to_text", image, text), ("text_to_image", text, image)):
        for k in (1, 5, 10):
            ranked = [sorted(range(6), key=lambda j: -float(one[i] @ other[j]))[:k] for i in range(6)]
            right = [any(ENTITIES[j] == ENTITIES[i] for j in near) for i, near in enumerate(ranked)]
            wanted[f"{name}_recall_{k}"] = np.mean(right)
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=2e-5), name


def test_no_record_finds_itself(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"text": f"t{n}", "entity_id": "ab"[n // 2], "split": "val"} for n in range(4)]
    vectors = np.array([[1, 0], [0, 1], [0.9, 0.1], [0.1, 0.9]], dtype=np.float32)  # near to the other entity's
    assert figures(a_validation(tmp_path, rows), vectors, vectors)["hit_pooled"] == 0.0


def test_entities_that_training_sees_and_test_rows_are_left_out(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"text": f"t{n}", "entity_id": entity, "split": split}
        for n, (entity, split) in enumerate(
            [("a", "val"), ("a", "val"), ("b", "val"), ("b", "train"), ("b", "val"), ("c", "test"), ("c", "test")]
        )
    ]
    validation = a_validation(tmp_path, rows)
    assert validation.records.frame["text"].tolist() == ["t0", "t1"]
    assert validation.queries == 2


def test_unlabelled_pairs_tell_recall_and_choose_no_epoch(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"text": text, "split": "val"} for text in ("One", "two", "one", "")]
    rows[3]["crop"] = crop("three")
    validation = a_validation(tmp_path, rows)
    assert (validation.rows, validation.queries) == (4, 0)
    eye = np.eye(4, dtype=np.float32)
    found = figures(validation, eye, eye[[2, 1, 0, 3]])  # the same text is as good as one's own
    assert found["image_to_text_recall_1"] == found["text_to_image_recall_1"] == 1.0
    assert not any(name.startswith("hit") for name in found)


def test_large_validation_sets_are_cut_to_whole_entities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "_MOST", 10)
    names = [f"e{n // 3}" for n in range(30)] + [f"lone{n}" for n in range(10)]
    rows: list[dict[str, object]] = [{"text": n, "crop": None, "entity_id": n, "split": "val"} for n in names]
    kept = a_validation(tmp_path, rows).records.frame["entity_id"].value_counts()
    assert (kept[[name.startswith("e") for name in kept.index]] == 3).all()
    assert 9 <= kept.sum() <= 10
    assert sum(name.startswith("lone") for name in kept.index) <= 1
