"""Pages for people: one HTML file each, whole in itself, every value in it escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def render(template: str, **values: Any) -> str:
    """Fill one of the templates beside this module."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Readings hold whatever the scans held, HTML included: every value is escaped.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "figure": _figure, "signed": _signed}
    return str(environment.get_template(template).render(**values))


def _number(value: float) -> str:
    """1234567 -> 1,234,567."""
    return f"{value:,}"


def _figure(value: float | None, digits: int = 2) -> str:
    """A measure or probability: 0.93; an en dash where there is none."""
    return "–" if value is None or np.isnan(value) else f"{value:.{digits}f}"


def _signed(value: float | None, digits: int = 2) -> str:
    """What speaks for or against: +0.93, −0.20; an en dash where there is none."""
    return "–" if value is None or np.isnan(value) else f"{value:+.{digits}f}".replace("-", "−")
