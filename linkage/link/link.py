"""Link queries to exemplars: candidates ranked by match probability, a threshold, review, and no-match."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from linkage.config import LinkConfig
from linkage.errors import ArtefactError
from linkage.link.decide import CandidateSets, Threshold
from linkage.link.fit import Labelled
from linkage.link.index import Index
from linkage.link.judge import Judged
from linkage.link.links import links_table, manifest_of, nearest_of
from linkage.link.ranking import Ranking
from linkage.link.scorer import DEFAULT_SCORER, Scorer
from linkage.records import Records
from linkage.tables import replacing, write_table
from linkage.text import folding

if TYPE_CHECKING:
    from linkage.encode.embed import Embeddings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LinkResult:
    """What linking gives.

    Attributes:
        links: one row per query and candidate entity, best first (see the data dictionary); a query without
            candidates has one row without them.
        nearest: the nearest exemplar of each query in each space: record_id, by, exemplar_id, cosine.
        threshold: match probability from which (>=) the best candidate is a match, and what it promises.
        sets: which candidates make up the set of a query, where a coverage was asked for.
        scorer: the scorer that gave the probabilities.
        mapped: what the map was that queries of a newer model went through, see `maps.mapped`; None: there was none.
    """

    links: pd.DataFrame
    nearest: pd.DataFrame
    threshold: Threshold
    sets: CandidateSets | None
    scorer: Scorer
    mapped: dict[str, Any] | None = None

    def save(self, path: Path, *, index: Path, queries: Path) -> None:
        """Write what belongs beside the links table, `<name>.manifest.json` and `nearest_of(path)`, and then itself."""
        write_table(self.nearest, nearest_of(path))
        manifest = {
            "index": str(index),
            "queries": str(queries),
            "text": folding()._asdict(),
            "threshold": asdict(self.threshold) | {"sentence": self.threshold.sentence},
            "sets": asdict(self.sets) | {"sentence": self.sets.sentence} if self.sets else None,
            "scorer": self.scorer.as_dict(),
            "map": self.mapped,
        }
        with replacing(manifest_of(path)) as temporary:
            temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        write_table(self.links, path, twin=path.suffix == ".csv")


def link(
    queries: Records,
    embeddings: Embeddings,
    index: Index,
    config: LinkConfig,
    *,
    scorer: Scorer | None = None,
) -> LinkResult:
    """Link every query to the entities of an index, or to none.

    Queries with a non-empty `entity_id` are labelled. Those of split train (or none) fit the scorer, those of
    split val the threshold (where there are fewer than MIN_VALIDATION of them, those of train help out, with the
    probabilities of scorers that did not see their entity); rows of split test are never looked at. Neither the order
    of queries nor that of exemplars changes the result (but for the last digits of fitted coefficients).

    Args:
        queries: records to link; crops are not read.
        embeddings: hold every query (they may hold more records).
        index: exemplars, pooled with the same model.
        config: candidates per query, blocking, fields, constraint, threshold, device.
        scorer: used where there are too few labels to fit one, and pulled towards where one is fitted; default:
            DEFAULT_SCORER.

    Raises:
        ArtefactError: index and embeddings are of different models, or a query has no embedding.
        DependencyError: the device asked for is not there.
        InputError: a column that the configuration names is missing.
    """
    if index.manifest["model_sha256"] != embeddings.manifest["model_sha256"]:
        raise ArtefactError(
            f"index: made with model {index.manifest['model']!r}, the queries are embedded with "
            f"{embeddings.manifest['model']!r} or another version of it; run `linkage index` again, or `linkage map`"
        )
    if index.manifest["folding"] != embeddings.manifest["folding"]:
        raise ArtefactError(
            f"index: made with text settings {index.manifest['folding']}, the queries are embedded with "
            f"{embeddings.manifest['folding']}; use the same `text` section for both"
        )
    ranking = Ranking(queries.frame.reset_index(drop=True), embeddings, index, config)
    fitted = ranking.fit(scorer or DEFAULT_SCORER)
    found, nearest = ranking.search(fitted)
    judged = Judged.of(ranking, found)
    threshold, sets = judged.threshold(config), judged.sets(config)
    log.info("link: scorer %s. %s", fitted.origin, threshold.sentence)
    if sets:
        log.info("link: %s", sets.sentence)
    decided = _decided(ranking.settled(found), threshold, judged.review_threshold(config, threshold), sets, config.k)
    readings = embeddings.readings.iloc[ranking.rows]
    table = links_table(decided, ranking.frame, readings, index)
    return LinkResult(table, ranking.named(nearest), threshold, sets, fitted, embeddings.manifest.get("map"))


def labelled_pairs(
    queries: Records, embeddings: Embeddings, index: Index, config: LinkConfig, scorer: Scorer
) -> Labelled:
    """The best pair of each entity for queries that are all labelled: what a scorer is fitted on; see `link`."""
    ranking = Ranking(queries.frame.reset_index(drop=True), embeddings, index, config)
    return ranking.labelled(ranking.best_pairs(np.arange(len(ranking.frame)), scorer))


def _decided(
    found: pd.DataFrame, threshold: Threshold, review: float, sets: CandidateSets | None, k: int
) -> pd.DataFrame:
    """Settled candidates with margin, in_set and decision; those that are reported.

    A tied set that would be a match, or a review, as one is a review.
    """
    first, free = (found["rank"] == 1).to_numpy(), found["free"].to_numpy()
    tied, probability = found["tied"].notna().to_numpy(), found["probability"].to_numpy()
    of_first = np.cumsum(first) - 1
    rival = np.full(int(first.sum()), np.nan)
    second = (found["rank"] == 2).to_numpy()
    rival[of_first[second]] = probability[second]
    together = np.bincount(of_first, np.where(tied | first, probability, 0.0))[of_first]
    match = first & free & ~tied & threshold.passed(probability)
    asked = first & free & ~match & (together >= review)
    asked |= first & free & tied & threshold.passed(together)
    found = found.assign(
        margin=probability - np.where(first, rival[of_first], probability[first][of_first]),
        in_set=np.nan if sets is None else (probability >= sets.cut).astype(float),
        decision=np.where(asked, "review", np.where(match, "match", "no-match")),
    )
    found = found[(found["rank"] <= k) | (found["in_set"] == 1)].drop(columns="free")
    found.attrs = {
        "threshold": np.nan if threshold.value is None else threshold.value,
        "review_threshold": review if np.isfinite(review) else np.nan,
        "threshold_source": threshold.source,
    }
    return found
