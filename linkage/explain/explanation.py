"""Why a record was linked, grouped or left alone, and what holds an entity together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from linkage.cluster.members import LABELLED, as_predicted
from linkage.compare.scorer import Scorer
from linkage.errors import UsageError
from linkage.explain.comparison import (
    Comparison,
    ShownRecord,
    as_number,
    as_page,
    as_text,
    compare,
    difference,
    join,
    record_of,
    weigh,
)
from linkage.explain.grouping import CLUSTERED, ClusterEvidence, ClusterPlace
from linkage.link.links import features_of
from linkage.text import FOLDING, Folding

SOURCES = {
    "fitted": "fitted on labelled rows",
    "given": "given",
    "default": "the default: no labels moved it",
}
_ROUNDED = 1e-5  # CSV tables keep 6 digits: what is left of a probability below this is rounding
_FARTHEST = 700.0  # exp of more overflows
_OFFERED = 3


@dataclass(frozen=True)
class Evidence:
    """What a run, or a links table, gives to explain from.

    Attributes:
        members: record_id, entity_id, origin, membership, is_exemplar and, where known, text, source, page.
        links: links table; empty where nothing was linked.
        scorer: the one behind the links; None without links.
        grouping: gives the records that were clustered, with all that is known of them: asked for only where a record
            is one of them; None for a links table.
        sets: what the links' manifest says of the candidate sets; "" where none were asked for.
        folding: what made two texts equal.
    """

    members: pd.DataFrame
    links: pd.DataFrame
    scorer: Scorer | None = None
    grouping: Callable[[], ClusterEvidence] | None = None
    sets: str = ""
    folding: Folding = FOLDING


@dataclass(frozen=True)
class ExplainedCandidate:
    """A candidate entity of a query; `in_set`: it is of the query's candidate set, None where there are no sets."""

    rank: int
    entity_id: str
    exemplar_id: str
    text: str
    probability: float
    in_set: bool | None


@dataclass(frozen=True)
class ExplainedLink:
    """A query's decision and what it came from.

    Attributes:
        decision: match, review or no-match.
        probability, margin, threshold, threshold_source: as in the links table; no threshold: nothing may match.
        tied: how many of the best candidates cannot be told apart; None where the best stands alone.
        review_threshold: from which a candidate that is no match is for review; None where there is none.
        best: the candidate that was decided on; runner_up: the next; None where there is none.
        candidates: those in the links table, best first.
        others, nothing: match probability that candidates beyond them have together, and that no candidate matches.
        bar: logit that the threshold asks for beside these rivals; None where no logit reaches it, or any does.
    """

    decision: str
    probability: float
    margin: float | None
    threshold: float | None
    threshold_source: str
    review_threshold: float | None
    tied: int | None
    best: Comparison
    runner_up: Comparison | None
    candidates: list[ExplainedCandidate]
    others: float
    nothing: float
    bar: float | None


@dataclass(frozen=True)
class ExplainedMember:
    """A record of an entity."""

    record_id: str
    origin: str
    membership: float
    text: str
    source: str
    page: int | None


@dataclass(frozen=True)
class Explanation:
    """Everything there is to say of a record or an entity.

    Attributes:
        kind: what `id` names.
        entity_id: the record's entity, "" where it has none.
        origin: how the record came there, "" for entities and for queries of a links table that matched nothing.
        says: the answer in sentences, the most important first.
        link: of a record that was a query and had candidates.
        group: of a record that was clustered.
        members: of an entity, or those that an exemplar stands for; weakest first, without the exemplar.
        sources: distinct source files of the entity's records.
        exemplar: of an entity.
        weakest: the explanation of an entity's weakest member.
    """

    kind: Literal["record", "entity"]
    id: str
    entity_id: str
    origin: str
    says: list[str]
    link: ExplainedLink | None = None
    group: ClusterPlace | None = None
    members: list[ExplainedMember] | None = None
    sources: int | None = None
    exemplar: ShownRecord | None = None
    weakest: Explanation | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-like values."""
        return asdict(self)


def explain(name: str, evidence: Evidence, *, as_entity: bool = False) -> Explanation:
    """Explain the record of this id, or the entity: where both exist, the record unless `as_entity`.

    Raises:
        UsageError: there is neither; the message offers the nearest ids.
    """
    members, links = evidence.members, evidence.links
    records = {*members["record_id"], *(links["record_id"] if len(links) else ())}
    entities = set(members["entity_id"])
    if name in records and not as_entity:
        explanation = _record(name, evidence)
        if name in entities:
            explanation.says.append("This is a record and an entity of the same id; ask for the entity with --entity.")
        return explanation
    if name in entities:
        return _entity(name, evidence)
    raise UsageError(_unknown(name, entities if as_entity else [*records, *entities], as_entity))


def _unknown(name: str, known: Iterable[str], as_entity: bool) -> str:
    from rapidfuzz.process import extract

    near = [f"{choice!r}" for choice, _, _ in extract(name, sorted(set(known)), limit=_OFFERED)]
    offer = f"; the nearest: {', '.join(near)}" if near else ""
    return f"{name!r}: no {'entity' if as_entity else 'record or entity'} of this id here{offer}"


def members_of_links(links: pd.DataFrame) -> pd.DataFrame:
    """What a links table alone tells of entities: its exemplars, and the records that matched one."""
    names = {"exemplar_id": "record_id", "exemplar_text": "text", "exemplar_source": "source", "exemplar_page": "page"}
    found = links[links["exemplar_id"] != ""]
    exemplars = found[["entity_id", *names]].rename(columns=names).drop_duplicates("record_id")
    exemplars = exemplars.sort_values("record_id", kind="stable").assign(origin="exemplar", membership=1.0)
    exemplars["is_exemplar"] = (~exemplars["entity_id"].duplicated()).astype(int)
    matched = links[links["decision"] == "match"].assign(origin="linked", is_exemplar=0)
    matched = matched.assign(membership=matched["probability"]).reindex(columns=exemplars.columns)
    return pd.concat([exemplars, matched], ignore_index=True)


def _record(name: str, evidence: Evidence) -> Explanation:
    members = evidence.members
    row = members[members["record_id"] == name]
    entity, origin = (str(row[column].iloc[0]) if len(row) else "" for column in ("entity_id", "origin"))
    is_exemplar = bool(len(row) and row["is_exemplar"].iloc[0])
    rows = evidence.links[evidence.links["record_id"] == name] if len(evidence.links) else evidence.links
    link = _link(rows, evidence.scorer, evidence.folding) if len(rows) and evidence.scorer else None
    predicted = as_predicted(members)
    own = predicted[predicted["record_id"] == name]
    found, came = (str(own[column].iloc[0]) if len(own) else "" for column in ("entity_id", "origin"))
    group = evidence.grouping().explain(name, predicted) if evidence.grouping and came in CLUSTERED else None
    says = [*_told_of_link(link), *_told_of_set(link, evidence.sets)] if link else []
    if len(rows) and not link:
        says.append("It had no candidate: there was neither a picture nor a text to compare.")
    stood_for = _stood_for(name, entity, origin, evidence) if is_exemplar or origin == "exemplar" else None
    if group:  # of what it belongs to first, then of what it does not
        says = group.says() + says if came == "clustered" else says + group.says()
    if origin == LABELLED:
        says.insert(0, _told_of_label(entity, found, came))
    if stood_for is not None and origin != "singleton":
        says.append(_told_of_exemplar(name, entity, is_exemplar, stood_for, members))
    return Explanation("record", name, entity, origin, says, link, group, members=stood_for)


def _told_of_label(entity: str, found: str, came: str) -> str:
    agrees = "the same was found without it" if found == entity else f"without it, it would be in {found} ({came})"
    return f"Its label decides: it is of {entity}; {agrees}."


def _stood_for(name: str, entity: str, origin: str, evidence: Evidence) -> list[ExplainedMember]:
    """The records that came to the entity by this exemplar."""
    members, links = evidence.members, evidence.links
    inside = members[(members["entity_id"] == entity) & (members["record_id"] != name)]
    if origin == "exemplar":
        linked = links[(links["exemplar_id"] == name) & (links["decision"] == "match")]
        inside = inside[inside["record_id"].isin(linked["record_id"])]
    return _members(inside)


def _told_of_exemplar(
    name: str, entity: str, is_exemplar: bool, stood_for: list[ExplainedMember], members: pd.DataFrame
) -> str:
    n = len(stood_for)
    came = f"{n} {'record' if n == 1 else 'records'} came to it by this one"
    if is_exemplar:
        return f"It is the exemplar: it stands for {entity}, and {came}."
    inside = members[members["entity_id"] == entity]
    first = inside.loc[inside["is_exemplar"] == 1, "record_id"].iloc[0]
    return f"It is one of the exemplars of {entity}; {first} stands for it, and {came}."


def _entity(name: str, evidence: Evidence) -> Explanation:
    inside = evidence.members[evidence.members["entity_id"] == name]
    first = inside[inside["is_exemplar"] == 1].iloc[0]
    members = _members(inside[inside["record_id"] != first["record_id"]])
    sources = int(inside["source"].nunique()) if "source" in inside else 0
    n = len(inside)
    says = [
        f"{n} {'record' if n == 1 else 'records'} from {sources} {'source' if sources == 1 else 'sources'}; "
        f"the exemplar is {first['record_id']}."
    ]
    came = [member for member in members if member.origin != "exemplar"]
    weakest = None
    if came:
        weakest = _record(came[0].record_id, evidence)
        says.append(f"The weakest member is {came[0].record_id}, with {came[0].membership:.3f}: explained below.")
    elif first["origin"] in CLUSTERED:  # alone: what is to be explained is why
        weakest = _record(str(first["record_id"]), evidence)
    return Explanation("entity", name, name, "", says, None, None, members, sources, record_of(first), weakest)


def _members(rows: pd.DataFrame) -> list[ExplainedMember]:
    ordered = rows.sort_values(["membership", "record_id"], kind="stable").to_dict("records")
    return [
        ExplainedMember(
            record_id=str(row["record_id"]),
            origin=str(row["origin"]),
            membership=float(row["membership"]),
            text=as_text(row.get("text")),
            source=as_text(row.get("source")),
            page=as_page(row.get("page")),
        )
        for row in ordered
    ]


def _link(rows: pd.DataFrame, scorer: Scorer, folding: Folding) -> ExplainedLink | None:
    """The decision on a query from its rows of the links table; None where it has no candidate."""
    rows = rows[rows["probability"].notna()].sort_values("rank", kind="stable").reset_index(drop=True)
    if not len(rows):
        return None
    weighed = features_of(rows)
    told = scorer.contributions(weighed)
    rows = rows.assign(**weighed)
    matched = np.flatnonzero(rows["decision"] == "match")
    best = int(matched[0]) if len(matched) else 0
    second = next((row for row in range(len(rows)) if row != best), None)
    row = rows.iloc[best]
    listed = float(rows["probability"].sum())
    nothing = min(1.0, float(row["probability"]) * math.exp(-max(float(told.iloc[best].sum()), -_FARTHEST)))
    if not row["probability"]:  # the constraint gave its entity to another record
        nothing = 1.0 - listed
    rest = 1.0 - listed - nothing
    others = rest if rest > _ROUNDED else 0.0
    rivals = float(rows["probability"].sum()) - float(row["probability"]) + others
    threshold, tied = as_number(row["threshold"]), as_number(row.get("tied"))
    return ExplainedLink(
        decision=str(row["decision"]),
        probability=float(row["probability"]),
        margin=as_number(row["margin"]),
        threshold=threshold,
        threshold_source=str(row["threshold_source"]),
        review_threshold=as_number(row.get("review_threshold")),
        tied=None if tied is None else int(tied),
        best=_candidate(row, told.iloc[best], folding),
        runner_up=None if second is None else _candidate(rows.iloc[second], told.iloc[second], folding),
        candidates=[
            ExplainedCandidate(
                int(one["rank"]),
                str(one["entity_id"]),
                str(one["exemplar_id"]),
                as_text(one["exemplar_text"]) or as_text(one.get("exemplar_reading")),
                float(one["probability"]),
                None if pd.isna(one["in_set"]) else bool(one["in_set"]),
            )
            for _, one in rows.iterrows()
        ],
        others=others,
        nothing=nothing,
        bar=_bar(threshold, rivals, nothing),
    )


def _bar(threshold: float | None, rivals: float, nothing: float) -> float | None:
    """The logit whose share of the probability is the threshold: log(t / (1 - t)) + log(1 + odds of the rivals)."""
    if threshold is None or not 0.0 < threshold < 1.0 or nothing <= 0.0:
        return None
    return math.log(threshold / (1.0 - threshold)) + math.log1p(rivals / nothing)


def _candidate(row: pd.Series, told: pd.Series, folding: Folding) -> Comparison:
    return compare(
        record_of(row),
        record_of(row, "exemplar_"),
        str(row["entity_id"]),
        {str(column): value for column, value in row.items()},
        told,
        folding,
        probability=float(row["probability"]),
    )


def _told_of_link(link: ExplainedLink) -> list[str]:
    """The decision in words: what was decided, what told the candidates apart, what carried it over the threshold."""
    best, source = link.best, SOURCES.get(link.threshold_source, link.threshold_source)
    heads = {"match": f"Linked to {best.entity_id}", "review": f"For review: perhaps {best.entity_id}"}
    head = heads.get(link.decision, f"Not linked; the likeliest entity is {best.entity_id}")
    passes = link.threshold is not None and link.probability >= link.threshold
    where = "at or above" if passes else "below"
    asked = "there is no threshold" if link.threshold is None else f"{where} the threshold {link.threshold:.3f}"
    says = [f"{head}: match probability {link.probability:.3f}, {asked} ({source})."]
    if link.tied:
        says.append(f"{link.tied} candidates are equally likely: nothing here tells them apart.")
    elif passes and link.decision != "match":
        says.append("It would pass, but another query had the better claim to this entity, or a rule kept them apart.")
    if link.bar is not None:
        says.append(_told_of_bar(best, link.bar))
    if link.runner_up:
        told = weigh(difference(best, link.runner_up))
        says.append(f"What tells it from the runner-up, {link.runner_up.entity_id}: {told}.")
    return says


def _told_of_set(link: ExplainedLink, sets: str) -> list[str]:
    """How large the query's candidate set is, and what sets promise."""
    inside = [one.in_set for one in link.candidates if one.in_set is not None]
    if not inside:
        return []
    n = sum(inside)
    return [f"Its set holds {n or 'no'} {'candidate' if n == 1 else 'candidates'}. {sets}".rstrip()]


def _told_of_bar(best: Comparison, bar: float) -> str:
    surplus = best.logit - bar
    if surplus < 0:
        return f"What speaks for a match: {weigh(best.voices)}; that is {-surplus:.1f} short of the threshold."
    needed = [name for name, value in best.voices.items() if value > surplus]
    words = f"What speaks for a match: {weigh(best.voices)}; that is {surplus:.1f} more than the threshold asks for"
    if not needed:
        return f"{words}."
    return f"{words}, and without {'any one of ' if needed[1:] else ''}{join(needed)} it would fail."
