"""String baselines: what the readings alone give, on the same folded texts and by the same rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from linkage.arrays import codes_of
from linkage.cluster.fit import MIN_LABELLED, NodeLabels, best_cut
from linkage.progress import progress
from linkage.search.graph import Edges
from linkage.text import FOLDING, Folding

NGRAMS = (2, 4)
"""Lengths of the character n-grams within words that TF-IDF counts."""

MOST_DENSE = 5000
"""More texts than this are clustered by components of a neighbour graph, not by average linkage."""

DEFAULT_CUT = {"exact text": 0.0, "Levenshtein": 0.25, "Jaro-Winkler": 0.12, "TF-IDF": 0.45}
"""Distance of the cut where no labels fit one: readings of one name with a few wrong characters still meet."""

_CELLS_AT_A_TIME = 20_000_000
_NEIGHBOURS = 20


class BaselineRanking(NamedTuple):
    """The best entities of each query by one system.

    Attributes:
        entities: object (q, k), entity ids best first; "" where there is none.
        score: float64 (q,), similarity of the best one; NaN where there is none.
    """

    entities: np.ndarray
    score: np.ndarray


def rank_by_strings(
    queries: Sequence[str], texts: Sequence[str], entities: Sequence[str], k: int, folding: Folding = FOLDING
) -> dict[str, BaselineRanking]:
    """Rank the entities for each query by the similarity of their exemplars' texts.

    Every query is compared with every exemplar. An entity counts with its best exemplar; ties go to the smaller
    entity id. What has nothing in common with the query, and everything for a query without a text, is no
    candidate.

    Args:
        queries: readings (q,).
        texts: readings of the exemplars (e,).
        entities: entity of each exemplar (e,).
        k: candidates kept.
        folding: what makes two texts equal.

    Returns:
        Rankings by name of the system.
    """
    asked, known = [folding.fold(text) for text in queries], [folding.fold(text) for text in texts]
    kept = [row for row in np.argsort(codes_of(entities), kind="stable") if known[row]]
    known = [known[row] for row in kept]
    ids = np.array([entities[row] for row in kept], dtype=object)
    return {name: _rank(name, similar, asked, ids, k) for name, similar in similarities(asked, known).items()}


def similarities(left: Sequence[str], right: Sequence[str]) -> dict[str, Callable[[slice], np.ndarray]]:
    """The string similarities, each a function from a slice of `left` to float32 (rows, len(right)), 0..1."""
    tfidf = _tfidf(left, right)
    known = np.array(right, dtype=object)
    return {
        "exact text": lambda rows: np.array([known == text for text in left[rows]], dtype=np.float32),
        "Levenshtein": lambda rows: _edit(left[rows], right, "Levenshtein"),
        "Jaro-Winkler": lambda rows: _edit(left[rows], right, "JaroWinkler"),
        "TF-IDF": lambda rows: np.asarray((tfidf[0][rows] @ tfidf[1].T).todense(), dtype=np.float32),
    }


def _edit(left: Sequence[str], right: Sequence[str], name: str) -> np.ndarray:
    from rapidfuzz import distance
    from rapidfuzz.process import cdist

    return np.asarray(cdist(left, right, scorer=getattr(distance, name).normalized_similarity, dtype=np.float32))


def _tfidf(left: Sequence[str], right: Sequence[str]) -> tuple[Any, Any]:
    """Unit rows of character n-gram weights, sparse (n, features) each."""
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=NGRAMS, lowercase=False, dtype=np.float32)
    try:
        matrix = vectorizer.fit_transform([*left, *right]).tocsr()
    except ValueError:  # no text at all: nothing is similar to anything
        return csr_matrix((len(left), 1)), csr_matrix((len(right), 1))
    return matrix[: len(left)], matrix[len(left) :]


def _rank(
    name: str, similar: Callable[[slice], np.ndarray], asked: list[str], ids: np.ndarray, k: int
) -> BaselineRanking:
    """Best entities per query; `ids` are sorted, so that exemplars of one entity stand together."""
    starts = np.flatnonzero(np.append(True, ids[1:] != ids[:-1])) if len(ids) else np.empty(0, np.int64)
    found = np.full((len(asked), k), "", dtype=object)
    k = min(k, len(starts))
    score = np.full(len(asked), np.nan)
    step = max(1, _CELLS_AT_A_TIME // max(len(ids), 1))
    with progress(f"baseline {name}", len(asked)) as advance:
        for start in range(0, len(asked) if k else 0, step):
            rows = slice(start, min(start + step, len(asked)))
            best = np.maximum.reduceat(similar(rows), starts, axis=1)
            order = _first(best, k)
            value = np.take_along_axis(best, order, axis=1)
            found[rows, :k] = np.where(value > 0, ids[starts][order], "")
            score[rows] = value[:, 0]
            advance(rows.stop - rows.start)
    found[[not text for text in asked]] = ""
    score[found[:, 0] == ""] = np.nan
    return BaselineRanking(found, score)


def _first(scores: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k highest scores per row, highest first, ties by column."""
    left = scores.copy()
    rows = np.arange(len(left))
    order = np.empty((len(left), min(k, left.shape[1])), dtype=np.int64)
    for place in range(order.shape[1]):
        order[:, place] = left.argmax(axis=1)
        left[rows, order[:, place]] = -np.inf
    return order


def cluster_by_strings(
    texts: Sequence[str], labels: Sequence[str], folding: Folding = FOLDING
) -> Iterator[tuple[str, np.ndarray, str]]:
    """Cluster readings by average linkage on string distances (beyond MOST_DENSE texts: components).

    The cut is fitted for the best B-cubed F1 on the labelled texts; without labels it is DEFAULT_CUT.

    Args:
        texts: readings (n,).
        labels: entity of the texts that the cut may be fitted on, "" elsewhere (n,).
        folding: what makes two texts equal.

    Yields:
        Name of the system, cluster of each text int64 (n,), and "fitted" or "default" for its cut. Texts that are
        empty are clusters of their own.
    """
    folded = [folding.fold(text) for text in texts]
    yield "exact text", codes_of(text or f"\0{row}" for row, text in enumerate(folded)), "none"
    rows = [row for row, text in enumerate(folded) if text]
    known = [folded[row] for row in rows]
    counts = [Counter([labels[row]]) if labels[row] else Counter[str]() for row in rows]
    dense = len(known) <= MOST_DENSE
    for name, similar in similarities(known, known).items():
        if name == "exact text" or not (dense or name == "TF-IDF"):
            continue
        merges = _average_linkage(similar) if dense else _neighbour_merges(known)
        cut, origin = _cut(name, counts, merges)
        clusters = np.arange(len(folded)) + len(folded)  # numbers of their own, for those without text
        clusters[rows] = _components(merges, len(rows), cut)
        yield f"{name} + {'average linkage' if dense else 'components'}", clusters, origin


def _cut(name: str, counts: list[Counter[str]], merges: Edges) -> tuple[float, str]:
    labelled = Counter[str]()
    for count in counts:
        labelled.update(count)
    if not len(merges.a) or labelled.total() < MIN_LABELLED or max(labelled.values()) < 2:
        return DEFAULT_CUT[name], "default"
    known = NodeLabels(counts, np.array([not count for count in counts], dtype=np.int64))
    return best_cut(known.seen_on(merges), merges).max_distance, "fitted"


def _average_linkage(similar: Callable[[slice], np.ndarray]) -> Edges:
    """The merges of the dendrogram, ascending, each as an edge between two of the texts that it joins."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    distance = 1.0 - np.clip(similar(slice(None)), 0.0, 1.0)
    n = len(distance)
    if n < 2:
        return Edges(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    distance = np.minimum(distance, distance.T)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), method="average")
    one_of = np.concatenate([np.arange(n), np.zeros(len(tree), dtype=np.int64)])
    for step, (left, _) in enumerate(tree[:, :2].astype(np.int64)):
        one_of[n + step] = one_of[left]
    return Edges(one_of[tree[:, 0].astype(np.int64)], one_of[tree[:, 1].astype(np.int64)], tree[:, 2])


def _neighbour_merges(known: list[str]) -> Edges:
    """Spanning forest of the graph of nearest texts by TF-IDF: its edges, ascending by distance."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import minimum_spanning_tree

    vectors = _tfidf(known, [])[0]
    step = max(1, _CELLS_AT_A_TIME // len(known))
    parts = []
    for start in range(0, len(known), step):
        scores = np.asarray((vectors[start : start + step] @ vectors.T).todense())
        order = _first(scores, _NEIGHBOURS)
        rows = np.repeat(np.arange(start, start + len(scores)), order.shape[1])
        nearest = np.take_along_axis(scores, order, axis=1)
        parts.append(np.stack([rows, order.ravel(), 1.0 - np.clip(nearest.ravel(), 0.0, 1.0)]))
    a, b, weight = np.hstack(parts)
    # scipy takes a weight of 0 for no edge, hence the 1.
    graph = coo_matrix((weight + 1.0, (a.astype(int), b.astype(int))), shape=(len(known), len(known)))
    forest = minimum_spanning_tree(graph.tocsr()).tocoo()
    order = np.lexsort((forest.col, forest.row, forest.data))
    return Edges(forest.row[order].astype(np.int64), forest.col[order].astype(np.int64), forest.data[order] - 1.0)


def _components(edges: Edges, n: int, cut: float) -> np.ndarray:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    kept = edges.weight <= cut
    graph = coo_matrix((np.ones(kept.sum()), (edges.a[kept], edges.b[kept])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
