"""Synthetic records and the drawn directory: deterministic, labelled without leaks, and true to their truth."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from rapidfuzz.distance import Levenshtein

from linkage.errors import DependencyError, InputError
from linkage.records import Records
from linkage.synth.degrade import degrade, press
from linkage.synth.directory import write_editions
from linkage.synth.firms import entry, two_editions
from linkage.synth.names import KINDS, make_entities, make_entity, make_sibling
from linkage.synth.noise import corrupt
from linkage.synth.records import SYNTH_SCHEMA, synth_records
from linkage.synth.render import TypeLine, choose_face, faces, margins, set_column, set_line, stack
from linkage.synth.sheet import PageBend
from linkage.synth.variants import variant
from linkage.text import FOLDING, clean

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synth") / "records.parquet"
    synth_records(path, entities=240, views=3, seed=7, workers=1)
    return path


@pytest.fixture(scope="module")
def editions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("directory")
    write_editions(folder, firms=100, seed=3)
    return folder


def page_of(folder: Path, source: str, page: int) -> np.ndarray:
    image = Image.open(folder / source)
    image.seek(page - 1)
    return np.asarray(image.convert("L"), dtype=np.float32)


# --- records ----------------------------------------------------------------------------------------------------


def test_the_table_is_one_of_records_with_labels_truth_and_crops(drawn: Path) -> None:
    assert pq.read_schema(drawn).equals(SYNTH_SCHEMA)
    records = Records.open(drawn)
    assert len(records) == 720
    assert (records.frame["text"] != "").all()
    assert [clean(text) for text in records.frame["text"]] == records.frame["text"].tolist()
    for row in range(0, 720, 37):
        image = Image.open(io.BytesIO(records.crop(row) or b""))
        image.load()
        assert (image.width, image.height) == (records.frame["x1"][row], records.frame["y1"][row])


def test_the_layouts_come_in_their_shares(drawn: Path) -> None:
    layouts = Records.open(drawn).frame["layout"].value_counts(normalize=True)
    assert layouts["line"] + layouts["column"] == pytest.approx(0.7, abs=0.06)
    assert layouts["header"] == pytest.approx(0.2, abs=0.05)
    assert layouts["entry"] == pytest.approx(0.1, abs=0.04)
    assert layouts["column"] > 0


def test_splits_and_roles_do_not_leak(drawn: Path) -> None:
    frame = Records.open(drawn).frame
    by_entity = frame.groupby("entity_id")
    assert (by_entity["split"].nunique() == 1).all()
    assert frame.drop_duplicates("entity_id")["split"].value_counts().to_dict() == {"train": 216, "val": 12, "test": 12}
    number = frame["entity_id"].str[2:].astype(int)
    assert (frame.groupby(number // 2)["split"].nunique() == 1).all(), "siblings stand on one side"
    held_out = frame[frame["split"] != "train"]
    for _, roles in held_out.groupby("entity_id")["role"]:
        counts = roles.value_counts().to_dict()
        assert counts in ({"exemplar": 1, "query": 2}, {"query_nomatch": 3})
    assert set(held_out["role"]) == {"exemplar", "query", "query_nomatch"}
    assert (frame.loc[frame["split"] == "train", "role"] == "").all()


def test_readings_are_noisy_but_not_lost(drawn: Path) -> None:
    frame = Records.open(drawn).frame
    wrong = [Levenshtein.distance(r.text, r.truth) / len(r.truth) for r in frame.itertuples()]
    assert 0.03 < float(np.mean(wrong)) < 0.15
    assert 0.15 < float(np.mean([w == 0 for w in wrong])) < 0.7


def test_the_file_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        synth_records(tmp_path / name, entities=70, views=4, seed=5, workers=workers)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    synth_records(tmp_path / "other", entities=70, views=4, seed=6, workers=1)
    assert (tmp_path / "one").read_bytes() != (tmp_path / "other").read_bytes()


@pytest.mark.parametrize(("entities", "views"), [(0, 3), (3, 0), (-1, 1)])
def test_counts_below_one_are_refused_and_nothing_is_written(tmp_path: Path, entities: int, views: int) -> None:
    with pytest.raises(InputError, match="1 or more"):
        synth_records(tmp_path / "r.parquet", entities=entities, views=views, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_one_entity_with_one_view_works(tmp_path: Path) -> None:
    synth_records(tmp_path / "r.parquet", entities=1, views=1, seed=0, workers=4)
    assert Records.open(tmp_path / "r.parquet").frame["split"].tolist() == ["train"]


# --- names and noise --------------------------------------------------------------------------------------------


def test_names_are_distinct_and_every_fourth_has_a_look_alike() -> None:
    entities = make_entities(4000, seed=1)
    assert len({FOLDING.fold(entity.name) for entity in entities}) == 4000
    assert entities == make_entities(4000, seed=1)
    apart = [Levenshtein.distance(entities[k - 1].name, entities[k].name) for k in range(1, 4000, 4)]
    assert float(np.median(apart)) <= 2
    assert float(np.mean([d <= 2 for d in apart])) > 0.6


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_can_be_drawn_varied_and_set(kind: str) -> None:
    rng = Random(f"kind/{kind}")
    for _ in range(40):
        entity = make_entity(rng, kind)
        sibling = make_sibling(entity, rng)
        assert sibling.name != entity.name
        for text in (entity.name, variant(entity, rng), variant(sibling, rng), entity.trade, entity.address):
            assert clean(text) == text != ""
            assert choose_face(text, rng).covers(text)


def test_variants_stay_nearer_to_their_entity_than_to_others() -> None:
    rng = Random(4)
    entities = make_entities(300, seed=4)[::2]  # without the look-alikes
    names = [FOLDING.fold(entity.name) for entity in entities]
    hits = 0
    for place, entity in enumerate(entities):
        text = FOLDING.fold(variant(entity, rng))
        near = [Levenshtein.normalized_similarity(text, name) for name in names]
        hits += int(np.argmax(near)) == place
    assert hits / len(entities) > 0.9


@given(st.text(max_size=40), st.floats(0, 1), st.integers(0, 10**6))
def test_a_reading_of_something_is_never_nothing(text: str, level: float, seed: int) -> None:
    reading = corrupt(text, Random(seed), level)
    assert reading == corrupt(text, Random(seed), level)
    assert bool(reading.strip()) or not text.strip()
    if level == 0:
        assert reading == text


def test_more_noise_means_more_wrong_characters() -> None:
    texts = [entity.name for entity in make_entities(400, seed=2)]

    def error_rate(level: float) -> float:
        rng = Random(9)
        wrong = sum(Levenshtein.distance(text, corrupt(text, rng, level)) for text in texts)
        return wrong / sum(map(len, texts))

    rates = [error_rate(level) for level in (0.0, 0.05, 0.1, 0.2, 0.4)]
    assert rates[0] == 0
    assert rates == sorted(rates)
    assert rates[2] == pytest.approx(0.1, abs=0.05)


# --- pictures ---------------------------------------------------------------------------------------------------


def test_faces_set_what_they_say_they_cover() -> None:
    assert len(faces()) > 0
    for face in faces():
        text = "株式" if face.covers("株式") else "Ag"
        ink = np.asarray(set_line(TypeLine(text, face, 30)))
        assert ink.max() > 150, f"{face.family} {face.style} leaves no ink"
        assert ink[[0, -1]].max() == 0 == ink[:, [0, -1]].max(), f"{face.family} {face.style} is cut off"


def test_a_character_that_no_font_has_names_the_fix() -> None:
    with pytest.raises(DependencyError, match="apt-get install"):
        choose_face("\U00012345\ue0ff", Random(0))


def test_letter_spacing_widens_and_columns_run_downward() -> None:
    face = choose_face("Aldridge & Sons", Random(1))
    close, wide = (set_line(TypeLine("Aldridge & Sons", face, 30, spacing)) for spacing in (0.0, 5.0))
    assert wide.width > close.width + 50
    japanese = choose_face("東京セーター", Random(1))
    column = set_column(TypeLine("東京セーター", japanese, 30))
    assert column.height > 4 * column.width
    block = stack([close, wide], 4, 0.5)
    assert block.size == (wide.width, close.height + wide.height + 4)
    assert margins(block, 5, 6, 7, -8).size == (block.width + 12, block.height - 2)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_a_degraded_line_still_shows_its_ink_in_the_same_place(strength: float) -> None:
    clean_ink = set_line(TypeLine("Whitlock & Sons", choose_face("Whitlock & Sons", Random(3)), 32))
    soft = np.asarray(clean_ink.filter(ImageFilter.GaussianBlur(2)), dtype=np.float32)
    alike = []
    for seed in range(12):
        image = degrade(clean_ink, Random(seed), strength)
        assert image.mode in ("L", "RGB")
        again = degrade(clean_ink, Random(seed), strength)
        assert image.tobytes() == again.tobytes()
        grey = np.asarray(image.convert("L").resize(clean_ink.size), dtype=np.float32)
        alike.append(np.corrcoef(soft.ravel(), -grey.ravel())[0, 1])
    assert float(np.median(alike)) > 0.5


def test_bare_paper_takes_no_ink_however_heavy_the_press() -> None:
    blank = np.zeros((60, 200), dtype=np.float32)
    assert press(blank, np.random.default_rng(0), 1.0, 1.0).max() == 0


# --- the directory ----------------------------------------------------------------------------------------------


def test_firms_stay_vanish_and_appear() -> None:
    earlier, later = two_editions(200, Random(0))
    assert len(earlier) == len(later) == 200
    old, new = ({firm.entity_id for firm in firms} for firms in (earlier, later))
    assert len(old) == len(new) == 200
    assert 120 < len(old & new) < 170
    changed = {firm.entity_id: firm for firm in earlier}
    kept = [(changed[firm.entity_id], firm) for firm in later if firm.entity_id in old]
    for field in ("surname", "suffix", "trade", "street"):
        assert 0 < sum(getattr(a, field) != getattr(b, field) for a, b in kept) < 0.7 * len(kept)
    surnames = [firm.surname for firm in earlier]
    assert len(set(surnames)) < 190, "namesakes are there on purpose"
    assert surnames == sorted(surnames, key=str.casefold)


def test_the_truth_lists_every_entry_once_with_labels_that_hold(editions: Path) -> None:
    truth = pd.read_csv(editions / "truth.csv")
    assert truth["record_id"].is_unique
    assert len(truth) == 200
    year = truth["source"].str[:4]
    assert year.value_counts().to_dict() == {"1898": 100, "1908": 100}
    assert (truth.groupby("entity_id")["split"].nunique() == 1).all()
    shares = truth.drop_duplicates("entity_id")["split"].value_counts(normalize=True)
    assert [round(shares[name], 1) for name in ("train", "val", "test")] == [0.4, 0.2, 0.4]
    old = set(truth.loc[year == "1898", "entity_id"])
    assert (truth.loc[year == "1898", "role"] == "exemplar").all()
    expected = ["query" if key in old else "query_nomatch" for key in truth.loc[year == "1908", "entity_id"]]
    assert truth.loc[year == "1908", "role"].tolist() == expected
    assert truth.loc[year == "1908", "source"].nunique() == 1, "one file of several pages"


def test_every_box_lies_on_its_page_around_ink_and_apart_from_the_others(editions: Path) -> None:
    truth = pd.read_csv(editions / "truth.csv")
    for (source, page), rows in truth.groupby(["source", "page"]):
        grey = page_of(editions, source, page)
        boxes = rows[["x0", "y0", "x1", "y1"]].to_numpy()
        assert (boxes >= 0).all()
        assert (boxes[:, [0, 2]] <= grey.shape[1]).all()
        assert (boxes[:, [1, 3]] <= grey.shape[0]).all()
        covered = np.zeros(grey.shape, dtype=int)
        for x0, y0, x1, y1 in boxes:
            inside = grey[y0:y1, x0:x1]
            gap = grey[y1 + 2 : y1 + 4, x0:x1]
            assert np.percentile(inside, 3) < np.median(gap) - 40, f"{source} {page}: no ink in {x0, y0, x1, y1}"
            covered[y0 + 2 : y1 - 2, x0:x1] += 1
        assert covered.max() == 1


def test_the_boxes_end_where_the_ink_ends(editions: Path) -> None:
    truth = pd.read_csv(editions / "truth.csv")
    rows = truth[truth["source"] == "1898/page_01.jpg"]
    grey = page_of(editions, "1898/page_01.jpg", 1)
    paper = np.median(grey)
    for row in rows.itertuples():
        columns = (grey[row.y0 : row.y1, row.x0 - 12 : row.x1 + 12] < paper - 45).sum(0)
        assert columns[12:32].sum() > 0 and columns[-40:-12].sum() > 0
        assert columns[-8:].sum() <= 4


@given(st.floats(-0.01, 0.01), st.floats(0, 20), st.booleans(), st.floats(0, 1654), st.floats(0, 2339))
def test_the_bend_is_undone(tilt: float, curl: float, left: bool, x: float, y: float) -> None:
    bend = PageBend(tilt, curl, left, (1654, 2339))
    assert bend.source(*bend.target(x, y)) == pytest.approx((x, y), abs=0.05)


def test_the_same_seed_draws_the_same_directory(tmp_path: Path) -> None:
    def digest(folder: Path) -> list[str]:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]

    write_editions(tmp_path / "library", firms=8, seed=1)
    command = [sys.executable, "scripts/make_demo.py", str(tmp_path / "script"), "--firms", "8", "--seed", "1"]
    subprocess.run(command, cwd=ROOT, check=True)
    assert digest(tmp_path / "library") == digest(tmp_path / "script")


def test_too_few_firms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="4 firms"):
        write_editions(tmp_path / "demo", firms=3, seed=0)
    assert not (tmp_path / "demo").exists()


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_entries_carry_the_surname_the_trade_and_the_number(seed: int) -> None:
    for firm in two_editions(4, Random(seed))[1]:
        for short in (True, False):
            name, rest = entry(firm, short=short)
            assert name.startswith(firm.surname)
            assert firm.trade in rest
            assert str(firm.number) in rest.split()
