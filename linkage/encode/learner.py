"""One training step: embed a batch, compute the stage's loss, change the weights."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from linkage.config import TrainConfig
from linkage.encode import towers
from linkage.encode.biencoder import BiEncoder
from linkage.encode.data import Batch, TrainingSet
from linkage.encode.distributed import Ranks
from linkage.encode.gradcache import GradCache
from linkage.encode.losses import info_nce, nested, siglip, sup_con
from linkage.encode.plan import TrainingStage
from linkage.errors import ConfigError, InputError

MAX_SCALE = math.log(100.0)
SIGLIP_SCALE, SIGLIP_BIAS = math.log(10.0), -10.0  # Zhai et al. 2023, section 3.2


class Learner:
    """A model in training, with its optimiser.

    Attributes:
        model: the bi-encoder's open_clip model.
        optimizer: AdamW over all that is trained; each group's `share` scales the learning rate.
        bias: SigLIP's learned bias; None with other losses. A model that has one of its own keeps it there.
        bank: float16 (n, D), the pooled embedding that each row of the training set had when it was last seen; zeros
            before that.
    """

    def __init__(
        self,
        encoder: BiEncoder,
        data: TrainingSet,
        config: TrainConfig,
        image_weight: float,
        seed: int,
        ranks: Ranks,
    ) -> None:
        self.encoder = encoder
        self.model: Any = encoder.model.to(memory_format=torch.channels_last)
        self.data = data
        self.config = config
        self.seed = seed
        self.ranks = ranks
        self.bank = torch.zeros(len(data.rows), encoder.dim, dtype=torch.float16)
        self._image_weight = image_weight
        if any(size >= encoder.dim for size in config.nested):
            raise ConfigError(f"train.nested: dimensions must be below {encoder.dim}, the model's own")
        self._trunk_rate = trunk_rate(config, encoder)
        self._trunk = _trunk(encoder, self._trunk_rate)
        self.bias = self._siglip_bias() if config.align_loss == "siglip" and config.align_epochs else None
        self.optimizer = _optimizer(self.model, self.bias, self._trunk, self._trunk_rate, config.weight_decay)
        bf16 = use_bf16(config.bf16, encoder.device)
        self._towers = GradCache(self.model, encoder.dim, encoder.device, chunk=config.chunk, bf16=bf16)

    def _siglip_bias(self) -> nn.Parameter:
        if getattr(self.model, "logit_bias", None) is not None:
            own: nn.Parameter = self.model.logit_bias
            return own
        self.model.logit_scale.data.fill_(SIGLIP_SCALE)
        return nn.Parameter(torch.tensor(SIGLIP_BIAS, device=self.encoder.device))

    def train_mode(self) -> None:
        """Let dropout and batch norm behave as in training, but for a frozen trunk."""
        self.model.train()
        if self._trunk is not None and self._trunk_rate == 0:
            self._trunk.eval()

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]

    def update(self, stage: TrainingStage, batch: Batch, rows: np.ndarray, step: int) -> float:
        """Learn from one batch; returns its loss.

        Args:
            stage: decides the loss.
            batch: this rank's part.
            rows: int64 (B,), rows of the training set in the whole batch.
            step: number of the step, which seeds dropout.

        Raises:
            InputError: the loss is no number.
        """
        state = np.random.SeedSequence((self.seed, step, self.ranks.rank)).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0]))
        self.optimizer.zero_grad(set_to_none=True)
        whole = self.ranks.gather(self._towers.forward(batch), len(rows)).requires_grad_()
        loss = self._loss(stage, whole, rows)
        value = float(loss.detach())
        if not math.isfinite(value):
            rate = "align_lr" if stage == "align" else "supervised_lr"
            raise InputError(f"training: the loss is {value} at step {step}; lower train.{rate} and start again")
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if not self.ranks.leads:  # temperature and bias get their whole gradient on every rank: count it once
            for parameter in parameters:
                parameter.grad = None
        if whole.grad is not None:
            self._towers.backward(whole.grad[self.ranks.rank :: self.ranks.world])
        self.ranks.sum_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        self.ranks.average_statistics(self.model)
        self.model.logit_scale.data.clamp_(0.0, MAX_SCALE)
        return value

    def _loss(self, stage: TrainingStage, vectors: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        image, text = vectors.unbind(dim=1)
        both = (image.detach().any(dim=1) & text.detach().any(dim=1))[:, None]
        pooled = _pool(image, text, self._image_weight)
        self.bank[torch.from_numpy(rows)] = pooled.detach().half().cpu()
        if stage == "align":
            return self._align_loss(vectors[both[:, 0]], self.data.content[rows][both[:, 0].cpu().numpy()])
        labels = torch.from_numpy(self.data.labels[rows]).to(image.device)
        # Each record is seen pooled, by its picture alone and by its text alone: a record that lacks one is served
        # too, by the view that it has.
        views = torch.cat((pooled * both, image, text))
        loss = partial(sup_con, labels=labels.repeat(3), temperature=self.config.temperature, margin=self.config.margin)
        return nested(loss, (views,), self.config.nested)

    def _align_loss(self, pairs: torch.Tensor, content: np.ndarray) -> torch.Tensor:
        if len(pairs) < 2:  # the pictures of the others could not be read
            return pairs.sum() * 0.0
        codes = torch.from_numpy(content).to(pairs.device)
        same = codes[:, None] == codes[None, :]
        loss = partial(info_nce, same=same, scale=self.model.logit_scale.exp())
        if self.bias is not None:
            loss = partial(siglip, same=same, scale=self.model.logit_scale.exp(), bias=self.bias)
        return nested(loss, pairs.unbind(dim=1), self.config.nested)


def _pool(image: torch.Tensor, text: torch.Tensor, weight: float) -> torch.Tensor:
    """Pooled unit rows (B, D), as `pooling.pool` makes them; zeros where both are missing."""
    has_image, has_text = (part.detach().any(dim=1, keepdim=True) for part in (image, text))
    share = torch.where(has_image & has_text, weight, has_image.to(image.dtype))
    return nn.functional.normalize(share * image + (1 - share) * text, dim=1)


def trunk_rate(config: TrainConfig, encoder: BiEncoder) -> float:
    """Share of the learning rate that the pretrained part of the image tower gets; 0: it is frozen.

    Where nothing is set a recogniser is, since it knows more than a few thousand lines could teach it.
    """
    if config.trunk_rate is not None:
        return config.trunk_rate
    return 0.0 if encoder.ink else 1.0


def _trunk(encoder: BiEncoder, rate: float) -> nn.Module | None:
    trunk = towers.pretrained(encoder.model)
    if trunk is None and rate != 1:
        raise ConfigError(f"train.trunk_rate: the picture tower of {encoder.name} has no timm trunk; leave it at 1")
    return trunk


def _optimizer(
    model: nn.Module, bias: nn.Parameter | None, trunk: nn.Module | None, rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW; vectors and scalars (norms, biases, gains, the temperature) and positions do not decay.

    The trunk has groups of its own, whose learning rate is a share of the others'; frozen, it has none.
    """
    slow = {id(p) for p in trunk.parameters()} if trunk is not None and rate != 1 else set()
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        share = rate if id(parameter) in slow else 1.0
        parameter.requires_grad_(parameter.requires_grad and share > 0)
        decays = parameter.ndim > 1 and "position" not in name and "places" not in name
        if parameter.requires_grad:
            groups.setdefault((share, weight_decay if decays else 0.0), []).append(parameter)
    if bias is not None and not any(bias is parameter for parameter in model.parameters()):
        groups.setdefault((1.0, 0.0), []).append(bias)
    parts = [{"params": params, "weight_decay": decay, "share": share} for (share, decay), params in groups.items()]
    return torch.optim.AdamW(parts, lr=0.0, betas=(0.9, 0.98), eps=1e-6, fused=True)


def use_bf16(choice: Literal["auto", "on", "off"], device: torch.device) -> bool:
    """16-bit arithmetic where the hardware has it: it doubles the speed there and crawls elsewhere."""
    if choice != "auto":
        return choice == "on"
    return torch.cuda.is_bf16_supported() if device.type == "cuda" else bool(torch.cpu._is_avx512_bf16_supported())
