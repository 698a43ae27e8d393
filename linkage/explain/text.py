"""An explanation as lines for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import zip_longest

from linkage.explain.comparison import MEANINGS, Comparison, ShownRecord, weighed
from linkage.explain.explanation import ExplainedLink, ExplainedMember, Explanation
from linkage.report.pictures import AlignmentStep

WIDTH = 100
GAP = "·"
_BLOCKS = 4  # of aligned lines; what is longer is cut
_MEMBERS = 40
_NAME = 10


def explanation_lines(explanation: Explanation, width: int = WIDTH) -> Iterator[str]:
    """The explanation, in lines of at most `width` columns."""
    of = f" of {explanation.entity_id}" if explanation.kind == "record" and explanation.entity_id else ""
    origin = f" ({explanation.origin})" if explanation.origin else ""
    yield fit(f"{explanation.kind} {explanation.id}{of}{origin}", width)
    yield ""
    for sentence in explanation.says:
        yield from textwrap.wrap(plain(sentence), width - 2, initial_indent="  ", subsequent_indent="    ")
    if explanation.exemplar:
        yield ""
        yield from _side("exemplar", explanation.exemplar, width)
    if explanation.link:
        if explanation.group:
            yield from ("", "beside the exemplars")
        yield from _link(explanation.link, width)
    if explanation.group:
        own, other = explanation.group.shown
        if own:
            yield from ("", "among the records that were clustered")
            yield from _comparison(own, other, "exemplar" if explanation.group.exemplar else "nearest", width)
    if explanation.members:
        yield from _members(explanation.members, width)
    if explanation.weakest:
        yield ""
        yield "weakest " + "-" * (width - 8)
        yield from explanation_lines(explanation.weakest, width)


def _link(link: ExplainedLink, width: int) -> Iterator[str]:
    yield from _comparison(link.best, link.runner_up, "exemplar", width)
    yield ""
    shares = [f"{link.best.probability:.3f} this one"]
    if link.runner_up:
        shares.append(f"{link.runner_up.probability:.3f} the runner-up")
    rest = sum(one.probability for one in link.candidates) - sum(
        pair.probability for pair in (link.best, link.runner_up) if pair
    )
    shares += [f"{rest + link.others:.3f} others", f"{link.nothing:.3f} none of them"]
    yield f"  {'probability':15}{', '.join(shares)}"
    threshold = "none:" if link.threshold is None else f"{link.threshold:.3f}"
    review = f", review from {link.review_threshold:.3f}" if _reviews(link) else ""
    bar = f"; beside these rivals it takes log odds of {link.bar:+.2f}" if link.bar is not None else ""
    yield f"  {'threshold':15}{threshold} {link.threshold_source}{review}{bar}"
    margin = "none: there is one candidate" if link.margin is None else f"{link.margin:.3f} before the next entity"
    yield f"  {'margin':15}{margin}"
    yield ""
    yield "  candidates"
    for one in link.candidates:
        inside = "" if one.in_set is None else f"{'in set' if one.in_set else '':6}  "
        yield fit(f"  {one.rank:4}  {one.probability:.3f}  {inside}{one.entity_id}  {one.text}", width)


def _reviews(link: ExplainedLink) -> bool:
    return link.review_threshold is not None and (link.threshold is None or link.review_threshold < link.threshold)


def _comparison(pair: Comparison, other: Comparison | None, right: str, width: int) -> Iterator[str]:
    yield ""
    yield from _side("record", pair.left, width)
    yield from _side(right, pair.right, width)
    if other:
        yield from _side("runner-up", other.right, width)
    yield ""
    yield from _alignment(pair, right, width)
    yield ""
    yield from _table(pair, other, width)


def _side(name: str, side: ShownRecord, width: int) -> Iterator[str]:
    page = f", page {side.page}" if side.page is not None and side.page > 1 else ""
    yield fit(f"  {name:{_NAME}} {side.record_id}  {side.source}{page}", width)
    for kind, said in (("text", side.text), ("reading", side.reading if side.reading != side.text else "")):
        if said:
            yield fit(f"  {'':{_NAME}} {kind:8}{said}", width)


def _alignment(pair: Comparison, right: str, width: int) -> Iterator[str]:
    names = {"text": "text", "reading": "own reading"}
    if pair.views is None:
        yield "  no two strings to compare: one record was not read"
        return
    steps = pair.aligned
    view = " beside ".join(names[one] for one in pair.views)
    if not pair.in_common:
        steps = pair.part
        view = f"{view}: little in common; letters of the best part"
    yield fit(f"  {view}, ^ where they differ", width)
    for upper, lower, marks in aligned_lines(steps, width - _NAME - 3):
        yield f"  {'record':{_NAME}} {upper}".rstrip()
        yield f"  {right:{_NAME}} {lower}".rstrip()
        if marks.strip():
            yield f"  {'':{_NAME}} {marks}".rstrip()


def aligned_lines(steps: list[AlignmentStep], width: int, blocks: int = _BLOCKS) -> Iterator[tuple[str, str, str]]:
    """Two texts one above the other with marks under what differs, in blocks of at most `width` columns.

    GAP stands where one has nothing. Wide characters take two columns; what does not fit into the blocks is cut with …
    """
    block: list[tuple[str, str, str]] = []
    used = 0
    shown = 1
    for upper, lower, differs in _characters(steps):
        columns = max(columns_of(upper), columns_of(lower), 1 if differs else 0)
        if used + columns > width - 1:  # the last column is for …
            if shown == blocks:
                block.append(("…", "…", ""))
                break
            yield _joined(block)
            block, used, shown = [], 0, shown + 1
        block.append((pad(upper, columns), pad(lower, columns), ("^" if differs else " ") * columns))
        used += columns
    if block:
        yield _joined(block)


def _joined(block: list[tuple[str, str, str]]) -> tuple[str, str, str]:
    upper, lower, marks = ("".join(column) for column in zip(*block, strict=True))
    return upper, lower, marks


def _characters(steps: list[AlignmentStep]) -> Iterator[tuple[str, str, bool]]:
    for step in steps:
        for left, right in zip_longest(step.left, step.right, fillvalue=GAP):
            yield plain(left), plain(right), step.differs


def _table(pair: Comparison, other: Comparison | None, width: int) -> Iterator[str]:
    head = f"  {'':15}{'value':>8}{'log odds':>10}"
    yield f"{head}{'runner-up':>12}{'log odds':>10}{'difference':>12}" if other else head
    heard, silent = weighed(pair, other)
    for name, value, told in _rows(pair, heard):
        line = f"  {fit(name, 15):15}{_value(value):>8}{told:>+10.2f}"
        if other:
            beside, against = {row[0]: row[1:] for row in _rows(other, heard)}.get(name, (None, 0.0))
            line += f"{_value(beside):>12}{against:>+10.2f}{told - against:>+12.2f}"
        yield fit(f"{line}  {MEANINGS.get(name.strip(), '')}".rstrip(), width)
    line = f"  {'sum':15}{'':8}{pair.logit:>+10.2f}"
    if other:
        line += f"{'':12}{other.logit:>+10.2f}{pair.logit - other.logit:>+12.2f}"
    yield line
    if silent:
        values = ", ".join(f"{name} {_value(pair.similarities[name])}".rstrip() for name in silent)
        yield from textwrap.wrap(f"  {'of no weight':15}{plain(values)}", width, subsequent_indent=" " * 17)
    if pair.distance is not None:
        theirs = f"{other.distance:>12.4f}" if other and other.distance is not None else ""
        yield f"  {'distance':15}{pair.distance:>8.4f}{'':10}{theirs}".rstrip()


def _rows(pair: Comparison, heard: list[str]) -> Iterator[tuple[str, float | None, float]]:
    """Name, value and log odds of what was weighed, the cosine followed by its parts."""
    yield "start", None, pair.contributions["intercept"]
    for name in heard:
        value = pair.similarities.get(name)
        yield name, value, pair.contributions.get(name, 0.0)
        if name == "score":
            weight = pair.contributions[name] / value if value else 0.0
            for part, share in pair.parts.items():
                yield f"  {part}", share, weight * share


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _members(members: list[ExplainedMember], width: int) -> Iterator[str]:
    yield ""
    yield "  members, weakest first"
    for one in members[:_MEMBERS]:
        yield fit(f"  {one.membership:8.3f}  {one.origin:10}{one.record_id}  {one.source}  {one.text}", width)
    if len(members) > _MEMBERS:
        yield f"  and {len(members) - _MEMBERS:,} more (--json lists all)"


def plain(text: str) -> str:
    """A text without anything that would move a terminal's cursor or turn its writing round."""
    return "".join(character if character.isprintable() else "�" for character in text)


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


def pad(text: str, columns: int) -> str:
    """A text with blanks after it, up to so many columns."""
    return text + " " * (columns - columns_of(text))


def fit(text: str, columns: int) -> str:
    """A text cut with … where it takes more columns."""
    from rich.cells import set_cell_size

    text = plain(text)
    return text if columns_of(text) <= columns else set_cell_size(text, columns - 1).rstrip() + "…"
