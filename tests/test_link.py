from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linkdata import alike, people, save, searched, unit

from linkage.compare.likeness import PARTS, Vectors, split_score
from linkage.compare.scorer import DEFAULT_SCORER, FEATURES, shares
from linkage.compare.wording import MEASURES, Wording
from linkage.config import LinkConfig
from linkage.encode.pooling import coefficients, pool
from linkage.errors import ArtefactError, InputError
from linkage.link.link import LinkResult, link
from linkage.link.links import features_of, link_scorer, nearest_of
from linkage.search.index import Index, build_index
from linkage.tables import COLUMNS, read_table

CONFIG = LinkConfig(device="cpu")


def linked(
    folder: Path,
    frame: pd.DataFrame,
    image: np.ndarray,
    text: np.ndarray,
    *,
    seed: int | None = None,
    config: LinkConfig = CONFIG,
) -> LinkResult:
    """Link all queries of a labelled table to its exemplars, rows shuffled by `seed`."""
    order = np.arange(len(frame)) if seed is None else np.random.default_rng(seed).permutation(len(frame))
    frame = frame.iloc[order].reset_index(drop=True)
    records, embeddings = save(folder, frame, image[order], text[order])
    is_exemplar = (frame["role"] == "exemplar").to_numpy()
    index = build_index(records.take(np.flatnonzero(is_exemplar)), embeddings, folder / "index")
    return link(records.take(np.flatnonzero(~is_exemplar)), embeddings, index, config)


def unlabelled(frame: pd.DataFrame) -> pd.DataFrame:
    """The same records, the queries' labels taken away."""
    return frame.assign(entity_id=frame["entity_id"].where(frame["role"] == "exemplar", ""))


def test_every_query_finds_its_entity(tmp_path: Path) -> None:
    frame, image, text = people(0, 40, 3)
    result = linked(tmp_path, unlabelled(frame), image, text)
    links = result.links
    assert (result.threshold.source, result.scorer) == ("default", DEFAULT_SCORER)
    first = links[links["rank"] == 1]
    truth = frame.set_index("record_id")["entity_id"][first["record_id"]]
    assert (first["entity_id"].to_numpy() == truth.to_numpy()).mean() > 0.98
    assert (first["decision"] == "match").mean() > 0.9
    assert set(links["record_id"].value_counts()) == {5}
    assert (links["decision"][links["rank"] > 1] == "no-match").all()
    assert first["exemplar_page"].tolist() == [1] * 80
    assert first["source"].tolist() == ["page_1.png", "page_2.png"] * 40
    assert set(links.columns) <= set(COLUMNS)
    grouped = links.groupby("record_id")
    assert grouped["probability"].is_monotonic_decreasing.all()
    assert not links.duplicated(["record_id", "entity_id"]).any()
    rest = links["score"] - links["image_score"] - links["text_score"] - links["cross_score"]
    assert rest.abs().max() <= 1e-5
    second = links[links["rank"] == 2]["probability"].to_numpy()
    assert first["margin"].to_numpy() == pytest.approx(first["probability"].to_numpy() - second)


VECTOR = st.lists(st.floats(-1, 1, width=16), min_size=4, max_size=4)


@given(st.lists(VECTOR, min_size=4, max_size=4), st.floats(0, 1))
def test_the_parts_add_up_to_the_pooled_cosine(rows: list[list[float]], weight: float) -> None:
    parts = [unit(np.array([row])).astype(np.float32) for row in rows]
    query, exemplar = Vectors(*parts[:2]), Vectors(*parts[2:])
    one, two = pool(*query, weight), pool(*exemplar, weight)
    if any(0 < np.linalg.norm(pooled) < 0.999 for pooled in (one, two)):
        return  # picture and text cancel each other out: there is no direction to compare

    def shares_of(*sides: Vectors) -> list[np.ndarray]:
        return [coefficients(*side, weight) for side in sides]

    cosines, split = split_score(query, exemplar, *shares_of(query, exemplar))
    assert cosines["score"].to_numpy() == pytest.approx(np.sum(one * two, axis=1), abs=1e-4)
    assert split[list(PARTS)].sum(axis=1).to_numpy() == pytest.approx(cosines["score"].to_numpy(), abs=1e-5)
    back, split_back = split_score(exemplar, query, *shares_of(exemplar, query))
    assert back.to_numpy() == pytest.approx(cosines.to_numpy(), abs=2e-6, nan_ok=True)
    assert split_back.to_numpy() == pytest.approx(split.to_numpy(), abs=2e-6)


def test_a_missing_modality_is_left_out(tmp_path: Path) -> None:
    frame, image, text = people(0, 12, 3)
    image[1::3] = 0  # the first query of each entity has no picture, the second no text
    text[2::3] = 0
    frame.loc[2::3, "text"] = ""
    links = linked(tmp_path, unlabelled(frame), image, text).links
    first = links[links["rank"] == 1].reset_index(drop=True)
    no_text = first["record_id"].str.endswith("_2")
    assert (first["entity_id"] == "entity " + first["record_id"].str[1:4]).all()
    assert (first["string_score"].isna() == no_text).all()
    assert (first["image_score"][~no_text] == 0).all()
    assert (first["text_score"][no_text] == 0).all()


def test_a_record_with_neither_picture_nor_text_is_a_no_match(tmp_path: Path) -> None:
    frame, image, text = people(0, 6, 2)
    image[1] = text[1] = 0
    frame.loc[1, "text"] = ""
    links = linked(tmp_path, unlabelled(frame), image, text).links
    row = links[links["record_id"] == "r000_1"]
    assert len(row) == 1
    assert row.iloc[0][["decision", "entity_id", "exemplar_id", "rank"]].tolist() == ["no-match", "", "", 1]
    assert row[["probability", "score", "margin", "exemplar_page"]].isna().all(axis=None)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_queries_that_are_none_or_say_nothing(tmp_path: Path, n: int) -> None:
    frame, image, text = people(0, 6, 2)
    order = [*range(0, 12, 2), *range(1, 1 + 2 * n, 2)]
    image[1::2] = text[1::2] = 0
    frame.loc[1::2, "text"] = ""
    frame = unlabelled(frame).iloc[order].reset_index(drop=True)
    links = linked(tmp_path, frame, image[order], text[order]).links
    assert len(links) == n
    assert (links["decision"] == "no-match").all()
    assert {"record_id", "rank", "probability", "exemplar_page"} <= set(links)


@pytest.mark.parametrize("labels", [True, False])
def test_the_order_of_rows_does_not_matter(tmp_path: Path, labels: bool) -> None:
    frame, image, text = people(3, 60, 3, noise=0.6)
    image[10:30], text[10:30] = image[0], text[0]  # ties
    frame.loc[10:29, "text"] = frame["text"][0]
    frame = frame if labels else unlabelled(frame)
    one = linked(tmp_path / "a", frame, image, text, config=LinkConfig(device="cpu", neighbours=7))
    two = linked(tmp_path / "b", frame, image, text, seed=1, config=LinkConfig(device="cpu", neighbours=7))
    pd.testing.assert_frame_equal(one.links, two.links, check_exact=True)
    assert one.threshold.value == two.threshold.value


def test_homonyms_are_shown_with_no_margin(tmp_path: Path) -> None:
    frame, image, text = people(0, 4, 2)
    twin = frame["record_id"] == "r001_0"
    image[2], text[2] = image[0], text[0]
    frame.loc[twin, "text"] = frame["text"][0]
    links = linked(tmp_path, unlabelled(frame), image, text).links
    rows = links[links["record_id"] == "r000_1"]
    assert rows["exemplar_id"].tolist()[:2] == ["r000_0", "r001_0"]
    assert rows["margin"].tolist()[:2] == [0.0, 0.0]
    assert rows["tied"].tolist()[:2] == [2, 2]
    assert rows["decision"].tolist()[:2] == ["review", "no-match"]
    assert links["tied"].notna().sum() == 4  # and those of the twin's own query


def test_one_candidate_per_entity_by_its_best_exemplar(tmp_path: Path) -> None:
    frame, image, text = people(0, 4, 4)
    frame.loc[frame["record_id"].str.endswith("_3"), "role"] = "exemplar"
    links = linked(tmp_path, unlabelled(frame), image, text).links
    assert not links.duplicated(["record_id", "entity_id"]).any()
    assert set(links["exemplar_id"].str[-2:]) == {"_0", "_3"}


def test_labels_fit_scorer_and_threshold_but_never_those_of_test(tmp_path: Path) -> None:
    frame, image, text = people(1, 90, 3, noise=0.7)
    gone = (frame["role"] == "exemplar") & frame["entity_id"].str.endswith(("3", "4", "5"))
    frame, image, text = frame[~gone].reset_index(drop=True), image[~gone], text[~gone]
    result = linked(tmp_path / "a", frame, image, text)
    assert result.scorer.origin == "fitted"
    threshold = result.threshold  # a scorer that was calibrated leaves little to move it for
    assert (threshold.source, threshold.value, threshold.queries) == ("default", 0.5, 60)
    assert "60 labelled queries give too little reason to move it" in threshold.sentence
    first = result.links[result.links["rank"] == 1].merge(frame[["record_id", "split"]], on="record_id")
    matchable = ~first["record_id"].str[3].isin(["3", "4", "5"])
    right = np.where(matchable, first["entity_id"].str[-3:] == first["record_id"].str[1:4], False)
    answered = np.where(first["decision"] == "match", right, ~matchable)
    assert answered[first["split"] == "test"].mean() > 0.9
    swapped = frame.copy()
    test_queries = (frame["split"] == "test") & (frame["role"] == "query")
    swapped.loc[test_queries, "entity_id"] = swapped.loc[test_queries, "entity_id"].to_numpy()[::-1]
    again = linked(tmp_path / "b", swapped, image, text)
    pd.testing.assert_frame_equal(result.links, again.links)


def test_a_given_threshold_is_inclusive(tmp_path: Path) -> None:
    frame, image, text = people(0, 30, 2, noise=0.8)
    frame = unlabelled(frame)
    free = linked(tmp_path / "a", frame, image, text).links
    first = free[free["rank"] == 1]
    at = float(first["probability"].median())
    at = float(first["probability"].iloc[(first["probability"] - at).abs().argmin()])
    result = linked(tmp_path / "b", frame, image, text, config=LinkConfig(device="cpu", threshold=at))
    matched = result.links[result.links["decision"] == "match"]["probability"]
    assert matched.min() == at == result.threshold.value
    assert set(result.links["threshold_source"]) == {"given"}


def test_queries_of_another_model_are_refused(tmp_path: Path) -> None:
    frame, image, text = people(0, 4, 2)
    build_index(*save(tmp_path / "a", frame, image, text), tmp_path / "index")
    records, other = save(tmp_path / "b", frame, image, text, model="other")
    with pytest.raises(ArtefactError, match="linkage index"):
        link(records, other, Index.open(tmp_path / "index"), CONFIG)


def test_candidates_are_the_union_over_the_three_spaces(tmp_path: Path) -> None:
    frame, image, text = people(5, 60, 2, noise=0.5)
    records, embeddings = save(tmp_path / "in", frame, image, text)
    index = build_index(records.take(np.arange(0, 120, 2)), embeddings, tmp_path / "index")
    rows = np.arange(1, 120, 2)
    silent = frame.iloc[rows].assign(text="").reset_index(drop=True)
    config = LinkConfig(device="cpu", neighbours=3)
    (found,) = searched(embeddings, rows, silent, index, config)
    pairs = found.pairs
    queries, exemplars = Vectors.of(embeddings, rows), Vectors.of(index, np.arange(60))
    expected = set()
    for left, right in zip((pool(*queries, 0.5), *queries), (pool(*exemplars, 0.5), *exemplars), strict=True):
        near = np.argsort(-(left @ right.T), axis=1)[:, :3]
        expected |= {(query, row) for query in range(60) for row in near[query]}
    assert set(zip(pairs.query.tolist(), pairs.exemplar.tolist(), strict=True)) == expected


def test_strings_are_compared_folded_and_pair_by_pair() -> None:
    left, right = Wording(["ABCD", "", "x"]), Wording(["abcx", "a", ""])
    said = pd.DataFrame(alike(left, np.arange(3), right, np.arange(3)), columns=list(MEASURES))
    assert said["string_score"][0] == 0.75
    assert said.loc[1:, ["string_score", "partial_score", "rarity_score", "likelihood"]].isna().all(axis=None)
    assert (said["confidence"] == 1).all()
    assert len(alike(left, np.arange(0), right, np.arange(0))) == 0


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), min_size=1, max_size=6))
def test_likeness_is_the_same_both_ways(texts: list[tuple[str, str]]) -> None:
    left, right = (Wording(side) for side in zip(*texts, strict=True))
    rows = np.arange(len(texts))
    there, back = (
        pd.DataFrame(alike(one, rows, other, rows), columns=list(MEASURES))
        for one, other in ((left, right), (right, left))
    )
    pd.testing.assert_frame_equal(there, back)


def test_texts_are_folded_on_both_sides(tmp_path: Path) -> None:
    frame, image, text = people(0, 4, 2)
    frame.loc[:1, "text"] = ["Weiß  &  Söhne", "WEISS & SÖHNE"]
    links = linked(tmp_path, unlabelled(frame), image, text).links
    assert links[links["rank"] == 1]["string_score"].iloc[0] == 1.0


def test_saved_links_read_back_and_name_their_index(tmp_path: Path) -> None:
    frame, image, text = people(0, 4, 2)
    frame.loc[1, "text"] = "=SUM(A1)"
    result = linked(tmp_path, unlabelled(frame), image, text)
    result.save(tmp_path / "links.csv", index=tmp_path / "index", queries=tmp_path / "records.parquet")
    again = read_table(tmp_path / "links.csv")
    assert again["text"].iloc[0] == "=SUM(A1)"
    pd.testing.assert_frame_equal(again, result.links, check_dtype=False, rtol=1e-4)
    manifest = json.loads((tmp_path / "links.csv.manifest.json").read_text())
    assert manifest["index"] == str(tmp_path / "index")
    assert manifest["scorer"]["origin"] == "default"
    assert manifest["threshold"]["value"] == 0.5
    assert manifest["text"] == {"width": True, "case": True, "kanji": True}
    nearest = read_table(nearest_of(tmp_path / "links.csv"))
    assert sorted(nearest["by"].value_counts().items()) == [("image", 4), ("pooled", 4), ("text", 4)]
    assert nearest["exemplar_id"].str[:4].tolist() == nearest["record_id"].str[:4].tolist()
    assert (tmp_path / "links.parquet").exists()


def test_the_table_holds_what_the_probability_is_made_of(tmp_path: Path) -> None:
    frame, image, text = people(2, 30, 3, noise=0.5)
    result = linked(tmp_path, unlabelled(frame), image, text, config=LinkConfig(device="cpu", k=30))
    result.save(tmp_path / "links.csv", index=tmp_path / "index", queries=tmp_path / "records.parquet")
    links = read_table(tmp_path / "links.csv")
    alike = features_of(links)
    assert list(alike)[: len(FEATURES)] == list(FEATURES)
    logit = link_scorer(tmp_path / "links.csv").logit(alike)
    query = pd.factorize(links["record_id"])[0]
    assert shares(logit, query) == pytest.approx(links["probability"].to_numpy(), abs=1e-3)


def test_the_confidence_of_the_own_reading_is_kept_where_there_is_one(tmp_path: Path) -> None:
    frame, image, text = people(0, 4, 2)
    records, embeddings = save(tmp_path, unlabelled(frame), image, text)
    rows = embeddings.readings["record_id"] == "r001_1"
    embeddings.readings.loc[rows, ["reading", "reading_confidence"]] = "Atkinson", 0.625
    exemplars = records.take(np.flatnonzero(frame["role"] == "exemplar"))
    queries = records.take(np.flatnonzero(frame["role"] == "query"))
    index = build_index(exemplars, embeddings, tmp_path / "index")
    result = link(queries, embeddings, index, LinkConfig(device="cpu"))
    result.save(tmp_path / "links.csv", index=tmp_path / "index", queries=tmp_path / "records.parquet")
    links = read_table(tmp_path / "links.csv")
    read = links["record_id"] == "r001_1"
    assert (links.loc[read, "reading_confidence"] == 0.625).all()
    assert links.loc[~read, "reading_confidence"].isna().all()


def test_blocking_keeps_apart_what_does_not_agree(tmp_path: Path) -> None:
    frame, image, text = people(0, 24, 2)
    frame.loc[1, "shelf"] = "nowhere"
    frame.loc[3, "shelf"] = ""
    config = LinkConfig(device="cpu", blocking=("shelf",), k=24)
    links = linked(tmp_path, unlabelled(frame), image, text, config=config).links
    shelf = frame.set_index("record_id")["shelf"]
    named = links[(links["record_id"] != "r001_1") & (links["exemplar_id"] != "")]
    assert (shelf[named["record_id"]].to_numpy() == shelf[named["exemplar_id"]].to_numpy()).all()
    assert named["record_id"].nunique() == 22
    assert links[links["record_id"] == "r000_1"]["decision"].tolist() == ["no-match"]
    assert set(shelf[links[links["record_id"] == "r001_1"]["exemplar_id"]]) == set(shelf[::2])


@pytest.mark.parametrize(("exclude", "left"), [("page", {1}), ("source", {1})])
def test_records_of_one_place_can_be_kept_apart(tmp_path: Path, exclude: str, left: set[int]) -> None:
    frame, image, text = people(0, 12, 3)
    frame["source"], frame["page"] = "book.pdf", [1, 1, 2] * 12
    if exclude == "source":
        frame["source"] = ["a.pdf", "a.pdf", "b.pdf"] * 12
    config = LinkConfig.model_validate({"device": "cpu", "exclude": exclude})
    links = linked(tmp_path, unlabelled(frame), image, text, config=config).links
    same = links["record_id"].str.endswith("_1")
    assert (links[same]["exemplar_id"] == "").all()
    assert set(links[~same]["exemplar_page"].dropna()) == left


def test_fields_speak_with_their_type(tmp_path: Path) -> None:
    frame, image, text = people(4, 40, 2, noise=0.9)
    frame["text"] = ""
    frame["price"] = [f"$ {1000 + 7 * (row // 2):,}.50" for row in range(80)]
    frame["founded"] = [f"19{row // 2:02d}-03-01" if row % 2 else f"1 March 19{row // 2:02d}" for row in range(80)]
    plain = linked(tmp_path / "a", unlabelled(frame), image, text).links
    config = LinkConfig(device="cpu", fields={"price": "number", "founded": "date"})
    told = linked(tmp_path / "b", unlabelled(frame), image, text, config=config).links
    best = told[told["rank"] == 1]
    assert (best["price_score"] == 1).mean() > (plain[plain["rank"] == 1]["score"] > 0.9).mean()
    right = [(links["record_id"].str[:4] == links["exemplar_id"].str[:4]).mean() for links in (plain[::5], told[::5])]
    assert right[1] > right[0]
    assert set(told) - set(plain) == {"price_score", "founded_score"}


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    frame, image, text = people(0, 4, 2)
    with pytest.raises(InputError, match="queries: column 'town' is not there"):
        linked(tmp_path, frame, image, text, config=LinkConfig(device="cpu", blocking=("town",)))


def test_one_to_one_gives_an_entity_to_one_query(tmp_path: Path) -> None:
    frame, image, text = people(6, 20, 4, noise=0.4)
    free = linked(tmp_path / "a", unlabelled(frame), image, text).links
    assert free[free["decision"] == "match"]["entity_id"].duplicated().any()
    config = LinkConfig(device="cpu", constraint="one-to-one")
    links = linked(tmp_path / "b", unlabelled(frame), image, text, config=config).links
    matched = links[links["decision"] == "match"]
    assert not matched["entity_id"].duplicated().any()
    assert matched["entity_id"].nunique() == free[free["decision"] == "match"]["entity_id"].nunique()
    assert (matched["rank"] == 1).all()
    paged = linked(
        tmp_path / "c", unlabelled(frame), image, text, config=LinkConfig(device="cpu", constraint="one-per-page")
    ).links
    taken = paged[paged["decision"] == "match"]
    assert not taken.duplicated(["source", "page", "entity_id"]).any()
    assert len(taken) > len(matched)


def test_a_bound_on_false_links_is_kept_or_refused(tmp_path: Path) -> None:
    frame, image, text = people(7, 240, 2, noise=0.5)
    config = LinkConfig(device="cpu", aim="false-links", max_false_links=0.1)
    result = linked(tmp_path / "a", frame, image, text, config=config)
    promise = result.threshold.promise
    assert promise is not None
    assert promise.upper is not None
    assert promise.upper <= 0.1
    assert "10.00% false links" in result.threshold.sentence
    few = LinkConfig(device="cpu", aim="false-links", max_false_links=0.001)
    refused = linked(tmp_path / "b", frame, image, text, config=few)
    assert refused.threshold.value is None
    assert not (refused.links["decision"] == "match").any()
    assert (refused.links["decision"] == "review").any()
    assert refused.links["threshold"].isna().all()


def test_the_promise_counts_the_links_that_are_called(tmp_path: Path) -> None:
    frame, image, text = people(7, 240, 2, noise=0.5)
    twins = np.arange(0, 120, 4)  # exemplars of which the next one is a copy: their queries are tied
    image[twins + 2], text[twins + 2] = image[twins], text[twins]
    frame.loc[twins + 2, "text"] = frame["text"][twins].to_numpy()
    for constraint in ("many-to-one", "one-per-page"):
        settings = {"device": "cpu", "aim": "false-links", "max_false_links": 0.2, "constraint": constraint}
        result = linked(tmp_path / constraint, frame, image, text, config=LinkConfig.model_validate(settings))
        promise = result.threshold.promise
        assert promise is not None
        assert promise.held_out
        links = result.links.merge(frame[["record_id", "split"]], on="record_id")
        called = links[(links["split"] == "val") & (links["decision"] == "match")]
        assert promise.links == len(called) > 20
        assert called["tied"].isna().all()
        assert (result.links["decision"] == "review").any()


def test_labels_that_fitted_the_scorer_promise_only_roughly(tmp_path: Path) -> None:
    frame, image, text = people(7, 200, 2, noise=0.5)
    frame["split"] = "train"
    config = LinkConfig(device="cpu", aim="false-links", max_false_links=0.1, coverage=0.9)
    result = linked(tmp_path, frame, image, text, config=config)
    assert result.threshold.promise is not None
    assert not result.threshold.promise.held_out
    assert "approximate" in result.threshold.sentence
    assert result.sets is not None
    assert "approximate" in result.sets.sentence


def test_what_cannot_be_told_apart_is_a_review_under_a_constraint_too(tmp_path: Path) -> None:
    frame, image, text = people(0, 4, 2)
    image[:4], text[:4] = image[0], text[0]
    frame.loc[:3, "text"] = frame["text"][0]
    config = LinkConfig(device="cpu", constraint="one-to-one")
    links = linked(tmp_path, unlabelled(frame), image, text, config=config).links
    best = links[(links["rank"] == 1) & links["record_id"].isin(["r000_1", "r001_1"])]
    assert best["decision"].tolist() == ["review", "review"]
    assert best["tied"].tolist() == [2, 2]


def test_candidate_sets_hold_the_true_entity(tmp_path: Path) -> None:
    frame, image, text = people(8, 150, 2, noise=0.9)
    config = LinkConfig(device="cpu", coverage=0.8, k=2)
    result = linked(tmp_path, frame, image, text, config=config)
    assert result.sets is not None
    assert result.sets.promised
    links = result.links.merge(frame[["record_id", "split"]], on="record_id")
    inside = links[(links["in_set"] == 1) & (links["split"] == "test")]
    held = inside[inside["entity_id"].str[-3:] == inside["record_id"].str[1:4]]["record_id"].nunique()
    assert held / (links[links["split"] == "test"]["record_id"].nunique()) > 0.65
    assert links["in_set"].isin([0, 1]).all()
