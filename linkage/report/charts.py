"""Charts as SVG text, drawn without a browser."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

INK, QUIET, LINE = "#2b2f33", "#6f767d", "#e4e1da"
MATCH, OTHER, MARK = "#2f6f73", "#c9c4b8", "#b4552d"
_BINS = 40


def histogram(probability: np.ndarray, is_match: np.ndarray, threshold: float) -> str:
    """Match probabilities of the best candidates, matches apart from the rest, with the threshold as a line.

    Args:
        probability: (n,), 0..1.
        is_match: bool (n,).
        threshold: 0..1.
    """
    import altair as alt

    edges = np.linspace(0, 1, _BINS + 1)
    parts = []
    for name, chosen in (("no-match", ~is_match), ("match", is_match)):
        counts, _ = np.histogram(probability[chosen], edges)
        parts.append(pd.DataFrame({"from": edges[:-1], "to": edges[1:], "records": counts, "decision": name}))
    bars = (
        alt.Chart(pd.concat(parts))
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X(
                "from:Q",
                bin="binned",
                title="match probability of the best candidate",
                axis=_axis(values=_TENTHS, format=".1f"),
            ),
            x2="to:Q",
            # One bar towers over the rest; the root keeps the doubtful middle visible.
            y=alt.Y(
                "records:Q",
                title="queries (square-root scale)",
                stack=None,
                scale=alt.Scale(type="sqrt"),
                axis=_axis(tickCount=4, grid=True),
            ),
            color=alt.Color(
                "decision:N",
                scale=alt.Scale(domain=["match", "no-match"], range=[MATCH, OTHER]),
                legend=alt.Legend(title=None, orient="top", symbolType="square", labelFontSize=12, labelColor=QUIET),
            ),
        )
    )
    mark = pd.DataFrame({"at": [threshold], "text": [f"threshold {threshold:.2f}"]})
    line = alt.Chart(mark).mark_rule(color=MARK, strokeDash=[4, 3], strokeWidth=1.5).encode(x="at:Q")
    left = threshold > 0.8
    label = (
        alt.Chart(mark)
        .mark_text(align="right" if left else "left", dx=-6 if left else 6, y=8, color=MARK)
        .encode(x="at:Q", text="text:N")
    )
    return _svg((bars + line + label).properties(width=640, height=190))


def intervals(metrics: pd.DataFrame, measures: list[str], own: str) -> str:
    """Values with their 95 % intervals, one panel per measure and one row per system.

    Args:
        metrics: rows of one task and split: measure, system, value, low, high.
        measures: panels, in order.
        own: the system to stand out.
    """
    import altair as alt

    shown = metrics[metrics["measure"].isin(measures) & metrics["value"].notna()]
    shown = shown.assign(own=shown["system"] == own)
    first = float(np.floor(np.nan_to_num(shown["low"]).min(initial=1.0) * 5) / 5)
    systems = list(dict.fromkeys(shown["system"]))
    base = alt.Chart(shown).encode(
        y=alt.Y("system:N", sort=systems, title=None, axis=_axis(domain=False, ticks=False, labelLimit=240)),
        color=alt.condition("datum.own", alt.value(MATCH), alt.value("#9a968c")),
    )
    x = alt.X(
        "low:Q",
        title=None,
        scale=alt.Scale(domain=[first, 1]),
        axis=_axis(values=[tick for tick in _TENTHS if tick >= first], format=".1f", grid=True),
    )
    ranges = base.mark_rule(strokeWidth=3, opacity=0.45).encode(x=x, x2="high:Q")
    points = base.mark_circle(size=75, opacity=1).encode(x="value:Q")
    width = 640 // max(len(measures), 1) - 30
    panels = (ranges + points).properties(width=width, height=24 * len(systems))
    header = alt.Header(title=None, labelFontSize=12, labelColor=INK, labelFontWeight=600, labelPadding=8)
    return _svg(panels.facet(column=alt.Column("measure:N", sort=measures, header=header), spacing=24))


_TENTHS = [0, 0.2, 0.4, 0.6, 0.8, 1.0]


def _axis(**options: Any) -> Any:
    import altair as alt

    quiet: dict[str, Any] = {
        "labelColor": QUIET,
        "titleColor": QUIET,
        "domainColor": LINE,
        "tickColor": LINE,
        "gridColor": "#eeebe4",
        "grid": False,
        "titleFontWeight": 400,
        "labelFontSize": 11.5,
        "titleFontSize": 12,
    }
    return alt.Axis(**(quiet | options))


def _svg(chart: Any) -> str:
    """The chart as SVG; its texts take the font of the page."""
    import altair as alt
    import vl_convert

    view = chart.configure(background="transparent", font="sans-serif", view=alt.ViewConfig(stroke=None))
    return str(vl_convert.vegalite_to_svg(view.to_dict()))
