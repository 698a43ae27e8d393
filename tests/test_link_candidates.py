"""Candidates of queries: which are compared with lattices, and that neither batches nor order change them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lines import lattice
from linkdata import alike, people, save, searched

from linkage.compare.scorer import DEFAULT_SCORER
from linkage.compare.wording import MEASURES, Wording
from linkage.config import LinkConfig
from linkage.encode.embeddings import Embeddings
from linkage.link import candidates as module
from linkage.link.candidates import Exemplars, Pairs
from linkage.link.link import link
from linkage.records import Records
from linkage.search.index import Index, build_index


def seen(folder: Path, entities: int, views: int) -> tuple[Records, Embeddings, Index]:
    """Queries, one of each entity, with the embeddings of all, and an index of the entities' other views."""
    frame, image, text = people(0, entities, views, noise=0.6)
    frame["role"] = np.where(frame["record_id"].str.endswith("_0"), "query", "exemplar")
    frame["entity_id"] = frame["entity_id"].where(frame["role"] == "exemplar", "")
    records, embeddings = save(folder, frame, image, text)
    read = embeddings.readings.assign(reading=frame["text"], reading_confidence=0.9)
    read["lattice"] = [lattice(name, others=name[::-1], shares=[0.7] * len(name)).pack() for name in frame["text"]]
    read.to_parquet(embeddings.folder / "records.parquet", index=False)
    embeddings = Embeddings.open(embeddings.folder)
    asked = (frame["role"] == "query").to_numpy()
    index = build_index(records.take(np.flatnonzero(~asked)), embeddings, folder / "index")
    return records.take(np.flatnonzero(asked)), embeddings, index


def found(queries: Records, embeddings: Embeddings, index: Index, **settings: Any) -> Pairs:
    frame = queries.frame.reset_index(drop=True)
    rows = pd.Index(embeddings.record_ids).get_indexer(frame["record_id"])
    config = LinkConfig(device="cpu", **settings)
    return Pairs.join([part.pairs for part in searched(embeddings, rows, frame, index, config)])


def test_the_likeliest_are_compared_with_lattices_and_the_others_left_out(tmp_path: Path) -> None:
    queries, embeddings, index = seen(tmp_path, 30, 3)
    every = found(queries, embeddings, index, rescored=1000)
    some = found(queries, embeddings, index, rescored=10, k=2)
    assert every.alike["likelihood"].notna().all()
    logit = pd.Series(DEFAULT_SCORER.logit(every.alike.assign(likelihood=np.nan, log_likelihood=np.nan)).round(9))
    table = pd.DataFrame(
        {"query": every.query, "exemplar": every.exemplar, "score": every.alike["score"], "logit": logit}
    )
    table["picture"] = every.alike["image_cosine"]
    likely = table.sort_values(["query", "logit", "score", "exemplar"], ascending=[True, False, False, True])
    pictured = table.sort_values(["query", "picture", "exemplar"], ascending=[True, False, True])
    kept = likely.groupby("query").head(10).index.union(pictured.groupby("query").head(5).index)
    first = table.loc[kept].sort_values(["query", "exemplar"])
    assert some.query.tolist() == first["query"].tolist()
    assert some.exemplar.tolist() == first["exemplar"].tolist()
    place = first.index.to_numpy()
    pd.testing.assert_frame_equal(some.alike.reset_index(drop=True), every.alike.iloc[place].reset_index(drop=True))


def test_what_is_compared_in_two_steps_is_what_is_compared_in_one(tmp_path: Path) -> None:
    queries, embeddings, index = seen(tmp_path, 8, 2)
    pairs = found(queries, embeddings, index)
    left = pd.Index(embeddings.record_ids).get_indexer(queries.frame["record_id"])
    wording = Wording.of(queries.frame, embeddings.readings.iloc[left], embeddings.folding)
    exemplars = Exemplars(index, LinkConfig(device="cpu"))
    wording.terms(exemplars.side.wording, exemplars.counts.words)
    said = alike(wording, pairs.query, exemplars.side.wording, pairs.exemplar)
    np.testing.assert_array_equal(pairs.alike[list(MEASURES)].to_numpy(), said)


def test_entities_with_many_exemplars_do_not_crowd_out_others(tmp_path: Path) -> None:
    queries, embeddings, index = seen(tmp_path, 6, 9)
    pairs = found(queries, embeddings, index, rescored=2, k=4)
    entities = index.exemplars["entity_id"].to_numpy(dtype=object)[pairs.exemplar]
    assert pd.Series(entities).groupby(pairs.query).nunique().ge(4).all()
    assert pd.Series(entities).groupby(pairs.query).size().le(2 + 3 + 1).all()


def test_equal_candidates_at_the_border_are_taken_by_row() -> None:
    same = np.zeros(4)
    unseen = pd.DataFrame({"score": same, "image_cosine": np.nan})
    config = LinkConfig(rescored=2, k=1)
    kept = module._likeliest(np.zeros(4, int), np.array([9, 3, 5, 7]), np.arange(4), same, unseen, config)
    assert kept.tolist() == [1, 2]
    better = unseen.assign(score=[0.1, 0.0, 0.0, 0.2])
    kept = module._likeliest(np.zeros(4, int), np.array([9, 3, 5, 7]), np.arange(4), same, better, config)
    assert kept.tolist() == [0, 3]


@pytest.mark.parametrize(("searched", "compared"), [(1, 1), (7, 3), (5, 100)])
def test_how_many_queries_are_handled_at_a_time_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, searched: int, compared: int
) -> None:
    queries, embeddings, index = seen(tmp_path, 12, 2)
    expected = found(queries, embeddings, index, neighbours=4)
    monkeypatch.setattr(module, "_SEARCHED_AT_A_TIME", searched)
    monkeypatch.setattr(module, "_QUERIES_AT_A_TIME", compared)
    again = found(queries, embeddings, index, neighbours=4)
    assert again.query.tolist() == expected.query.tolist()
    assert again.exemplar.tolist() == expected.exemplar.tolist()
    pd.testing.assert_frame_equal(again.alike, expected.alike, atol=2e-6)


def test_without_pictures_the_texts_are_searched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, image, text = people(0, 20, 2)
    records, embeddings = save(tmp_path, frame, np.zeros_like(image), text)
    is_exemplar = (frame["role"] == "exemplar").to_numpy()
    index = build_index(records.take(np.flatnonzero(is_exemplar)), embeddings, tmp_path / "index")
    queries = records.take(np.flatnonzero(~is_exemplar))
    asked: list[str] = []
    search = Index.search
    monkeypatch.setattr(Index, "search", lambda *args, by, **more: (asked.append(by), search(*args, by=by, **more))[1])
    rows = np.flatnonzero(~is_exemplar)
    config = LinkConfig(device="cpu", neighbours=3)
    (part,) = searched(embeddings, rows, queries.frame.reset_index(drop=True), index, config)
    assert asked == ["image", "text"]
    nearest = part.nearest.pivot(index="query", columns="by", values="exemplar")
    assert nearest["pooled"].tolist() == nearest["text"].tolist() == list(range(20))
    assert "image" not in nearest


def plain(folder: Path, entities: int, views: int) -> tuple[Records, Embeddings, Index]:
    """Queries with a shelf of their entity, all records' embeddings, and an index of the first views."""
    frame, image, text = people(3, entities, views, noise=0.6)
    frame["shelf"] = frame["entity_id"].where(np.arange(len(frame)) % 7 != 1, "")
    image[::5], text[::9] = 0.0, 0.0
    records, embeddings = save(folder, frame.assign(entity_id=""), image, text)
    is_exemplar = (frame["role"] == "exemplar").to_numpy()
    index = build_index(records.take(np.flatnonzero(is_exemplar)), embeddings, folder / "index")
    return records.take(np.flatnonzero(~is_exemplar)), embeddings, index


@pytest.mark.parametrize("neighbours", [3, 50])
def test_small_blocks_are_searched_as_large_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, neighbours: int
) -> None:
    queries, embeddings, index = plain(tmp_path, 40, 3)
    blocking: dict[str, Any] = {"neighbours": neighbours, "blocking": ("shelf",)}
    expected = found(queries, embeddings, index, **blocking)
    monkeypatch.setattr(module, "_FEW", 0)
    again = found(queries, embeddings, index, **blocking)
    assert again.query.tolist() == expected.query.tolist()
    assert again.exemplar.tolist() == expected.exemplar.tolist()
    pd.testing.assert_frame_equal(again.alike, expected.alike, atol=2e-6)


@pytest.mark.parametrize("neighbours", [1, 50])
def test_a_query_is_not_linked_to_itself(tmp_path: Path, neighbours: int) -> None:
    frame, image, text = people(5, 20, 2)
    records, embeddings = save(tmp_path, frame.assign(entity_id=frame["record_id"]), image, text)
    index = build_index(records, embeddings, tmp_path / "index")
    result = link(records, embeddings, index, LinkConfig(device="cpu", neighbours=neighbours))
    assert (result.links["record_id"] != result.links["exemplar_id"]).all()
    first = result.links[result.links["rank"] == 1]
    assert (first["record_id"].str[:4] == first["exemplar_id"].str[:4]).all()
    nearest = result.nearest
    assert len(nearest) == 40 * 3
    assert (nearest["record_id"] != nearest["exemplar_id"]).all()
