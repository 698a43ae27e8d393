"""A shard: some neighbouring records, embedded on their own into a part file, in any process and with the same bytes.

What a part is made of depends on its shard alone: on a CPU torch computes with one thread, whoever calls it, and the
batches are those of the shard. So one thread, many of them, or machines of one kind give the same embeddings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from linkage.config import Device, EncodeConfig
from linkage.encode.biencoder import BiEncoder
from linkage.encode.crops import read_crop
from linkage.encode.folder import model_folder
from linkage.encode.lattice import READINGS
from linkage.encode.pooling import pool
from linkage.encode.sight import CropSight
from linkage.errors import ArtefactError, InputError
from linkage.keys import result_key
from linkage.ocr.reader import one_thread
from linkage.records import CropPlaces, Records
from linkage.tables import replacing
from linkage.text import Folding, clean

READING_SCHEMA = pa.schema(
    list(zip(READINGS, (pa.string(), pa.string(), pa.float64(), pa.binary()), strict=True)),
)
_FAILED = b"linkage.failed"
_LEAST, _LEAST_ON_GPU, _MOST = 32, 512, 4096  # rows of a shard
_SHARDS = 1024  # are enough for any number of machines
_ROWS_AT_A_TIME = 256  # decoded at a time: at their widest, 25 MB of lines
_NOTHING_READ = ("", float("nan"), None)


@dataclass(frozen=True)
class Shard:
    """Neighbouring records to embed; it can be sent to another process, or another machine that sees the same files.

    Attributes:
        start: row of the first.
        crops: where their crops lie.
        record_ids, texts, directions: of each.
        model: name or folder that `BiEncoder.load` takes.
        model_sha256: of that model.
        config: with the device on which to compute.
        folding: what makes two texts equal.
        part: the file to write, named after all of this.
    """

    start: int
    crops: CropPlaces
    record_ids: tuple[str, ...]
    texts: tuple[str, ...]
    directions: tuple[str, ...]
    model: str
    model_sha256: str
    config: EncodeConfig
    folding: Folding
    part: Path

    def __len__(self) -> int:
        return len(self.record_ids)

    @property
    def rows(self) -> slice:
        """Its rows among all records."""
        return slice(self.start, self.start + len(self))


@dataclass(frozen=True)
class EmbeddedShard:
    """What became of a shard.

    Attributes:
        image, text: float16 (n, D).
        readings: n rows of READING_SCHEMA.
        failures: (record_id, reason) of crops that could not be read.
    """

    image: np.ndarray
    text: np.ndarray
    readings: pa.Table
    failures: list[tuple[str, str]]


def shards(records: Records, encoder: BiEncoder, config: EncodeConfig, folder: Path) -> Iterator[Shard]:
    """Cut records into shards, as many whatever the number of threads; their parts lie in `folder`."""
    device = config.model_copy(update={"device": encoder.device.type, "threads": 0})
    # The weight pools vectors that are there already, in the manifest alone.
    settings = device.result_settings() | {"image_weight": None}
    made_with = [torch.__version__, encoder.sha256, settings, encoder.folding]
    model = _absolute(encoder.name)
    columns = [records.frame[name].tolist() for name in ("record_id", "text")]
    columns.append(records.frame["direction"].tolist() if "direction" in records.frame else [""] * len(records))
    step = _shard_rows(len(records), device.device)
    for start in range(0, len(records), step):
        crops = records.crops(start, start + step)
        ids, texts, directions = (tuple(column[start : start + step]) for column in columns)
        name = result_key(made_with, crops.path.name, list(crops.places), crops.state(), ids, texts, directions)
        part = folder / name[:2] / f"{name[:32]}.parquet"
        yield Shard(start, crops, ids, texts, directions, model, encoder.sha256, device, encoder.folding, part)


def _shard_rows(n: int, device: Device) -> int:
    """How many of n records make a shard: few for the cores of a machine to share, enough to fill a GPU."""
    least = _LEAST if device == "cpu" else _LEAST_ON_GPU
    return min(_MOST, max(1, -(-n // (_SHARDS * least))) * least)


def embed_shard(shard: Shard, encoder: BiEncoder | None = None) -> None:
    """Embed a shard and write its part; a crop that cannot be read counts as missing.

    Args:
        shard: what to embed.
        encoder: its model, where it is loaded already.

    Raises:
        ArtefactError: its model cannot be loaded, or is another by now.
        StorageError: the disk is full.
    """
    encoder = encoder or _encoder(shard.model, shard.config.device, shard.folding, shard.model_sha256)
    failures: list[tuple[str, str]] = []
    image, text = (np.empty((len(shard), encoder.dim), dtype=np.float16) for _ in range(2))
    readings: list[tuple[str, float, bytes | None]] = []
    with one_thread():
        pixels: list[np.ndarray | None] = []
        for row, one in enumerate(_pixels(shard, encoder, failures), start=1):
            pixels.append(one)
            if len(pixels) == _ROWS_AT_A_TIME or row == len(shard):
                rows = slice(row - len(pixels), row)
                image[rows], read = _seen(pixels, encoder, shard.config)
                given, own = encoder.encode_text(shard.texts[rows]), encoder.encode_text([one for one, _, _ in read])
                text[rows] = pool(given, own, 0.5)  # the mean of two readings, where there are two
                readings += read
                pixels = []
    columns = [list(shard.record_ids), *(list(column) for column in zip(*readings, strict=True))]
    table = pa.table(columns, schema=READING_SCHEMA)
    _write_part(shard.part, EmbeddedShard(image, text, table, failures))


def is_whole(path: Path) -> bool:
    """Whether a part was written to its end: a power cut can leave a name without the content."""
    try:
        return path.exists() and _FAILED in (pq.read_schema(path).metadata or {})
    except (OSError, ValueError, pa.ArrowException):
        return False


def read_part(path: Path) -> EmbeddedShard | None:
    """A part; None if it is damaged."""
    try:
        table = pq.read_table(path)
        image, text = (
            np.frombuffer(b"".join(table[name].to_pylist()), np.float16).reshape(len(table), -1)
            for name in ("image", "text")
        )
        failures = [(record, reason) for record, reason in json.loads(table.schema.metadata[_FAILED])]
        return EmbeddedShard(image, text, table.select(READINGS).cast(READING_SCHEMA), failures)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None


def _write_part(path: Path, part: EmbeddedShard) -> None:
    wide = pa.binary(part.image.shape[1] * part.image.itemsize)
    table = part.readings
    for name, vectors in (("image", part.image), ("text", part.text)):
        table = table.append_column(name, pa.array([vector.tobytes() for vector in vectors], wide))
    with replacing(path) as temporary:
        failed = json.dumps(part.failures).encode()
        pq.write_table(table.replace_schema_metadata({_FAILED: failed}), temporary, compression="none")


def _absolute(model: str) -> str:
    """The name of a model for processes that need not be in this one's folder."""
    if folder := model_folder(model):
        return str(folder.absolute())
    architecture, colon, checkpoint = model.partition(":")
    return f"{architecture}:{Path(checkpoint).absolute()}" if colon else model


@lru_cache(maxsize=1)
def _encoder(model: str, device: Device, folding: Folding, sha256: str) -> BiEncoder:
    """The model of the last shard, for the next one."""
    encoder = BiEncoder.load(model, device, folding)
    if encoder.sha256 != sha256:
        raise ArtefactError(f"{model}: another model than a moment ago; let it be while records are embedded")
    return encoder


def _pixels(shard: Shard, encoder: BiEncoder, failures: list[tuple[str, str]]) -> Iterator[np.ndarray | None]:
    """What the image tower takes of each crop; one picture is decoded at a time, for crops can be whole pages."""
    for crop, record, direction in zip(shard.crops, shard.record_ids, shard.directions, strict=True):
        try:
            if isinstance(crop, OSError):
                raise crop
            yield encoder.pixels(read_crop(crop, direction)) if crop else None
        except (InputError, OSError) as error:
            failures.append((record, str(error)))
            yield None


def _seen(
    pixels: list[np.ndarray | None], encoder: BiEncoder, config: EncodeConfig
) -> tuple[np.ndarray, list[tuple[str, float, bytes | None]]]:
    batch = config.batch_size * (1 if encoder.device.type == "cpu" else 16)
    if not encoder.ink:
        return encoder.encode_pixels(pixels, batch), [_NOTHING_READ] * len(pixels)
    vectors, sights = encoder.look_at(pixels, batch)
    return vectors, [_reading(sight) if config.reading else _NOTHING_READ for sight in sights]


def _reading(sight: CropSight | None) -> tuple[str, float, bytes | None]:
    """The model's reading of a crop, how sure it is (geometric mean over the characters), and the lattice."""
    if sight is None:
        return _NOTHING_READ
    text, chances = sight.lattice.read()
    sure = float(np.exp(np.mean(np.log(np.maximum(chances, 1e-6))))) if chances else float("nan")
    return clean(text), sure, sight.lattice.pack()
