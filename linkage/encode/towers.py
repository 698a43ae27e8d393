"""Our two architectures for open_clip, one for lines of text and one for photographs, and how towers are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from timm.models import register_model
from torch import nn

ARCHITECTURE = "linkage_base"
PHOTO_ARCHITECTURE = "linkage_photo"  # no weights are shipped: small enough to be trained from nothing in minutes
HEIGHT, WIDTH = 48, 512


class _ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int], size: int = 3) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class _Context(nn.Module):
    """What stands left and right of each column: a convolution along the line round a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 5, padding=2, bias=False)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + F.relu(self.norm(self.conv(x)))


class LineEncoder(nn.Module):
    """Picture of a text line to one vector: convolutions squeeze the height away, then look along the line.

    Input (B, 3, 48, 512); only the mean over the channels is used, since ink has no colour worth the time. Output
    (B, width): the mean over columns, weighted by a learned gate so that blank paper does not count. There is no
    attention: on a CPU it cost as much as all the rest.
    """

    def __init__(self, channels: tuple[int, int, int], width: int, depth: int) -> None:
        super().__init__()
        a, b, c = channels
        self.stages = nn.Sequential(
            _ConvNorm(1, a, (4, 4), 7),  # (a, 12, 128)
            _ConvNorm(a, b, (2, 2)),  # (b, 6, 64)
            _ConvNorm(b, c, (2, 1)),  # (c, 3, 64)
        )
        self.columns = nn.Conv2d(c, width, (HEIGHT // 16, 1))
        self.context = nn.Sequential(*(_Context(width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 1)
        self.num_features = width
        self.default_cfg: dict[str, Any] = {"input_size": (3, HEIGHT, WIDTH)}

    def reset_classifier(self, num_classes: int, global_pool: str = "") -> None:
        """Part of timm's contract; there is no classifier, and pooling is the gate's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, 48, 512) -> (B, width)."""
        x = self.read(x)
        weights = self.gate(x).float().softmax(dim=1)
        out: torch.Tensor = (weights * x).sum(dim=1)
        return out

    def read(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, 48, 512) -> (B, 64, width): what stands at each column of the line."""
        x = x.mean(dim=1, keepdim=True).contiguous(memory_format=torch.channels_last)
        x = self.columns(self.stages(x)).squeeze(2)  # (B, width, 64)
        out: torch.Tensor = self.norm(self.context(x).transpose(1, 2))
        return out


@register_model
def linkage_line(pretrained: bool = False, **_: Any) -> LineEncoder:
    """The image tower under timm's name `linkage_line`; there are no weights to fetch."""
    return LineEncoder(channels=(64, 128, 192), width=256, depth=3)


for _name in (ARCHITECTURE, PHOTO_ARCHITECTURE):
    open_clip.add_model_config(Path(__file__).with_name(f"{_name}.json"))


def build(name: str) -> Any:
    """Let open_clip build an architecture (ours, any of its own, or `local-dir:FOLDER`), in float32 on the CPU."""
    model: Any = open_clip.create_model(name, load_weights=False)
    return adapt(model)


def adapt(model: Any) -> Any:
    """Set what open_clip's configuration has no key for: texts do not attend to their padding."""
    if _mean_pooled(model):
        model.text.use_pad_mask = True
    return model


def reads_lines(model: Any) -> bool:
    """Whether the image tower is ours, made for ink on paper, rather than one for photographs."""
    return isinstance(getattr(model.visual, "trunk", None), LineEncoder)


def image_features(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Embed pictures.

    Args:
        model: any open_clip model.
        pixels: uint8 (B, C, H, W), C = 1 or 3, on the model's device.

    Returns:
        float32 unit rows (B, D).
    """
    return F.normalize(model.encode_image(scaled(model, pixels)).float(), dim=-1)


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
    if not _mean_pooled(model):
        return F.normalize(model.encode_text(tokens).float(), dim=-1)
    lengths = (tokens != 0).sum(dim=1)
    order = torch.argsort(lengths, stable=True)
    parts = []
    for rows in torch.split(order, max(len(tokens) // 8, 16)):  # texts of like length together: padding costs time
        part = tokens[rows][:, : int(lengths[rows].max())]
        real = (part != 0).unsqueeze(-1)
        states = model.encode_text(part).float()  # (b, l, D)
        parts.append((states * real).sum(dim=1) / real.sum(dim=1))
    return F.normalize(torch.cat(parts)[torch.argsort(order)], dim=-1)


def _mean_pooled(model: Any) -> bool:
    return getattr(getattr(model, "text", None), "pool_type", "") == "none"
