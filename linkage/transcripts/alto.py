"""ALTO, versions 2 to 4 (Library of Congress, https://www.loc.gov/standards/alto/): read and written."""

from __future__ import annotations

from dataclasses import dataclass
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
    sideways,
)
from linkage.transcripts.writing import add, figure, record_id_of, xml_id

NAMESPACE = "http://www.loc.gov/standards/alto/ns-v4#"
_DIRECTION = "direction"  # type of the tag by which our own files say that a text runs from top to bottom


@dataclass(frozen=True)
class _File:
    """What holds for a whole file: type and label of each tag, by id, and whether Tesseract wrote it."""

    tags: dict[str, tuple[str, str]]
    by_tesseract: bool


def read_alto(root: Any) -> Transcript:
    """Every TextBlock of every page, in the file's order. Hyphenated words stay in their two halves, as printed."""
    units = [(unit.text or "").strip().lower() for unit in descendants(root, "MeasurementUnit")]
    listed = [tag for group in children(root, "Tags") for tag in group]
    software = _software(root)
    file = _File(
        {tag.get("ID", ""): (tag.get("TYPE", ""), tag.get("LABEL", "")) for tag in listed},
        software.lower().startswith("tesseract"),
    )
    pages = tuple(
        TranscriptPage(
            width=number(page.get("WIDTH")) or 0.0,
            height=number(page.get("HEIGHT")) or 0.0,
            blocks=tuple(_block(block, file) for block in descendants(page, "TextBlock")),
            pixels=units[:1] in ([], ["pixel"]),
        )
        for page in descendants(root, "Page")
    )
    return Transcript(pages, engine_name("alto", software))


def write_alto(page: TranscriptPage, image: str, creator: str, created: str) -> Any:
    """The root element of an ALTO 4 file of one page.

    Args:
        page: in pixels.
        image: name of the picture's file.
        creator: what writes the file.
        created: not used: ALTO needs no time.
    """
    from lxml import etree

    root = etree.Element(f"{{{NAMESPACE}}}alto", nsmap={None: NAMESPACE})
    description = add(root, "Description")
    add(description, "MeasurementUnit", "pixel")
    add(add(description, "sourceImageInformation"), "fileName", image)
    software = add(add(description, "Processing", ID="processing"), "processingSoftware")
    name, _, version = creator.partition(" ")
    add(software, "softwareName", name)
    add(software, "softwareVersion", version)
    labels = list(dict.fromkeys(tag for block in page.blocks for tag in block.tags))
    ids = {label: f"tag{n}" for n, label in enumerate(labels)}
    listed = add(root, "Tags")
    for label, tag_id in ids.items():
        add(listed, "OtherTag", ID=tag_id, LABEL=label)
    add(listed, "OtherTag", ID="vertical", TYPE=_DIRECTION, LABEL="vertical")
    size = {"WIDTH": figure(page.width), "HEIGHT": figure(page.height)}
    sheet = add(add(root, "Layout"), "Page", ID="page", PHYSICAL_IMG_NR="1", **size)
    space = add(sheet, "PrintSpace", HPOS="0", VPOS="0", **size)
    for n, block in enumerate(page.blocks):
        refs = [ids[tag] for tag in block.tags] + ["vertical"] * bool(block.vertical)
        name = xml_id(block.record_id) if block.record_id else f"block{n}"
        written = add(space, "TextBlock", ID=name, **_place(block))
        if refs:
            written.set("TAGREFS", " ".join(refs))
        if block.polygon:
            points = " ".join(f"{figure(x)},{figure(y)}" for x, y in block.polygon)
            add(add(written, "Shape"), "Polygon", POINTS=points)
        for line in block.lines:
            row = add(written, "TextLine", **_place(line))
            # A line of which the words are not known goes out as one string with its spaces.
            for word in line.words or (line,):
                string = add(row, "String", CONTENT=word.text, **_place(word))
                if word.confidence is not None:
                    string.set("WC", f"{word.confidence:.4f}")
    return root


def _block(element: Any, file: _File) -> TranscriptBlock:
    vertical = _vertical(element, file.tags)
    lines = tuple(_line(line, file, vertical) for line in children(element, "TextLine"))
    box, polygon = _outline(element)
    return block_of(
        TranscriptBlock(
            box=box,
            polygon=polygon,
            vertical=vertical,
            tags=_labels(element, file.tags),
            record_id=record_id_of(element.get("ID")),
            lines=lines,
        )
    )


def _line(element: Any, file: _File, block_vertical: bool | None) -> TranscriptLine:
    words: list[TranscriptPiece] = []
    for child in element:
        box, polygon = _outline(child)
        if local_name(child) == "String" and child.get("CONTENT", "").strip():
            words.append(
                TranscriptPiece(child.get("CONTENT").strip(), box, polygon, _confidence(child.get("WC"), file))
            )
        elif local_name(child) == "HYP" and words:
            before = words[-1]
            around = _around(before.box, box)
            words[-1] = TranscriptPiece(before.text + child.get("CONTENT", "-").strip(), around, (), before.confidence)
    box, polygon = _outline(element)
    own = _vertical(element, file.tags)
    vertical = block_vertical if own is None else own
    line = TranscriptLine("", box, polygon, None, vertical, _labels(element, file.tags), words=tuple(words))
    if len(words) == 1 and len(words[0].text.split()) > 1:  # one string for a whole line holds no word
        only = words[0]
        line = TranscriptLine(only.text, box or only.box, polygon, only.confidence, vertical, line.tags)
    return line_of(line)


def _outline(element: Any) -> tuple[FloatBox | None, tuple[Point, ...]]:
    left, top, width, height = (number(element.get(name)) for name in ("HPOS", "VPOS", "WIDTH", "HEIGHT"))
    hull: FloatBox | None = None
    polygon: tuple[Point, ...] = ()
    for shape in children(element, "Shape"):
        for drawn in children(shape, "Polygon"):
            hull, polygon = outline(numbers(drawn.get("POINTS")))
    if left is None or top is None or width is None or height is None or width < 0 or height < 0:
        return hull, polygon
    return (left, top, left + width, top + height), polygon


def _confidence(written: str | None, file: _File) -> float | None:
    """A word's confidence; Tesseract writes whole percents behind "0.", so that 7 % is 0.7 and 100 % is 0.100."""
    text = (written or "").strip()
    if file.by_tesseract and text.startswith("0.") and len(text) <= len("0.100"):
        percent = number(text[2:])
        return None if percent is None else share(percent / 100)
    return share(number(text))


def _around(first: FloatBox | None, second: FloatBox | None) -> FloatBox | None:
    if not first or not second:
        return first
    return min(first[0], second[0]), min(first[1], second[1]), max(first[2], second[2]), max(first[3], second[3])


def _vertical(element: Any, tags: dict[str, tuple[str, str]]) -> bool | None:
    if any(tags.get(ref, ("", ""))[0] == _DIRECTION for ref in element.get("TAGREFS", "").split()):
        return True
    turned = number(element.get("ROTATION"))
    return None if turned is None else sideways(turned)


def _labels(element: Any, tags: dict[str, tuple[str, str]]) -> tuple[str, ...]:
    found = [tags[ref] for ref in element.get("TAGREFS", "").split() if ref in tags]
    return tuple(label for kind, label in found if label and kind != _DIRECTION)


def _software(root: Any) -> str:
    """Name and version of the program that did the reading, not of those that prepared the picture."""
    steps = descendants(root, "ocrProcessingStep") or [root]
    for software in descendants(steps[0], "processingSoftware"):
        parts = [descendants(software, name) for name in ("softwareName", "softwareVersion")]
        found = " ".join((part[0].text or "").strip() for part in parts if part).strip()
        if found:
            return found
    return ""


def _place(piece: TranscriptPiece) -> dict[str, str]:
    if piece.box is None:
        return {}
    x0, y0, x1, y1 = piece.box
    return {"HPOS": figure(x0), "VPOS": figure(y0), "WIDTH": figure(x1 - x0), "HEIGHT": figure(y1 - y0)}
