"""Where to draw the line: thresholds on the match probability, what they promise, and sets of candidates.

Everything here is learnt from labelled queries by an exact scan: thresholds tried are the midpoints between
neighbouring probabilities of best candidates, and queries of one probability are never parted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from linkage.errors import InputError

Aim = Literal["accuracy", "f1", "false-links"]

TIED = 1e-9
"""Logits as near as this are one: what is left of them is rounding."""

_RISK_SHARES = (0.5, 0.5)  # of the risk, at each start of the sequence; chosen by simulation between one and five
_START_GROWTH = 2.0  # effective links at a start over those at the one before


_HELD_OUT = {
    True: "These labels did not fit the scorer.",
    False: "These labels fitted the scorer, too, for want of others (split val): each was answered by one that had not "
    "seen its entity, but was calibrated with it, so that the promise is approximate.",
}


@dataclass(frozen=True)
class Promise:
    """What `bound_false_links` promises of a threshold, and on which evidence.

    Attributes:
        max_false_links: promised highest share of false links among the links called, 0..1.
        risk: chance, over samples of labelled entities, that the share is higher all the same.
        links, false_links: labelled links called at the threshold, and false ones among them.
        effective: as how many independent links they count (Kish); without a promise: the most that any threshold has.
        upper: upper confidence bound reached for the share of false links; None: nothing is promised.
        needed: independent links without an error that would carry the promise.
        held_out: these labels did not fit the scorer (see `judge.LabelledAnswers`).
        spent: further labels that are no evidence, because the encoder was made with them.
    """

    max_false_links: float
    risk: float
    links: int
    false_links: int
    effective: float
    upper: float | None
    needed: int
    held_out: bool = True
    spent: int = 0


@dataclass(frozen=True)
class Threshold:
    """A threshold on the match probability of a query's best candidate; its attributes can be written as JSON.

    Attributes:
        value: at or above, the candidate is a match; None: nothing is, because nothing can be promised.
        source: "given", "fitted" or "default".
        aim: what it was fitted for; None: there were no labels to fit it on.
        promise: for the aim "false-links".
        queries: labelled ones that it was fitted on; where it is the default all the same, they were too little
            evidence to move it (see `shrinkage`).
        pull: back to the default, under which it was fitted, in queries; None: it was not moved, or is a promise.
    """

    value: float | None
    source: Literal["given", "fitted", "default"]
    aim: Aim | None = None
    promise: Promise | None = None
    queries: int = 0
    pull: float | None = None

    def passed(self, probability: np.ndarray) -> np.ndarray:
        """Which probabilities (n,) are at or above the threshold, bool (n,); NaN never is."""
        return np.asarray(probability) >= (np.inf if self.value is None else self.value)

    @property
    def sentence(self) -> str:
        """What is promised and what is assumed, for a report."""
        if self.promise is None:
            how: str = self.source
            if self.source == "fitted":
                how = f"fitted for the best {self.aim} of {self.queries} labelled queries, {self._pulled}"
            elif self.queries:
                how += f": {self.queries} labelled queries give too little reason to move it"
            return f"The threshold is {self.value:.3f} ({how}); it promises nothing about false links."
        promise = self.promise
        aim = f"at most {promise.max_false_links:.2%} false links at {1 - promise.risk:.0%} confidence"
        if self.value is None:
            return (
                f"No threshold can promise {aim} with these labels: {promise.needed} independent links without an "
                f"error would do, the labelled ones count as {promise.effective:.0f} or hold errors too early."
                f"{_told_of_spent(promise.spent)}"
            )
        return (
            f"A threshold of {self.value:.3f} promises {aim}: {promise.false_links} of {promise.links} labelled links "
            f"are false, which count as {promise.effective:.0f} independent ones (upper bound {promise.upper:.2%}). "
            f"Assumed: their entities are drawn like those to come, and an entity with many links errs no more often "
            f"than one with few. {_HELD_OUT[promise.held_out]}{_told_of_spent(promise.spent)}"
        )

    @property
    def _pulled(self) -> str:
        return f"held near the default as {self.pull:g} more would" if self.pull else "held by nothing else"

    def judged(self, *, held_out: bool, spent: int = 0) -> Threshold:
        """The same, with what is known of its labels."""
        return replace(self, promise=self.promise and replace(self.promise, held_out=held_out, spent=spent))


def _told_of_spent(n: int) -> str:
    if not n:
        return ""
    return f" {n} labelled queries are no evidence: the encoder was trained on them, or they chose the epoch it is of."


def fit_threshold(
    probability: np.ndarray,
    is_correct: np.ndarray,
    is_matchable: np.ndarray,
    aim: Literal["accuracy", "f1"] = "accuracy",
) -> float:
    """The threshold with the highest no-match accuracy, or the highest F1 of links, by an exact scan.

    Accuracy: a query is answered rightly when its best candidate is correct and passes (>=), or when it has no match
    in the index and does not pass (the measure of Arora et al., arXiv 2304.03464). F1: of precision (right among the
    matches called) and recall (right among the queries that have a match). Among equally good thresholds the nearest
    to 0.5 is taken.

    Args:
        probability: of each query's best candidate (n,), 0..1; NaN: it has no candidate (never passes).
        is_correct: the best candidate is of the query's entity, bool (n,).
        is_matchable: the query's entity is in the index, bool (n,).
        aim: which of the two.

    Raises:
        InputError: there are no queries.
    """
    scores = np.asarray(probability, dtype=np.float64)
    if not len(scores):
        raise InputError("threshold: there are no labelled queries to fit it on")
    order, cuts, possible = scan(scores)
    correct, matchable = np.asarray(is_correct, bool)[order], np.asarray(is_matchable, bool)
    right = np.concatenate([[0], np.cumsum(correct)])  # [i]: when the first i pass
    if aim == "accuracy":
        worth = right - np.concatenate([[0], np.cumsum(~matchable[order])])
    else:
        both = np.arange(len(right)) + matchable.sum()
        worth = np.where(both > 0, 2 * right / np.maximum(both, 1), 1.0)
    chosen = cuts[possible & (worth == worth[possible].max())]
    return float(chosen[np.argmin(np.abs(chosen - 0.5))])


def scan(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows with a score (m,), highest first; the cut (m + 1,) at which the first i pass; whether there is one."""
    seen = np.flatnonzero(~np.isnan(scores))
    order = seen[np.argsort(-scores[seen], kind="stable")]
    ranked = scores[order]
    above = np.concatenate([[max(1.0, np.nextafter(ranked.max(initial=0.0), 2.0))], ranked])
    below = np.concatenate([ranked, [0.0]])
    middle = (above + below) / 2
    cuts = np.where(middle > below, middle, above)  # two neighbouring floats have no middle
    possible = above > below
    possible[-1] = True
    return order, cuts, possible


def bound_false_links(
    probability: np.ndarray, is_correct: np.ndarray, entity: np.ndarray, *, max_false_links: float, risk: float
) -> Threshold:
    """The lowest threshold whose links are promised to hold few false ones.

    A false link is a best candidate called a match that is not right, also where the query has no match at all. With
    confidence 1 - risk over samples of labelled entities, the share of false links among all links called at the
    threshold is at most `max_false_links`. This is Learn then Test (Angelopoulos, Bates, Candès, Jordan and Lei 2021,
    arXiv 2110.01052) with fixed sequence testing: thresholds are tested from the highest that could pass at all
    downwards until one fails, so that looking at many costs nothing. One error among the very likeliest links would
    end a single sequence; half of the risk is therefore kept for a second start at twice the evidence, which a sequence
    that has not failed by then takes along (the fallback procedure, Wiens 2003, Pharmaceutical Statistics 2).

    A test compares the upper Clopper-Pearson bound with `max_false_links`, at the effective number of links
    n_eff = (sum m)^2 / sum m^2 over the entities with m links called (Kish 1965; in Clopper-Pearson bounds: Korn and
    Graubard 1998, Survey Methodology 24), the errors scaled alike: the records of an entity are taken to be right or
    wrong all together, which is the worst case. Which thresholds are tested depends on probabilities and entities, and
    not on what is right.

    Assumed: the labels fitted neither the scorer nor the probabilities; labelled entities are drawn independently from
    those the promise is about, each with all its queries; an entity with many links is no likelier to be wrong than
    one with few. The last cannot be helped: no sample tells of a large entity that it does not hold. For entities of
    unequal size the bound is not exact but conservative in simulation; for entities of one link it is exact.

    Args:
        probability, is_correct: as for `fit_threshold`; there may be none.
        entity: the true entity of each query (n,), any hashable; one of its own for a query without a match.
        max_false_links, risk: between 0 and 1.
    """
    scores = np.asarray(probability, dtype=np.float64)
    order, cuts, possible = scan(scores)
    codes = pd.factorize(np.asarray(entity, dtype=object)[order], use_na_sentinel=False)[0]
    called = _CalledLinks.of(~np.asarray(is_correct, bool)[order], codes, possible[1:])
    place, level = called.lowest(max_false_links, risk)
    needed = int(np.ceil(np.log(risk * _RISK_SHARES[0]) / np.log1p(-max_false_links)))
    if place is None:
        most = float(called.effective.max(initial=0.0))
        return Threshold(None, "fitted", "false-links", Promise(max_false_links, risk, 0, 0, most, None, needed))
    links, false = int(called.links[place]), int(called.false[place])
    effective = float(called.effective[place])
    promise = Promise(max_false_links, risk, links, false, effective, called.upper(place, level), needed)
    return Threshold(float(cuts[links]), "fitted", "false-links", promise)


class _CalledLinks(NamedTuple):
    """Links called at every threshold that can be told apart, from the highest down, each (t,)."""

    links: np.ndarray
    false: np.ndarray
    effective: np.ndarray

    @classmethod
    def of(cls, wrong: np.ndarray, entity: np.ndarray, possible: np.ndarray) -> _CalledLinks:
        """Count along links in the order of their probabilities; entity int (m,), possible: a threshold lies behind."""
        together = np.argsort(entity, kind="stable")
        sizes = np.bincount(entity)
        earlier = np.empty(len(entity), dtype=np.int64)  # links of the same entity that are called before
        earlier[together] = np.arange(len(entity)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        links = np.arange(1, len(entity) + 1)
        squares = np.cumsum(2 * earlier + 1)
        return cls(links[possible], np.cumsum(wrong)[possible], (links**2 / squares)[possible])

    def lowest(self, most: float, risk: float) -> tuple[int | None, float]:
        """Place of the lowest threshold that passes, or None, and the level at which it was tested."""
        levels = risk * np.asarray(_RISK_SHARES)
        could = np.flatnonzero(-np.expm1(np.log(levels[0]) / self.effective) <= most)  # pass, if without an error
        if not len(could):
            return None, 0.0
        chance = self._chance(could, most)
        evidence = self.effective[could]
        reached = [evidence >= evidence[0] * _START_GROWTH**i for i in range(len(levels))]
        starts = [int(np.argmax(there)) for there in reached if there.any()]
        passed: tuple[int | None, float] = (None, 0.0)
        carried = 0.0
        for start, end, level in zip(starts, [*starts[1:], len(could)], levels, strict=False):
            level += carried
            failed = chance[start:end] > level
            held = int(np.argmax(failed)) if failed.any() else end - start
            if held:
                passed = int(could[start + held - 1]), float(level)
            carried = 0.0 if failed.any() else level
        return passed

    def _chance(self, places: np.ndarray, share: float) -> np.ndarray:
        """Chance of so few false links where their true share is `share`: at most r means an upper bound under it."""
        from scipy.special import betaincc

        effective = self.effective[places]
        false = self.false[places] / self.links[places] * effective
        right = np.maximum(effective - false, 1e-9)
        return np.asarray(np.where(self.false[places] < self.links[places], betaincc(false + 1, right, share), 1.0))

    def upper(self, place: int, level: float) -> float:
        """Upper Clopper-Pearson bound of the share of false links at one threshold."""
        from scipy.special import betaincinv

        false = self.false[place] / self.links[place] * self.effective[place]
        return float(betaincinv(false + 1, self.effective[place] - false, 1 - level))


@dataclass(frozen=True)
class CandidateSets:
    """A cut on candidates' probabilities; the set of a query is its candidates at or above it.

    Attributes:
        cut: 0..1; 0 lets every candidate in.
        promised: sets hold the true entity at the rate asked for.
        coverage: that rate.
        queries, entities: labelled ones that have a match.
        held_out: these labels did not fit the scorer (see `judge.LabelledAnswers`).
        spent: further labels that are no evidence, because the encoder was made with them.
    """

    cut: float
    promised: bool
    coverage: float
    queries: int
    entities: int
    held_out: bool = True
    spent: int = 0

    def judged(self, *, held_out: bool, spent: int = 0) -> CandidateSets:
        """The same, with what is known of its labels."""
        return replace(self, held_out=held_out, spent=spent)

    @property
    def sentence(self) -> str:
        """What is promised and what is assumed, for a report."""
        base = f"{self.queries} labelled queries of {self.entities} entities"
        if not self.promised:
            return (
                f"No set of candidates can promise to hold the true entity at a rate of {self.coverage:.1%} with "
                f"{base}: they are too few, or too often the true one is not among the candidates."
                f"{_told_of_spent(self.spent)}"
            )
        return (
            f"Candidates at {self.cut:.4f} or above hold the true entity, where there is one, at a rate of "
            f"{self.coverage:.1%} at least ({base}). Assumed: their entities are drawn like those to come; the rate is "
            f"over entities, each counted once. {_HELD_OUT[self.held_out]}{_told_of_spent(self.spent)}"
        )


def conformal_cut(probability: np.ndarray, entity: np.ndarray, *, coverage: float) -> CandidateSets:
    """The highest cut at which sets of candidates hold the true entity often enough: split conformal prediction.

    The score of a set's member is its own probability (LAC: Sadinle, Lei and Wasserman 2019, J. Am. Stat. Assoc. 114;
    Vovk, Gammerman and Shafer 2005). Queries of one entity go together: each weighs 1 / (its entity's queries), so
    that an entity counts once, and one entity more, with a score beyond all, stands for the one to come (hierarchical
    conformal prediction: Lee, Barber and Willett 2023, arXiv 2306.06342). Where every entity has one query this is the
    (n + 1) correction.

    Assumed: entities, each with all its queries, are drawn alike (exchangeable) with the one to come, and the labels
    did not fit the scorer. Promised, over samples of labels: a query drawn at random from a new entity that has a
    match finds it in its set at the rate `coverage` at least; not for every entity, nor where entities with many
    queries count more.

    Args:
        probability: of the true entity among each query's candidates (n,), 0..1; 0 or NaN: it is not among them.
            Only queries that have a match.
        entity: the true entity of each query (n,), any hashable.
        coverage: between 0 and 1.
    """
    true = np.nan_to_num(np.asarray(probability, dtype=np.float64))
    codes = pd.factorize(np.asarray(entity, dtype=object), use_na_sentinel=False)[0]
    sizes = np.bincount(codes)
    order = np.argsort(-true, kind="stable")
    reached = np.cumsum(1 / sizes[codes[order]]) / (len(sizes) + 1)
    enough = np.flatnonzero(reached >= coverage - 1e-12)
    cut = float(true[order][enough[0]]) if len(enough) else 0.0
    return CandidateSets(cut, cut > 0, coverage, len(true), len(sizes))


def tied_counts(logit: np.ndarray, query: np.ndarray) -> np.ndarray:
    """How many candidates of each query are as likely as its best one, itself among them.

    Args:
        logit: float64 (n,); within TIED of the highest is as likely.
        query: int (n,); the pairs of a query stand together.

    Returns:
        int64 (queries,), in their order; 1: the best is alone.
    """
    if not len(logit):
        return np.empty(0, dtype=np.int64)
    starts = np.flatnonzero(np.diff(query, prepend=query[0] - 1))
    best = np.repeat(np.maximum.reduceat(logit, starts), np.diff(starts, append=len(logit)))
    return np.add.reduceat((logit >= best - TIED).astype(np.int64), starts)
