"""Ledgers made in a few words, for their tests."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from linkage.ledger.ledger import Ledger, RecordGroup


def made(path: Path) -> Ledger:
    return Ledger.open(path, create=True, salt="test")


def groups(*members: str, reason: str = "clustered") -> list[RecordGroup]:
    """Groups written as words: "ab c" are two, of records a and b, and of record c."""
    return [RecordGroup(tuple(word), reason) for word in " ".join(members).split()]


def written(ledger: Ledger, *members: str) -> dict[str, str]:
    return ledger.record(groups(*members), command="test").entities


def dump(path: Path) -> list[str]:
    database = sqlite3.connect(path)
    try:
        return list(database.iterdump())
    finally:
        database.close()


def altered(*statements: str) -> Callable[[Path], None]:
    """What makes a ledger in which someone has run these statements."""

    def alter(path: Path) -> None:
        made(path).close()
        database = sqlite3.connect(path)
        for statement in statements:
            database.execute(statement)
        database.commit()
        database.close()

    return alter
