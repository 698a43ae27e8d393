"""Is everything there that a configuration needs? One finding for each thing, with the command that mends it."""

from __future__ import annotations

import importlib
import importlib.metadata
import locale
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from linkage.config import Config
from linkage.distribution import install, requirements
from linkage.errors import LinkageError
from linkage.machine import cores, free_disk, free_memory

State = Literal["ok", "missing", "warning"]

_DRAWN = "Linkage & Sons 1898"
_LITTLE_DISK, _LITTLE_MEMORY = 2e9, 4.5e9  # bytes; embedding 64 crops of headers at a time takes some 4 GB
_OPTIONAL = {
    "onnxruntime": install("onnxruntime"),
    "rapidocr": install("rapidocr", "onnxruntime"),
    "tesserocr": "pip install tesserocr",
}


class Finding(NamedTuple):
    """What was found out about one thing.

    Attributes:
        name: the thing.
        state: ok; missing: it is not there or does not work; warning: it is, but.
        found: what is there, or what is wrong.
        fix: a command; "" where nothing need be done.
        needed: whether the configuration needs it.
    """

    name: str
    state: State
    found: str
    fix: str = ""
    needed: bool = False


def examine(config: Config, out: Path) -> list[Finding]:
    """Try everything that a run with this configuration uses, and what else Linkage can use; asks no network.

    Args:
        config: what is needed follows from it.
        out: where a run directory would be.
    """
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _packages(config),
        lambda: _tesseract(config),
        _optional,
        lambda: _model(config),
        lambda: _gpu(config),
        _fonts,
        lambda: _machine(config, out),
        _text,
    )
    return [finding for check in checks for finding in check()]


def _packages(config: Config) -> Iterator[Finding]:
    from packaging.requirements import Requirement

    wrong, mended, fine = [], [], 0
    extra = "ocr" if config.ingest.ocr == "tesseract" else ""
    for line in requirements():
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
            continue
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            version = "none"
        if version != "none" and wanted.specifier.contains(version, prereleases=True):
            fine += 1
        else:
            wrong.append(f"{wanted.name} {version}, needs {wanted.specifier}")
            mended.append(f"'{wanted.name}{wanted.specifier}'")
    python = ".".join(map(str, sys.version_info[:3]))
    if wrong:
        fix = f"pip install {' '.join(mended)}"
        yield Finding("packages", "missing", "; ".join(wrong), fix, needed=True)
    elif not fine:
        said = f"Python {python}; nothing here says which packages are required"
        yield Finding("packages", "warning", said, "pip install .  # in a checkout")
    else:
        yield Finding("packages", "ok", f"Python {python}, {fine} packages within their bounds", needed=True)


def _tesseract(config: Config) -> Iterator[Finding]:
    from linkage.ocr.tesseract import TesseractEngine, languages_installed

    settings = config.ingest
    needed = "tesseract" in settings.ocr or settings.ocr == "best"
    try:
        engine = TesseractEngine(settings.languages, settings.psm, settings.page_seconds)
        place, languages = languages_installed()
    except LinkageError as error:
        yield _failed("tesseract", error, needed)
        return
    yield Finding("tesseract", "ok", f"{engine.name}, {settings.languages} of {languages} in {place}", needed=needed)


def _optional() -> Iterator[Finding]:
    for name, fix in _OPTIONAL.items():
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken wheel raises anything
            yield Finding(name, "missing", f"optional: {' '.join(str(error).split())[:120]}", fix)
        else:
            yield Finding(name, "ok", f"{importlib.metadata.version(name)}, optional")


def _model(config: Config) -> Iterator[Finding]:
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    from linkage.encode.biencoder import BiEncoder

    line = Image.new("L", (360, 48), 255)
    ImageDraw.Draw(line).text((10, 6), _DRAWN, font=ImageFont.load_default(32), fill=0)
    try:
        encoder = BiEncoder.load(config.encode.model, config.encode.device, config.folding)
    except LinkageError as error:
        yield _failed("model", error, True)
        return
    vectors = np.concatenate([encoder.encode_image([line]), encoder.encode_text([_DRAWN])])
    said = f"{encoder.name} {encoder.sha256[:12]}, {encoder.dim} dimensions, {encoder.device}"
    if not np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3):
        yield Finding("model", "missing", f"{said}: gives no unit vectors", "train it again", needed=True)
        return
    if encoder.ink:
        (sight,) = encoder.look([line])[1]
        said += f", reads a drawn line as {sight.lattice.read()[0] if sight else ''!r}"
    yield Finding("model", "ok", said, needed=True)


def _gpu(config: Config) -> Iterator[Finding]:
    import torch

    from linkage.search.exact import gpu_problem

    needed = "cuda" in (config.encode.device, config.link.device)
    fix = "nvidia-smi  # and a driver for the CUDA of these wheels" if needed else ""
    seen = torch.cuda.is_available()
    name = torch.cuda.get_device_name(0) if seen else "torch sees none: the CPU computes"
    yield Finding("GPU, torch", "ok" if seen else _state(needed), name, "" if seen else fix, needed)
    problem = gpu_problem()
    found = f"{problem}: the CPU searches" if problem else "a probe search works"
    yield Finding("GPU, FAISS", _state(needed) if problem else "ok", found, fix if problem else "", needed)


def _state(needed: bool) -> State:
    return "missing" if needed else "warning"


def _fonts() -> Iterator[Finding]:
    from linkage.synth.render import faces

    try:
        found = faces()
    except LinkageError as error:
        yield _failed("fonts", error, False)
        return
    families = len({face.family for face in found})
    yield Finding("fonts", "ok", f"{families} families to draw with (linkage synth, make demo)")


def _machine(config: Config, out: Path) -> Iterator[Finding]:
    usable, wanted = cores(), config.ingest.workers
    threads, limit = os.environ.get("OMP_NUM_THREADS", ""), os.environ.get("OMP_THREAD_LIMIT", "")
    if wanted > usable:
        fix = "--set ingest.workers=0"
        yield Finding("cores", "warning", f"{usable} may be used, ingest.workers = {wanted}", fix)
    elif threads.isdigit() and limit.isdigit() and int(threads) > int(limit):
        said = f"OMP_NUM_THREADS={threads} is beyond OMP_THREAD_LIMIT={limit}: FAISS would wait for ever"
        yield Finding("cores", "warning", said, f"export OMP_NUM_THREADS={limit}")
    else:
        yield Finding("cores", "ok", f"{usable} may be used; every worker is given one thread")
    memory = free_memory()
    little = memory < _LITTLE_MEMORY and "--set ingest.workers=1 --set encode.threads=1"
    yield Finding("memory", "warning" if little else "ok", f"{memory / 1e9:.1f} GB free", little or "")
    for name, place in (("disk, --out", out), ("disk, temporary", Path(tempfile.gettempdir()))):
        free = free_disk(place)
        fix = f"df -h {place}  # and make room, or name another place" if free < _LITTLE_DISK else ""
        yield Finding(name, "warning" if fix else "ok", f"{free / 1e9:.1f} GB free at {place.absolute()}", fix)


def _text() -> Iterator[Finding]:
    names = {sys.getfilesystemencoding(), locale.getpreferredencoding(False), sys.stdout.encoding or "utf-8"}
    fine = all(name.lower().replace("-", "") == "utf8" for name in names)
    fix = "" if fine else "export LC_ALL=C.UTF-8 PYTHONUTF8=1"
    yield Finding("text", "ok" if fine else "warning", ", ".join(sorted(names)), fix)


def _failed(name: str, error: LinkageError, needed: bool) -> Finding:
    """What an error says: its message holds the command behind "run"."""
    said, _, fix = str(error).partition("; ")
    return Finding(name, "missing", said, fix.removeprefix("run ").strip("`"), needed)
