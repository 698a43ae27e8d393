"""What a map between models is worth: fitted on some exemplars, measured on records that it was not fitted on."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import numpy as np
import pandas as pd

from linkage.encode.pooling import Vectors, pool
from linkage.errors import InputError, LinkageError, UsageError
from linkage.evaluate.metrics import Figure, ratio, share
from linkage.search.maps import Interval, ModelMap, fit_map, products, solve, turned

if TYPE_CHECKING:
    from linkage.config import EncodeConfig
    from linkage.encode.biencoder import BiEncoder
    from linkage.records import Records
    from linkage.search.index import Index

log = logging.getLogger(__name__)

FOLDS = 5
_ASKED_AT_A_TIME = 1024  # queries: their cosines with 2,000 exemplars take 8 MB
LEAST = 20  # exemplars: fewer say nothing, neither to a fit nor of its loss


class RecordViews(NamedTuple):
    """Records as two models see them.

    Attributes:
        new, old: their vectors, row by row; `old` is None where the old model is not there any more.
        entities: of the records, (n,) objects.
    """

    new: Vectors
    old: Vectors | None
    entities: np.ndarray


class FitSample(NamedTuple):
    """Exemplars to fit on: their rows in a records table and in the index, (n,) each."""

    in_records: np.ndarray
    in_index: np.ndarray


def learn_map(
    index: Index,
    exemplars: Records,
    queries: Records | None,
    encode: EncodeConfig,
    *,
    sample: int,
    bootstrap: int,
    seed: int,
) -> ModelMap:
    """Embed a sample of exemplars with a newer model, fit the map between the two, and measure it.

    Args:
        index: the exemplars, made with the old model.
        exemplars: records of the index, or of some of it, with their crops.
        queries: labelled ones measure the map; None: exemplars do, where an entity has several.
        encode: its `model` is the new one.
        sample: exemplars embedded; and queries, which are embedded with the old model as well where it is still there.
        bootstrap: resamples of the figures.
        seed: of the sample and the figures.

    Raises:
        UsageError: the index is of this model.
        InputError: fewer than LEAST of the records are exemplars of the index, or no query is labelled.
    """
    from linkage.encode.biencoder import BiEncoder

    encode = encode.model_copy(update={"image_weight": index.image_weight})
    new = BiEncoder.load(encode.model, encode.device, index.folding)
    if new.sha256 == index.manifest["model_sha256"]:
        raise UsageError(f"index: made with {encode.model}, so that its queries need no map; name the newer --model")
    asking = None if queries is None else _labelled(queries, sample, seed)
    wanted = None if asking is None else asking.frame["entity_id"].to_numpy(dtype=object)
    chosen = choose(index, exemplars, sample, seed, wanted)
    vectors = _embed(exemplars.take(chosen.in_records), new, encode)
    asked = None
    if asking is not None and wanted is not None:
        old_model = _old_model(index, encode)
        old = _embed(asking, old_model, encode) if old_model else None
        asked = RecordViews(_embed(asking, new, encode), old, wanted)
    return measured(index, chosen.in_index, vectors, new.sha256, asked, bootstrap=bootstrap, seed=seed)


def _labelled(queries: Records, most: int, seed: int) -> Records:
    """Labelled queries, at most so many."""
    rows = np.flatnonzero((queries.frame["entity_id"] != "") & (queries.frame["role"] != "exemplar"))
    if not len(rows):
        raise InputError(f"{queries.path}: no query has an entity_id; give labelled ones, or leave out --queries")
    return queries.take(np.sort(np.random.default_rng(seed).permutation(rows)[:most]))


def _old_model(index: Index, encode: EncodeConfig) -> BiEncoder | None:
    """The model that an index was made with, None where it is not there any more."""
    from linkage.encode.biencoder import BiEncoder

    try:
        old = BiEncoder.load(str(index.manifest["model"]), encode.device, index.folding)
    except LinkageError:
        old = None
    if old and old.sha256 == index.manifest["model_sha256"]:
        return old
    log.info(
        "map: the index's model %s is not there any more, so that its own hit@1 is not measured",
        index.manifest["model"],
    )
    return None


def _embed(records: Records, encoder: BiEncoder, encode: EncodeConfig) -> Vectors:
    from linkage.encode.embed import embed_records

    with tempfile.TemporaryDirectory(prefix="linkage-") as temporary:
        embeddings = embed_records(records, encoder, Path(temporary) / "embeddings", encode)
        return Vectors.of(embeddings, np.arange(len(records)))


def choose(index: Index, records: Records, size: int, seed: int, wanted: np.ndarray | None = None) -> FitSample:
    """Draw exemplars of an index that a records table still holds as they were indexed.

    Args:
        index: the exemplars.
        records: hold some of them, with their crops; others are passed over, as are those of another text by now.
        size: how many.
        seed: of the drawing, which does not depend on the order of the records.
        wanted: entities whose exemplars come first: those that labelled queries ask for.

    Raises:
        InputError: there are fewer than LEAST.
    """
    rows = pd.Index(index.exemplars["record_id"]).get_indexer(pd.Index(records.frame["record_id"]))
    texts = index.exemplars["text"].to_numpy(dtype=object)
    same = np.flatnonzero((rows >= 0) & (texts[rows] == records.frame["text"].to_numpy(dtype=object)))
    if len(same) < LEAST:
        raise InputError(
            f"{records.path}: {len(same)} of its records are exemplars of the index, with the text that they have "
            f"there; a map needs {LEAST}, better 2000"
        )
    rows = rows[same]
    drawn = np.random.default_rng(seed).permutation(len(index))[rows]
    later = ~index.exemplars["entity_id"].isin([] if wanted is None else wanted).to_numpy()[rows]
    order = np.lexsort((drawn, later))[:size]
    return FitSample(same[order], rows[order])


def measured(
    index: Index,
    rows: np.ndarray,
    new: Vectors,
    new_sha256: str,
    asked: RecordViews | None,
    *,
    bootstrap: int,
    seed: int,
) -> ModelMap:
    """Fit a map on exemplars, and measure it on FOLDS parts of them by maps fitted on the other parts.

    No entity is in two parts, and a query is mapped by the map that was fitted without its entity. Figures, each with
    its 95 % interval over entities:

    - `image_cosine`, `text_cosine`: mean cosine of a mapped exemplar with what the index holds of it.
    - `own`: share of exemplars whose mapped pooled vector is nearest to one of their entity among the whole index.
    - `old`, `new`, `mapped`: hit@1 of labelled queries by the pooled vectors, among the sampled exemplars: the old
      model's on the old vectors, the new model's on exemplars embedded again, and the new model's through the map on
      the old vectors. `loss` is `new` less `mapped`.

    Args:
        index: made with the old model.
        rows: of the sampled exemplars in it, (n,).
        new: their vectors by the new model.
        new_sha256: of that model.
        asked: labelled queries; None: the sampled exemplars ask for each other, where an entity has several of them.
        bootstrap: resamples.
        seed: of the resampling.

    Returns:
        The map, fitted on all of the sample.
    """
    entities = index.exemplars["entity_id"].to_numpy(dtype=object)
    old = Vectors.of(index, rows)
    trial = _Trial(RecordViews(new, old, entities[rows]), index.image_weight, bootstrap, seed)
    ours = trial.mapped(new, entities[rows])
    figures: dict[str, Interval] = {}
    for name, one, other in zip(("image_cosine", "text_cosine"), ours, old, strict=True):
        both = one.any(axis=1) & other.any(axis=1)
        if both.any():
            figures[name] = trial.figure(np.einsum("ij,ij->i", one[both], other[both]), entities[rows[both]])
    pooled = pool(*ours, index.image_weight)
    there = pooled.any(axis=1)
    nearest = index.search(pooled[there], 1)[1][:, 0]
    figures["own"] = _interval(share(entities[nearest] == entities[rows[there]], entities[rows[there]]))
    figures |= trial.hits(asked)
    return ModelMap(fit_map(new, old), str(index.manifest["model_sha256"]), new_sha256, len(rows), figures)


class _Trial:
    """Exemplars in parts, and to each part the map that was fitted on the others."""

    def __init__(self, known: RecordViews, image_weight: float, bootstrap: int, seed: int) -> None:
        assert known.old is not None
        self.known, self.image_weight = known, image_weight
        self.bootstrap, self.seed = bootstrap, seed
        part = _parts(known.entities)
        sums = [products(_at(known.new, part == one), _at(known.old, part == one)) for one in range(FOLDS)]
        self.matrices = [solve(sum(sums) - one) for one in sums]

    def mapped(self, new: Vectors, entities: np.ndarray) -> Vectors:
        """New vectors in the old space, none by a map that has seen its entity."""
        part = _parts(entities)
        image, text = (np.zeros((len(rows), self.matrices[0].shape[1]), dtype=np.float32) for rows in new)
        for number, matrix in enumerate(self.matrices):
            here = part == number
            image[here], text[here] = turned(new.image[here], matrix), turned(new.text[here], matrix)
        return Vectors(image, text)

    def hits(self, asked: RecordViews | None) -> dict[str, Interval]:
        """Hit@1 of queries (None: the exemplars themselves) whose entity has another record among the exemplars."""
        known, ask = self.known, asked or self.known
        sizes = pd.Series(ask.entities).map(pd.Series(known.entities).value_counts()).fillna(0).to_numpy()
        rows = np.flatnonzero((sizes > (asked is None)) & self._pooled(ask.new).any(axis=1))
        entities = ask.entities[rows]
        through = self.mapped(_at(ask.new, rows), entities)
        sides = {"old": (ask.old and _at(ask.old, rows), known.old), "new": (_at(ask.new, rows), known.new)}
        right: dict[str, np.ndarray] = {}
        for name, (queries, exemplars) in (sides | {"mapped": (through, known.old)}).items():
            if queries is None or exemplars is None or not len(rows):
                continue
            itself = rows if asked is None else np.full(len(rows), -1)
            nearest = _nearest(self._pooled(queries), self._pooled(exemplars), itself)
            right[name] = known.entities[nearest] == entities
        if not right:
            return {}
        found: dict[str, Interval] = {name: _interval(share(hit, entities)) for name, hit in right.items()}
        lost = right["new"].astype(float) - right["mapped"]
        return found | {"loss": self.figure(lost, entities, (-1.0, 1.0))}

    def figure(self, values: np.ndarray, entities: np.ndarray, within: tuple[float, float] | None = None) -> Interval:
        """Their mean and its interval; `within` as for `ratio`."""
        ones = np.ones(len(values))
        return _interval(ratio(values, ones, entities, bootstrap=self.bootstrap, seed=self.seed, within=within))

    def _pooled(self, vectors: Vectors) -> np.ndarray:
        return pool(vectors.image, vectors.text, self.image_weight)


def _interval(figure: Figure) -> Interval:
    return figure.value, figure.low, figure.high, figure.n


def _nearest(queries: np.ndarray, exemplars: np.ndarray, itself: np.ndarray) -> np.ndarray:
    """Row of the nearest exemplar of each query, int64 (q,); never the row that `itself` names, where not -1."""
    found = np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), _ASKED_AT_A_TIME):
        here = slice(start, start + _ASKED_AT_A_TIME)
        cosines = (queries[here] @ exemplars.T).round(6)  # equal ones go to the first row, whatever the order of sums
        same = np.flatnonzero(itself[here] >= 0)
        cosines[same, itself[here][same]] = -2.0
        found[here] = cosines.argmax(axis=1)
    return found


def _at(vectors: Vectors, rows: np.ndarray) -> Vectors:
    return Vectors(vectors.image[rows], vectors.text[rows])


def _parts(entities: np.ndarray) -> np.ndarray:
    """The part of each entity, int64 (n,), by its name alone."""
    return np.array([crc32(str(entity).encode()) % FOLDS for entity in entities], dtype=np.int64)
