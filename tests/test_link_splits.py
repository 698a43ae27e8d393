"""What labels are evidence of: entities keep to one split, and what the encoder saw promises nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from linkdata import people, save

from linkage.config import EvaluateConfig, LinkConfig
from linkage.errors import InputError
from linkage.evaluate.evaluate import evaluate
from linkage.link.link import LinkResult, link
from linkage.link.splits import check_splits
from linkage.search.index import build_index
from linkage.tables import write_table

FEW_FALSE = LinkConfig(device="cpu", max_false_links=0.2)


def linked(folder: Path, frame: pd.DataFrame, config: LinkConfig, encoder_saw: tuple[str, ...] = ()) -> LinkResult:
    _, image, text = people(0, 90, 3)
    records, embeddings = save(folder, frame, image, text)
    exemplar = (frame["role"] == "exemplar").to_numpy()
    index = build_index(records.take(np.flatnonzero(exemplar)), embeddings, folder / "index")
    return link(records.take(np.flatnonzero(~exemplar)), embeddings, index, config, encoder_saw=encoder_saw)


def test_entities_in_two_splits_are_an_error_only_where_a_promise_hangs_on_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = people(0, 90, 3)[0]
    assert check_splits(frame, "false-links") == 0
    moved = frame["record_id"].isin(["r001_1", "r004_2"])  # val entities
    frame.loc[moved, "split"] = ["train", ""]
    with pytest.raises(InputError, match=r"2 entities have queries both in split train.*'entity 001'.*one split"):
        linked(tmp_path, frame, FEW_FALSE)
    with caplog.at_level(logging.WARNING, logger="linkage"):
        linked(tmp_path, frame, LinkConfig(device="cpu"))
    assert "2 entities have queries both" in caplog.text


def test_an_exemplar_is_in_no_split(tmp_path: Path) -> None:
    frame = people(0, 9, 3)[0]
    frame.loc[frame["role"] == "exemplar", "split"] = ""
    assert check_splits(frame, "false-links") == 0


def test_what_the_encoder_saw_is_no_evidence_for_a_promise(tmp_path: Path) -> None:
    frame = people(0, 90, 3)[0]
    clean = linked(tmp_path / "clean", frame, FEW_FALSE)
    assert clean.threshold.value is not None
    spent = linked(tmp_path / "spent", frame, FEW_FALSE, ("", "train", "val"))
    assert spent.threshold.value is None
    assert "60 labelled queries are no evidence: the encoder was trained on them" in spent.threshold.sentence
    trained = linked(tmp_path / "trained", frame, FEW_FALSE, ("", "train"))
    assert trained.threshold == clean.threshold, "rows of split val, which chose nothing, are"
    sets = linked(tmp_path / "sets", frame, LinkConfig(device="cpu", coverage=0.8), ("", "train", "val")).sets
    assert sets is not None and not sets.promised and "no evidence" in sets.sentence


def test_figures_of_what_the_encoder_saw_say_so(tmp_path: Path) -> None:
    frame = people(0, 90, 3)[0]
    result = linked(tmp_path, frame, LinkConfig(device="cpu"), ("", "train", "val"))
    result.save(tmp_path / "links.csv", index=tmp_path / "index", queries=tmp_path / "records.parquet")
    write_table(frame[["record_id", "entity_id", "split", "role"]], tmp_path / "truth.csv")
    metrics = evaluate(tmp_path / "links.csv", tmp_path / "truth.csv", EvaluateConfig(bootstrap=100)).metrics
    own = metrics[(metrics["system"] == "linkage") & (metrics["measure"] == "matched accuracy")]
    notes = own.set_index("split")["note"]
    assert "encoder trained on these rows" in notes["train"] and "trained" not in notes["val"]
    assert "these rows chose the encoder's epoch" in notes["val"]
    assert "encoder" not in notes["test"]
    strings = metrics[(metrics["system"] == "Levenshtein") & (metrics["split"] == "train")]
    assert not strings["note"].str.contains("encoder").any(), "strings have no encoder"
    members = frame.assign(predicted_entity_id=frame["entity_id"], origin="clustered", predicted_origin="clustered")
    write_table(
        members[["record_id", "entity_id", "predicted_entity_id", "origin", "predicted_origin"]],
        tmp_path / "members.csv",
    )
    config = EvaluateConfig(bootstrap=100)
    metrics = evaluate(tmp_path / "members.csv", tmp_path / "truth.csv", config, encoder_saw=("", "train")).metrics
    notes = metrics[metrics["measure"] == "B-cubed F1"].set_index("split")["note"]
    assert "encoder trained on these rows" in notes["train"] and "encoder" not in notes["test"]
