"""Japanese firms: names of kanji and kana pieces, the two ways of writing a character, legal forms."""

from __future__ import annotations

from random import Random

from linkage.synth.noise import look_alikes

_SURNAMES = (
    "佐藤 鈴木 高橋 田中 伊藤 渡邊 山本 中村 小林 加藤 吉田 山田 佐々木 山口 松本 井上 木村 林 斎藤 清水 山崎 "
    "阿部 森 池田 橋本 山下 石川 中島 前田 藤田 後藤 小川 岡田 村上 長谷川 近藤 石井 坂本 遠藤 藤井 青木 福田 "
    "三浦 西村 藤原 太田 松田 原田 岡本 中野 中川 小野 田村 竹内 金子 和田 中山 石田 上田 森田 柴田 酒井 工藤 "
    "横山 宮崎 宮本 内田 高木 安藤 谷口 大野 丸山 今井 河野 藤本 村田 武田 上野 杉山 増田 小島 平野 大塚 千葉 "
    "久保 松井 岩崎 桜井 野口 松尾 菊地 野村 新井 渡部 浜田 菅原 小山"
).split()
_HEADS = (
    "東 西 南 北 中 大 小 高 山 川 田 松 竹 梅 藤 石 岩 金 銀 鐵 青 白 黒 赤 富 福 吉 永 長 安 新 古 森 林 木 "
    "水 泉 清 江 海 島 浜 港 谷 沢 坂 橋 村 町 宮 寺 井 池 原 野 丸 三 五 八 千 萬 一 二 七 九 十 日 月 星 光 "
    "明 旭 朝 正 平 和 昭 國 本 太 久 榮 德 信 義 仁 勝 武 文 龍 虎 鶴 亀 鳳 駒 櫻 菊 柳 杉 桐 若 玉 内 上 下 "
    "今 倉 岡 崎 戸 津 秋 春 河 瀧 熊 鈴 関 飯 堀 細"
).split()
_TAILS = (
    "田 山 川 村 井 本 原 野 木 島 崎 沢 藤 口 谷 橋 岡 森 林 池 石 松 坂 浦 上 下 中 内 尾 部 屋 倉 江 津 宮 "
    "塚 関 城 戸 瀬 堂 光 栄 和 信 興 進 勢 陽 星 洋 海 園 泉 水 丸 鶴 井 永 邊 保 葉 見 美 富 和 平 明 雄 久 "
    "間"
).split()
_TRADES = (
    "製作所 工業 商店 商事 商會 産業 製鋼 電機 電氣 機械 化學 製藥 紡績 織物 染工 製紙 印刷 建設 土木 木材 "
    "製材 運輸 倉庫 海運 造船 鑛業 炭礦 石油 瓦斯 銀行 證券 保險 食品 製菓 醸造 酒造 水産 農産 製粉 製糖 乳業 "
    "硝子 窯業 陶器 セメント ゴム タイヤ 護謨 金網 鋼管 鐵工所 鑄造 金屬 軽金屬 精機 光學 計器 時計 自動車 "
    "車輛 百貨店 興業 不動産 金融 貿易 物産 メリヤス 毛織 製靴 製綿 製罐 樂器 文具 書店 出版 新聞社 映画 旅館 "
    "ホテル 藥局 塗料 油脂 肥料 製油 製氷 冷蔵 電線 電池 鍛工 工務店 組"
).split()
_KATAKANA = (
    "ア アイ アサ アル イ イズ ウェ エ エル オ オリ カ カネ カル キ キャ キン ク クラ グ ケ コ コロ サ サン "
    "シ シン ジャ ス スタ セ セン ソ タ ダイ チ チェ ツ テ テル デ ト トー ドラ ナ ナショ ニ ニッ ノ ハ パ バ "
    "ビ フ フジ ブ プ ヘ ベ ホ ポ マ マル ミ ミツ ム メ モ ヤ ヤマ ユ ユニ ヨ ラ ライ リ リコ ル レ ロ ワ ン "
    "ー"
).split()
_PLACES = (
    "東京 大阪 京都 名古屋 横浜 神戸 札幌 仙台 新潟 金沢 富山 福井 静岡 浜松 岐阜 岡山 廣島 福岡 長崎 熊本 "
    "鹿兒島 小樽 函館 秋田 山形 福島 水戸 千葉 甲府 長野 日本 関東 九州 北海 東洋 帝國 大日本 関西 中央 三河 "
    "日立 尼崎 堺 川崎"
).split()
_OLD_NEW = (
    "會会 國国 澤沢 廣広 學学 鐵鉄 區区 濱浜 邊辺 齋斎 櫻桜 藏蔵 眞真 榮栄 惠恵 龍竜 瀧滝 嶋島 德徳 萬万 氣気 "
    "藥薬 鑛鉱 證証 險険 樂楽 屬属 鑄鋳 輕軽 兒児 聲声 實実 寶宝 豐豊 壽寿 圓円 團団 戰戦 傳伝 獨独 繪絵 號号 "
    "觀観"
).split()
_FORMS = (("株式會社", "株式会社", "(株)", "㈱"), ("有限會社", "有限会社", "(有)"), ("合資會社", "合資会社", "(資)"))
_NEWER = {pair[0]: pair[1] for pair in _OLD_NEW}
_OLDER = {pair[1]: pair[0] for pair in _OLD_NEW}


def japanese_name(rng: Random) -> str:
    """A firm: a surname, two kanji, a place or kana, then what it makes; at times with its legal form."""
    draw = rng.random()
    if draw < 0.3:
        stem = rng.choice(_SURNAMES)
    elif draw < 0.72:
        stem = rng.choice(_HEADS) + rng.choice(_TAILS)
    elif draw < 0.86:
        stem = rng.choice(_PLACES)
        stem += rng.choice(_HEADS) if rng.random() < 0.4 else ""
    else:
        stem = "".join(rng.choice(_KATAKANA[:-1]) for _ in range(rng.randint(2, 3)))
    if draw < 0.72 and rng.random() < 0.2:
        stem = rng.choice(_PLACES) + stem
    trade = rng.choice(_TRADES) if rng.random() < 0.88 else ""
    if rng.random() < 0.06:
        trade = rng.choice(_TRADES) + trade
    name = stem + trade
    if len(name) < 3:
        name += rng.choice(_TRADES)
    return name if rng.random() < 0.75 else rng.choice(_FORMS)[0] + name


def japanese_address(rng: Random) -> str:
    """City, ward and number."""
    ward = rng.choice(_HEADS) + rng.choice(_TAILS)
    numbers = f"{rng.randint(1, 9)}-{rng.randint(1, 30)}" if rng.random() < 0.6 else str(rng.randint(1, 999))
    return f"{rng.choice(_PLACES)}市{ward}町{numbers}"


def japanese_sibling(name: str, rng: Random) -> str:
    """Another firm's name, one character of its stem away from `name`; half of them look much like it."""
    form = next((form for form, *_ in _FORMS if name.startswith(form)), "")
    stem = name.removeprefix(form)
    alike = [place for place, c in enumerate(stem[:3]) if look_alikes(c)]
    if alike and rng.random() < 0.5:
        place = rng.choice(alike)
        return form + stem[:place] + rng.choice(look_alikes(stem[place])) + stem[place + 1 :]
    place = rng.randrange(min(2, len(stem)))
    pool = _HEADS if place == 0 else _TAILS
    return form + stem[:place] + rng.choice([c for c in pool if c != stem[place]]) + stem[place + 1 :]


def japanese_variant(name: str, rng: Random) -> str:
    """Another way to print `name`: legal form added, moved or shortened, old or new forms of characters."""
    forms = next((group for group in _FORMS if name.startswith(group[0])), None)
    if forms and rng.random() < 0.6:
        bare = name.removeprefix(forms[0])
        form = rng.choice((*forms, ""))
        name = bare + form if rng.random() < 0.4 else form + bare
    elif forms is None and rng.random() < 0.15:
        form = rng.choice(rng.choice(_FORMS))
        name = name + form if rng.random() < 0.3 else form + name
    if rng.random() < 0.4:
        name = "".join(_NEWER.get(c, c) for c in name)
    elif rng.random() < 0.3:
        name = "".join(_OLDER.get(c, c) for c in name)
    return name


def japanese_trade(rng: Random) -> str:
    """What a firm makes or does."""
    return rng.choice(_TRADES)
