"""Character tokenizer of the shipped text tower: no learned pieces, so a misread letter moves one token only."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from linkage.errors import ArtefactError
from linkage.text import FOLDING, Folding

VOCABULARY = Path(__file__).with_name("vocab.txt")
CONTEXT = 192
PAD = 0
FIRST = 64
"""Id of the first character of the vocabulary; those outside it share the ids below, by code point."""


class CharTokenizer:
    """Folded text to character ids.

    Ids: 0 padding, 1..63 hashed buckets of unknown characters, then the vocabulary in file order. White space
    and punctuation are left out (see `Folding.core`), unless there is nothing else.

    Attributes:
        path: the vocabulary, one character a line; it begins with the recogniser's, in the order of its classes.
        context_length: ids per text.
        folding: what makes two texts equal.
    """

    def __init__(self, path: Path = VOCABULARY, context_length: int = CONTEXT, folding: Folding = FOLDING) -> None:
        self.path = path
        self.context_length = context_length
        self.folding = folding

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
        return {character: FIRST + number for number, character in enumerate(characters)}

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return FIRST + len(self.ids)

    def encode(self, text: str) -> list[int]:
        """Ids of one text, at most `context_length` of them; the end of a long text is cut."""
        kept = self.folding.core(text) or "".join(self.folding.fold(text).split())  # a row of dashes is a text, too
        return [self.ids.get(c, 1 + ord(c) % (FIRST - 1)) for c in kept[: self.context_length]]

    def __call__(self, texts: str | Sequence[str]) -> np.ndarray:
        """Ids of texts, int64 (n, context_length), padded with 0."""
        texts = [texts] if isinstance(texts, str) else texts
        tokens = np.full((len(texts), self.context_length), PAD, dtype=np.int64)
        for row, text in enumerate(texts):
            ids = self.encode(text)
            tokens[row, : len(ids)] = ids
        return tokens
