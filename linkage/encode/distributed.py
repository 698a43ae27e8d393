"""Training on several processors: one process each, started by torchrun, and what they say to one another."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from linkage.config import Device

_PATIENCE = timedelta(hours=24)  # the first rank may look at millions of crops while the others wait


class Ranks:
    """The processes of one training; in a training by one process nothing here does anything.

    Every rank embeds its part of a batch and computes the loss of the whole batch, through which gradients flow into
    its own part only; their sum over the ranks is the gradient of the whole batch (open_clip's `gather_features`).
    SyncBatchNorm is not used, on no device: it deadlocks where ranks call the towers unequally often, and pictures of
    several widths make them. So batch norm takes its statistics from each rank's part; `average_statistics` keeps the
    running averages equal.

    Attributes:
        rank: number of this process; 0 is the one that writes.
        world: how many there are.
    """

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank = rank
        self.world = world

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def part(self, rows: np.ndarray) -> np.ndarray:
        """This rank's rows of a batch; the ranks' parts differ by one row at most, and may be empty."""
        return rows[self.rank :: self.world]

    def gather(self, part: torch.Tensor, total: int) -> torch.Tensor:
        """Put the ranks' parts of a batch of `total` rows together again, in the batch's order."""
        if self.world == 1:
            return part
        whole = part.new_zeros(total, *part.shape[1:])
        whole[self.rank :: self.world] = part
        distributed.all_reduce(whole)
        return whole

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum gradients over the ranks; a parameter that has none on any rank still has none."""
        if self.world == 1:
            return
        trained = list(parameters)
        has = torch.tensor([float(p.grad is not None) for p in trained], device=trained[0].device)
        flat = torch.cat([has, *((torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained)])
        distributed.all_reduce(flat)
        sums = torch.split(flat[len(trained) :], [p.numel() for p in trained])
        for parameter, count, total in zip(trained, flat[: len(trained)].tolist(), sums, strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(total.view_as(parameter)) if count else None

    def average_statistics(self, model: nn.Module) -> None:
        """Average batch norm's running means and variances over the ranks."""
        if self.world == 1:
            return
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                distributed.all_reduce(buffer)
                buffer /= self.world

    def share(self, value: Any) -> Any:
        """What rank 0 holds, on every rank; any Python object."""
        if self.world == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]


@contextmanager
def joined(device: Device) -> Iterator[Ranks]:
    """The ranks that torchrun started, by NCCL on GPUs and by Gloo elsewhere; one rank without torchrun."""
    if not distributed.is_torchelastic_launched():
        yield Ranks()
        return
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
