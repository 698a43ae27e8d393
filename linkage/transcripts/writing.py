"""How records are written as XML: their ids as ids of elements (and back), texts, numbers, elements."""

from __future__ import annotations

import re
from typing import Any

_PREFIX = "linkage-"
_ESCAPE = re.compile(r"_x([0-9a-f]+)_")
_PLAIN = re.compile(r"[^A-Za-z0-9.-]")
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_id(record_id: str) -> str:
    """An xs:ID for a record: "linkage-" and its id, with all but letters of ASCII, digits, - and . escaped."""
    return _PREFIX + _PLAIN.sub(lambda found: f"_x{ord(found[0]):x}_", record_id)


def record_id_of(name: str | None) -> str:
    """The record that an id was made from by `xml_id`; "" where it is none of these."""
    if not name or not name.startswith(_PREFIX):
        return ""
    try:
        record = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), name.removeprefix(_PREFIX))
    except (ValueError, OverflowError):
        return ""
    return record if xml_id(record) == name and not _NOT_XML.search(record) else ""


def xml_text(text: str) -> str:
    """A text without the characters that XML cannot hold."""
    return _NOT_XML.sub("", text)


def figure(value: float) -> str:
    """A coordinate as text: whole pixels without a point."""
    return f"{value:.10g}"


def add(parent: Any, name: str, text: str = "", /, **attributes: str) -> Any:
    """Append an element of the parent's namespace; what XML cannot hold is left out of its text and attributes."""
    from lxml import etree

    space = parent.tag.rpartition("}")[0]
    element = etree.SubElement(parent, f"{space}}}{name}", {key: xml_text(value) for key, value in attributes.items()})
    element.text = xml_text(text) or None
    return element
