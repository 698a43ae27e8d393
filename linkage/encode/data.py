"""The records as training sees them: which rows take part, their classes, and one batch as tensors."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from linkage.arrays import codes_of
from linkage.encode.augment import augment_image, augment_photo, augment_text
from linkage.encode.biencoder import BiEncoder
from linkage.encode.columns import CropColumns
from linkage.encode.crops import read_crop
from linkage.errors import InputError
from linkage.records import Records
from linkage.text import FOLDING, Folding

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        pixels: of the rows that have a picture, in order: each what `BiEncoder.pixels` gives, uint8 (C, H, W), or the
            columns that a frozen recogniser saw, float16 (K, 242).
        tokens: int64 (T, L), of the T rows that have a text, in order.
        has_image, has_text: bool (B,).
    """

    pixels: list[np.ndarray]
    tokens: torch.Tensor
    has_image: torch.Tensor
    has_text: torch.Tensor

    def split(self, size: int) -> list[Batch]:
        """Parts of at most `size` rows (0: any number), in order and about equally long."""
        if not len(self.has_image):
            return []
        parts = -(-len(self.has_image) // size) if size else 1
        batches = []
        image = text = 0
        for has_image, has_text in zip(
            self.has_image.tensor_split(parts), self.has_text.tensor_split(parts), strict=True
        ):
            images, texts = int(has_image.sum()), int(has_text.sum())
            tokens = self.tokens[text : text + texts]
            batches.append(Batch(self.pixels[image : image + images], tokens, has_image, has_text))
            image, text = image + images, text + texts
        return batches


class TrainingSet:
    """Rows of a records table that training may see.

    Attributes:
        rows: int64 (n,), rows with split train or none; every other array here runs over these.
        content: int64 (n,), equal where two records have the same entity or, without one, the same folded text.
        labels: int64 (n,), class of the entity, -1 where there is none.
        readings: int64 (n,), equal where two folded texts are, -1 where there is none.
        exemplar: bool (n,), the record is its entity's exemplar.
        paired: bool (n,), crop and text are both there.
    """

    def __init__(self, records: Records, folding: Folding = FOLDING) -> None:
        self.records = records
        frame = records.frame
        self.rows = np.flatnonzero(frame["split"].isin(("", "train")))
        part = frame.iloc[self.rows]
        self.texts = part["text"].tolist()
        self.directions = part["direction"].tolist() if "direction" in part else [""] * len(part)
        self.entities = part["entity_id"].tolist()
        folded = [folding.fold(text) for text in self.texts]
        self.content = codes_of([entity or "\0" + text for entity, text in zip(self.entities, folded, strict=True)])
        self.readings = np.where(np.array(folded, dtype=object) == "", -1, codes_of(folded))
        labels = codes_of(self.entities)
        self.labels = np.where(part["entity_id"].to_numpy() == "", -1, labels)
        self.exemplar = (part["role"] == "exemplar").to_numpy()
        has_crop = np.zeros(len(frame), dtype=bool)
        for start, crops in records.batches(256):
            has_crop[start : start + len(crops)] = [crop is not None for crop in crops]
        self.has_crop = has_crop[self.rows]
        self.paired = self.has_crop & (part["text"] != "").to_numpy()
        self.columns: CropColumns | None = None

    def show(self, columns: CropColumns) -> None:
        """Take what a frozen recogniser saw of the rows for their pictures, and its readings for further texts."""
        self.columns = columns
        self.paired = self.has_crop & np.array(
            [bool(text or reading) for text, reading in zip(self.texts, columns.readings, strict=True)], dtype=bool
        )

    def text(self, row: int, rng: np.random.Generator) -> str:
        """One of the texts of a row: the given one or the recogniser's reading; "" where there is none."""
        texts = [self.texts[row], self.columns.readings[row] if self.columns else ""]
        texts = [text for text in texts if text]
        return str(rng.choice(texts)) if texts else ""

    def image(self, row: int) -> Image.Image | None:
        """The crop of one row, or None where there is none or it cannot be read."""
        try:
            data = self.records.crop(int(self.rows[row]))
            return read_crop(data, self.directions[row]) if data else None
        except (InputError, OSError) as error:
            log.warning("record %s: no picture (%s)", self.records.frame["record_id"][self.rows[row]], error)
            return None

    def batch(
        self, rows: np.ndarray, encoder: BiEncoder, seed: tuple[int, ...], *, modality_dropout: float = 0.0
    ) -> Batch:
        """Read, augment and tensorise some rows.

        Args:
            rows: int64 (B,).
            encoder: makes pixels and tokens.
            seed: with a row's number it decides what becomes of that row, whatever else stands in the batch.
            modality_dropout: chance that a record with crop and text shows only one of them, either as likely.
        """
        pixels, texts, has_image = [], [], []
        for row in rows.tolist():
            rng = np.random.default_rng((*seed, row))
            hidden = rng.choice(("image", "text")) if self.paired[row] and rng.random() < modality_dropout else ""
            shown = None if hidden == "image" else self._shown(row, encoder, rng)
            has_image.append(shown is not None)
            if shown is not None:
                pixels.append(shown)
            alone = hidden == "text" and shown is not None
            texts.append("" if alone else augment_text(self.text(row, rng), rng))
        given = [text for text in texts if text]
        return Batch(
            pixels,
            torch.as_tensor(encoder.tokenize(given) if given else np.zeros((0, 1), dtype=np.int64)),
            torch.tensor(has_image, dtype=torch.bool),
            torch.tensor([text != "" for text in texts], dtype=torch.bool),
        )

    def _shown(self, row: int, encoder: BiEncoder, rng: np.random.Generator) -> np.ndarray | None:
        if self.columns is not None:
            seen = self.columns[row]
            return seen if len(seen) else None
        image = self.image(row)
        if image is None:
            return None
        return encoder.pixels(augment_image(image, rng) if encoder.ink else augment_photo(image, encoder.width, rng))
