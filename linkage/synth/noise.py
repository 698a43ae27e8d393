"""What optical character recognition makes of a text: look-alikes, losses, merges, stray marks.

Most misreadings are sampled from what Tesseract made of drawn lines (`confusions.json`, written by
`scripts/learn_noise.py`); the rest from a table of look-alikes, for characters and engines it has not seen.
"""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import NamedTuple

# Groups of strings that look alike in print; any may be read as any other of its group.
_ALIKE = """
l 1 I i | ! ; 0 O o Q D ; rn m nn ; cl d ; e c o ; a o u ; n u ii ri ; h b li ; v y r ; f t ſ ; s ſ ; S 5 s $ ;
B 8 R ; G 6 C ; Z 2 z ; g 9 q ; E F L ; P F R ; T I Y ; U V II ; w vv W ; M N H ; . , ' : ; - _ – ~ ; & 8 G d ;
é e è ; ä a å ; ü u ii ; ö o 6 ; ç c ; A 4 ; k lc h ; K X R ; ti n ; tt ll it ; fi h ; ( C [ { ; ) ] } J ;
/ l 7 ; 7 1 T ; 3 8 B ; q p ; J I ] ; ° o 0 ; N H ; D O B
""".replace("\n", " ")
_ALIKE_KANJI = """
己已巳 末未木 土士工 大太犬夫 日曰目白 田由甲申 千干于 人入八 石右古 力刀カ 口ロ回 二ニ三 八ハ 夕タ 卜ト 工エ
才オ 一ー丨 鳥島烏 間問閒聞 商啇 會曾 東束柬 京亰 北比 西酉 南甫 本木 中申 小少 川州 藤籐 製裂 作昨 所斬 業菜
電雷 機械 氣気 鋼綱網 鐵鉄 林村材 松杉 橋槁 島嶋 崎埼 沢択 富冨 金全 銀鉛 信倍 和利 永水氷 泉帛 堂室 光尤 明朋
昭照 正止 平半 新親 長辰 高髙 吉古告 國圀 社杜 式弍 株殊 紡紬 織識 綿線 機幾 工土 場塲 シツ ソン クワタ フワ
ラヲ テチ ナメ コユ アマ ウワ ロコ ルレ スヌ ホボ ハバパ ヒビピ ヘベペ
"""
_STRAY = (".", ",", "'", "-", "·", "|", "~", "_", "*", '"', "`", ":", "^")


def _table() -> dict[str, tuple[str, ...]]:
    table: dict[str, set[str]] = {}
    groups = [group.split() for group in _ALIKE.split(" ; ")] + [list(group) for group in _ALIKE_KANJI.split()]
    for group in groups:
        for one in group:
            table.setdefault(one, set()).update(other for other in group if other != one)
    return {one: tuple(sorted(others)) for one, others in table.items()}


_CONFUSIONS = _table()


def look_alikes(piece: str) -> tuple[str, ...]:
    """What `piece`, one character or two, may be taken for in print; empty where nothing looks like it."""
    return _CONFUSIONS.get(piece, ())


BINS = 4
"""Equal steps of the strength of a scan, 0..1, by which error rates are kept."""
QUANTILES = tuple(step / 12 for step in range(13))
"""Of the error rates in one bin."""
_TRUST = 0.75  # share of the misreadings that are learned ones; the rest comes from the table above
_INSERTED = 0.15  # share of the others that add something
_SMOOTH = 20  # characters of the mean kind that every character is taken to have been seen beside its own
_MOST = 0.6  # a reading with more errors than this says nothing of the text any more
_LEARNED = Path(__file__).with_name("confusions.json")


class _LearnedNoise(NamedTuple):
    """What `scripts/learn_noise.py` counted.

    Attributes:
        readings: what a piece was read as, with cumulative counts.
        inserted: the same for what was read where nothing stood.
        rates: by piece, its share of misreadings over that of all characters.
        levels: quantiles of the error rate by `level_key` and bin of strength.
    """

    readings: dict[str, tuple[tuple[str, ...], tuple[int, ...]]]
    inserted: tuple[tuple[str, ...], tuple[int, ...]]
    rates: dict[str, float]
    levels: dict[str, list[list[float]]]


@lru_cache(maxsize=1)
def _learned() -> _LearnedNoise:
    content = json.loads(_LEARNED.read_text(encoding="utf-8"))
    pieces, seen = content["pieces"], content["seen"]
    readings = {piece: (tuple(counts), tuple(accumulate(counts.values()))) for piece, counts in pieces.items()}
    inserted = readings.pop("", ((".",), (1,)))
    rates: dict[str, float] = {}
    for japanese in (False, True):  # each script by its own mean: they are read by different models of the engine
        counts = {c: n for c, n in seen.items() if _japanese(c) == japanese}
        wrong = {c: readings[c][1][-1] if c in readings else 0 for c in counts}
        mean = sum(wrong.values()) / max(1, sum(counts.values())) or 1.0
        rates |= {c: (wrong[c] + _SMOOTH * mean) / (n + _SMOOTH) / mean for c, n in counts.items()}
    return _LearnedNoise(readings, inserted, rates, content["levels"])


def _japanese(text: str) -> bool:
    return any(ord(c) >= 0x2E80 for c in text)


def level_key(text: str, *, written: bool) -> str:
    """Under which name the error rates of such a text are kept: script and whether it is handwritten."""
    return f"{'japanese' if _japanese(text) else 'latin'}/{'hand' if written else 'print'}"


def draw_level(text: str, rng: Random, strength: float, *, written: bool) -> float:
    """An error rate as Tesseract has it on such a text and scan.

    Args:
        text: what is printed.
        rng: source of chance.
        strength: of the scan's degradation, 0..1.
        written: whether it is handwritten.

    Returns:
        A level for `corrupt`, 0..0.6.
    """
    quantiles = _learned().levels[level_key(text, written=written)][min(BINS - 1, int(strength * BINS))]
    place = rng.random() * (len(quantiles) - 1)
    low = quantiles[int(place)]
    high = quantiles[min(int(place) + 1, len(quantiles) - 1)]
    return min(_MOST, low + (place - int(place)) * (high - low))


def corrupt(text: str, rng: Random, level: float) -> str:
    """Read `text` badly.

    Args:
        text: what is printed.
        rng: source of chance; the same state gives the same reading.
        level: expected share of characters that go wrong, 0..1; 0 leaves the text as it is.

    Returns:
        The reading. Never empty when `text` is not: an engine that read nothing gives no record.
    """
    if level <= 0 or not text:
        return text
    learned = _learned()
    out: list[str] = []
    place = 0
    while place < len(text):
        pair = text[place : place + 2]
        step = 2 if (pair in _CONFUSIONS or pair in learned.readings) and rng.random() < 0.4 else 1
        piece = text[place : place + step]
        likely = level * min(2.5, max(0.4, learned.rates.get(piece, 1.0)))
        if rng.random() >= likely:
            out.append(piece)
        elif piece in learned.readings and rng.random() < _TRUST:
            out.append(_drawn(learned.readings[piece], rng))
        elif rng.random() < _INSERTED:
            out.append(piece + _drawn(learned.inserted, rng))
        else:
            out.append(_misread(piece, rng))
        place += step
    reading = "".join(out)
    if rng.random() < level:
        reading = _stray(reading, rng)
    return reading if reading.strip() else text


def _drawn(counted: tuple[tuple[str, ...], tuple[int, ...]], rng: Random) -> str:
    return rng.choices(counted[0], cum_weights=counted[1])[0]


def _misread(piece: str, rng: Random) -> str:
    draw = rng.random()
    if piece == " ":
        return "" if draw < 0.7 else "  " if draw < 0.8 else ". "
    if draw < 0.66 and piece in _CONFUSIONS:
        return rng.choice(_CONFUSIONS[piece])
    if draw < 0.72:
        return piece.swapcase()
    if draw < 0.86:
        return ""
    if draw < 0.92:
        return piece + rng.choice(_STRAY)
    if draw < 0.96:
        return piece + " "
    return rng.choice("aeilnorstu") if piece.isascii() else "〓"


def _stray(reading: str, rng: Random) -> str:
    marks = "".join(rng.choice(_STRAY) for _ in range(rng.randint(1, 2)))
    return f"{marks} {reading}" if rng.random() < 0.5 else f"{reading} {marks}"
