"""XML and HTML from anywhere, parsed so that a file can neither reach out nor grow: no entities, no DTD, no network."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from linkage.errors import InputError

MAX_BYTES = 32 * 2**20
"""Larger files are refused: their trees would take gigabytes."""

_NUMBER = re.compile(r"[+-]?(?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d++)?", re.ASCII)
_LARGEST = 1e7  # what no coordinate of a page reaches
_HTML = re.compile(rb"\s*+(?:<!--(?>.*?-->)\s*+)*+<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE | re.DOTALL)


def parse_markup(path: Path) -> Any:
    """The root element of an XML file, or of an HTML file that is no XML; comments and instructions are dropped.

    Raises:
        InputError: too large, no regular file, not well-formed, or with declarations of its own (entities).
    """
    data = _read(path)
    if _HTML.match(data.removeprefix(b"\xef\xbb\xbf"), 0, 4096):
        return _parse_html(data)
    from lxml import etree

    root = _parse_xml(data)
    if local_name(root) == "html" and next(root.iter(etree.Entity), None) is not None:
        return _parse_html(data)  # &nbsp; and the like are known to HTML only
    return root


def local_name(element: Any) -> str:
    """An element's name without its namespace: versions of a format differ by namespace only."""
    return str(element.tag).rpartition("}")[2]


def children(element: Any, *names: str) -> list[Any]:
    """The children with one of these local names, in order."""
    return [child for child in element if local_name(child) in names]


def descendants(element: Any, *names: str) -> list[Any]:
    """The elements below this one, itself included, with one of these local names, in the document's order."""
    return [found for found in element.iter() if local_name(found) in names]


def number(text: str | None) -> float | None:
    """A number as markup gives it; None where there is none, or an absurd one (nan, infinite, beyond 10 million)."""
    match = _NUMBER.fullmatch((text or "").strip())
    value = float(match[0]) if match else math.nan
    return value if abs(value) <= _LARGEST else None


def numbers(text: str | None) -> list[float]:
    """All numbers in a text; [] where one of them is absurd."""
    found = [number(piece) for piece in _NUMBER.findall(text or "")]
    sound = [value for value in found if value is not None]
    return sound if len(sound) == len(found) else []


def _read(path: Path) -> bytes:
    if not path.is_file():  # reading a pipe or device would wait for ever
        raise InputError("not a regular file that can be read")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"larger than {MAX_BYTES // 2**20} MB; split it into a file per page")
    return data


def _parse_xml(data: bytes) -> Any:
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=True,
    )  # and never collect_ids=False: with it libxml2 loads the DTD after all
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError) as error:
        raise InputError(f"not well-formed XML ({' '.join(str(error).split())[:160]})") from None
    declared = root.getroottree().docinfo.internalDTD
    if declared is not None and (any(declared.iterentities()) or any(declared.iterelements())):
        raise InputError("declares entities or elements of its own, which is not allowed; remove its DTD")
    return root


def _parse_html(data: bytes) -> Any:
    from lxml import etree

    if b"</html" not in data[-4096:].lower():
        raise InputError("the HTML breaks off")
    try:
        data.decode("utf-8")
        encoding = "utf-8"
    except UnicodeDecodeError:
        encoding = None  # as the file says itself
    parser = etree.HTMLParser(
        no_network=True, huge_tree=False, remove_comments=True, remove_pis=True, encoding=encoding
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError) as error:
        raise InputError(f"not HTML ({' '.join(str(error).split())[:160]})") from None
    if root is None:
        raise InputError("the HTML is empty")
    return root
