from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.encode.tokenizer import CONTEXT, FIRST, PAD, CharTokenizer
from linkage.errors import ArtefactError
from linkage.text import FOLDING

TOKENIZE = CharTokenizer()


@given(st.lists(st.text(max_size=150), max_size=5))
def test_any_text_becomes_characters_then_padding(texts: list[str]) -> None:
    tokens = TOKENIZE(texts)
    assert tokens.shape == (len(texts), CONTEXT)
    assert tokens.dtype == np.int64
    assert ((tokens >= 0) & (tokens < TOKENIZE.vocab_size)).all()
    for row, text in zip(tokens, texts, strict=True):
        length = min(len(FOLDING.core(text) or "".join(FOLDING.fold(text).split())), CONTEXT)
        assert (row[:length] != PAD).all()
        assert (row[length:] == PAD).all()


def test_white_space_and_punctuation_have_no_token_unless_there_is_nothing_else() -> None:
    assert TOKENIZE.encode("S. H. Motor") == TOKENIZE.encode("SH Motor")
    assert len(TOKENIZE.encode("- -")) == 2


@given(st.text(max_size=60))
def test_texts_that_fold_alike_have_the_same_tokens(text: str) -> None:
    assert (TOKENIZE(text) == TOKENIZE(FOLDING.fold(text))).all()


def test_scripts_of_trade_directories_have_ids_of_their_own() -> None:
    for character in "az09&éßœščяω株式会社アあ澤鐵":
        folded = FOLDING.fold(character)
        assert all(TOKENIZE.encode(character)[n] == TOKENIZE.ids[c] for n, c in enumerate(folded))


def test_an_unknown_character_shares_a_bucket() -> None:
    (token,) = TOKENIZE.encode("🜨")
    assert 1 <= token < FIRST


def test_a_damaged_vocabulary_is_named(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("a\nbc\n")
    with pytest.raises(ArtefactError, match="one character a line"):
        CharTokenizer(path)("abc")
    with pytest.raises(ArtefactError, match=r"missing\.txt"):
        CharTokenizer(tmp_path / "missing.txt")("abc")
