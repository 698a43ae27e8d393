"""From the entity ids of one run to those of another."""

from __future__ import annotations

import pandas as pd

from linkage.ledger.ledger import Ledger

CROSSWALK_COLUMNS = ("old_entity_id", "new_entity_id", "n_records", "relation")


def crosswalk(ledger: Ledger, old_run: int, new_run: int) -> pd.DataFrame:
    """What became of every entity between two runs (0: before the first; either may be the later one).

    One row per pair of entities, ordered by the two ids: old_entity_id, new_entity_id, n_records (that were in the one
    and are in the other) and relation. Every record of either run is in exactly one row, so the rows of an entity add
    up to its size. The relation is:

    - same: the id stayed.
    - merged: all that the old entity had is in the new one, and the old one is no more.
    - split: the new entity began with a part of the old one, and with records of no other.
    - moved: some records changed from one entity to another.
    - created, absorbed: records that had no entity ("") are in one that had no records, or had some.
    - retired: records have no entity ("") any more.

    Raises:
        InputError: there is no such run.
    """
    old, new = (pd.Series({stay.record_id: stay.entity_id for stay in ledger.members(run)}, dtype=object)
                for run in (old_run, new_run))  # fmt: skip
    pairs = pd.DataFrame({"old_entity_id": old, "new_entity_id": new}).fillna("")
    table = pairs.groupby(["old_entity_id", "new_entity_id"]).size().rename("n_records").reset_index()
    targets = table.groupby("old_entity_id").size()
    origins = table[table["old_entity_id"] != ""].groupby("new_entity_id").size()
    lived, lives = set(table["old_entity_id"]), set(table["new_entity_id"])

    def relation(before: str, after: str) -> str:
        if before == after:
            return "same"
        if not before:
            return "absorbed" if after in lived else "created"
        if not after:
            return "retired"
        if targets[before] == 1 and before not in lives:
            return "merged"
        return "split" if after not in lived and origins[after] == 1 else "moved"

    ids = zip(table["old_entity_id"], table["new_entity_id"], strict=True)
    table["relation"] = [relation(before, after) for before, after in ids]
    return table[list(CROSSWALK_COLUMNS)]
