"""Noise learned from Tesseract, words of letter books, handwriting and wear."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from linkage.errors import InputError
from linkage.synth.hand import write_line
from linkage.synth.japanese import japanese_sibling
from linkage.synth.learn import learn_noise
from linkage.synth.names import make_entities, make_entity
from linkage.synth.noise import corrupt, draw_level, look_alikes
from linkage.synth.render import HANDWRITTEN, HELD_OUT, TypeLine, can_set, choose_face, faces, set_line
from linkage.synth.views import draw_view
from linkage.synth.vocabulary import make_word
from linkage.synth.wear import bend, crossing, fading, fibres, screen, shadow
from linkage.text import clean

# --- noise ------------------------------------------------------------------------------------------------------


def test_readings_carry_the_errors_that_tesseract_made_most() -> None:
    rng = Random(3)
    readings = [corrupt("École Élémentaire", rng, 0.3) for _ in range(400)]
    plain = sum("Ecole" in reading for reading in readings)
    assert plain > 40, "an English model reads no accents"
    kanji = [corrupt("東京鐵工所", rng, 0.4) for _ in range(200)]
    assert sum(reading != "東京鐵工所" for reading in kanji) > 120
    assert all(reading.strip() for reading in kanji)


def test_handwriting_and_hard_scans_are_read_worse() -> None:
    def mean(text: str, strength: float, written: bool) -> float:
        rng = Random(1)
        return float(np.mean([draw_level(text, rng, strength, written=written) for _ in range(2000)]))

    assert mean("Mill", 0.1, False) < mean("Mill", 1.0, False)
    assert mean("Mill", 0.5, False) < mean("Mill", 0.5, True)
    assert mean("製作所", 0.5, False) > mean("Mill", 0.5, False)
    assert 0 <= mean("Mill", 1.0, True) <= 0.6


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="Tesseract is not installed")
def test_noise_is_learned_from_readings(tmp_path: Path) -> None:
    summary = learn_noise(tmp_path / "learned.json", entities=100, seed=5)
    learned = json.loads((tmp_path / "learned.json").read_text(encoding="utf-8"))
    assert set(learned) == {"pieces", "seen", "levels"}
    assert 80 < summary["views"] <= 100
    assert 0.05 < summary["error_rate"] < 0.6
    assert all(re.fullmatch("(latin|japanese)/(print|hand)", key) for key in learned["levels"])
    for bins in learned["levels"].values():
        assert len(bins) == 4
        assert all(quantiles == sorted(quantiles) for quantiles in bins)
    assert learned["seen"]["e"] > 20


def test_a_handful_of_views_is_too_little_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="100 entities"):
        learn_noise(tmp_path / "learned.json", entities=99, seed=0)
    assert list(tmp_path.iterdir()) == []


# --- names ------------------------------------------------------------------------------------------------------


def test_words_come_in_all_cases_with_numbers_and_dates() -> None:
    rng = Random(8)
    made = [make_word(rng) for _ in range(3000)]
    assert all(clean(word) == word != "" for word in made)
    assert len(set(made)) > 1200
    for pattern in (r"[a-z]+", r"[A-Z][a-z]+,", r"[A-Z]{3,}", r"\d{4}", r"[A-Z][a-z]+ \d+, \d{4}\.", r"£\d+\.\d+\.\d+"):
        assert sum(re.fullmatch(pattern, word) is not None for word in made) >= 3, pattern


def test_tills_print_capitals_and_legal_forms() -> None:
    rng = Random(2)
    shops = [make_entity(rng, "shop", "en").name for _ in range(300)]
    assert all(name == name.upper() for name in shops)
    assert sum(bool(re.search(r"SDN\.? BHD|LTD|PLC|INC|BERHAD|BHD|LIMITED", name)) for name in shops) > 120


def test_japanese_look_alikes_look_alike_as_often_as_not() -> None:
    rng = Random(0)
    names = ["大石商店", "太石商店", "末藤工業"] * 60
    changed = [(a, b) for name in names for a, b in zip(name, japanese_sibling(name, rng), strict=True) if a != b]
    assert len(changed) == len(names)
    assert 0.35 < float(np.mean([b in look_alikes(a) for a, b in changed])) < 0.7


# --- faces and pictures -----------------------------------------------------------------------------------------


def test_held_out_families_are_never_drawn() -> None:
    rng = Random(4)
    drawn = {
        choose_face(text, rng, hand=hand).family for text in ("東京", "Mill") for hand in (0, 1) for _ in range(400)
    }
    assert not drawn & HELD_OUT
    assert len(drawn) > 8
    able = [face for face in faces() if not HANDWRITTEN.search(face.family)]
    if len(able) < len(faces()):
        assert all(HANDWRITTEN.search(choose_face("Mill", rng, hand=True).family) for _ in range(50))
    assert not any(HANDWRITTEN.search(choose_face("Mill", rng).family) for _ in range(200))


def test_a_face_that_lists_a_character_but_leaves_it_blank_cannot_set_it() -> None:
    blank = [(face, c) for face in faces() for c in "éßöç" if face.covers(c) and not can_set(face, c)]
    for face, c in blank:
        assert np.asarray(set_line(TypeLine(c, face, 30))).max() == 0
    assert all(can_set(choose_face("Maß é", Random(seed)), "Maß é") for seed in range(100))


def test_a_hand_never_writes_a_line_twice_alike_and_shows_all_of_it() -> None:
    line = TypeLine("Letters", choose_face("Letters", Random(0), hand=True), 32)
    lines = [write_line(line, Random(seed)) for seed in range(8)]
    assert len({image.tobytes() for image in lines}) == 8
    assert write_line(line, Random(3)).tobytes() == lines[3].tobytes()
    for image in lines:
        ink = np.asarray(image)
        assert ink.max() > 150
        assert ink[0].max() == ink[-1].max() == 0
        assert image.width > image.height


@pytest.mark.parametrize("effect", [fading, screen, shadow, fibres, crossing])
def test_an_effect_has_the_shape_of_its_picture_and_stays_in_range(effect: object) -> None:
    assert callable(effect)
    for seed in range(20):
        worn = effect((37, 210), Random(seed))
        assert worn.shape == (37, 210)
        assert worn.min() >= -0.25
        assert worn.max() <= 1
        assert np.array_equal(worn, effect((37, 210), Random(seed)))
    assert any(np.ptp(effect((37, 210), Random(seed))) > 0.05 for seed in range(20))


def test_a_bent_line_keeps_its_columns_and_moves_its_baseline() -> None:
    rule = Image.new("L", (300, 40))
    rule.paste(255, (0, 20, 300, 22))
    bent = np.asarray(bend(rule, Random(1), 1.0))
    assert (bent.astype(int).sum(axis=0) == 510).all()
    heights = bent.argmax(axis=0)
    assert np.ptp(heights) >= 2
    assert abs(np.diff(heights.astype(int))).max() <= 1


def test_views_are_written_by_hand_in_their_share_and_mostly_single_lines() -> None:
    entities = make_entities(400, seed=6)
    views = [draw_view(entity, Random(f"view/{n}")) for n, entity in enumerate(entities)]
    assert 0.08 < float(np.mean([view.written for view in views])) < 0.35
    assert 0.6 < float(np.mean([view.layout in ("line", "column") for view in views])) < 0.8
    grey = [np.asarray(view.image.convert("L"), dtype=float) for view in views]
    assert np.mean([np.ptp(np.percentile(g, (1, 75))) > 15 for g in grey]) > 0.98, "ink that cannot be seen"
