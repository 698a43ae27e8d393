"""The records as training sees them: which rows take part, their classes, and one batch as tensors."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from linkage.encode.augment import augment_image, augment_photo, augment_text
from linkage.encode.biencoder import BiEncoder
from linkage.encode.crops import read_crop
from linkage.errors import InputError
from linkage.records import Records
from linkage.text import fold

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        pixels: uint8 (B, C, H, W); white where there is no crop.
        tokens: int64 (B, L).
        has_image, has_text: bool (B,).
    """

    pixels: torch.Tensor
    tokens: torch.Tensor
    has_image: torch.Tensor
    has_text: torch.Tensor


class TrainingSet:
    """Rows of a records table that training may see.

    Attributes:
        rows: int64 (n,), rows with split train or none; every other array here runs over these.
        content: int64 (n,), equal where two records have the same entity or, without one, the same folded text.
        labels: int64 (n,), class of the entity, -1 where there is none.
        exemplar: bool (n,), the record is its entity's exemplar.
        paired: bool (n,), crop and text are both there.
    """

    def __init__(self, records: Records) -> None:
        self.records = records
        frame = records.frame
        self.rows = np.flatnonzero(frame["split"].isin(("", "train")))
        part = frame.iloc[self.rows]
        self.texts = part["text"].tolist()
        self.directions = part["direction"].tolist() if "direction" in part else [""] * len(part)
        self.entities = part["entity_id"].tolist()
        folded = (entity or "\0" + fold(text) for entity, text in zip(self.entities, self.texts, strict=True))
        self.content = _codes(list(folded))
        labels = _codes(self.entities)
        self.labels = np.where(part["entity_id"].to_numpy() == "", -1, labels)
        self.exemplar = (part["role"] == "exemplar").to_numpy()
        has_crop = np.zeros(len(frame), dtype=bool)
        for start, crops in records.batches(256):
            has_crop[start : start + len(crops)] = [crop is not None for crop in crops]
        self.has_crop = has_crop[self.rows]
        self.paired = self.has_crop & (part["text"] != "").to_numpy()

    def image(self, row: int) -> Image.Image | None:
        """The crop of one row, or None where there is none or it cannot be read."""
        try:
            data = self.records.crop(int(self.rows[row]))
            return read_crop(data, self.directions[row]) if data else None
        except (InputError, OSError) as error:
            log.warning("record %s: no picture (%s)", self.records.frame["record_id"][self.rows[row]], error)
            return None

    def batch(self, rows: np.ndarray, encoder: BiEncoder, rng: np.random.Generator) -> Batch:
        """Read, augment and tensorise some rows."""
        pixels, texts, has_image = [], [], []
        for row in rows.tolist():
            image = self.image(row)
            has_image.append(image is not None)
            shown = image and (augment_image(image, rng) if encoder.ink else augment_photo(image, encoder.width, rng))
            pixels.append(encoder.pixels(shown or Image.new("L", (8, 8), 255)))
            texts.append(augment_text(self.texts[row], rng))
        return Batch(
            torch.from_numpy(np.stack(pixels)),
            torch.as_tensor(encoder.tokenize(texts)),
            torch.tensor(has_image),
            torch.tensor([text != "" for text in texts]),
        )


def _codes(values: list[str]) -> np.ndarray:
    return np.unique(np.array(values, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)
