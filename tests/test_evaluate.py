"""Links, members and records tables against the truth, on examples small enough to count by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from linkdata import people, save

from linkage.config import Config, EvaluateConfig
from linkage.errors import ArtefactError, InputError, QualityGateError, UsageError
from linkage.evaluate.baselines import cluster_by_strings, rank_by_strings
from linkage.evaluate.evaluate import Evaluation, check_gates, evaluate
from linkage.jobs import cluster_records
from linkage.tables import write_table

CONFIG = EvaluateConfig(bootstrap=100)
FIRMS = {"A": "Atkinson & Sons", "B": "Baker Brothers", "C": "Carter, cooper", "D": "Dubois, drapier"}


def link_rows(
    name: str, text: str, candidates: list[tuple[str, float]], threshold: float = 0.5
) -> list[dict[str, object]]:
    """Rows of a links table for one query: candidates are entities with their probability."""
    return [
        {
            "record_id": name,
            "entity_id": entity,
            "exemplar_id": f"x{entity}",
            "rank": rank,
            "decision": "match" if rank == 1 and probability >= threshold else "no-match",
            "probability": probability,
            "score": probability,
            "text": text,
            "threshold_source": "default",
        }
        for rank, (entity, probability) in enumerate(candidates, start=1)
    ]


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Four queries: right, wrong at rank 1 but right at 2, rightly unmatched, wrongly unmatched."""
    rows = [
        *link_rows("q1", "Atkinson and Sons", [("A", 0.9), ("B", 0.2)]),
        *link_rows("q2", "Baker Bros", [("C", 0.8), ("B", 0.7)]),
        *link_rows("q3", "Zimmermann", [("A", 0.1), ("D", 0.1)]),
        *link_rows("q4", "Dubois, drap.", [("D", 0.4), ("A", 0.1)]),
        *link_rows("unknown", "Nobody", [("A", 0.99)]),
    ]
    write_table(pd.DataFrame(rows), tmp_path / "links.csv")
    exemplars = pd.DataFrame({"record_id": [f"x{e}" for e in FIRMS], "entity_id": list(FIRMS), "text": FIRMS.values()})
    (tmp_path / "index").mkdir()
    exemplars.to_parquet(tmp_path / "index" / "exemplars.parquet")
    (tmp_path / "links.csv.manifest.json").write_text(json.dumps({"index": "index"}))
    truth = "record_id,entity_id,split,role\nq1,A,test,query\nq2,B,test,query\nq3,,test,query_nomatch\nq4,D,val,query\n"
    (tmp_path / "truth.csv").write_text(truth + "xA,A,test,exemplar\n")
    return tmp_path


def figures(evaluation: Evaluation, system: str = "linkage", split: str = "all") -> dict[str, float]:
    rows = evaluation.metrics
    rows = rows[(rows["system"] == system) & (rows["split"] == split)]
    return dict(zip(rows["measure"], rows["value"], strict=True))


def test_linking_is_counted_as_defined(linked: Path) -> None:
    evaluation = evaluate(linked / "links.csv", linked / "truth.csv", CONFIG)
    found = figures(evaluation)
    assert found["matched accuracy"] == pytest.approx(2 / 3)  # q1, q4 of q1, q2, q4
    assert found["no-match accuracy"] == pytest.approx(2 / 4)  # q1, q3
    assert found["link precision"] == pytest.approx(1 / 2)  # q1 of q1, q2
    assert found["link recall"] == pytest.approx(1 / 3)
    assert "recall@5" not in found  # the table lists two candidates
    assert figures(evaluation, split="test")["matched accuracy"] == pytest.approx(1 / 2)
    assert evaluation.task == "linking"
    assert evaluation.notes == ["4 of 5 queries are labelled"]
    assert json.loads(json.dumps(evaluation.as_dict()))["metrics"][0]["measure"] == "matched accuracy"


def test_recall_looks_further_down_the_list(linked: Path) -> None:
    config = EvaluateConfig(bootstrap=100, recall_at=(1, 2))
    assert figures(evaluate(linked / "links.csv", linked / "truth.csv", config))["recall@2"] == 1.0


def test_how_sure_it_is_tells_queries_with_a_match_from_those_without(linked: Path) -> None:
    evaluation = evaluate(linked / "links.csv", linked / "truth.csv", CONFIG)
    found = figures(evaluation)
    assert found["no-match AUROC"] == 1.0  # q3, the one without a match, is the least probable
    # q1 (0.9) is right, q2 (0.8) wrong, q4 (0.4) right and the last to be answered, by a part
    assert found["precision at 80 % coverage"] == pytest.approx((1 + 1) / 3.2)
    assert found["precision at 90 % coverage"] == pytest.approx((1 + 1) / 3.6)
    assert "no-match AUROC" not in figures(evaluation, split="val")  # its only query has a match
    assert figures(evaluation, "Levenshtein")["no-match AUROC"] == 1.0
    rows = evaluation.metrics[evaluation.metrics["measure"] == "precision at 90 % coverage"]
    notes = dict(zip(rows["split"], rows["note"], strict=True))
    assert "0.833 at most" in notes["all"]
    assert notes["val"] == ""


def test_a_review_is_no_answer(linked: Path) -> None:
    links = pd.read_csv(linked / "links.csv")
    links.loc[(links["rank"] == 1) & links["record_id"].isin(["q1", "q3"]), "decision"] = "review"
    write_table(links, linked / "links.csv")
    evaluation = evaluate(linked / "links.csv", linked / "truth.csv", CONFIG)
    found = figures(evaluation)
    assert found["review rate"] == pytest.approx(2 / 4)
    assert found["no-match accuracy"] == 0.0  # q1 and q3 were the right answers
    assert found["link precision"] == 0.0  # q2 alone is called a match
    assert found["matched accuracy"] == pytest.approx(2 / 3)
    assert evaluation.notes[1].startswith("2 of them for review")
    with pytest.raises(UsageError, match="better when lower"):
        check_gates(evaluation, ["review_rate=0.1"])


def test_single_vectors_stand_beside_the_linker(linked: Path) -> None:
    rows = [("q1", "pooled", "xA", 0.9), ("q2", "pooled", "xB", 0.7), ("q3", "pooled", "xC", -0.2)]
    rows += [("q2", "image", "xB", 0.8), ("unknown", "text", "xA", 0.8)]
    nearest = pd.DataFrame(rows, columns=["record_id", "by", "exemplar_id", "cosine"])
    write_table(nearest, linked / "links.nearest.parquet")
    evaluation = evaluate(linked / "links.csv", linked / "truth.csv", CONFIG)
    assert figures(evaluation, "pooled embedding")["matched accuracy"] == pytest.approx(2 / 3)
    assert figures(evaluation, "pooled embedding")["no-match AUROC"] == pytest.approx(2 / 3)  # q4 has no vector
    assert figures(evaluation, "picture alone")["matched accuracy"] == pytest.approx(1 / 3)
    assert not figures(evaluation, "text alone")  # no labelled query has one
    assert "no-match accuracy" not in figures(evaluation, "picture alone")  # four labels fit no threshold
    nearest.drop(columns="cosine").to_parquet(linked / "links.nearest.parquet")
    with pytest.raises(InputError, match="cosine"):
        evaluate(linked / "links.csv", linked / "truth.csv", CONFIG)


def test_members_of_sets_do_not_lengthen_the_list(linked: Path) -> None:
    links = pd.read_csv(linked / "links.csv")
    further = pd.DataFrame(link_rows("q1", "", [(entity, 0.3) for entity in "ABCD"])[2:])
    links = pd.concat([links, further], ignore_index=True)
    links["in_set"] = (links["rank"] > 2).astype(int)
    write_table(links, linked / "links.parquet")
    config = EvaluateConfig(bootstrap=100, recall_at=(1, 2, 3))
    found = figures(evaluate(linked / "links.parquet", linked / "truth.csv", config, index=linked / "index"))
    assert "recall@2" in found
    assert "recall@3" not in found


def test_sets_are_checked_against_their_promise(linked: Path) -> None:
    links = pd.read_csv(linked / "links.csv")
    links["in_set"] = (links["probability"] >= 0.4).astype(int)
    write_table(links, linked / "links.csv")
    promise = {"cut": 0.4, "promised": True, "coverage": 0.9, "queries": 3, "entities": 3, "sentence": "So be it."}
    (linked / "links.csv.manifest.json").write_text(json.dumps({"index": "index", "sets": promise}))
    evaluation = evaluate(linked / "links.csv", linked / "truth.csv", CONFIG)
    found = figures(evaluation)
    assert found["set coverage"] == 1.0  # A of {A}, B of {C, B}, D of {D}
    assert found["set size"] == pytest.approx(4 / 4)  # q3's set is empty
    rows = evaluation.metrics[evaluation.metrics["measure"] == "set coverage"].set_index("split")
    assert rows["n"].to_dict() == {"all": 3, "test": 2, "val": 1}
    assert rows["note"]["test"] == "90.0% promised"
    assert rows["note"]["val"] == "90.0% promised; sets fitted on these rows"
    links["in_set"] = (links["rank"] == 1).astype(int)
    write_table(links, linked / "links.csv")
    (linked / "links.csv.manifest.json").write_text(
        json.dumps({"index": "index", "sets": promise | {"promised": False}})
    )
    evaluation = evaluate(linked / "links.csv", linked / "truth.csv", CONFIG, split="test")
    assert figures(evaluation, split="test")["set coverage"] == pytest.approx(1 / 2)
    note = evaluation.metrics.set_index("measure")["note"]["set coverage"]
    assert note == "nothing promised"
    with pytest.raises(UsageError, match="better when lower"):
        check_gates(evaluation, ["set_size=1"])


def test_figures_of_rows_that_fitted_the_scorer_say_so(linked: Path) -> None:
    truth = (linked / "truth.csv").read_text().replace("q4,D,val", "q4,D,train")
    (linked / "truth.csv").write_text(truth)
    for origin, said in (("model", False), ("fitted", True)):
        manifest = {"index": "index", "scorer": {"origin": origin}}
        (linked / "links.csv.manifest.json").write_text(json.dumps(manifest))
        evaluation = evaluate(linked / "links.csv", linked / "truth.csv", CONFIG)
        noted = evaluation.metrics["note"].str.contains("scorer fitted on these rows")
        own = (evaluation.metrics["system"] == "linkage") & evaluation.metrics["split"].isin(["all", "train"])
        assert noted[own].all() == said
        assert not noted[~own].any()
        picture = evaluation.tables["picture"]
        assert (picture[picture["system"] == "linkage"]["note"] != "").tolist() == [said, False, said]


def test_links_without_the_columns_of_today_are_scored_without_their_parts(linked: Path) -> None:
    with_all = pd.read_csv(linked / "links.csv").assign(tied=pd.NA, in_set=pd.NA, image_cosine=0.5)
    write_table(with_all, linked / "more.csv")
    old, new = (evaluate(linked / name, linked / "truth.csv", CONFIG, index=linked / "index").metrics
                for name in ("links.csv", "more.csv"))  # fmt: skip
    pd.testing.assert_frame_equal(old, new)


def test_string_baselines_see_every_exemplar(linked: Path) -> None:
    evaluation = evaluate(linked / "links.csv", linked / "truth.csv", CONFIG)
    assert figures(evaluation, "Levenshtein")["matched accuracy"] == 1.0
    assert figures(evaluation, "exact text")["matched accuracy"] == 0.0
    assert "no-match accuracy" not in figures(evaluation, "Levenshtein")  # four labels fit no threshold


def test_strings_read_a_picture_without_a_text_as_the_model_does(linked: Path) -> None:
    links = pd.read_csv(linked / "links.csv")
    links["text"], links["reading"] = "", links["text"]
    write_table(links, linked / "links.csv")
    evaluation = evaluate(linked / "links.csv", linked / "truth.csv", CONFIG)
    assert figures(evaluation, "Levenshtein")["matched accuracy"] == 1.0
    rows = evaluation.metrics[evaluation.metrics["system"] == "Levenshtein"]
    assert rows["note"].str.contains("as the model does").all()


def test_thresholds_of_baselines_are_fitted_on_val_and_said_so(tmp_path: Path, linked: Path) -> None:
    rows, truth = [], ["record_id,entity_id,split"]
    for number in range(40):
        entity = "ABCD"[number % 4]
        known = number % 8 < 4
        text = FIRMS[entity] if known else f"{number} quite another name"
        rows += link_rows(f"q{number}", text, [(entity, 0.9 if known else 0.1)])
        truth.append(f"q{number},{entity if known else f'Z{number}'},{'val' if number < 24 else 'test'}")
    write_table(pd.DataFrame(rows), linked / "many.csv")
    (tmp_path / "many_truth.csv").write_text("\n".join(truth) + "\n")
    metrics = evaluate(linked / "many.csv", tmp_path / "many_truth.csv", CONFIG, index=linked / "index").metrics
    rows_of = metrics[(metrics["system"] == "Levenshtein") & (metrics["measure"] == "no-match accuracy")]
    notes = dict(zip(rows_of["split"], rows_of["note"], strict=True))
    assert notes == {"all": "threshold fitted on these rows", "test": "", "val": "threshold fitted on these rows"}
    assert rows_of["value"].tolist() == [1.0, 1.0, 1.0]


def test_a_vector_gets_one_threshold_fitted_like_the_strings(tmp_path: Path, linked: Path) -> None:
    rows, truth, nearest = [], ["record_id,entity_id,split"], []
    for number in range(40):
        known = number % 2 == 0
        rows += link_rows(f"q{number}", "", [("A", 0.9 if known else 0.1)])
        truth.append(f"q{number},{'A' if known else f'Z{number}'},{'val' if number < 24 else 'test'}")
        nearest.append((f"q{number}", "image", "xA", 0.7 if known else 0.6))
    write_table(pd.DataFrame(rows), linked / "many.parquet")
    table = pd.DataFrame(nearest, columns=["record_id", "by", "exemplar_id", "cosine"])
    write_table(table, linked / "many.nearest.parquet")
    (tmp_path / "many_truth.csv").write_text("\n".join(truth) + "\n")
    evaluation = evaluate(linked / "many.parquet", tmp_path / "many_truth.csv", CONFIG, index=linked / "index")
    assert figures(evaluation, "picture alone", "test")["no-match accuracy"] == 1.0
    rows = evaluation.metrics.query("system == 'picture alone' and measure == 'no-match accuracy'")
    assert (
        rows.set_index("split")["note"]["test"]
        == "the nearest exemplar by this vector, with one threshold on its cosine"
    )


def test_truth_of_the_exemplars_counts_more_than_their_own_ids(linked: Path) -> None:
    truth = "record_id,entity_id\nq1,firm one\nxA,firm one\n"
    (linked / "truth.csv").write_text(truth)
    found = figures(evaluate(linked / "links.csv", linked / "truth.csv", CONFIG))
    assert found["matched accuracy"] == found["no-match accuracy"] == 1.0


def test_a_missing_index_is_named(linked: Path) -> None:
    (linked / "links.csv.manifest.json").unlink()
    with pytest.raises(ArtefactError, match="--index"):
        evaluate(linked / "links.csv", linked / "truth.csv", CONFIG)
    with pytest.raises(ArtefactError, match="no index here"):
        evaluate(linked / "links.csv", linked / "truth.csv", CONFIG, index=linked)


def test_rows_and_splits_that_are_not_there_are_refused(linked: Path) -> None:
    with pytest.raises(InputError, match="no row has split 'train'"):
        evaluate(linked / "links.csv", linked / "truth.csv", CONFIG, split="train")
    with pytest.raises(UsageError, match="must be test, val or train"):
        evaluate(linked / "links.csv", linked / "truth.csv", CONFIG, split="dev")
    (linked / "truth.csv").write_text("record_id,entity_id\nother,A\n")
    with pytest.raises(InputError, match="knows none"):
        evaluate(linked / "links.csv", linked / "truth.csv", CONFIG)


def test_gates_are_inclusive_and_all_misses_are_named(linked: Path) -> None:
    evaluation = evaluate(linked / "links.csv", linked / "truth.csv", CONFIG)
    check_gates(evaluation, ["no_match_accuracy=0.5".replace("no_match", "no-match"), "Link Precision=0.5"])
    with pytest.raises(QualityGateError, match=r"matched accuracy is 0.6667, below 0.9; link recall is 0.3333"):
        check_gates(evaluation, ["matched_accuracy=0.9", "link_recall=0.9"])
    for gate in ("matched_accuracy", "matched_accuracy=high", "beauty=1", "calibration_error=0.1"):
        with pytest.raises(UsageError):
            check_gates(evaluation, [gate])


def test_ranking_keeps_one_place_per_entity_and_skips_what_has_no_text() -> None:
    ranking = rank_by_strings(["abc", ""], ["abc", "abd", "xyz", ""], ["one", "one", "two", "three"], 3)["Levenshtein"]
    assert ranking.entities.tolist() == [["one", "", ""], ["", "", ""]]
    assert ranking.score[0] == 1.0
    assert np.isnan(ranking.score[1])


def test_baselines_stand_empty_texts() -> None:
    for name, ranking in rank_by_strings(["", ""], [""], ["one"], 5).items():
        assert (ranking.entities == "").all(), name
    for name, clusters, _ in cluster_by_strings(["", "", ""], ["", "", ""]):
        assert len(set(clusters)) == 3, name
    assert [clusters.tolist() for _, clusters, _ in cluster_by_strings([], [])] == [[]] * 4


def test_members_are_scored_beside_string_clusterings(tmp_path: Path) -> None:
    texts = ["Atkinson & Sons", "Atkinson & Sms", "Baker Brothers", "Baker Brothers", "Carter", ""]
    members = pd.DataFrame(
        {
            "record_id": list("abcdef"),
            "entity_id": ["e1", "e1", "e2", "e2", "e2", "e3"],
            "origin": "clustered",
            "text": texts,
        }
    )
    write_table(members, tmp_path / "members.csv")
    (tmp_path / "truth.csv").write_text("record_id,entity_id\na,A\nb,A\nc,B\nd,B\ne,C\n")
    evaluation = evaluate(tmp_path / "members.csv", tmp_path / "truth.csv", CONFIG)
    assert evaluation.task == "clustering"
    assert figures(evaluation)["pairwise precision"] == pytest.approx(2 / 4)
    assert figures(evaluation)["pairwise recall"] == 1.0
    assert figures(evaluation, "exact text")["pairwise recall"] == pytest.approx(1 / 2)
    assert figures(evaluation, "Levenshtein + average linkage")["pairwise F1"] == 1.0


def test_the_cut_of_a_string_clustering_is_fitted_on_labels() -> None:
    rng = np.random.default_rng(0)
    names = ["".join(rng.choice(list("abcdefghij"), 10)) for _ in range(30)]
    texts = [name[:9] + ending for name in names for ending in "xy"]
    found = {
        name: (clusters, origin) for name, clusters, origin in cluster_by_strings(texts, np.repeat(names, 2).tolist())
    }
    clusters, origin = found["Levenshtein + average linkage"]
    assert origin == "fitted"
    assert np.array_equal(clusters[::2], clusters[1::2])
    assert len(set(clusters)) == 30


def test_many_texts_are_clustered_by_components(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkage.evaluate.baselines.MOST_DENSE", 3)
    texts = ["Atkinson and Sons", "Atkinson and Sons", "Atkinson and Son", "Baker Brothers"]
    found = {name: clusters.tolist() for name, clusters, _ in cluster_by_strings(texts, [""] * 4)}
    assert list(found) == ["exact text", "TF-IDF + components"]
    a, b, c, other = found["TF-IDF + components"]
    assert a == b == c != other


def test_regions_and_readings_are_measured_on_boxes(tmp_path: Path) -> None:
    boxes = [(0, 0, 100, 10), (0, 20, 100, 30), (0, 40, 20, 50)]
    records = pd.DataFrame(boxes, columns=["x0", "y0", "x1", "y1"])
    records["record_id"], records["source"], records["page"] = ["r1", "r2", "r3"], "a/p.png", 1
    records["text"] = ["Hause", "Baum", "noise"]
    write_table(records, tmp_path / "records.csv")
    truth = ["source,page,x,y,w,h,text", "p.png,1,0,0,100,10,Haus", "p.png,1,0,20,90,10,Baum", "p.png,1,0,80,9,9,Tor"]
    (tmp_path / "truth.csv").write_text("\n".join([*truth, "gone.png,1,0,0,9,9,"]) + "\n")
    evaluation = evaluate(tmp_path / "records.csv", tmp_path / "truth.csv", CONFIG)
    found = figures(evaluation)
    assert found["region recall"] == pytest.approx(2 / 4)
    assert found["region precision"] == pytest.approx(2 / 3)
    assert found["character error rate"] == pytest.approx(1 / 8)
    assert found["read without error"] == pytest.approx(1 / 2)


def test_a_promise_of_few_false_links_is_tried_on_resamples(tmp_path: Path, linked: Path) -> None:
    rows, truth = [], ["record_id,entity_id,split"]
    for number in range(300):
        known = number % 3 > 0
        rows += link_rows(f"q{number}", "", [("A", 0.9 - number / 1000 if known else 0.1)])
        truth.append(f"q{number},{'A' if known else f'Z{number}'},val")
    write_table(pd.DataFrame(rows), linked / "many.parquet")
    (tmp_path / "many_truth.csv").write_text("\n".join(truth) + "\n")
    metrics = evaluate(linked / "many.parquet", tmp_path / "many_truth.csv", CONFIG, index=linked / "index").metrics
    found = metrics[metrics["measure"].str.startswith("violations of")].set_index("measure")
    assert found["split"].tolist() == ["val", "val"]
    assert found.loc["violations of 5 % false links", "value"] <= 0.05
    # All links are one entity's: whatever is drawn, it is one thing seen many times.
    assert found["note"].str.startswith("500 of 500 resamples").all()


def test_a_promise_is_tried_on_a_part_of_very_many_queries(
    tmp_path: Path, linked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linkage.evaluate.promises.MOST_QUERIES", 50)
    rows, truth = [], ["record_id,entity_id,split"]
    for number in range(90):
        rows += link_rows(f"q{number}", "", [("A", 0.9 - number / 1000)])
        truth.append(f"q{number},Z{number // 3},val")
    write_table(pd.DataFrame(rows), linked / "part.parquet")
    (tmp_path / "part_truth.csv").write_text("\n".join(truth) + "\n")
    metrics = evaluate(linked / "part.parquet", tmp_path / "part_truth.csv", CONFIG, index=linked / "index").metrics
    found = metrics[metrics["measure"].str.startswith("violations of")]
    assert found["n"].tolist() == [48, 48]  # 16 entities of three
    assert found["note"].str.contains("of 208 resamples").all()
    assert found["note"].str.contains("on 48 of 90 queries, drawn by entity").all()


def test_it_is_said_where_labels_fitted_what_made_the_clusters(tmp_path: Path) -> None:
    frame, image, text = people(0, 40, 4)
    save(tmp_path, frame, image, text)
    cluster_records(tmp_path / "records.parquet", tmp_path / "clusters", Config(), tmp_path / "embeddings")
    frame[["record_id", "entity_id", "split"]].to_csv(tmp_path / "truth.csv", index=False)

    def notes() -> dict[str, str]:
        metrics = evaluate(tmp_path / "clusters" / "members.csv", tmp_path / "truth.csv", CONFIG).metrics
        own = metrics[(metrics["system"] == "linkage") & (metrics["measure"] == "B-cubed F1")]
        return dict(zip(own["split"], own["note"], strict=True))

    said = "cut fitted on these rows; scorer fitted on these rows"
    assert notes() == {"all": said, "val": said, "train": said, "test": ""}
    cluster_records(tmp_path / "records.parquet", tmp_path / "clusters", given_cut(), tmp_path / "embeddings")
    assert not any(notes().values())
    (tmp_path / "clusters" / "members.csv.manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(ArtefactError, match="not readable"):
        notes()


def given_cut() -> Config:
    return Config.model_validate({"cluster": {"max_distance": 0.3}})
