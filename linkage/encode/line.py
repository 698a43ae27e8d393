"""The image tower of text lines: what the recogniser saw, column by column, to one vector."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from open_clip.transformer import Transformer
from timm.models import register_model
from torch import nn

from linkage.encode.lattice import BEST
from linkage.ocr.measures import COLUMN, HEIGHT, WIDEST
from linkage.ocr.reader import LineReader

CLASSES = 18_710
"""Of the recogniser: none (0), its characters, the space (last)."""
_FAINT = 0.02  # chance of a character below which a column is taken for blank
_PLACES = 256


class InkColumns(NamedTuple):
    """What the recogniser saw in crops, by column that holds ink; B crops of at most K such columns.

    Attributes:
        says: (B, K, 120), the expected character vector: rows of the character table weighed by their chances.
        shows: (B, K, 120), the column's features as they are.
        weight: (B, K), chance 0..1 that the column holds a character that counts; 0 marks padding.
        place: (B, K), expected number of such characters before the column.
    """

    says: torch.Tensor
    shows: torch.Tensor
    weight: torch.Tensor
    place: torch.Tensor


class LatticeBatch(NamedTuple):
    """The likeliest characters of every column that holds ink.

    Attributes:
        classes: int64 (B, K, 8), likeliest first; never none or the space.
        chances: float32 (B, K, 8).
        weight: float32 (B, K): 1 - weight is the chance of none or a space; 0 marks padding.
        gap: bool (B, K), columns without ink were left out before this one.
    """

    classes: torch.Tensor
    chances: torch.Tensor
    weight: torch.Tensor
    gap: torch.Tensor


class LineTower(nn.Module):
    """Picture of a text line to one vector.

    The recogniser's columns that hold ink become tokens: the character they are expected to say, in the vectors that
    the text tower spells with, plus how they look. A transformer like the text tower's reads them, each at the place
    of its expected number in the line; the vector is their mean by weight. So a line that is read well starts beside
    its text, and one that is not keeps what else it may say. Punctuation does not count, as in the text tower.

    Input float32 (B, 3, 48, W), see `LineReader`; output (B, width), zeros for a crop in which nothing counts.

    Attributes:
        rows: float32 (classes, 120), the character table by class of the recogniser.
        counts: bool (classes,), the class is a character that counts (see `Folding.core`).
    """

    rows: torch.Tensor
    counts: torch.Tensor

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.reader = LineReader(CLASSES)
        self.register_buffer("rows", torch.zeros(CLASSES, COLUMN))
        self.register_buffer("counts", torch.ones(CLASSES, dtype=torch.bool))
        self.counts[[0, -1]] = False
        self.says = nn.Linear(COLUMN, width, bias=False)
        self.shows = nn.Linear(COLUMN, width, bias=False)
        self.places = nn.Parameter(torch.zeros(_PLACES, width))
        self.transformer = Transformer(width, layers, heads, mlp_ratio=2.0)
        self.norm = nn.LayerNorm(width)
        self.heads = heads
        self.num_features = width
        self.default_cfg: dict[str, Any] = {"input_size": (3, HEIGHT, WIDEST)}
        nn.init.zeros_(self.shows.weight)

    def reset_classifier(self, num_classes: int, global_pool: str = "") -> None:
        """Part of timm's contract; there is no classifier, and pooling is by weight."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, 48, W) -> (B, width)."""
        return self.gist(self.see(x)[0])

    def see(self, x: torch.Tensor) -> tuple[InkColumns, LatticeBatch]:
        """Read crops (B, 3, 48, W); the columns without ink are left out."""
        return self.judge(*self.reader(x))

    def judge(self, features: torch.Tensor, real: torch.Tensor) -> tuple[InkColumns, LatticeBatch]:
        """What the reader's columns (B, T, 120) say; `real` is bool (B, T), no padding."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            classify = self.reader.classify
            logits = F.linear(features, classify.weight.float(), classify.bias.float())  # (B, T, classes)
            total = logits.logsumexp(dim=2)  # (B, T)
            none = (logits[:, :, [0, -1]].logsumexp(dim=2) - total).exp()  # (B, T)
            inked = ((1 - none) > _FAINT) & real  # (B, T)
            most = max(1, int(inked.sum(dim=1).max()))  # K
            kept = torch.argsort(~inked, dim=1, stable=True)[:, :most]  # (B, K): places among the T
            gap = F.pad(kept[:, 1:] - kept[:, :-1], (1, 0), value=2) > 1  # (B, K)
            inked, total = inked.gather(1, kept), total.gather(1, kept)  # (B, K)
            features, logits = _take(features, kept), _take(logits, kept)  # (B, K, 120), (B, K, classes)
            seen, best, classes = self.attend(features, logits, total, inked, gap)
            lattices = LatticeBatch(classes, best, ((1 - none).clamp(0, 1).gather(1, kept) * inked).detach(), gap)
        return seen, lattices

    def attend(
        self,
        features: torch.Tensor,
        logits: torch.Tensor,
        total: torch.Tensor,
        inked: torch.Tensor,
        gap: torch.Tensor,
    ) -> tuple[InkColumns, torch.Tensor, torch.Tensor]:
        """What columns (B, K) with these features and logits say.

        Args:
            features: float32 (B, K, 120).
            logits: float32 (B, K, classes).
            total: float32 (B, K), their logsumexp.
            inked: bool (B, K), no padding.
            gap: bool (B, K), columns were left out before this one.

        Returns:
            Seen; chances float32 (B, K, 8) and classes int64 (B, K, 8) of the likeliest characters.
        """
        mute = (~self.counts).nonzero().squeeze(1)  # (classes that do not count,)
        weight = (1 - (logits[:, :, mute].logsumexp(dim=2) - total).exp()).clamp(0, 1)  # (B, K)
        weight = weight * (weight > _FAINT) * inked
        best, classes = logits[:, :, 1:-1].topk(BEST, dim=2)  # (B, K, 8)
        chances, classes = (best - total.unsqueeze(2)).exp(), classes + 1
        counted = chances * self.counts[classes]  # (B, K, 8)
        says = (counted.unsqueeze(3) * self.rows[classes]).sum(dim=2)  # (B, K, 8, 1) * (B, K, 8, 120) -> (B, K, 120)
        says = says / weight.clamp(min=_FAINT).unsqueeze(2)
        place = _places(counted.detach(), classes, weight.detach(), gap)  # (B, K)
        return InkColumns(says, features, weight, place), chances.detach(), classes

    def gist(self, seen: InkColumns) -> torch.Tensor:
        """The vectors (B, width) of what was seen."""
        low = seen.place.long().clamp(max=_PLACES - 2)  # (B, K)
        part = (seen.place - low).clamp(0, 1).unsqueeze(2)  # (B, K, 1)
        x = self.says(seen.says) + self.shows(seen.shows)  # (B, K, width)
        x = x + (1 - part) * self.places[low] + part * self.places[low + 1]
        padding = seen.weight <= 0  # (B, K)
        padding[:, 0] &= (seen.weight > 0).any(dim=1)  # where nothing counts, something must be looked at all the same
        padding = padding.repeat_interleave(self.heads, dim=0)[:, None, :].expand(-1, x.shape[1], -1)  # (B heads, K, K)
        x = self.norm(self.transformer(x, attn_mask=x.new_zeros(padding.shape).masked_fill(padding, float("-inf"))))
        weight = seen.weight.unsqueeze(2)  # (B, K, 1)
        out: torch.Tensor = (weight * x).sum(dim=1) / weight.sum(dim=1).clamp(min=1e-6)  # (B, width) / (B, 1)
        return out


def _take(values: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Rows (B, K, N) of values (B, T, N)."""
    return values.gather(1, kept.unsqueeze(2).expand(-1, -1, values.shape[2]))


def _places(chances: torch.Tensor, classes: torch.Tensor, weight: torch.Tensor, apart: torch.Tensor) -> torch.Tensor:
    """Expected number of characters before each column: what two neighbouring columns share is one character."""
    earlier_chances, earlier_classes = chances.roll(1, dims=1), classes.roll(1, dims=1)  # (B, K, 8)
    same = classes.unsqueeze(3) == earlier_classes.unsqueeze(2)  # (B, K, 8, 8)
    shared = torch.minimum(chances.unsqueeze(3), earlier_chances.unsqueeze(2)).mul(same)  # (B, K, 8, 8)
    shared = shared.sum(dim=(2, 3)) * ~apart  # (B, K)
    return ((weight - shared).clamp(min=0).cumsum(dim=1) - weight).clamp(min=0)


@register_model
def linkage_line(pretrained: bool = False, **_: Any) -> LineTower:
    """The image tower under timm's name `linkage_line`; there are no weights to fetch."""
    return LineTower(width=256, layers=2, heads=4)
