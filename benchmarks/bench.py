"""Speed and memory beside named peers, measured in the same run: `make bench`.

Read the ratios, not the seconds: machines differ, and the peer ran on the same one a moment before.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
from ingest import KINDS, measure
from PIL import ImageOps

from linkage.config import ClusterConfig, LinkConfig
from linkage.rundir import peak_memory

_COMPARED = 20_000_000  # pairs of texts that the peer compares: its table of them takes 80 MB


def measured(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds and peak megabytes of a call."""
    start = time.perf_counter()
    with peak_memory() as memory:
        call()
    return time.perf_counter() - start, memory()


def report(what: str, n: int, ours: tuple[float, float], peer: str, theirs: tuple[float, float]) -> None:
    print(
        f"{what:42} n={n:<7} linkage {ours[0]:8.2f} s {ours[1]:6.0f} MB   {peer} {theirs[0]:8.2f} s {theirs[1]:6.0f} MB"
        f"   {theirs[0] / ours[0]:7.2f}x as fast"
    )


def reading(crops: int, firms: int, table: Path | None, folder: Path) -> None:
    """OCR of crops and of pages, by engine."""
    from ocr import crops_of, measure_crops, measure_pages, pages_of

    rows = measure_crops(*crops_of(crops, folder, table)) + measure_pages(*pages_of(firms, folder / "directory"))
    for row in rows:
        print(
            f"{row['way']:42} n={row['n']:<7} {row['per_second']:8.2f} a second {row['times_as_fast']:7.2f}x as fast"
            f"   error rate {row['error_rate']:.3f}"
        )


def clustering(n: int, folder: Path) -> None:
    """The kNN-graph route against hdbscan on all pairs."""
    import hdbscan

    from linkage.cluster.entities import cluster
    from linkage.encode.embed import Embeddings
    from linkage.records import Records

    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 8, n)
    entity = np.repeat(np.arange(n), sizes)[:n]
    vectors = rng.normal(size=(n, 64))[entity] + 0.35 * rng.normal(size=(n, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"r{row:06}" for row in range(n)]
    (folder / "records.csv").write_text("record_id\n" + "\n".join(ids) + "\n")
    records = Records.open(folder / "records.csv")
    image = vectors.astype(np.float16)
    manifest = {"model": "drawn", "model_sha256": "", "image_weight": 0.5}
    unread = pd.DataFrame({"record_id": ids, "reading": "", "reading_confidence": np.nan, "lattice": None})
    embeddings = Embeddings(folder, image, np.zeros_like(image), unread, manifest)
    ours = measured(lambda: cluster(records, embeddings, ClusterConfig()))
    theirs = measured(lambda: hdbscan.HDBSCAN(min_cluster_size=2, min_samples=1, core_dist_n_jobs=1).fit(vectors))
    report("clustering", n, ours, "hdbscan.HDBSCAN", theirs)


def linking(n: int, folder: Path) -> None:
    """n queries to n exemplars, vectors and readings given, against the nearest of all texts by Levenshtein."""
    from made import made
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    from linkage.link.index import build_index
    from linkage.link.link import link

    exemplars, queries, embeddings = made(n, folder)
    index = build_index(exemplars, embeddings, folder / "index")
    ours = measured(lambda: link(queries, embeddings, index, LinkConfig(device="cpu")))
    some = queries.frame["text"].tolist()[: max(1, _COMPARED // n)]
    known = exemplars.frame["text"].tolist()
    alike = partial(cdist, some, known, scorer=Levenshtein.normalized_similarity, dtype=np.float32, workers=-1)
    theirs = measured(lambda: alike().argmax(axis=1))
    per_all = (theirs[0] * n / len(some), theirs[1])
    report("linking n queries to n exemplars", n, ours, f"rapidfuzz cdist (of {len(some)} queries)", per_all)


def embedding(n: int, threads: int) -> None:
    """Crops to vectors, on so many threads, against open_clip's ViT-B/32; both from decoded pictures."""
    import torch

    from linkage.encode.biencoder import BiEncoder
    from linkage.synth.render import Line, choose_face, set_line

    rng = Random(0)
    texts = [" ".join(rng.choice(("Abbot", "Sons", "Cie", "Iron", "Works")) for _ in range(3)) for _ in range(n)]
    pictures = [ImageOps.invert(set_line(Line(text, choose_face(text, rng), 32))) for text in texts]
    torch.set_num_threads(threads)
    peer = BiEncoder.load("ViT-B-32", "cpu")
    for name in ("linkage-line", "linkage_photo"):
        encoder = BiEncoder.load(name, "cpu")
        encoder.encode_image(pictures[:64])  # the first batches compile kernels
        peer.encode_image(pictures[:16])
        ours = measured(partial(encoder.encode_image, pictures))
        theirs = measured(lambda: peer.encode_image(pictures[: n // 4]))
        per_all = (4 * theirs[0], theirs[1])
        report(f"embedding crops ({name}, {threads} thr.)", n, ours, "ViT-B-32", per_all)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crops", type=int, default=200, help="crops to read; 0 = none")
    parser.add_argument("--crops-from", type=Path, help="CSV of image and text: real crops instead of drawn ones")
    parser.add_argument("--firms", type=int, default=400, help="entries on the pages to read")
    parser.add_argument("--embed", type=int, default=256)
    parser.add_argument("--link", type=int, nargs="*", default=[5_000])
    parser.add_argument("--records", type=int, nargs="*", default=[2_000, 10_000])
    parser.add_argument("--pages", type=int, nargs="*", default=[500, 2_000])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.crops:
            reading(arguments.crops, arguments.firms, arguments.crops_from, Path(folder))
        for threads in (1, os.cpu_count() or 1) if arguments.embed else ():
            embedding(arguments.embed, threads)
        for n in arguments.link:
            linking(n, Path(folder))
        for n in arguments.records:
            clustering(n, Path(folder))
    for n in arguments.pages:
        for kind in KINDS:
            measure(kind, n, kills=3, ocr=False)


if __name__ == "__main__":
    main()
