"""What optical character recognition makes of a text: look-alikes, losses, merges, stray marks."""

from __future__ import annotations

from random import Random

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
    out: list[str] = []
    place = 0
    while place < len(text):
        step = 2 if text[place : place + 2] in _CONFUSIONS and rng.random() < 0.5 else 1
        piece = text[place : place + step]
        # Characters that look like others are misread more often than the rest.
        likely = level * (1.25 if piece in _CONFUSIONS else 0.75)
        out.append(_misread(piece, rng) if rng.random() < likely else piece)
        place += step
    reading = "".join(out)
    if rng.random() < level:
        reading = _stray(reading, rng)
    return reading if reading.strip() else text


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
