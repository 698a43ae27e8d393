"""Thumbnails of crops as data URIs, and readings with their differences marked."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from difflib import SequenceMatcher

from linkage.errors import InputError
from linkage.records import Records

SIZE = (520, 180)
"""Largest width and height of a thumbnail, pixels: twice what is shown, for sharp screens."""

_QUALITY = 72
_LONGEST = 240  # characters of a reading that are shown
_ALIKE = 0.5  # below this share of common characters, marks would cover everything

Marked = list[tuple[str, bool]]
"""A text in pieces, each with whether it differs from the text it is compared with."""


class Pictures:
    """Thumbnails of records, made when asked for."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._row = {name: row for row, name in enumerate(records.frame["record_id"])}

    def uri(self, record_id: str) -> str | None:
        """WebP data URI of the record's crop; None where it has none that can be read."""
        from linkage.ingest.images import decode_crop

        row = self._row.get(record_id)
        if row is None:
            return None
        try:
            crop = self._records.crop(row)
            image = decode_crop(crop) if crop else None
        except (OSError, InputError):
            return None
        if image is None:
            return None
        image = image.convert("RGB")
        image.thumbnail(SIZE)
        file = io.BytesIO()
        image.save(file, "WEBP", quality=_QUALITY, method=4)
        return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def shorten(text: str) -> str:
    """A reading, cut where it would fill the page."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def mark_differences(text: str, other: str) -> Marked:
    """Cut a text into pieces that the other has too, in that order, and pieces that it lacks.

    Case and width do not count. Texts with little in common come back unmarked.
    """
    text, other = shorten(text), shorten(other)
    matcher = SequenceMatcher(None, _folded(text), _folded(other), autojunk=False)
    if not text or not other or matcher.ratio() < _ALIKE:
        return [(text, False)]
    steps = matcher.get_opcodes()
    return [(text[start:end], kind != "equal") for kind, start, end, _, _ in steps if end > start]


def _folded(text: Iterable[str]) -> list[str]:
    # Character by character, unlike `text.fold`: a folded text may be longer, and then places no longer agree.
    return [character.casefold() for character in text]
