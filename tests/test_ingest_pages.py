from __future__ import annotations

import os
from pathlib import Path

import pytest
from drawn import page, write_broken_tiff, write_empty_pdf, write_encrypted_pdf, write_huge_pdf
from PIL import Image

from linkage.errors import InputError
from linkage.scans.pages import count_pages, find_sources, read_page


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def names(*inputs: Path) -> list[str]:
    return [source.name for source in find_sources(inputs)]


def test_a_folder_is_searched_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a.JPG", "sub/c.pdf", "sub/deep/d.tiff", ".hidden.png", ".git/e.png", "notes.txt", "t.csv")
    assert names(tmp_path) == ["a.JPG", "b.png", "sub/c.pdf", "sub/deep/d.tiff"]


def test_names_are_relative_to_what_the_inputs_share(tmp_path: Path) -> None:
    touch(tmp_path, "one/p.png", "two/p.png")
    assert names(tmp_path / "one" / "p.png") == ["p.png"]
    assert names(tmp_path / "one", tmp_path / "two") == ["one/p.png", "two/p.png"]
    assert names(tmp_path / "two", tmp_path) == ["one/p.png", "two/p.png"], "each file once"


def test_a_named_file_is_tried_whatever_its_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "scan.dat", "other.dat")
    assert names(tmp_path / "scan.dat") == ["scan.dat"]


def test_patterns(tmp_path: Path) -> None:
    touch(tmp_path, "a1.png", "a2.png", "b1.png", "a3.txt", "x/a4.png", "odd[1].png")
    assert names(tmp_path / "a*") == ["a1.png", "a2.png"]
    assert names(tmp_path / "**" / "a*.png") == ["a1.png", "a2.png", "x/a4.png"]
    assert names(tmp_path / "odd[1].png") == ["odd[1].png"], "an existing name is no pattern"
    with pytest.raises(InputError, match="nothing matches"):
        find_sources([tmp_path / "z*"])


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no scan found"):
        find_sources([tmp_path])
    with pytest.raises(InputError, match="no such file"):
        find_sources([tmp_path / "absent"])
    with pytest.raises(InputError, match="no input"):
        find_sources([])


def test_names_that_are_not_utf8_can_be_written(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")).write_bytes(b"x")
    assert names(tmp_path) == ["caf\\xe9.png"]


def test_pages_of_a_tiff(tmp_path: Path) -> None:
    write_broken_tiff(tmp_path / "t.tif")
    assert count_pages(tmp_path / "t.tif") == 3
    for number in (1, 3):
        image = read_page(tmp_path / "t.tif", number, dpi=300, max_megapixels=1).image
        assert image.tobytes() == page([f"page {number}"]).tobytes()
    with pytest.raises(InputError, match="damaged"):
        read_page(tmp_path / "t.tif", 2, dpi=300, max_megapixels=1)


def test_a_tiff_whose_list_of_pages_breaks_off_keeps_the_pages_before(tmp_path: Path) -> None:
    path = tmp_path / "t.tif"
    page().save(path, save_all=True, append_images=[page()])
    with Image.open(path) as image:
        image.seek(1)
        second = image._frame_pos[1] if hasattr(image, "_frame_pos") else image._TiffImageFile__frame_pos[1]
    path.write_bytes(path.read_bytes()[: second + 10])
    assert count_pages(path) == 2
    with pytest.raises(InputError):
        read_page(path, 2, dpi=300, max_megapixels=1)


def test_pages_of_a_pdf(tmp_path: Path) -> None:
    path = tmp_path / "p.pdf"
    page().save(path, save_all=True, append_images=[page(["second"])], resolution=100)
    assert count_pages(path) == 2
    found = read_page(path, 2, dpi=200, max_megapixels=10)
    assert found.image.size == (1400, 600)
    assert found.image.mode == "RGB"
    assert found.pixels_per_point == pytest.approx(200 / 72)
    assert found.image.getextrema()[0] == (0, 255)


def test_pdfs_that_cannot_be_read(tmp_path: Path) -> None:
    write_encrypted_pdf(tmp_path / "locked.pdf")
    write_empty_pdf(tmp_path / "empty.pdf")
    write_huge_pdf(tmp_path / "huge.pdf")
    (tmp_path / "junk.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    with pytest.raises(InputError, match="encrypted"):
        count_pages(tmp_path / "locked.pdf")
    with pytest.raises(InputError, match="no pages"):
        count_pages(tmp_path / "empty.pdf")
    with pytest.raises(InputError, match="damaged or has no pages"):
        count_pages(tmp_path / "junk.pdf")
    assert count_pages(tmp_path / "huge.pdf") == 1
    with pytest.raises(InputError, match="60000 x 60000 pixels"):
        read_page(tmp_path / "huge.pdf", 1, dpi=300, max_megapixels=200)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    for name in ("pipe.png", "gone.png"):
        with pytest.raises(InputError, match="not a regular file"):
            count_pages(tmp_path / name)
