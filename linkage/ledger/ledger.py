"""The ledger: which entity every record belongs to, run by run, with ids that are kept and never used again.

One SQLite file. Membership is kept as intervals of runs, every change as an event, and a run is one transaction: a
process that dies leaves the state before it, two at once wait for each other.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from linkage.errors import ArtefactError, InputError
from linkage.ledger.ledgerfile import LedgerFile
from linkage.ledger.reassign import KINDS, RecordMove, changes, keep_names


class RecordGroup(NamedTuple):
    """Records that are one entity.

    Attributes:
        records: their record_ids.
        reason: why, in words that go into the events.
        exemplar_id: a record whose entity the group joins, whatever other groups do; "": the id is found by overlap.
        entity_id: the entity to join, or to create under that id, where the ledger does not know the exemplar.
    """

    records: tuple[str, ...]
    reason: str
    exemplar_id: str = ""
    entity_id: str = ""


class LedgerEvent(NamedTuple):
    """A change (see `reassign.EntityChange`) with the run that made it and its time."""

    run: int
    time: str
    kind: str
    entity_id: str
    other_id: str
    n_records: int
    reason: str


class LedgerRun(NamedTuple):
    """A run: its number from 1, command, UTC time, note, and its number of events by kind."""

    run: int
    command: str
    time: str
    note: str
    events: dict[str, int]


class RecordedRun(NamedTuple):
    """What `Ledger.record` wrote: the run, and the entity of every record that it was told about."""

    run: LedgerRun
    entities: dict[str, str]


class RecordStay(NamedTuple):
    """One interval of a record in an entity, from run `since_run` to before `until_run` (None: still there)."""

    record_id: str
    entity_id: str
    since_run: int
    until_run: int | None


class Ledger(LedgerFile):
    """An open ledger; use it in a `with` block.

    Every method may raise ArtefactError: the file is damaged, not writable, or another process keeps it locked.
    """

    def record(self, groups: Sequence[RecordGroup], *, command: str, note: str = "") -> RecordedRun:
        """Write one run: what is known of some records now; records in no group stay where they are.

        A group with an exemplar joins that record's entity. Every other group keeps the id of the entity that it
        shares most records with, over all such groups at once (see `keep_names`), so two of them never get one id;
        a group for which no id is left gets a new one.

        Args:
            groups: disjoint.
            command: what found the groups.
            note: e.g. the files that it read.

        Raises:
            ValueError: a group is empty, or a record stands twice.
            InputError: a record_id holds a NUL character.
            ArtefactError: a group joins an entity that was retired by hand.
        """
        groups = sorted(
            (group._replace(records=tuple(sorted(group.records))) for group in groups), key=lambda g: g.records[:1]
        )
        records = [record for group in groups for record in group.records]
        if len(set(records)) < len(records) or not all(group.records for group in groups):
            raise ValueError("groups of a run must be disjoint and not empty")
        for record in records:
            if "\0" in record:  # ends a text for `json_each`: `entities_of` would not find it again
                raise InputError(f"{note or self.path}: record_id {record!r} holds a NUL character; leave that out")
        with self._writing(command, note) as run:
            before = self.entities_of(records)
            names = self._names(run, groups, before)
            moves = [
                RecordMove(record, before.get(record, ""), name, group.reason)
                for group, name in zip(groups, names, strict=True)
                for record in group.records
                if before.get(record) != name
            ]
            self._move(run, moves)
            named = {record: name for group, name in zip(groups, names, strict=True) for record in group.records}
            return RecordedRun(self._run(run), named)

    def retire(self, entity_id: str, *, reason: str, command: str) -> LedgerRun:
        """Write one run: an entity ends, and its records belong to none.

        Raises:
            InputError: there is no such entity now.
        """
        with self._writing(command, "") as run:
            rows = self._rows("SELECT record_id FROM members WHERE entity_id = ? AND until_run IS NULL", entity_id)
            if not rows:
                raise InputError(f"{self.path}: has no entity {entity_id!r} now; `linkage ledger members` lists them")
            self._move(run, [RecordMove(record, entity_id, "", reason) for (record,) in rows])
            return self._run(run)

    def undo(self) -> LedgerRun:
        """Take the last run back: the ledger is as it was before it, and the next run takes its number.

        Raises:
            InputError: there is no run.
        """
        with self._transaction():
            last = self._last()
            if not last:
                raise InputError(f"{self.path}: holds no run that could be undone")
            undone = self._run(last)
            self._rows("DELETE FROM members WHERE since_run = ?", last)
            self._rows("UPDATE members SET until_run = NULL WHERE until_run = ?", last)
            self._rows("DELETE FROM events WHERE run = ?", last)
            self._rows("DELETE FROM runs WHERE run = ?", last)
        return undone

    def entities_of(self, records: Iterable[str]) -> dict[str, str]:
        """Entity of each of these records now; records that belong to none are left out."""
        query = (
            "SELECT record_id, entity_id FROM members"
            " WHERE until_run IS NULL AND record_id IN (SELECT value FROM json_each(?))"
        )
        return dict(self._rows(query, json.dumps(list(records))))

    def retired(self, entities: Iterable[str]) -> set[str]:
        """Which of these entities were retired by hand, or went into one that was."""
        with self._reading():
            return {entity for entity in set(entities) if self._fate(entity)[1]}

    def runs(self) -> list[LedgerRun]:
        """Every run, the first one first."""
        counts: dict[int, dict[str, int]] = {}
        with self._reading():
            for run, kind, n in self._rows("SELECT run, kind, count(*) FROM events GROUP BY run, kind"):
                counts.setdefault(run, {})[kind] = n
            rows = self._rows("SELECT run, command, time, note FROM runs ORDER BY run")
        none = dict.fromkeys(KINDS, 0)
        return [LedgerRun(run, command, time, note, none | counts.get(run, {})) for run, command, time, note in rows]

    def members(self, at: int | None = None) -> list[RecordStay]:
        """Where every record is after run `at` (0: before the first; None: now), ordered by record_id.

        Raises:
            InputError: there is no such run.
        """
        query = "SELECT * FROM members WHERE since_run <= ? AND coalesce(until_run > ?, 1) ORDER BY record_id"
        with self._reading():
            at = self._last() if at is None else self._known_run(at)
            return [RecordStay(*row) for row in self._rows(query, at, at)]

    def events(self, entity_id: str) -> list[LedgerEvent]:
        """The history of an entity, as itself or as the other one, the first event first; unknown: empty."""
        query = (
            "SELECT run, time, kind, entity_id, other_id, n_records, reason FROM events JOIN runs USING (run)"
            " WHERE entity_id = ? OR other_id = ? ORDER BY run, number"
        )
        return [LedgerEvent(*row) for row in self._rows(query, entity_id, entity_id)]

    def stays(self, record_id: str) -> list[RecordStay]:
        """The entities that a record was in, the first one first; unknown: empty."""
        return [
            RecordStay(*row)
            for row in self._rows("SELECT * FROM members WHERE record_id = ? ORDER BY since_run", record_id)
        ]

    def _names(self, run: int, groups: Sequence[RecordGroup], before: dict[str, str]) -> list[str]:
        """The entity of each group; see `record`."""
        joined = self.entities_of({group.exemplar_id for group in groups} - {""})
        overlap = Counter(
            (before[record], number)
            for number, group in enumerate(groups)
            if not group.exemplar_id
            for record in group.records
            if record in before
        )
        kept = keep_names(overlap)
        names = []
        for number, group in enumerate(groups):
            if group.exemplar_id:
                names.append(joined.get(group.exemplar_id) or self._successor(group.entity_id))
            else:
                names.append(kept.get(number) or self._new_id(run, group.records))
        return names

    def _successor(self, entity_id: str) -> str:
        """The entity that now is what this one was; itself, while it lives or is new."""
        now, retired = self._fate(entity_id)
        if retired:
            raise ArtefactError(
                f"{self.path}: entity {now!r} was retired {retired}; leave its records out of the index, or undo that "
                "run"
            )
        return now

    def _fate(self, entity_id: str) -> tuple[str, str]:
        """The entity that an entity ended up as, and in which run and why that was retired by hand; "": it was not."""
        query = "SELECT other_id, run, reason FROM events WHERE entity_id = ? AND kind = 'retire'"
        seen = {entity_id}
        while ends := self._rows(query, entity_id):
            other, run, reason = ends[0]
            if not other:
                return entity_id, f"in run {run} ({reason})"
            if other in seen:
                raise self._damage(f"entity {other!r} went into itself")
            seen.add(other)
            entity_id = other
        return entity_id, ""

    def _new_id(self, run: int, records: Sequence[str]) -> str:
        """An id that was never used: drawn from the salt, so no one can guess it, yet a run done again gives it again.

        The records of the group stand in for a counter: an undone run's id can come back for the same group only.
        """
        (salt,) = self._rows("SELECT salt FROM ledger")[0]
        attempt = 0
        while True:
            drawn = hashlib.sha256(json.dumps([salt, run, attempt, records]).encode()).digest()
            entity_id = "e" + base64.b32encode(drawn)[:12].decode().lower()
            if not self._exists(entity_id):
                return entity_id
            attempt += 1

    def _exists(self, entity_id: str) -> bool:
        return bool(self._rows("SELECT 1 FROM events WHERE entity_id = ? AND kind = 'create'", entity_id))

    def _move(self, run: int, moves: list[RecordMove]) -> None:
        """Write moves and the events that they make."""
        self._many(
            "UPDATE members SET until_run = ? WHERE record_id = ? AND until_run IS NULL",
            ((run, move.record_id) for move in moves if move.old),
        )
        self._many(
            "INSERT INTO members VALUES (?, ?, ?, NULL)",
            ((move.record_id, move.new, run) for move in moves if move.new),
        )
        created = {new for new in {move.new for move in moves} - {""} if not self._exists(new)}
        emptied = {old for old in {move.old for move in moves} - {""} if not self._size(old)}
        self._many(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((run, number, *change) for number, change in enumerate(changes(moves, created, emptied))),
        )

    def _size(self, entity_id: str) -> int:
        query = "SELECT count(*) FROM members WHERE entity_id = ? AND until_run IS NULL"
        return int(self._rows(query, entity_id)[0][0])

    def _last(self) -> int:
        return int(self._rows("SELECT coalesce(max(run), 0) FROM runs")[0][0])

    def _known_run(self, run: int) -> int:
        if not 0 <= run <= self._last():
            raise InputError(f"{self.path}: has no run {run}; its runs go from 1 to {self._last()} (0: before them)")
        return run

    def _run(self, number: int) -> LedgerRun:
        return next(run for run in self.runs() if run.run == number)

    @contextmanager
    def _writing(self, command: str, note: str) -> Iterator[int]:
        """A transaction that is one run; yields its number."""
        with self._transaction():
            run = self._last() + 1
            time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            self._rows("INSERT INTO runs VALUES (?, ?, ?, ?)", run, command, time, note)
            yield run
