"""Figures on unseen entities after each epoch; by one of them, hit@1, training chooses the epoch to keep."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from linkage.arrays import codes_of
from linkage.encode.biencoder import BiEncoder
from linkage.encode.columns import CropColumns
from linkage.encode.crops import read_crops
from linkage.encode.pooling import pool
from linkage.records import Records
from linkage.text import FOLDING, Folding

log = logging.getLogger(__name__)

_MOST = 1500  # rows embedded per validation: 95 % of such a share is known to within 2.5 points
_RECALL_AT = (1, 5, 10)


class Validation:
    """The validation rows of a records table: split `val`, without entities that training sees.

    Hit@1 is measured on entities with two or more records. Where roles are given, queries look for exemplars;
    otherwise every record looks for the other records, never for itself.

    Attributes:
        rows: how many records are embedded; 0: no validation.
        queries: how many of them look for their entity; 0: no epoch is better than another.
    """

    def __init__(self, records: Records, image_weight: float, folding: Folding = FOLDING) -> None:
        chosen = _chosen(records.frame)
        self.records = records.take(chosen.index.to_numpy())
        self.rows = len(chosen)
        self.image_weight = image_weight
        self.entities = chosen["entity_id"].to_numpy()
        self._content = codes_of(
            entity or "\0" + folding.fold(text) for entity, text in zip(self.entities, chosen["text"], strict=True)
        )
        sizes = chosen.groupby("entity_id")["entity_id"].transform("size")
        counts = ((sizes >= 2) & (self.entities != "") & (chosen["role"] != "query_nomatch")).to_numpy()
        exemplar = (chosen["role"] == "exemplar").to_numpy() & counts
        self._leave_one_out = not exemplar.any()
        self._exemplars = np.flatnonzero(counts if self._leave_one_out else exemplar)
        known = pd.Series(self.entities).isin(self.entities[self._exemplars]).to_numpy()
        self._queries = np.flatnonzero(counts if self._leave_one_out else counts & ~exemplar & known)
        self.queries = len(self._queries)

    def measure(self, encoder: BiEncoder, columns: CropColumns | None = None) -> dict[str, float]:
        """Figures of a model on these rows.

        Args:
            encoder: the model.
            columns: of `records`, where the recogniser is frozen: instead of the crops; its reading then stands for
                a text that is missing.

        Returns:
            `hit_pooled`, `hit_image`, `hit_text`: share of queries whose nearest exemplar is of their entity;
            `alignment`, `uniformity` of the pooled embeddings (Wang & Isola 2020, section 4.1: mean squared distance
            within entities, and log of the mean of exp(-2 squared distance) over all pairs; both are better lower);
            `image_to_text_recall_K`, `text_to_image_recall_K` for K = 1, 5, 10: share of records with both whose K
            nearest of the other modality hold their own or one of the same entity (without entities: the same text).
            What the rows cannot tell is left out.
        """
        encoder.model.eval()
        image, text = self._embed(encoder, columns)
        pooled = pool(image, text, self.image_weight)
        figures: dict[str, float] = {}
        if self.queries:
            views = {"pooled": pooled, "image": image, "text": text}
            figures = {f"hit_{name}": self._hit(vectors) for name, vectors in views.items()}
            known = (self.entities != "") & pooled.any(axis=1)
            figures |= _geometry(pooled[known], self.entities[known])
        both = np.flatnonzero(image.any(axis=1) & text.any(axis=1))
        if len(both):
            for name, one, other in (("image_to_text", image, text), ("text_to_image", text, image)):
                for k, share in _recall(one[both], other[both], self._content[both]).items():
                    figures[f"{name}_recall_{k}"] = share
        return {name: round(value, 5) for name, value in figures.items()}

    def _embed(self, encoder: BiEncoder, columns: CropColumns | None) -> tuple[np.ndarray, np.ndarray]:
        frame = self.records.frame
        texts = frame["text"].tolist()
        if columns is not None:
            texts = [text or reading for text, reading in zip(texts, columns.readings, strict=True)]
            return encoder.encode_columns(columns.take(np.arange(self.rows))), encoder.encode_text(texts)
        directions = frame["direction"].tolist() if "direction" in frame else [""] * len(frame)
        images = [
            encoder.encode_image(read_crops(crops, directions[start : start + len(crops)]))
            for start, crops in self.records.batches(64)
        ]
        return np.concatenate(images), encoder.encode_text(texts)

    def _hit(self, vectors: np.ndarray) -> float:
        cosines = vectors[self._queries] @ vectors[self._exemplars].T
        if self._leave_one_out:
            cosines[self._queries[:, None] == self._exemplars[None, :]] = -2.0
        best = self._exemplars[cosines.argmax(axis=1)]
        return float((self.entities[best] == self.entities[self._queries]).mean())


def _chosen(frame: pd.DataFrame) -> pd.DataFrame:
    """Validation rows of unseen entities, at most `_MOST`: whole entities, those that can be looked for first."""
    val = frame[frame["split"] == "val"]
    seen = set(frame.loc[frame["split"].isin(("", "train")), "entity_id"]) - {""}
    unseen = val[~val["entity_id"].isin(seen)]
    if len(unseen) < len(val):
        log.warning(
            "validation: %d of %d rows left out, training sees their entities", len(val) - len(unseen), len(val)
        )
    if len(unseen) <= _MOST:
        return unseen
    units = unseen["entity_id"].where(unseen["entity_id"] != "", unseen["record_id"])
    sizes = units.value_counts()[units.drop_duplicates().sample(frac=1, random_state=0)]  # not in the file's order
    sizes = pd.concat([sizes[sizes >= 2], sizes[sizes < 2]]).cumsum()
    return unseen[units.isin(sizes.index[sizes <= _MOST])]


def _geometry(vectors: np.ndarray, entities: np.ndarray) -> dict[str, float]:
    one, other = np.triu_indices(len(vectors), 1)
    distances = np.maximum(2 - 2 * (vectors @ vectors.T)[one, other], 0)  # squared, of unit rows
    positive = entities[one] == entities[other]
    figures = {"alignment": float(distances[positive].mean())} if positive.any() else {}
    return figures | ({"uniformity": float(np.log(np.exp(-2 * distances).mean()))} if len(distances) else {})


def _recall(queries: np.ndarray, candidates: np.ndarray, content: np.ndarray) -> dict[int, float]:
    nearest = np.argsort(-(queries @ candidates.T), axis=1, kind="stable")[:, : max(_RECALL_AT)]
    right = content[nearest] == content[:, None]
    return {k: float(right[:, :k].any(axis=1).mean()) for k in _RECALL_AT}
