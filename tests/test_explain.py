"""Why was this linked: the parts add up, the words fit the figures, and nothing a scan says can do harm."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linkdata import people, save
from PIL import Image, ImageDraw
from test_report import EVIL, Page
from typer.testing import CliRunner

from linkage.cli import app
from linkage.config import LinkConfig, load_config
from linkage.errors import ArtefactError, UsageError
from linkage.explain.comparison import weigh
from linkage.explain.text import GAP, aligned_lines, columns_of
from linkage.link.link import LinkResult, link
from linkage.link.links import features_of, manifest_of
from linkage.report.pictures import align, mark_differences
from linkage.run import run
from linkage.search.index import build_index
from linkage.tables import read_table, write_table

PARTS = ("image_score", "text_score", "cross_score")


def explained(*arguments: str | Path) -> str:
    """What `linkage explain` prints; its error where it fails."""
    done = CliRunner().invoke(app, ["explain", *map(str, arguments)])
    if done.exception:
        raise done.exception
    return done.stdout


def told(*arguments: str | Path) -> dict[str, Any]:
    return json.loads(explained(*arguments, "--json"))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LinkResult]:
    """A links table as CSV: 45 entities, some without a text, some queries without an exemplar."""
    folder = tmp_path_factory.mktemp("links")
    frame, image, text = people(0, 45, 3, noise=0.6)
    gone = (frame["role"] == "exemplar") & frame["entity_id"].str.endswith("7")
    frame, image, text = frame[~gone].reset_index(drop=True), image[~gone], text[~gone]
    mute = frame["record_id"].str.endswith("5_1").to_numpy()
    frame.loc[mute, "text"], text[mute] = "", 0.0
    records, embeddings = save(folder / "in", frame, image, text)
    is_exemplar = (frame["role"] == "exemplar").to_numpy()
    index = build_index(records.take(np.flatnonzero(is_exemplar)), embeddings, folder / "index")
    result = link(records.take(np.flatnonzero(~is_exemplar)), embeddings, index, LinkConfig(device="cpu"))
    result.save(folder / "links.csv", index=folder / "index", queries=folder / "in" / "records.parquet")
    return folder / "links.csv", result


TEXTS = {
    "x1": "Atkinson & Sons, ironmongers",
    "x2": EVIL,
    "x3": "=SUM(A1) Traders",
    "q1": "Atkinsen & Sons, ironmonger",
    "<b>q2</b>": EVIL + "!",
    "q3": "=SUM(A1) Trader5",
    "c1": "Carter Brothers, saddlers",
    "c2": "Carter Brothers, sadlers",
    "c3": "Carter Brothers, saddlers!",
    "s1": "Zymurgical 99887",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over a table of ten records with pictures: three exemplars, three queries, three alike, one alone."""
    folder = tmp_path_factory.mktemp("explain")
    for number, text in enumerate(TEXTS.values()):
        image = Image.new("RGB", (420, 40), "white")
        ImageDraw.Draw(image).text((5, 10), text, fill="black", font_size=18)
        image.save(folder / f"{number}.png")
    frame = pd.DataFrame({"record_id": list(TEXTS), "image": [f"{n}.png" for n in range(10)], "text": TEXTS.values()})
    write_table(frame.assign(source="scan.tif", page=2), folder / "records.csv")
    labels = pd.DataFrame({"record_id": ["x1", "x2", "x3", "q1"], "entity_id": ["atkinson", "x2", EVIL, "atkinson"]})
    write_table(labels.assign(role=["exemplar"] * 3 + ["query"]), folder / "labels.csv")
    config = load_config(None, ["link.threshold=0.3", "cluster.max_distance=0.3", "evaluate.bootstrap=100"])
    run(config, [folder / "records.csv"], folder / "run", labels=folder / "labels.csv")
    return folder / "run"


def test_the_parts_add_up_to_the_score_as_printed(links: tuple[Path, LinkResult]) -> None:
    path, _ = links
    printed = explained(path, "r004_2")
    rows = {line.split()[0]: line.split() for line in printed.splitlines() if line.strip()}
    for column in (1, 3):
        assert sum(float(rows[part][column]) for part in PARTS) == pytest.approx(float(rows["score"][column]), abs=2e-4)
    for pair in ("best", "runner_up"):
        one = told(path, "r004_2")["link"][pair]
        assert sum(one["parts"].values()) == pytest.approx(one["cosine"], abs=2e-6)


def test_contributions_add_up_to_the_logit_and_with_the_rivals_to_the_probability(
    links: tuple[Path, LinkResult],
) -> None:
    path, result = links
    scored = result.links.assign(logit=result.scorer.logit(features_of(result.links)))
    for record in ("r004_1", "r004_2", "r005_1", "r007_1", "r044_2"):
        link = told(path, record)["link"]
        rows = scored[scored["record_id"] == record]
        for pair, row in ((link["best"], rows.iloc[0]), (link["runner_up"], rows.iloc[1])):
            assert sum(pair["contributions"].values()) == pytest.approx(pair["logit"])
            assert pair["logit"] == pytest.approx(row["logit"], abs=1e-3)  # the CSV keeps six digits
            assert sum(pair["voices"].values()) + pair["contributions"]["intercept"] == pytest.approx(pair["logit"])
            assert math.exp(pair["logit"]) * link["nothing"] == pytest.approx(row["probability"], rel=1e-2)
        shares = [one["probability"] for one in link["candidates"]]
        assert sum(shares) + link["others"] + link["nothing"] == pytest.approx(1.0, abs=1e-4)
        assert (link["best"]["logit"] >= link["bar"]) == (link["decision"] == "match")


def test_a_pair_without_a_text_goes_by_the_picture_alone(links: tuple[Path, LinkResult]) -> None:
    best = told(links[0], "r005_1")["link"]["best"]
    assert best["similarities"]["string_score"] is None
    assert best["views"] is None
    assert {name for name, value in best["voices"].items() if value} <= {"the pictures", "picture against text"}
    assert "no two strings to compare" in explained(links[0], "r005_1")


def test_it_says_what_was_decided_and_why(links: tuple[Path, LinkResult]) -> None:
    path, result = links
    matched = result.links[result.links["decision"] == "match"].iloc[0]
    printed = " ".join(explained(path, matched["record_id"]).split())
    assert f"Linked to {matched['entity_id']}: match probability {matched['probability']:.3f}, at or above" in printed
    assert matched["threshold_source"] == "default", "its labels are too little evidence to move it"
    assert f"the threshold {matched['threshold']:.3f} (the default: no labels moved it)" in printed
    assert "What tells it from the runner-up, entity " in printed
    refused = result.links[(result.links["rank"] == 1) & (result.links["decision"] == "no-match")].iloc[0]
    printed = " ".join(explained(path, refused["record_id"]).split())
    assert f"Not linked; the likeliest entity is {refused['entity_id']}" in printed
    assert "short of the threshold" in printed


def test_a_passing_candidate_that_was_not_taken_is_explained(links: tuple[Path, LinkResult], tmp_path: Path) -> None:
    path, result = links
    table = result.links.copy()
    record = table.loc[table["decision"] == "match", "record_id"].iloc[0]
    table.loc[table["record_id"] == record, "decision"] = "no-match"
    mute = table["record_id"] == "r005_1"
    table.loc[mute, ["entity_id", "exemplar_id"]], table.loc[mute, "probability"] = "", np.nan
    tied, free = table["record_id"] == "r044_1", table["record_id"] == "r044_2"
    table.loc[tied, "tied"], table.loc[tied, "decision"] = 2, "review"
    table.loc[free, "threshold"], table.loc[free, "decision"] = np.nan, "no-match"
    write_table(table, tmp_path / "links.csv")
    shutil.copy(manifest_of(path), manifest_of(tmp_path / "links.csv"))
    assert "It would pass, but another query had the better claim" in explained(tmp_path / "links.csv", record)
    assert "2 candidates are equally likely" in explained(tmp_path / "links.csv", "r044_1")
    assert "there is no threshold" in explained(tmp_path / "links.csv", "r044_2")
    assert "It had no candidate" in explained(tmp_path / "links.csv", "r005_1")


def test_it_says_which_candidates_are_in_the_set(links: tuple[Path, LinkResult], tmp_path: Path) -> None:
    path, result = links
    assert told(path, "r004_2")["link"]["candidates"][0]["in_set"] is None
    assert "in set" not in explained(path, "r004_2")
    table = result.links.assign(in_set=(result.links["rank"] <= 2).astype(int))
    write_table(table, tmp_path / "links.csv")
    manifest = json.loads(manifest_of(path).read_text())
    sets = {"sentence": "Candidates at 0.1 or above hold the true entity."}
    manifest_of(tmp_path / "links.csv").write_text(json.dumps(manifest | {"sets": sets}))
    told_of = told(tmp_path / "links.csv", "r004_2")
    assert [one["in_set"] for one in told_of["link"]["candidates"]][:3] == [True, True, False]
    assert "Its set holds 2 candidates. Candidates at 0.1 or above hold the true entity." in told_of["says"]
    page = tmp_path / "why.html"
    lines = explained(tmp_path / "links.csv", "r004_2", "--html", page).splitlines()
    listed = lines[lines.index("  candidates") + 1 :]
    assert ["in set" in line for line in listed][:3] == [True, True, False]
    assert "in its set" in Page(page).text


def test_links_are_explained_with_the_text_settings_they_were_made_with(
    links: tuple[Path, LinkResult], tmp_path: Path
) -> None:
    path, result = links
    table = result.links.copy()
    table.loc[table["record_id"] == "r004_2", ["text", "exemplar_text"]] = "Atkinson", "ATKINSON"
    write_table(table, tmp_path / "links.csv")
    manifest = json.loads(manifest_of(path).read_text())
    differs = {}
    for case in (True, False):
        folding = {"text": {"width": True, "case": case, "kanji": True}}
        manifest_of(tmp_path / "links.csv").write_text(json.dumps(manifest | folding))
        steps = told(tmp_path / "links.csv", "r004_2")["link"]["best"]["aligned"]
        differs[case] = any(differ for _, _, differ in steps)
    assert differs == {True: False, False: True}


@pytest.mark.parametrize("queries", [None, 5, ["a"], "", "gone.csv"])
def test_links_are_explained_without_their_queries(
    links: tuple[Path, LinkResult], tmp_path: Path, queries: object
) -> None:
    path, result = links
    write_table(result.links, tmp_path / "links.csv")
    manifest = json.loads(manifest_of(path).read_text())
    manifest_of(tmp_path / "links.csv").write_text(json.dumps(manifest | {"queries": queries}))
    assert "r004_2" in explained(tmp_path / "links.csv", "r004_2")


def test_a_manifest_that_is_none_is_refused_in_one_line(links: tuple[Path, LinkResult], tmp_path: Path) -> None:
    path, result = links
    write_table(result.links, tmp_path / "links.csv")
    manifest = json.loads(manifest_of(path).read_text())
    scorer = json.dumps(manifest | {"scorer": manifest["scorer"] | {"origin": "unknown"}})
    for text in ("[" * 200_000, "[]", scorer):
        manifest_of(tmp_path / "links.csv").write_text(text)
        with pytest.raises(ArtefactError, match=r"links.csv.manifest.json: .*; run `linkage link` again$"):
            explained(tmp_path / "links.csv", "r004_2")


def test_what_an_earlier_version_made_is_refused_in_one_line(
    links: tuple[Path, LinkResult], finished: Path, tmp_path: Path
) -> None:
    path, result = links
    old = tmp_path / "links.csv"
    shutil.copy(manifest_of(path), manifest_of(old))
    for name in ("tied", "in_set", "image_cosine"):
        write_table(result.links.drop(columns=name), old)
        with pytest.raises(ArtefactError, match=rf"links.csv: .* \(it has no {name}\); run `linkage link` again$"):
            explained(old, "r004_2")
    write_table(result.links, old)
    manifest = json.loads(manifest_of(path).read_text())
    manifest_of(old).write_text(json.dumps({name: manifest[name] for name in manifest if name != "text"}))
    with pytest.raises(ArtefactError, match=r"links.csv.manifest.json: .*; run `linkage link` again$"):
        explained(old, "r004_2")
    shutil.copytree(finished, tmp_path / "run")
    table = tmp_path / "run" / "link" / "links.parquet"
    write_table(read_table(table).drop(columns=["tied", "in_set"]), table)
    for command in (["explain", str(tmp_path / "run"), "q1"], ["report", str(tmp_path / "run")]):
        done = CliRunner().invoke(app, command)
        assert isinstance(done.exception, ArtefactError)
        assert "(it has no tied, in_set); remove the folder" in str(done.exception)


def test_every_line_fits_a_terminal(links: tuple[Path, LinkResult], finished: Path) -> None:
    for path, name in (
        *((links[0], name) for name in ("r004_2", "r007_1", "entity 004")),
        *((finished, name) for name in ("c1", "s1", "q3", EVIL)),
    ):
        for line in explained(path, name).splitlines():
            assert columns_of(line) <= 100
            assert line.isprintable()


def test_an_entity_lists_its_members_weakest_first(links: tuple[Path, LinkResult]) -> None:
    entity = told(links[0], "entity 004")
    strength = [member["membership"] for member in entity["members"]]
    assert strength == sorted(strength)
    assert entity["exemplar"]["record_id"] == "r004_0"
    assert entity["weakest"]["id"] == entity["members"][0]["record_id"]
    assert entity["weakest"]["link"]["best"]["entity_id"] == "entity 004"
    exemplar = told(links[0], "r004_0")
    assert [member["record_id"] for member in exemplar["members"]] == [one["record_id"] for one in entity["members"]]
    assert "stands for entity 004" in exemplar["says"][0]


def test_a_clustered_record_has_its_exemplar_and_the_nearest_of_another_entity(finished: Path) -> None:
    members = read_table(finished / "export" / "members.csv").set_index("record_id")
    same = members.index[members["entity_id"] == members.loc["c1", "entity_id"]]
    assert {"c1", "c2", "c3"} <= set(same)
    exemplar = members.index[(members["entity_id"] == members.loc["c1", "entity_id"]) & (members["is_exemplar"] == 1)]
    for record in set(same) - set(exemplar):
        explanation = told(finished, record)
        group = explanation["group"]
        assert explanation["says"][0].startswith(
            f"Clustered into {members.loc[record, 'entity_id']}: its nearest record"
        )
        pair = group["exemplar"]
        assert pair["right"]["record_id"] == exemplar[0]
        assert pair["probability"] == pytest.approx(members.loc[record, "membership"], rel=1e-4)
        assert pair["cosine"] == pytest.approx(members.loc[record, "score"], abs=1e-4)
        assert sum(pair["parts"].values()) == pytest.approx(pair["cosine"], abs=2e-6)
        assert group["runner_up"]["right"]["record_id"] == "s1"
        assert group["nearest"]["distance"] <= group["max_distance"] == 0.3 < group["runner_up"]["distance"]
    alone = told(finished, "s1")
    assert alone["origin"] == "singleton"
    assert alone["group"]["nearest"] is None
    assert alone["group"]["runner_up"]["right"]["record_id"] in same
    assert told(finished, members.loc["s1", "entity_id"])["weakest"]["id"] == "s1"


def test_an_id_of_both_is_taken_for_the_record(finished: Path) -> None:
    assert told(finished, "x2")["kind"] == "record"
    assert "ask for the entity with --entity" in explained(finished, "x2")
    assert told(finished, "x2", "--entity")["kind"] == "entity"


def test_an_unknown_id_offers_the_nearest(finished: Path, links: tuple[Path, LinkResult]) -> None:
    with pytest.raises(UsageError, match=r"^'atkinsen': no record or entity of this id here; the nearest: 'atkinson'"):
        explained(finished, "atkinsen")
    with pytest.raises(UsageError, match="'q1': no entity of this id"):
        explained(finished, "q1", "--entity")
    with pytest.raises(UsageError, match="'entity 004'"):
        explained(links[0], "entity_004")


def test_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="linkage run"):
        explained(tmp_path, "r1")


@pytest.mark.parametrize("name", ["<b>q2</b>", "x2", "q3", EVIL, "c2", "s1"])
def test_the_page_shows_hostile_text_as_read(finished: Path, tmp_path: Path, name: str) -> None:
    explained(finished, name, "--html", tmp_path / "why.html")
    page = Page(tmp_path / "why.html")
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "link"}
    for _, attributes in page.tags:
        assert str(attributes.get("src", "data:image/webp;base64,")).startswith("data:image/webp;base64,")
        assert not any(attribute.startswith("on") for attribute in attributes)
    assert name in page.text
    assert page.pictures() >= (1 if name == "x2" else 2)
    as_read = [attributes for tag, attributes in page.tags if attributes.get("alt") == "the crop as it was read"]
    assert bool(as_read) == (name != "x2")  # an entity is shown by its crops
    with pytest.raises(UsageError, match="--overwrite"):
        explained(finished, name, "--html", tmp_path / "why.html")


def test_a_formula_is_shown_as_it_was_read(finished: Path) -> None:
    assert "=SUM(A1) Trader5" in explained(finished, "q3")
    assert told(finished, "q3")["link"]["best"]["right"]["text"] == "=SUM(A1) Traders"


@given(st.text(max_size=60), st.text(max_size=60))
def test_without_the_gaps_the_alignment_is_the_readings(left: str, right: str) -> None:
    steps = align(left, right)
    assert "".join(step.left for step in steps) == left
    assert "".join(step.right for step in steps) == right
    assert not any(step.differs for step in align(left, left))


READ = st.text(alphabet="abcdefgh東京ｶ１é", max_size=70)


@given(READ, READ, st.integers(8, 40))
def test_aligned_lines_stand_above_each_other(left: str, right: str, width: int) -> None:
    blocks = list(aligned_lines(align(left, right), width, blocks=100))
    for upper, lower, marks in blocks:
        assert columns_of(upper) == columns_of(lower) == len(marks) <= width
    for said, lines in zip((left, right), list(zip(*blocks, strict=True))[:2] or [("",), ("",)], strict=True):
        assert "".join(lines).replace(GAP, "").replace(" ", "") == said


def test_long_readings_are_cut(links: tuple[Path, LinkResult]) -> None:
    blocks = list(aligned_lines(align("a" * 1000, "b" * 1000), 50))
    assert len(blocks) == 4
    assert blocks[-1][0].endswith("…")
    assert blocks[-1][1].endswith("…")


def test_what_the_score_leaves_out_is_not_marked() -> None:
    assert mark_differences("Atkinson & Sons.", "ATKINSON&SONS") == [("Atkinson & Sons.", False)]
    assert [step for step in align("Müller, 7", "Muller 7") if step.differs] == [("ü", "u", True)]


def test_words_fit_the_weights() -> None:
    assert weigh({"the strings": 9.0, "the pictures": 0.1}) == "mostly the strings (+9.0), hardly the pictures"
    assert weigh({"a": 2.0, "b": 2.0, "c": -1.0}) == "a (+2.0) and b (+2.0), and against it c (-1.0)"
    assert weigh({"a": 0.0}) == "nothing"
