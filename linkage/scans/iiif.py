"""IIIF manifests (Presentation API 2 and 3, https://iiif.io/api/presentation/), read from disk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linkage.errors import InputError
from linkage.places import remote
from linkage.scans.markup import MAX_BYTES

_MAX_CANVASES = 100_000


@dataclass(frozen=True)
class Canvas:
    """One canvas, in the order of the manifest.

    Attributes:
        id: as the manifest gives it; "" where it does not.
        label: in the first language there is.
        image: URL or, for files beside the manifest, path of the picture; "" for a canvas without one.
        service: base URL of its image service; "" where there is none.
        version: of the image service, 1 to 3.
    """

    id: str
    label: str
    image: str
    service: str = ""
    version: int = 2

    def request(self, width: int | None) -> str:
        """What to ask for: the whole picture, `width` pixels wide where a service can scale it.

        https://iiif.io/api/image/: the largest size is called "max" since version 3, "full" before.
        """
        if not self.service:
            return self.image
        size = f"{width}," if width else "max" if self.version >= 3 else "full"
        quality = "native" if self.version < 2 else "default"
        return f"{self.service.rstrip('/')}/full/{size}/0/{quality}.jpg"


@dataclass(frozen=True)
class IiifManifest:
    """A manifest: its id, its label and its canvases."""

    id: str
    label: str
    canvases: tuple[Canvas, ...]


def read_manifest(path: Path) -> IiifManifest:
    """Read a manifest, version 2 or 3.

    Raises:
        InputError: missing, too large, no JSON, no manifest, or without canvases.
    """
    manifest = _json(path)
    sequences = _list(manifest.get("sequences"))
    listed = _list(sequences[0].get("canvases")) if sequences else _list(manifest.get("items"))
    canvases = tuple(map(_canvas, listed[:_MAX_CANVASES]))
    if not canvases:
        raise InputError(f"{path}: not a IIIF manifest with canvases (Presentation API 2 or 3)")
    return IiifManifest(_id(manifest), _label(manifest.get("label")), canvases)


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(remote(path) or f"{path}: no such file; save the manifest first")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES // 2**20} MB, which no manifest is")
        found = json.loads(data)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({' '.join(str(error).split())[:160]})") from None
    return found if isinstance(found, dict) else {}


def _canvas(canvas: dict[str, Any]) -> Canvas:
    bodies = [*_painted(canvas, "images", "resource"), *_painted_v3(canvas)]
    body = bodies[0] if bodies else {}
    service, version = _service(body)
    return Canvas(_id(canvas), _label(canvas.get("label")), _id(body), service, version)


def _painted(holder: dict[str, Any], annotations: str, body: str) -> Iterator[dict[str, Any]]:
    """The pictures of a list of annotations; of a choice of several the first."""
    for annotation in _list(holder.get(annotations)):
        for found in _list(annotation.get(body)):
            choices = _list(found.get("default")) or _list(found.get("items"))
            yield choices[0] if choices else found


def _painted_v3(canvas: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for page in _list(canvas.get("items")):
        yield from _painted(page, "items", "body")


def _service(body: dict[str, Any]) -> tuple[str, int]:
    for service in _list(body.get("service")):
        told = " ".join(str(service.get(key, "")) for key in ("type", "@type", "@context", "profile"))
        if _id(service) and ("image" in told.lower() or "level" in told.lower()):
            version = re.search(r"ImageService(\d)|image(?:-api)?/(\d)", told)
            return _id(service), int(version[1] or version[2]) if version else 3 if "type" in service else 2
    return "", 2


def _id(thing: dict[str, Any]) -> str:
    found = thing.get("id", thing.get("@id", ""))
    return found if isinstance(found, str) else ""


def _label(label: Any) -> str:
    """A label: a text, a list, {"@value": text} or {language: [text]}."""
    for _ in range(4):  # as deep as the specification nests them
        if isinstance(label, dict):
            label = label.get("@value") or next(iter(label.values()), "")
        elif isinstance(label, list):
            label = label[0] if label else ""
    return " ".join(label.split()) if isinstance(label, str) else ""


def _list(value: Any) -> list[dict[str, Any]]:
    """The objects of what may be one or a list."""
    return [entry for entry in (value if isinstance(value, list) else [value]) if isinstance(entry, dict)]
