"""What the commands print: results to stdout, as tables for people or as JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

    from linkage.explain.explanation import Explanation
    from linkage.forecast import Forecast
    from linkage.workers.share import Share

HIGHLIGHTS = ("matched accuracy", "no-match accuracy", "pairwise F1", "B-cubed F1")


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def print_summary(summary: dict[str, Any], as_json: bool) -> None:
    """Print what a command did: a name and a value a line, or JSON."""
    if as_json:
        print_json(summary)
        return
    width = max(map(len, summary))
    for name, value in summary.items():
        typer.echo(f"{name:{width}}  {value}")


def print_shard(shard: Share, done: int, of: int, what: str, as_json: bool) -> None:
    """Print what a call for one shard did, like "shard 3/16: 120 of 1,920 pages read"."""
    if as_json:
        print_json({"shard": str(shard), "done": done, "of": of})
    else:
        typer.echo(f"shard {shard}: {done:,} of {of:,} {what}")


def print_stages(manifest: dict[str, Any]) -> None:
    """Print the stages of a run with their time, memory and counts."""
    rows: list[tuple[str, ...]] = [("stage", "seconds", "peak MB", "counts")]
    for name, stage in manifest["stages"].items():
        counts = ", ".join(f"{key} {_short(value)}" for key, value in stage["counts"].items())
        seconds = "kept" if stage["kept"] else f"{stage['seconds']:.1f}"
        rows.append((name, seconds, f"{stage['peak_memory_mb']:.0f}", counts))
    _print_rows(rows)


def print_forecast(forecast: Forecast, as_json: bool) -> None:
    """Print what a run will take: a row a stage, what the machine has, and what will not fit; or JSON."""
    if as_json:
        print_json(forecast.as_dict())
        return
    found = {"sources": forecast.sources, "pages": forecast.pages, "records": forecast.records}
    print_summary(found | {"pages read for this": forecast.sampled}, as_json)
    typer.echo()
    rows: list[tuple[str, ...]] = [("stage", "items", "time", "range", "peak MB", "disk MB")]
    for stage in (*forecast.stages, forecast.total):
        times = f"{_duration(stage.least)} - {_duration(stage.most)}"
        sizes = f"{stage.memory_mb:.0f}", f"{stage.disk_mb:.0f}"
        rows.append((stage.name, f"{stage.items} {stage.unit}", _duration(stage.seconds), times, *sizes))
    rows.append(("free", "", "", "", f"{forecast.free_memory_mb:.0f}", f"{forecast.free_disk_mb:.0f}"))
    _print_rows(rows)
    for warning in forecast.warnings:
        typer.echo(f"warning: {warning}")


def print_highlights(metrics: pd.DataFrame) -> None:
    """Print the measures that a run is judged by, on the rows least fitted on: test, else val, else all."""
    split = next((name for name in ("test", "val") if (metrics["split"] == name).any()), "all")
    print_metrics(metrics[metrics["measure"].isin(HIGHLIGHTS) & (metrics["split"] == split)])


def print_metrics(metrics: pd.DataFrame) -> None:
    """Print figures with their 95 % intervals."""
    rows: list[tuple[str, ...]] = [("split", "measure", "system", "value", "95 % interval", "n")]
    for row in metrics.to_dict("records"):
        interval = "" if math.isnan(row["low"]) else f"{row['low']:.3f}-{row['high']:.3f}"
        rows.append((row["split"], row["measure"], row["system"], f"{row['value']:.3f}", interval, str(row["n"])))
    _print_rows(rows)


def print_table(header: Sequence[str], body: Iterable[Sequence[Any]]) -> None:
    """Print rows under their names; None is an empty cell."""
    _print_rows([tuple(header), *(tuple("" if cell is None else str(cell) for cell in row) for row in body)])


def print_explanation(explanation: Explanation, as_json: bool) -> None:
    """Print why a record was linked, as text or as JSON."""
    from linkage.explain.text import explanation_lines

    if as_json:
        print_json(explanation.as_dict())
        return
    for line in explanation_lines(explanation):
        typer.echo(line)


def _print_rows(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    typer.echo()


def _duration(seconds: float) -> str:
    """Seconds in the unit that people would take."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
