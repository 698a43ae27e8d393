"""Where transcripts are found: beside the scans, in folders of their own, by METS."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.scans.names import safe_name
from linkage.scans.pages import find_sources
from linkage.transcripts.find import SourceTranscripts, find_transcripts


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def found(folder: Path) -> dict[str, list[str]]:
    transcripts = find_transcripts(find_sources([folder]))
    return {
        source.name: [path.relative_to(folder).as_posix() for path in match.files]
        for source, match in transcripts.items()
    }


@pytest.mark.parametrize(
    "name",
    "a/1.xml a/1.hocr a/1.html a/1.alto.xml a/1.page.xml a/1.jpg.xml a/alto/1.xml a/PAGE/1.xml a/hocr/1.html "
    "ocr/1.xml xml/1.jpg.xml Page/1.page.xml".split(),
)
def test_places(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "a/1.jpg", "a/2.jpg", "a/10.xml", "b/1.xml", name)
    assert found(tmp_path) == {"a/1.jpg": [name], "a/2.jpg": []}


def test_the_nearest_counts(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "alto/1.xml", "a/page/1.xml", "a/alto/1.hocr", "a/1.html")
    for name in ("a/1.html", "a/alto/1.hocr", "a/page/1.xml", "alto/1.xml"):
        assert found(tmp_path)["a/1.jpg"] == [name]
        (tmp_path / name).unlink()


def test_a_source_of_several_pages_may_have_a_file_for_each(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "1_1.xml", "t2.jpg", "t_x.xml", "t_0.xml")
    touch(tmp_path, "t.tif", "t_0001.xml", "t-page_0012.hocr", "t_2.page.xml", "t_2.hocr")
    transcripts = {source.name: match for source, match in find_transcripts(find_sources([tmp_path])).items()}
    assert transcripts["1.jpg"] == SourceTranscripts(), "it has one page only"
    match = transcripts["t.tif"]
    assert [match.page(number) for number in (1, 2, 3, 12)] == [
        (tmp_path / "t_0001.xml", 1),
        (tmp_path / "t_2.hocr", 1),
        None,
        (tmp_path / "t-page_0012.hocr", 1),
    ]
    touch(tmp_path, "t.xml")
    whole = {source.name: match for source, match in find_transcripts(find_sources([tmp_path])).items()}["t.tif"]
    assert (whole.page(7), SourceTranscripts().page(1)) == ((tmp_path / "t.xml", 7), None)


METS = """<mets xmlns="http://www.loc.gov/METS/" xmlns:xlink="http://www.w3.org/1999/xlink"><fileSec>
<fileGrp USE="THUMBS"><file ID="T_1" MIMETYPE="image/jpeg"><FLocat xlink:href="thumbs/1.jpg"/></file></fileGrp>
<fileGrp USE="MAX">{images}</fileGrp>
<fileGrp USE="TEI"><file ID="TEI_1" MIMETYPE="text/xml"><FLocat xlink:href="tei/1.xml"/></file></fileGrp>
<fileGrp USE="FULLTEXT">{texts}</fileGrp></fileSec>{structure}</mets>"""
STRUCTURE = """<structMap TYPE="LOGICAL"><div><fptr FILEID="I_2"/><fptr FILEID="A_1"/></div></structMap>
<structMap TYPE="PHYSICAL"><div TYPE="physSequence"><div><fptr FILEID="T_1"/><fptr FILEID="I_1"/>
<fptr FILEID="TEI_1"/><fptr FILEID="A_2"/></div><div><fptr FILEID="I_2"/><fptr><area FILEID="A_1"/></fptr></div></div>
</structMap>"""


def mets(folder: Path, structure: str, images: list[str], texts: list[str]) -> Path:
    def listed(kind: str, letter: str, names: list[str]) -> str:
        return "".join(
            f'<file ID="{letter}_{n}" MIMETYPE="{kind}"><FLocat LOCTYPE="URL" xlink:href="{name}"/></file>'
            for n, name in enumerate(names, start=1)
        )

    path = folder / "mets.xml"
    path.write_text(
        METS.format(images=listed("image/jpeg", "I", images), texts=listed("text/xml", "A", texts), structure=structure)
    )
    return path


def test_mets_pairs_by_its_structure_else_by_ids(tmp_path: Path) -> None:
    touch(tmp_path, "max/1.jpg", "max/2 b.jpg", "thumbs/1.jpg", "tei/1.xml", "alto/x.xml", "alto/y.xml")
    names = ["max/1.jpg", "file://./max/2%20b.jpg"], ["alto/x.xml", "file:///nowhere.xml"]
    names[1][1] = "alto\\y.xml"
    for structure, first, second in ((STRUCTURE, "y.xml", "x.xml"), ("", "x.xml", "y.xml")):
        sources = find_sources([mets(tmp_path, structure, *names)])
        assert [source.name for source in sources] == ["max/1.jpg", "max/2 b.jpg"]
        assert [source.transcript and source.transcript.name for source in sources] == [first, second]
        assert not any(source.reason for source in sources)
    (tmp_path / "max" / "1.jpg").unlink()
    assert find_sources([mets(tmp_path, STRUCTURE, *names)])[1].name == "thumbs/1.jpg", "better small than not at all"


def test_what_a_mets_file_may_not_have_is_set_aside_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    touch(folder, "1.jpg")
    touch(tmp_path, "secret.jpg")
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    images = ["1.jpg", "../secret.jpg", "/etc/passwd", "https://example.org/2.jpg", "link.jpg", "gone.jpg", "a%00b.jpg"]
    texts = ["../../x.xml"] * len(images)
    sources = find_sources([mets(folder, "", images, texts)])
    assert {source.name: source.reason.rsplit("' ")[-1] for source in sources} == {
        "1.jpg": "",
        "mets.xml#I_2": "lies outside the folder of the METS file",
        "mets.xml#I_3": "lies outside the folder of the METS file",
        "mets.xml#I_4": "is a URL; download it and let the METS file point to it",
        "mets.xml#I_5": "lies outside the folder of the METS file",
        "mets.xml#I_6": "is not there",
        "mets.xml#I_7": "is not there",
    }
    assert not any(source.transcript for source in sources)


@pytest.mark.parametrize("text", ["<mets/>", "<mets", "<!DOCTYPE mets [<!ENTITY a 'b'>]><mets>&a;</mets>"])
def test_a_useless_mets_file_is_one_source_with_a_reason(tmp_path: Path, text: str) -> None:
    touch(tmp_path, "1.jpg")
    (tmp_path / "mets.xml").write_text(text)
    one, two = find_sources([tmp_path, tmp_path / "mets.xml"])
    assert (one.name, one.reason, two.name) == ("1.jpg", "", "mets.xml")
    assert two.reason


def test_other_xml_is_tried_as_an_image(tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text("<alto/>")
    (source,) = find_sources([tmp_path / "x.xml"])
    assert (source.name, source.reason) == ("x.xml", "")


@given(st.text(max_size=300))
def test_names_are_safe(name: str) -> None:
    safe = safe_name(name)
    assert safe not in ("", ".", "..") and not safe.startswith(".") and not set(safe) & set("/\\\0\n")
    assert len(safe.encode()) <= 200


@pytest.mark.parametrize("name", ["0001.jpg", "Firmen 1898, Bd. 2.tif", "会社.png", "a-b_c(1).pdf"])
def test_ordinary_names_stay(name: str) -> None:
    assert safe_name(name) == name
