"""The ledger: one entity per record, ids kept by overlap and never used again, runs that can be taken back."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import altered, dump, groups, made, written

from linkage.errors import ArtefactError, InputError
from linkage.ledger.crosswalk import crosswalk
from linkage.ledger.ledger import Ledger, RecordGroup
from linkage.ledger.reassign import KINDS, RecordMove, changes, keep_names

RECORDS = [f"r{n:02d}" for n in range(14)]


def test_a_group_that_grows_keeps_its_id_and_records_not_mentioned_stay(tmp_path: Path) -> None:
    with made(tmp_path / "l") as ledger:
        one = written(ledger, "abc de f")
        two = written(ledger, "abx yz")
        assert two["a"] == two["x"] == one["a"]
        assert two["y"] == two["z"] != one["d"]
        now = ledger.entities_of("abcdefxyz")
        assert now == one | two
        assert [event.kind for event in ledger.events(one["a"])] == ["create", "absorb"]


def test_merged_and_split_entities_keep_the_id_of_the_larger_part(tmp_path: Path) -> None:
    with made(tmp_path / "l") as ledger:
        one = written(ledger, "abc de", "fghi")
        two = written(ledger, "abcde", "fgh i")
        assert set(map(two.get, "abcde")) == {one["a"]}
        assert set(map(two.get, "fgh")) == {one["f"]}
        assert two["i"] not in one.values()
        merged = ledger.events(one["d"])[1:]
        assert [(event.kind, event.entity_id, event.other_id, event.n_records) for event in merged] == [
            ("merge", one["a"], one["d"], 2),
            ("retire", one["d"], one["a"], 0),
        ]
        split = ledger.events(one["f"])[-1]
        assert (split.kind, split.other_id, split.n_records, split.reason) == ("split", two["i"], 1, "clustered")


def test_equal_parts_are_decided_by_the_smaller_id_and_record(tmp_path: Path) -> None:
    with made(tmp_path / "l") as ledger:
        one = written(ledger, "ab cd efgh")
        two = written(ledger, "dcba", "hg fe")
        assert two["a"] == min(one["a"], one["c"])
        assert two["e"] == one["e"] != two["g"]


def test_overlap_is_maximal_over_all_groups_at_once(tmp_path: Path) -> None:
    """Each by itself, both groups would claim the first entity; five records keep their id if one does not get it."""
    with made(tmp_path / "l") as ledger:
        one = written(ledger, "abcdefg hi")
        two = written(ledger, "abcdhi", "efg")
        assert (two["h"], two["a"], two["e"]) == (one["h"], one["h"], one["a"])


@given(
    st.dictionaries(st.tuples(st.sampled_from("ABCDEF"), st.integers(0, 5)), st.integers(1, 9), max_size=14),
    st.randoms(use_true_random=False),
)
def test_the_matching_is_the_best_there_is_whatever_the_order(
    overlap: dict[tuple[str, int], int], random: np.random.RandomState
) -> None:
    from scipy.optimize import linear_sum_assignment

    dense = np.zeros((6, 6))
    for (entity, group), n in overlap.items():
        dense["ABCDEF".index(entity), group] = n
    kept = keep_names(overlap)
    assert sum(overlap[entity, group] for group, entity in kept.items()) == dense[linear_sum_assignment(-dense)].sum()
    assert len(set(kept.values())) == len(kept)
    shuffled = list(overlap.items())
    random.shuffle(shuffled)
    assert keep_names(dict(shuffled)) == kept


def test_neither_the_order_of_groups_nor_that_of_records_matters(tmp_path: Path) -> None:
    with made(tmp_path / "a") as one, made(tmp_path / "b") as two:
        for members in ("abc de fgh", "ad ebc fgxy z"):
            one.record(groups(members), command="test")
            turned = [group._replace(records=group.records[::-1]) for group in groups(members)[::-1]]
            two.record(turned, command="test")
        assert one.members() == two.members()
    events = [[line for line in dump(tmp_path / name) if '"events"' in line] for name in "ab"]
    assert events[0] == events[1]


def test_a_group_with_an_exemplar_joins_its_entity_wherever_that_is_now(tmp_path: Path) -> None:
    with made(tmp_path / "l") as ledger:
        one = written(ledger, "abc de")
        two = written(ledger, "abcde")
        gone = (set(one.values()) - set(two.values())).pop()
        joined = ledger.record(
            [
                RecordGroup(("q",), "linked", "d", gone),
                RecordGroup(("p",), "linked", "not in the ledger", gone),
                RecordGroup(("s",), "linked", "s's exemplar", "Dupont"),
                RecordGroup(("t",), "linked", "t's exemplar", "Dupont"),
            ],
            command="test",
        ).entities
        assert joined == {"q": two["a"], "p": two["a"], "s": "Dupont", "t": "Dupont"}
        assert written(ledger, "u")["u"] not in {*one.values(), "Dupont"}


def test_an_entity_retired_by_hand_is_not_joined_and_its_id_does_not_return(tmp_path: Path) -> None:
    with made(tmp_path / "l") as ledger:
        one = written(ledger, "abc de")
        ledger.retire(one["a"], reason="a page of another book", command="test")
        assert ledger.entities_of("abcde") == {"d": one["d"], "e": one["d"]}
        last = ledger.events(one["a"])[-1]
        assert (last.kind, last.n_records, last.reason) == ("retire", 3, "a page of another book")
        with pytest.raises(ArtefactError, match="another book"):
            ledger.record([RecordGroup(("q",), "linked", "a", one["a"])], command="test")
        with pytest.raises(InputError, match="no entity"):
            ledger.retire(one["a"], reason="again", command="test")
        assert len(ledger.runs()) == 2, "what failed left no run"
        assert written(ledger, "abc")["a"] not in one.values()


def test_an_entity_that_went_into_itself_is_told_not_followed_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    altered(
        "INSERT INTO runs VALUES (1, 'c', 't', 'n')",
        "INSERT INTO events VALUES (1, 1, 'retire', 'A', 'B', 1, 'r'), (1, 2, 'retire', 'B', 'A', 1, 'r')",
    )(path)
    with Ledger.open(path) as ledger, pytest.raises(ArtefactError, match=r"ledger: damaged \(entity 'A' went into"):
        ledger.record([RecordGroup(("q",), "linked", "x", "A")], command="test")


def test_a_record_id_that_could_not_be_found_again_is_refused(tmp_path: Path) -> None:
    with made(tmp_path / "ledger") as ledger:
        with pytest.raises(InputError, match=r"^q\.csv: record_id 'a\\x00b' holds a NUL character"):
            ledger.record([RecordGroup(("a\0b",), "clustered")], command="test", note="q.csv")
        assert not ledger.runs()


def test_many_new_entities_are_told_as_created_once_each() -> None:
    moves = [RecordMove(f"r{n}", old, f"e{n}", "why") for n in range(3) for old in ("", "x")]
    found = changes(moves, {"e0", "e1", "e2"}, set())
    assert [change.entity_id for change in found if change.kind == "create"] == ["e0", "e1", "e2"]


def test_a_record_in_two_groups_is_refused(tmp_path: Path) -> None:
    with made(tmp_path / "l") as ledger:
        with pytest.raises(ValueError, match="disjoint"):
            written(ledger, "ab bc")
        assert not ledger.runs()


PARTITION = st.lists(st.integers(-1, 4), min_size=len(RECORDS), max_size=len(RECORDS))
JOINED = st.lists(st.tuples(st.sampled_from(RECORDS), st.sampled_from(RECORDS)), max_size=3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("cluster"), PARTITION, st.just([])),
        st.tuples(st.just("link"), PARTITION, JOINED),
        st.tuples(st.just("retire"), st.sampled_from(RECORDS), st.just([])),
        st.tuples(st.just("undo"), st.none(), st.just([])),
    ),
    min_size=4,
    max_size=9,
)


def perform(ledger: Ledger, step: tuple[str, object, list[tuple[str, str]]]) -> None:
    """One random operation; what cannot be done is skipped."""
    kind, what, joined = step
    if kind == "undo":
        if ledger.runs():
            ledger.undo()
    elif kind == "retire":
        entity = ledger.entities_of([what]).get(what)
        if entity:
            ledger.retire(entity, reason="by hand", command="test")
    else:
        by_exemplar = {record: exemplar for record, exemplar in joined if record != exemplar}
        parts: dict[int, list[str]] = {}
        for record, label in zip(RECORDS, what, strict=True):
            if label >= 0 and record not in by_exemplar:
                parts.setdefault(label, []).append(record)
        found = [RecordGroup(tuple(part), "clustered") for part in parts.values()]
        known = ledger.entities_of(by_exemplar.values())
        found += [RecordGroup((q,), "linked", x, f"of {x}") for q, x in by_exemplar.items() if x in known]
        ledger.record(found, command="test")


@settings(max_examples=24)
@given(STEPS)
def test_invariants_hold_under_random_operations(steps: list[tuple[str, object, list[tuple[str, str]]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger"
        dumps: list[list[str]] = []
        with made(path) as ledger:
            dumps.append(dump(path))
            for step in steps:
                perform(ledger, step)
                n = len(ledger.runs())
                if n < len(dumps):
                    assert dump(path) == dumps[n], "undo leaves no trace"
                    del dumps[n + 1 :]
                else:
                    dumps.append(dump(path))
                states = check(ledger)
            for old, state in enumerate(states):
                agree(crosswalk(ledger, old, len(states) - 1), state, states[-1])
            for expected in reversed(dumps[:-1]):
                ledger.undo()
                assert dump(path) == expected
            with pytest.raises(InputError, match="no run"):
                ledger.undo()


def check(ledger: Ledger) -> list[dict[str, str]]:
    """Everything that must be true of a ledger at any time; the entity of every record after each run."""
    runs = ledger.runs()
    states = [{stay.record_id: stay.entity_id for stay in ledger.members(run)} for run in range(len(runs) + 1)]
    assert states[-1] == ledger.entities_of(RECORDS)
    every = sorted({entity for state in states for entity in state.values()})
    history = {entity: ledger.events(entity) for entity in every}
    for entity, events in history.items():
        here = [run for run, state in enumerate(states) if entity in state.values()]
        assert here == list(range(here[0], here[-1] + 1)), "an id that ended never comes back"
        own = Counter(event.kind for event in events if event.entity_id == entity)
        assert own["create"] == 1
        assert own["retire"] == (entity not in states[-1].values()), "retired are those without members"
        size = sum(sign(event, entity) * event.n_records for event in events)
        assert size == list(states[-1].values()).count(entity), "the events of an entity add up to its size"
    events = set(itertools.chain(*history.values()))
    taken: Counter[tuple[int, str, str]] = Counter()
    for event in events:
        if event.kind == "merge":
            taken[event.run, event.entity_id, event.other_id] += event.n_records
    for (run, _, other), n in taken.items():
        assert n == list(states[run - 1].values()).count(other), "merged: all that the other had"
    told = Counter((event.run, event.kind) for event in events)
    assert told == Counter({(run.run, kind): run.events[kind] for run in runs for kind in KINDS if run.events[kind]})
    return states


def sign(event: object, entity: str) -> int:
    """+1 where the event brings records to the entity, -1 where it takes them."""
    kind, own = event.kind, event.entity_id == entity
    if kind in ("create", "absorb"):
        return 1
    if kind == "merge":
        return 1 if own else -1
    if kind == "split":
        return -1 if own else 1
    return -1 if own else 0


def agree(table: object, old: dict[str, str], new: dict[str, str]) -> None:
    """The crosswalk counts every record of two states once, and names what became of it."""
    pairs = Counter((old.get(record, ""), new.get(record, "")) for record in old | new)
    assert pairs == {(a, b): n for a, b, n, _ in table.itertuples(index=False)}
    for before, after, _, relation in table.itertuples(index=False):
        assert (relation == "same") == (before == after)
        assert (relation in ("created", "absorbed")) == (before == "")
        assert (relation == "retired") == (after == "")
        if relation == "merged":
            assert before not in new.values()
            assert sum(a == before for a, _ in pairs) == 1
        if relation in ("split", "created"):
            assert after not in old.values()
        if relation == "split":
            assert sum(bool(a) and b == after for a, b in pairs) == 1


def test_undone_and_done_again_gives_the_same_ids(tmp_path: Path) -> None:
    with made(tmp_path / "l") as ledger:
        written(ledger, "abc")
        first = written(ledger, "de f")
        ledger.undo()
        other = written(ledger, "df e")
        assert not set(other.values()) & set(first.values()), "an undone id does not come back for something else"
        ledger.undo()
        assert written(ledger, "f de") == first
