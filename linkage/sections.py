"""Parts of the configuration, and which of their settings a result hangs on: said where each is defined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

BY_THE_WAY: dict[str, Any] = {"hangs": "nothing"}
"""Mark of a setting that says how a result is made, not what it is: processes, threads, where notes are kept."""
BY_CONTENT: dict[str, Any] = {"hangs": "content"}
"""Mark of a setting that names a file or a model: it counts by what is in it, as an input of its stage."""
BY_LIMIT: dict[str, Any] = {"hangs": "limit"}
"""Mark of a setting that decides which pages are set aside, not what is read in the others."""
BY_DECISION: dict[str, Any] = {"hangs": "decision"}
"""Mark of a setting that says what is made of the candidates, not which are found."""

_NEVER = {"nothing", "content"}


class Section(BaseModel):
    """A part of the configuration: immutable, no unknown keys.

    A result hangs on every setting of its section, unless a mark above says otherwise where the setting is defined.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def result_settings(self, *but: str) -> dict[str, Any]:
        """The settings that a result hangs on, as JSON-like values.

        Args:
            but: further marks whose settings are left out: "limit", "decision".
        """
        marked = {name: field.json_schema_extra for name, field in type(self).model_fields.items()}
        kinds = {name: extra.get("hangs") if isinstance(extra, dict) else None for name, extra in marked.items()}
        return self.model_dump(
            mode="json", include={name for name, kind in kinds.items() if kind not in {*_NEVER, *but}}
        )


Whole = TypeVar("Whole", bound=Section)


def only(config: Whole, names: Sequence[str]) -> Whole:
    """A configuration with every setting that is not named at its default: who gets it can hang on no other one.

    Args:
        config: the whole.
        names: its sections, settings of one (`link.fields`), or values of its own (`seed`).
    """
    kept: dict[str, Any] = {}
    for name in names:
        section, _, key = name.partition(".")
        own = getattr(config, section)
        if key:
            own = kept.get(section, type(own)()).model_copy(update={key: getattr(own, key)})
        kept[section] = own
    return type(config)().model_copy(update=kept)


def settings_of(config: Section, names: Sequence[str]) -> dict[str, Any]:
    """What a result that hangs on these parts of a configuration (see `only`) hangs on, as JSON-like values."""
    settings: dict[str, Any] = {}
    for name in names:
        section, _, key = name.partition(".")
        own = getattr(config, section)
        told = own.result_settings() if isinstance(own, Section) else own
        if not key or key in told:
            settings[name] = told[key] if key else told
    return settings
