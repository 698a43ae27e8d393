"""The data dictionary: every column of the tables that Linkage writes, its type and what it means."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

SCHEMA_VERSION = 1


class Column(NamedTuple):
    """One entry of the data dictionary."""

    dtype: str  # text, integer, number or flag
    meaning: str
    measured: bool = True  # a number that Linkage works out, not one that records come with


MEMBER_COLUMNS = ("record_id", "entity_id", "origin", "membership", "noise", "is_exemplar", "score")
"""What a members table says of each record; its text, provenance and the user's own columns follow."""

RECORD_COLUMNS = (
    *("record_id", "source", "source_sha256", "page", "page_width", "page_height", "x0", "y0", "x1", "y1", "polygon"),
    *("direction", "text", "text_raw", "ocr_engine", "ocr_confidence", "image", "entity_id", "split", "role"),
)
"""Columns of a records table that have a meaning of ours; all others are the user's own, whatever they are called."""


COLUMNS: dict[str, Column] = {
    "record_id": Column("text", "id of the record; from scans: derived from file content, page and region"),
    "source": Column("text", "file that the record was read from, relative to the input folder"),
    "source_sha256": Column("text", "SHA-256 of that file's bytes"),
    "page": Column("integer", "page of the source, counted from 1"),
    "page_width": Column("integer", "width of that page's picture in pixels"),
    "page_height": Column("integer", "height of that page's picture"),
    "x0": Column("number", "left edge of the region, pixels of the page at native resolution", measured=False),
    "y0": Column("number", "top edge of the region", measured=False),
    "x1": Column("number", "right edge of the region (exclusive)", measured=False),
    "y1": Column("number", "bottom edge of the region (exclusive)", measured=False),
    "unit": Column("text", "tables of boxes: px, % of the page's width and height, or pt of a PDF page"),
    "polygon": Column("text", "outline of a region that is no upright rectangle: x,y x,y ... in pixels of the page"),
    "direction": Column("text", "horizontal or vertical: how the text runs"),
    "text": Column("text", "reading of the region: NFC, white space collapsed"),
    "text_raw": Column("text", "reading exactly as the engine gave it"),
    "ocr_engine": Column("text", "engine and version that read the text; empty: the text was given"),
    "ocr_confidence": Column("number", "expected share of the text's characters that is right, 0..1; empty: unknown"),
    "confidence_low": Column("number", "lowest reading confidence of a bin of queries; empty: all, or unknown"),
    "confidence_high": Column("number", "highest reading confidence of the bin"),
    "image": Column("text", "CSV records: image file, relative to the CSV's folder"),
    "canvas_id": Column("text", "id of the IIIF canvas that the image shows"),
    "label": Column("text", "label of that canvas"),
    "manifest_id": Column("text", "id of its IIIF manifest"),
    "image_url": Column("text", "where the image came from"),
    "split": Column("text", "train, val or test; entities never cross splits"),
    "role": Column("text", "exemplar, query or query_nomatch, where the user said so"),
    "entity_id": Column("text", "id of the entity; in links: of the candidate, linked or not (see decision)"),
    "exemplar_id": Column("text", "record_id of the exemplar that stands for the entity"),
    "rank": Column("integer", "place of the candidate among the query's candidates, from 1"),
    "decision": Column(
        "text",
        "match, review (a person must decide) or no-match, as predicted, whatever a label of the record says; "
        "candidates below rank 1 are always no-match",
    ),
    "tied": Column("integer", "entities that are as likely as the best, itself included; empty: the best is alone"),
    "in_set": Column("flag", "1: the candidate is of the set that holds the true entity; empty: no coverage was asked"),
    "probability": Column("number", "match probability 0..1, by the scorer named in the manifest"),
    "score": Column("number", "cosine of the pooled embeddings of record and exemplar, -1..1; the sum of its parts"),
    "image_score": Column("number", "part of `score` that comes from picture against picture"),
    "text_score": Column("number", "part of `score` that comes from text against text"),
    "cross_score": Column("number", "part of `score` that comes from picture against text, both ways"),
    "image_cosine": Column("number", "cosine of the two pictures' embeddings, -1..1; empty: one has no picture"),
    "text_cosine": Column("number", "cosine of the two texts' embeddings; empty: one has no text"),
    "cross_cosine": Column("number", "mean cosine of picture with text, both ways; empty: neither way is there"),
    "rarity_score": Column("number", "cosine of the texts' character n-grams, rare ones weighing most, 0..1"),
    "confidence": Column("number", "the lesser reading confidence of the two records, 0..1; 1 for a given text"),
    "length": Column("number", "of the shorter text of the two: n letters are n / (n + 8)"),
    "same_page": Column("number", "1: both records stand on one page; empty: not known"),
    "same_source": Column("number", "1: both records are of one source file; empty: not known"),
    "string_score": Column("number", "normalised Levenshtein similarity of the texts' letters, 0..1; empty: no text"),
    "likelihood": Column(
        "number",
        "how likely one record's letters are, given all that was seen of the other's crop: 1 + log(p) / log(1000) of a "
        "chance p per letter, the mean of both ways; 1: nothing is likelier, 0: a thousandth or less",
    ),
    "log_likelihood": Column(
        "number",
        "the same as a whole: 1 + (log p of all letters, natural, both ways added) / 200; 1: nothing is likelier, "
        "0: e^-200 or less; empty: both have a given text",
    ),
    "partial_score": Column(
        "number", "similarity of the shorter text, of n letters, to the best part of the other, times n / (n + 2), 0..1"
    ),
    "margin": Column("number", "probability minus that of the best candidate of another entity; empty: there is none"),
    "threshold": Column("number", "match probability from which a candidate is a match (>=); empty: none can be"),
    "review_threshold": Column("number", "match probability from which it is a review, if it is no match"),
    "threshold_source": Column(
        "text", "fitted (on labelled rows), given (by the user) or default (also where labels are too few to move it)"
    ),
    "exemplar_text": Column("text", "text of the exemplar"),
    "reading": Column("text", "the model's own reading of the crop; empty: no crop, or a model that does not read"),
    "reading_confidence": Column("number", "confidence of that reading, 0..1; empty: there is none"),
    "exemplar_reading": Column("text", "the model's own reading of the exemplar's crop"),
    "exemplar_source": Column("text", "file that the exemplar was read from"),
    "exemplar_page": Column("integer", "page of that file"),
    "origin": Column(
        "text",
        "how the record came to its entity: labelled (the user said so), exemplar, linked, clustered or singleton",
    ),
    "predicted_entity_id": Column("text", "entity found without the record's label; what `evaluate` measures"),
    "predicted_origin": Column("text", "how that was found: exemplar, linked, clustered or singleton"),
    "membership": Column(
        "number", "match probability 0..1 of the record with its entity's exemplar; 1 for exemplars and the labelled"
    ),
    "noise": Column("flag", "1: clustering found nothing like the record, so it is an entity of its own"),
    "is_exemplar": Column("flag", "1: the record stands for its entity"),
    "n_records": Column("integer", "records of the entity; in a crosswalk: records that went this way"),
    "n_sources": Column("integer", "distinct source files of the entity's records"),
    "min_score": Column("number", "lowest pooled cosine of a member to the exemplar; empty for one record"),
    "status": Column("text", "read, or failed: the page (without a page: the whole file) was set aside"),
    "records": Column("integer", "records that the page gave"),
    "width": Column("integer", "width of the page in pixels, as decoded or rendered; empty: it was not"),
    "height": Column("integer", "height of the page in pixels"),
    "rotation": Column("integer", "degrees, clockwise, by which the page was turned before it was read"),
    "skew": Column("number", "degrees by which its lines then fell to the right, taken off before it was read"),
    "duplicate": Column(
        "text",
        "page that was met before: in the same file (file), as the same pixels (page), or the same sheet scanned again "
        "(near); empty: it was not",
    ),
    "duplicate_of": Column("text", "where it was met first, as source:page"),
    "reason": Column("text", "why the input was set aside, or why a page that was read gave no record"),
    "old_entity_id": Column("text", "the entity of the records after the first of two runs; empty: none yet"),
    "new_entity_id": Column("text", "the entity of the same records after the second run; empty: none any more"),
    "relation": Column(
        "text", "what became of them: same, merged, split, moved, created, absorbed or retired (see the README)"
    ),
    "since_run": Column("integer", "run of the ledger that brought the record to this entity"),
}  # fmt: skip


def column_of(name: str, columns: Collection[str]) -> Column:
    """What a column is in a table with these columns: one of ours, or the user's own."""
    known = COLUMNS.get(name)
    if known and "origin" in columns and known.dtype != "text" and name not in {*MEMBER_COLUMNS, *RECORD_COLUMNS}:
        known = None  # of a members table: a column `length` came with the records
    if known:
        return known
    if name.endswith("_score") and "probability" in columns:
        return Column("number", f"how alike `{name.removesuffix('_score')}` is, 0..1; empty: one of the two is missing")
    if name in _FIGURE and set(_FIGURE) <= set(columns) and "origin" not in columns:
        return Column("number", "a figure, or an end of its 95 % interval")
    return Column("text", "the user's own column, untouched")


_FIGURE = ("value", "low", "high")
