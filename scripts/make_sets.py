"""Make two hard measuring sets: degraded copies of real receipt lines, and drawn Japanese firms in unseen type.

Each is a folder with records.csv (record_id, image, text, entity_id, split, role, truth) and images/; `text` is what
Tesseract reads. The same seed, fonts and Tesseract give the same sets.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
from PIL import Image, ImageOps
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from linkage.errors import DependencyError, InputError, LinkageError
from linkage.layout.regions import joined
from linkage.synth.degrade import degrade, shrink
from linkage.synth.japanese import japanese_variant
from linkage.synth.noise import look_alikes
from linkage.synth.render import FontFace, TypeLine, can_set, faces, margins, set_line
from linkage.tables import read_table, write_table
from linkage.text import FOLDING, clean

# Parts of firm names that `linkage.synth.japanese` has not, neither whole nor composed of its syllables, of characters
# that Tesseract knows.
STEMS = (
    "早稲 彩雲 陽炎 白樺 瑠璃 胡桃 薔薇 椿 楓 椎 楠 榎 橘 葵 蓮 藍 茜 鷹 隼 鳩 鹿 獅子 鯨 鮎 鯉 鯛 貝 真珠 雷 "
    "雪 氷室 嵐 虹 暁 晴海 潮 渦 渓 滝川 堤 畔 峠 峰 嶺 岬 灘 砂丘 盤石 礎 鐘 太鼓 弓削 矢作 剣 盾 鎧 扇 傘 帆 "
    "軸 歯車 鎌 釜 鍋 瓶 蜂 絹 紺 紫 灰 墨 筆 巻 綴 誠 恵 慈 愛 敬 謙 譲 忠 孝 聡 賢 哲 啓 耕 拓 創 築 躍 翔 "
    "飛 昇 隆 盛 繁 豊 稔 飛騨 能登 加賀 越前 越後 若狭 丹波 但馬 因幡 出雲 備前 備中 美作 讃岐 伊予 土佐 阿波 "
    "筑前 豊後 肥前 日向 薩摩 大隅 対馬 佐渡 伊豆 駿河 遠江 相模 武蔵 上総 下総 常陸 陸奥 出羽"
).split()
TRADES = (
    "度量衡 昆布 味噌 醤油 砂糖 茶舗 珈琲 製麺 豆腐 漬物 乾物 青果 鮮魚 精肉 養鶏 畜産 園芸 造園 種苗 飼料 "
    "農機 漁網 製帆 軌道 馬車 港湾 測量 製図 表具 建具 家具 漆器 仏具 人形 玩具 花火 火薬 石鹸 香料 染料 顔料 "
    "接着剤 樹脂 皮革 履物 傘店 帽子 手袋 足袋 呉服 洋服 仕立 刺繍 編物 寝具 毛布 幕店 旗店 看板 活版 製本 "
    "地図 写真館 眼鏡 補聴器 義歯 厨房 調理 給食 弁当 仕出 料亭 喫茶 酒場 劇場 興行 放送 電信 電球 変圧器 発条 "
    "歯車製作 鎖店 釘店 針金 弁栓 消火器 錠前 金庫 梱包 荷札 紙器 封筒 質店 両替 信託 計理 通商 洋行 公司 組合 "
    "協会 研究所 試験所 養成所"
).split()
QUERY_FAMILIES = ("Dejima", "Oradano-mincho-GSRR", "MotoyaLCedar")
EXEMPLAR_FAMILY = "MotoyaLMaru"
RECEIPT_HEIGHT = 20  # pixels of a degraded receipt line: Tesseract then misreads three characters in ten
QUERY, EXEMPLAR = (0.5, 26), (0.08, 44)  # strength and type size: Tesseract's error rates are near 0.3 and 0.1
NO_MATCH_SHARE = 0.15  # of the queries
BATCH = 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write sroie_degraded/ and jp_firms/ into")
    parser.add_argument("--receipts", type=Path, help="folder of the receipt lines to degrade (records.csv, images/)")
    parser.add_argument("--queries", type=int, default=600, help="drawn firms that are asked for (default: 600)")
    parser.add_argument("--exemplars", type=int, default=1200, help="drawn firms that are known (default: 1200)")
    parser.add_argument("--limit", type=int, default=None, help="degrade only the first N receipt lines")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        if options.receipts:
            rows, images = degraded_receipts(options.receipts, options.seed, options.limit)
            write_set(options.out / "sroie_degraded", rows, images, "eng")
        rows, images = japanese_firms(options.queries, options.exemplars, options.seed)
        write_set(options.out / "jp_firms", rows, images, "jpn")
    except LinkageError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def write_set(out: Path, rows: list[dict[str, Any]], images: list[Image.Image], language: str) -> None:
    """Read the pictures, write records.csv and images/, and say how hard the set is for strings."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    for row, image, reading in zip(rows, images, read_lines(images, language), strict=True):
        row |= {"image": f"images/{row['record_id']}.png", "text": reading}
        image.save(out / row["image"])
    columns = ["record_id", "image", "text", "entity_id", "split", "role", "truth"]
    frame = pd.DataFrame(rows)[columns]
    write_table(frame, out / "records.csv")
    roles = frame["role"].eq("exemplar").map({True: "exemplar", False: "query"})
    rates = {role: error_rate(part) for role, part in frame.groupby(roles)}
    print(f"{out}: {frame['role'].value_counts().to_dict()}")
    print("  character error rate " + ", ".join(f"{role} {rate:.3f}" for role, rate in rates.items()))
    print("  Levenshtein hit@1 " + ", ".join(f"{split} {value:.3f}" for split, value in hits(frame).items()))


def error_rate(frame: pd.DataFrame) -> float:
    """Edits over characters of the truth, case and spacing folded."""
    pairs = [
        (FOLDING.fold(text), FOLDING.fold(truth)) for text, truth in zip(frame["text"], frame["truth"], strict=True)
    ]
    return sum(Levenshtein.distance(a, b) for a, b in pairs) / max(1, sum(len(b) for _, b in pairs))


def hits(frame: pd.DataFrame) -> dict[str, float]:
    """Share of the matched queries whose nearest exemplar by normalised Levenshtein is right, by split and in all."""
    exemplars, queries = frame[frame["role"] == "exemplar"], frame[frame["role"] == "query"]
    scores = cdist(
        [FOLDING.fold(text) for text in queries["text"]],
        [FOLDING.fold(text) for text in exemplars["text"]],
        scorer=Levenshtein.normalized_similarity,
    )
    right = exemplars["entity_id"].to_numpy()[scores.argmax(axis=1)] == queries["entity_id"].to_numpy()
    by_split = {
        str(split): float(right[(queries["split"] == split).to_numpy()].mean())
        for split in sorted(set(queries["split"]))
    }
    return {"all": float(right.mean())} | by_split


def read_lines(images: list[Image.Image], language: str) -> list[str]:
    """Each picture as one line of text (psm 7), as Tesseract reads it; one process for many pictures.

    Raises:
        DependencyError: Tesseract or the language is not installed.
    """
    readings: list[str] = []
    for first in range(0, len(images), BATCH):
        batch = images[first : first + BATCH]
        with tempfile.TemporaryDirectory(prefix="linkage-sets-") as folder:
            names = [str(Path(folder, f"{number}.png")) for number in range(len(batch))]
            for name, image in zip(names, batch, strict=True):
                image.save(name)
            listed = Path(folder, "images.txt")
            listed.write_text("\n".join(names) + "\n", encoding="utf-8")
            command = ["tesseract", str(listed), "stdout", "--psm", "7", "-l", language]
            environment = os.environ | {"OMP_THREAD_LIMIT": "1"}
            try:
                done = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
            except (OSError, subprocess.CalledProcessError) as error:
                message = f"Tesseract does not read {language} here ({error}); run `make setup`"
                raise DependencyError(message) from None
        readings += [joined(page) for page in done.stdout.split("\f")[: len(batch)]]
    return readings


# --- receipt lines ----------------------------------------------------------------------------------------------


def degraded_receipts(
    folder: Path, seed: int, limit: int | None = None
) -> tuple[list[dict[str, Any]], list[Image.Image]]:
    """The labelled receipt lines, exemplars too, under the strongest degradation and at a low resolution.

    Raises:
        InputError: no records.csv in the folder, or it holds no rows.
    """
    table = read_table(folder / "records.csv")[:limit]
    if table.empty:
        raise InputError(f"{folder / 'records.csv'}: holds no records")
    rows, images = [], []
    for row in table.to_dict("records"):
        rng = Random(f"{seed}/receipts/{row['record_id']}")
        grey = Image.open(folder / row["image"]).convert("L")
        ink = ImageOps.invert(ImageOps.autocontrast(grey, cutoff=(1, 20)))
        worn = degrade(ink, rng, 1.0)
        images.append(shrink(worn, min(1.0, RECEIPT_HEIGHT * rng.uniform(0.8, 1.3) / worn.height)))
        kept = {key: row[key] for key in ("record_id", "entity_id", "split", "role")}
        rows.append(kept | {"truth": clean(row["text"])})
    return rows, images


# --- Japanese firms ---------------------------------------------------------------------------------------------


def japanese_firms(queries: int, exemplars: int, seed: int) -> tuple[list[dict[str, Any]], list[Image.Image]]:
    """Drawn firms: `exemplars` known ones, every third a look-alike of the one before it, and `queries` asked for.

    Raises:
        InputError: a count below 1.
        DependencyError: a held-out font family is not installed.
    """
    if queries < 1 or exemplars < 1:
        raise InputError(f"queries and exemplars must be 1 or more, not {queries} and {exemplars}")
    rng = Random(f"{seed}/firms")
    strangers = round(NO_MATCH_SHARE * queries)
    names = firm_names(exemplars + strangers, rng)
    groups = [place // 3 for place in range(len(names))]  # look-alikes stand on one side of a split
    cuts = list(dict.fromkeys(groups))
    rng.shuffle(cuts)
    order = {group: n / len(cuts) for n, group in enumerate(cuts)}
    split_of = {g: "train" if n < 0.4 else "val" if n < 0.6 else "test" for g, n in order.items()}
    asked = rng.sample(range(exemplars), min(queries - strangers, exemplars))
    plan = [("exemplar", place) for place in range(exemplars)] + [("query", place) for place in asked]
    plan += [("query_nomatch", exemplars + place) for place in range(strangers)]
    families = {family: family_faces(family) for family in (*QUERY_FAMILIES, EXEMPLAR_FAMILY)}
    rows, images = [], []
    for number, (role, place) in enumerate(plan):
        drawn = Random(f"{seed}/firms/{number}")
        known = role == "exemplar"
        text = names[place] if known else japanese_variant(names[place], drawn)
        family = EXEMPLAR_FAMILY if known else drawn.choice(QUERY_FAMILIES)
        strength, size = EXEMPLAR if known else QUERY
        images.append(drawn_line(text, families[family], families[EXEMPLAR_FAMILY], drawn, strength, size))
        row = {"record_id": f"f{number:05d}", "entity_id": f"fe{place:05d}", "split": split_of[groups[place]]}
        rows.append(row | {"role": role, "truth": text})
    return rows, images


def firm_names(count: int, rng: Random) -> list[str]:
    """Distinct names; every third is its predecessor with one character exchanged, where possible a look-alike."""
    names: list[str] = []
    seen: set[str] = set()
    while len(names) < count:
        name = sibling(names[-1], rng) if len(names) % 3 == 1 else firm_name(rng)
        if FOLDING.fold(name) not in seen:
            seen.add(FOLDING.fold(name))
            names.append(name)
        elif len(names) % 3 == 1:  # no further look-alike: an unrelated firm instead
            names.append(firm_name(rng) + rng.choice(TRADES))
            seen.add(FOLDING.fold(names[-1]))
    return names


def firm_name(rng: Random) -> str:
    """A stem, at times a second one, a trade, and at times the legal form in front."""
    stem = rng.choice(STEMS)
    stem += rng.choice(STEMS) if len(stem) == 1 or rng.random() < 0.2 else ""
    form = "株式會社" if rng.random() < 0.2 else ""
    return form + stem + rng.choice(TRADES)


def sibling(name: str, rng: Random) -> str:
    """The name of another firm, one character away."""
    (face, *_) = family_faces(EXEMPLAR_FAMILY)
    bare = name.removeprefix("株式會社")
    form = name.removesuffix(bare)
    near = {place: [c for c in look_alikes(old) if can_set(face, c)] for place, old in enumerate(bare)}
    alike = [place for place, others in near.items() if others]
    place = rng.choice(alike) if alike and rng.random() < 0.5 else 0
    others = near[place] or [stem for stem in STEMS if len(stem) == 1 and stem != bare[place]]
    return form + bare[:place] + rng.choice(others) + bare[place + 1 :]


def family_faces(family: str) -> list[FontFace]:
    """The installed faces of a family.

    Raises:
        DependencyError: there are none.
    """
    found = [face for face in faces() if face.family == family]
    if not found:
        raise DependencyError(f"the font {family} is not installed; run `make setup`")
    return found


def drawn_line(
    text: str, wanted: list[FontFace], instead: list[FontFace], rng: Random, strength: float, size: int
) -> Image.Image:
    """One degraded line; in `instead` where the wanted faces lack a character."""
    able = [face for face in wanted if can_set(face, text)] or [face for face in instead if can_set(face, text)]
    if not able:
        raise DependencyError(f"no held-out font can set {text!r}; run `make setup`")
    size = round(size * rng.uniform(0.85, 1.15))
    ink = margins(set_line(TypeLine(text, rng.choice(able), size)), *(rng.randint(3, 12) for _ in range(4)))
    return degrade(ink, rng, strength * rng.uniform(0.7, 1.3))


if __name__ == "__main__":
    sys.exit(main())
