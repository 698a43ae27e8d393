"""How this package is called where packages are installed, what it requires, and how what is missing is installed.

`linkage` on the Python package index is somebody else's: no message may send anyone there.
"""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

DISTRIBUTION = "scan-linkage"

OPTIONAL = {
    "pytesseract": "pytesseract>=0.3.13",
    "rapidocr": "rapidocr>=3.10,<3.11",
    "onnxruntime": "onnxruntime>=1.20",
    "ray": "ray>=2.40",
}
"""Packages that some uses need, with the versions that pyproject.toml asks for."""


def install(*packages: str) -> str:
    """The command that installs optional packages."""
    return f"pip install {' '.join(repr(OPTIONAL[name]) for name in packages)}"


def requirements() -> list[str]:
    """What this package requires, as its metadata says, or, where that is not installed, its checkout; else []."""
    try:
        return importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        checkout = Path(__file__).parents[1] / "pyproject.toml"
        project = tomllib.loads(checkout.read_text(encoding="utf-8"))["project"] if checkout.is_file() else {}
        return list(project["dependencies"]) if project.get("name") == DISTRIBUTION else []
