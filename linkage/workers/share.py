"""Shares of a job that separate calls do (`--shard 3/16`), on any machines, before one call joins what they made."""

from __future__ import annotations

from dataclasses import dataclass

from linkage.errors import UsageError


@dataclass(frozen=True)
class Share:
    """One of `of` shares, `number` from 1: what stands at the places number - 1, number - 1 + of, ... is in it."""

    number: int
    of: int

    @classmethod
    def read(cls, text: str) -> Share:
        """The share that a text like "3/16" names.

        Raises:
            UsageError: it names none.
        """
        number, _, of = text.partition("/")
        if number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of):
            return cls(int(number), int(of))
        raise UsageError(f"--shard {text}: must be a share and how many there are, like 3/16, from 1/16 to 16/16")

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, place: int) -> bool:
        """Whether it holds what stands at a place, from 0."""
        return place % self.of == self.number - 1
