"""Large batches in little memory: the towers see a few rows at a time, the loss sees all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from linkage.encode import towers
from linkage.encode.data import Batch


class GradCache:
    """Both towers over one batch in chunks (Gao et al. 2021, section 3.2).

    `forward` embeds the chunks without keeping what a gradient needs; the loss then gives the gradient of every
    embedding, and `backward` embeds each chunk once more and carries its part on into the weights. The gradients are
    those of the whole batch at once, for a third more computing. A batch of one chunk is embedded once, as usual.

    Dropout draws the same in both passes. Batch norm (in training mode) takes its statistics from each chunk, as it
    would from a batch of that size, and counts each chunk once in its running averages.
    """

    def __init__(self, model: Any, dim: int, device: torch.device, *, chunk: int, bf16: bool) -> None:
        """Set up for a model.

        Args:
            model: any open_clip model, on `device`.
            dim: D, length of its embeddings.
            device: where to compute.
            chunk: most rows at a time; 0: any number.
            bf16: compute in 16 bits where torch's autocast thinks that right.
        """
        self.model = model
        self.dim = dim
        self.device = device
        self.chunk = chunk
        self.bf16 = bf16
        self._parts: list[Batch] = []
        self._states: list[list[torch.Tensor]] = []
        self._kept: torch.Tensor | None = None

    def forward(self, batch: Batch) -> torch.Tensor:
        """Embed a batch: float32 (B, 2, D) without a graph, picture and text of each row; zeros: there is none."""
        self._parts = batch.split(self.chunk)
        self._states, self._kept = [], None
        if len(self._parts) == 1:
            self._kept = self._embed(batch)  # (B, 2, D)
            return self._kept.detach()
        vectors = [torch.zeros(0, 2, self.dim, device=self.device)]  # then (chunk, 2, D) each
        with torch.no_grad():
            for part in self._parts:
                self._states.append(_random_states(self.device))
                vectors.append(self._embed(part))
        return torch.cat(vectors)  # (B, 2, D)

    def backward(self, gradient: torch.Tensor) -> None:
        """Add to the weights' gradients what follows from that of the embeddings, (B, 2, D), of the last `forward`."""
        if self._kept is not None:
            _carry(self._kept, gradient)
            self._kept = None
            return
        with _still_averages(self.model), torch.random.fork_rng(_devices(self.device)):
            start = 0
            for part, states in zip(self._parts, self._states, strict=True):
                _set_random_states(self.device, states)
                _carry(self._embed(part), gradient[start : start + len(part.has_image)])  # (chunk, 2, D) both
                start += len(part.has_image)

    def _embed(self, batch: Batch) -> torch.Tensor:
        image = text = torch.zeros(len(batch.has_image), self.dim, device=self.device)  # (B, D)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            if batch.pixels:
                found = towers.image_features(self.model, batch.pixels)  # (pictures, D)
                image = _scatter(found, batch.has_image)
            if len(batch.tokens):
                found = towers.text_features(self.model, batch.tokens.to(self.device))  # (texts, D)
                text = _scatter(found, batch.has_text)
        return torch.stack((image, text), dim=1)  # (B, 2, D)


def _scatter(vectors: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """The vectors (n, D) at the n rows of B that are present, zeros at the others."""
    rows = vectors.new_zeros(len(present), vectors.shape[1])  # (B, D)
    rows[present.to(vectors.device)] = vectors
    return rows


def _carry(vectors: torch.Tensor, gradient: torch.Tensor) -> None:
    if vectors.requires_grad:  # not where the only tower that took part is frozen
        torch.autograd.backward(vectors, gradient)


@contextmanager
def _still_averages(model: nn.Module) -> Iterator[None]:
    """Keep batch norm from counting the same rows twice in its running averages."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _devices(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []


def _random_states(device: torch.device) -> list[torch.Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(gpu) for gpu in _devices(device))]


def _set_random_states(device: torch.device, states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    for gpu, state in zip(_devices(device), states[1:], strict=True):
        torch.cuda.set_rng_state(state, gpu)
