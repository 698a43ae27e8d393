"""Hit@1 on unseen entities, by which training chooses the epoch to keep."""

from __future__ import annotations

import numpy as np

from linkage.encode.biencoder import BiEncoder
from linkage.encode.crops import read_crop
from linkage.encode.pooling import pool
from linkage.errors import InputError
from linkage.records import Records

_MOST = 1500  # rows embedded per validation: 95 % of such a share is known to within 2.5 points


class Validation:
    """The validation rows of a records table (split `val`), those of entities with two or more records.

    Where roles are given, queries look for exemplars; otherwise every record looks for the other records.

    Attributes:
        queries: how many records look for their entity; 0: no validation.
    """

    def __init__(self, records: Records, image_weight: float) -> None:
        frame = records.frame
        chosen = frame[(frame["split"] == "val") & (frame["entity_id"] != "")]
        sizes = chosen.groupby("entity_id")["entity_id"].transform("size")
        chosen = chosen[(sizes >= 2) & (chosen["role"] != "query_nomatch")]
        if len(chosen) > _MOST:  # whole entities, in an order that has nothing to do with the file's
            kept = chosen["entity_id"].drop_duplicates().sample(frac=1, random_state=0)
            sizes = chosen["entity_id"].value_counts()[kept].cumsum()
            chosen = chosen[chosen["entity_id"].isin(sizes.index[sizes <= _MOST])]
        self.records = records.take(chosen.index.to_numpy())
        self.image_weight = image_weight
        self.entities = chosen["entity_id"].to_numpy()
        exemplar = (chosen["role"] == "exemplar").to_numpy()
        self._leave_one_out = not exemplar.any()
        self._exemplars = np.flatnonzero(exemplar | self._leave_one_out)
        known = np.isin(self.entities, self.entities[self._exemplars])
        self._queries = np.flatnonzero((~exemplar & known) | self._leave_one_out)
        self.queries = len(self._queries)

    def measure(self, encoder: BiEncoder) -> dict[str, float]:
        """Hit@1 (share of queries whose nearest exemplar is of their entity) pooled, by picture and by text."""
        encoder.model.eval()
        frame = self.records.frame
        directions = frame["direction"].tolist() if "direction" in frame else [""] * len(frame)
        images = []
        for start, crops in self.records.batches(64):
            pictures = []
            for row, crop in enumerate(crops, start=start):
                try:
                    pictures.append(read_crop(crop, directions[row]) if crop else None)
                except InputError:
                    pictures.append(None)
            images.append(encoder.encode_image(pictures))
        image, text = np.concatenate(images), encoder.encode_text(frame["text"].tolist())
        views = {"pooled": pool(image, text, self.image_weight), "image": image, "text": text}
        return {f"hit_{name}": round(self._hit(vectors), 5) for name, vectors in views.items()}

    def _hit(self, vectors: np.ndarray) -> float:
        cosines = vectors[self._queries] @ vectors[self._exemplars].T
        if self._leave_one_out:
            cosines[self._queries[:, None] == self._exemplars[None, :]] = -2.0
        best = self._exemplars[cosines.argmax(axis=1)]
        return float((self.entities[best] == self.entities[self._queries]).mean())
