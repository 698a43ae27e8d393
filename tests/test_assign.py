from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.sparse.csgraph  # noqa: F401  # so that the first example is not late for loading it
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from linkage.link.assign import assign, groups_of

LOGITS = st.one_of(st.sampled_from([-2.0, 0.0, 1.0, 2.0, 3.0]), st.floats(-5, 10).map(lambda x: round(x, 9)))


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Query, entity and logit of pairs, and the group of each query."""
    queries, entities = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    group = np.array(draw(st.lists(st.sampled_from([-1, 0, 0, 1]), min_size=queries, max_size=queries)))
    every = list(product(range(queries), range(entities)))
    chosen = draw(st.lists(st.sampled_from(every), unique=True, min_size=1))
    logit = draw(st.lists(LOGITS, min_size=len(chosen), max_size=len(chosen)))
    query, entity = np.array(chosen).T
    return query, entity, np.array(logit), group


def best_sum(query: np.ndarray, entity: np.ndarray, logit: np.ndarray, group: np.ndarray) -> float:
    """The highest summed logit of all assignments of the constrained queries, tried one by one."""
    best = 0.0
    choices = [[None, *np.flatnonzero(query == q)] for q in range(len(group)) if group[q] >= 0]
    for rows in product(*choices):
        taken = [row for row in rows if row is not None]
        if len({(group[query[row]], entity[row]) for row in taken}) == len(taken):
            best = max(best, float(sum(logit[row] for row in taken)))
    return best


@given(problems())
def test_no_assignment_is_better(problem: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> None:
    query, _, logit, group = problem
    found = assign(*problem)
    assigned = found.linkable & (logit > 0) & (group[query] >= 0)
    assert logit[assigned].sum() == pytest.approx(best_sum(*problem), abs=1e-8)


@given(problems())
def test_every_constraint_holds(problem: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> None:
    query, entity, logit, group = problem
    allowed, linkable = assign(*problem)
    bound = group[query] >= 0
    assert allowed[~bound].all() and linkable[~bound].all()
    assert (allowed | ~linkable).all()
    rows = np.flatnonzero(linkable & bound)
    assert len(set(query[rows])) == len(rows)
    assert len({(group[query[row]], entity[row]) for row in rows}) == len(rows)
    taken = {(group[query[row]], entity[row]): query[row] for row in rows if logit[row] > 0}
    for row in np.flatnonzero(bound):
        assert allowed[row] == (taken.get((group[query[row]], entity[row]), query[row]) == query[row])
    for row in rows:
        assert logit[row] == logit[allowed & (query == query[row])].max()


@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_pairs_makes_no_difference(problem, random) -> None:  # type: ignore[no-untyped-def]
    query, entity, logit, group = problem
    order = np.arange(len(query))
    random.shuffle(order)
    found, again = assign(*problem), assign(query[order], entity[order], logit[order], group)
    for before, after in zip(found, again, strict=True):
        assert (before[order] == after).all()


def table(logits: list[list[float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    query, entity = np.indices(np.shape(logits)).reshape(2, -1)
    return query, entity, np.array(logits).ravel()


def taken(logits: list[list[float]]) -> list[tuple[int, int]]:
    query, entity, logit = table(logits)
    found = assign(query, entity, logit, np.zeros(len(logits), int)).linkable & (logit > 0)
    return list(zip(query[found].tolist(), entity[found].tolist(), strict=True))


def test_the_whole_counts_and_not_who_comes_first() -> None:
    assert taken([[3.0, 2.5], [2.9, -4.0]]) == [(0, 1), (1, 0)]


def test_ties_go_to_the_earlier_query_and_entity() -> None:
    assert taken([[2.0], [2.0], [2.0]]) == [(0, 0)]
    assert taken([[2.0, 2.0], [2.0, 2.0]]) == [(0, 0), (1, 1)]
    assert taken([[1.0] * 5] * 4) == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert taken([[2.0, 2.0 + 1e-12]]) == [(0, 0)]
    assert taken([[2.0], [2.0 + 2e-9]]) == [(1, 0)]


def test_a_query_whose_entity_is_taken_keeps_its_others() -> None:
    query, entity, logit = table([[3.0, -1.0, -9.0], [2.0, -1.5, -3.0], [-1.2, -2.0, 0.0]])
    allowed, linkable = assign(query, entity, logit, np.zeros(3, int))
    assert allowed.reshape(3, 3).tolist() == [[True, True, True], [False, True, True], [False, True, True]]
    assert linkable.reshape(3, 3).tolist() == [[True, False, False], [False, True, False], [False, False, True]]


def test_one_entity_may_be_taken_once_in_each_group() -> None:
    query, entity, logit = table([[3.0, 1.0], [2.0, 1.5], [1.0, -1.0], [5.0, -1.0]])
    allowed, linkable = assign(query, entity, logit, np.array([0, 0, 1, -1]))
    assert linkable.reshape(4, 2).tolist() == [[True, False], [False, True], [True, False], [True, True]]
    assert allowed.reshape(4, 2).tolist() == [[True, False], [False, True], [True, True], [True, True]]


def test_many_queries_are_assigned_as_by_another_solver() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(1, 2, (300, 200)) * (rng.uniform(size=(300, 200)) < 0.03)
    gain = np.column_stack([logits, np.zeros((300, 300))])
    query, entity = np.nonzero(logits)
    logit = logits[query, entity]
    found = assign(query, entity, logit, np.zeros(300, int))
    assigned = found.linkable & (logit > 0)
    assert logit[assigned].sum() == pytest.approx(gain[linear_sum_assignment(gain, maximize=True)].sum(), abs=1e-6)


def test_an_unrelated_query_changes_nothing() -> None:
    logits = [[2.0, 2.0, -1.0], [2.0, 2.0, -1.0]]
    assert taken([*logits, [-1.0, -1.0, 4.0]]) == [*taken(logits), (2, 2)]


def test_nothing_to_assign() -> None:
    nothing = np.empty(0, int)
    assert [len(part) for part in assign(nothing, nothing, np.empty(0), nothing)] == [0, 0]
    assert taken([[-1.0, 0.0]]) == []


def test_groups_follow_the_constraint() -> None:
    source = np.array(["b", "a", "b", "", "b"], dtype=object)
    page = np.array([1, 1, 2, 1, np.nan])
    assert groups_of("many-to-one", source, page).tolist() == [-1] * 5
    assert groups_of("one-to-one", source, page).tolist() == [0] * 5
    per_source, per_page = groups_of("one-per-source", source, page), groups_of("one-per-page", source, page)
    assert per_source[3] == per_page[3] == -1
    assert len(set(per_source[[0, 2, 4]])) == 1 and per_source[0] != per_source[1]
    assert len(set(per_page[[0, 1, 2, 4]])) == 4
    assert groups_of("one-per-page", source, np.array([None, 1, None, 1, 1], dtype=object))[0] >= 0
