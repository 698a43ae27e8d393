"""Adapter until the scorer tells its contributions itself."""

from __future__ import annotations

import numpy as np
import pandas as pd

from linkage.link.scorer import FEATURES, Scorer


def contributions(scorer: Scorer, rows: pd.DataFrame) -> pd.DataFrame:
    alike = rows[list(FEATURES)].to_numpy(float)
    out = []
    for one in alike:
        if np.isnan(one[1:3]).any():
            w = [scorer.intercept_alone, scorer.score_alone, 0, 0, 0]
        elif np.isnan(one[3]):
            w = [scorer.intercept_written, *scorer.weights_written, 0]
        else:
            w = [scorer.intercept, *scorer.weights]
        out.append(np.array(w) * [1, *np.nan_to_num(one)])
    return pd.DataFrame(out, columns=["intercept", *FEATURES], index=rows.index)
