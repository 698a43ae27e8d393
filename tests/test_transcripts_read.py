"""ALTO, PAGE XML and hOCR as they are met: what they say, and what they must not do."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.errors import InputError
from linkage.scans.markup import MAX_BYTES, number, numbers
from linkage.transcripts.model import Transcript, outline
from linkage.transcripts.read import read_transcript, transcript_page
from linkage.transcripts.writing import record_id_of, xml_id

ALTO = """<?xml version="1.0" encoding="UTF-8"?>
<alto xmlns="http://www.loc.gov/standards/alto/ns-v{version}#">
 <Description><MeasurementUnit>{unit}</MeasurementUnit>
  <OCRProcessing ID="o"><preProcessingStep><processingSoftware><softwareName>Scantailor</softwareName>
   </processingSoftware></preProcessingStep><ocrProcessingStep><processingSoftware>
   <softwareName>ABBYY  FineReader</softwareName><softwareVersion>11</softwareVersion></processingSoftware>
   </ocrProcessingStep></OCRProcessing></Description>
 <Tags><OtherTag ID="t1" LABEL="entry"/><LayoutTag ID="t2" LABEL="heading"/></Tags>
 <Layout><Page ID="p" WIDTH="1000" HEIGHT="500"><PrintSpace>
  <TextBlock ID="b1" HPOS="10" VPOS="20" WIDTH="300" HEIGHT="90" TAGREFS="t1 nowhere" STYLEREFS="s">
   <Shape><Polygon POINTS="10,20 310,20 310,110 60,110"/></Shape>
   <TextLine HPOS="10" VPOS="20" WIDTH="300" HEIGHT="40" TAGREFS="t2">
    <String HPOS="10" VPOS="20" WIDTH="90" HEIGHT="40" CONTENT="Dupont" WC="0.9"/><SP HPOS="100" VPOS="20" WIDTH="9"/>
    <String HPOS="110" VPOS="20" WIDTH="90" HEIGHT="40" CONTENT="quin" WC="0.5" SUBS_TYPE="HypPart1"
     SUBS_CONTENT="quincaillier"/><HYP CONTENT="-" HPOS="200" VPOS="30" WIDTH="10" HEIGHT="4"/>
   </TextLine>
   <TextLine HPOS="10" VPOS="70" WIDTH="300" HEIGHT="40">
    <String HPOS="10" VPOS="70" WIDTH="90" HEIGHT="40" CONTENT="caillier" WC="7"/><String CONTENT=" "/>
   </TextLine>
  </TextBlock>
  <TextBlock ID="b2" HPOS="900" VPOS="20" WIDTH="40" HEIGHT="400" ROTATION="90">
   <TextLine HPOS="900" VPOS="20" WIDTH="40" HEIGHT="400"><String HPOS="900" VPOS="20" WIDTH="40" HEIGHT="400"
    CONTENT="a whole line"/></TextLine>
  </TextBlock>
 </PrintSpace></Page></Layout>
</alto>"""

PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/{version}">
 <Metadata><Creator>Transkribus</Creator></Metadata>
 <Page imageFilename="0001.jpg" imageWidth="1000" imageHeight="500">
  <ReadingOrder><OrderedGroup id="g"><RegionRefIndexed index="1" regionRef="first"/>
   <UnorderedGroupIndexed index="0" id="u"><RegionRef regionRef="second"/></UnorderedGroupIndexed>
  </OrderedGroup></ReadingOrder>
  <TextRegion id="first" type="paragraph" custom="readingOrder {{index:1;}} structure {{type:entry;}}">
   <Coords {coords}/>
   <TextLine id="l2" custom="readingOrder {{index:1;}}"><Coords {coords}/>
    <TextEquiv index="1"><Unicode>worse</Unicode></TextEquiv>
    <TextEquiv index="0" conf="0.75"><PlainText>plain</PlainText><Unicode> better  still </Unicode></TextEquiv>
   </TextLine>
   <TextLine id="l1" custom="readingOrder {{index:0;}}"><Coords points="10,20 310,20 310,60 10,60"/>
    <Word id="w1"><Coords points="10,20 90,20 90,60 10,60"/>
     <TextEquiv conf="0.5"><Unicode>Abel</Unicode></TextEquiv></Word>
    <Word id="w2"><TextEquiv conf="nan"><Unicode>Cain</Unicode></TextEquiv></Word></TextLine>
  </TextRegion>
  <TextRegion id="second" readingDirection="top-to-bottom"><Coords points="900,20 940,420"/>
   <TextEquiv><Unicode>縦書き</Unicode></TextEquiv></TextRegion>
  <TableRegion id="t"><Coords points="0,0 5,5"/><TableCell id="c" row="0" col="0">
   <Coords points="0,300 200,300 200,340 0,340"/><TextLine id="l3"><Coords points="0,300 200,300 200,340 0,340"/>
   <TextEquiv><Unicode>cell</Unicode></TextEquiv></TextLine></TableCell></TableRegion>
 </Page>
</PcGts>"""

HOCR = """<!DOCTYPE html>
<html><head><title></title><meta charset="utf-8"><meta name='ocr-system' content='tesseract 5.3.0'></head>
<body>
 <div class='ocr_page' title='image "a;b.png"; bbox 0 0 1000 500; ppageno 0'>
  <div class='ocr_carea entry' title="bbox 10 20 310 110"><p class='ocr_par' dir='ltr' title="bbox 10 20 310 110">
   <span class='ocr_line' title="bbox 10 20 310 60; baseline 0 -3">
    <span class='ocrx_word' title='bbox 10 20 90 60; x_wconf 90'><strong>Abel</strong></span>
    <span class='ocrx_word' title='bbox 100 20 190 60; x_wconf 50'>&amp;&nbsp;Co</span></span>
   <span class='ocr_caption' title="bbox 10 70 310 110; textangle 90">only the line</span></p></div>
  <p class='ocr_par' title="bbox 500 20 700 60; poly 500 20 700 20 650 60"><span class='ocr_line'
   title="bbox 500 20 700 60">free</span></p>
 </div>
 <div class='ocr_page' title='bbox 0 0 800 400'><span class='ocr_line' title='bbox 1 2 3 4'>second page</span></div>
</body></html>"""


def read(tmp_path: Path, text: str | bytes) -> Transcript:
    path = tmp_path / "transcript"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_transcript(path)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_alto(tmp_path: Path, version: int) -> None:
    transcript = read(tmp_path, ALTO.format(version=version, unit="pixel"))
    (page,) = transcript.pages
    assert transcript.engine == "alto:ABBYY FineReader 11"
    assert (page.width, page.height, page.pixels) == (1000, 500, True)
    first, second = page.blocks
    assert first.text == "Dupont quin- caillier"
    assert (first.box, first.tags, first.vertical) == ((10, 20, 310, 110), ("entry",), None)
    assert first.polygon == ((10, 20), (310, 20), (310, 110), (60, 110))
    assert first.confidence == pytest.approx(0.7), "of the words whose confidence makes sense"
    upper, lower = first.lines
    assert [word.text for word in upper.words] == ["Dupont", "quin-"]
    assert upper.words[1].box == (110, 20, 210, 60)
    assert upper.tags == ("heading",)
    assert [word.confidence for word in lower.words] == [None]
    assert (second.text, second.vertical, second.lines[0].words) == ("a whole line", True, ())


@pytest.mark.parametrize(("written", "meant"), [("0.96", 0.96), ("0.7", 0.07), ("0.100", 1.0), ("0.0", 0.0)])
def test_tesseract_writes_percents_behind_a_point(tmp_path: Path, written: str, meant: float) -> None:
    text = ALTO.format(version=3, unit="pixel").replace("ABBYY  FineReader", "tesseract").replace("0.9", written)
    assert read(tmp_path, text).pages[0].blocks[0].lines[0].words[0].confidence == meant


def test_alto_in_other_units_needs_the_size_of_the_page(tmp_path: Path) -> None:
    assert not read(tmp_path, ALTO.format(version=2, unit="mm10")).pages[0].pixels


@pytest.mark.parametrize(
    ("version", "coords"),
    [("2019-07-15", 'points="10,20 310,20 310,110 60,110"'), ("2013-07-15", 'points="10,20 310,20 310,110 60,110"')],
)
def test_page_xml(tmp_path: Path, version: str, coords: str) -> None:
    transcript = read(tmp_path, PAGE.format(version=version, coords=coords))
    (page,) = transcript.pages
    assert transcript.engine == "page:Transkribus"
    second, first, cell = page.blocks
    assert (second.text, second.vertical, second.box) == ("縦書き", True, (900, 20, 940, 420))
    assert first.text == "Abel Cain better  still"
    assert first.tags == ("entry", "paragraph")
    assert first.polygon == ((10, 20), (310, 20), (310, 110), (60, 110))
    with_words, without = first.lines
    assert [(word.text, word.box, word.confidence) for word in with_words.words] == [
        ("Abel", (10, 20, 90, 60), 0.5),
        ("Cain", None, None),
    ]
    assert (without.text, without.words, without.confidence) == ("better  still", (), 0.75)
    assert (cell.text, cell.polygon) == ("cell", ())


def test_old_page_xml_has_elements_for_points(tmp_path: Path) -> None:
    old = PAGE.format(version="2010-03-19", coords="").replace(
        "<Coords />", '<Coords><Point x="10" y="20"/><Point x="310" y="20"/><Point x="60" y="110"/></Coords>'
    )
    assert read(tmp_path, old).pages[0].blocks[1].polygon == ((10, 20), (310, 20), (60, 110))


def test_hocr(tmp_path: Path) -> None:
    transcript = read(tmp_path, HOCR)
    assert transcript.engine == "hocr:tesseract 5.3.0"
    page, other = transcript.pages
    assert (page.width, page.height, other.width) == (1000, 500, 800)
    area, paragraph = page.blocks
    assert area.text == "Abel &\xa0Co only the line"
    assert (area.tags, area.box, area.confidence) == (("entry",), (10, 20, 310, 110), pytest.approx(0.7))
    assert [word.box for word in area.lines[0].words] == [(10, 20, 90, 60), (100, 20, 190, 60)]
    assert (area.lines[1].tags, area.lines[1].vertical, area.lines[1].words) == (("caption",), True, ())
    assert (paragraph.text, len(paragraph.polygon)) == ("free", 3)
    (whole,) = other.blocks
    assert (whole.text, whole.box) == ("second page", (1, 2, 3, 4))


def test_hocr_as_xml_may_name_the_characters_of_html(tmp_path: Path) -> None:
    strict = (
        '<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0//EN" "http://127.0.0.1:9/x.dtd">'
        '<html xmlns="http://www.w3.org/1999/xhtml"><body><div class="ocr_page" title="bbox 0 0 9 9">'
        '<span class="ocr_line" title="bbox 1 1 5 5">caf&eacute;</span></div></body></html>'
    )
    assert read(tmp_path, strict).pages[0].blocks[0].text == "café"


def test_a_document_type_is_not_looked_up(tmp_path: Path) -> None:
    (tmp_path / "x.dtd").write_text("<!ENTITY x 'read'>")
    for place in (tmp_path / "x.dtd", (tmp_path / "x.dtd").as_uri(), "http://127.0.0.1:9/x.dtd"):
        text = f'<!DOCTYPE alto SYSTEM "{place}"><alto><Layout><Page WIDTH="5" HEIGHT="5"/></Layout></alto>'
        assert read(tmp_path, text).pages[0].width == 5
        named = text.replace("<Page", "<a>&x;</a><Page")
        assert read(tmp_path, named).pages[0].width == 5, "an entity that nobody declares is nothing"


def test_only_the_page_asked_for_and_its_neighbours_are_there(tmp_path: Path) -> None:
    path = tmp_path / "book.hocr"
    path.write_text(HOCR, encoding="utf-8")
    assert transcript_page(path, 2)[0].width == 800
    with pytest.raises(InputError, match=r"its transcript book\.hocr: has 2 pages, and none for page 3"):
        transcript_page(path, 3)
    with pytest.raises(InputError, match=r"its transcript gone\.xml: cannot be read"):
        transcript_page(tmp_path / "gone.xml", 1)


BOMB = "<!DOCTYPE alto [<!ENTITY a 'aaaaaaaaaa'>" + "".join(
    f"<!ENTITY {name} '{f'&{before};' * 10}'>" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "a bomb": BOMB + "]><alto>&i;</alto>",
    "a bomb in an attribute": BOMB + "]><alto><Layout><Page WIDTH='&i;'/></Layout></alto>",
    "a file": "<!DOCTYPE alto [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><alto>&x;</alto>",
    "a parameter entity": "<!DOCTYPE alto [<!ENTITY % x SYSTEM 'http://127.0.0.1:9/x'>%x;]><alto/>",
    "a default": "<!DOCTYPE alto [<!ELEMENT alto ANY><!ATTLIST alto x CDATA 'y'>]><alto/>",
    "too deep": "<alto>" + "<a>" * 5000 + "</a>" * 5000 + "</alto>",
    "cut off": ALTO[:900],
    "cut off HTML": HOCR[:900],
    "other XML": "<svg/>",
    "nothing": "",
    "no markup": "Dupont, quincaillier",
    "no such encoding": "<?xml version='1.0' encoding='klingon'?><alto/>",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_hostile_or_damaged_is_refused_with_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_what_is_too_large_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "large.xml").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(InputError, match="larger than 32 MB"):
        read_transcript(tmp_path / "large.xml")


@pytest.mark.parametrize("document", [ALTO.format(version=4, unit="pixel"), PAGE.format(version="x", coords=""), HOCR])
@given(data=st.data())
def test_a_mutated_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, document: str, data: st.DataObject
) -> None:
    raw = bytearray(document.encode())
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(raw) - 1))
        raw[start : start + data.draw(st.integers(0, 30))] = data.draw(
            st.sampled_from([b"", b"9" * 40, b"-1", b"nan", b"<a>", b"&x;", b"\xff", b'"', b"\x00", b"1e999"])
        )
    try:
        transcript = read(tmp_path_factory.getbasetemp(), bytes(raw))
    except InputError:
        return
    for page in transcript.pages:
        for block in page.blocks:
            for piece in (block, *block.lines, *(word for line in block.lines for word in line.words)):
                assert piece.box is None or all(map(math.isfinite, piece.box))
                assert piece.confidence is None or 0 <= piece.confidence <= 1


@pytest.mark.parametrize("text", ["nan", "inf", "1e9", "-1e300", "1_0", "٣", "", None, "0x10", "1 2", "9" * 400])
def test_absurd_numbers_are_none(text: str | None) -> None:
    assert number(text) is None


def test_long_nonsense_takes_no_time(tmp_path: Path) -> None:
    many = 300_000
    page = PAGE.format(version="x", coords=f'points="{"1" * many}x"').replace("structure", "a" * many)
    assert len(read(tmp_path, page).pages[0].blocks) == 3
    assert number("1" * many + "x") is None
    with pytest.raises(InputError):
        read(tmp_path, "<!---->" * many + "<b>")
    alto = ALTO.format(version=4, unit="pixel").replace('WIDTH="1000"', f'WIDTH="{"9" * many}"')
    assert read(tmp_path, alto).pages[0].width == 0


def test_numbers_are_read_whatever_parts_them() -> None:
    assert numbers("1,2 3.5,-4") == [1, 2, 3.5, -4]
    assert numbers("1,2 1e99,3") == []
    assert number(" 12.50 ") == 12.5


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=6))
def test_outlines(points: list[tuple[int, int]]) -> None:
    hull, polygon = outline([float(value) for point in points for value in point])
    assert hull is not None and hull[0] <= hull[2] and hull[1] <= hull[3]
    assert polygon in ((), tuple(points))


def test_an_upright_rectangle_needs_no_polygon() -> None:
    assert outline([0, 0, 9, 0, 9, 5, 0, 5]) == ((0, 0, 9, 5), ())
    assert outline([0, 0, 9, 5, 9, 0, 0, 5])[1], "crosswise, this is no rectangle"
    assert outline([0, 0, 9, 0, 9]) == (None, ())


@given(st.text(min_size=1))
def test_ids_come_back(name: str) -> None:
    assert xml_id(name).isascii() and not set(xml_id(name)) & set(" :;\"'<>&")
    assert record_id_of(xml_id(name)) in (name, "")


@given(st.from_regex(r"[\x20-\x7eé株_]+", fullmatch=True))
def test_ids_that_xml_can_hold_come_back_exactly(name: str) -> None:
    assert record_id_of(xml_id(name)) == name


@pytest.mark.parametrize("name", ["", None, "block1", "linkage-", "linkage-_x110000_", "linkage-_x0_", "linkage-é"])
def test_other_ids_are_no_records(name: str | None) -> None:
    assert record_id_of(name) == ""
