"""Entities that a ledger knows: what was linked and clustered takes its ids from there, and is written down there."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pandas as pd

from linkage.cluster.members import merge_members
from linkage.errors import InputError
from linkage.ledger.ledger import Ledger, RecordedRun, RecordGroup
from linkage.records import Records


class NamedMembers(NamedTuple):
    """A members table with the ids of the ledger, and what its run did there by kind of event."""

    members: pd.DataFrame
    counts: dict[str, int]


def entities_known(ledger: Ledger, records: Records) -> list[str]:
    """The entity of each record now.

    Raises:
        InputError: the ledger does not know a record.
    """
    known = ledger.entities_of(records.frame["record_id"])
    missing = [record for record in records.frame["record_id"] if record not in known]
    if missing:
        raise InputError(
            f"{records.path}: {ledger.path} has no entity for {len(missing)} records, the first is {missing[0]!r}; "
            "leave them out, or give them to `linkage cluster --ledger` first"
        )
    return [known[record] for record in records.frame["record_id"]]


def name_clusters(ledger: Ledger, members: pd.DataFrame, records: Records) -> NamedMembers:
    """Write clusters into the ledger: each keeps the id that it shares most records with, or gets a new one.

    Records that the ledger knows and `members` does not have stay where they are.

    Args:
        ledger: gets one run.
        members: `ClusterResult.members`.
        records: where they came from.
    """
    return _named(members, ledger.record(_clusters(members), command="linkage cluster", note=str(records.path)))


def name_queries(
    ledger: Ledger, links: pd.DataFrame, exemplars: pd.DataFrame, clustered: pd.DataFrame, queries: Records
) -> NamedMembers:
    """Write linked queries into the ledger; returns the members table of the queries alone.

    A query that matched joins the entity that its exemplar is in now, be it another than when the index was made.
    What did not match (no-match and review alike) was clustered: new records then join the entity that most of the
    known ones beside them are in, or begin one. A query that the ledger knows leaves its entity for a match only.
    Exemplars that the ledger does not know come in under the entity_id that the index gives them, but not those of an
    entity that was retired by hand.

    Args:
        ledger: gets one run.
        links: the links table.
        exemplars: `Index.exemplars`.
        clustered: `ClusterResult.members` of the queries that matched nothing.
        queries: the records, for the members table.

    Raises:
        ArtefactError: a query matched an entity that was retired by hand.
    """
    known = ledger.entities_of(clustered["record_id"])
    asked = set(links["record_id"])
    matched = links.loc[links["decision"] == "match", ["record_id", "exemplar_id", "entity_id"]]
    given = exemplars.loc[~exemplars["record_id"].isin(asked), ["record_id", "entity_id"]]
    outside = ~given["record_id"].isin(ledger.entities_of(given["record_id"]))
    given = given[~(outside & given["entity_id"].isin(ledger.retired(given.loc[outside, "entity_id"])))]
    groups = [
        *(
            RecordGroup((record,), "linked", exemplar, entity)
            for record, exemplar, entity in matched.itertuples(index=False)
        ),
        *(RecordGroup((record,), "exemplar", record, entity) for record, entity in given.itertuples(index=False)),
        *(part for group in _clusters(clustered) for part in _staying(group, known)),
    ]
    recorded = ledger.record(groups, command="linkage link", note=str(queries.path))
    named, counts = _named(merge_members(None, links, clustered, queries.frame), recorded)
    return NamedMembers(named.assign(predicted_entity_id=named["entity_id"]), counts)


def _clusters(members: pd.DataFrame) -> list[RecordGroup]:
    return [
        RecordGroup(tuple(rows["record_id"]), str(rows["origin"].iloc[0]))
        for _, rows in members.groupby("entity_id", sort=False)
    ]


def _staying(group: RecordGroup, known: dict[str, str]) -> list[RecordGroup]:
    """The group as it adds to the ledger: its known records stay, its new ones join the most frequent entity of those.

    By overlap alone, of two records that are in one entity and match nothing now, one would have to leave it.
    """
    inside = sorted(record for record in group.records if record in known)
    if not inside:
        return [group]
    sizes = Counter(known[record] for record in inside)
    host = min(inside, key=lambda record: (-sizes[known[record]], known[record], record))
    new = tuple(record for record in group.records if record not in known)
    joined = [RecordGroup(new, group.reason, host, known[host])] if new else []
    return joined + [RecordGroup((record,), group.reason, record, known[record]) for record in inside]


def _named(members: pd.DataFrame, recorded: RecordedRun) -> NamedMembers:
    named = members.assign(entity_id=members["record_id"].map(recorded.entities).astype(object))
    return NamedMembers(named, {"run": recorded.run.run, **recorded.run.events})
