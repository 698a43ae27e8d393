"""The losses, on unit vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


def siglip(
    image: torch.Tensor, text: torch.Tensor, same: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Each pair of picture and text judged alone, by a sigmoid (Zhai et al. 2023, section 3.2, algorithm 1).

    Args:
        image, text: unit rows (B, D); row i of both belongs to record i.
        same: bool (B, B), True where two records have the same content; apart from the record's own pair they are
            neither positive nor negative.
        scale: one over the temperature.
        bias: added to every logit; negative, since most pairs are no match.

    Returns:
        Scalar: the sum over pairs of -log sigmoid(z (scale cosine + bias)), z = 1 for the own pair and -1 for the
        others, divided by B.
    """
    own = torch.eye(len(image), dtype=torch.bool, device=image.device)
    logits = scale * image @ text.T + bias
    losses = -F.logsigmoid(torch.where(own, logits, -logits))
    return losses.masked_fill(same & ~own, 0.0).sum() / len(image)


def sup_con(vectors: torch.Tensor, labels: torch.Tensor, temperature: float, margin: float = 0.0) -> torch.Tensor:
    """Supervised contrastive loss, the mean over positives outside the logarithm (Khosla et al. 2020, eq. 2).

    Args:
        vectors: unit rows (N, D); rows of zeros (a view that does not exist) take no part.
        labels: int64 (N,), the class of each row.
        temperature: > 0.
        margin: subtracted from the cosine of every positive, above and below the line, so that positives have to be
            nearer than negatives by as much (the additive margin of Wang et al. 2018, eq. 6).

    Returns:
        Scalar, the mean over the anchors that have a positive; 0 where none has.
    """
    exists = vectors.detach().abs().sum(dim=1) > 0
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    others = exists[None, :] & ~itself
    positive = (labels[:, None] == labels[None, :]) & others & exists[:, None]
    cosines = vectors @ vectors.T
    if margin:
        cosines = cosines - margin * positive.to(cosines.dtype)
    logits = (cosines / temperature).masked_fill(~others, torch.finfo(vectors.dtype).min)
    log_share = logits - torch.logsumexp(logits, dim=1, keepdim=True)
    counts = positive.sum(dim=1)
    per_anchor = -(log_share * positive).sum(dim=1) / counts.clamp(min=1)
    anchors = counts > 0
    return per_anchor[anchors].mean() if bool(anchors.any()) else vectors.sum() * 0.0


def nested(loss: Callable[..., torch.Tensor], vectors: Sequence[torch.Tensor], dims: Sequence[int]) -> torch.Tensor:
    """The mean of a loss over leading parts of the vectors (Matryoshka: Kusupati et al. 2022, eq. 1, equal weights).

    Args:
        loss: takes as many matrices of unit rows as `vectors` holds.
        vectors: unit rows (N, D) each.
        dims: lengths below D of the leading parts, each of which is scaled to unit length again; the whole vectors
            always take part.

    Returns:
        Scalar.
    """
    losses = [loss(*(F.normalize(rows[:, :size], dim=1) for rows in vectors)) for size in dims]
    return torch.stack([*losses, loss(*vectors)]).mean()
