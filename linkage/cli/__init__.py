"""The command line: parse, call, print. Nothing here decides anything."""

from linkage.cli import pipeline, records, regions, transcripts, models, linking, explain, entities, doctor  # noqa: I001  the order of commands in --help
from linkage.cli.app import app, main

__all__ = [
    "app",
    "doctor",
    "entities",
    "explain",
    "linking",
    "main",
    "models",
    "pipeline",
    "records",
    "regions",
    "transcripts",
]
