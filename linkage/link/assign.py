"""Constraints between queries: an entity that one query of a group takes is not there for the others.

Who takes what is decided for all queries together, not greedily, by an assignment of the highest summed logit.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

Constraint = Literal["many-to-one", "one-to-one", "one-per-page", "one-per-source"]

_NUDGE = 1e-10  # under the ninth decimal, at which logits are told apart
_AT_A_TIME = 1000  # queries: the solver's time grows with their square


class Assignment(NamedTuple):
    """What a constraint leaves of the candidate pairs, bool (n,) each, in the order given.

    Attributes:
        allowed: the pair is assigned, or no other query of the group was assigned its entity.
        linkable: the pair may be called a match: of a constrained query the assigned pair; where none was assigned,
            its likeliest allowed pair (no likelier than no match), unless that entity suits another query of the
            group better. At most one pair of a constrained query, and one of an entity within a group.
    """

    allowed: np.ndarray
    linkable: np.ndarray

    def at(self, rows: np.ndarray | slice) -> Assignment:
        """For some of the pairs."""
        return Assignment(self.allowed[rows], self.linkable[rows])


def groups_of(constraint: Constraint, source: np.ndarray, page: np.ndarray) -> np.ndarray:
    """Within which group each query competes, int64 (queries,); -1: in none.

    Args:
        constraint: many-to-one: nobody competes; one-to-one: all with all.
        source: str (queries,); "": unknown, so the query is in no group, except for one-to-one.
        page: number (queries,); NaN: the source is one page.
    """
    if constraint == "many-to-one":
        return np.full(len(source), -1, dtype=np.int64)
    if constraint == "one-to-one":
        return np.zeros(len(source), dtype=np.int64)
    place = pd.DataFrame({"source": np.asarray(source, dtype=object)})
    if constraint == "one-per-page":
        place["page"] = pd.to_numeric(pd.Series(page), errors="coerce").astype("Float64").fillna(-1.0).to_numpy(float)
    group = place.groupby(list(place.columns), sort=True).ngroup().to_numpy(dtype=np.int64)
    return np.where(place["source"] == "", -1, group)


def assign(query: np.ndarray, entity: np.ndarray, logit: np.ndarray, group: np.ndarray) -> Assignment:
    """Decide which query of a group takes which entity, and what that leaves of the candidate pairs.

    Each query takes one entity at most, each entity is taken by one query of a group at most; of all such assignments
    the one with the highest summed logit is chosen, no match being worth 0. So a pair is assigned only where it is
    likelier than no match. Solved exactly as a sparse assignment problem (Jonker and Volgenant 1987), each query with
    a column of its own for no match.

    The order of pairs makes no difference. Logits are told apart to nine decimals; between assignments that are equal
    in that, a logit is nudged down by less than 1e-10: more for a later query among those that contest an entity, then
    for a later entity of its query; what is still equal is decided by the order of queries and entities.

    Args:
        query: int (n,), 0 or more; rows of `group`.
        entity: int (n,), codes; a pair of query and entity at most once.
        logit: float64 (n,), of a match against no match, before rivals share (see `shares`).
        group: int (queries,), of each query; -1: it is in none and not constrained.
    """
    allowed, linkable = np.ones(len(query), dtype=bool), np.ones(len(query), dtype=bool)
    bound = np.flatnonzero(group[query] >= 0)
    if not len(bound):
        return Assignment(allowed, linkable)
    bound = bound[np.lexsort((entity[bound], query[bound]))]
    asked, worth = query[bound], logit[bound].round(9)
    place = pd.DataFrame({"group": group[asked], "entity": entity[bound]})
    target = place.groupby(["group", "entity"], sort=True).ngroup().to_numpy(dtype=np.int64)
    taken = np.zeros(len(bound), dtype=bool)
    hopeful = np.flatnonzero(worth > 0)
    taken[hopeful[_best_assignment(asked[hopeful], target[hopeful], worth[hopeful])]] = True
    is_taken = np.isin(target, target[taken])
    allowed[bound] = taken | ~is_taken
    free = np.flatnonzero(~is_taken & ~np.isin(asked, asked[taken]))
    linkable[bound] = taken
    linkable[bound[free[_likeliest(asked[free], target[free], worth[free])]]] = True
    return Assignment(allowed, linkable)


def _likeliest(query: np.ndarray, target: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """Places of each query's likeliest pair; of those that name one target, of the likeliest again."""
    order = np.lexsort((target, -worth, query))
    best = order[np.diff(query[order], prepend=-1) != 0]
    order = best[np.lexsort((query[best], -worth[best], target[best]))]
    return np.asarray(order[np.diff(target[order], prepend=-1) != 0])


def _best_assignment(query: np.ndarray, target: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """Places of the pairs assigned; pairs are in the order of query and target, all worth more than 0."""
    worth = worth - _NUDGE * _later(query, target)
    pairs = _needed(query, target, worth)
    found = [pairs[rows] for rows in _parts(query[pairs], target[pairs])]
    found = [rows[_solve(query[rows], target[rows], worth[rows])] for rows in found]
    return np.concatenate([pairs[:0], *found])


def _needed(query: np.ndarray, target: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """Places of the pairs that a best assignment may need, in their order.

    A target that no other query wants is always there: what is worth less to its query is not needed.
    """
    pairs = np.arange(len(query))
    while True:
        alone = np.bincount(target[pairs])[target[pairs]] == 1
        sure = np.zeros(query.max(initial=0) + 1)
        np.maximum.at(sure, query[pairs[alone]], worth[pairs[alone]])
        needed = worth[pairs] >= sure[query[pairs]]
        if needed.all():
            return pairs
        pairs = pairs[needed]


def _parts(query: np.ndarray, target: np.ndarray) -> list[np.ndarray]:
    """Places of the pairs of queries that have to do with one another, small parts put together, in their order."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    if not len(query):
        return []
    queries, row = np.unique(query, return_inverse=True)
    targets, column = np.unique(target, return_inverse=True)
    size = len(queries) + len(targets)
    graph = csr_array((np.ones(len(query)), (row, len(queries) + column)), shape=(size, size))
    part = connected_components(graph, directed=False)[1][: len(queries)]
    members = np.bincount(part)
    batch = ((np.cumsum(members) - members) // _AT_A_TIME)[part[row]]
    order = np.argsort(batch, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(batch[order])) + 1)


def _later(query: np.ndarray, target: np.ndarray) -> np.ndarray:
    """0..1, rising with the query's rank among those that contest the target, then with the target's rank."""
    by_target = np.lexsort((query, target))
    rivals, rank = _ranks(target[by_target])
    rivals[by_target], rank[by_target] = rivals.copy(), rank.copy()
    choices, choice = _ranks(query)
    return np.asarray((rank + choice / choices * (rivals - rank) / rivals) / rivals)


def _ranks(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Size of the run that each value stands in, and its place in there from 0, float64 (n,) each."""
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    sizes = np.diff(starts, append=len(ordered))
    return np.repeat(sizes, sizes).astype(np.float64), np.arange(len(ordered)) - np.repeat(starts, sizes) * 1.0


def _solve(query: np.ndarray, target: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """Places of the pairs of an assignment with the highest summed worth."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    queries, row = np.unique(query, return_inverse=True)
    targets, column = np.unique(target, return_inverse=True)
    own = np.arange(len(queries))
    highest = float(worth.max()) + 1.0  # costs must be above 0
    cost = np.concatenate([highest - worth, np.full(len(queries), highest)])
    at = (np.concatenate([row, own]), np.concatenate([column, len(targets) + own]))
    shape = (len(queries), len(targets) + len(queries))
    chosen = min_weight_full_bipartite_matching(csr_array((cost, at), shape=shape))[1]
    return np.flatnonzero(chosen[row] == column)
