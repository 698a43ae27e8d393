"""The file of a ledger: one SQLite database, checked when it is opened, written in transactions.

No write-ahead log: it does not work on network drives, and a ledger is written seldom.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from linkage.errors import ArtefactError, storage_error
from linkage.places import kind_of, remote

FORMAT = 1
_APPLICATION = 0x4C4B4C47  # "LKLG": what tells a ledger from any other SQLite file
_PATIENCE = 60.0  # seconds that a process waits for another one's transaction

_SCHEMA = (
    "CREATE TABLE ledger (salt TEXT NOT NULL) STRICT",
    "CREATE TABLE runs (run INTEGER PRIMARY KEY, command TEXT NOT NULL, time TEXT NOT NULL, note TEXT NOT NULL) STRICT",
    # Ordered by their keys, not by when a row was written: an undone run leaves no trace in a dump.
    "CREATE TABLE members (record_id TEXT NOT NULL, entity_id TEXT NOT NULL, since_run INTEGER NOT NULL,"
    " until_run INTEGER, PRIMARY KEY (record_id, since_run)) STRICT, WITHOUT ROWID",
    "CREATE UNIQUE INDEX one_entity_per_record ON members (record_id) WHERE until_run IS NULL",
    "CREATE INDEX members_of_entity ON members (entity_id)",
    "CREATE TABLE events (run INTEGER NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, entity_id TEXT NOT NULL,"
    " other_id TEXT NOT NULL, n_records INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (run, number))"
    " STRICT, WITHOUT ROWID",
    "CREATE INDEX events_of_entity ON events (entity_id, kind)",
    "CREATE INDEX events_of_other ON events (other_id)",
)
_CONTENT = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"


def _expected() -> list[tuple[Any, ...]]:
    """What the schema table of a ledger holds."""
    with closing(sqlite3.connect(":memory:")) as database:
        for statement in _SCHEMA:
            database.execute(statement)
        return database.execute(_CONTENT).fetchall()


class LedgerFile:
    """An open ledger file; use it in a `with` block.

    Every method may raise ArtefactError: the file is damaged, not writable, or another process keeps it locked.
    """

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self.path = path
        self._database = database

    @classmethod
    def open(cls, path: Path, *, create: bool = False, salt: str | None = None) -> Self:
        """Open a ledger and check that it is one.

        Args:
            path: the file.
            create: make an empty ledger where there is none.
            salt: of a new ledger; ids are drawn from it. Default: random, so ids of two ledgers never meet.

        Raises:
            ArtefactError: missing, another kind of file, of another version, or damaged.
        """
        if path.is_dir() or (not path.exists() and not create):
            kind = kind_of(path)
            said = f"is {kind}, not a ledger" if kind else "no ledger here"
            raise ArtefactError(remote(path) or f"{path}: {said}; `linkage cluster --ledger` makes one")
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            ledger = cls(path, sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None))
        except sqlite3.Error as error:
            raise ArtefactError(f"{path}: cannot be opened ({error})") from None
        try:
            if create and ledger._is_blank():
                ledger._create(salt or secrets.token_hex(16))
            ledger._check()
        except BaseException:
            ledger.close()
            raise
        return ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _is_blank(self) -> bool:
        return not self._rows("SELECT 1 FROM sqlite_master") and self._rows("PRAGMA application_id") == [(0,)]

    def _create(self, salt: str) -> None:
        with self._transaction():
            if not self._is_blank():
                return  # another process was first
            for statement in _SCHEMA:
                self._rows(statement)
            self._rows("INSERT INTO ledger VALUES (?)", salt)
            self._rows(f"PRAGMA application_id = {_APPLICATION}")
            self._rows(f"PRAGMA user_version = {FORMAT}")

    def _check(self) -> None:
        if self._rows("PRAGMA application_id") != [(_APPLICATION,)]:
            raise ArtefactError(f"{self.path}: is {kind_of(self.path) or 'no ledger'}, not a ledger of entities")
        ((version,),) = self._rows("PRAGMA user_version")
        if version != FORMAT:
            raise ArtefactError(f"{self.path}: a ledger of format {version}, this version reads format {FORMAT}")
        if self._rows(_CONTENT) != _expected():  # a trigger or a view could do anything when we write or read
            raise ArtefactError(f"{self.path}: its tables are not those of a ledger; take a copy of it")
        ((verdict,),) = self._rows("PRAGMA quick_check(1)")
        if verdict != "ok":
            raise self._damage(verdict)
        if len(self._rows("SELECT salt FROM ledger LIMIT 2")) != 1:
            raise self._damage("it has not one salt")

    def _damage(self, what: str) -> ArtefactError:
        return ArtefactError(f"{self.path}: damaged ({' '.join(what.split())[:160]}); take a copy of it")

    def _rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._explained():
            return self._database.execute(statement, values).fetchall()

    def _many(self, statement: str, values: Iterable[tuple[Any, ...]]) -> None:
        with self._explained():
            self._database.executemany(statement, values)

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        """Everything in the block or nothing; IMMEDIATE: no other process writes between our reading and writing."""
        self._rows(f"BEGIN {kind}")
        try:
            yield
            self._rows("COMMIT")
        except BaseException:
            self._database.rollback()
            raise

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """One view of the ledger for several statements, also inside a run."""
        if self._database.in_transaction:
            yield
            return
        with self._transaction("DEFERRED"):
            yield

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise ArtefactError(
                    f"{self.path}: another process has it locked; try again when that is done"
                ) from None
            if no_room := storage_error(error, self.path):
                raise no_room from error
            raise ArtefactError(f"{self.path}: not a usable ledger ({error}); take a copy of it") from None
