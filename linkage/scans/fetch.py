"""Fetch the pictures of a IIIF manifest into a folder of scans: requests are made because the user asks for them."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import pandas as pd

from linkage.errors import InputError, UsageError
from linkage.progress import progress
from linkage.scans.download import MAX_BYTES, DownloadClient
from linkage.scans.iiif import Canvas, IiifManifest, read_manifest
from linkage.scans.images import IMAGE_SUFFIXES, opened
from linkage.scans.names import safe_name
from linkage.tables import read_table, replacing, write_table

_ODD = re.compile(r"[^\w.,()-]+")


def fetch_images(
    path: Path,
    out: Path,
    *,
    width: int | None = None,
    max_failures: float = 0.1,
    overwrite: bool = False,
    downloads: DownloadClient | None = None,
) -> dict[str, int]:
    """Fetch every canvas of a manifest; called again, only what is missing.

    Pictures are called by their order and label. `canvases.csv` says which is which (source, canvas_id, label,
    manifest_id, image_url), `failures.csv` what was set aside. Files that lie beside the manifest are copied.

    Args:
        path: the manifest.
        out: folder to write.
        width: pixels; None: as large as the server gives them.
        max_failures: share of the canvases that may fail.
        overwrite: fetch again what is there.
        downloads: makes the requests; default: with the usual pauses.

    Returns:
        Counts: canvases, fetched, there (from before), set_aside.

    Raises:
        InputError: no manifest, or more than `max_failures` of its canvases were set aside.
        UsageError: the folder holds the pictures of another manifest or in another size.
    """
    manifest = read_manifest(path)
    table = canvas_table(manifest, width)
    listed = out / "canvases.csv"
    if listed.exists() and not overwrite and not _same(read_table(listed), table):
        raise UsageError(f"{listed}: is of another manifest or size; give --overwrite to replace it, or another --out")
    write_table(table, listed)
    downloads = downloads or DownloadClient()
    failures: list[tuple[str, None, str]] = []
    there = 0
    with progress("fetching", len(table), "images") as advance:
        for source, url in zip(table["source"], table["image_url"], strict=True):
            target = out / source
            try:
                if target.exists() and not overwrite:
                    there += 1
                else:
                    _fetch(url, target, path.parent, downloads)
            except InputError as error:
                failures.append((source, None, str(error)))
            advance()
    set_aside = pd.DataFrame(failures, columns=["source", "page", "reason"]).astype({"page": "Int64"})
    write_table(set_aside, out / "failures.csv")
    if failures and len(failures) > max_failures * len(table):
        raise InputError(
            f"{out / 'failures.csv'}: {len(failures)} of {len(table)} images were set aside, more than "
            f"ingest.max_failures = {max_failures:g} allows; first: {failures[0][0]}: {failures[0][2]}"
        )
    fetched = len(table) - there - len(failures)
    return {"canvases": len(table), "fetched": fetched, "there": there, "set_aside": len(failures)}


def canvas_table(manifest: IiifManifest, width: int | None) -> pd.DataFrame:
    """One row per canvas: source (the file's name), canvas_id, label, manifest_id, image_url."""
    digits = max(len(str(len(manifest.canvases))), 4)
    rows = [
        (_name(number, digits, canvas), canvas.id, canvas.label, manifest.id, canvas.request(width))
        for number, canvas in enumerate(manifest.canvases, start=1)
    ]
    return pd.DataFrame(rows, columns=["source", "canvas_id", "label", "manifest_id", "image_url"])


def _name(number: int, digits: int, canvas: Canvas) -> str:
    label = _ODD.sub("_", canvas.label)[:60].strip("_.")
    suffix = ".jpg"
    if not canvas.service:
        suffix = PurePosixPath(_path_of(canvas.image)).suffix.lower()
        suffix = suffix if suffix in IMAGE_SUFFIXES else ".jpg"
    return safe_name(f"{number:0{digits}}" + (f"_{label}" if label else "")) + suffix


def _path_of(url: str) -> str:
    try:
        return unquote(urlsplit(url).path)
    except ValueError:
        return ""


def _same(before: pd.DataFrame, now: pd.DataFrame) -> bool:
    columns = ["source", "image_url"]
    return set(columns) <= set(before.columns) and before[columns].astype(str).equals(now[columns].astype(str))


def _fetch(url: str, target: Path, folder: Path, downloads: DownloadClient) -> None:
    """Get one picture; what turns out to be none is not kept."""
    if not url:
        raise InputError("the canvas has no image")
    arriving = target.with_name(f".{target.name}.part")
    try:
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]{1,30}:", url) and not url.startswith("file:"):
            downloads.fetch(url, arriving)
        else:
            _copy(url, arriving, folder)
        with opened(arriving):
            pass
        arriving.replace(target)
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})") from None
    finally:
        arriving.unlink(missing_ok=True)


def _copy(url: str, target: Path, folder: Path) -> None:
    """Copy a picture that lies beside the manifest."""
    named = re.sub(r"^file:(//)?", "", url)
    root = folder.resolve()
    for name in dict.fromkeys((named, unquote(named))):
        try:
            found = (root / name).resolve()
            if os.path.normpath(name).startswith("..") or not found.is_relative_to(root):
                raise InputError(f"{url[:200]!r} lies outside the folder of the manifest")
            if found.is_file() and found.stat().st_size <= MAX_BYTES:
                with replacing(target) as temporary:
                    shutil.copyfile(found, temporary)
                return
        except (ValueError, RuntimeError):  # a zero byte, links in a circle
            continue
    raise InputError(f"{url[:200]!r} is not there")
