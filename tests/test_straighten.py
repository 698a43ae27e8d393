"""Pages as they come from the glass: turned, tilted, on black; and the way back to the page of the file."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from drawn import page
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from linkage.config import IngestConfig
from linkage.errors import ConfigError
from linkage.ingest.duplicates import PageFingerprint, find_duplicates
from linkage.ingest.ingest import ingest
from linkage.ocr.engines import make_engine
from linkage.ocr.turn import find_rotation
from linkage.records import Records
from linkage.scans.contrast import even_contrast
from linkage.scans.pages import Page
from linkage.scans.rescans import look_at, same_sheet
from linkage.scans.straighten import straighten
from linkage.tables import read_table

WORDS = "linkage of records that scanned documents hold to the entities they name with picture and text".split()
ALL = IngestConfig(deskew=True, frame=True)


def sheet(seed: int, lines: int = 16, size: tuple[int, int] = (1000, 1100)) -> Image.Image:
    """A page of print; the words are drawn by chance."""
    chance = random.Random(seed)
    text = [" ".join(chance.choices(WORDS, k=7)) + f" {chance.randrange(10**6)}" for _ in range(lines)]
    return page([line[:52] for line in text], size)


def tilted(image: Image.Image, degrees: float, ground: int = 255) -> Image.Image:
    """Turned clockwise, so that the lines fall to the right."""
    return image.rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=ground)


@pytest.mark.parametrize("degrees", [-14.2, -5.0, -0.7, 0.4, 2.35, 9.9])
def test_the_tilt_of_the_lines_is_taken_off(degrees: float) -> None:
    found = straighten(Page(tilted(sheet(1), degrees)), IngestConfig(deskew=True))
    assert abs(found.skew - degrees) <= 0.1
    again = straighten(found.page, IngestConfig(deskew=True))
    assert again.skew == 0


def test_a_level_or_an_empty_page_is_left_as_it_is() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 500), np.uint8))
    for image in (sheet(2), Image.new("RGB", (300, 200), "white"), noise, Image.new("L", (1, 1))):
        found = straighten(Page(image), IngestConfig(deskew=True))
        assert found.skew == 0 and found.page.image is image


@settings(max_examples=40)
@given(
    st.sampled_from([0, 90, 180, 270]),
    st.floats(-12, 12),
    st.booleans(),
    st.integers(60, 140),
    st.integers(60, 140),
)
def test_places_go_back_to_where_they_were(turn: int, degrees: float, frame: bool, x: int, y: int) -> None:
    image = tilted(sheet(3, 8, (700, 480)), degrees).convert("RGB")
    image.paste((255, 0, 0), (x, y, x + 9, y + 9))
    found = straighten(Page(image), IngestConfig(deskew=True, frame=frame), turn)
    red = np.asarray(found.page.image.convert("RGB"), int)
    ys, xs = np.nonzero((red[..., 0] > 180) & (red[..., 1] < 110))
    if not len(xs):
        return  # cut off by the frame
    ((back_x, back_y),) = found.place([(xs.mean() + 0.5, ys.mean() + 0.5)])
    assert abs(back_x - (x + 4.5)) <= 1.5 and abs(back_y - (y + 4.5)) <= 1.5


def test_a_receipt_on_dark_glass_is_cropped_to_its_paper() -> None:
    glass = Image.new("L", (1700, 1500), 12)
    glass.paste(sheet(4, 14, (900, 800)), (300, 400))
    found = straighten(Page(tilted(glass, 4, 12)), ALL)
    assert abs(found.skew - 4) <= 0.1
    assert np.asarray(found.page.image).mean() > 200, "no glass is left"
    assert found.page.image.width <= 920 and found.page.image.height <= 820


def test_uneven_light_becomes_even() -> None:
    flat = np.asarray(sheet(5), float)
    lamp = np.linspace(0.45, 1, flat.shape[1])
    evened = np.asarray(even_contrast(Image.fromarray((flat * lamp * 0.9).astype(np.uint8))), float)
    paper = flat == 255
    assert evened[paper].min() > 225
    assert np.abs(evened - flat).mean() < 4


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_page_is_turned_the_way_it_can_be_read(turn: int) -> None:
    config = IngestConfig()
    upside = tilted(sheet(6), 3).rotate(turn, expand=True)
    assert find_rotation(Page(upside), config, make_engine(config)) == turn


def test_standing_lines_are_no_reason_to_turn_a_page_where_text_may_stand() -> None:
    from linkage.ocr.engine import NoEngine

    config = IngestConfig(psm=5)
    assert find_rotation(Page(sheet(7).rotate(90, expand=True)), config, NoEngine()) == 0


def test_records_of_a_tilted_page_lie_on_the_page_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    tilted(sheet(8), 5).rotate(180).save(tmp_path / "in" / "a.png")
    config = IngestConfig(deskew=True, rotate="auto", workers=1, padding=0)
    ingest([tmp_path / "in"], tmp_path / "r.parquet", config)
    frame = Records.open(tmp_path / "r.parquet").frame
    level = straighten(Page(Image.open(tmp_path / "in" / "a.png")), config, 180)
    assert len(frame) == 16
    for row in frame.itertuples():
        corners = [tuple(map(int, corner.split(","))) for corner in row.polygon.split(" ")]
        xs, ys = zip(*corners, strict=True)
        assert (min(xs), min(ys), max(xs), max(ys)) == (row.x0, row.y0, row.x1, row.y1)
        lengths = np.hypot(*(np.array(corners) - np.roll(corners, 1, axis=0)).T)
        assert sorted(lengths)[1] < 45 < 300 < sorted(lengths)[2], "a line is long and low"
    assert frame["y0"].iloc[0] > frame["y0"].iloc[-1], "read from what is its top"
    pages = read_table(tmp_path / "r.pages.csv")
    assert pages["rotation"][0] == 180 and abs(pages["skew"][0] - 5) <= 0.1 and level.rotation == 180


def test_rotation_by_reading_needs_an_engine(tmp_path: Path) -> None:
    sheet(1).save(tmp_path / "a.png")
    config = IngestConfig(rotate="auto", ocr="none", regions="page")
    with pytest.raises(ConfigError, match="rotate: auto needs an OCR engine"):
        ingest([tmp_path / "a.png"], tmp_path / "r.parquet", config)


def rescan(image: Image.Image, seed: int) -> Image.Image:
    """Scanned again: a little tilted, larger, softer, grainy, and through JPEG."""
    chance = random.Random(seed)
    moved = tilted(image, chance.uniform(-2, 2))
    moved = moved.resize((round(moved.width * 1.07), round(moved.height * 1.06))).filter(ImageFilter.GaussianBlur(0.6))
    grain = np.asarray(moved, float) * 0.95 + np.random.default_rng(seed).normal(0, 6, (moved.height, moved.width))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=70)
    return Image.open(buffer).convert("L")


def test_the_same_sheet_is_known_again_and_another_copy_of_a_form_is_not() -> None:
    form = [f"{number:>3}  {' '.join(WORDS[number % 8 : number % 8 + 4])}" for number in range(20)]
    first = page([*form, "Invoice 0097491", "Total 100.00"], (1000, 1200))
    other = page([*form, "Invoice 0097538", "Total 7.35"], (1000, 1200))
    assert same_sheet(look_at(first), look_at(rescan(first, 1)))
    assert not same_sheet(look_at(first), look_at(other))
    assert not same_sheet(look_at(first), look_at(sheet(9)))
    assert not same_sheet(look_at(Image.new("L", (50, 50), 255)), look_at(Image.new("L", (50, 50), 255)))


def test_the_first_of_several_is_the_one_that_is_named() -> None:
    looks = [look_at(sheet(1)), look_at(sheet(2)), look_at(rescan(sheet(1), 3)), look_at(rescan(sheet(1), 4))]
    pages = [PageFingerprint(number, str(number), look.bits) for number, look in enumerate(looks)]
    pages += [PageFingerprint(9, "2"), PageFingerprint(1, "1"), PageFingerprint(10), PageFingerprint(11)]
    found = [(one.first, one.kind) if one else None for one in find_duplicates(pages, looks.__getitem__)]
    assert found == [None, None, (0, "near"), (0, "near"), (0, "page"), (1, "file"), None, None]


def test_duplicates_are_listed_and_kept_also_when_the_table_is_made_from_an_earlier_one(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    sheet(1).save(folder / "a.png")
    sheet(1).save(folder / "b.tif")
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes())
    sheet(2).save(folder / "e.png")
    config = IngestConfig(regions="page", ocr="none", workers=1, rescans=True)

    def duplicates() -> dict[str, tuple[str, str]]:
        pages = read_table(tmp_path / "r.pages.csv")
        return {row.source: (row.duplicate, row.duplicate_of) for row in pages.itertuples() if row.duplicate}

    assert ingest([folder], tmp_path / "r.parquet", config).duplicates == 2
    assert duplicates() == {"b.tif": ("page", "a.png:1"), "c.png": ("file", "a.png:1")}
    rescan(sheet(2), 5).save(folder / "f.png")
    summary = ingest([folder], tmp_path / "r.parquet", config)
    assert (summary.records, summary.duplicates) == (5, 3)
    assert duplicates()["f.png"] == ("near", "e.png:1")
