"""Where lines of text are on a page: the text detector that the `rapidocr` wheel carries (PP-OCRv6, Apache-2.0)."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from linkage.distribution import install
from linkage.errors import DependencyError

_MODEL = "models/PP-OCRv6_det_small.onnx"
_STEEPEST = 0.2  # rows per column: what slopes more is no line of print


class DetectedLine(NamedTuple):
    """A line of text: its hull in pixels, rows counted in the middle of its width, and rows it falls per column."""

    left: int
    top: int
    right: int
    bottom: int
    slope: float


def find_lines(image: Image.Image) -> list[DetectedLine]:
    """Lines of text on a page, in no order that means anything.

    Args:
        image: mode L or RGB.

    Raises:
        DependencyError: rapidocr is not installed.
    """
    pixels = np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
    # What a call says of the stages holds for later calls as well: say it every time.
    found = _detector()(pixels, use_det=True, use_cls=False, use_rec=False)
    boxes = getattr(found, "boxes", None)
    return [] if boxes is None else [line for box in boxes if (line := _line(np.asarray(box), image.size)) is not None]


def _line(corners: np.ndarray, size: tuple[int, int]) -> DetectedLine | None:
    """Corners float (4, 2), clockwise from the top left."""
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners.tolist()
    left, right = max(0, round(min(x0, x3))), min(size[0], round(max(x1, x2)))
    height = ((y3 - y0) + (y2 - y1)) / 2
    middle = (y0 + y1 + y2 + y3) / 4
    top, bottom = max(0, round(middle - height / 2)), min(size[1], round(middle + height / 2))
    if right <= left or bottom <= top:
        return None
    slope = ((y1 - y0) + (y2 - y3)) / max((x1 - x0) + (x2 - x3), 1)
    return DetectedLine(left, top, right, bottom, slope if abs(slope) <= _STEEPEST else 0.0)


def check_detector() -> None:
    """See that pages can be read.

    Raises:
        DependencyError: rapidocr is not installed.
    """
    _model_path()


def _model_path() -> Path:
    spec = find_spec("rapidocr")
    path = Path(spec.origin).parent / _MODEL if spec and spec.origin else None
    if path is None or not path.is_file() or find_spec("onnxruntime") is None:
        raise DependencyError(
            "the recogniser needs rapidocr to find lines on pages; "
            f"run `{install('rapidocr', 'onnxruntime')}`, or give the boxes"
        )
    return path


@lru_cache(maxsize=1)
def _detector() -> Any:
    """The detector on one thread, loaded once per process; a model that is named by its path is never downloaded."""
    path = _model_path()
    from rapidocr import RapidOCR

    threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    return RapidOCR(params={"Det.model_path": str(path), "Global.log_level": "critical", **threads})
