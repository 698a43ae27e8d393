"""Link queries to exemplars: candidates ranked by match probability, a threshold, review, and no-match."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from linkage.compare.fit import LabelledPairs
from linkage.compare.scorer import DEFAULT_SCORER, Scorer
from linkage.config import LinkConfig
from linkage.errors import ArtefactError
from linkage.link.assign import Assignment
from linkage.link.decide import CandidateSets, Threshold
from linkage.link.judge import LabelledAnswers
from linkage.link.links import links_table, manifest_of, nearest_of
from linkage.link.ranking import Ranking, settled
from linkage.link.slices import SearchPlan
from linkage.link.splits import check_splits
from linkage.progress import progress
from linkage.records import Records
from linkage.search.index import Index
from linkage.tables import replacing, writing_table
from linkage.workers.engine import Pool
from linkage.workers.share import Share

if TYPE_CHECKING:
    from linkage.encode.embeddings import Embeddings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LinkResult:
    """What linking gives; the tables are made of what was found, a slice at a time.

    Attributes:
        threshold: match probability from which (>=) the best candidate is a match, and what it promises.
        sets: which candidates make up the set of a query, where a coverage was asked for.
        scorer: the scorer that gave the probabilities.
        review: match probability from which what is no match is a review.
        k: candidates reported per query.
        plan: what was found.
        left: what a constraint leaves of it; None: everything.
        mapped: what the map was that queries of a newer model went through, see `maps.mapped`; None: there was none.
        encoder_saw: splits that the encoder was trained on, or its epoch chosen by.
    """

    threshold: Threshold
    sets: CandidateSets | None
    scorer: Scorer
    review: float
    k: int
    plan: SearchPlan
    left: Assignment | None
    mapped: dict[str, Any] | None = None
    encoder_saw: tuple[str, ...] = ()

    @cached_property
    def links(self) -> pd.DataFrame:
        """One row per query and candidate entity, best first (see the data dictionary), all in memory.

        A query without candidates has one row without them.
        """
        return pd.concat(self._links(), ignore_index=True)

    @cached_property
    def nearest(self) -> pd.DataFrame:
        """The nearest exemplar of each query in each space: record_id, by, exemplar_id, cosine; all in memory."""
        return pd.concat(map(self._nearest, self.plan.numbers), ignore_index=True)

    def save(self, path: Path, *, index: Path, queries: Path) -> dict[str, int]:
        """Write what belongs beside the links table, `<name>.manifest.json` and `nearest_of(path)`, and then itself.

        Returns:
            How many queries there are, and how many are matched and a review.
        """
        with writing_table(nearest_of(path)) as write:
            for number in self.plan.numbers:
                write(self._nearest(number))
        manifest = {
            "index": str(index),
            "queries": str(queries),
            "text": self.plan.exemplars.index.folding._asdict(),
            "threshold": asdict(self.threshold) | {"sentence": self.threshold.sentence},
            "sets": asdict(self.sets) | {"sentence": self.sets.sentence} if self.sets else None,
            "scorer": self.scorer.as_dict(),
            "every_pair_by_likelihood": self.plan.every_pair,
            "map": self.mapped,
            "encoder_saw": list(self.encoder_saw),
        }
        with replacing(manifest_of(path)) as temporary:
            temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        counts = {"queries": self.plan.n, "matched": 0, "review": 0}
        with writing_table(path, twin=path.suffix == ".csv") as write, progress("write", self.plan.n) as advance:
            for number, rows in enumerate(self._links()):
                write(rows)
                counts["matched"] += int((rows["decision"] == "match").sum())
                counts["review"] += int((rows["decision"] == "review").sum())
                advance(len(self.plan.queries(number)))
        return counts

    def _links(self) -> Iterator[pd.DataFrame]:
        """The links table, a slice of queries at a time."""
        start = 0
        for number in self.plan.numbers:
            found = self.plan.found(number)
            left = self.left.at(slice(start, start + len(found))) if self.left else None
            start += len(found)
            decided = _decided(settled(found, left), self.threshold, self.review, self.sets, self.k)
            readings = self.plan.readings(number, ("reading", "reading_confidence"))
            yield links_table(decided, self.plan.frame(number), readings, self.plan.exemplars.index)

    def _nearest(self, number: int) -> pd.DataFrame:
        """The table of the nearest for a slice of queries."""
        nearest, first = self.plan.nearest(number), self.plan.queries(number).start
        ids = self.plan.frame(number)["record_id"], self.plan.exemplars.index.exemplars["record_id"]
        query, exemplar = (one.to_numpy(dtype=object) for one in ids)
        columns: dict[str, Any] = {
            "record_id": query[nearest["query"].to_numpy(dtype=np.int64) - first],
            "by": nearest["by"],
            "exemplar_id": exemplar[nearest["exemplar"].to_numpy(dtype=np.int64)],
            "cosine": nearest["cosine"].astype(float),
        }
        return pd.DataFrame(columns).sort_values(["record_id", "by"], kind="stable", ignore_index=True)


def link(
    queries: Records,
    embeddings: Embeddings,
    index: Index,
    config: LinkConfig,
    *,
    scorer: Scorer | None = None,
    work: Path | None = None,
    place: Pool | None = None,
    encoder_saw: Sequence[str] = (),
) -> LinkResult:
    """Link every query to the entities of an index, or to none.

    Queries with a non-empty `entity_id`, or of role `query_nomatch`, are labelled. Those of split train (or none) fit
    the scorer, those of split val the threshold (where there are fewer than MIN_VALIDATION of them, those of train help
    out, with the probabilities of scorers that did not see their entity), which starts from the default and moves as
    far as they are evidence for it (see `shrinkage`); rows of split test are never looked at. Neither the order of
    queries nor that of exemplars changes the result.

    What is found is written to `work`, a slice of queries after another, so that memory does not grow with their
    number but for their records and, under a constraint, some 30 bytes per candidate.

    Args:
        queries: records to link; crops are not read.
        embeddings: hold every query (they may hold more records).
        index: exemplars, pooled with the same model.
        config: candidates per query, blocking, fields, constraint, threshold, device.
        scorer: used where there are too few labels to fit one, and pulled towards where one is fitted; default:
            DEFAULT_SCORER.
        work: folder for what is found, which an interrupted call goes on from; it must outlive the result. Default: one
            that goes with the result.
        place: where slices are searched (see `workers.engine`); then index and embeddings lie in folders that can be
            opened there, and so does `work`. Default: here.
        encoder_saw: splits that the encoder was trained on, or its epoch chosen by, "" for none given; their labels
            are no evidence for what is promised.

    Raises:
        ArtefactError: index and embeddings are of different models, or a query has no embedding.
        DependencyError: the device asked for is not there.
        InputError: a column that the configuration names is missing, or few false links are to be promised and
            entities are in both train and val.
    """
    check_splits(queries.frame, config.aim)
    ranking, plan, left_out = _planned(queries, embeddings, index, config, scorer, work)
    plan.search(place)
    labelled = ranking.is_val | ranking.is_train
    found = plan.compact(labelled if config.constraint == "many-to-one" else None)
    left = ranking.assignment(found)
    judged = LabelledAnswers.of(ranking, found, left, left_out, encoder_saw)
    threshold, sets = judged.threshold(config), judged.sets(config)
    log.info("link: scorer %s. %s", plan.scorer.origin, threshold.sentence)
    if sets:
        log.info("link: %s", sets.sentence)
    review = judged.review_threshold(config, threshold)
    mapped, saw = embeddings.manifest.get("map"), tuple(encoder_saw)
    return LinkResult(threshold, sets, plan.scorer, review, config.k, plan, left, mapped, saw)


def link_share(
    queries: Records,
    embeddings: Embeddings,
    index: Index,
    config: LinkConfig,
    share: Share,
    work: Path,
    *,
    scorer: Scorer | None = None,
    place: Pool | None = None,
) -> tuple[int, int]:
    """Search one share of the slices; `link` with the same arguments finds them in `work` and searches what is left.

    Shares may be at work at once, on any machines of one kind that see the same folders.

    Returns:
        How many queries are in the share, and how many there are.

    Raises:
        ArtefactError, DependencyError, InputError: as `link`.
    """
    _, plan, _ = _planned(queries, embeddings, index, config, scorer, work)
    own = [number for number in plan.numbers if share.has(number)]
    plan.search(place, own)
    return sum(len(plan.queries(number)) for number in own), plan.n


def _planned(
    queries: Records,
    embeddings: Embeddings,
    index: Index,
    config: LinkConfig,
    scorer: Scorer | None,
    work: Path | None,
) -> tuple[Ranking, SearchPlan, pd.DataFrame | None]:
    """Queries and exemplars side by side, and the plan to search them, with the scorer fitted; see `FittedScorer`.

    Raises:
        ArtefactError: they are of different models or text settings.
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
    ranking = Ranking(queries.frame, embeddings, index, config)
    fit = ranking.fit(scorer or DEFAULT_SCORER)
    return ranking, SearchPlan.make(work or _temporary(ranking), ranking, fit.scorer), fit.left_out


def _temporary(ranking: Ranking) -> Path:
    """A folder that is removed when the exemplars, which the plan holds, are gone."""
    folder = tempfile.mkdtemp(prefix="linkage-")
    weakref.finalize(ranking.exemplars, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def labelled_pairs(
    queries: Records, embeddings: Embeddings, index: Index, config: LinkConfig, scorer: Scorer
) -> LabelledPairs:
    """The best pair of each entity for queries that are all labelled: what a scorer is fitted on; see `link`."""
    ranking = Ranking(queries.frame, embeddings, index, config)
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
