"""Two records side by side: readings aligned, similarity split into parts, and what the scorer made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from linkage.compare.likeness import PARTS
from linkage.compare.scorer import COSINES
from linkage.compare.wording import Wording, written
from linkage.report.pictures import AlignmentStep, align, in_common
from linkage.text import Folding

VOICES = {
    **dict(zip(PARTS, ("the pictures", "the text vectors", "picture against text"), strict=True)),
    "image_cosine": "the pictures",
    "text_cosine": "the text vectors",
    "cross_cosine": "picture against text",
    "string_score": "the strings",
    "partial_score": "the strings",
    "rarity_score": "the strings",
    "likelihood": "what the pictures may say",
    "log_likelihood": "what the pictures may say",
    "confidence": "how sure the readings are",
    "length": "how long the texts are",
    "same_page": "the place",
    "same_source": "the place",
}
"""Whose evidence the scorer's features are; `score` is that of its PARTS."""

MEANINGS = VOICES | {
    "score": "pooled embeddings",
    "string_score": "whole strings",
    "partial_score": "best part of the strings",
    "rarity_score": "rare letter groups",
    "likelihood": "letters under the lattice",
    "log_likelihood": "the whole text under the lattice",
}
"""The similarities in a few words."""

_LITTLE = 0.05  # share of all evidence below which a voice hardly counts
_VIEWS = [(left, right) for left in ("text", "reading") for right in ("text", "reading")]


@dataclass(frozen=True)
class ShownRecord:
    """One of the two records: its given text, the model's own reading of its crop, and where it stands."""

    record_id: str
    text: str
    reading: str
    source: str
    page: int | None

    def said(self, view: str) -> str:
        """The given text ("text") or the model's own reading ("reading")."""
        return self.text if view == "text" else self.reading


def record_of(row: pd.Series, prefix: str = "") -> ShownRecord:
    """The record that a row of a table tells of; with prefix "exemplar_" the candidate of a links row."""
    return ShownRecord(
        as_text(row["exemplar_id" if prefix else "record_id"]),
        as_text(row.get(f"{prefix}text")),
        as_text(row.get(f"{prefix}reading")),
        as_text(row.get(f"{prefix}source")),
        as_page(row.get(f"{prefix}page")),
    )


@dataclass(frozen=True)
class Comparison:
    """Two records and how alike they are.

    Attributes:
        left, right: the record asked about, and the one that it is compared with.
        entity_id: of the right one.
        cosine: of the pooled embeddings = sum of `parts`, within rounding to 6 digits.
        parts: its parts, by the names of PARTS.
        similarities: what the scorer weighed, by column; None where the pair has none.
        contributions: `intercept` and, by column, what each adds to the log odds.
        logit: the sum of `contributions`.
        voices: the same evidence by whose it is, without the intercept.
        probability: match probability 0..1: of a link beside its rivals, else of the pair alone.
        distance: fused distance 0..1 that clustering went by; None for links.
        views: which string of either side ("text", "reading") made `string_score`; None where one has none.
        aligned: these two strings, aligned (without them: the given texts).
        in_common: whether the two strings share enough for an alignment to tell something.
        part: the letters that made `partial_score`, aligned: the shorter string and the best part of the longer.
    """

    left: ShownRecord
    right: ShownRecord
    entity_id: str
    cosine: float
    parts: dict[str, float]
    similarities: dict[str, float | None]
    contributions: dict[str, float]
    logit: float
    voices: dict[str, float]
    probability: float
    distance: float | None
    views: tuple[str, str] | None
    aligned: list[AlignmentStep]
    in_common: bool
    part: list[AlignmentStep]


def compare(
    left: ShownRecord,
    right: ShownRecord,
    entity_id: str,
    numbers: Mapping[str, Any],
    contributions: pd.Series,
    folding: Folding,
    *,
    probability: float,
    distance: float | None = None,
) -> Comparison:
    """Put a comparison together.

    Args:
        left, right, entity_id: see `Comparison`.
        numbers: `score`, its parts and the other similarities by column, as in a links row.
        contributions: row of `Scorer.contributions`.
        folding: what makes two texts equal.
        probability, distance: see `Comparison`.
    """
    told = {str(name): float(value) for name, value in contributions.items()}
    similarities = {name: as_number(numbers.get(name)) for name in told if name != "intercept"}
    parts = {name: float(numbers[name]) for name in PARTS}
    views, part_views = counted(left, right, folding)
    shown = views or ("text", "text")
    steps = align(left.said(shown[0]), right.said(shown[1]), folding)
    return Comparison(
        left=left,
        right=right,
        entity_id=entity_id,
        cosine=float(numbers["score"]),
        parts=parts,
        similarities=similarities,
        contributions=told,
        logit=sum(told.values()),
        voices=_voices(told, similarities, parts),
        probability=probability,
        distance=distance,
        views=views,
        aligned=steps,
        in_common=in_common(steps),
        part=_best_part(left, right, part_views, folding) if part_views else [],
    )


def counted(
    left: ShownRecord, right: ShownRecord, folding: Folding
) -> tuple[tuple[str, str] | None, tuple[str, str] | None]:
    """Which strings of two records made `string_score`, and which `partial_score`: the most alike by each measure."""
    texts = [left.said(one) for one, _ in _VIEWS], [right.said(other) for _, other in _VIEWS]
    said = [Wording(side, folding=folding) for side in texts]
    every = np.arange(len(_VIEWS))
    whole, part = written(said[0], every, said[1], every)[:, :2].T
    return _most(whole), _most(part)


def _most(rated: np.ndarray) -> tuple[str, str] | None:
    return None if np.isnan(rated).all() else _VIEWS[int(np.nanargmax(rated))]


def _best_part(left: ShownRecord, right: ShownRecord, views: tuple[str, str], folding: Folding) -> list[AlignmentStep]:
    from rapidfuzz.fuzz import partial_ratio_alignment

    one, other = Wording([left.said(views[0]), right.said(views[1])], folding=folding).texts
    found = partial_ratio_alignment(one, other)
    if found is None:  # only below a score that was not asked for
        return []
    return align(one[found.src_start : found.src_end], other[found.dest_start : found.dest_end], folding)


def _voices(
    contributions: dict[str, float], similarities: dict[str, float | None], parts: dict[str, float]
) -> dict[str, float]:
    """Whose evidence it is; a cosine that stands in for a missing one is shared out like the pooled one."""
    told: dict[str, float] = {}
    cosine = sum(parts.values())
    for name, value in contributions.items():
        if name == "intercept" or (not value and similarities[name] is None):
            continue
        if name == "score" or (name in COSINES and similarities[name] is None):
            shared = {VOICES[part]: value * parts[part] / cosine for part in PARTS} if cosine else {}
        else:
            shared = {VOICES.get(name, f"the column {name}"): value}
        for voice, share in shared.items():
            told[voice] = told.get(voice, 0.0) + share
    return told


def difference(best: Comparison, other: Comparison) -> dict[str, float]:
    """How much more each voice says for one pair than for another."""
    names = dict.fromkeys([*best.voices, *other.voices])
    return {name: best.voices.get(name, 0.0) - other.voices.get(name, 0.0) for name in names}


def weighed(pair: Comparison, other: Comparison | None) -> tuple[list[str], list[str]]:
    """Names of the similarities that added something in either pair (or could, as `score`), and of the others."""
    told = [pair, *([other] if other else [])]
    heard = [name for name in pair.similarities if name == "score" or any(one.contributions.get(name) for one in told)]
    return heard, [name for name in pair.similarities if name not in heard]


def weigh(voices: Mapping[str, float]) -> str:
    """Put evidence (log odds by voice) into words, the weightiest first."""
    total = sum(map(abs, voices.values()))
    if not total:
        return "nothing"
    ranked = sorted(voices.items(), key=lambda voice: (-voice[1], voice[0]))
    speaking = [(name, value) for name, value in ranked if value > _LITTLE * total]
    against = [(name, value) for name, value in reversed(ranked) if value < -_LITTLE * total]
    little = [name for name, value in ranked if abs(value) <= _LITTLE * total]
    if len(little) > 2:
        little = ["the pictures" if "the pictures" in little else little[0], "the rest"]
    words = [join([f"{name} ({value:+.1f})" for name, value in speaking]) if speaking else "nothing"]
    if speaking and speaking[0][1] > sum(value for _, value in speaking) / 2 and (speaking[1:] or little):
        words[0] = f"mostly {words[0]}"
    words += [f"hardly {join(little)}"] if little else []
    words += [f"and against it {join([f'{name} ({value:+.1f})' for name, value in against])}"] if against else []
    return ", ".join(words)


def join(names: list[str]) -> str:
    """One, two and three."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def as_text(value: Any) -> str:
    """A cell as text, "" where it is empty."""
    return "" if value is None or pd.isna(value) else str(value)


def as_page(value: Any) -> int | None:
    """A cell as the number of a page."""
    return None if value is None or pd.isna(value) else int(value)


def as_number(value: Any) -> float | None:
    """A cell as a number."""
    return None if value is None or pd.isna(value) or value == "" else float(value)
