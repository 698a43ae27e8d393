"""Single words, numbers and dates, as letter books, account books and forms hold them."""

from __future__ import annotations

from random import Random

from linkage.synth.lists import words

_PLAIN = words(
    "letters orders instructions october november december january february march april may june july august "
    "september monday tuesday wednesday thursday friday saturday sunday company regiment soldiers provisions fort "
    "captain colonel major lieutenant ensign sergeant corporal governor general quartermaster commissary adjutant "
    "surgeon drummer recruits deserters detachment garrison barracks stores powder lead arms musket bayonet tents "
    "blankets shoes stockings hats coats linen flour beef pork salt rum bread corn oats hay horses wagons cattle "
    "return paid amount total balance received account market page index list section district number street north "
    "south east west river bridge church garden school station office society union committee treasurer secretary "
    "president the and that with for from this have which you your they them their been were will would should could "
    "not any all other some such when where what there here than then also upon under over into before after until "
    "between against through without within about above below every each both many most more much less few great "
    "good large small long short high low new old first second third last next same own right left public private "
    "present former late early soon often never always perhaps therefore however whereas honour pleasure service "
    "servant humble obedient sir gentlemen friend brother father mother daughter wife husband child children people "
    "men women man woman country county town village city house land field farm wood forest hill valley mountain "
    "creek water road path place home family name word line day night morning evening week month year time hour "
    "minute season winter spring summer autumn weather rain snow wind storm frost money pounds shillings pence "
    "dollars cents price cost value interest rent tax duty bill bond note receipt cash credit debt loan purchase sale "
    "goods cargo ship vessel boat captain crew port harbour voyage passage freight insurance trade merchant agent "
    "partner firm business letter paper copy book record register report minutes resolution motion meeting election "
    "member board council court judge jury trial witness evidence law act statute deed will trust estate property "
    "title claim grant patent licence treaty peace war battle enemy army navy troops militia officer command march "
    "retreat attack defence siege prisoner wounded killed sick hospital fever physician medicine health death burial "
    "birth marriage baptism parish minister sermon prayer faith school teacher scholar lesson science history "
    "geography grammar spelling music dance song play theatre picture painting garden flower fruit apple pear cherry "
    "potato cabbage bean pea barley wheat rye hemp tobacco cotton sugar coffee tea spice wine beer cheese butter egg "
    "iron steel copper tin silver gold stone brick lime timber plank board nail rope sail canvas glass leather wool "
    "silk thread cloth bag box barrel cask bundle parcel chest desk table chair bed lamp candle fire stove kitchen "
    "cellar stable barn mill shop store yard fence gate door window roof floor wall stairs plan survey map chart scale "
    "weight measure inch foot acre mile ton bushel gallon dozen half quarter thousand hundred twenty thirty forty "
    "fifty sixty seventy eighty ninety eleven twelve thirteen fifteen eighteen"
)
_VERBS = words(
    "order march command receive send deliver return pay buy sell carry bring take give keep hold make build repair "
    "provide furnish supply appoint elect direct instruct inform acquaint desire request require demand expect hope "
    "wish think believe suppose consider conclude determine resolve agree refuse accept consent permit allow oblige "
    "serve assist help support defend attack retreat pursue discover observe view inspect examine enquire report "
    "write read sign seal open close begin finish continue remain stay depart arrive come go pass cross follow lead "
    "visit meet call name mention describe relate account charge collect gather count measure divide share"
)
_ENDINGS = words("s ed ing er ers ment ments able ance")
_OTHER = words(
    "lettre lettres ordre compagnie janvier février avril juillet août décembre maison église école marché rivière "
    "général capitaine reçu payé somme total vente achat prix année mois jour semaine homme femme enfant père mère "
    "frère sœur près très même être après côté forêt fête théâtre musée qualité société propriété numéro étage Brief "
    "Briefe Januar Februar März Mai Juli Oktober Dezember Straße Kirche Schule Markt Brücke Fluß Gesellschaft "
    "Rechnung Betrag Summe Preis Jahr Monat Woche Tag Mann Frau Kind Vater Mutter Bruder Schwester groß klein schön "
    "Geschäft Vermögen Behörde Gemälde Bücher Verkäufe lettera lettere ordine società gennaio febbraio luglio agosto "
    "dicembre chiesa scuola mercato fiume ponte conto somma prezzo anno mese giorno città università carta cuenta "
    "enero febrero julio diciembre iglesia escuela mercado río puente señor señora niño año mañana compañía almacén "
    "jabón número província janeiro março julho dezembro igreja mercadoria preço mês irmão ação"
)
_MONTHS = words(
    "January February March April May June July August September October November December Jan. Feb. Aug. Sept. Oct. "
    "Nov. Dec. Octr. Novr. Decr. janvier août Mai Juli gennaio enero"
)


def make_word(rng: Random) -> str:
    """One word, number or date: "Letters,", "october", "1757.", "Novr. 9th", "£12.4.6"."""
    draw = rng.random()
    if draw < 0.16:
        return _number(rng)
    if draw < 0.26:
        return _date(rng)
    if draw < 0.72:
        word = rng.choice(_PLAIN)
    elif draw < 0.88:
        word = _inflected(rng)
    else:
        word = rng.choice(_OTHER)
    case = rng.random()
    if case < 0.4:
        word = word[0].upper() + word[1:]
    elif case < 0.48:
        word = word.upper()
    if rng.random() < 0.12:
        word = f"{word} {rng.choice(_PLAIN)}"
    return word + rng.choices(("", ",", ".", ";", ":", "-"), (66, 14, 14, 2, 2, 2))[0]


def _inflected(rng: Random) -> str:
    verb, ending = rng.choice(_VERBS), rng.choice(_ENDINGS)
    if verb.endswith("e") and ending[0] in "eai":
        verb = verb[:-1]
    elif verb.endswith("y") and ending in ("s", "ed", "er", "ers") and verb[-2] not in "aeiou":
        verb, ending = verb[:-1] + "i", "es" if ending == "s" else ending
    return verb + ending


def _number(rng: Random) -> str:
    draw = rng.random()
    if draw < 0.5:
        return str(rng.randint(1, 99999)) + rng.choice(("", "", ".", ",", "th", "d"))
    if draw < 0.7:
        return f"{rng.choice('£$')}{rng.randint(1, 999)}.{rng.randint(0, 19)}.{rng.randint(0, 11)}"
    if draw < 0.85:
        return f"{rng.randint(1, 99)},{rng.randint(0, 999):03d}" + rng.choice(("", ".00", ".50"))
    return f"{rng.choice(('No.', 'Page', 'Vol.', 'Lot', 'Fol.'))} {rng.randint(1, 400)}"


def _date(rng: Random) -> str:
    day, month, year = rng.randint(1, 31), rng.choice(_MONTHS), rng.randint(1700, 1999)
    ordinal = "st" if day in (1, 21, 31) else "nd" if day in (2, 22) else "rd" if day in (3, 23) else "th"
    return rng.choice(
        (
            f"{month} {year}",
            f"{month} {day}{ordinal}",
            f"{month} {day}, {year}.",
            f"{day} {month} {year}",
            f"{day}/{rng.randint(1, 12)}/{year}",
            f"{year}",
        )
    )
