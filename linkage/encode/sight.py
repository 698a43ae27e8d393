"""Crops as the recogniser saw them, kept as arrays: embeddings, lattices and columns in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from linkage.encode.lattice import Lattice
from linkage.encode.line import InkColumns, LatticeBatch
from linkage.encode.towers import restore_order
from linkage.ocr.reader import batches_of_lines

_JUDGED = 512  # columns of features at a time: each has 18,710 chances, several times over


class CropSight(NamedTuple):
    """One crop as the recogniser saw it.

    Attributes:
        columns: float16 (K, 242): says, shows, weight and place of every column that counts (see `InkColumns`).
        lattice: its characters.
    """

    columns: np.ndarray
    lattice: Lattice


def look(
    model: Any, pixels: Sequence[np.ndarray], letters: np.ndarray, columns: int
) -> tuple[torch.Tensor, list[CropSight]]:
    """Embed lines and keep what was seen of them, in one pass.

    Args:
        model: an open_clip model whose image tower is a `LineTower`.
        pixels: uint8 (1, 48, W) each.
        letters: uint32 (classes,), code point of each class of the recogniser.
        columns: of pixels in a batch, see `batches_of_lines`.

    Returns:
        float32 unit rows (B, D), and what was seen of each line.
    """
    trunk = model.visual.trunk
    vectors: list[torch.Tensor] = []
    sights: list[CropSight] = []
    order: list[int] = []
    for rows, batch in batches_of_lines(pixels, columns):
        features, real = trunk.reader(batch.to(model.logit_scale.device))
        judged = _JUDGED if features.device.type == "cpu" else 16 * _JUDGED
        step = max(1, judged // real.shape[1])
        for start in range(0, len(rows), step):
            some = slice(start, start + step)
            seen, lattices = trunk.judge(features[some], real[some])
            vectors.append(model.visual.head(trunk.gist(seen)).float())
            sights += _apart(seen, lattices, letters)
        order += rows
    return restore_order(vectors, order), [sights[place] for place in np.argsort(order)]


def _apart(seen: InkColumns, lattices: LatticeBatch, letters: np.ndarray) -> list[CropSight]:
    columns = torch.cat((seen.says, seen.shows, seen.weight.unsqueeze(2), seen.place.unsqueeze(2)), dim=2)
    counted, inked = (part.cpu().numpy() > 0 for part in (seen.weight, lattices.weight))
    arrays = [part.detach().cpu().numpy() for part in (columns, *lattices)]
    sights = []
    for row in range(len(counted)):
        line = arrays[0][row, counted[row]]
        classes, chances, weight, gap = (part[row, inked[row]] for part in arrays[1:])
        lattice = Lattice(letters[classes], chances.astype(np.float16), weight.astype(np.float16), gap)
        sights.append(CropSight(line.astype(np.float16), lattice))
    return sights
