"""The firms of one town in two years: some vanish, some appear, some move, take partners or change spelling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from linkage.synth.lists import ENGLISH
from linkage.synth.names import make_surname

SURVIVE = 0.68  # share of the firms of the first edition that the second still lists
NAMESAKES = 0.45  # share of the firms whose surname another firm had before them
SAME_TRADE = 0.35  # share of the namesakes that are also in that firm's trade


@dataclass(frozen=True)
class Firm:
    """One firm as a directory lists it.

    Attributes:
        entity_id: the same in both editions.
        surname: under which it is sorted.
        given: initials or given name, or "".
        suffix: "& Sons", "& Co." and the like, or "".
        trade: what it does.
        street: street name without its kind.
        kind: kind of street, in full.
        number: house number.
    """

    entity_id: str
    surname: str
    given: str
    suffix: str
    trade: str
    street: str
    kind: str
    number: int


_SUFFIXES = ("", "", "", "", "& Sons", "& Son", "& Co.", "Bros.", "& Co. Lim.", "Mrs.", "jun.")
_KINDS = ("Street", "Street", "Street", "Road", "Lane", "Place", "Square", "Terrace")
_SHORT_KINDS = {"Street": "st.", "Road": "rd.", "Lane": "la.", "Place": "pl.", "Square": "sq.", "Terrace": "ter."}
_SHORT_GIVEN = {"William": "Wm.", "Charles": "Chas.", "George": "Geo.", "Thomas": "Thos.", "James": "Jas."}
_SHORT_GIVEN |= {"Frederick": "Fredk.", "Samuel": "Saml.", "Benjamin": "Benj.", "Robert": "Robt.", "Edward": "Edwd."}
_SPELLINGS = (("y", "i"), ("ll", "l"), ("tt", "t"), ("ck", "k"), ("i", "y"), ("e", "ea"), ("n", "nn"), ("s", "ss"))


def two_editions(firms: int, rng: Random) -> tuple[list[Firm], list[Firm]]:
    """Draw the firms of the earlier and of the later edition, `firms` each, sorted as a directory sorts them."""
    made = _draw(2 * firms, rng)
    earlier = made[:firms]
    kept = [_later(firm, rng) for firm in earlier if rng.random() < SURVIVE]
    later = kept + made[firms : 2 * firms - len(kept)]
    return sorted(earlier, key=_order), sorted(later, key=_order)


def _order(firm: Firm) -> tuple[str, str, str, str]:
    return firm.surname.casefold(), firm.given, firm.trade, firm.entity_id


def _draw(count: int, rng: Random) -> list[Firm]:
    """`count` firms with many namesakes among them, as in a town where families share a trade."""
    firms: list[Firm] = []
    while len(firms) < count:
        namesake = rng.choice(firms) if firms and rng.random() < NAMESAKES else None
        surname = namesake.surname if namesake else make_surname(rng, ENGLISH)
        trade = namesake.trade if namesake and rng.random() < SAME_TRADE else rng.choice(ENGLISH.trades)
        given = rng.choice(ENGLISH.given)
        given = f"{given[0]}." if rng.random() < 0.35 else given
        if rng.random() < 0.2:
            given += f" {rng.choice('ABCDEFGHJLMPRSTW')}."
        if any((firm.surname, firm.given, firm.trade) == (surname, given, trade) for firm in firms):
            continue  # not even the town could tell these two apart
        firm = Firm(f"firm_{len(firms):04d}", surname, given, rng.choice(_SUFFIXES), trade, "", "", 0)
        firms.append(_move(firm, rng))
    return firms


def _move(firm: Firm, rng: Random) -> Firm:
    street = rng.choice(ENGLISH.streets)
    return replace(firm, street=street, kind=rng.choice(_KINDS), number=rng.randint(1, 198))


def _later(firm: Firm, rng: Random) -> Firm:
    """The firm ten years on: up to two things have changed, and a given name may have shrunk to its initial."""
    for change in rng.choices(("move", "suffix", "trade", "spelling", "none"), (34, 20, 14, 14, 18), k=2):
        if change == "move":
            firm = _move(firm, rng)
        elif change == "suffix":
            others = [suffix for suffix in ("& Son", "& Sons", "& Co.", "Bros.") if suffix != firm.suffix]
            firm = replace(firm, suffix=rng.choice(others))
        elif change == "trade":
            firm = replace(firm, trade=rng.choice(ENGLISH.trades))
        elif change == "spelling":
            firm = replace(firm, surname=_respelled(firm.surname, rng))
    if rng.random() < 0.4 and not firm.given.endswith("."):
        firm = replace(firm, given=f"{firm.given[0]}.")
    return firm


def _respelled(surname: str, rng: Random) -> str:
    for old, new in rng.sample(_SPELLINGS, len(_SPELLINGS)):
        place = surname.rfind(old)
        if place > 1:
            return surname[:place] + new + surname[place + len(old) :]
    return surname + "e"


def entry(firm: Firm, *, short: bool) -> tuple[str, str]:
    """Print an entry: the name, and what follows it.

    Args:
        firm: what is listed.
        short: the house style that abbreviates given names and streets and puts the number last.

    Returns:
        ("Ashford Wm. & Sons,", " draper, High st. 12") or ("Ashford William & Sons,", " draper, 12 High Street").
    """
    given = " ".join(_SHORT_GIVEN.get(part, part) for part in firm.given.split()) if short else firm.given
    name = " ".join(part for part in (firm.surname, given, firm.suffix) if part)
    if short:
        return f"{name},", f" {firm.trade}, {firm.street} {_SHORT_KINDS[firm.kind]} {firm.number}"
    return f"{name},", f" {firm.trade}, {firm.number} {firm.street} {firm.kind}"
