"""The measuring sets: whole, labelled without leaks, and of parts and type that training never shows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from linkage.synth import japanese
from linkage.synth.render import HELD_OUT, faces

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import make_sets  # noqa: E402

needs_tesseract = pytest.mark.skipif(shutil.which("tesseract") is None, reason="Tesseract is not installed")
needs_fonts = pytest.mark.skipif(
    not {face.family for face in faces()} >= HELD_OUT, reason="the held-out fonts are not installed"
)


def make(out: Path, *arguments: str | Path) -> pd.DataFrame:
    sizes = ["--queries", "12", "--exemplars", "20"]
    command = [sys.executable, "scripts/make_sets.py", str(out), *sizes, *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return pd.read_csv(out / "jp_firms" / "records.csv", keep_default_na=False)


def test_training_knows_none_of_the_parts_of_the_firms() -> None:
    composed = {head + tail for head, tail in product(japanese._HEADS, japanese._TAILS)}
    known = composed | {*japanese._SURNAMES, *japanese._PLACES, *japanese._TRADES, *japanese._HEADS, *japanese._TAILS}
    assert not known & {*make_sets.STEMS, *make_sets.TRADES}
    assert set(make_sets.QUERY_FAMILIES) | {make_sets.EXEMPLAR_FAMILY} == HELD_OUT


@needs_tesseract
@needs_fonts
def test_drawn_firms_are_labelled_and_the_same_again(tmp_path: Path) -> None:
    frame = make(tmp_path / "one")
    assert list(frame) == ["record_id", "image", "text", "entity_id", "split", "role", "truth"]
    assert frame["role"].value_counts().to_dict() == {"exemplar": 20, "query": 10, "query_nomatch": 2}
    assert frame["record_id"].is_unique
    assert (frame.groupby("entity_id")["split"].nunique() == 1).all()
    exemplars = set(frame.loc[frame["role"] == "exemplar", "entity_id"])
    assert set(frame.loc[frame["role"] == "query", "entity_id"]) <= exemplars
    assert not set(frame.loc[frame["role"] == "query_nomatch", "entity_id"]) & exemplars
    for image in frame["image"]:
        Image.open(tmp_path / "one" / "jp_firms" / image).verify()
    assert frame.equals(make(tmp_path / "two"))


@pytest.mark.shared
@needs_tesseract
@needs_fonts
def test_receipt_lines_keep_their_labels_and_get_harder(shared_data: Path, tmp_path: Path) -> None:
    make(tmp_path, "--receipts", shared_data / "sroie_crops", "--limit", "10")
    made = pd.read_csv(tmp_path / "sroie_degraded" / "records.csv", keep_default_na=False)
    source = pd.read_csv(shared_data / "sroie_crops" / "records.csv").head(10)
    for column in ("record_id", "entity_id", "split", "role"):
        assert made[column].tolist() == source[column].tolist()
    assert (made["text"] != made["truth"]).sum() >= 4
    heights = [Image.open(tmp_path / "sroie_degraded" / image).height for image in made["image"]]
    assert max(heights) <= 1.3 * make_sets.RECEIPT_HEIGHT


def test_no_receipts_is_an_error_of_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/make_sets.py", str(tmp_path / "out"), "--receipts", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
