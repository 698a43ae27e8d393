"""What can be chosen between, said once: the types of the configuration, and what help and messages name.

Nothing is imported here that `linkage --help` would wait for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

RegionKind = Literal["page", "lines", "blocks", "entries", "rows", "header", "boxes", "tagged"]
Rotation = Literal["auto", 0, 90, 180, 270]
IndexKind = Literal["auto", "exact", "float16", "sq8", "hnsw", "ivf", "nested", "binary"]
Constraint = Literal["many-to-one", "one-to-one", "one-per-page", "one-per-source"]
Existing = Literal["skip", "retry", "overwrite", "abort"]
WorkEngine = Literal["local", "ray"]
TranscriptFormat = Literal["alto", "page", "hocr"]
Split = Literal["train", "val", "test"]

OCR_ENGINES = ("tesseract", "recogniser")
"""They can be joined by +."""
OCR_ALONE = ("best", "file", "none")
"""They cannot."""


def names(choice: Any) -> tuple[str, ...]:
    """The values of a Literal type, as they are written on the command line."""
    return tuple(map(str, get_args(choice)))


def either(values: Sequence[str], word: str = "or") -> str:
    """Values as part of a sentence: a, b or c."""
    *first, last = values
    return f"{', '.join(first)} {word} {last}" if first else last
