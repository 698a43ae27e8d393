"""Transcripts, METS files and IIIF manifests: valid ones, and XML made to do harm."""

from __future__ import annotations

import json
from typing import Any

from fuzzing.samples import Sample, encoded, picture

_METS = """<mets xmlns="http://www.loc.gov/METS/" xmlns:xlink="http://www.w3.org/1999/xlink"><fileSec>
<fileGrp USE="MASTER"><file ID="IMG_1" MIMETYPE="image/png"><FLocat xlink:href="scan.png"/></file></fileGrp>
<fileGrp USE="FULLTEXT"><file ID="TXT_1" MIMETYPE="text/xml"><FLocat xlink:href="text/scan.xml"/></file></fileGrp>
</fileSec><structMap TYPE="PHYSICAL"><div><div ORDER="1"><fptr FILEID="IMG_1"/><fptr FILEID="TXT_1"/></div></div>
</structMap></mets>"""


def transcripts(form: str) -> list[Sample]:
    """A page beside its transcript, written as ALTO, PAGE or hOCR, and hostile files in its place."""
    data, suffix = _written(form)
    name = f"scan{suffix}"
    scan = {"scan.png": encoded(picture(), "PNG")}
    bad = [Sample(scan | {name: text}, (name,), hostile=True) for text in _hostile(data)]
    return [Sample(scan | {name: data}, (name,)), *bad]


def mets() -> list[Sample]:
    """A METS file with one page."""
    files = {"scan.png": encoded(picture(), "PNG"), "text/scan.xml": _written("alto")[0]}
    data = _METS.encode()
    climbing = [data.replace(b"scan.png", place) for place in (b"../outside/secret.png", b"/etc/passwd", b"file:///x")]
    bad = [Sample(files | {"mets.xml": text}, ("mets.xml",), hostile=True) for text in (*climbing, *_hostile(data))]
    return [Sample(files | {"mets.xml": data}, ("mets.xml",)), *bad]


def iiif() -> list[Sample]:
    """Manifests of both versions of the Presentation API."""
    place = "https://example.org/iiif/1"
    service = {"@id": place, "type": "ImageService2", "profile": "http://iiif.io/api/image/2/level1.json"}
    body = {"id": f"{place}/full/max/0/default.jpg", "type": "Image", "service": [service]}
    painted = [{"items": [{"motivation": "painting", "body": body}]}]
    new: dict[str, Any] = {"id": "https://example.org/m", "type": "Manifest", "label": {"en": ["Register"]}}
    new["items"] = [{"id": "c1", "type": "Canvas", "label": {"none": ["1r"]}, "items": painted}]
    images = [{"motivation": "sc:painting", "resource": {"@id": body["id"], "service": service}}]
    old = {"@id": "https://example.org/m", "@type": "sc:Manifest", "label": "Register"}
    canvases = [{"@id": "c1", "label": "1r", "width": 60, "height": 40, "images": images}]
    both = (new, old | {"sequences": [{"canvases": canvases}]})
    return [Sample({"manifest.json": json.dumps(one, indent=1).encode()}, ("manifest.json",)) for one in both]


def _written(form: str) -> tuple[bytes, str]:
    from lxml import etree

    from linkage.transcripts.export import FORMATS
    from linkage.transcripts.model import (
        TranscriptBlock,
        TranscriptLine,
        TranscriptPage,
        TranscriptPiece,
        block_of,
        line_of,
    )

    words = [
        TranscriptPiece(text, (4 + 20 * n, 10, 20 + 20 * n, 20), confidence=0.5)
        for n, text in enumerate(("Dupont", "No"))
    ]
    outlined = TranscriptPiece("Fils", (4, 24, 30, 34), polygon=((4, 24), (30, 24), (30, 34), (4, 30)), confidence=0.9)
    lines = (line_of(TranscriptLine(words=tuple(words))), line_of(TranscriptLine(words=(outlined,))))
    page = TranscriptPage(60, 40, (block_of(TranscriptBlock(lines=lines, tags=("entry",))),))
    suffix, write = FORMATS[form]
    root = write(page, "scan.png", "a hand", "2020-01-01T00:00:00")
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8"), suffix


def _hostile(data: bytes) -> list[bytes]:
    """Entities that grow, reach out or call home, and trees without end, in front of or inside a valid file."""
    head, _, rest = data.rpartition(b"?>")
    head = head + b"?>" if head else b""
    laughs = b'<!ENTITY a0 "ha">' + b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 12))
    declared = [
        laughs,
        b'<!ENTITY a11 SYSTEM "../outside/secret.txt">',
        b'<!ENTITY a11 SYSTEM "file:///etc/passwd">',
        b'<!ENTITY a11 SYSTEM "http://127.0.0.1:9/x">',
        b'<!ENTITY % p SYSTEM "../outside/secret.txt"> %p; <!ENTITY a11 "x">',
    ]
    bad = [head + b"<!DOCTYPE x [" + one + b"]>" + rest.replace(b"Dupont", b"&a11;") for one in declared]
    include = b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="../outside/secret.txt" parse="text"/>'
    stop = rest.rindex(b"</")
    inside = [
        include,
        b"<a>" * 100_000,
        b"<a>" * 300 + b"</a>" * 300,
        b"<a b='" + b"x" * 10**6 + b"'/>",
        b"<b/>" * 10**5,
    ]
    return [*bad, *(head + rest[:stop] + one + rest[stop:] for one in inside)]
