"""Measures of a line of writing as the recogniser takes it, for what cuts lines as for what reads them."""

from __future__ import annotations

HEIGHT = 48
STEP = 8
"""Pixels of width per column of features; the width of a crop is a multiple of it."""
COLUMN = 120
"""Numbers per column of features."""
WIDEST = 2048
"""Pixels; a longer line is squeezed to it."""

USUAL = 320
"""Pixels of width of a usual line, by which the size of a batch is reckoned."""
BATCH = 32
"""Usual lines of a batch, unless the settings say otherwise."""
