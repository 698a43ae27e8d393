"""Training state on disk: one safetensors file, tensors and a JSON state in its header, replaced atomically."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from linkage.errors import ArtefactError
from linkage.tables import replacing

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def write_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    extra: dict[str, torch.Tensor],
    state: dict[str, Any],
) -> None:
    """Write everything that training goes on from; a reader sees the old file or the new one, never a part."""
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{key}": moments[key] for key in _MOMENTS}
    tensors |= {f"extra.{key}": value for key, value in extra.items()}
    with replacing(path) as temporary:
        save_file(
            {key: value.detach().cpu().contiguous() for key, value in tensors.items()},
            temporary,
            metadata={"state": json.dumps(state)},
        )


def read_state(path: Path) -> dict[str, Any] | None:
    """The JSON state of a checkpoint, or None where there is no file.

    Raises:
        ArtefactError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            return dict(json.loads(file.metadata()["state"]))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ArtefactError(f"{path}: damaged checkpoint ({error}); remove it to train from the beginning") from None


def read_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Put model and optimizer back into the state of a checkpoint; returns the extra tensors."""
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, number, name = key.split(".", 2)
            moments.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, state in optimizer.state.items():
        for name in _MOMENTS[1:]:  # the fused step walks memory: the moments must lie there as the weights do
            state[name] = torch.empty_like(parameter, requires_grad=False).copy_(state[name])
    return {k.removeprefix("extra."): v for k, v in tensors.items() if k.startswith("extra.")}


def write_weights(path: Path, model: nn.Module) -> None:
    """Write the model alone, atomically."""
    with replacing(path) as temporary:
        save_file({key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}, temporary)


def read_weights(path: Path, model: nn.Module) -> None:
    """Put the model back to what `write_weights` wrote."""
    model.load_state_dict(load_file(path))
