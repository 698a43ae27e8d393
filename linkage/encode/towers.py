"""Our two architectures for open_clip, one for lines of text and one for photographs, and how towers are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from torch import nn

from linkage.encode.line import InkColumns, LineTower
from linkage.ocr.measures import BATCH, COLUMN, USUAL
from linkage.ocr.reader import batches_of_lines

ARCHITECTURE = "linkage_line"  # also the name of its image tower at timm
PHOTO_ARCHITECTURE = "linkage_photo"  # no weights are shipped: small enough to be trained from nothing in minutes


class Spelling(nn.Module):
    """Token vectors of characters in two steps: how a character looks (120 numbers), then what that means here."""

    def __init__(self, characters: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(characters, COLUMN)
        self.project = nn.Linear(COLUMN, width, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 (B, L) -> (B, L, width)."""
        out: torch.Tensor = self.project(self.table(tokens))
        return out


for _name in (ARCHITECTURE, PHOTO_ARCHITECTURE):
    open_clip.add_model_config(Path(__file__).with_name(f"{_name}.json"))


def build(name: str) -> Any:
    """Let open_clip build an architecture (ours, any of its own, or `local-dir:FOLDER`), in float32 on the CPU."""
    model: Any = open_clip.create_model(name, load_weights=False)
    return adapt(model)


def adapt(model: Any) -> Any:
    """Set what open_clip's configuration has no key for: padding that is not attended to, characters by their look."""
    if _by_character(model):
        model.text.use_pad_mask = True
        model.text.token_embedding = Spelling(model.text.vocab_size, model.text.width)
    return model


def reads_lines(model: Any) -> bool:
    """Whether the image tower is ours, made for ink on paper, rather than one for photographs."""
    return isinstance(getattr(model.visual, "trunk", None), LineTower)


def pretrained(model: Any) -> nn.Module | None:
    """The part of the image tower that brings knowledge along: our recogniser, or the trunk that timm built."""
    trunk: nn.Module | None = getattr(model.visual, "trunk", None)
    return trunk.reader if isinstance(trunk, LineTower) else trunk


def image_features(model: Any, pixels: Sequence[np.ndarray], columns: int = USUAL * BATCH) -> torch.Tensor:
    """Embed pictures.

    Args:
        model: any open_clip model.
        pixels: uint8 (C, H, W) each, C = 1 or 3; widths may differ where the image tower reads lines. Or what it has
            seen of lines already, float16 (K, 242) each (see `sight.CropSight`).
        columns: of pixels in a batch of lines, see `batches_of_lines`.

    Returns:
        float32 unit rows (B, D), on the model's device.
    """
    device = model.logit_scale.device
    if pixels[0].ndim == 2:
        return _seen_features(model, pixels)
    if not reads_lines(model):
        stacked = torch.from_numpy(np.stack(pixels)).to(device)
        return F.normalize(model.encode_image(scaled(model, stacked)).float(), dim=-1)
    parts, order = [], []
    for rows, batch in batches_of_lines(pixels, columns):
        parts.append(model.encode_image(batch.to(device)).float())
        order += rows
    return restore_order(parts, order)


def _seen_features(model: Any, columns: Sequence[np.ndarray]) -> torch.Tensor:
    lengths = np.array([len(part) for part in columns])
    order = np.argsort(lengths, kind="stable")
    parts = []
    for rows in np.array_split(order, -(-len(order) // 64)):  # lines of like length together: padding costs time
        stacked = np.zeros((len(rows), max(1, int(lengths[rows].max())), columns[0].shape[1]), dtype=np.float32)
        for place, row in enumerate(rows):
            stacked[place, : lengths[row]] = columns[row]
        x = torch.from_numpy(stacked).to(model.logit_scale.device)
        seen = InkColumns(x[:, :, :COLUMN], x[:, :, COLUMN : 2 * COLUMN], x[:, :, -2], x[:, :, -1])
        parts.append(model.visual.head(model.visual.trunk.gist(seen)).float())
    return restore_order(parts, order.tolist())


def restore_order(parts: list[torch.Tensor], order: list[int]) -> torch.Tensor:
    """Unit rows of `parts`, put end to end, in the order of the row numbers that they belong to."""
    rows = torch.argsort(torch.tensor(order, device=parts[0].device))
    return F.normalize(torch.cat(parts)[rows], dim=-1)


def scaled(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Pixels uint8 (B, 1 or 3, H, W) as the image tower wants them: float32 (B, 3, H, W), its own mean and spread."""
    mean, std = (
        torch.tensor(values, device=pixels.device).view(1, -1, 1, 1)
        for values in (model.visual.image_mean, model.visual.image_std)
    )
    return ((pixels / 255.0).expand(-1, 3, -1, -1) - mean) / std


def text_features(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Embed texts.

    Args:
        model: any open_clip model.
        tokens: int64 (B, L), as its tokenizer gives them, on the model's device.

    Returns:
        float32 unit rows (B, D); for our tower the mean over the tokens that are not padding.
    """
    if not _by_character(model):
        return F.normalize(model.encode_text(tokens).float(), dim=-1)
    lengths = (tokens != 0).sum(dim=1)
    order = torch.argsort(lengths, stable=True)
    parts = []
    for rows in torch.split(order, max(len(tokens) // 8, 16)):  # texts of like length together: padding costs time
        part = tokens[rows][:, : max(1, int(lengths[rows].max()))]
        real = (part != 0).unsqueeze(-1)
        states = model.encode_text(part).float()  # (b, l, D)
        parts.append((states * real).sum(dim=1) / real.sum(dim=1).clamp(min=1))
    return F.normalize(torch.cat(parts)[torch.argsort(order)], dim=-1)


def _by_character(model: Any) -> bool:
    return getattr(getattr(model, "text", None), "pool_type", "") == "none"
