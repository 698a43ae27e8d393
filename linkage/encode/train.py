"""Training in one command: crops against texts (symmetric InfoNCE), then, with labels, entities (SupCon)."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from linkage.config import EncodeConfig, TrainConfig
from linkage.encode import towers
from linkage.encode.batches import align_batches, class_batches, hard_negatives
from linkage.encode.biencoder import BiEncoder
from linkage.encode.checkpoint import read_checkpoint, read_state, read_weights, write_checkpoint, write_weights
from linkage.encode.data import Batch, TrainingSet
from linkage.encode.losses import info_nce, sup_con
from linkage.encode.validate import Validation
from linkage.errors import DependencyError, InputError
from linkage.progress import progress
from linkage.records import Records
from linkage.tables import replacing

log = logging.getLogger(__name__)

Stage = Literal["align", "supervised"]
MAX_SCALE = math.log(100.0)
STEPS_BETWEEN_METRICS = 10


def train(records: Records, out: Path, config: TrainConfig, encode: EncodeConfig, *, seed: int) -> dict[str, Any]:
    """Train a bi-encoder and write it as a model folder.

    First every record with crop and text aligns the towers; then records with `entity_id` (two or more per entity)
    draw entities together. Rows of split `val` choose the epoch to keep where they hold entities with two or more
    records; rows of split `test` are never read. What is done is kept in `<out>.partial` and gone on from after an
    interruption: on one machine's CPU with the same number of threads the result is the same as without it.

    Args:
        records: crops, texts and perhaps labels.
        out: model folder to write; it appears when training is done.
        config: epochs, batch sizes, rates.
        encode: names the model to start from, the image weight and the device.
        seed: of batches, augmentation and random weights.

    Returns:
        Counts and the figures of the epoch kept; also written as `training.json`.

    Raises:
        InputError: there is nothing to train on, or the loss is no number any more.
        DependencyError: TensorBoard is asked for and not installed.
    """
    torch.manual_seed(seed)
    encoder = BiEncoder.load(encode.model, encode.device)
    data = TrainingSet(records)
    plan = _plan(data, config, records.path)
    partial = out.with_name(out.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(encoder, data, config, encode.image_weight, seed, partial, plan)
    validation = Validation(records, encode.image_weight)
    start = time.monotonic()
    trainer.run(validation)
    summary = {
        "model": encode.model,
        "records": len(data.rows),
        "pairs": int(data.paired.sum()),
        "entities": len(set(data.labels[data.labels >= 0].tolist())),
        "epochs": len(plan),
        "steps": trainer.step,
        "epoch_kept": trainer.best.get("epoch", len(plan)),
        "seconds": round(time.monotonic() - start, 1),
        **{f"val_{name}": value for name, value in trainer.best.items() if name != "epoch"},
    }
    _deliver(encoder, partial, out, summary | {"seed": seed, "config": config.model_dump()})
    return summary


def _plan(data: TrainingSet, config: TrainConfig, path: Path) -> list[Stage]:
    """The stage of each epoch."""
    pairs = int(data.paired.sum())
    _, sizes = np.unique(data.labels[data.labels >= 0], return_counts=True)
    plan: list[Stage] = []
    if pairs >= 2:
        plan += ["align"] * config.align_epochs
    if (sizes >= 2).sum() >= 1 and len(sizes) >= 2:
        plan += ["supervised"] * config.supervised_epochs
    if not plan:
        raise InputError(
            f"{path}: nothing to train on: {pairs} records of split train have crop and text, {len(sizes)} entities "
            "are labelled; give records with both, or two labelled records each of two entities, and epochs above 0"
        )
    return plan


class Trainer:
    """The training loop and all of its state.

    Attributes:
        step: optimiser steps done.
        best: figures of the best epoch on the validation rows so far, with its number as `epoch`; {} without any.
    """

    def __init__(
        self,
        encoder: BiEncoder,
        data: TrainingSet,
        config: TrainConfig,
        image_weight: float,
        seed: int,
        folder: Path,
        plan: list[Stage],
    ) -> None:
        self.encoder = encoder
        self.model = encoder.model.to(memory_format=torch.channels_last)
        self.data = data
        self.config = config
        self.image_weight = image_weight
        self.seed = seed
        self.folder = folder
        self.plan = plan
        self.optimizer = _optimizer(self.model, config.weight_decay)
        self.bank = torch.zeros(len(data.rows), encoder.dim, dtype=torch.float16)
        self.neighbours = torch.zeros(0, 0, dtype=torch.int64)
        self.step = 0
        self.best: dict[str, Any] = {}
        self._key = self._fingerprint()
        self._bf16 = _use_bf16(config.bf16, encoder.device)
        self._board = _board(folder) if config.tensorboard else None

    def run(self, validation: Validation) -> None:
        """Train every epoch of the plan that is not done yet; the model ends with the weights of the best one."""
        epoch, done = self._resume()
        for number in range(epoch, len(self.plan)):
            self._epoch(number, done)
            done = 0
            self._validate(number, validation)
            self._checkpoint(number + 1, 0)
        if self.best:
            read_weights(self._best_file, self.model)

    def _epoch(self, epoch: int, done: int) -> None:
        stage = self.plan[epoch]
        if done == 0 and stage == "supervised":
            self._mine()
        batches = self._batches(epoch)
        total = len(batches) * self.plan.count(stage)
        offset = len(batches) * self.plan[:epoch].count(stage)
        self.model.train()
        what = f"epoch {epoch + 1}/{len(self.plan)} ({stage})"
        with progress(what, len(batches), "batches") as advance:
            advance(done)
            for number, batch, rows in self._stream(batches, epoch, done):
                self._set_rate(stage, offset + number, total)
                loss = self._update(stage, batch, rows)
                self.step += 1
                if self.step % STEPS_BETWEEN_METRICS == 0:
                    self._note({"stage": stage, "epoch": epoch + 1, "loss": round(loss, 5)})
                if self.step % self.config.checkpoint_steps == 0:
                    self._checkpoint(epoch, number + 1)
                advance()

    def _batches(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng((self.seed, epoch))
        if self.plan[epoch] == "align":
            rows = np.flatnonzero(self.data.paired)
            return [rows[b] for b in align_batches(self.data.content[rows], self.config.batch_size, rng)]
        rows = np.flatnonzero(self.data.labels >= 0)
        labels = np.unique(self.data.labels[rows], return_inverse=True)[1]
        near = self.neighbours.numpy()
        size, per_class, exemplar = self.config.batch_size, self.config.per_class, self.data.exemplar[rows]
        return [rows[b] for b in class_batches(labels, near, size, per_class, rng, exemplar)]

    def _stream(self, batches: list[np.ndarray], epoch: int, done: int) -> Iterator[tuple[int, Batch, np.ndarray]]:
        """Batches from number `done` on, each prepared while the one before it is learned from."""

        def prepare(number: int) -> Batch:
            rng = np.random.default_rng((self.seed, epoch, number))
            return self.data.batch(batches[number], self.encoder, rng)

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(prepare, done) if done < len(batches) else None
            for number in range(done, len(batches)):
                batch = waiting.result() if waiting else prepare(number)
                waiting = pool.submit(prepare, number + 1) if number + 1 < len(batches) else None
                yield number, batch, batches[number]

    def _update(self, stage: Stage, batch: Batch, rows: np.ndarray) -> float:
        device = self.encoder.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self._bf16):
            image = towers.image_features(self.model, batch.pixels.to(device))
            text = towers.text_features(self.model, batch.tokens.to(device))
        image = image * batch.has_image[:, None].to(device)
        text = text * batch.has_text[:, None].to(device)
        pooled = _pool(image, text, self.image_weight)
        loss = self._loss(stage, image, text, pooled, rows)
        value = float(loss.detach())
        if not math.isfinite(value):
            rate = "align_lr" if stage == "align" else "supervised_lr"
            raise InputError(f"training: the loss is {value} at step {self.step}; lower train.{rate} and start again")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.model.logit_scale.data.clamp_(0.0, MAX_SCALE)
        self.bank[torch.from_numpy(rows)] = pooled.detach().half().cpu()
        return value

    def _loss(
        self, stage: Stage, image: torch.Tensor, text: torch.Tensor, pooled: torch.Tensor, rows: np.ndarray
    ) -> torch.Tensor:
        if stage == "align":
            content = torch.from_numpy(self.data.content[rows]).to(image.device)
            both = (image.abs().sum(1) > 0) & (text.abs().sum(1) > 0)
            same = content[both, None] == content[None, both]
            return info_nce(image[both], text[both], same, self.model.logit_scale.exp())
        labels = torch.from_numpy(self.data.labels[rows]).to(image.device)
        # Each record is seen pooled, by its picture alone and by its text alone: a record that lacks one is served too.
        return sup_con(torch.cat((pooled, image, text)), labels.repeat(3), self.config.temperature)

    def _mine(self) -> None:
        rows = np.flatnonzero(self.data.labels >= 0)
        labels = np.unique(self.data.labels[rows], return_inverse=True)[1]
        vectors = self.bank[torch.from_numpy(rows)].numpy()
        self.neighbours = torch.from_numpy(hard_negatives(vectors, labels, self.config.hard_negatives))

    def _set_rate(self, stage: Stage, step: int, total: int) -> None:
        """Linear warm-up, then half a cosine down to 2 % of the peak, over all steps of the stage."""
        peak = self.config.align_lr if stage == "align" else self.config.supervised_lr
        warmup = max(1, round(self.config.warmup * total))
        if step < warmup:
            share = (step + 1) / warmup
        else:
            share = 0.02 + 0.98 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup))) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = peak * share

    def _validate(self, epoch: int, validation: Validation) -> None:
        if not validation.queries:
            return
        figures = validation.measure(self.encoder)
        self._note({"stage": "val", "epoch": epoch + 1, **figures})
        if not self.best or figures["hit_pooled"] > self.best["hit_pooled"]:
            self.best = {**figures, "epoch": epoch + 1}
            write_weights(self._best_file, self.model)

    def _note(self, entry: dict[str, Any]) -> None:
        entry = {"step": self.step, **entry}
        log.info("%s", ", ".join(f"{key} {value}" for key, value in entry.items()))
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        if self._board:
            for key in entry.keys() - {"step", "stage", "epoch"}:
                self._board.add_scalar(f"{entry['stage']}/{key}", entry[key], self.step)

    @property
    def _best_file(self) -> Path:
        return self.folder / "best.safetensors"

    def _checkpoint(self, epoch: int, done: int) -> None:
        """Keep everything; the next batch is number `done` of `epoch`."""
        state = {"key": self._key, "epoch": epoch, "done": done, "step": self.step, "best": self.best}
        extra = {"bank": self.bank, "neighbours": self.neighbours}
        write_checkpoint(self.folder / "checkpoint.safetensors", self.model, self.optimizer, extra, state)

    def _resume(self) -> tuple[int, int]:
        """Go on from a checkpoint of the same training; returns the epoch and how many of its batches are done."""
        path = self.folder / "checkpoint.safetensors"
        state = read_state(path)
        if state is None or state["key"] != self._key:
            if state is not None:
                log.info("%s: of another training, started anew", path)
            (self.folder / "metrics.jsonl").unlink(missing_ok=True)
            return 0, 0
        extra = read_checkpoint(path, self.model, self.optimizer)
        self.bank, self.neighbours = extra["bank"], extra["neighbours"]
        self.step, self.best = state["step"], state["best"]
        _cut_metrics(self.folder / "metrics.jsonl", self.step)
        log.info("%s: going on from step %d", path, self.step)
        return state["epoch"], state["done"]

    def _fingerprint(self) -> str:
        """Equal where two trainings are the same: settings, first weights, records."""
        frame = self.data.records.frame
        total = hashlib.sha256(self.encoder.sha256.encode())
        total.update(json.dumps([self.config.model_dump(), self.image_weight, self.seed]).encode())
        for name in ("record_id", "text", "entity_id", "split"):
            total.update("\0".join(frame[name]).encode())
        return total.hexdigest()


def _optimizer(model: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW; vectors and scalars (norms, biases, gains, the temperature) and positions do not decay."""
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and "position" not in name]
    ids = {id(p) for p in decayed}
    rest = [p for p in model.parameters() if id(p) not in ids]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), eps=1e-6, fused=True)


def _pool(image: torch.Tensor, text: torch.Tensor, weight: float) -> torch.Tensor:
    """Pooled unit rows; a record with one modality only has no pooled view of its own, hence zeros."""
    both = (image.abs().sum(dim=1, keepdim=True) > 0) & (text.abs().sum(dim=1, keepdim=True) > 0)
    return torch.nn.functional.normalize(weight * image + (1 - weight) * text, dim=1) * both


def _use_bf16(choice: Literal["auto", "on", "off"], device: torch.device) -> bool:
    """16-bit arithmetic where the hardware has it: it doubles the speed there and crawls elsewhere."""
    if choice != "auto":
        return choice == "on"
    return torch.cuda.is_bf16_supported() if device.type == "cuda" else bool(torch.cpu._is_avx512_bf16_supported())


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise DependencyError("train.tensorboard: the package tensorboard is not installed; pip install it") from None
    return SummaryWriter(str(folder / "tensorboard"))


def _cut_metrics(path: Path, step: int) -> None:
    """Drop what an interrupted run noted after its last checkpoint."""
    if path.exists():
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
        with replacing(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # the line that the kill cut
        return math.inf


def _deliver(encoder: BiEncoder, partial: Path, out: Path, summary: dict[str, Any]) -> None:
    """Turn what training left into the model folder `out`."""
    ready = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(ready, ignore_errors=True)
    encoder.save(ready)
    (ready / "training.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    if (partial / "metrics.jsonl").exists():
        shutil.copy(partial / "metrics.jsonl", ready)
    if (partial / "tensorboard").exists():
        shutil.copytree(partial / "tensorboard", ready / "tensorboard")
    shutil.rmtree(out, ignore_errors=True)
    ready.rename(out)
    shutil.rmtree(partial)
