"""The numbered cases of a kind of file: each is made from the seed and its number alone."""

from __future__ import annotations

from pathlib import Path
from random import Random

from fuzzing.mutations import damaged
from fuzzing.samples import TEXT, Sample, samples_of

_HOSTILE = 0.06  # share of the damaged files that began as hostile ones: they are slow


def case(kind: str, seed: int, number: int) -> tuple[Sample, bool]:
    """The files of one case, and whether they are valid.

    The first cases of a kind are its samples as they are, then damaged ones follow.
    """
    samples = samples_of(kind)
    if number < len(samples):
        return samples[number], not samples[number].hostile
    dice = Random(f"{seed} {kind} {number}")
    hostile = [sample for sample in samples if sample.hostile]
    harmless = [sample for sample in samples if not sample.hostile]
    chosen, other = dice.choice(hostile if hostile and dice.random() < _HOSTILE else harmless), dice.choice(harmless)
    name = dice.choice(chosen.damageable)
    data = damaged(chosen.files[name], dice, other.files.get(name, b""), _manner(name))
    return Sample(chosen.files | {name: data}, (name,), hostile=True), False


def write(sample: Sample, folder: Path) -> None:
    """Write the files of a case."""
    for name, data in sample.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _manner(name: str) -> str:
    suffix = Path(name).suffix
    if suffix in TEXT:
        return "text"
    return {".png": "png", ".safetensors": "safetensors"}.get(suffix, "bytes")
