"""Text normalisation. Every comparison of two texts, ours or a baseline's, goes through `fold`."""

from __future__ import annotations

import re
import unicodedata

_SPACE = re.compile(r"\s+")
# Lone surrogates cannot be encoded, controls other than white space break terminals and XML.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")


def clean(text: str) -> str:
    """Normalise a reading for keeping: NFC, unprintable characters dropped, white space runs to one space.

    Idempotent. The reading as it came from the engine is kept beside it in `text_raw`.
    """
    kept = unicodedata.normalize("NFC", _UNPRINTABLE.sub("", text))
    return _SPACE.sub(" ", kept).strip()


def fold(text: str) -> str:
    """Normalise a text for comparing: `clean`, then NFKC and case folding until nothing changes.

    Idempotent: case folding can undo a composition (and the reverse), hence the second round.
    """
    folded = unicodedata.normalize("NFKC", clean(text)).casefold()
    return clean(unicodedata.normalize("NFKC", folded).casefold())
