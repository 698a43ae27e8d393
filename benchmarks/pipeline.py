"""The whole job on thousands of pages: where the time goes, whether memory stays flat, and what `plan` had said."""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from results import Row, measured_alone, shown

from linkage.config import Config, load_config
from linkage.forecast import forecast
from linkage.records import Records
from linkage.run import run
from linkage.scans.images import decode_crop
from linkage.synth.records import synth_records
from linkage.text import FOLDING

JOB = "the whole job on scanned cards, by stage"
_MARGIN = 40  # pixels of paper around the name on a card
_IN_A_FILE = 100  # pages
_LATIN = 0.35  # at least, of the drawn entities
_SETTINGS = ("ingest.regions=page", "link.exemplars='first/*'", "encode.device=cpu", "link.device=cpu")


def write_cards(out: Path, pages: int, seed: int = 0) -> pd.DataFrame:
    """Cards with the worn name of a firm each, half of them another view of the other half's, as multi-page TIFFs.

    Returns:
        source, page and entity of every card; `first/` holds the exemplars.
    """
    drawn = out.with_suffix(".parquet")
    synth_records(drawn, entities=round(pages / 2 / _LATIN), views=2, seed=seed)
    records = Records.open(drawn)
    latin = records.frame["truth"].map(lambda truth: FOLDING.fold(truth).isascii()) & (
        records.frame["layout"] == "line"
    )
    both = latin.groupby(records.frame["entity_id"]).transform("all")
    rows = both.to_numpy().nonzero()[0][:pages]
    cards: dict[str, list[Image.Image]] = {"first": [], "second": []}
    truth = []
    wanted = iter(rows)
    row = next(wanted, None)
    for start, crops in records.batches(256):
        while row is not None and row < start + len(crops):
            edition = "first" if len(truth) % 2 == 0 else "second"
            crop = crops[row - start]
            assert crop
            cards[edition].append(_card(decode_crop(crop)))
            truth.append((edition, len(truth) // 2, records.frame["entity_id"][row]))
            row = next(wanted, None)
        for edition, sheets in cards.items():
            done = sum(one[0] == edition for one in truth) - len(sheets)
            last = row is None
            while len(sheets) >= _IN_A_FILE or (last and sheets):
                _write(out / edition / f"{done // _IN_A_FILE:04}.tif", sheets[:_IN_A_FILE])
                del sheets[:_IN_A_FILE]
                done += _IN_A_FILE
        if row is None:
            break
    table = pd.DataFrame(truth, columns=["edition", "number", "entity_id"])
    table["source"] = [
        f"{one}/{number // _IN_A_FILE:04}.tif" for one, number in zip(table.edition, table.number, strict=True)
    ]
    return table.assign(page=table["number"] % _IN_A_FILE + 1)[["source", "page", "entity_id"]]


def _card(name: Image.Image) -> Image.Image:
    card = Image.new("L", (name.width + 2 * _MARGIN, name.height + 2 * _MARGIN), 235)
    card.paste(name.convert("L"), (_MARGIN, _MARGIN))
    return card


def _write(path: Path, sheets: list[Image.Image]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sheets[0].save(path, save_all=True, append_images=sheets[1:], compression="jpeg", dpi=(200, 200))


def rows(pages: int) -> list[Row]:
    """One row per stage of a run, with what `plan` had said of it."""
    with tempfile.TemporaryDirectory() as folder:
        scans, out = Path(folder, "scans"), Path(folder, "run")
        truth = write_cards(scans, pages)
        config = load_config(None, _SETTINGS)
        _, _, said = measured_alone(partial(_forecast, config, scans, out))
        seconds, memory, manifest = measured_alone(partial(_run, config, scans, out))
        planned = {stage["name"]: stage for stage in said["stages"]}
        links = pd.read_parquet(out / "link" / "links.parquet", columns=["record_id", "rank", "exemplar_id"])
        right = _share_right(links, Records.open(out / "ingest" / "records.parquet").frame, truth)
        stages = manifest["stages"]
        made = [
            _row(name, stages[name]["seconds"], stages[name]["peak_memory_mb"], planned.get(name), pages)
            for name in ("ingest", "embed", "index", "link", "cluster")
        ]
        last = seconds - sum(stage["seconds"] for stage in stages.values())
        made.append(_row("report and the rest", last, 0.0, planned["report"], pages))
        whole = _row("all", seconds, memory, planned["all"], pages)
        whole.quality["nearest exemplar is right"] = right
        return [whole, *made]


def _forecast(config: Config, scans: Path, out: Path) -> dict[str, Any]:
    return forecast(config, [scans], out=out, sample=10).as_dict()


def _run(config: Config, scans: Path, out: Path) -> dict[str, Any]:
    return run(config, [scans], out).manifest


def _row(name: str, seconds: float, memory: float, planned: dict[str, Any] | None, pages: int) -> Row:
    quality: dict[str, Any] = {"pages/s": pages / max(seconds, 1e-9)}
    if planned:
        quality |= {"planned s": planned["seconds"], "truth / plan": seconds / max(planned["seconds"], 1e-9)}
        quality |= {"planned MB": round(planned["memory_mb"])}
    return Row(JOB, pages, name, seconds, memory, quality)


def _share_right(links: pd.DataFrame, records: pd.DataFrame, truth: pd.DataFrame) -> float:
    entity = records.merge(truth, on=["source", "page"], suffixes=("_", "")).set_index("record_id")["entity_id"]
    best = links[links["rank"] == 1]
    pairs = zip(best["record_id"], best["exemplar_id"], strict=True)
    return sum(entity.get(query) == entity.get(exemplar) for query, exemplar in pairs) / len(best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, nargs="+", default=[1_000])
    for n in parser.parse_args().pages:
        print(shown(rows(n)), flush=True)


if __name__ == "__main__":
    main()
