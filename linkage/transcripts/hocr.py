"""hOCR 1.2 (Breuel 2007, The hOCR microformat; http://kba.github.io/hocr-spec/1.2/): read and written."""

from __future__ import annotations

from typing import Any

from linkage.scans.markup import descendants, number, numbers
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
    sideways,
)
from linkage.transcripts.writing import add, figure, record_id_of, xml_id, xml_text

NAMESPACE = "http://www.w3.org/1999/xhtml"
_PAGE = {"ocr_page"}
_BLOCKS = {"ocr_carea", "ocrx_block"}
_PARAGRAPHS = {"ocr_par"}
_LINES = {"ocr_line", "ocrx_line", "ocr_header", "ocr_footer", "ocr_caption", "ocr_textfloat", "ocr_title"}
_WORDS = {"ocrx_word", "ocr_word"}
_DOWN = ("ttb", "btt", "vertical", "tb-")  # dir, writing-mode: vertical-rl, tb-rl


def read_hocr(root: Any) -> Transcript:
    """Blocks are the areas (ocr_carea); lines outside of any are blocks by paragraph, or one for what is left."""
    systems = [meta.get("content", "") for meta in descendants(root, "meta") if meta.get("name") == "ocr-system"]
    pages = tuple(_page(element) for element in root.iter() if _classes(element) & _PAGE)
    return Transcript(pages, engine_name("hocr", systems[0] if systems else ""))


def write_hocr(page: TranscriptPage, image: str, creator: str, created: str) -> Any:
    """The root element of an hOCR file (XHTML) of one page.

    Args:
        page: in pixels.
        image: name of the picture's file.
        creator: what writes the file.
        created: not used: hOCR needs no time.
    """
    from lxml import etree

    root = etree.Element(f"{{{NAMESPACE}}}html", nsmap={None: NAMESPACE})
    head = add(root, "head")
    add(head, "title", image)
    add(head, "meta", name="ocr-system", content=creator)
    add(head, "meta", name="ocr-capabilities", content="ocr_page ocr_carea ocr_line ocrx_word")
    quoted = image.replace('"', "%22").replace(";", "%3B")
    size = f"bbox 0 0 {figure(page.width)} {figure(page.height)}"
    sheet = _add_part(add(root, "body"), "div", "ocr_page", f'image "{quoted}"; {size}; ppageno 0')
    for n, block in enumerate(page.blocks):
        name = xml_id(block.record_id) if block.record_id else f"block{n}"
        area = _add_part(sheet, "div", " ".join(["ocr_carea", *map(_class, block.tags)]), _title(block), id=name)
        if block.vertical:
            area.set("style", "writing-mode: vertical-rl")
        for line in block.lines:
            row = _add_part(area, "span", "ocr_line", _title(line if not line.words else _placed(line)))
            if not line.words:
                row.text = xml_text(line.text)
            for word in line.words:
                written = _add_part(row, "span", "ocrx_word", _title(word))
                written.text = xml_text(word.text)
                written.tail = " "
    return root


def _page(element: Any) -> TranscriptPage:
    box, _ = _outline(element)
    _, _, width, height = box or (0.0, 0.0, 0.0, 0.0)
    blocks: dict[Any, list[Any]] = {}
    for part in element.iter():
        classes = _classes(part)
        if classes & _BLOCKS:
            blocks.setdefault(part, [])
        elif classes & _LINES:
            blocks.setdefault(_around(part, element), []).append(part)
    return TranscriptPage(width, height, tuple(_block(part, lines, element) for part, lines in blocks.items()))


def _around(line: Any, page: Any) -> Any:
    """The block that a line is in: the nearest area, else the nearest paragraph, else the page."""
    inside = []
    for above in line.iterancestors():
        if above is page:
            break
        inside.append(above)
    for kind in (_BLOCKS, _PARAGRAPHS):
        for above in inside:
            if _classes(above) & kind:
                return above
    return page


def _block(element: Any, lines: list[Any], page: Any) -> TranscriptBlock:
    box, polygon = _outline(element) if element is not page else (None, ())
    vertical = _vertical(element)
    return block_of(
        TranscriptBlock(
            box=box,
            polygon=polygon,
            vertical=vertical,
            tags=_tags(element),
            record_id=record_id_of(element.get("id")),
            lines=tuple(_line(line, vertical) for line in lines),
        )
    )


def _line(element: Any, block_vertical: bool | None) -> TranscriptLine:
    box, polygon = _outline(element)
    own = _vertical(element)
    words = []
    for word in element.iter():
        text = _text(word) if _classes(word) & _WORDS else ""
        if text:
            place, around = _outline(word)
            words.append(TranscriptPiece(text, place, around, _confidence(word)))
    vertical = block_vertical if own is None else own
    text = "" if words else _text(element)
    return line_of(
        TranscriptLine(text, box, polygon, _confidence(element), vertical, _tags(element), words=tuple(words))
    )


def _classes(element: Any) -> set[str]:
    return set(element.get("class", "").split())


def _tags(element: Any) -> tuple[str, ...]:
    """What an element is: ocr_caption is a "caption"; classes of the user's own are tags as they stand."""
    plain = _PAGE | _BLOCKS | _PARAGRAPHS | {"ocr_line", "ocrx_line"}
    names = [name for name in element.get("class", "").split() if name not in plain]
    return tuple(name.removeprefix("ocr_") for name in names)


def _properties(element: Any) -> dict[str, str]:
    """The properties in an element's title: {"bbox": "0 0 10 20"}."""
    parts = (part.strip().partition(" ") for part in element.get("title", "").split(";"))
    return {name: value for name, _, value in parts if name}


def _outline(element: Any) -> tuple[FloatBox | None, tuple[Point, ...]]:
    properties = _properties(element)
    hull, polygon = outline(numbers(properties.get("poly")))
    box = numbers(properties.get("bbox"))
    if len(box) != 4 or box[0] > box[2] or box[1] > box[3]:
        return hull, polygon
    return (box[0], box[1], box[2], box[3]), polygon


def _confidence(element: Any) -> float | None:
    found = number(_properties(element).get("x_wconf"))
    return None if found is None else share(found / 100)


def _text(element: Any) -> str:
    return "".join(element.itertext()).strip()


def _vertical(element: Any) -> bool | None:
    turned = number(_properties(element).get("textangle"))
    if turned is not None:
        return sideways(turned)
    direction = element.get("dir", "").lower()
    _, _, mode = element.get("style", "").lower().replace(" ", "").partition("writing-mode:")
    if not direction and not mode:
        return None
    return bool(direction.startswith(_DOWN) or mode.startswith(_DOWN))


def _add_part(parent: Any, name: str, kind: str, title: str, **attributes: str) -> Any:
    return add(parent, name, "", **{"class": kind}, title=title, **attributes)


def _class(tag: str) -> str:
    return "_".join(tag.split())


def _placed(line: TranscriptLine) -> TranscriptPiece:
    """A line without its confidence, which its words have."""
    return TranscriptPiece(box=line.box, polygon=line.polygon)


def _title(piece: TranscriptPiece) -> str:
    parts = []
    if piece.box:
        parts.append("bbox " + " ".join(map(figure, piece.box)))
    if piece.polygon:
        parts.append("poly " + " ".join(f"{figure(x)} {figure(y)}" for x, y in piece.polygon))
    if piece.confidence is not None and not isinstance(piece, TranscriptBlock):
        parts.append(f"x_wconf {100 * piece.confidence:.2f}")
    return "; ".join(parts)
