"""Entities keep to one split: what the scorer was fitted on must not tell how well it does."""

from __future__ import annotations

import logging

import pandas as pd

from linkage.errors import InputError

log = logging.getLogger(__name__)


def check_splits(queries: pd.DataFrame, aim: str) -> int:
    """Say how many entities have labelled queries both of split train (or none) and of split val.

    Args:
        queries: records with entity_id, split and role; exemplars among them do not count.
        aim: of the threshold.

    Returns:
        How many; a warning says so, too.

    Raises:
        InputError: there are some, and the threshold is to promise few false links.
    """
    labelled = queries[(queries["entity_id"] != "") & (queries["role"] != "exemplar")]
    train = labelled.loc[labelled["split"].isin(["", "train"]), "entity_id"]
    both = sorted({*train} & {*labelled.loc[labelled["split"] == "val", "entity_id"]})
    if not both:
        return 0
    said = (
        f"labels: {len(both)} {'entity has' if len(both) == 1 else 'entities have'} queries both in split train (or "
        f"none) and in val, the first is {both[0]!r}"
    )
    if aim == "false-links":
        raise InputError(
            f"{said}; a promise on false links needs val entities that nothing was fitted on: "
            "give all records of an entity one split"
        )
    log.warning("%s: what is fitted on train knows them, and figures on val are too good", said)
    return len(both)
