from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from lines import NAMES, draw, tiny_model
from PIL import Image

from linkage.encode.biencoder import BiEncoder
from linkage.encode.folder import CONFIG_FILE, model_folder
from linkage.encode.pooling import pool
from linkage.errors import ArtefactError, ConfigError, DependencyError


@pytest.fixture(scope="module")
def encoder() -> BiEncoder:
    torch.manual_seed(0)
    return BiEncoder.load("linkage_line", "cpu")


def test_rows_are_unit_or_zero_where_a_modality_is_missing(encoder: BiEncoder) -> None:
    image = encoder.encode_image([draw("Abbot"), None, draw("Baker")])
    text = encoder.encode_text(["Abbot", "", " "])
    assert image.shape == text.shape == (3, encoder.dim)
    assert image.dtype == text.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(image, axis=1), [1, 0, 1], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(text, axis=1), [1, 0, 0], atol=1e-5)


def test_nothing_to_embed(encoder: BiEncoder) -> None:
    assert encoder.encode_image([]).shape == encoder.encode_text([]).shape == (0, encoder.dim)
    assert not encoder.encode_image([None]).any()


def test_an_embedding_does_not_depend_on_its_company(encoder: BiEncoder) -> None:
    texts = [name * (1 + n % 4) for n, name in enumerate(NAMES)]
    alone = np.concatenate([encoder.encode_text([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode_text(texts), alone, atol=2e-6)
    pictures = [draw(name) for name in NAMES[:5]]
    alone = np.concatenate([encoder.encode_image([picture]) for picture in pictures])
    np.testing.assert_allclose(encoder.encode_image(pictures), alone, atol=2e-6)


def test_texts_that_fold_alike_are_one(encoder: BiEncoder) -> None:
    first, second = encoder.encode_text(["Dubois  & Cie", "ＤＵＢＯＩＳ & CIE"])
    np.testing.assert_array_equal(first, second)


def test_a_saved_model_is_the_same_model(encoder: BiEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "model")
    loaded = BiEncoder.load(str(tmp_path / "model"), "cpu")
    assert np.abs(loaded.encode_text(list(NAMES)) - encoder.encode_text(list(NAMES))).max() < 5e-3  # 16-bit weights
    again = tmp_path / "again"
    loaded.save(again)
    assert BiEncoder.load(str(again), "cpu").sha256 == loaded.sha256
    assert (again / "model.safetensors").stat().st_size < 40e6


def test_other_weights_have_another_digest(tmp_path: Path) -> None:
    one, two = (BiEncoder.load(str(tiny_model(tmp_path / str(seed), seed)), "cpu") for seed in (0, 1))
    assert one.sha256 != two.sha256


def test_any_architecture_of_open_clip_can_be_built_from_a_local_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = BiEncoder.load("RN50", "cpu")
    assert "random" in caplog.text
    assert not encoder.ink
    vectors = encoder.encode_image([draw("Abbot")]), encoder.encode_text(["a receipt"])
    encoder.save(tmp_path / "model")
    loaded = BiEncoder.load(f"RN50:{tmp_path / 'model' / 'model.safetensors'}", "cpu")
    for before, after in zip(
        vectors, (loaded.encode_image([draw("Abbot")]), loaded.encode_text(["a receipt"])), strict=True
    ):
        assert float((before * after).sum()) > 0.99


def test_the_architecture_for_photographs_sees_colour_and_is_saved_with_its_tokenizer(tmp_path: Path) -> None:
    encoder = BiEncoder.load("linkage_photo", "cpu")
    assert not encoder.ink
    red, green = (encoder.encode_image([Image.new("RGB", (80, 60), colour)]) for colour in ("red", "green"))
    assert float((red * green).sum()) < 0.999
    encoder.save(tmp_path / "model")
    loaded = BiEncoder.load(str(tmp_path / "model"), "cpu")
    before, after = (model.encode_text(["a dog runs", "a dog"]) for model in (encoder, loaded))
    assert float((before * after).sum(axis=1).min()) > 0.99


def test_an_unknown_name_lists_near_ones() -> None:
    with pytest.raises(ConfigError, match="ViT-B-32"):
        BiEncoder.load("ViT-B32", "cpu")


def test_a_folder_whose_tokenizer_is_at_a_hub_is_refused(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny")
    config = json.loads((folder / CONFIG_FILE).read_text())
    for name in ("hf-hub:timm/ViT-B-16-SigLIP", "../other", "no-such-architecture"):
        (folder / CONFIG_FILE).write_text(json.dumps(config | {"tokenizer": name}))
        with pytest.raises((ArtefactError, ConfigError), match=r"no such model folder|no model, folder or arch"):
            BiEncoder.load(str(folder), "cpu")


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "roberta-ViT-B-32"])
def test_what_would_come_from_a_hub_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="hub"):
        BiEncoder.load(name, "cpu")


def test_missing_and_damaged_models_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no such model folder"):
        BiEncoder.load(str(tmp_path / "missing"), "cpu")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtefactError, match="no model here"):
        BiEncoder.load(str(tmp_path / "empty"), "cpu")
    folder = tiny_model(tmp_path / "tiny")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ArtefactError, match="damaged"):
        BiEncoder.load(str(folder), "cpu")
    (folder / "open_clip_config.json").write_text("{")
    with pytest.raises(ArtefactError, match="damaged"):
        BiEncoder.load(str(folder), "cpu")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "sprung",))

    (tmp_path / "weights.pt").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ArtefactError, match="safetensors"):
        BiEncoder.load(f"linkage_line:{tmp_path / 'weights.pt'}", "cpu")
    folder = tiny_model(tmp_path / "tiny")
    (folder / "model.safetensors").rename(folder / "model.bin")
    with pytest.raises(ArtefactError, match="no such checkpoint"):
        BiEncoder.load(str(folder), "cpu")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there_is_named() -> None:
    with pytest.raises(DependencyError, match="cuda"):
        BiEncoder.load("linkage_line", "cuda")


def test_names_and_folders(tmp_path: Path) -> None:
    assert model_folder(str(tmp_path)) == tmp_path
    assert model_folder("ViT-B-32") is None
    assert model_folder("../models/linkage-line") is None


ROWS = arrays.arrays(np.float32, (4, 6), elements=st.floats(-1, 1, width=32))


@given(ROWS, ROWS, st.floats(0, 1))
def test_pooling_leaves_out_what_is_missing(image: np.ndarray, text: np.ndarray, weight: float) -> None:
    image, text = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-3) for rows in (image, text))
    for rows in (image, text):  # as embeddings are: of unit length, or missing
        rows[np.linalg.norm(rows, axis=1) < 0.99] = 0
    image[0] = text[1] = image[2] = text[2] = 0
    pooled = pool(image, text, weight)
    np.testing.assert_allclose(pooled[2], 0)
    for row, only in ((0, text[0]), (1, image[1])):
        length = np.linalg.norm(only)
        np.testing.assert_allclose(pooled[row], only / length if length else only, atol=1e-5)
    lengths = np.linalg.norm(pooled, axis=1)
    assert ((np.abs(lengths - 1) < 1e-4) | (lengths == 0)).all()
