"""Text normalisation. Every comparison of two texts, ours or a baseline's, goes through `fold`."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

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
    """Normalise a text for comparing: `clean`, NFKC and case folding until nothing changes, old kanji to new.

    Idempotent: case folding can undo a composition (and the reverse), hence the second round.
    """
    folded = unicodedata.normalize("NFKC", clean(text)).casefold()
    folded = clean(unicodedata.normalize("NFKC", folded).casefold())
    return folded if folded.isascii() else "".join(map(_new_form, folded))


@lru_cache(maxsize=65536)
def _new_form(character: str) -> str:
    """The form of a kanji since the reform of 1946 (國 to 国); any other character as it is."""
    if not "\u4e00" <= character <= "\u9fff":
        return character
    return str(_converter().convert(character))


@lru_cache(maxsize=1)
def _converter() -> Any:
    from opencc import OpenCC

    return OpenCC("t2jp")
