"""Records to embeddings: a folder with both modalities' vectors apart, so that every similarity can be explained."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from linkage.arrays import writing_array
from linkage.config import EncodeConfig
from linkage.encode.biencoder import BiEncoder
from linkage.encode.embeddings import FORMAT, READINGS_FILE, Embeddings
from linkage.encode.folder import model_folder
from linkage.encode.shards import READING_SCHEMA, Shard, embed_shard, is_whole, read_part, shards
from linkage.errors import ArtefactError, ConfigError, InputError
from linkage.locks import among
from linkage.machine import cores
from linkage.ocr.reader import one_thread
from linkage.progress import progress
from linkage.records import Records
from linkage.tables import replacing_folder, write_table
from linkage.workers.engine import Pool, elsewhere
from linkage.workers.pool import LostItem
from linkage.workers.share import Share

log = logging.getLogger(__name__)


def embed_records(
    records: Records, encoder: BiEncoder, out: Path, config: EncodeConfig, *, engine: str = "local"
) -> Embeddings:
    """Embed crops and texts of records; the folder appears whole or not at all, and replaces an earlier one.

    A crop that cannot be read counts as missing and stands in `failures.csv` of the folder. Finished shards lie in
    `<out>.partial` until all are: a call that was cut off goes on with them. The vectors do not depend on the number
    of threads.

    Args:
        records: their crops are read from their file, a shard at a time.
        encoder: the model, with what makes two texts equal. An engine that is not local needs one that can be loaded
            by its name, unchanged.
        out: folder to write.
        config: batch size, threads and image weight.
        engine: who embeds; see `workers.engine.open_workers`. The vectors are the same on machines of one kind.

    Raises:
        ConfigError: the engine is not local and the model cannot be loaded by its name.
        InputError: a process died twice of the same records.
        StorageError: the disk is full; the parts that were written are kept.
    """
    partial = _partial(out)
    made = list(shards(records, encoder, config, partial))
    _embed(made, encoder, partial / ".scratch", config, engine)
    with replacing_folder(out) as temporary:
        manifest = {
            "format": FORMAT,
            "model": encoder.name,
            "model_sha256": encoder.sha256,
            "dim": encoder.dim,
            "n": len(records),
            "image_weight": config.image_weight,
            "reading": config.reading,
            "folding": encoder.folding._asdict(),
            "records_sha256": _digest(records),
        }
        manifest |= _join(made, records, encoder.dim, temporary)
        (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(partial, ignore_errors=True)
    return Embeddings.open(out)


def embed_share(
    records: Records, encoder: BiEncoder, out: Path, config: EncodeConfig, share: Share, *, engine: str = "local"
) -> int:
    """Embed one share of the shards into parts, which `embed_records` with the same arguments finds and joins.

    Shares may be at work at once, on any machines that see the same folders; `embed_records` itself only without them.

    Returns:
        How many records are in the share.

    Raises:
        InputError, StorageError: as `embed_records`.
        UsageError: this share, or the whole, is being worked on.
    """
    with among(out, str(share)):
        partial = _partial(out)
        own = [one for place, one in enumerate(shards(records, encoder, config, partial)) if share.has(place)]
        _embed(own, encoder, partial / f".scratch-{share.number}-of-{share.of}", config, engine)
    return sum(map(len, own))


def _partial(out: Path) -> Path:
    place = out.absolute()
    return place.with_name(place.name + ".partial")


def _embed(made: Sequence[Shard], encoder: BiEncoder, scratch: Path, config: EncodeConfig, engine: str) -> None:
    """Embed the shards that are missing, by threads of this process or by the workers of an engine."""
    if engine != "local" and not _named(encoder):
        raise ConfigError(f"encode.model: {encoder.name} has weights that no other machine has; name a model folder")
    with progress("embed", sum(map(len, made))) as advance:
        missing = [shard for shard in made if not is_whole(shard.part)]
        advance(sum(map(len, made)) - sum(map(len, missing)))
        with elsewhere(engine, scratch, ("linkage.encode.shards",)) as workers:
            for shard in _embedded_by(workers, missing) if workers else _embedded_here(encoder, missing, config):
                advance(len(shard))
    shutil.rmtree(scratch, ignore_errors=True)


def _embedded_by(workers: Pool, missing: Sequence[Shard]) -> Iterator[Shard]:
    """Yield shards as they are finished."""
    for shard, result in workers.run(embed_shard, missing):
        if isinstance(result, LostItem):
            raise InputError(
                f"{shard.crops.path}: embedding records {shard.start + 1} to {shard.rows.stop} failed twice: "
                f"{result.reason}; --set encode.batch_size=8 takes the least memory; what is finished is kept"
            )
        yield shard


def _embedded_here(encoder: BiEncoder, missing: Sequence[Shard], config: EncodeConfig) -> Iterator[Shard]:
    """Yield shards as they are finished; the threads share the model."""

    def embed(shard: Shard) -> Shard:
        embed_shard(shard, encoder)
        return shard

    with one_thread(), ThreadPoolExecutor(threads(encoder, config)) as pool:  # torch adds none of its own to them
        done = [pool.submit(embed, shard) for shard in missing]
        try:
            for one in as_completed(done):
                yield one.result()
        finally:
            pool.shutdown(cancel_futures=True)  # the rest is of no use once one has raised


def threads(encoder: BiEncoder, config: EncodeConfig) -> int:
    """How many threads of this process embed."""
    return config.threads or cores() if encoder.device.type == "cpu" else 1


def _named(encoder: BiEncoder) -> bool:
    """Whether another process can load the model by its name; else its weights are random."""
    return model_folder(encoder.name) is not None or ":" in encoder.name


def _join(made: Sequence[Shard], records: Records, dim: int, folder: Path) -> dict[str, Any]:
    """Put parts end to end, one at a time; returns what the manifest says of missing modalities.

    Raises:
        ArtefactError: a part is damaged.
    """
    failed = list(records.failures)
    without = {"n_without_image": 0, "n_without_text": 0}
    shape = (len(records), dim)
    with (
        writing_array(folder / "image.npy", shape) as image,
        writing_array(folder / "text.npy", shape) as text,
        pq.ParquetWriter(folder / READINGS_FILE, READING_SCHEMA) as readings,
    ):
        for shard in made:
            part = read_part(shard.part)
            if part is None:
                raise ArtefactError(f"{shard.part}: damaged; remove it and embed again")
            for name, write, vectors in (("image", image, part.image), ("text", text, part.text)):
                write(vectors)
                without[f"n_without_{name}"] += int((~vectors.any(axis=1)).sum())
            readings.write_table(part.readings)
            failed += part.failures
    write_table(_failures(records.frame, failed), folder / "failures.csv")
    return without


def _digest(records: Records) -> str:
    """Equal where ids and texts are, row by row."""
    total = hashlib.sha256()
    for number, row in enumerate(zip(records.frame["record_id"], records.frame["text"], strict=True)):
        total.update(("\0" * (number > 0) + "\0".join(row)).encode())
    return total.hexdigest()


def _failures(frame: pd.DataFrame, failed: list[tuple[str, str]]) -> pd.DataFrame:
    if failed:
        log.warning("embed: %d crops could not be read; these records go by their text alone", len(failed))
    table = pd.DataFrame(failed, columns=["record_id", "reason"])
    known = frame.reindex(columns=["record_id", "source", "page"])
    return table.merge(known, on="record_id", how="left")[["record_id", "source", "page", "reason"]]
