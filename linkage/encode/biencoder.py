"""The bi-encoder in use: load by name, embed pictures and texts, pool, save."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file

from linkage.config import Device
from linkage.encode import towers
from linkage.encode.crops import fit_photo
from linkage.encode.folder import CONFIG_FILE, SHIPPED, VOCABULARY_FILE, WEIGHTS_FILE, model_folder
from linkage.encode.memory import keep_memory
from linkage.encode.pooling import pool
from linkage.encode.sight import CropSight, look
from linkage.encode.tokenizer import CharTokenizer
from linkage.errors import ArtefactError, ConfigError, DependencyError
from linkage.ocr.lines import fit_line
from linkage.ocr.measures import BATCH, USUAL
from linkage.places import MODEL, remote, unwanted
from linkage.text import FOLDING, Folding

log = logging.getLogger(__name__)

_LARGEST = 10**6  # no model of this field has a vocabulary, a width or a picture beyond
_AT_A_TIME = 64


class OpenClipTokenizer:
    """The tokenizer that open_clip has for one of its architectures.

    Attributes:
        architecture: whose.
        folding: what makes two texts equal.
    """

    def __init__(self, architecture: str, folding: Folding = FOLDING) -> None:
        self.architecture = architecture
        self.folding = folding
        self._tokenize = open_clip.get_tokenizer(architecture)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Ids of texts, int64 (n, context length)."""
        return np.asarray(self._tokenize([self.folding.fold(text) for text in texts]), dtype=np.int64)


def choose_device(device: Device) -> torch.device:
    """The device to compute on; `auto` takes a GPU when torch sees one.

    Raises:
        DependencyError: `cuda` was asked for and torch sees none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise DependencyError("encode.device: cuda was asked for, but torch sees no GPU; use auto or cpu")
    chosen = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    log.info("encode: %s (%s)", chosen, "asked for" if device != "auto" else "auto")
    return torch.device(chosen)


def check_model(name: str, device: Device = "auto") -> None:
    """Refuse what `BiEncoder.load` would refuse; an architecture of open_clip, which may be large, is not built.

    Raises:
        ConfigError, ArtefactError, DependencyError: as `BiEncoder.load`.
    """
    if model_folder(name) is not None or remote(name):
        BiEncoder.load(name, device)
        return
    architecture, _, checkpoint = name.partition(":")
    _known(architecture)
    if checkpoint:
        _check_checkpoint(Path(checkpoint))
    choose_device(device)


class BiEncoder:
    """An open_clip model with its tokenizer and its way to see a crop.

    Attributes:
        name: as it was asked for.
        model: the open_clip model; `visual` and text tower.
        tokenize: its tokenizer.
        model_cfg: open_clip's configuration of it.
        device: where it computes.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        tokenize: CharTokenizer | OpenClipTokenizer,
        model_cfg: dict[str, Any],
        device: torch.device,
    ) -> None:
        self.name = name
        self.model: Any = model.to(device).eval()  # open_clip's classes have no types
        self.tokenize = tokenize
        self.model_cfg = model_cfg
        self.device = device
        self.ink = towers.reads_lines(model)
        size: Any = model.visual.image_size
        self.height: int = size if isinstance(size, int) else size[0]
        self.width: int = size if isinstance(size, int) else size[1]

    @classmethod
    def load(cls, name: str, device: Device = "auto", folding: Folding = FOLDING) -> BiEncoder:
        """Load a model.

        Args:
            name: a shipped model (`linkage-line`), a folder that `train` wrote, or an open_clip architecture, alone
                (random weights) or with a local checkpoint: `ViT-B-32:weights.safetensors`. Nothing is ever downloaded.
            device: `auto`, `cpu` or `cuda`.
            folding: what makes two texts equal.

        Raises:
            ConfigError: no such architecture, or one whose parts would come from a hub.
            ArtefactError: the folder or checkpoint is missing, damaged or of another architecture.
            DependencyError: the device is not there.
        """
        if away := remote(name):
            raise ArtefactError(away)
        keep_memory()
        folder = model_folder(name)
        if folder is not None:
            return _from_folder(name, folder, device, folding)
        architecture, _, checkpoint = name.partition(":")
        cfg = _known(architecture)
        with _quiet_open_clip():
            model = towers.build(architecture)
        tokenize: CharTokenizer | OpenClipTokenizer
        if architecture == towers.ARCHITECTURE:
            tokenize = CharTokenizer(folding=folding)
        else:
            tokenize = OpenClipTokenizer(architecture, folding)
        if checkpoint:
            _load_weights(model, Path(checkpoint))
        else:
            log.warning("%s: no checkpoint given, so its weights are random; train it before use", architecture)
        return cls(name, model, tokenize, cfg, choose_device(device))

    @property
    def folding(self) -> Folding:
        """What makes two texts equal."""
        return self.tokenize.folding

    @property
    def dim(self) -> int:
        """Length D of an embedding."""
        return int(self.model_cfg["embed_dim"])

    @cached_property
    def sha256(self) -> str:
        """Digest of configuration and weights: equal exactly where the embeddings are comparable."""
        total = hashlib.sha256(json.dumps(self.model_cfg, sort_keys=True).encode())
        for key, tensor in sorted(self.model.state_dict().items()):
            total.update(key.encode())
            total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return total.hexdigest()

    def changed(self) -> None:
        """Take the digest anew: the weights are no longer those that were loaded."""
        self.__dict__.pop("sha256", None)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """A crop as the image tower takes it: uint8 (C, H, W); W varies where the tower reads lines."""
        fit = fit_line if self.ink else fit_photo
        return fit(image, self.height, self.width)

    def encode_image(self, images: Sequence[Image.Image | None]) -> np.ndarray:
        """Embed pictures: float32 unit rows (n, D), a row of zeros where there is no picture."""
        return self._encode(images, [image is not None for image in images], self._embed_images)

    def encode_pixels(self, pixels: Sequence[np.ndarray | None], batch: int = BATCH) -> np.ndarray:
        """What `encode_image` returns, of pictures that went through `pixels`; `batch` as in `look_at`."""
        embed = partial(towers.image_features, self.model, columns=USUAL * batch)
        at_a_time = len(pixels) if self.ink else batch  # lines are parted by their widths
        return self._encode(pixels, [one is not None for one in pixels], embed, max(1, at_a_time))

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: float32 unit rows (n, D), a row of zeros where a text is empty."""
        return self._encode(texts, [bool(text.strip()) for text in texts], self._embed_texts)

    def encode_columns(self, columns: Sequence[np.ndarray]) -> np.ndarray:
        """Embed lines by what was seen of them (see `Columns`): as `encode_image`, zeros where nothing was."""
        embed = partial(towers.image_features, self.model)
        return self._encode(columns, [len(part) > 0 for part in columns], embed)

    def look(self, images: Sequence[Image.Image | None]) -> tuple[np.ndarray, list[CropSight | None]]:
        """Embed lines of writing and read them in the same pass; only where `ink`.

        Returns:
            `encode_image(images)`, and what was seen of each picture, None where there is none.
        """
        return self.look_at([None if image is None else self.pixels(image) for image in images])

    def look_at(
        self, pixels: Sequence[np.ndarray | None], batch: int = BATCH
    ) -> tuple[np.ndarray, list[CropSight | None]]:
        """What `look` returns, of pictures that went through `pixels`.

        Args:
            pixels: uint8 (1, 48, W) each, None where there is no picture.
            batch: lines of 320 columns of pixels, or as many of others as have no more columns, at a time.
        """
        vectors = np.zeros((len(pixels), self.dim), dtype=np.float32)
        sights: list[CropSight | None] = [None] * len(pixels)
        rows = [row for row, one in enumerate(pixels) if one is not None]
        if rows:
            there = [one for one in pixels if one is not None]
            with torch.inference_mode():
                embedded, seen = look(self.model, there, self.letters, USUAL * batch)
            vectors[rows] = embedded.cpu().numpy()
            for row, sight in zip(rows, seen, strict=True):
                sights[row] = sight
        return vectors, sights

    @cached_property
    def letters(self) -> np.ndarray:
        """Code point of each class of the recogniser, uint32 (classes,); 0 for none. Only where `ink`."""
        assert isinstance(self.tokenize, CharTokenizer)
        classes = len(self.model.visual.trunk.rows)
        return np.array([0, *map(ord, list(self.tokenize.ids)[: classes - 1])], dtype=np.uint32)

    @staticmethod
    def pool(image: np.ndarray, text: np.ndarray, weight: float) -> np.ndarray:
        """Pooled embeddings of n records, float32 (n, D); see `pooling.pool`."""
        return pool(image, text, weight)

    def _embed_images(self, images: list[Image.Image]) -> torch.Tensor:
        return towers.image_features(self.model, [self.pixels(image) for image in images])

    def _embed_texts(self, texts: list[str]) -> torch.Tensor:
        return towers.text_features(self.model, torch.as_tensor(self.tokenize(texts)).to(self.device))

    def _encode(
        self,
        items: Sequence[Any],
        present: list[bool],
        embed: Callable[[list[Any]], torch.Tensor],
        at_a_time: int = _AT_A_TIME,
    ) -> np.ndarray:
        vectors = np.zeros((len(items), self.dim), dtype=np.float32)
        rows = np.flatnonzero(present)
        with torch.inference_mode():
            for start in range(0, len(rows), at_a_time):
                some = rows[start : start + at_a_time]
                vectors[some] = embed([items[row] for row in some]).cpu().numpy()
        return vectors

    def save(self, folder: Path) -> None:
        """Write the model into a folder, in the layout of open_clip's `local-dir:`, with 16-bit weights."""
        folder.mkdir(parents=True, exist_ok=True)
        visual = self.model.visual
        config: dict[str, Any] = {
            "model_cfg": self.model_cfg,
            "preprocess_cfg": {"mean": list(visual.image_mean), "std": list(visual.image_std)},
        }
        if isinstance(self.tokenize, CharTokenizer):
            vocabulary = self.tokenize.path.read_text(encoding="utf-8")
            (folder / VOCABULARY_FILE).write_text(vocabulary, encoding="utf-8", newline="\n")
        else:
            config["tokenizer"] = self.tokenize.architecture
        (folder / CONFIG_FILE).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        save_file(
            {
                key: (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous()
                for key, tensor in self.model.state_dict().items()
            },
            folder / WEIGHTS_FILE,
        )
        (folder / WEIGHTS_FILE).chmod(0o644)  # safetensors makes files that their owner alone can read


def _known(architecture: str) -> dict[str, Any]:
    cfg = None if ":" in architecture else open_clip.get_model_config(architecture)  # which asks a hub for hf-hub:x
    if cfg is None:
        if other := unwanted(Path(architecture), MODEL):
            raise ArtefactError(other)
        if "/" in architecture or "\\" in architecture:
            raise ArtefactError(f"{architecture}: no such model folder; train one with `linkage train`")
        shipped = [path.name for path in SHIPPED.glob("*/")]
        near = difflib.get_close_matches(architecture, [*shipped, *open_clip.list_models()])
        raise ConfigError(
            f"encode.model: no model, folder or architecture {architecture!r}"
            + (
                f"; near: {', '.join(near)}"
                if near
                else "; see `python -c 'import open_clip; print(open_clip.list_models())'`"
            )
        )
    return _without_hub(cfg, architecture)


def _without_hub(cfg: dict[str, Any], name: str) -> dict[str, Any]:
    """Refuse configurations whose tokenizer or towers open_clip would fetch."""
    text, vision = cfg.get("text_cfg", {}), cfg.get("vision_cfg", {})
    if text.get("hf_model_name") or text.get("hf_tokenizer_name") or ":" in str(vision.get("timm_model_name") or ""):
        raise ConfigError(f"encode.model: {name} needs files from a hub, which is never asked; choose another")
    return cfg


def _from_folder(name: str, folder: Path, device: Device, folding: Folding) -> BiEncoder:
    remedy = "train it again, or point --model at a folder that `linkage train` wrote"
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        cfg = _without_hub(dict(config["model_cfg"]), str(folder))
        _check_sizes(cfg, folder / WEIGHTS_FILE)
        with _quiet_open_clip():
            model = towers.build(f"local-dir:{folder}")
    except FileNotFoundError:
        said = f"{folder}: no model here ({CONFIG_FILE} is missing); {remedy}"
        raise ArtefactError(unwanted(folder, MODEL) or said) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, AssertionError) as error:
        raise ArtefactError(f"{path}: damaged ({_one_line(error)}); {remedy}") from None
    tokenize: CharTokenizer | OpenClipTokenizer
    if "tokenizer" in config:
        _known(str(config["tokenizer"]))  # else open_clip would look for it at a hub
        tokenize = OpenClipTokenizer(str(config["tokenizer"]), folding)
    else:
        tokenize = CharTokenizer(folder / VOCABULARY_FILE, int(cfg["text_cfg"]["context_length"]), folding)
    _check_vocabulary(model, tokenize, folder)
    _load_weights(model, folder / WEIGHTS_FILE)
    return BiEncoder(name, model, tokenize, cfg, choose_device(device))


def _check_sizes(cfg: dict[str, Any], weights: Path) -> None:
    """Refuse sizes that the file of weights cannot fill: building such a model would take all memory there is.

    Raises:
        ValueError: a tower is larger than its weights.
    """
    held = weights.stat().st_size if weights.is_file() else 0  # nothing: `_load_weights` says so
    for name in ("text_cfg", "vision_cfg"):
        sizes = {key: size for key, size in cfg.get(name, {}).items() if isinstance(size, int)}
        if any(size > _LARGEST for size in sizes.values()):
            raise ValueError(f"{name} has sizes beyond {_LARGEST}")
        # A layer of a transformer holds more than this many numbers, of two bytes at least.
        if sizes.get("layers", 0) * sizes.get("width", 0) ** 2 * 2 > held > 0:
            raise ValueError(f"{name} is larger than {WEIGHTS_FILE}")


def _check_vocabulary(model: Any, tokenize: CharTokenizer | OpenClipTokenizer, folder: Path) -> None:
    """Refuse a folder whose vocabulary is not that of its towers: ids would run out of their tables."""
    lines = towers.reads_lines(model)
    if isinstance(tokenize, CharTokenizer):
        fits = tokenize.vocab_size <= model.text.vocab_size
        fits = fits and not (lines and len(tokenize.ids) < len(model.visual.trunk.rows) - 1)
    else:
        fits = not lines
    if not fits:
        raise ArtefactError(f"{folder / VOCABULARY_FILE}: not the vocabulary of this model; train it again")


def _check_checkpoint(path: Path) -> None:
    """Refuse a file of weights that is not there or no safetensors: any other format may run code when it is opened."""
    if path.suffix != ".safetensors":
        raise ArtefactError(f"{path}: only .safetensors checkpoints are opened; convert it first")
    if not path.is_file():
        raise ArtefactError(f"{path}: no such checkpoint")


def _load_weights(model: Any, path: Path) -> None:
    """Fill a model from a safetensors file."""
    _check_checkpoint(path)
    try:
        with _quiet_open_clip():
            open_clip.load_checkpoint(model, str(path))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ArtefactError(f"{path}: damaged, or of another architecture ({_one_line(error)})") from None


@contextmanager
def _quiet_open_clip() -> Iterator[None]:
    """Drop what open_clip logs straight to the root logger (that weights are random, before we fill them in)."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
