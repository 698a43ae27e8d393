"""Maps between models: queries of a newer model are turned into the space that an index was made in.

Two trainings of a model give spaces that differ, for a good part, by a turn. The map is the orthogonal matrix M that
lays the new vectors N of some exemplars over the old ones O that the index holds, with the greatest sum of inner
products <n M, o>: orthogonal Procrustes (Schonemann 1966, A generalized solution of the orthogonal Procrustes problem),
semi-orthogonal where the dimensions differ. One M serves pictures and texts: their cosines with each other hold.

It is the queries that are mapped. <n M, o> is <n, o M'>, so every cosine is what it would be with each exemplar mapped
the other way, and an index of any size and kind stays as it lies on the disk.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linkage.arrays import read_array, writing_array
from linkage.encode.pooling import Vectors
from linkage.errors import ArtefactError
from linkage.tables import replacing

if TYPE_CHECKING:
    from linkage.encode.embeddings import Embeddings
    from linkage.search.index import Index

log = logging.getLogger(__name__)

FORMAT = 1
_ROWS_AT_A_TIME = 8192  # mapped at a time: some 20 MB
_NUDGE = 1e-6  # of the mean singular value: what too few vectors leave open becomes the identity, not chance
_AWRY = 1e-3  # furthest from the identity that M M' of a sound map may be; float32 rounds it by 1e-6
_HEADER = 1 << 16  # bytes that the names and figures of a map never fill

Interval = tuple[float, float, float, int]
"""A figure: value, its 95 % interval, and the n that it was measured on."""


@dataclass(frozen=True)
class ModelMap:
    """A map of a new model's vectors into the space of an index.

    Attributes:
        matrix: M, float32 (D new, D old), orthonormal along its shorter side.
        old_sha256, new_sha256: of the two models.
        sample: exemplars that it was fitted on.
        figures: what it was measured to be worth, by name, see `evaluate.maps.measured`.
    """

    matrix: np.ndarray
    old_sha256: str
    new_sha256: str
    sample: int
    figures: dict[str, Interval]

    @property
    def sentence(self) -> str:
        """What links through the map are worth, as far as it was measured."""
        begin = f"queries are mapped into the index's space by a map that was fitted on {self.sample} exemplars; "
        if "loss" in self.figures:
            loss, low, high, n = self.figures["loss"]
            points = f"{100 * loss:.1f} points of pooled hit@1 (95 % {100 * low:.1f} to {100 * high:.1f}, n = {n})"
            return f"{begin}it loses {points} against exemplars embedded again"
        own, low, high, n = self.figures["own"]
        share = f"{100 * own:.1f} % (95 % {100 * low:.1f} to {100 * high:.1f}, n = {n})"
        return f"{begin}of mapped exemplars {share} find themselves first; what that loses of hit@1 was not measured"

    def facts(self) -> dict[str, Any]:
        """All but the matrix, for JSON."""
        shown = {"sample": self.sample, "old_sha256": self.old_sha256, "new_sha256": self.new_sha256}
        return shown | {"figures": {name: list(figure) for name, figure in self.figures.items()}}

    def save(self, folder: Path) -> Path:
        """Write the map into the folder of the index, atomically; an earlier one of the same model is replaced."""
        from safetensors.numpy import save_file

        path = folder / _name(self.new_sha256)
        facts = json.dumps({"format": FORMAT} | self.facts())
        with replacing(path) as temporary:
            save_file({"matrix": np.ascontiguousarray(self.matrix)}, temporary, metadata={"map": facts})
            temporary.chmod(0o644)  # safetensors makes files that their owner alone can read
        return path


def fit_map(new: Vectors, old: Vectors) -> np.ndarray:
    """The matrix M that maps new vectors nearest to old ones, float32 (D new, D old).

    Args:
        new, old: of the same records, row by row; rows of zeros (a missing modality) tell nothing.
    """
    return solve(products(new, old))


def products(new: Vectors, old: Vectors) -> np.ndarray:
    """What `solve` needs of some records, float64 (D new, D old); that of more records is the sum."""
    pairs = ((np.asarray(n, dtype=np.float64), np.asarray(o, dtype=np.float64)) for n, o in zip(new, old, strict=True))
    return np.asarray(sum(n.T @ o for n, o in pairs))


def solve(summed: np.ndarray) -> np.ndarray:
    """M = U V' of the singular value decomposition U S V' of N' O (Schonemann 1966, equations 2.1 to 2.4)."""
    size = np.linalg.norm(summed) / np.sqrt(min(summed.shape))
    left, _, right = np.linalg.svd(summed + _NUDGE * size * np.eye(*summed.shape), full_matrices=False)
    return np.asarray(left @ right, dtype=np.float32)


def turned(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Map rows (n, D new), unit or zero, to float32 (n, D old), unit or zero."""
    found = np.asarray(rows, dtype=np.float32) @ matrix
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(np.divide(found, length, out=np.zeros_like(found), where=length > 0))


def load_map(folder: Path, index: Index, new_sha256: str, dim: int, new: str) -> ModelMap:
    """The map of a new model that lies in the folder of an index.

    Args:
        folder: of the index.
        index: opened from it.
        new_sha256: of the new model.
        dim: length of the new model's vectors.
        new: the new model's name, for the message.

    Raises:
        ArtefactError: there is none, it is damaged, or it belongs to another index.
    """
    path = folder / _name(new_sha256)
    if not path.is_file():
        raise ArtefactError(
            f"{folder}: made with model {index.manifest['model']!r}, the queries are for {new!r} or another version of "
            f"it; fit a map with `linkage map {folder} EXEMPLARS --model {new}`, or embed the exemplars again with "
            f"`linkage index EXEMPLARS --model {new}`"
        )
    try:
        found = _read(path, (dim, int(index.manifest["dim"])))
        if (found.old_sha256, found.new_sha256) != (index.manifest["model_sha256"], new_sha256):
            raise ValueError("it is a map between other models")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        said = " ".join(str(error).split())[:160]
        raise ArtefactError(f"{path}: damaged ({said}); make it again with `linkage map`") from None
    return found


def _name(new_sha256: str) -> str:
    """File name of a map: the digest of a damaged manifest may be anything, and must name no other place."""
    return f"map-{new_sha256 if re.fullmatch('[0-9a-f]{64}', new_sha256) else 'unknown'}.safetensors"


def _read(path: Path, shape: tuple[int, int]) -> ModelMap:
    """Read a map and check all that it says."""
    from safetensors import SafetensorError, safe_open

    if path.stat().st_size > 4 * shape[0] * shape[1] + _HEADER:
        raise ValueError("larger than such a map can be")
    try:
        with safe_open(path, "numpy") as file:
            facts = json.loads(file.metadata()["map"])
            matrix = file.get_tensor("matrix")
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    if facts["format"] != FORMAT or matrix.shape != shape or matrix.dtype != np.float32:
        raise ValueError(f"format {facts['format']}, {matrix.dtype} {matrix.shape}, not {FORMAT}, float32 {shape}")
    short = matrix if shape[0] <= shape[1] else matrix.T
    if not np.isfinite(short).all() or np.abs(short @ short.T - np.eye(len(short))).max() > _AWRY:
        raise ValueError("its matrix is not orthogonal")
    figures = {str(name): _interval(figure) for name, figure in facts["figures"].items()}
    found = ModelMap(matrix, facts["old_sha256"], facts["new_sha256"], int(facts["sample"]), figures)
    _ = found.sentence  # has what it tells of
    return found


def _interval(figure: Any) -> Interval:
    value, low, high, n = figure
    return float(value), float(low), float(high), int(n)


@contextmanager
def mapped(embeddings: Embeddings, index: Index, folder: Path, work: Path) -> Iterator[Embeddings]:
    """Queries' embeddings in the space of an index, for as long as the block runs.

    Args:
        embeddings: of the queries.
        index: opened from `folder`, where maps lie.
        folder: of the index.
        work: the mapped vectors, as large as those given, lie in a folder of their own in here.

    Yields:
        `embeddings` where the index is of the same model. Else their copy whose vectors are mapped and whose manifest
        names the index's model and, as `map`, what the map is; a block of rows at a time is read.

    Raises:
        ArtefactError: the models differ and there is no sound map; see `load_map`.
    """
    manifest = embeddings.manifest
    if manifest["model_sha256"] == index.manifest["model_sha256"]:
        yield embeddings
        return
    found = load_map(folder, index, str(manifest["model_sha256"]), int(manifest["dim"]), str(manifest["model"]))
    log.info("link: %s", found.sentence)
    seen = copy(embeddings)
    told = {"model": manifest["model"], "sentence": found.sentence} | found.facts()
    seen.manifest = manifest | {"model_sha256": found.old_sha256, "dim": found.matrix.shape[1], "map": told}
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mapped-", dir=work) as temporary:
        seen.folder = Path(temporary)  # where another process finds the mapped vectors
        if (records := embeddings.folder / "records.parquet").exists():
            (seen.folder / records.name).symlink_to(records.absolute())
        seen.image = _turned_on_disk(embeddings.image, found.matrix, seen.folder / "image.npy")
        seen.text = _turned_on_disk(embeddings.text, found.matrix, seen.folder / "text.npy")
        yield seen


def _turned_on_disk(rows: np.ndarray, matrix: np.ndarray, path: Path) -> np.ndarray:
    """Map all rows into an array on disk."""
    with writing_array(path, (len(rows), matrix.shape[1])) as write:
        for start in range(0, len(rows), _ROWS_AT_A_TIME):
            write(turned(rows[start : start + _ROWS_AT_A_TIME], matrix))
    return read_array(path)
