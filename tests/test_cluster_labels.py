"""What is known decides: a record ends in the entity that its label names, and the prediction is kept beside it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from linkdata import people, save, unit

from linkage.cluster import decide_by_labels, entities_table, merge_members
from linkage.cluster.members import MEMBER_COLUMNS, as_predicted
from linkage.compare.scorer import DEFAULT_SCORER
from linkage.encode.embeddings import Embeddings
from linkage.records import Records

ENTITIES, VIEWS = 5, 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Records, Embeddings]:
    frame, image, text = people(1, ENTITIES, VIEWS)
    return save(tmp_path_factory.mktemp("people"), frame.drop(columns=["shelf"]), image, text)


def predicted(records: Records, clusters: list[int], linked: dict[int, str] | None = None) -> pd.DataFrame:
    """A members table: some rows clustered by number, others linked to the exemplar "x" or "y", which come last."""
    linked = linked or {}
    frame = records.frame
    free = [row for row in range(len(frame)) if row not in linked]
    code = np.array([clusters[row] for row in free])
    first = pd.Series(free).groupby(code).transform("first").to_numpy()
    clustered = pd.DataFrame(
        {
            "record_id": frame["record_id"].iloc[free].to_numpy(),
            "entity_id": [f"c{number}" for number in code],
            "origin": "clustered",
            "membership": 0.5,
            "noise": 0,
            "is_exemplar": (first == np.array(free)).astype(int),
            "score": 0.5,
        }
    )
    links = pd.DataFrame(
        {
            "record_id": frame["record_id"].iloc[list(linked)].to_numpy(),
            "entity_id": list(linked.values()),
            "decision": "match",
            "probability": 0.9,
            "score": 0.9,
        }
    )
    exemplars = pd.DataFrame({"record_id": ["x", "y"], "entity_id": ["X", "Y"]})
    known = pd.concat([frame, exemplars.assign(text="", source="", role="exemplar", split="")], ignore_index=True)
    return merge_members(exemplars, links, clustered, known)


def with_labels(records: Records, labels: dict[int, str], nobody: frozenset[int] = frozenset()) -> pd.DataFrame:
    frame = records.frame.assign(entity_id="", role="")
    for row, name in labels.items():
        frame.loc[row, "entity_id"] = name
    frame.loc[sorted(nobody), "role"] = "query_nomatch"
    more = pd.DataFrame({"record_id": ["x", "y"], "entity_id": ["X", "Y"], "role": "exemplar", "text": ""})
    return pd.concat([frame, more], ignore_index=True)


class Both:
    """Embeddings of the records and of the two exemplars behind them."""

    def __new__(cls, embeddings: Embeddings) -> Embeddings:  # type: ignore[misc]
        image, text = (
            np.vstack([one, unit(np.random.default_rng(0).normal(size=(2, one.shape[1]))).astype(one.dtype)])
            for one in (embeddings.image, embeddings.text)
        )
        more = pd.DataFrame({"record_id": ["x", "y"], "reading": "", "reading_confidence": np.nan, "lattice": None})
        readings = pd.concat([embeddings.readings, more], ignore_index=True)
        return Embeddings(embeddings.folder, image, text, readings, embeddings.manifest)


def decide(
    made: tuple[Records, Embeddings],
    members: pd.DataFrame,
    labels: dict[int, str],
    nobody: frozenset[int] = frozenset(),
) -> pd.DataFrame:
    records, embeddings = made
    frame = with_labels(records, labels, nobody)
    return decide_by_labels(members, frame, Both(embeddings), DEFAULT_SCORER)


N = ENTITIES * VIEWS


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    clusters=st.lists(st.integers(0, 6), min_size=N, max_size=N),
    linked=st.dictionaries(st.integers(0, N - 1), st.sampled_from(["X", "Y"]), max_size=6),
    labels=st.dictionaries(st.integers(0, N - 1), st.sampled_from(["X", "Y", "A", "B", "c1"]), max_size=10),
    nobody=st.frozensets(st.integers(0, N - 1), max_size=4),
)
def test_labels_decide_and_the_prediction_stays(
    made: tuple[Records, Embeddings],
    clusters: list[int],
    linked: dict[int, str],
    labels: dict[int, str],
    nobody: frozenset[int],
) -> None:
    records = made[0]
    members = predicted(records, clusters, linked)
    before = members.copy()
    found = decide(made, members, labels, nobody - set(labels)).set_index("record_id")
    ids = records.frame["record_id"]
    for row, name in labels.items():
        assert found.loc[ids[row], ["entity_id", "origin", "membership"]].tolist() == [name, "labelled", 1.0]
    for row in nobody - set(labels):
        assert found.loc[ids[row], "entity_id"] not in ("X", "Y")
    assert found.loc[["x", "y"], "origin"].tolist() == ["exemplar", "exemplar"]
    for row, name in linked.items():
        if row not in labels and row not in nobody:
            assert found.loc[ids[row], "entity_id"] == name, "what was linked stays with its exemplar"
    again = as_predicted(found.reset_index())
    columns = ["record_id", "entity_id", "origin"]
    assert again[columns].to_numpy().tolist() == before[columns].to_numpy().tolist()
    entities = entities_table(found.reset_index())
    assert set(entities["entity_id"]) == set(found["entity_id"]) and entities["n_records"].sum() == len(found)
    untouched = found[found["entity_id"] == found["predicted_entity_id"]]
    groups = found.reset_index().groupby("entity_id")["record_id"].agg(set).to_dict()
    same = before.groupby("entity_id")["record_id"].agg(set).to_dict()
    for record, row in untouched.iterrows():
        if groups[row["entity_id"]] == same[row["entity_id"]] and not (set(labels) | nobody) & set(
            np.flatnonzero(ids.isin(groups[row["entity_id"]]))
        ):
            old = before.set_index("record_id").loc[record]
            assert (
                row[list(MEMBER_COLUMNS[1:])].astype(str).tolist() == old[list(MEMBER_COLUMNS[1:])].astype(str).tolist()
            )


def test_a_cluster_takes_its_one_label_and_is_split_between_several(made: tuple[Records, Embeddings]) -> None:
    records = made[0]
    truth = records.frame["entity_id"].to_numpy()
    members = predicted(records, [0] * (2 * VIEWS) + [1] * VIEWS + [2] * (2 * VIEWS))
    found = decide(made, members, {0: "A", VIEWS: "B", 2 * VIEWS: "C"}).set_index("record_id")
    named = found.loc[records.frame["record_id"], "entity_id"].to_numpy()
    assert named[: 3 * VIEWS].tolist() == ["A"] * VIEWS + ["B"] * VIEWS + ["C"] * VIEWS
    assert set(named[3 * VIEWS :]) == {"c2"}
    assert len(set(truth[: 3 * VIEWS])) == 3
    stands = found[found["is_exemplar"] == 1].groupby("entity_id")["origin"].first()
    assert stands[["A", "B", "C"]].tolist() == ["labelled"] * 3
    beside = found[(found["entity_id"] == "A") & (found["is_exemplar"] == 0)]
    assert (beside["score"] > 0.5).all() and (beside["membership"] != 0.5).all()


def test_without_labels_nothing_changes(made: tuple[Records, Embeddings]) -> None:
    members = predicted(made[0], [0] * N)
    assert decide(made, members, {}) is members
    assert members["predicted_entity_id"].equals(members["entity_id"])
