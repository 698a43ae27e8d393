"""What a configuration is read from, a YAML file and `--set a.b=c`, and how it is said what is wrong with it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ValidationError

from linkage.errors import ConfigError
from linkage.places import kind_of, remote

Keys = tuple[int | str, ...]
_SHOWN = 60  # characters of a wrong value; nothing is near to what is longer
_ALIASES = 20  # none of ours has one
_NAMED = 20  # problems; a damaged file has thousands


class Settings(NamedTuple):
    """Values as they were given, not yet checked.

    Attributes:
        values: by section and key.
        file: where those come from that were not set on the command line.
        overrides: by their keys, the `--set` options as they were given.
    """

    values: dict[str, Any]
    file: str
    overrides: Mapping[Keys, str]

    @classmethod
    def read(cls, path: Path | None, overrides: Sequence[str] = ()) -> Settings:
        """Read a file (None: no values) and put overrides like `ingest.dpi=200` over it.

        Raises:
            ConfigError: the file cannot be read, or an override is none.
        """
        values = _read_yaml(path) if path else {}
        given = {_apply(values, override): f"--set {override}" for override in overrides}
        return cls(values, str(path) if path else "configuration", given)

    def origin(self, keys: Keys) -> str:
        """Where a value came from: the file, or the `--set` that gave it, a part of it, or the section it is in."""
        for own, override in reversed(list(self.overrides.items())):
            shorter = min(len(own), len(keys))
            if shorter and own[:shorter] == keys[:shorter]:
                return override
        return self.file


def problems_of(error: ValidationError, model: type[BaseModel], origin: Callable[[Keys], str]) -> str:
    """All that is wrong with a configuration, in one line: where it came from, the keys, what is wrong, what is near.

    Args:
        error: of pydantic.
        model: the class that refused.
        origin: where the value of some keys came from.
    """
    told = [(origin(one["loc"]), _problem(one, model)) for one in error.errors()[:_NAMED]]
    more = f"; and {error.error_count() - _NAMED} more" if error.error_count() > _NAMED else ""
    parts = groupby(sorted(told, key=lambda pair: pair[0].startswith("--set")), key=lambda pair: pair[0])
    return "; ".join(f"{place}: {'; '.join(problem for _, problem in group)}" for place, group in parts) + more


def _problem(error: Any, model: type[BaseModel]) -> str:
    keys: Keys = error["loc"]
    name, said, value = ".".join(map(str, keys)) or "value", error["msg"], error["input"]
    if error["type"] == "extra_forbidden":
        near = nearest_key(keys, model)
        remedy = f"did you mean {near}?" if near else "`linkage check CONFIG` prints all keys"
        return f"{name}: there is no such key; {remedy}"
    if error["type"] == "value_error":  # our own sentence
        return f"{name}: {said.removeprefix('Value error, ')}"
    # Python refuses to print the longest numbers, and a damaged file may hold one.
    long = isinstance(value, int) and value.bit_length() > 200
    shown = "" if long or not isinstance(value, (str, int, float)) else str(value)[:_SHOWN]
    if shown:
        said += f", not {shown!r}"
    if error["type"] == "literal_error":
        allowed = error["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        said += "".join(f"; did you mean {one}?" for one in difflib.get_close_matches(shown, allowed, 1))
    return f"{name}: {said}"


def nearest_key(keys: Keys, model: type[BaseModel]) -> str:
    """The key that an unknown one most likely stands for, with its sections; "" where none is near.

    A key of the same section that is spelt alike comes first, then the same key of another section.
    """
    *parents, last = map(str, keys)
    section = ".".join(parents)
    there = [name.rpartition(".") for name in _keys(model)]
    spelt = difflib.get_close_matches(last[:_SHOWN], [name for place, _, name in there if place == section], 1)
    named = [place for place, _, name in there if name == last]
    return ".".join([*parents, *spelt]) if spelt else f"{named[0]}.{last}".lstrip(".") if named else ""


def _keys(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Every key of a configuration and of its sections, dotted."""
    for name, field in model.model_fields.items():
        yield before + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{before}{name}.")


def _loaded(text: str) -> Any:
    """The values of a YAML text.

    Raises:
        ValueError: aliases of aliases would make a few lines as large as memory.
    """
    if sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)) > _ALIASES:
        raise ValueError(f"more than {_ALIASES} aliases (*name)")
    return yaml.safe_load(text)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = _loaded(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(remote(path) or f"{path}: no such file; ready ones are in configs/") from None
    except (OSError, UnicodeDecodeError) as error:
        kind = kind_of(path)
        said = f"is {kind}, not a configuration" if kind else f"cannot be read ({error})"
        raise ConfigError(f"{path}: {said}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a number or date that can be none
        raise ConfigError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must hold `key: value` lines, not a {type(values).__name__}")
    return values


def _apply(values: dict[str, Any], override: str) -> Keys:
    """Put an override over values; returns its keys."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override}: write it as key.sub=value")
    try:
        value = _loaded(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(f"--set {override}: the value is not valid YAML; quote it") from None
    *parents, last = keys = key.strip().split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: `{parent}` has no keys of its own")
    values[last] = value
    return tuple(keys)
