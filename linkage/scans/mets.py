"""METS files (Library of Congress, https://www.loc.gov/standards/mets/): which image goes with which transcript."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from linkage.errors import InputError
from linkage.scans.images import IMAGE_SUFFIXES
from linkage.scans.markup import children, descendants, local_name, parse_markup

_TEXTS = (".xml", ".hocr", ".html", ".htm")
_SMALL = re.compile("thumb|preview|^min|low", re.IGNORECASE)
_READ = re.compile("alto|page|hocr|ocr|text", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,30}:")


@dataclass(frozen=True)
class MetsPage:
    """One page: its image and transcript on disk, None where there is none; `reason` says why an image is missing."""

    name: str
    image: Path | None = None
    transcript: Path | None = None
    reason: str = ""


@dataclass(frozen=True)
class _File:
    """A file as a METS file lists it: `use` of its group, `key` by which files of one page are paired."""

    name: str
    href: str
    use: str
    key: str
    is_image: bool

    @property
    def rank(self) -> int:
        """The lower the better: large images before small ones, transcripts before other texts."""
        return int(bool(_SMALL.search(self.use))) if self.is_image else int(not _READ.search(self.use))


def read_mets(path: Path) -> list[MetsPage] | None:
    """The pages that a METS file lists, in its order; None: it is another kind of XML.

    Files of one page are those that a division of the physical structure map points to; without such a map, those with
    the same GROUPID or the same number at the end of their ids. Of several images the first that is there counts,
    small ones last. Files outside the METS file's folder and URLs are not touched: their page has a reason.

    Raises:
        InputError: damaged, too large, declares entities, or lists no images.
    """
    root = parse_markup(path)
    if local_name(root) != "mets":
        return None
    files = {file.name: file for file in _files(root)}
    groups = _by_structure(root, files) or _by_key(files.values())
    groups = [group for group in groups if any(file.is_image for file in group)]
    if not groups:
        raise InputError("the METS file lists no images")
    return [_page(group, path.parent) for group in groups]


def _files(root: Any) -> Iterable[_File]:
    for group in descendants(root, "fileGrp"):
        use = next((around.get("USE") for around in (group, *group.iterancestors()) if around.get("USE")), "")
        for file in children(group, "file"):
            for place in children(file, "FLocat")[:1]:
                href = next((value for name, value in place.attrib.items() if name.rpartition("}")[2] == "href"), "")
                name, kind = file.get("ID", ""), file.get("MIMETYPE", "").lower()
                suffix = PurePosixPath(unquote(href)).suffix.lower()
                is_image = kind.startswith("image/") or suffix in IMAGE_SUFFIXES or suffix == ".pdf"
                if is_image or suffix in _TEXTS or "xml" in kind or "html" in kind:
                    numbers = re.findall(r"\d+", name, re.ASCII)
                    key = file.get("GROUPID") or (numbers[-1].lstrip("0") if numbers else name)
                    yield _File(name, href, use, key, is_image)


def _by_structure(root: Any, files: dict[str, _File]) -> list[list[_File]]:
    maps = descendants(root, "structMap")
    maps = [found for found in maps if found.get("TYPE", "").lower() == "physical"] or maps[:1]
    groups = []
    for division in (division for found in maps for division in descendants(found, "div")):
        pointers = [pointer for child in children(division, "fptr") for pointer in child.iter()]
        group = [files[name] for name in (pointer.get("FILEID") for pointer in pointers) if name in files]
        if group:
            groups.append(group)
    pages = [group for group in groups if not all(file.href.lower().endswith(".pdf") for file in group)]
    return pages or groups  # a PDF of everything beside images of its pages is the same twice


def _by_key(files: Iterable[_File]) -> list[list[_File]]:
    groups: dict[str, list[_File]] = defaultdict(list)
    for file in files:
        groups[file.key].append(file)
    return list(groups.values())


def _page(group: list[_File], folder: Path) -> MetsPage:
    images = sorted((file for file in group if file.is_image), key=lambda file: file.rank)
    texts = sorted((file for file in group if not file.is_image), key=lambda file: file.rank)
    transcript = None
    for file in texts:
        found = _on_disk(file.href, folder)
        if isinstance(found, Path):
            transcript = found
            break
    reasons = []
    for file in images:
        found = _on_disk(file.href, folder)
        if isinstance(found, Path):
            return MetsPage(file.name, found, transcript)
        reasons.append(found)
    return MetsPage(images[0].name, None, transcript, reasons[0])


def _on_disk(href: str, folder: Path) -> Path | str:
    """The file that a reference means, or why there is none."""
    shown = href[:200]
    place = re.sub(r"^file:(//)?", "", href).replace("\\", "/")
    if _SCHEME.match(place):
        return f"{shown!r} is a URL; download it and let the METS file point to it"
    root = folder.resolve()
    for name in dict.fromkeys((place, unquote(place))):
        try:
            inside = os.path.normpath(name)
            resolved = (root / inside).resolve()
            if inside.startswith("..") or not resolved.is_relative_to(root):
                return f"{shown!r} lies outside the folder of the METS file"
            if resolved.is_file():
                return folder / (resolved.relative_to(root) if Path(inside).is_absolute() else inside)
        except (OSError, ValueError, RuntimeError):  # too long, a zero byte, links in a circle
            continue
    return f"{shown!r} is not there"
