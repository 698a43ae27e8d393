"""The first stage of training: the recogniser learns to read the hands at hand, from lines whose words are known."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from linkage.config import TrainConfig
from linkage.encode.biencoder import BiEncoder
from linkage.encode.checkpoint import read_checkpoint, read_state, write_checkpoint
from linkage.encode.plan import rate_share
from linkage.encode.transcribed import TRANSCRIPTION, TranscribedBatch, TranscribedLines
from linkage.errors import InputError
from linkage.ocr.reader import LineReader, batches_of_lines
from linkage.progress import progress

log = logging.getLogger(__name__)

SHARES = (0.5, 0.7, 1.0)
"""Shares of the new weights that are tried on the validation lines; the rest stays with the old ones."""
WITHOUT_VALIDATION = 0.5
"""Share of the new weights where no line tells which is best: half of each forgot least of what the lines lack."""

_AT_A_TIME = 4  # batches drawn together, so that lines of like width find each other
_OTHERS = 1000  # classes that no line has, drawn anew for every batch: not all 18,710 need be told "not this" at once
_MOST_VALIDATED = 300


def learn_to_read(
    encoder: BiEncoder,
    lines: TranscribedLines,
    validation: TranscribedLines,
    config: TrainConfig,
    folder: Path,
    key: str,
) -> dict[str, Any]:
    """Train the recogniser by CTC (Graves et al. 2006) and leave in it a mean of its old and new weights.

    Training on a few thousand lines forgets what they do not hold; weights half-way between those before and after
    keep most of both (Wortsman et al. 2022, Robust fine-tuning of zero-shot models). The share is the one with the
    fewest errors on the validation lines, the old weights being one of those tried. An interrupted call goes on from
    its last checkpoint.

    Args:
        encoder: its image tower reads lines; changed in place.
        lines: to learn from, one or more.
        validation: choose the share; may be empty.
        config: epochs, rate, size of batches.
        folder: for the checkpoint.
        key: equal where two trainings are the same.

    Returns:
        Lines, steps, the share, and where there are validation lines the character errors before and after.

    Raises:
        InputError: the loss is no number.
    """
    reader: LineReader = encoder.model.visual.trunk.reader
    path = folder / "read.safetensors"
    before = {name: value.detach().clone() for name, value in reader.state_dict().items()}
    pupil = _Pupil(reader, lines, config, encoder.device)
    for epoch in range(pupil.resume(path, key), config.read_epochs):
        pupil.epoch(epoch, path, key)
    reader.requires_grad_(True)
    share, figures = _choose(encoder, before, validation)
    log.info("read: %d steps, share of the new weights %.1f%s", pupil.step, share, _told(figures))
    return {
        "lines": len(lines),
        "lines_left_out": lines.unknown,
        "read_steps": pupil.step,
        "read_share": share,
        **figures,
    }


class _Pupil:
    """The recogniser while it learns, with its optimiser; the first layers, which see edges, stay as they are."""

    def __init__(self, reader: LineReader, lines: TranscribedLines, config: TrainConfig, device: torch.device) -> None:
        self.reader, self.lines, self.config, self.device = reader, lines, config, device
        self.step = 0
        self._done = 0
        kept = [p for name, p in reader.named_parameters() if not name.startswith("stem")]
        for name, parameter in reader.named_parameters():
            parameter.requires_grad_(not name.startswith("stem"))
        groups = [[p for p in kept if p.ndim > 1], [p for p in kept if p.ndim <= 1]]
        parts = [{"params": group, "weight_decay": decay} for group, decay in zip(groups, (0.01, 0.0), strict=True)]
        self.optimizer = torch.optim.AdamW(parts, lr=0.0, betas=(0.9, 0.98), eps=1e-6, fused=True)
        used = torch.zeros(reader.classify.out_features, dtype=torch.bool)
        for target in lines.targets:
            used[target] = True
        used[0] = True
        self._alphabet, self._others = used.nonzero().squeeze(1), (~used).nonzero().squeeze(1)
        self._place = {int(number): place for place, number in enumerate(self._alphabet)}

    def resume(self, path: Path, key: str) -> int:
        """Take up a checkpoint of the same training; returns the epoch to go on with."""
        state = read_state(path)
        if state is None or state["key"] != key:
            return 0
        read_checkpoint(path, self.reader, self.optimizer)
        self.step, self._done = state["step"], state["done"]
        log.info("%s: going on from step %d", path, self.step)
        return int(state["epoch"])

    def epoch(self, number: int, path: Path, key: str) -> None:
        """Learn from every line once."""
        per_epoch = -(-len(self.lines) // self.config.read_batch)
        self.reader.train()
        with progress(f"epoch {number + 1}/{self.config.read_epochs} (read)", per_epoch, "batches") as advance:
            advance(self._done)
            for place, batch in self._stream(number, self._done):
                share = rate_share(number * per_epoch + place, self.config.read_epochs * per_epoch, self.config.warmup)
                self._learn(batch, self.config.read_lr * share)
                if self.step % self.config.checkpoint_steps == 0:
                    self._keep(path, key, number, place + 1)
                advance()
        self._done = 0
        self._keep(path, key, number + 1, 0)
        self.reader.eval()

    def _keep(self, path: Path, key: str, epoch: int, done: int) -> None:
        state = {"key": key, "epoch": epoch, "done": done, "step": self.step}
        write_checkpoint(path, self.reader, self.optimizer, {}, state)

    def _stream(self, epoch: int, done: int) -> Iterator[tuple[int, TranscribedBatch]]:
        """The epoch's batches from number `done` on, drawn while the ones before are learned."""
        size, many = self.config.read_batch, self.config.read_batch * _AT_A_TIME
        order = np.random.default_rng((epoch, len(self.lines))).permutation(len(self.lines))
        groups = [order[start : start + many] for start in range(0, len(order), many)]

        def draw(group: int) -> list[TranscribedBatch]:
            return self.lines.batches(groups[group], size, (epoch, group))

        first = done // _AT_A_TIME
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(draw, first) if first < len(groups) else None
            for group in range(first, len(groups)):
                batches = waiting.result() if waiting else draw(group)
                waiting = pool.submit(draw, group + 1) if group + 1 < len(groups) else None
                for place, batch in enumerate(batches, start=group * _AT_A_TIME):
                    if place >= done:
                        yield place, batch

    def _learn(self, batch: TranscribedBatch, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(batch)
        if not math.isfinite(float(loss.detach())):
            raise InputError(
                f"training: the loss of reading is {float(loss):g} at step {self.step}; lower train.read_lr"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]], 1.0)
        self.optimizer.step()
        self.step += 1

    def _loss(self, batch: TranscribedBatch) -> torch.Tensor:
        """CTC loss per character, over the classes that lines have and some of the others."""
        pixels = torch.from_numpy(batch.pixels / np.float32(127.5) - 1).to(self.device).expand(-1, 3, -1, -1)
        features, real = self.reader(pixels)  # (B, T, 120)
        drawn = torch.randint(len(self._others), (_OTHERS,), generator=torch.Generator().manual_seed(self.step))
        classes = torch.cat((self._alphabet, self._others[drawn])).to(self.device)
        classify = self.reader.classify
        logits = F.linear(features, classify.weight[classes], classify.bias[classes])  # (B, T, C)
        lengths = torch.tensor([len(target) for target in batch.targets])
        spelled = torch.tensor([self._place[number] for target in batch.targets for number in target])
        chances = logits.float().log_softmax(dim=2).transpose(0, 1)  # (T, B, C)
        columns = real.sum(dim=1).cpu()
        loss = F.ctc_loss(chances, spelled, columns, lengths, blank=0, reduction="none", zero_infinity=True)
        return (loss / lengths.to(loss.device)).mean()


def _choose(
    encoder: BiEncoder, before: dict[str, torch.Tensor], validation: TranscribedLines
) -> tuple[float, dict[str, float]]:
    """Leave the best mean of old and new weights in the recogniser; its share of the new ones, and the errors."""
    reader: LineReader = encoder.model.visual.trunk.reader
    after = {name: value.detach().clone() for name, value in reader.state_dict().items()}
    if not len(validation):
        _mix(reader, before, after, WITHOUT_VALIDATION)
        return WITHOUT_VALIDATION, {}
    errors = {}
    for share in (0.0, *SHARES):
        _mix(reader, before, after, share)
        errors[share] = character_error(encoder, validation)
    best = min(errors, key=lambda share: (errors[share], share))
    _mix(reader, before, after, best)
    return best, {"val_character_error_before": errors[0.0], "val_character_error": errors[best]}


def _mix(reader: LineReader, before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], share: float) -> None:
    reader.load_state_dict({name: torch.lerp(before[name], value, share) for name, value in after.items()})
    reader.eval()


def character_error(encoder: BiEncoder, lines: TranscribedLines, most: int = _MOST_VALIDATED) -> float:
    """Edits per character of the likeliest reading, capitals, marks and spaces counted (the mean over all characters).

    Args:
        encoder: its image tower reads lines.
        lines: one or more; those beyond `most` are left out.
    """
    from rapidfuzz.distance import Levenshtein

    reader = encoder.model.visual.trunk.reader
    drawn = [(number, lines.line(number)) for number in range(min(len(lines), most))]
    there = [(number, line) for number, line in drawn if line is not None]
    wrong = total = 0
    with torch.inference_mode():
        for rows, batch in batches_of_lines([line for _, line in there]):
            features, real = reader(batch.to(encoder.device))
            for row, best, columns in zip(rows, reader.classify(features).argmax(dim=2), real, strict=True):
                read = torch.unique_consecutive(best[columns]).tolist()
                target = lines.targets[there[row][0]]
                wrong += Levenshtein.distance([number for number in read if number], target)
                total += len(target)
    return round(wrong / max(total, 1), 5)


def _told(figures: dict[str, float]) -> str:
    if not figures:
        return f" (no row of split val has a {TRANSCRIPTION})"
    return ", character error {val_character_error_before} before, {val_character_error} after".format(**figures)
