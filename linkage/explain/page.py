"""An explanation as a page with the crops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from linkage.compare.likeness import PARTS
from linkage.explain.comparison import MEANINGS, Comparison, ShownRecord, weighed
from linkage.explain.explanation import Explanation
from linkage.records import Records
from linkage.report.page import render
from linkage.report.pictures import Thumbnails, mark_differences, shorten
from linkage.tables import replacing
from linkage.text import Folding

_MEMBERS = 60


def write_explanation(out: Path, explanation: Explanation, records: Records | None, folding: Folding) -> None:
    """Write one HTML page that needs nothing else: style and pictures are inside, and no script.

    Args:
        out: file to write.
        explanation: of a record or an entity.
        records: where the crops are; None: the page has none.
        folding: what makes two texts equal.
    """
    shown = _PageContent(Thumbnails(records) if records else None, folding)
    parts = [explanation, *([explanation.weakest] if explanation.weakest else [])]
    page = render("explain.html", explanation=explanation, parts=[shown.part(part) for part in parts])
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")


class _PageContent:
    """What the template shows of explanations."""

    def __init__(self, pictures: Thumbnails | None, folding: Folding) -> None:
        self.pictures = pictures
        self.folding = folding

    def part(self, explanation: Explanation) -> dict[str, Any]:
        """One record, or the entity."""
        pairs: list[dict[str, Any]] = []
        if explanation.link:
            pair = self.pair(explanation.link.best, explanation.link.runner_up, "exemplar")
            pairs.append(pair | {"title": "Beside the exemplars" if explanation.group else ""})
        own, other = explanation.group.shown if explanation.group else (None, None)
        if explanation.group and own:
            pair = self.pair(own, other, "exemplar" if explanation.group.exemplar else "nearest")
            pairs.append(pair | {"title": "Among the records that were clustered"})
        members = explanation.members or []
        text = explanation.exemplar.text if explanation.exemplar else ""
        return {
            "told": explanation,
            "pairs": pairs,
            "exemplar": explanation.exemplar and self.side("exemplar", explanation.exemplar, ""),
            "members": [
                {
                    "member": one,
                    "picture": self.picture(one.record_id),
                    "marked": mark_differences(one.text, text, self.folding) if text else [(shorten(one.text), False)],
                    "place": _place(one.source, one.page),
                }
                for one in members[:_MEMBERS]
            ],
            "more": max(0, len(members) - _MEMBERS),
        }

    def pair(self, pair: Comparison, other: Comparison | None, right: str) -> dict[str, Any]:
        """Two records and, where there is one, the runner-up."""
        views = pair.views or ("text", "text")
        left, beside = pair.left.said(views[0]), pair.right.said(views[1])
        sides = [self.side("record", pair.left, beside, left), self.side(right, pair.right, left, beside)]
        if other:
            theirs = other.views or ("text", "text")
            sides.append(self.side("runner-up", other.right, other.left.said(theirs[0]), other.right.said(theirs[1])))
        told = other.contributions if other else {}
        heard, silent = weighed(pair, other)
        rows = [
            {
                "name": name,
                "meaning": MEANINGS.get(name, ""),
                "value": pair.similarities[name],
                "told": pair.contributions[name],
                "other_value": other.similarities.get(name) if other else None,
                "other": told.get(name, 0.0),
                "parts": [(part, MEANINGS[part]) for part in PARTS] if name == "score" else [],
            }
            for name in heard
        ]
        return {
            "pair": pair,
            "other": other,
            "sides": sides,
            "rows": rows,
            "silent": [(name, pair.similarities[name]) for name in silent],
        }

    def side(self, name: str, side: ShownRecord, other: str, said: str | None = None) -> dict[str, Any]:
        """A crop and what it says, with what differs from the other marked."""
        said = (side.text or side.reading) if said is None else said
        also = side.reading if said == side.text else side.text
        return {
            "name": name,
            "record_id": side.record_id,
            "picture": self.picture(side.record_id),
            "line": self.pictures.line(side.record_id) if self.pictures and side.reading else None,
            "marked": mark_differences(said, other, self.folding) if other else [(shorten(said), False)],
            "also": shorten(also) if also != said else "",
            "place": _place(side.source, side.page),
        }

    def picture(self, record_id: str) -> str | None:
        return self.pictures.uri(record_id) if self.pictures else None


def _place(source: str, page: int | None) -> str:
    return f"{source}, page {page}" if page is not None and page > 1 else source
