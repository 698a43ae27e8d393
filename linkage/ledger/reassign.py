"""Which group of records keeps which entity's id, and what the moves of records mean for the entities."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

KINDS = ("create", "absorb", "merge", "split", "retire")


class RecordMove(NamedTuple):
    """A record that goes from one entity to another, and why; "" is no entity."""

    record_id: str
    old: str
    new: str
    reason: str


class EntityChange(NamedTuple):
    """What happened to an entity; the size of an entity is the sum of all its changes.

    Attributes:
        kind: create (an id begins, with `n_records` new to the ledger), absorb (it takes more of those), merge (it
            takes all that `other_id` had), split (a part of its records goes to `other_id`), retire (it ends: the most
            of its records went to `other_id`, or its last `n_records` to none).
        entity_id, other_id: the entity, and the other one or "".
        n_records: records that moved.
        reason: why.
    """

    kind: str
    entity_id: str
    other_id: str
    n_records: int
    reason: str


def keep_names(overlap: Mapping[tuple[str, int], int]) -> dict[int, str]:
    """Pair groups with entities one to one so that the records that stay with their id are as many as can be.

    A maximum weight matching of the bipartite graph of shared records, one connected component at a time (Jonker and
    Volgenant 1987, in its sparse form). Among equally good answers that with the smaller entity ids, then the smaller
    groups, is preferred, so neither the order of records nor that of groups matters.

    Args:
        overlap: (entity id, group) -> records that both hold, at least 1; groups are numbered in an order that
            depends on their records alone.

    Returns:
        Entity id by group; groups left out share no record with an entity that is still free.
    """
    if not overlap:
        return {}
    entities = sorted({entity for entity, _ in overlap})
    groups = sorted({group for _, group in overlap})
    place = {entity: row for row, entity in enumerate(entities)}
    column = {group: number for number, group in enumerate(groups)}
    edges = np.array([(place[entity], column[group], n) for (entity, group), n in sorted(overlap.items())])
    component = _components(edges, len(entities), len(groups))
    edges = edges[np.argsort(component, kind="stable")]
    starts = np.flatnonzero(np.diff(np.sort(component), prepend=-1))
    kept: dict[int, str] = {}
    for part in np.split(edges, starts[1:]):
        chosen = part if len(part) == 1 else _match(part)
        kept |= {groups[group]: entities[entity] for entity, group, _ in chosen}
    return kept


def _components(edges: np.ndarray, n_entities: int, n_groups: int) -> np.ndarray:
    """Connected component of every edge (m,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = n_entities + n_groups
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1] + n_entities)), shape=(n, n))
    label = connected_components(graph, directed=False)[1]
    return np.asarray(label[edges[:, 0]])


def _match(edges: np.ndarray) -> np.ndarray:
    """The edges (m, 3: entity, group, n) of the best matching of one component."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    rows, row = np.unique(edges[:, 0], return_inverse=True)
    columns, column = np.unique(edges[:, 1], return_inverse=True)
    taste = (len(rows) - row) + (len(columns) - column)  # decides between equals only: all of it weighs less than 1
    unit = min(len(rows), len(columns)) * (len(rows) + len(columns)) + 1
    weight = edges[:, 2] * unit + taste
    # An entity that no group keeps takes an edge of its own: the matching is then full, as the algorithm needs it.
    own = np.arange(len(rows))
    cells = (np.concatenate([row, own]), np.concatenate([column, len(columns) + own]))
    weights = np.concatenate([weight + 1, np.ones(len(rows))]).astype(np.float64)
    graph = csr_array((weights, cells), shape=(len(rows), len(columns) + len(rows)))
    matched_row, matched_column = min_weight_full_bipartite_matching(graph, maximize=True)
    taken = dict(zip(matched_row.tolist(), matched_column.tolist(), strict=True))
    chosen = [taken[entity] == group for entity, group in zip(row.tolist(), column.tolist(), strict=True)]
    return np.asarray(edges[np.array(chosen)])


def changes(moves: Sequence[RecordMove], created: set[str], emptied: set[str]) -> list[EntityChange]:
    """The changes that the moves of one run make, in an order that does not depend on theirs.

    Args:
        moves: one per record.
        created: entities that begin with this run.
        emptied: entities that have no records after it.
    """
    found = _changes(moves, created, emptied)
    return sorted(found, key=lambda change: (KINDS.index(change.kind), *change[1:]))


def _changes(moves: Sequence[RecordMove], created: set[str], emptied: set[str]) -> Iterator[EntityChange]:
    flows = Counter((move.old, move.new, move.reason) for move in moves)
    heirs: dict[str, Counter[str]] = defaultdict(Counter)
    for move in moves:
        heirs[move.old][move.new] += 1
    begun: set[str] = set()
    for (old, new, reason), n in sorted(flows.items()):  # records of no entity come first and begin new ones
        if new in created and new not in begun:
            begun.add(new)
            yield EntityChange("create", new, "", 0 if old else n, reason)
        elif not old:
            yield EntityChange("absorb", new, "", n, reason)
        if not new:
            yield EntityChange("retire", old, "", n, reason)
        elif old in emptied and len(heirs[old]) == 1:
            yield EntityChange("merge", new, old, n, reason)
        elif old:
            yield EntityChange("split", old, new, n, reason)
    for old in emptied:
        if "" not in heirs[old]:
            heir = min(heirs[old], key=lambda new: (-heirs[old][new], new))
            yield EntityChange("retire", old, heir, 0, "no records left")
