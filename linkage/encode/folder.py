"""Where a model lies, and under which names its parts do."""

from __future__ import annotations

from pathlib import Path

SHIPPED = Path(__file__).parents[1] / "models"
CONFIG_FILE, WEIGHTS_FILE, VOCABULARY_FILE = "open_clip_config.json", "model.safetensors", "vocab.txt"


def model_folder(name: str) -> Path | None:
    """The folder of a model given by name or path, or None where the name is an open_clip architecture's."""
    if (SHIPPED / name / CONFIG_FILE).is_file() and Path(name).name == name:
        return SHIPPED / name
    return Path(name) if Path(name).is_dir() else None
