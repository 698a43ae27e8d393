"""Normalisation: what both sides of every comparison go through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.config import load_config
from linkage.text import FOLDING, clean

ANY = st.text(st.characters(), max_size=60)


@given(ANY)
def test_clean_and_fold_are_idempotent(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    assert FOLDING.fold(FOLDING.fold(text)) == FOLDING.fold(text)


@given(ANY)
def test_cleaned_text_can_be_written_as_utf8_on_one_line(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode("utf-8")
    assert len(cleaned.splitlines()) <= 1
    assert cleaned == cleaned.strip()


def test_width_case_and_white_space_do_not_tell_texts_apart() -> None:
    assert FOLDING.fold("ＡＢＣ　商会\n") == FOLDING.fold("abc 商会")
    assert FOLDING.fold("Straße  &\tSöhne") == FOLDING.fold("STRASSE & SO\u0308HNE")


def test_old_kanji_are_their_new_forms() -> None:
    assert FOLDING.fold("東京電氣鐵道株式會社") == FOLDING.fold("東京電気鉄道株式会社")
    assert FOLDING.fold("末") != FOLDING.fold("未")


@pytest.mark.parametrize(
    ("setting", "one", "other"), [("case", "ABBOT", "abbot"), ("width", "ｶﾒﾗ", "カメラ"), ("kanji", "鐵道", "鉄道")]
)
def test_what_is_made_equal_is_a_setting(setting: str, one: str, other: str) -> None:
    plain, told_apart = load_config(None).folding, load_config(None, [f"text.{setting}=false"]).folding
    assert plain.fold(one) == plain.fold(other)
    assert told_apart.fold(one) != told_apart.fold(other)
    assert told_apart.fold(told_apart.fold(one)) == told_apart.fold(one)
