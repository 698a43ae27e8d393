"""Invented trade names and the products sold under them."""

from __future__ import annotations

from random import Random

from linkage.synth.lists import words

_BRAND_HEADS = words(
    "Al Am Apex As At Aur Best Big Bio Blue Bright Cen Chong City Con Crown Dai Del Dia Dyna East Eco El Euro Ever "
    "Ex First For Fu Gar Glo Gold Good Grand Great Green Guan Hap Heng Hi Hock Hong Hup In Inter Jaya Ji Joy Kai "
    "Kian Kim King Kok Lee Li Lim Lucky Mag Max Mega Meng Metro Min Mod Multi Nam Neo New Nova O Ocean Omni Onn "
    "Orient Pacific Pan Par Pear Perfect Poh Prime Pro Quick Red Rex Royal San Seng Sin Sky Soon Star Su Sun Super "
    "Sure Swee Syn Tai Tan Tech Teck Tele Top Tri Tru Uni United Ven Vi Vita Wah Wan Win Wing Won World Xin Yong "
    "Yu Zen Zhong"
)
_BRAND_TAILS = words(
    "a ana ara aro co cor da dex do don ex fa fin ga gen go ia ic ina io ix ka ko kor la lan lex lin lo lux ma man "
    "mar max mi mo na net nex nic no nor on ora pa pex po ra ria ro ron sa san sen so son ta tec tek ten tex ti to "
    "tra tron va ven vex via vo wa wo xa xi yo za zo"
)
_PRODUCTS = words(
    "Speaker Camera Printer Monitor Receiver Amplifier Headphones Refrigerator Dishwasher Microwave Washer Dryer "
    "Oven Telephone Keyboard Notebook Player Recorder Projector Turntable Subwoofer Charger Battery Cable Lens "
    "Tripod Case Milk Juice Yoghurt Apple Pear Tomato Butter Cheese Biscuits Chocolate Soap Shampoo Lamp Chair "
    "Table Cabinet Fan"
)
_QUALITIES = words(
    "Black White Silver Red Blue Digital Wireless Portable Compact Stereo Classic Professional Deluxe Mini Grand "
    "Fresh Organic Royal Golden Original Extra Double Cordless Stainless Smart Universal Heavy-Duty Automatic"
)


def make_brand(rng: Random) -> str:
    """An invented trade name such as Perfecto or Kaitec."""
    parts = rng.choice((1, 1, 1, 2))
    words = [rng.choice(_BRAND_HEADS) + (rng.choice(_BRAND_TAILS) if rng.random() < 0.75 else "") for _ in range(parts)]
    return " ".join(words)


def make_product(rng: Random) -> str:
    """A product with its maker and, mostly, a model number."""
    code = rng.choice("ABCDEGHKLMPRSTVX") + rng.choice(("", "-", "X", "R")) + str(rng.randint(10, 9999))
    parts = [make_brand(rng), rng.choice(_QUALITIES), rng.choice(_PRODUCTS)]
    if rng.random() < 0.7:
        parts.insert(rng.choice((1, 3)), code)
    return " ".join(parts)
