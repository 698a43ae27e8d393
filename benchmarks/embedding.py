"""Embedding of crops beside open_clip's ViT-B/32; both from decoded pictures."""

from __future__ import annotations

from functools import partial
from random import Random

from PIL import ImageOps
from results import Row, measured

from linkage.encode.biencoder import BiEncoder
from linkage.synth.render import TypeLine, choose_face, set_line


def rows(n: int, threads: list[int]) -> list[Row]:
    """Both shipped models and the peer, each on so many threads."""
    import torch

    rng = Random(0)
    texts = [" ".join(rng.choice(("Abbot", "Sons", "Cie", "Iron", "Works")) for _ in range(3)) for _ in range(n)]
    pictures = [ImageOps.invert(set_line(TypeLine(text, choose_face(text, rng), 32))) for text in texts]
    peer = BiEncoder.load("ViT-B-32", "cpu")
    made = []
    for count in threads:
        torch.set_num_threads(count)
        job = f"embedding crops, threads: {count}"
        for name in ("linkage-line", "linkage_photo"):
            encoder = BiEncoder.load(name, "cpu")
            encoder.encode_image(pictures[:64])  # the first batches compile kernels
            ours = measured(partial(encoder.encode_image, pictures))
            made.append(Row(job, n, name, *ours[:2]))
        peer.encode_image(pictures[:16])
        seconds, memory, _ = measured(lambda: peer.encode_image(pictures[: n // 4]))
        made.append(Row(job, n, f"ViT-B-32, reckoned from {n // 4}", 4 * seconds, memory))
    return made
