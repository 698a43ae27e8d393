"""Thumbnails of crops as data URIs, and readings with their differences marked."""

from __future__ import annotations

import base64
import io
from itertools import groupby, zip_longest
from typing import NamedTuple

from PIL import Image

from linkage.errors import InputError
from linkage.records import Records
from linkage.text import FOLDING, Folding, is_core

SIZE = (520, 180)
"""Largest width and height of a thumbnail, pixels: twice what is shown, for sharp screens."""

_QUALITY = 72
_LONGEST = 240  # characters of a reading that are shown
_ALIKE = 0.5  # below this share of common characters, marks would cover everything

MarkedText = list[tuple[str, bool]]
"""A text in pieces, each with whether it differs from the text it is compared with."""


class Thumbnails:
    """Thumbnails of records, made when asked for."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._row = {name: row for row, name in enumerate(records.frame["record_id"])}

    def uri(self, record_id: str) -> str | None:
        """WebP data URI of the record's crop; None where it has none that can be read."""
        image = self._crop(record_id)
        return None if image is None else _encoded(image.convert("RGB"))

    def line(self, record_id: str) -> str | None:
        """The same of what a recogniser sees of the crop: its lines, level, cut to their bodies, side by side."""
        from linkage.encode.crops import upright
        from linkage.ocr.lines import fit_line
        from linkage.ocr.measures import HEIGHT, WIDEST

        image = self._crop(record_id)
        if image is None:
            return None
        frame = self._records.frame
        direction = str(frame["direction"][self._row[record_id]]) if "direction" in frame else ""
        return _encoded(Image.fromarray(fit_line(upright(image, direction), HEIGHT, WIDEST)[0]))

    def _crop(self, record_id: str) -> Image.Image | None:
        from linkage.scans.images import decode_crop

        row = self._row.get(record_id)
        if row is None:
            return None
        try:
            crop = self._records.crop(row)
            return decode_crop(crop) if crop else None
        except (OSError, InputError):
            return None


def _encoded(image: Image.Image) -> str:
    image.thumbnail(SIZE)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def shorten(text: str) -> str:
    """A reading, cut where it would fill the page."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


class AlignmentStep(NamedTuple):
    """A piece of an alignment: what stands at one place in either text, "" where one has nothing there."""

    left: str
    right: str
    differs: bool


def align(left: str, right: str, folding: Folding = FOLDING) -> list[AlignmentStep]:
    """The fewest edits between two texts (Levenshtein 1966), piece by piece, from the first character to the last.

    What the folding makes equal does not differ, nor does white space or punctuation, which `Folding.core` leaves out.
    The pieces of either side add up to its text.
    """
    from rapidfuzz.distance import Levenshtein

    steps = []
    for edit in Levenshtein.opcodes(_folded(left, folding), _folded(right, folding)):
        one, other = left[edit.src_start : edit.src_end], right[edit.dest_start : edit.dest_end]
        if edit.tag == "equal":
            steps.append(AlignmentStep(one, other, False))
        else:
            pairs = zip_longest(one, other, fillvalue="")
            steps += [AlignmentStep(*pair, any(is_core(character) for character in "".join(pair))) for pair in pairs]
    return steps


def in_common(steps: list[AlignmentStep]) -> bool:
    """Whether two texts share enough for marks under what differs to tell something."""
    letters = [(sum(map(is_core, step.left + step.right)), step.differs) for step in steps]
    return sum(n for n, differs in letters if not differs) >= _ALIKE * sum(n for n, _ in letters)


def mark_differences(text: str, other: str, folding: Folding = FOLDING) -> MarkedText:
    """Cut a text into pieces that the other has too, in that order, and pieces that it lacks; see `align`.

    Texts with little in common come back unmarked.
    """
    text, other = shorten(text), shorten(other)
    steps = align(text, other, folding)
    if not text or not other or not in_common(steps):
        return [(text, False)]
    pieces = groupby((step for step in steps if step.left), key=lambda step: step.differs)
    return [("".join(step.left for step in piece), differs) for differs, piece in pieces]


def _folded(text: str, folding: Folding) -> list[str]:
    # Character by character, unlike a folded text: that may be longer, and then places no longer agree.
    return [folding.fold(character) or character for character in text]
