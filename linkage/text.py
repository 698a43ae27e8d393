"""Text normalisation. Every comparison of two texts, ours or a baseline's, goes through a `Folding`."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any, Literal, NamedTuple

_SPACE = re.compile(r"\s+")
# Lone surrogates cannot be encoded, controls other than white space break terminals and XML.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")


def clean(text: str) -> str:
    """Normalise a reading for keeping: NFC, unprintable characters dropped, white space runs to one space.

    Idempotent. The reading as it came from the engine is kept beside it in `text_raw`.
    """
    kept = unicodedata.normalize("NFC", _UNPRINTABLE.sub("", text))
    return _SPACE.sub(" ", kept).strip()


class Folding(NamedTuple):
    """What makes two texts equal beyond white space and the ways to write one character.

    Who compares texts is given one: by a configuration, or by the manifest of what was made before.

    Attributes:
        width: compatibility forms (NFKC): full and half width, ligatures, superscripts.
        case: capital and small letters.
        kanji: old and new forms of Japanese characters.
    """

    width: bool = True
    case: bool = True
    kanji: bool = True

    def fold(self, text: str) -> str:
        """Normalise a text for comparing: `clean`, then what the attributes say, until nothing changes.

        Idempotent: case folding can undo a composition (and the reverse), hence the second round.
        """
        form: Literal["NFC", "NFKC"] = "NFKC" if self.width else "NFC"
        folded = clean(text)
        for _ in range(2):
            folded = unicodedata.normalize(form, folded)
            folded = folded.casefold() if self.case else folded
        folded = clean(folded)
        return "".join(map(_new_form, folded)) if self.kanji and not folded.isascii() else folded

    def core(self, text: str) -> str:
        """What engines agree on: the letters, digits and ampersands of the folded text, nothing between them.

        Where they find white space and punctuation differs from engine to engine and from scan to scan.
        """
        return "".join(filter(is_core, self.fold(text)))


FOLDING = Folding()
"""What makes two texts equal unless a configuration says otherwise."""


@lru_cache(maxsize=65536)
def is_core(character: str) -> bool:
    """Whether `Folding.core` keeps a character: letters, marks, numbers, &."""
    return unicodedata.category(character)[0] in "LMN" or character == "&"


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
