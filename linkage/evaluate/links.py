"""Figures of a links table: is the best candidate right, and is "no match" said where there is none?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from linkage.config import EvaluateConfig
from linkage.errors import ArtefactError
from linkage.evaluate.ablation import picture_table
from linkage.evaluate.answers import SPACES, LabelledQueries, SystemAnswers, join_notes
from linkage.evaluate.baselines import rank_by_strings
from linkage.evaluate.calibration import add_calibration, reliability
from linkage.evaluate.metrics import NOTHING, Figure, auroc, divide, f1, measure, precision_at, share, sum_by
from linkage.evaluate.promises import add_sets, add_violations
from linkage.evaluate.scores import SYSTEM, Scores, encoder_notes
from linkage.evaluate.truth import attach_truth
from linkage.link.links import links_manifest, manifest_of, nearest_of
from linkage.places import INDEX, unwanted
from linkage.tables import read_table, require_columns
from linkage.text import Folding

NEEDED = ("record_id", "entity_id", "exemplar_id", "rank", "decision", "probability", "score", "text")
COVERAGES = (0.8, 0.9)
"""Shares of the queries that are answered, the surest first, for precision at coverage."""


def evaluate_links(
    links: pd.DataFrame,
    path: Path,
    truth: pd.DataFrame,
    config: EvaluateConfig,
    scores: Scores,
    index: Path | None,
    folding: Folding,
) -> dict[str, pd.DataFrame]:
    """Add the figures of a links table, of every single score and of the string baselines.

    Queries are the records that the truth gives an entity, or the role `query_nomatch`; those of role `exemplar`
    are left out. A candidate is right when its exemplar's true entity is the query's.

    Matched accuracy and recall@k (beyond k = 1, which is the same) are over the queries whose entity has an exemplar,
    all others over all queries. No-match accuracy: the best candidate is right and called a match, or there is
    nothing to match and none is called (Arora et al. 2023); a review is a question, not an answer, and counts as
    wrong. No-match AUROC: how well the score of the best candidate tells the queries that have a match in the index
    (positive) from those that have none. Precision at coverage: of the surest answers, the share that is right; what
    has no match is answered wrongly. Where the table has candidate sets: see `add_sets`.

    Returns:
        "picture" (see `picture_table`) and "reliability" (see `reliability`).

    Raises:
        InputError: a column is missing, or the truth knows none of the records.
        ArtefactError: the index that the links were made with cannot be found.
    """
    require_columns(links, NEEDED, path)
    links = links.sort_values(["record_id", "rank"], kind="stable", ignore_index=True)
    exemplars = read_exemplars(path, index)
    known = attach_truth(exemplars, truth, config.iou)["entity_id"]
    entity_of = dict(zip(exemplars["record_id"], known.where(known != "", exemplars["entity_id"]), strict=True))
    asked = LabelledQueries(links, path, truth, config.iou, entity_of)
    k = max(config.recall_at)
    made = links_manifest(path) if manifest_of(path).exists() else {}
    own = asked.by_linker(k, made)
    seen = encoder_notes(asked.split, made.get("encoder_saw") or ())
    own = own._replace(seen=seen)
    systems = {name: one._replace(seen=seen) for name, one in ({SYSTEM: own} | _single_scores(asked, path)).items()}
    strings = _strings(asked, exemplars, entity_of, k, folding)
    systems |= strings
    scores.notes.append(f"{len(asked.truth)} of {links['record_id'].nunique()} queries are labelled")
    if own.asked.any():
        n = int(own.asked.sum())
        scores.notes.append(f"{n} of them for review: neither a match called nor a right no-match")
    right = own.entities[:, 0] == asked.truth
    for split, chosen in scores.splits(asked.split):
        for name, answers in systems.items():
            _score(scores, asked, name, split, chosen, answers, config.recall_at)
        add_calibration(scores, split, own.score[chosen], right[chosen], asked.truth[chosen], own.told(chosen))
    add_violations(scores, asked, own)
    add_sets(scores, asked, made.get("sets") or {})
    return {
        "picture": picture_table(asked, systems, list(strings), scores),
        "reliability": reliability(own.score, right, asked.truth, asked.split, scores),
    }


def read_exemplars(links: Path, index: Path | None) -> pd.DataFrame:
    """The exemplars that links were made with: from `index`, else from the folder that their manifest names.

    Raises:
        ArtefactError: there is no such folder.
    """
    if index is None:
        manifest = manifest_of(links)
        try:
            named = Path(str(json.loads(manifest.read_text(encoding="utf-8"))["index"]))
        except (OSError, ValueError, KeyError, TypeError):
            raise ArtefactError(
                f"{links}: no readable {manifest.name} beside it; name the index with --index"
            ) from None
        index = named if named.is_absolute() or named.exists() else links.parent / named
    if other := unwanted(index, INDEX):
        raise ArtefactError(other)
    if not (index / "exemplars.parquet").is_file():
        raise ArtefactError(f"{index}: no index here; name the one that {links} was made with (--index)")
    return read_table(index / "exemplars.parquet")


def _single_scores(asked: LabelledQueries, links: Path) -> dict[str, SystemAnswers]:
    """The systems that go by one vector; none where the links were made without the table of the nearest."""
    if not nearest_of(links).is_file():
        return {}
    nearest = read_table(nearest_of(links))
    require_columns(nearest, ("record_id", "by", "exemplar_id", "cosine"), nearest_of(links))
    found = {name: asked.by_nearest(nearest, by) for by, name in SPACES.items()}
    return {name: answers for name, answers in found.items() if answers is not None}


def _strings(
    asked: LabelledQueries, exemplars: pd.DataFrame, entity_of: dict[str, str], k: int, folding: Folding
) -> dict[str, SystemAnswers]:
    """The string baselines, on the text of each record; a picture without one lends them the model's own reading."""
    (queries, lent), (texts, lent_too) = (_texts(table) for table in (asked.first, exemplars))
    entities = [entity_of[name] for name in exemplars["record_id"]]
    note = "reads what has no text as the model does" if lent or lent_too else ""
    rankings = rank_by_strings(queries, texts, entities, k, folding)
    return {name: asked.by_ranking(ranking)._replace(note=note) for name, ranking in rankings.items()}


def _texts(records: pd.DataFrame) -> tuple[list[str], bool]:
    """What each record says, and whether any of it is the model's own reading."""
    texts = records["text"].fillna("")
    if "reading" not in records:
        return texts.tolist(), False
    readings = records["reading"].fillna("")
    lent = (texts == "") & (readings != "")
    return texts.where(~lent, readings).tolist(), bool(lent.any())


def _score(
    scores: Scores,
    asked: LabelledQueries,
    system: str,
    split: str,
    chosen: np.ndarray,
    answers: SystemAnswers,
    recall_at: Sequence[int],
) -> None:
    """Add the figures of one system on the chosen queries."""
    draws = {"bootstrap": scores.bootstrap, "seed": scores.seed}
    hits = answers.entities == asked.truth[:, None]
    right, inside, truth = hits[:, 0], chosen & asked.is_matchable, asked.truth[chosen]
    note = answers.told(chosen)
    scores.add("matched accuracy", system, split, share(right[inside], asked.truth[inside]), note)
    for k in (k for k in recall_at if 1 < k <= answers.depth):
        found = share(hits[inside, :k].any(axis=1), asked.truth[inside])
        scores.add(f"recall@{k}", system, split, found, note)
    matchable = asked.is_matchable[chosen]
    if matchable.any() and not matchable.all():
        figure = auroc(answers.score[chosen], matchable, truth, **draws)
        scores.add("no-match AUROC", system, split, figure, note)
    for coverage in COVERAGES:
        name, most = f"precision at {100 * coverage:.0f} % coverage", matchable.mean() / coverage
        limit = f"{name} is {most:.3f} at most, since queries without a match count too" if most < 1 else ""
        figure = precision_at(coverage, answers.score[chosen], right[chosen], truth, **draws)
        scores.add(name, system, split, figure, join_notes(note, limit))
    if answers.threshold:
        _score_decisions(scores, asked, system, split, chosen, answers)


def _score_decisions(
    scores: Scores, asked: LabelledQueries, system: str, split: str, chosen: np.ndarray, answers: SystemAnswers
) -> None:
    """Add the figures that hang on the threshold."""
    draws = {"bootstrap": scores.bootstrap, "seed": scores.seed}
    fitted = "threshold fitted on these rows" if (answers.fitted_on & chosen).any() else ""
    note = join_notes(answers.told(chosen), fitted)
    truth, n = asked.truth[chosen], int(chosen.sum())
    right = answers.entities[:, 0] == asked.truth
    answered = np.where(answers.decided, right, ~asked.is_matchable & ~answers.asked)
    scores.add("no-match accuracy", system, split, share(answered[chosen], truth), note)
    if answers.asked.any():
        scores.add("review rate", system, split, share(answers.asked[chosen], truth), note)
    for name, of in (("link precision", answers.decided), ("link recall", asked.is_matchable)):
        scores.add(name, system, split, _share_of(right & answers.decided, of & chosen, asked.truth, n), note)
    parts = (right & answers.decided, answers.decided, asked.is_matchable)
    sums = sum_by(truth, *(part[chosen] for part in parts))
    called, there = sums[:, 1:].mean(axis=0) if n else (0.0, 0.0)
    some = max(float(called), float(there)) or 1.0
    extremes = np.array([0.0, called or some, there or some]), np.array([some, some, some])
    scores.add("link F1", system, split, measure(sums, LINK_F1, n, extremes=extremes, **draws)["link F1"], note)


def _share_of(right: np.ndarray, of: np.ndarray, truth: np.ndarray, n: int) -> Figure:
    """The share of some of n queries (bool, as `right`); of none it is 1, which says nothing: its interval is all."""
    if not n:
        return NOTHING
    return share(right[of], truth[of])._replace(n=n) if of.any() else Figure(1.0, 0.0, 1.0, n)


LINK_F1 = {
    "link F1": lambda t: f1(divide(t[..., 0], t[..., 1], 1.0), divide(t[..., 0], t[..., 2], 1.0)),
}
"""Of totals: right matches, matches called, queries that have a match."""
