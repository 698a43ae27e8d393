"""The two losses, on unit vectors."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def info_nce(image: torch.Tensor, text: torch.Tensor, same: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Symmetric InfoNCE between pictures and texts (Radford et al. 2021, figure 3).

    Args:
        image, text: unit rows (B, D); row i of both belongs to record i.
        same: bool (B, B), True where two records have the same content. Such pairs are no negatives: apart from the
            record's own pair they are left out of the sums.
        scale: one over the temperature.

    Returns:
        Scalar: the mean of the loss picture to text and the loss text to picture.
    """
    own = torch.eye(len(image), dtype=torch.bool, device=image.device)
    logits = (scale * image @ text.T).masked_fill(same & ~own, float("-inf"))
    target = torch.arange(len(image), device=image.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def sup_con(vectors: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Supervised contrastive loss, the mean over positives outside the logarithm (Khosla et al. 2020, eq. 2).

    Args:
        vectors: unit rows (N, D); rows of zeros (a view that does not exist) take no part.
        labels: int64 (N,), the class of each row.
        temperature: > 0.

    Returns:
        Scalar, the mean over the anchors that have a positive; 0 where none has.
    """
    exists = vectors.detach().abs().sum(dim=1) > 0
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    others = exists[None, :] & ~itself
    positive = (labels[:, None] == labels[None, :]) & others & exists[:, None]
    logits = (vectors @ vectors.T / temperature).masked_fill(~others, torch.finfo(vectors.dtype).min)
    log_share = logits - torch.logsumexp(logits, dim=1, keepdim=True)
    counts = positive.sum(dim=1)
    per_anchor = -(log_share * positive).sum(dim=1) / counts.clamp(min=1)
    anchors = counts > 0
    return per_anchor[anchors].mean() if bool(anchors.any()) else vectors.sum() * 0.0
