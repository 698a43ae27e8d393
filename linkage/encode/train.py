"""Training in one command: reading (CTC), crops against texts (InfoNCE or SigLIP), then entities (SupCon)."""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from linkage.config import EncodeConfig, TrainConfig
from linkage.encode.batches import hard_negatives
from linkage.encode.biencoder import BiEncoder
from linkage.encode.checkpoint import read_checkpoint, read_state, read_weights, write_checkpoint, write_weights
from linkage.encode.columns import CropColumns
from linkage.encode.data import Batch, TrainingSet
from linkage.encode.distributed import Ranks, joined
from linkage.encode.learner import Learner, trunk_rate, use_bf16
from linkage.encode.plan import TrainingStage, epoch_batches, labelled, rate_share, stages
from linkage.encode.read import learn_to_read
from linkage.encode.transcribed import TRANSCRIPTION, TranscribedLines
from linkage.encode.validate import Validation
from linkage.errors import DependencyError, InputError
from linkage.keys import result_key
from linkage.progress import progress
from linkage.records import Records
from linkage.tables import replacing, replacing_folder
from linkage.text import FOLDING, Folding

log = logging.getLogger(__name__)

STEPS_BETWEEN_METRICS = 10


def train(
    records: Records, out: Path, config: TrainConfig, encode: EncodeConfig, *, seed: int, folding: Folding = FOLDING
) -> dict[str, Any]:
    """Train a bi-encoder and write it as a model folder.

    First, where lines have a `transcription`, the recogniser learns to read them (see `learn_to_read`). Then every
    record with crop and text aligns the towers; then records with `entity_id` (two or more per entity)
    draw entities together. Rows of split `val` choose the epoch to keep, and end a stage early, where they hold
    entities with two or more records that training does not see; rows of split `test` are never read. What is done is
    kept in `<out>.partial` and gone on from after an interruption: on one machine's CPU with the same number of
    threads the result is the same as without it.

    Under `torchrun --standalone --nproc-per-node=N -m linkage train ...` N processes share every batch, see `Ranks`.

    Args:
        records: crops, texts and perhaps labels.
        out: model folder to write; it appears when training is done.
        config: epochs, batch sizes, rates.
        encode: names the model to start from, the image weight and the device.
        seed: of batches, augmentation and random weights.
        folding: what makes two texts equal.

    Returns:
        Counts and the figures of the epoch kept; also written as `training.json`. Under torchrun {} on all processes
        but the first.

    Raises:
        InputError: there is nothing to train on, or the loss is no number any more.
        ConfigError: a setting does not fit the model.
        DependencyError: TensorBoard is asked for and not installed.
    """
    with joined(encode.device) as ranks:
        if not ranks.leads:
            logging.getLogger("linkage").setLevel(logging.ERROR)
        return _train(records, out, config, encode, seed, folding, ranks)


def _train(
    records: Records,
    out: Path,
    config: TrainConfig,
    encode: EncodeConfig,
    seed: int,
    folding: Folding,
    ranks: Ranks,
) -> dict[str, Any]:
    torch.manual_seed(seed)
    encoder = BiEncoder.load(encode.model, encode.device, folding)
    config = config.model_copy(update={"trunk_rate": trunk_rate(config, encoder)})
    key = _fingerprint(records, encoder, config, encode.image_weight, seed)
    partial = out.with_name(out.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    told = _read(encoder, records, config, partial, key, ranks)
    data = TrainingSet(records, folding)
    validation = Validation(records, encode.image_weight, folding)
    frozen = encoder.ink and config.trunk_rate == 0
    with torch.autocast(encoder.device.type, torch.bfloat16, enabled=use_bf16(config.bf16, encoder.device)):
        columns = _look(encoder, data, validation, partial, ranks) if frozen else None
    try:
        plan = stages(data, config, records.path)
    except InputError:
        if not told:
            shutil.rmtree(partial)
            raise
        plan = []  # to read was all there was to learn
    learner = Learner(encoder, data, config, encode.image_weight, seed, ranks)
    trainer = Trainer(learner, plan, partial, key)
    start = time.monotonic()
    trainer.run(validation, columns)
    if not ranks.leads:
        return {}
    summary = {
        "model": encode.model,
        "records": len(data.rows),
        "pairs": int(data.paired.sum()),
        "entities": len(set(data.labels[data.labels >= 0].tolist())),
        "epochs": trainer.epochs,
        "steps": trainer.step,
        "epoch_kept": trainer.best.get("epoch", len(plan)),
        "seconds": round(time.monotonic() - start, 1),
        **told,
        **{f"val_{name}": value for name, value in trainer.best.items() if name.startswith("hit_")},
    }
    _deliver(encoder, partial, out, summary | {"seed": seed, "config": config.model_dump()})
    return summary


def _read(
    encoder: BiEncoder, records: Records, config: TrainConfig, folder: Path, key: str, ranks: Ranks
) -> dict[str, Any]:
    """The stage `read`, where records have a transcription; the first process learns, the others take its weights."""
    if not encoder.ink or not config.read_epochs or TRANSCRIPTION not in records.frame:
        return {}
    lines = TranscribedLines(records, encoder, ("", "train"))
    if not len(lines):
        log.warning("read: left out, no row has a crop and a transcription in characters that the recogniser has")
        return {}
    weights, done = folder / "reader.safetensors", folder / "reader.json"
    if ranks.leads and _state(done).get("key") != key:
        figures = learn_to_read(encoder, lines, TranscribedLines(records, encoder, ("val",)), config, folder, key)
        write_weights(weights, encoder.model.visual.trunk.reader)
        with replacing(done) as temporary:
            temporary.write_text(json.dumps({"key": key, "figures": figures}), encoding="utf-8")
    ranks.share(None)
    read_weights(weights, encoder.model.visual.trunk.reader)
    encoder.changed()
    return dict(_state(done)["figures"])


def _state(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _look(encoder: BiEncoder, data: TrainingSet, validation: Validation, folder: Path, ranks: Ranks) -> CropColumns:
    """Show the data what the frozen recogniser sees, once for all epochs; returns the same for the validation rows."""
    if not ranks.leads:
        ranks.share(None)  # the first one looks
    data.show(CropColumns.of(data.records, encoder, folder / "train", data.rows))
    columns = CropColumns.of(validation.records, encoder, folder / "val")
    if ranks.leads:
        ranks.share(None)
    return columns


class Trainer:
    """The training loop and all of its state.

    Attributes:
        epochs: epochs done.
        step: optimiser steps done.
        best: figures of the best epoch on the validation rows so far, with its number as `epoch`; {} without any.
    """

    def __init__(self, learner: Learner, plan: list[TrainingStage], folder: Path, key: str) -> None:
        self.learner = learner
        self.data = learner.data
        self.config = learner.config
        self.ranks = learner.ranks
        self.plan = plan
        self.folder = folder
        self.neighbours = torch.zeros(0, 0, dtype=torch.int64)
        self.epochs = 0
        self.step = 0
        self.best: dict[str, Any] = {}
        self._kept_at = 0  # step of the last checkpoint
        self._stale = 0  # epochs of the stage since the best one
        self._over: TrainingStage | None = None  # the stage that was ended early
        self._key = key
        self._board = _board(folder) if self.config.tensorboard and self.ranks.leads else None

    def run(self, validation: Validation, columns: CropColumns | None) -> None:
        """Train every epoch of the plan that is not done yet; the model ends with the weights of the best one.

        Args:
            validation: chooses the epoch to keep.
            columns: of the validation rows, where the recogniser is frozen.
        """
        epoch, done = self._resume()
        for number in range(epoch, len(self.plan)):
            if self.plan[number] == self._over:
                continue
            self._epoch(number, done)
            done = 0
            self.epochs += 1
            self._validate(number, validation, columns)
            # Epochs of a few steps are sooner redone; but what was kept before the validation must know of it.
            if self.step - self._kept_at >= self.config.checkpoint_steps or self._kept_at == self.step:
                self._checkpoint(number + 1, 0)
        if self.best and self.ranks.leads:
            read_weights(self._best_file, self.learner.model)

    def _epoch(self, epoch: int, done: int) -> None:
        stage = self.plan[epoch]
        if done == 0 and stage == "supervised":
            self._mine()
        rng = np.random.default_rng((self.learner.seed, epoch))
        batches = epoch_batches(stage, self.data, self.config, self.neighbours.numpy(), rng)
        total = len(batches) * self.plan.count(stage)
        offset = len(batches) * self.plan[:epoch].count(stage)
        peak = self.config.align_lr if stage == "align" else self.config.supervised_lr
        self.learner.train_mode()
        what = f"epoch {epoch + 1}/{len(self.plan)} ({stage})"
        with progress(what, len(batches), "batches") as advance:
            advance(done)
            for number, batch in self._stream(batches, epoch, done):
                self.learner.set_rate(peak * rate_share(offset + number, total, self.config.warmup))
                loss = self.learner.update(stage, batch, batches[number], self.step)
                self.step += 1
                if self.step % STEPS_BETWEEN_METRICS == 0:
                    self._note({"stage": stage, "epoch": epoch + 1, "loss": round(loss, 5)})
                if self.step % self.config.checkpoint_steps == 0:
                    self._checkpoint(epoch, number + 1)
                advance()

    def _stream(self, batches: list[np.ndarray], epoch: int, done: int) -> Iterator[tuple[int, Batch]]:
        """This rank's parts of the batches from number `done` on, each prepared while the one before is learned."""
        dropout = self.config.modality_dropout if self.plan[epoch] == "supervised" else 0.0

        def prepare(number: int) -> Batch:
            rows = self.ranks.part(batches[number])
            return self.data.batch(rows, self.learner.encoder, (self.learner.seed, epoch), modality_dropout=dropout)

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(prepare, done) if done < len(batches) else None
            for number in range(done, len(batches)):
                batch = waiting.result() if waiting else prepare(number)
                waiting = pool.submit(prepare, number + 1) if number + 1 < len(batches) else None
                yield number, batch

    def _mine(self) -> None:
        rows, labels = labelled(self.data)
        vectors = self.learner.bank[torch.from_numpy(rows)].numpy()
        k, cosine = self.config.hard_negatives, self.config.duplicate_cosine
        found = hard_negatives(vectors, labels, self.data.readings[rows], k, cosine)
        self.neighbours = torch.from_numpy(self.ranks.share(found))

    def _validate(self, epoch: int, validation: Validation, columns: CropColumns | None) -> None:
        """Measure; keep the best weights; end the stage where nothing has got better for long enough."""
        if not validation.rows:
            return
        stage = self.plan[epoch]
        if epoch and self.plan[epoch - 1] != stage:
            self._stale = 0
        figures = self.ranks.share(validation.measure(self.learner.encoder, columns) if self.ranks.leads else None)
        self._note({"stage": "val", "epoch": epoch + 1, **figures})
        if not validation.queries:
            return
        if not self.best or figures["hit_pooled"] > self.best["hit_pooled"]:
            self.best = {**figures, "epoch": epoch + 1}
            self._stale = 0
            if self.ranks.leads:
                write_weights(self._best_file, self.learner.model)
            return
        self._stale += 1
        if self._stale == self.config.patience:
            log.info("stage %s ends: no better val hit@1 for %d epochs", stage, self._stale)
            self._over = stage

    def _note(self, entry: dict[str, Any]) -> None:
        if not self.ranks.leads:
            return
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
        self._kept_at = self.step
        if not self.ranks.leads:
            return
        state = {"key": self._key, "epoch": epoch, "done": done, "step": self.step, "epochs": self.epochs}
        state |= {"best": self.best, "stale": self._stale, "over": self._over}
        extra = {"bank": self.learner.bank, "neighbours": self.neighbours}
        if self.learner.bias is not None:
            extra["logit_bias"] = self.learner.bias
        path = self.folder / "checkpoint.safetensors"
        write_checkpoint(path, self.learner.model, self.learner.optimizer, extra, state)

    def _resume(self) -> tuple[int, int]:
        """Go on from a checkpoint of the same training; returns the epoch and how many of its batches are done."""
        path = self.folder / "checkpoint.safetensors"
        metrics = self.folder / "metrics.jsonl"
        state = read_state(path)
        if state is None or state["key"] != self._key:
            if state is not None:
                log.info("%s: of another training, started anew", path)
            if self.ranks.leads:
                metrics.unlink(missing_ok=True)
            self.ranks.share(None)  # the others have looked before the first one writes
            return 0, 0
        extra = read_checkpoint(path, self.learner.model, self.learner.optimizer)
        self.learner.bank, self.neighbours = extra["bank"], extra["neighbours"]
        if self.learner.bias is not None:
            self.learner.bias.data.copy_(extra["logit_bias"])
        self.step, self.epochs, self.best = state["step"], state["epochs"], state["best"]
        self._kept_at = self.step
        self._stale, self._over = state["stale"], state["over"]
        if self.ranks.leads:
            _cut_metrics(metrics, self.step)
        self.ranks.share(None)
        log.info("%s: going on from step %d", path, self.step)
        return state["epoch"], state["done"]


def _fingerprint(records: Records, encoder: BiEncoder, config: TrainConfig, image_weight: float, seed: int) -> str:
    """Equal where two trainings are the same: settings, first weights, records."""
    names = ("record_id", "text", TRANSCRIPTION, "entity_id", "split", "role", "direction")
    told = [list(map(str, records.frame[name])) if name in records.frame else None for name in names]
    crops = records.crops(0, len(records)).state()
    return result_key(encoder.sha256, config.result_settings(), image_weight, seed, encoder.folding, told, crops)


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
    with replacing_folder(out) as ready:
        encoder.save(ready)
        (ready / "training.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        if (partial / "metrics.jsonl").exists():
            shutil.copy(partial / "metrics.jsonl", ready)
        if (partial / "tensorboard").exists():
            shutil.copytree(partial / "tensorboard", ready / "tensorboard")
    shutil.rmtree(partial)
