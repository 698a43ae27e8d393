"""What a command will write, claimed before it begins: nobody's files are replaced, least of all its own inputs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from linkage.errors import UsageError
from linkage.places import EMBEDDINGS, INDEX, MODEL, kind_of

_REPLACED_WHOLE = (EMBEDDINGS, INDEX, MODEL)
"""Folders that are replaced with all that is in them; others are written into."""

inputs: list[Path] = []
"""What this command was given to read: set by `LocalCommand`."""
claimed: list[Path] = []
"""The places that this command writes its results to."""
held = ExitStack()
"""Their locks, let go when the command ends."""


def free(out: Path, overwrite: bool, kind: str, beside: Sequence[Path] = ()) -> None:
    """Claim a place for the result of this command, for as long as it runs; nothing is overwritten unasked.

    Args:
        out: the file or folder.
        overwrite: an earlier result of the same kind may be replaced; nothing else may, asked or not.
        kind: what the result is, as `places.kind_of` calls it; "": what has no mark of its own, such as a page.
        beside: files that are written with it. An earlier call may have left them; its twin in Parquet must be of
            the same kind.

    Raises:
        UsageError: something is there, is an input, or another process is writing it.
    """
    from linkage.locks import alone
    from linkage.tables import restored

    if os.environ.get("RANK", "0") == "0":  # torchrun: the first process claims it for all
        held.enter_context(alone(out))
        restored(out)
    claimed.append(out)
    for place in (out, *beside):
        _refuse_input(place, kind)
    if _filled(out):
        if not overwrite:
            raise UsageError(f"{out}: exists already; give --overwrite to replace it, or another --out")
        _refuse_other(out, kind)
    for place in beside:
        if out.suffix and place == out.with_suffix(".parquet") and place.exists():
            _refuse_other(place, kind)


def _filled(place: Path) -> bool:
    return place.exists() and not (place.is_dir() and not any(place.iterdir()))


def _refuse_input(place: Path, kind: str) -> None:
    """Refuse to write over what is read, and to replace a folder that it lies in."""
    target = place.resolve()
    for given in inputs:
        read = given.resolve()
        inside = kind in _REPLACED_WHOLE and target in read.parents
        if target == read or inside:
            raise UsageError(f"{place}: would be replaced, but {given} is read by this command; give another --out")


def _refuse_other(place: Path, kind: str) -> None:
    """Refuse to replace what is of another kind than the result."""
    there = kind_of(place)
    if there != kind:
        what = there or ("a folder that Linkage did not make" if place.is_dir() else "no file of Linkage's")
        raise UsageError(
            f"{place}: is {what}, and --overwrite replaces {kind or 'a page or pictures'} only; give another --out, or "
            "remove it yourself"
        )
