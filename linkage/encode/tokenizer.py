"""Character tokenizer of the shipped text tower: no learned pieces, so a misread letter moves one token only."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from linkage.errors import ArtefactError
from linkage.text import fold

VOCABULARY = Path(__file__).with_name("vocab.txt")
CONTEXT = 96
PAD, BEGIN, END = 0, 1, 2
_BUCKETS = 61  # characters outside the vocabulary share these ids, by code point
_FIRST = 3 + _BUCKETS


class CharTokenizer:
    """Folded text to character ids.

    Ids: 0 padding, 1 begin, 2 end, 3..63 hashed buckets of unknown characters, then the vocabulary in file order.

    Attributes:
        path: the vocabulary, one character a line.
        context_length: ids per text.
    """

    def __init__(self, path: Path = VOCABULARY, context_length: int = CONTEXT) -> None:
        self.path = path
        self.context_length = context_length

    @cached_property
    def ids(self) -> dict[str, int]:
        """Id of every character of the vocabulary.

        Raises:
            ArtefactError: the file is missing or does not hold one character a line.
        """
        try:
            characters = self.path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ArtefactError(f"{self.path}: not a readable vocabulary ({error})") from None
        if any(len(character) != 1 for character in characters) or len(set(characters)) < len(characters):
            raise ArtefactError(f"{self.path}: must hold one character a line, each once")
        return {character: _FIRST + number for number, character in enumerate(characters)}

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return _FIRST + len(self.ids)

    def encode(self, text: str) -> list[int]:
        """Ids of one text, with begin and end, at most `context_length` of them; the end of a long text is cut."""
        kept = fold(text)[: self.context_length - 2]
        return [BEGIN, *(self.ids.get(c, 3 + ord(c) % _BUCKETS) for c in kept), END]

    def __call__(self, texts: str | Sequence[str]) -> np.ndarray:
        """Ids of texts, int64 (n, context_length), padded with 0."""
        texts = [texts] if isinstance(texts, str) else texts
        tokens = np.full((len(texts), self.context_length), PAD, dtype=np.int64)
        for row, text in enumerate(texts):
            ids = self.encode(text)
            tokens[row, : len(ids)] = ids
        return tokens


def vocabulary() -> list[str]:
    """The characters of `vocab.txt`: Latin with its extensions, Greek, Cyrillic, kana, kanji of JIS levels 1 and 2.

    JIS X 0208 is read off Python's own EUC-JP codec; characters that folding changes are left out.
    """
    latin = [chr(code) for code in (*range(0x20, 0x180), *range(0x2010, 0x2027), 0x20AC)]
    jis = [bytes((row, cell)).decode("euc_jp", "ignore") for row in range(0xA1, 0xF5) for cell in range(0xA1, 0xFF)]
    folded = (c for character in (*latin, *jis) for c in fold(character) or character)
    return [c for c in dict.fromkeys(folded) if c.isprintable() and (fold(c) == c or c == " ")]
