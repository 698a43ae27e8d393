"""Entities with names, trades and addresses, and look-alikes of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from linkage.synth.brands import make_brand, make_product
from linkage.synth.japanese import japanese_address, japanese_name, japanese_sibling, japanese_trade
from linkage.synth.lists import LANGUAGES, Language
from linkage.synth.noise import look_alikes
from linkage.synth.vocabulary import make_word
from linkage.text import FOLDING


@dataclass(frozen=True)
class Entity:
    """A firm, person or product as the world knows it.

    Attributes:
        kind: how the name was made: a key of `KINDS`.
        language: a key of `lists.LANGUAGES`, or "ja".
        name: the full name.
        trade: what it does; may be "".
        address: where; may be "".
        number: registration or telephone number.
    """

    kind: str
    language: str
    name: str
    trade: str
    address: str
    number: str


def make_entities(count: int, seed: int) -> list[Entity]:
    """Draw `count` entities with distinct folded names; every fourth is a look-alike of the one before it.

    A look-alike differs from its sibling in one or two characters (half of them such that the two look alike in
    print too), in one word, or keeps the pattern under another surname, so that hard negatives exist.
    Entities 2k and 2k+1 belong together (the second may be a look-alike), which is how splits are cut.
    """
    rng = Random(f"{seed}/entities")
    entities: list[Entity] = []
    seen: set[str] = set()
    while len(entities) < count:
        place = len(entities)
        entity = make_sibling(entities[-1], rng) if place % 4 == 1 else make_entity(rng)
        key = FOLDING.fold(entity.name)
        if key in seen:
            entity = make_entity(rng)  # also leaves a name that has no further look-alikes
            key = FOLDING.fold(entity.name)
        if key not in seen:
            seen.add(key)
            entities.append(entity)
    return entities


def make_entity(rng: Random, kind: str | None = None, language: str | None = None) -> Entity:
    """Draw one entity; `kind` (a key of `KINDS`) and `language` (of `lists.LANGUAGES`) are drawn where not given."""
    kind = kind or rng.choices(tuple(KINDS), tuple(weight for weight, _ in KINDS.values()))[0]
    if kind == "japanese":
        return Entity(kind, "ja", japanese_name(rng), japanese_trade(rng), japanese_address(rng), _number(rng))
    language = language or rng.choices(tuple(LANGUAGES), (40, 28, 17, 15))[0]
    words = LANGUAGES[language]
    name = KINDS[kind][1](rng, words)
    return Entity(kind, language, name, _trade(rng, words), make_address(rng, words), _number(rng))


def make_surname(rng: Random, words: Language) -> str:
    """A surname: one of the well-known ones, or composed of syllables."""
    if rng.random() < 0.3:
        return rng.choice(words.surnames)
    middle = rng.choice(words.tails)[:2] if rng.random() < 0.12 else ""
    return rng.choice(words.heads) + middle + rng.choice(words.tails)


def make_address(rng: Random, words: Language) -> str:
    """A street address in the language's own order."""
    street = rng.choice(words.streets) if rng.random() < 0.75 else make_surname(rng, words)
    number = str(rng.randint(1, 99) if rng.random() < 0.8 else rng.randint(100, 480))
    if rng.random() < 0.06:
        number += rng.choice((" bis", "a", "B", " ter", "½"))
    return rng.choice(words.street).format(street=street, number=number)


def make_sibling(entity: Entity, rng: Random) -> Entity:
    """Another entity whose name is one or two characters, or one word, away from that of `entity`."""
    if entity.kind == "japanese":
        name = japanese_sibling(entity.name, rng)
        return replace(entity, name=name, address=japanese_address(rng), number=_number(rng))
    words = LANGUAGES[entity.language]
    swap = rng.choice((_swap_letter, _swap_glyph, _swap_glyph, _swap_word, _swap_initial, _swap_surname))
    name = swap(entity.name, rng, words)
    if name == entity.name:
        name = _swap_letter(entity.name, rng, words)
    trade = entity.trade if rng.random() < 0.5 else _trade(rng, words)
    return replace(entity, name=name, trade=trade, address=make_address(rng, words), number=_number(rng))


# --- names by kind ---------------------------------------------------------------------------------------------


def _given(rng: Random, words: Language) -> str:
    given = rng.choice(words.given)
    draw = rng.random()
    if draw < 0.35:
        return given[0] + "."
    if draw < 0.45:
        return f"{given[0]}. {rng.choice(words.given)[0]}."
    if draw < 0.55:
        return f"{given} {rng.choice(words.given)[0]}."
    return given


def _person(rng: Random, words: Language) -> str:
    surname, given = make_surname(rng, words), _given(rng, words)
    draw = rng.random()
    if draw < 0.5:
        return f"{given} {surname}"
    return f"{surname} ({given})" if draw < 0.65 else f"{surname}, {given}" if draw < 0.85 else f"{surname} {given}"


def _family_firm(rng: Random, words: Language) -> str:
    surname = make_surname(rng, words)
    draw = rng.random()
    if draw < 0.3:
        return f"{surname} {rng.choice(words.company)}"
    if draw < 0.55:
        return f"{surname} {rng.choice(('&', words.joiner))} {make_surname(rng, words)}"
    if draw < 0.8:
        return rng.choice(words.kin).format(name=surname)
    if draw < 0.9:
        return f"{surname}, {make_surname(rng, words)} {rng.choice(words.company)}"
    return f"{_given(rng, words)} {surname} {rng.choice(words.company)}"


def _place_firm(rng: Random, words: Language) -> str:
    town = rng.choice(words.towns) if rng.random() < 0.5 else make_surname(rng, words)
    noun = rng.choice(words.nouns)
    draw = rng.random()
    if draw < 0.4:
        return f"{noun} {town}"
    if draw < 0.7:
        return f"{town} {noun}"
    return f"{town} {noun} {rng.choice(rng.choice(words.forms))}"


def _company(rng: Random, words: Language) -> str:
    draw = rng.random()
    first = make_brand(rng) if draw < 0.7 else make_surname(rng, words)
    if rng.random() < 0.12:
        first = ".".join(rng.choice("ABCDEFGHJKLMNOPRSTVWXYZ") for _ in range(rng.randint(2, 4)))
        first += rng.choice(("", "."))
    nouns = [rng.choice(words.nouns) for _ in range(rng.choice((0, 1, 1, 1, 2)))]
    if len(nouns) == 2 and rng.random() < 0.5:
        nouns.insert(1, "&")
    form = rng.choice(rng.choice(words.forms)) if rng.random() < 0.7 else ""
    place = f"({rng.choice(words.towns)})" if rng.random() < 0.1 else ""
    return " ".join(part for part in (first, *nouns, place, form) if part)


def _shop(rng: Random, words: Language) -> str:
    """A firm as a till prints it: capitals, a short brand, what it sells, a place in brackets, its legal form."""
    first = make_brand(rng) if rng.random() < 0.6 else make_surname(rng, words)
    parts = [first]
    draw = rng.random()
    if draw < 0.2:
        parts.append("& " + make_brand(rng))
    elif draw < 0.85:
        parts.append(rng.choice(words.nouns))
    if rng.random() < 0.15:
        parts.append(f"({rng.choice(words.towns)})")
    if rng.random() < 0.75:
        parts.append(rng.choice(rng.choice(words.forms)))
    return " ".join(parts).upper()


def _place(rng: Random, words: Language) -> str:
    town = rng.choice(words.towns) if rng.random() < 0.4 else make_surname(rng, words)
    draw = rng.random()
    if draw < 0.5:
        return town
    return f"{town}, {make_surname(rng, words)}" if draw < 0.75 else f"{rng.choice(words.streets)} {town}"


def _word(rng: Random, words: Language) -> str:
    if rng.random() < 0.12:
        return make_surname(rng, words) + rng.choice(("", "", ",", "."))
    return make_word(rng)


KINDS: dict[str, tuple[float, Callable[[Random, Language], str]]] = {
    "person": (15, _person),
    "family": (16, _family_firm),
    "place firm": (7, _place_firm),
    "place": (4, _place),
    "company": (12, _company),
    "shop": (9, _shop),
    "brand": (3, lambda rng, words: f"{make_brand(rng)} {rng.choice(words.nouns)}"),
    "product": (4, lambda rng, words: make_product(rng)),
    "word": (12, _word),
    "japanese": (18, lambda rng, words: japanese_name(rng)),
}
"""Kinds of names, each with its share of the entities in percent and the way to draw one."""


def _trade(rng: Random, words: Language) -> str:
    trade = rng.choice(words.trades)
    return f"{trade} {words.joiner} {rng.choice(words.trades)}" if rng.random() < 0.12 else trade


def _number(rng: Random) -> str:
    draw = rng.random()
    if draw < 0.4:
        return f"{rng.randint(10000, 1999999)}-{rng.choice('ADHKMPTUVWX')}"
    if draw < 0.7:
        return f"{rng.randint(1, 99):02d}-{rng.randint(1000, 99999)}"
    return f"{rng.randint(1, 99)}.{rng.randint(10, 99)}.{rng.randint(10, 99)}"


# --- another entity: the name changes so much that it is no longer the same firm --------------------------------

_CLOSE = {"a": "eou", "e": "aoi", "i": "eay", "o": "aeu", "u": "aoi"}
_CONSONANTS = "bcdfghklmnprstvw"


def _swap_letter(name: str, rng: Random, words: Language) -> str:
    places = [match.start() for match in re.finditer(r"[^\W_]", name)]
    inner = [place for place in places if place and name[place - 1].isalpha()] or places
    if not inner:
        return name + " 2"
    place = rng.choice(inner)
    old = name[place]
    if old.isdigit():
        return name[:place] + rng.choice([digit for digit in "0123456789" if digit != old]) + name[place + 1 :]
    pool = _CLOSE.get(old.lower(), _CONSONANTS.replace(old.lower(), ""))
    new = rng.choice(pool)
    new = new.upper() if old.isupper() else new
    if rng.random() < 0.2:
        return name[: place + 1] + new.lower() + name[place + 1 :]
    return name[:place] + new + name[place + 1 :]


def _swap_glyph(name: str, rng: Random, words: Language) -> str:
    """Exchange a letter, or a pair, for one that looks much like it."""
    places = [(at, end) for at in range(len(name)) for end in (at + 1, at + 2) if look_alikes(name[at:end])]
    rng.shuffle(places)
    for at, end in places[:8]:
        other = rng.choice(look_alikes(name[at:end]))
        swapped = name[:at] + other + name[end:]
        if other.isalnum() and FOLDING.fold(swapped) != FOLDING.fold(name):
            return swapped
    return name


def _swap_surname(name: str, rng: Random, words: Language) -> str:
    """Keep the pattern ("... & Sons, Leeds") and put another surname into it."""
    common = {*words.nouns, *words.given, *words.towns, *" ".join((*words.company, *words.kin)).split()}
    found = [m for m in re.finditer(r"[^\W\d_]{4,}", name) if m[0][0].isupper() and m[0] not in common]
    if not found:
        return name
    match = rng.choice(found)
    other = make_surname(rng, words)
    return name[: match.start()] + (other.upper() if match[0].isupper() else other) + name[match.end() :]


def _swap_word(name: str, rng: Random, words: Language) -> str:
    parts = name.split(" ")
    known = [place for place, part in enumerate(parts) if part in words.nouns or part in words.surnames]
    if not known:
        return name
    place = rng.choice(known)
    pool = words.nouns if parts[place] in words.nouns else words.surnames
    parts[place] = rng.choice([word for word in pool if word != parts[place]])
    return " ".join(parts)


def _swap_initial(name: str, rng: Random, words: Language) -> str:
    initials = [match.start() for match in re.finditer(r"\b[A-Z]\.", name)]
    if not initials:
        return name
    place = rng.choice(initials)
    return name[:place] + rng.choice([c for c in "ABCDEFGHJLMPRSTVW" if c != name[place]]) + name[place + 1 :]
