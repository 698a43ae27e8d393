"""What is shown of single links and entities: crops, readings and scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from linkage.config import ReportConfig
from linkage.report.charts import DECISIONS, histogram
from linkage.report.pictures import MarkedText, Thumbnails, mark_differences, shorten
from linkage.text import Folding

_NEAR = 0.1
_CLOSE = 0.05


def decisions(
    links: pd.DataFrame, sentences: list[str], pictures: Thumbnails, config: ReportConfig, folding: Folding
) -> dict[str, Any] | None:
    """The histogram of match probabilities and the links to look at first, or None without links.

    Args:
        links: links table.
        sentences: what is known of threshold and sets, for people.
        pictures: of the records.
        config: how many links are shown.
        folding: what makes two texts equal.
    """
    best = links[(links["rank"] == 1) & links["probability"].notna()] if len(links) else links
    if not len(best):
        return None
    probability = best["probability"].to_numpy(dtype=float)
    decision = best["decision"].to_numpy(dtype=object)
    # No threshold: nothing could be promised of any, so nothing is called a match.
    given = float(best["threshold"].iloc[0])
    threshold = 1.0 if np.isnan(given) else given
    far = np.abs(probability - threshold)
    second = links[links["rank"] == 2].set_index("record_id")
    is_tied = best["tied"].to_numpy(dtype=float, na_value=np.nan) > 1
    in_set = links["in_set"].astype(float).groupby(links["record_id"]).sum(min_count=1).dropna()
    return {
        "threshold": threshold,
        "source": str(best["threshold_source"].iloc[0]),
        "sentences": sentences,
        "chart": histogram(probability, decision, None if np.isnan(given) else given),
        "counts": [(name, int((decision == name).sum())) for name in DECISIONS],
        "near": 0 if np.isnan(given) else int((far < _NEAR).sum()),
        "close": int(((decision == "match") & (best["margin"].to_numpy(dtype=float) < _CLOSE)).sum()),
        "tied": int(is_tied.sum()),
        "sets": None if in_set.empty else _sets(in_set.to_numpy(dtype=int)),
        "doubtful": [
            _pair(best.iloc[place], second, pictures, folding)
            for place in np.lexsort((far, decision != "review"))[: config.entities]
        ],
    }


def _sets(sizes: np.ndarray) -> dict[str, int]:
    """How many queries have a set of no, one or several candidates."""
    return {"empty": int((sizes == 0).sum()), "one": int((sizes == 1).sum()), "several": int((sizes > 1).sum())}


def _pair(row: pd.Series, second: pd.DataFrame, pictures: Thumbnails, folding: Folding) -> dict[str, Any]:
    text = _text(row["text"]) or _text(row.get("reading"))
    other = _text(row["exemplar_text"]) or _text(row.get("exemplar_reading"))
    runner_up = second.loc[row["record_id"]] if row["record_id"] in second.index else None
    parts = [("picture", row["image_score"]), ("text", row["text_score"]), ("cross", row["cross_score"])]
    return {
        "decision": row["decision"],
        "tied": 0 if pd.isna(row["tied"]) else int(row["tied"]),
        "probability": float(row["probability"]),
        "score": float(row["score"]),
        "string": None if pd.isna(row["string_score"]) else float(row["string_score"]),
        "parts": [{"name": name, "value": float(value)} for name, value in parts],
        "sides": [
            _side(
                "query",
                row["record_id"],
                mark_differences(text, other, folding),
                row.get("source"),
                row.get("page"),
                pictures,
            ),
            _side(
                "exemplar",
                row["exemplar_id"],
                mark_differences(other, text, folding),
                row.get("exemplar_source"),
                row.get("exemplar_page"),
                pictures,
            ),
        ],
        "runner_up": None
        if runner_up is None
        else {
            "text": shorten(_text(runner_up["exemplar_text"])),
            "probability": float(runner_up["probability"]),
        },
    }


def _side(
    name: str, record_id: str, marked: MarkedText, source: Any, page: Any, pictures: Thumbnails
) -> dict[str, Any]:
    return {
        "name": name,
        "record_id": record_id,
        "picture": pictures.uri(record_id),
        "marked": marked,
        "place": _place(source, page),
    }


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)


def _place(source: Any, page: Any) -> str:
    if source is None or pd.isna(source) or source == "":
        return ""
    return f"{source}, page {int(page)}" if page is not None and pd.notna(page) and page > 1 else str(source)


class EntityCards:
    """Cards of entities with several records: the exemplar and some of the others."""

    def __init__(
        self,
        members: pd.DataFrame,
        entities: pd.DataFrame,
        pictures: Thumbnails,
        config: ReportConfig,
        folding: Folding,
    ) -> None:
        self.members = members
        self.shared = entities[entities["n_records"] > 1].sort_values(
            ["n_records", "entity_id"], ascending=[False, True], kind="stable"
        )
        self.pictures = pictures
        self.config = config
        self.folding = folding

    def largest(self) -> list[dict[str, Any]]:
        """The entities with the most records."""
        return self._cards(self.shared.head(self.config.entities))

    def sample(self, seed: int) -> list[dict[str, Any]]:
        """A random sample of those that are not among the largest."""
        rest = self.shared.iloc[self.config.entities :]
        n = min(self.config.entities, len(rest))
        chosen = np.random.default_rng(seed).permutation(len(rest))[:n]
        return self._cards(rest.iloc[chosen])

    def _cards(self, chosen: pd.DataFrame) -> list[dict[str, Any]]:
        inside = self.members[self.members["entity_id"].isin(chosen["entity_id"])]
        groups = dict(iter(inside.groupby("entity_id")))
        return [self._card(row, groups[row["entity_id"]]) for _, row in chosen.iterrows()]

    def _card(self, entity: pd.Series, members: pd.DataFrame) -> dict[str, Any]:
        """The weakest members come first: they are the ones to doubt."""
        others = members[members["record_id"] != entity["exemplar_id"]].sort_values(
            ["membership", "record_id"], kind="stable"
        )
        text = _text(entity["text"])
        exemplar = members[members["record_id"] == entity["exemplar_id"]]
        return {
            "entity_id": entity["entity_id"],
            "text": shorten(text),
            "n_records": int(entity["n_records"]),
            "n_sources": int(entity["n_sources"]),
            "more": max(0, len(others) - self.config.crops),
            "exemplar": {
                "picture": self.pictures.uri(entity["exemplar_id"]),
                "place": _place(exemplar["source"].iloc[0], exemplar["page"].iloc[0] if "page" in exemplar else None)
                if len(exemplar) and "source" in exemplar
                else "",
            },
            "crops": [
                {
                    "picture": self.pictures.uri(row["record_id"]),
                    "marked": mark_differences(_text(row.get("text")), text, self.folding),
                    "place": _place(row.get("source"), row.get("page")),
                    "origin": row["origin"],
                    "membership": float(row["membership"]),
                }
                for _, row in others.head(self.config.crops).iterrows()
            ],
        }
