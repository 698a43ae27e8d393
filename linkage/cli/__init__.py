"""The command line: parse, call, print. Nothing here decides anything."""

from linkage.cli import pipeline, records, regions, transcripts, models, linking, explain, entities, doctor  # noqa: I001  the order of commands in --help
from linkage.cli.app import LocalCommand, app, main

for _command in (*app.registered_commands, *entities.ledger.registered_commands):
    _command.cls = LocalCommand

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
