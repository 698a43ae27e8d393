"""A query is answered alike, whatever others are asked beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from linkdata import people, save
from sklearn.feature_extraction.text import CountVectorizer

from linkage.compare.terms import Frequencies, Grams, Terms, ngrams
from linkage.config import LinkConfig
from linkage.encode.embeddings import Embeddings
from linkage.link.link import link
from linkage.records import Records
from linkage.search.index import Index, build_index

SETTINGS: list[dict[str, Any]] = [
    {"neighbours": 4},
    {"neighbours": 4, "fields": {"note": "text", "shelf": "exact"}, "blocking": ("shelf",)},
]

Given = tuple[Records, Embeddings, Index, dict[int, pd.DataFrame]]


def rows_of(links: pd.DataFrame, record: str) -> list[list[Any]]:
    return links[links["record_id"] == record].astype(object).where(links.notna(), None).to_numpy().tolist()


@pytest.fixture(scope="module")
def given_tables(tmp_path_factory: pytest.TempPathFactory) -> Given:
    """Exemplars with texts, some without a source; queries of every kind, some of them exemplars themselves."""
    folder = tmp_path_factory.mktemp("alone")
    frame, image, text = people(5, 24, 3, noise=0.6)
    frame["note"] = frame["text"].str[:3] + " " + frame["shelf"]
    frame["entity_id"] = frame["entity_id"].where(frame["role"] == "exemplar", "")
    place = np.arange(len(frame))
    frame.loc[place % 5 == 1, ["text", "note"]] = ""
    frame.loc[place % 7 == 2, "source"] = ""
    frame.loc[place % 11 == 4, "text"] = "unheard-of words " + frame["record_id"]
    image[place % 6 == 4] = 0.0
    text[(place % 5 == 1) | (frame["role"] == "exemplar").to_numpy()] = 0.0  # exemplars are pictures alone
    records, embeddings = save(folder, frame, image, text)
    index = build_index(records.take(np.flatnonzero(frame["role"] == "exemplar")), embeddings, folder / "index")
    asked = records.take(np.flatnonzero((frame["role"] == "query") | (place % 9 == 0)))
    whole = {
        number: link(asked, embeddings, index, LinkConfig.model_validate({"device": "cpu"} | some)).links
        for number, some in enumerate(SETTINGS)
    }
    return asked, embeddings, index, whole


@settings(max_examples=25)
@given(data=st.data(), setting=st.sampled_from(range(len(SETTINGS))))
def test_a_querys_links_do_not_hang_on_other_queries(given_tables: Given, data: st.DataObject, setting: int) -> None:
    asked, embeddings, index, whole = given_tables
    rows = data.draw(st.lists(st.integers(0, len(asked) - 1), min_size=1, max_size=6, unique=True))
    config = LinkConfig.model_validate({"device": "cpu"} | SETTINGS[setting])
    some = link(asked.take(np.array(rows)), embeddings, index, config).links
    assert list(some.columns) == list(whole[setting].columns)
    for record in asked.frame["record_id"].iloc[rows]:
        assert rows_of(some, record) == rows_of(whole[setting], record)


def test_fitting_and_use_see_the_same_scores(tmp_path: Path) -> None:
    frame, image, text = people(1, 60, 2, noise=0.6)
    records, embeddings = save(tmp_path, frame, image, text)
    exemplar = (frame["role"] == "exemplar").to_numpy()
    index = build_index(records.take(np.flatnonzero(exemplar)), embeddings, tmp_path / "index")
    queries = records.take(np.flatnonzero(~exemplar))
    train = queries.take(np.flatnonzero(queries.frame["split"] == "train"))
    config = LinkConfig(device="cpu")
    every, some = (link(asked, embeddings, index, config).links for asked in (queries, train))
    key = ["record_id", "exemplar_id"]
    both = some[some["exemplar_id"] != ""].merge(every, on=key, suffixes=("", "_of_all"))
    assert len(both) > 60
    assert (both["rarity_score"] == both["rarity_score_of_all"]).all()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_ngrams_are_those_of_the_baseline(text: str) -> None:
    analyse = CountVectorizer(analyzer="char_wb", ngram_range=(2, 4), lowercase=False).build_analyzer()
    assert sorted(ngrams(text)) == sorted(analyse(text))


def test_what_no_exemplar_says_makes_a_text_less_alike() -> None:
    known, asked = (["acme", "bolt"], [""] * 2), (["acme", "acme zyx", "zyx", ""], [""] * 4)
    counted = Frequencies().add(known)
    terms = Terms(Grams(counted, asked), Grams(counted, known))
    same, longer, other, silent = terms.cosines(np.arange(4), np.zeros(4, dtype=np.int64))
    assert same == 1.0 > longer > 0.5 > other == 0.0
    assert np.isnan(silent)
