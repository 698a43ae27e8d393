"""What a map is said to lose is what it loses; the command that fits one, and linking through it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lines import NAMES, tiny_model
from linkdata import people, save, unit
from typer.testing import CliRunner

from linkage.cli import app
from linkage.compare.likeness import Vectors
from linkage.encode.biencoder import BiEncoder
from linkage.errors import InputError
from linkage.evaluate.maps import RecordViews, choose, measured
from linkage.search.index import Index, build_index

NEW = "ab" * 32
TURN = np.linalg.qr(np.random.default_rng(7).normal(size=(32, 32)))[0]


def indexed(folder: Path, frame: pd.DataFrame, image: np.ndarray, text: np.ndarray) -> Index:
    return build_index(*save(folder / "in", frame, image, text), folder / "index")


def after(image: np.ndarray, text: np.ndarray, noise: float) -> Vectors:
    """Vectors by a newer model: turned, and off by some noise."""
    rng = np.random.default_rng(1)
    return Vectors(*(unit(part @ TURN.T + noise * rng.normal(size=part.shape)) for part in (image, text)))


def test_a_mere_turn_loses_nothing_and_noise_is_seen(tmp_path: Path) -> None:
    frame, image, text = people(0, 120, 3)
    index = indexed(tmp_path, frame, image, text)
    rows = np.arange(len(frame))

    def figures(noise: float) -> dict[str, tuple[float, float, float, int]]:
        new = after(image, text, noise)
        return measured(index, rows, new, NEW, None, bootstrap=200, seed=0).figures

    turned = figures(0.0)
    assert turned["image_cosine"][0] == pytest.approx(1, abs=1e-3)
    value, low, high, n = turned["own"]
    assert (value, high, n) == (1.0, 1.0, 360) and 0.9 < low < 1.0
    assert turned["old"][0] == pytest.approx(turned["mapped"][0], abs=0.01) == pytest.approx(turned["new"][0], abs=0.01)
    assert turned["loss"][0] == pytest.approx(turned["new"][0] - turned["mapped"][0])
    noisy = figures(0.25)
    assert noisy["image_cosine"][0] < 0.8
    assert noisy["mapped"][0] < turned["mapped"][0]


def test_queries_that_are_given_are_measured_by_maps_without_their_entities(tmp_path: Path) -> None:
    frame, image, text = people(0, 200, 2)
    exemplar = (frame["role"] == "exemplar").to_numpy()
    index = indexed(tmp_path, frame[exemplar], image[exemplar], text[exemplar])
    new = after(image, text, 0.0)
    entities = frame["entity_id"].to_numpy(dtype=object)

    def side(vectors: Vectors, rows: np.ndarray) -> Vectors:
        return Vectors(vectors.image[rows], vectors.text[rows])

    asked = RecordViews(side(new, ~exemplar), None, entities[~exemplar])
    learned = measured(index, np.arange(len(index)), side(new, exemplar), NEW, asked, bootstrap=200, seed=0)
    assert "old" not in learned.figures
    assert learned.figures["new"][3] == 200
    assert learned.figures["loss"][0] == pytest.approx(0, abs=0.02)
    assert "points of pooled hit@1" in learned.sentence
    # Vectors that have nothing to do with the old ones can be fitted, but not for entities left out.
    rng = np.random.default_rng(3)
    chance = Vectors(unit(rng.normal(size=(400, 32))), unit(rng.normal(size=(400, 32))))
    asked = RecordViews(side(chance, exemplar), None, entities[exemplar])
    learned = measured(index, np.arange(len(index)), side(chance, exemplar), NEW, asked, bootstrap=200, seed=0)
    assert learned.figures["new"][0] == 1.0 and learned.figures["mapped"][0] < 0.1


def test_the_sample_is_of_exemplars_that_are_still_what_they_were(tmp_path: Path) -> None:
    frame, image, text = people(0, 40, 1)
    index = indexed(tmp_path, frame, image, text)
    changed = frame.copy()
    changed.loc[3, "text"] = "another text"
    changed.loc[5, "record_id"] = "unknown"
    records, _ = save(tmp_path / "now", changed.iloc[::-1], image, text)
    chosen = choose(index, records, 25, 0)
    names = index.exemplars["record_id"].to_numpy()[chosen.in_index]
    assert names.tolist() == records.frame["record_id"].to_numpy()[chosen.in_records].tolist()
    assert len(set(names)) == 25 and not {"r003_0", "r005_0"} & set(names)
    again, _ = save(tmp_path / "again", changed, image, text)
    assert index.exemplars["record_id"].to_numpy()[choose(index, again, 25, 0).in_index].tolist() == names.tolist()
    wanted = choose(index, records, 20, 0, np.array(["entity 001"], dtype=object))
    assert index.exemplars["entity_id"][wanted.in_index[0]] == "entity 001"
    with pytest.raises(InputError, match="19 of its records are exemplars"):
        choose(index, records.take(np.flatnonzero(records.frame["record_id"] != "r003_0")[:19]), 25, 0)


def test_map_and_link_from_the_command_line(tmp_path: Path) -> None:
    names = [f"{name} {street}" for name in NAMES for street in ("Lane", "Street")]
    rows = [f"r{n},{name},e{n}\n" for n, name in enumerate(names)]
    (tmp_path / "exemplars.csv").write_text("record_id,text,entity_id\n" + "".join(rows))
    (tmp_path / "queries.csv").write_text("record_id,text,entity_id\n" + "".join(f"q{row}" for row in rows))
    old, new = (str(tiny_model(tmp_path / name, seed)) for seed, name in enumerate(("old", "new")))
    index, links = str(tmp_path / "index"), str(tmp_path / "links.csv")
    queries, exemplars = str(tmp_path / "queries.csv"), str(tmp_path / "exemplars.csv")

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    run("index", exemplars, "--model", old, "--out", index, "--set", "encode.device=cpu")
    asked = ("link", queries, "--index", index, "--out", links, "--set", "link.device=cpu")
    refused = CliRunner().invoke(app, [*asked, "--model", new])
    assert "linkage map" in str(refused.exception) and not Path(links).exists()
    told = json.loads(run("map", index, exemplars, "--model", new, "--queries", queries, "--json"))
    assert told["sample"] == len(names) and {"old", "new", "mapped", "loss"} <= set(told)
    assert Path(told["out"]).parent == Path(index)
    run(*asked, "--model", new)
    manifest = json.loads(Path(f"{links}.manifest.json").read_text())
    assert manifest["map"]["new_sha256"] == BiEncoder.load(new, "cpu").sha256
    same = CliRunner().invoke(app, ["map", index, exemplars, "--model", old])
    assert "need no map" in str(same.exception)
