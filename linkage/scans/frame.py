"""The part of a picture that is the sheet and is written on, without the scanner's lid, the table or a book's edge."""

from __future__ import annotations

import numpy as np
from PIL import Image

from linkage.scans.ink import dark_surround, ink_of, without_specks

_PAPER = 0.05  # share of a row or column that must be paper: less is a speck in the dark
_MARGIN = 0.02  # of the longer side, left around the ink


def find_frame(small: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is to be kept of a page: its ink with a margin, within its paper.

    All of the picture where neither is found. An edge of the sheet on a lighter or equal ground counts as ink.

    Args:
        small: see `linkage.scans.ink.small_grey`.
    """
    surround = dark_surround(small)
    columns = np.flatnonzero((~surround).mean(axis=0) >= _PAPER)
    rows = np.flatnonzero((~surround).mean(axis=1) >= _PAPER)
    if not len(columns) or not len(rows):
        return 0, 0, *small.size
    paper = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    ink = without_specks(ink_of(small, surround))
    inked_columns, inked_rows = np.flatnonzero(ink.any(axis=0)), np.flatnonzero(ink.any(axis=1))
    if not len(inked_columns):
        left, top, right, bottom = (int(edge) for edge in paper)
        return left, top, right, bottom
    margin = round(_MARGIN * max(small.size))
    return (
        max(int(inked_columns[0]) - margin, int(paper[0])),
        max(int(inked_rows[0]) - margin, int(paper[1])),
        min(int(inked_columns[-1]) + 1 + margin, int(paper[2])),
        min(int(inked_rows[-1]) + 1 + margin, int(paper[3])),
    )
