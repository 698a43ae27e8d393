"""The recogniser of a text line in torch: pixels to one feature vector per column, and to characters by CTC.

The graph is that of PP-OCRv6 (small) as PaddleOCR publishes it under Apache-2.0, with batch norms folded into the
convolutions before them; `scripts/convert_recogniser.py` brings its weights here. Where crops of several widths share a
batch, what stands right of a crop is kept at zero layer by layer, so that a crop's output does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from linkage.ocr.measures import BATCH, COLUMN, STEP, USUAL

_SLACK = 16  # pixels that lines of a batch may differ by, or an eighth of their width

# Channels, whether the height is halved, whether channels are reweighed (squeeze and excitation).
_BLOCKS = (
    *((96, False, True), (96, False, False), (96, False, False), (192, True, False)),
    *((192, False, True), (192, False, False), (192, False, True), (192, False, False)),
    *((192, False, True), (192, False, False), (384, True, False), (384, False, True), (384, False, False)),
)


def _masked(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return x if mask is None else x * mask


class _Stem(nn.Module):
    """(B, 3, 48, W) -> (B, 96, 12, W/4)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 48, 3, 2, 1)
        self.narrow = nn.Conv2d(48, 24, 2)
        self.widen = nn.Conv2d(24, 48, 2)
        self.join = nn.Conv2d(96, 48, 3, 2, 1)
        self.last = nn.Conv2d(48, 96, 1)

    def forward(self, x: torch.Tensor, half: torch.Tensor | None, quarter: torch.Tensor | None) -> torch.Tensor:
        x = _masked(F.relu(self.first(x)), half)
        ends = F.pad(x, (0, 1, 0, 1))  # windows of two reach one beyond the right and lower edge
        side = F.pad(_masked(F.relu(self.narrow(ends)), half), (0, 1, 0, 1))
        side = F.relu(self.widen(side))
        x = _masked(torch.cat((F.max_pool2d(ends, 2, 1), side), dim=1), half)
        return _masked(F.relu(self.last(F.relu(self.join(x)))), quarter)


class _Reweigh(nn.Module):
    """Squeeze and excitation (Hu et al. 2018): channels weighed by what the whole crop shows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // 4, 1)
        self.excite = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        mean = x.mean((2, 3), keepdim=True)
        if mask is not None:
            mean = mean / mask.mean((2, 3), keepdim=True)
        weights: torch.Tensor = F.hardsigmoid(self.excite(F.relu(self.squeeze(mean))))
        return x * weights


class _Block(nn.Module):
    """A look at the neighbourhood (depthwise convolution), then at the channels."""

    def __init__(self, inputs: int, outputs: int, halve: bool, reweigh: bool) -> None:
        super().__init__()
        self.around = nn.Conv2d(inputs, inputs, 3, (2 if halve else 1, 1), 1, groups=inputs)
        self.reweigh = _Reweigh(inputs) if reweigh else None
        self.expand = nn.Conv2d(inputs, 2 * inputs, 1)
        self.reduce = nn.Conv2d(2 * inputs, outputs, 1)
        self.shortcut = not halve

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        x = _masked(self.around(x), mask)
        if self.reweigh is not None:
            x = self.reweigh(x, mask)
        out = self.reduce(F.gelu(self.expand(x)))
        return _masked(x + out if self.shortcut else out, mask)


class _Attention(nn.Module):
    """One transformer layer along the line, norms first (eight heads)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.expand = nn.Linear(width, 2 * width)
        self.reduce = nn.Linear(2 * width, width)
        self.heads = heads

    def forward(self, x: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        b, t, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = None if real is None else real[:, None, None, :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, width))
        out: torch.Tensor = x + self.reduce(F.silu(self.expand(self.norm2(x))))
        return out


class LineReader(nn.Module):
    """Columns of features of text lines, and what they say.

    Input float32 (B, 3, 48, W), W a multiple of 8, pixels scaled to -1..1; exactly 0 right of a crop's end (no pixel
    of eight bits is scaled to 0, so that zeros mark padding).
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = _Stem()
        widths = (96, *(channels for channels, _, _ in _BLOCKS))
        self.blocks = nn.ModuleList(
            _Block(inputs, outputs, halve, reweigh)
            for inputs, (outputs, halve, reweigh) in zip(widths, _BLOCKS, strict=False)
        )
        self.shortcut = nn.Conv2d(384, COLUMN, 1)
        self.neck = nn.Conv2d(384, COLUMN, 1)
        self.along = nn.Conv2d(COLUMN, COLUMN, (1, 7), padding=(0, 3), groups=COLUMN)
        self.layers = nn.ModuleList(_Attention(COLUMN, 8) for _ in range(2))
        self.norm = nn.LayerNorm(COLUMN, eps=1e-6)
        self.classify = nn.Linear(COLUMN, classes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features float (B, T, 120) with T = W / 8, and bool (B, T): the column belongs to the crop."""
        real = (x[:, :, :, ::STEP] != 0).any(dim=1).any(dim=1)  # (B, T)
        half = quarter = eighth = None
        columns: torch.Tensor | None = None
        if not bool(real.all()):
            columns = real
            eighth = real[:, None, None, :].to(x.dtype)
            half, quarter = (eighth.repeat_interleave(times, dim=3) for times in (4, 2))
        x = self.stem(x.contiguous(memory_format=torch.channels_last), half, quarter)
        for block in self.blocks:
            x = block(x, quarter)
        x = F.avg_pool2d(x, (3, 2))
        y = _masked(F.silu(self.neck(x)), eighth)
        y = (y + F.silu(self.along(y))).squeeze(2).transpose(1, 2)
        for layer in self.layers:
            y = layer(y, columns)
        y = self.norm(y) + F.silu(self.shortcut(x)).squeeze(2).transpose(1, 2)
        return _masked(y, None if columns is None else columns.unsqueeze(2).to(y.dtype)), real

    def convolutions(self) -> Iterator[nn.Conv2d]:
        """Every convolution, in the order of the published graph."""
        stem = self.stem
        yield from (stem.first, stem.narrow, stem.widen, stem.join, stem.last)
        for block in self.blocks:
            assert isinstance(block, _Block)
            yield block.around
            if block.reweigh is not None:
                yield from (block.reweigh.squeeze, block.reweigh.excite)
            yield from (block.expand, block.reduce)
        yield from (self.shortcut, self.neck, self.along)


def batches_of_lines(
    pixels: Sequence[np.ndarray], columns: int = USUAL * BATCH
) -> list[tuple[list[int], torch.Tensor]]:
    """Lines of like width together.

    Args:
        pixels: uint8 (1, 48, W) each.
        columns: of pixels in a batch, its padding included; a batch has one line at least.

    Returns:
        Row numbers, and float32 (b, 3, 48, W) in -1..1, 0 right of a line's end.
    """
    widths = [line.shape[2] for line in pixels]
    together: list[list[int]] = []
    most = 0
    for row in sorted(range(len(widths)), key=widths.__getitem__):
        if not together or widths[row] > most or widths[row] * (len(together[-1]) + 1) > columns:
            together.append([])
            most = widths[row] + max(_SLACK, widths[row] // 8 // STEP * STEP)
        together[-1].append(row)
    return [(rows, _stacked([pixels[row] for row in rows])) for rows in together]


def _stacked(lines: Sequence[np.ndarray]) -> torch.Tensor:
    batch = torch.zeros(len(lines), 1, lines[0].shape[1], max(line.shape[2] for line in lines))
    for place, line in enumerate(lines):
        batch[place, :, :, : line.shape[2]] = torch.from_numpy(line / np.float32(127.5) - 1)
    return batch.expand(-1, 3, -1, -1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread: workers do not get in each other's way, and sums have one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
