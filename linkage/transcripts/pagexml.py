"""PAGE XML, versions 2010 to 2019 (Pletschacher and Antonacopoulos 2010, The PAGE format framework)."""

from __future__ import annotations

import re
from typing import Any

from linkage.scans.markup import children, descendants, local_name, number, numbers
from linkage.transcripts.model import (
    FloatBox,
    Point,
    Transcript,
    TranscriptBlock,
    TranscriptLine,
    TranscriptPage,
    TranscriptPiece,
    block_of,
    engine_name,
    line_of,
    outline,
    share,
)
from linkage.transcripts.writing import add, figure, record_id_of, xml_id, xml_text

NAMESPACE = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"
_DOWN = ("top-to-bottom", "bottom-to-top")
_ACROSS = ("left-to-right", "right-to-left")
_CUSTOM = re.compile(r"(?<![\w-])([\w-]++)\s*+\{([^{}]*+)\}")  # readingOrder {index:0;} structure {type:entry;}
_NEVER = 10**9  # place in the reading order of what it does not mention


def read_page_xml(root: Any) -> Transcript:
    """Every TextRegion or TableCell that has lines or a text, in the reading order of the file.

    Of several TextEquiv the one with the lowest index counts. A region that only holds other regions is none.
    """
    creators = [(creator.text or "") for creator in descendants(root, "Creator")]
    pages = tuple(
        TranscriptPage(
            width=number(page.get("imageWidth")) or 0.0,
            height=number(page.get("imageHeight")) or 0.0,
            blocks=tuple(_block(region) for region in _ordered(page)),
        )
        for page in descendants(root, "Page")
    )
    return Transcript(pages, engine_name("page", creators[0] if creators else ""))


def write_page_xml(page: TranscriptPage, image: str, creator: str, created: str) -> Any:
    """The root element of a PAGE file.

    Args:
        page: in pixels.
        image: name of the picture's file.
        creator: what writes the file.
        created: when, as ISO 8601.
    """
    from lxml import etree

    root = etree.Element(f"{{{NAMESPACE}}}PcGts", nsmap={None: NAMESPACE})
    metadata = add(root, "Metadata")
    for name, text in (("Creator", creator), ("Created", created), ("LastChange", created)):
        add(metadata, name, text)
    size = {"imageWidth": figure(page.width), "imageHeight": figure(page.height)}
    sheet = add(root, "Page", imageFilename=image, **size)
    names = [xml_id(block.record_id) if block.record_id else f"region{n}" for n, block in enumerate(page.blocks)]
    if names:
        order = add(add(sheet, "ReadingOrder"), "OrderedGroup", id="order")
        for n, name in enumerate(names):
            add(order, "RegionRefIndexed", index=str(n), regionRef=name)
    for n, (name, block) in enumerate(zip(names, page.blocks, strict=True)):
        region = add(sheet, "TextRegion", id=name)
        if block.vertical:
            region.set("readingDirection", "top-to-bottom")
        if block.tags:
            region.set("custom", xml_text(f"structure {{type:{re.sub('[{};]', ' ', block.tags[0])};}}"))
        _add_coords(region, block)
        for k, line in enumerate(block.lines):
            row = add(region, "TextLine", id=f"region{n}line{k}")
            _add_coords(row, line)
            for m, word in enumerate(line.words):
                written = add(row, "Word", id=f"region{n}line{k}word{m}")
                _add_coords(written, word)
                _add_text(written, word)
            _add_text(row, line)
        _add_text(region, block)
    return root


def _ordered(page: Any) -> list[Any]:
    """The text regions of a page in reading order; those that it does not mention come last, as in the file."""
    places: dict[str, int] = {}
    for order in children(page, "ReadingOrder"):
        for group in order:
            _place_refs(group, places)
    regions = [region for region in descendants(page, "TextRegion", "TableCell") if _is_block(region)]
    return sorted(regions, key=lambda region: _place(region, places))


def _place_refs(group: Any, places: dict[str, int]) -> None:
    """Note the place of every region that a group of the reading order names, groups within it included."""
    places.setdefault(group.get("regionRef", ""), len(places))
    for member in sorted(group, key=lambda member: number(member.get("index")) or 0.0):
        _place_refs(member, places)


def _place(region: Any, places: dict[str, int]) -> int:
    """The place of a region, or of the nearest one around it that has one."""
    for around in (region, *region.iterancestors()):
        if around.get("id") in places:
            return places[around.get("id")]
    return _NEVER


def _is_block(region: Any) -> bool:
    if children(region, "TextLine"):
        return True
    inner = any(len(children(region, name)) for name in ("TextRegion", "TableCell"))
    return not inner and bool(children(region, "TextEquiv", "Coords"))


def _block(region: Any) -> TranscriptBlock:
    box, polygon = _outline(region)
    text, confidence = _text(region)
    vertical = _vertical(region)
    lines = sorted(children(region, "TextLine"), key=_index)
    return block_of(
        TranscriptBlock(
            text=text,
            box=box,
            polygon=polygon,
            confidence=confidence,
            vertical=vertical,
            tags=_tags(region),
            record_id=record_id_of(region.get("id")),
            lines=tuple(_line(line, vertical) for line in lines),
        )
    )


def _line(element: Any, region_vertical: bool | None) -> TranscriptLine:
    box, polygon = _outline(element)
    text, confidence = _text(element)
    own = _vertical(element)
    words = []
    for word in children(element, "Word"):
        place, around = _outline(word)
        reading, sure = _text(word)
        if reading:
            words.append(TranscriptPiece(reading, place, around, sure))
    vertical = region_vertical if own is None else own
    return line_of(TranscriptLine(text, box, polygon, confidence, vertical, _tags(element), words=tuple(words)))


def _outline(element: Any) -> tuple[FloatBox | None, tuple[Point, ...]]:
    for coords in children(element, "Coords"):
        if coords.get("points"):
            return outline(numbers(coords.get("points")))
        pairs = [(number(point.get("x")), number(point.get("y"))) for point in children(coords, "Point")]
        flat = [value for pair in pairs for value in pair if value is not None]
        return outline(flat if len(flat) == 2 * len(pairs) else [])
    return None, ()


def _text(element: Any) -> tuple[str, float | None]:
    """The reading that counts, and how sure it is."""
    readings = sorted(children(element, "TextEquiv"), key=lambda reading: number(reading.get("index")) or 0.0)
    for reading in readings[:1]:
        texts = children(reading, "Unicode") or children(reading, "PlainText")
        text = "".join(texts[0].itertext()).strip() if texts else ""
        return text, share(number(reading.get("conf")))
    return "", None


def _custom(element: Any) -> dict[str, dict[str, str]]:
    """The parts of an element's `custom` attribute: {"structure": {"type": "entry"}}."""
    found = {}
    for name, body in _CUSTOM.findall(element.get("custom", "")):
        pairs = [pair.partition(":") for pair in body.split(";")]
        found[name] = {key.strip(): value.strip() for key, colon, value in pairs if colon}
    return found


def _tags(element: Any) -> tuple[str, ...]:
    structure = _custom(element).get("structure", {}).get("type", "")
    found = (structure, element.get("type", "") if local_name(element) == "TextRegion" else "")
    return tuple(dict.fromkeys(tag for tag in found if tag))


def _index(line: Any) -> float:
    return number(_custom(line).get("readingOrder", {}).get("index")) or 0.0


def _vertical(element: Any) -> bool | None:
    """Direction of the letters; else lines that follow each other across the page run down it."""
    if (direction := element.get("readingDirection")) in _DOWN + _ACROSS:
        return direction in _DOWN
    if (order := element.get("textLineOrder")) in _DOWN + _ACROSS:
        return order in _ACROSS
    values = [
        value for part in _custom(element).items() if "direction" in part[0].lower() for value in part[1].values()
    ]
    return any("vertical" in value or value in _DOWN for value in values) if values else None


def _add_coords(parent: Any, piece: TranscriptPiece) -> None:
    x0, y0, x1, y1 = piece.box or (0.0, 0.0, 0.0, 0.0)
    points = piece.polygon or ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    add(parent, "Coords", points=" ".join(f"{figure(x)},{figure(y)}" for x, y in points))


def _add_text(parent: Any, piece: TranscriptPiece) -> None:
    if not piece.text:
        return
    equivalent = add(parent, "TextEquiv")
    if piece.confidence is not None:
        equivalent.set("conf", f"{piece.confidence:.4f}")
    add(equivalent, "Unicode", piece.text)
