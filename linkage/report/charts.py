"""Charts as SVG text, drawn without a browser."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

INK, QUIET, LINE = "#2b2f33", "#6f767d", "#e4e1da"
MATCH, REVIEW, OTHER, MARK = "#2f6f73", "#d9a441", "#c9c4b8", "#b4552d"
DECISIONS = {"match": MATCH, "review": REVIEW, "no-match": OTHER}
_SYSTEMS = ("#b4552d", "#d9a441", "#9a968c", "#2f6f73")
_BINS = 40


def histogram(probability: np.ndarray, decision: np.ndarray, threshold: float | None) -> str:
    """Match probabilities of the best candidates by decision, with the threshold as a line.

    Args:
        probability: (n,), 0..1.
        decision: match, review or no-match, object (n,).
        threshold: 0..1; None: there is none.
    """
    import altair as alt

    edges = np.linspace(0, 1, _BINS + 1)
    colors = {name: color for name, color in DECISIONS.items() if (decision == name).any()}
    parts = []
    for name in reversed(colors):
        counts, _ = np.histogram(probability[decision == name], edges)
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
                scale=alt.Scale(domain=list(colors), range=list(colors.values())),
                legend=_legend(symbolType="square"),
            ),
        )
    )
    if threshold is None:
        return _svg(bars.properties(width=640, height=190))
    mark = pd.DataFrame({"at": [threshold], "text": [f"threshold {threshold:.2f}"]})
    line = alt.Chart(mark).mark_rule(color=MARK, strokeDash=[4, 3], strokeWidth=1.5).encode(x="at:Q")
    left = threshold > 0.8
    label = (
        alt.Chart(mark)
        .mark_text(align="right" if left else "left", dx=-6 if left else 6, y=8, color=MARK)
        .encode(x="at:Q", text="text:N")
    )
    return _svg((bars + line + label).properties(width=640, height=190))


def diagram(reliability: pd.DataFrame) -> str:
    """Share right against mean probability, with 95 % intervals: on the diagonal probabilities are what they say.

    Args:
        reliability: one row per bin: probability, value, low, high.
    """
    import altair as alt

    x = alt.X("probability:Q", title="mean match probability", scale=_WHOLE, axis=_axis(values=_TENTHS, format=".1f"))
    y = alt.Y("low:Q", title="share that is right", scale=_WHOLE, axis=_axis(values=_TENTHS, format=".1f", grid=True))
    ends = pd.DataFrame({"probability": [0.0, 1.0], "low": [0.0, 1.0]})
    even = alt.Chart(ends).mark_line(color=OTHER, strokeDash=[4, 3], strokeWidth=1.5).encode(x=x, y=y)
    base = alt.Chart(reliability).encode(x=x)
    ranges = base.mark_rule(color=MATCH, strokeWidth=3, opacity=0.4).encode(y=y, y2="high:Q")
    points = base.mark_circle(color=MATCH, size=75, opacity=1).encode(y="value:Q")
    return _svg((even + ranges + points).properties(width=300, height=300))


def by_confidence(found: pd.DataFrame) -> str:
    """Matched accuracy of some systems with 95 % intervals, side by side in each bin of reading confidence.

    Args:
        found: one row per system and bin: system, bin (its name on the axis, lines parted by |), value, low, high;
            in order.
    """
    import altair as alt

    systems, bins = (list(dict.fromkeys(found[name])) for name in ("system", "bin"))
    colors = _SYSTEMS[-len(systems) :]
    lines = _axis(labelAngle=0, domain=False, labelExpr="split(datum.label, '|')", labelLineHeight=15)
    base = alt.Chart(found).encode(
        x=alt.X("bin:N", sort=bins, title="confidence of the reading", axis=lines),
        xOffset=alt.XOffset("system:N", sort=systems),
        color=alt.Color("system:N", sort=systems, scale=alt.Scale(domain=systems, range=colors), legend=_legend()),
    )
    y = alt.Y("low:Q", title="share found", scale=_WHOLE, axis=_axis(values=_TENTHS, format=".1f", grid=True))
    ranges = base.mark_rule(strokeWidth=3, opacity=0.35).encode(y=y, y2="high:Q")
    points = base.mark_circle(size=55, opacity=1).encode(y="value:Q")
    return _svg((ranges + points).properties(width=max(320, 78 * len(bins)), height=220))


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
_WHOLE = {"domain": [0, 1]}


def _legend(**options: Any) -> Any:
    import altair as alt

    quiet: dict[str, Any] = {
        "title": None,
        "orient": "top",
        "labelFontSize": 12,
        "labelColor": QUIET,
        "symbolOpacity": 1,
    }
    return alt.Legend(**(quiet | options))


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
