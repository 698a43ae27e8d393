"""The many ways in which one entity's name gets printed."""

from __future__ import annotations

import re
import unicodedata
from random import Random

from linkage.synth.japanese import japanese_variant
from linkage.synth.lists import LANGUAGES, Language
from linkage.synth.names import Entity


def variant(entity: Entity, rng: Random) -> str:
    """One way in which the name of `entity` gets printed: abbreviated, legal form changed, initials, other case."""
    name = entity.name
    if entity.kind == "japanese":
        return japanese_variant(name, rng)
    if entity.kind == "word":
        return _reword(name, rng)
    words = LANGUAGES[entity.language]
    for change, chance in (
        (_change_joiner, 0.25),
        (_change_company, 0.5),
        (_change_form, 0.5),
        (_abbreviate, 0.25),
        (_initials, 0.15),
        (_respell, 0.05),
        (_drop_accents, 0.12),
    ):
        if rng.random() < chance:
            name = change(name, rng, words)
    name = _recase(name, rng, upper=_CAPITALS.get(entity.kind, 0.15))
    return re.sub(r"\s+", " ", name).strip() or entity.name


_CAPITALS = {"company": 0.6, "brand": 0.6, "shop": 0.75, "place": 0.25}  # share printed in capitals, by kind


def _reword(name: str, rng: Random) -> str:
    """The same word of a text: with or without the stop after it, now and then in capitals."""
    if rng.random() < 0.3:
        name = name.rstrip(",.;:-") + rng.choice(("", "", ",", "."))
    return name.upper() if rng.random() < 0.06 else name


_SHORT = (
    ("Manufacturing", "Mfg."),
    ("Brothers", "Bros."),
    ("Restaurant", "Rest."),
    ("Enterprise", "Ent."),
    ("Engineering", "Engrg."),
    ("Company", "Co."),
    ("Frères", "Fr."),
    ("frères", "fr."),
    ("Gebrüder", "Gebr."),
    ("Fratelli", "F.lli"),
    ("Hermanos", "Hnos."),
    ("Trading", "Trdg"),
    ("Services", "Svcs"),
    ("William", "Wm."),
    ("Charles", "Chas."),
    ("George", "Geo."),
    ("Thomas", "Thos."),
    ("James", "Jas."),
    ("Friedrich", "Friedr."),
    ("Wilhelm", "Wilh."),
    ("Saint", "St."),
    ("veuve", "Vve"),
    ("Veuve", "Vve"),
    ("Electrical", "Elec."),
    ("Supermarket", "S'market"),
    ("Industries", "Inds."),
    ("International", "Int'l"),
)


def _change_joiner(name: str, rng: Random, words: Language) -> str:
    if " & " in name:
        return name.replace(" & ", rng.choice((f" {words.joiner} ", "&", " + ", f" {words.joiner} ")), 1)
    return name.replace(f" {words.joiner} ", " & ", 1)


def _change_company(name: str, rng: Random, words: Language) -> str:
    for ending in sorted(words.company, key=len, reverse=True):
        if name.endswith(" " + ending):
            other = rng.choice((*words.company, ""))
            return f"{name.removesuffix(ending)}{other}".strip()
    return name


def _change_form(name: str, rng: Random, words: Language) -> str:
    for group in words.forms:
        for form in sorted(group, key=len, reverse=True):
            if name.endswith(" " + form):
                other = rng.choice((*group, *group, ""))
                return f"{name.removesuffix(form)}{other}".strip()
    return name


def _abbreviate(name: str, rng: Random, words: Language) -> str:
    for long, short in _SHORT:
        if re.search(rf"\b{long}\b", name):
            return re.sub(rf"\b{long}\b", short, name, count=1)
    return name.replace(".", "") if rng.random() < 0.5 else name


def _initials(name: str, rng: Random, words: Language) -> str:
    return re.sub(r"\b[^\W\d_]{3,}\b", lambda m: m[0][0] + "." if m[0] in words.given else m[0], name, count=1)


def _respell(name: str, rng: Random, words: Language) -> str:
    for old, new in rng.sample(
        (
            ("ph", "f"),
            ("c", "k"),
            ("y", "i"),
            ("ll", "l"),
            ("tt", "t"),
            ("n", "nn"),
            ("th", "t"),
            ("ss", "s"),
            ("e", ""),
        ),
        9,
    ):
        place = name.rfind(old)
        if place > 0:
            return name[:place] + new + name[place + len(old) :]
    return name


def _drop_accents(name: str, rng: Random, words: Language) -> str:
    kept = (c for c in unicodedata.normalize("NFD", name) if not unicodedata.combining(c))
    return unicodedata.normalize("NFC", "".join(kept))


def _recase(name: str, rng: Random, upper: float) -> str:
    draw = rng.random()
    if draw < upper:
        return name.upper()
    return name.lower() if draw > 0.97 else name
