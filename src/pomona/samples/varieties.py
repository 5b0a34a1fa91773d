"""The fruit that `pomona sample` draws, as data: some share a colour, no two look the same."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from pomona.samples.surface import Colour, Leaves, Marking, Stem, Variety

# fmt: off
APPLE = ((0, .55), (.12, .58), (.3, .98), (.75, 1), (1.12, .45), (1.02, -.35), (.65, -.98),
         (.25, -.95), (.1, -.7), (0, -.68))
BALL = ((0, 1), (.55, 1.02), (1.05, .55), (1.05, -.55), (.55, -1.02), (0, -1))
BANANA = ((0, 2.15), (.14, 2.15), (.13, 1.7), (.2, 1.45), (.46, 1), (.52, 0), (.48, -1),
          (.22, -1.6), (.1, -1.75), (0, -1.75))
BLUEBERRY = ((0, .55), (.36, .55), (.46, .98), (.6, .98), (1.1, .5), (1.08, -.5), (.5, -.92),
             (0, -.9))
CHERRY = ((0, .6), (.15, .66), (.5, 1), (1.1, .7), (1.05, -.5), (.5, -1), (0, -.95))
GRAPE = ((0, 1.15), (.5, 1.15), (.9, .6), (.92, -.5), (.5, -1.2), (0, -1.2))
LEMON = ((0, 1.3), (.16, 1.3), (.26, 1.04), (.8, .74), (.98, 0), (.8, -.74), (.3, -1.06),
         (.2, -1.38), (0, -1.4))
LIME = ((0, 1.05), (.2, 1.05), (.75, .85), (1, 0), (.75, -.85), (.22, -1.1), (.12, -1.25),
        (0, -1.25))
MANGO = ((0, 1.3), (.4, 1.3), (.95, .7), (1, -.1), (.8, -.85), (.4, -1.3), (0, -1.35))
MELON = ((0, 1.05), (.3, 1.1), (.95, .75), (1.08, 0), (.95, -.75), (.3, -1.1), (0, -1.08))
PEACH = ((0, .62), (.12, .66), (.4, .98), (.9, .9), (1.14, .15), (.95, -.7), (.4, -1.02),
         (.14, -1.16), (0, -1.18))
PEAR = ((0, 1.38), (.18, 1.42), (.38, 1.2), (.44, .7), (.8, .25), (1.06, -.35), (.9, -1),
        (.3, -1.12), (.12, -.95), (0, -.93))
PEPPER = ((0, .75), (.15, .78), (.4, 1.1), (1, 1.05), (1.05, .4), (.9, -.6), (.72, -1.25),
          (.3, -1.3), (0, -1.12))
PLUM = ((0, 1), (.15, .98), (.6, 1.15), (.98, .5), (.95, -.5), (.5, -1.2), (0, -1.15))
POMEGRANATE = ((0, 1.12), (.22, 1.12), (.34, .92), (.85, .8), (1.15, .1), (.95, -.75), (.4, -1),
               (0, -1))
STRAWBERRY = ((0, .85), (.4, .95), (.95, .85), (1.05, .3), (.7, -.55), (.3, -1.25), (0, -1.3))
TOMATO = ((0, .62), (.2, .66), (.6, .88), (1.15, .55), (1.18, -.3), (.75, -.85), (.2, -.82),
          (0, -.8))
FIG = ((0, 1.35), (.14, 1.35), (.2, 1), (.5, .6), (1, -.2), (.9, -.85), (.3, -1.05), (0, -1))

BROWN = (104, 76, 42)
GREEN = (98, 138, 48)
DRY = (78, 62, 38)

APPLE_STEM, PEAR_STEM = Stem(.66, .045, BROWN), Stem(.5, .05, BROWN)
DRIED_BLOSSOM = Leaves(5, .16, .05, DRY, .04, "blossom")
BUTTON = Leaves(5, .15, .07, (112, 128, 56), .02)
TOMATO_CALYX = Leaves(5, .75, .1, (84, 134, 44), .22)


def _lenticels(colour: Colour, count: int = 170, cover: float = .016) -> Marking:
    return Marking("dots", colour, count, cover, .7)


def _peel(colour: Colour, relief: float = .012) -> Marking:
    return Marking("pores", colour, 42, .5, .45, relief)


VARIETIES = (
    Variety("Apple Red", APPLE, (222, 160, 70), (
        Marking("streaks", (212, 30, 34), 12, .93, .95),
        Marking("streaks", (150, 10, 26), 24, .4, .7),
        _lenticels((236, 190, 140)),
        Marking("stem end", (170, 146, 70), 2, .14, .8),
    ), APPLE_STEM, DRIED_BLOSSOM, gloss=.45),
    Variety("Tomato", TOMATO, (204, 38, 26), (
        Marking("ribs", None, 6, .7, relief=.05),
        Marking("stem end", (214, 110, 30), 2, .22, .5),
    ), Stem(.3, .06, GREEN, .5), TOMATO_CALYX, gloss=.8),
    Variety("Cherry Red", CHERRY, (188, 18, 26), (
        Marking("groove", (110, 4, 18), 2, .3, .5, -.03),
        Marking("blotches", (212, 34, 34), 1.4),
    ), Stem(1.7, .04, (126, 140, 54), .35), gloss=1),
    Variety("Strawberry", STRAWBERRY, (212, 24, 24), (
        Marking("blotches", (188, 8, 22), 1.5),
        Marking("dots", (160, 10, 20), 150, .45, .5, -.05),
        Marking("dots", (236, 200, 96), 150, .05, 1, .03),
        Marking("stem end", (246, 206, 170), 2, .14, .7),
    ), Stem(.4, .05, GREEN, .5), Leaves(9, .72, .15, (92, 154, 52), .2), gloss=.6),
    Variety("Lemon", LEMON, (240, 202, 48), (
        _peel((248, 218, 88), .014), Marking("stem end", (190, 196, 60), 2, .12, .6),
    ), None, BUTTON, gloss=.45),
    Variety("Apple Golden", APPLE, (236, 208, 76), (
        Marking("blotches", (214, 206, 88)),
        Marking("side", (232, 150, 76), 2, .25, .6),
        _lenticels((150, 120, 50)),
        Marking("stem end", (150, 136, 50), 2, .16, .8),
    ), APPLE_STEM, DRIED_BLOSSOM, gloss=.35),
    Variety("Pear Yellow", PEAR, (234, 204, 70), (
        Marking("blotches", (204, 202, 76), 1.6),
        _lenticels((166, 126, 54), 300, .03),
        Marking("stem end", (160, 118, 54), 2, .1, .6),
    ), PEAR_STEM, DRIED_BLOSSOM, gloss=.3),
    Variety("Banana", BANANA, (248, 212, 58), (
        Marking("ribs", (216, 172, 36), 5, 1, .3, -.08),
        Marking("stem end", (164, 172, 66), 2, .25, .8),
        Marking("blossom end", (64, 50, 30), 2, .06),
        Marking("blotches", (120, 80, 34), 10, 0, .5),
    ), bend=.42, gloss=.25),
    Variety("Apple Green", APPLE, (122, 160, 44), (
        Marking("blotches", (152, 180, 70), 1.6),
        _lenticels((216, 232, 160)),
        Marking("stem end", (120, 128, 54), 2, .12, .6),
    ), APPLE_STEM, DRIED_BLOSSOM, gloss=.55),
    Variety("Lime", LIME, (114, 158, 50), (
        _peel((140, 178, 62), .01), Marking("blossom end", (170, 184, 80), 2, .25, .6),
        Marking("blotches", (140, 166, 60), 1.4, .4, .5),
    ), None, BUTTON, gloss=.6),
    Variety("Orange", BALL, (240, 126, 18), (_peel((252, 164, 44)),), None, BUTTON, gloss=.5),
    Variety("Plum Blue", PLUM, (74, 36, 88), (
        Marking("groove", (44, 20, 56), 2, .14, .6, -.09),
        Marking("blotches", (116, 108, 156), 1.4, .4, .5),
        Marking("pores", (112, 104, 150), 8, .4, .3),
    ), Stem(.4, .04, BROWN), gloss=.3),
    Variety("Peach", PEACH, (250, 190, 104), (
        Marking("side", (214, 62, 54), 1.6, .5, .9),
        Marking("blotches", (232, 130, 88), 6, .5, .3),
        Marking("groove", (196, 96, 66), 2, .14, .4, -.09),
    ), gloss=.08, fuzz=.16),
    Variety("Blueberry", BLUEBERRY, (62, 72, 124), (
        Marking("blotches", (106, 122, 170), 1.4, .5, .5),
        Marking("pores", (112, 128, 176), 8, .5, .5),
        Marking("stem end", (30, 32, 60), 2, .2, .9),
    ), None, Leaves(5, .72, .3, (66, 76, 122), .12), gloss=.15),
    Variety("Pear Green", PEAR, (150, 186, 64), (
        Marking("blotches", (178, 200, 84), 1.6),
        _lenticels((96, 116, 46), 300, .03),
        Marking("stem end", (140, 116, 54), 2, .1, .6),
    ), PEAR_STEM, DRIED_BLOSSOM, gloss=.3),
    Variety("Watermelon", MELON, (140, 178, 86), (
        Marking("sectors", (30, 82, 36), 9, .5), Marking("net", (52, 108, 50), 7, .25, .5),
    ), Stem(.25, .06, (134, 140, 74), .5), gloss=.5),
    Variety("Grape White", GRAPE, (176, 196, 84), (
        Marking("blotches", (206, 206, 112), 1.6),
        Marking("dots", (150, 130, 60), 60, .004, .6),
    ), Stem(.3, .06, (150, 140, 74)), gloss=.8),
    Variety("Kiwi", GRAPE, (132, 100, 58), (
        Marking("blotches", (100, 72, 40), 16, .5, .6, .012),
        Marking("blotches", (160, 128, 78), 28, .4, .6),
        Marking("stem end", (84, 62, 36), 2, .1),
    ), Stem(.16, .09, (80, 60, 36)), gloss=.05, fuzz=.12),
    Variety("Melon Netted", MELON, (196, 180, 110), (
        Marking("net", (230, 214, 170), 9, .16, .9, .03),
    ), Stem(.25, .09, (150, 150, 90), .2), gloss=.1),
    Variety("Cherry Rainier", CHERRY, (246, 210, 118), (
        Marking("side", (220, 44, 50), 2, .5, .9),
        Marking("dots", (236, 110, 80), 240, .06, .35),
    ), Stem(1.7, .04, (126, 140, 54), .35), gloss=.9),
    Variety("Tomato Beef", TOMATO, (186, 30, 24), (
        Marking("ribs", (150, 16, 18), 9, .45, .0, .22),
        Marking("stem end", (150, 120, 50), 2, .25, .7),
    ), Stem(.3, .07, GREEN, .5), TOMATO_CALYX, gloss=.6),
    Variety("Pomegranate", POMEGRANATE, (190, 44, 46), (
        Marking("blotches", (224, 130, 76), 1.8, .4, .7),
        Marking("blotches", (140, 60, 40), 12, .12, .5),
        Marking("ribs", None, 6, 1, relief=.06),
    ), None, Leaves(6, .42, .16, (176, 70, 50), .6), gloss=.35),
    Variety("Grape Blue", GRAPE, (70, 30, 80), (
        Marking("blotches", (110, 96, 150), 1.6, .5, .6),
    ), Stem(.3, .06, (150, 140, 74)), gloss=.6),
    Variety("Mango", MANGO, (244, 180, 56), (
        Marking("side", (206, 56, 42), 1.6, .4, .85),
        Marking("stem end", (130, 150, 60), 2, .35, .7),
        _lenticels((250, 220, 140), 260, .02),
    ), Stem(.12, .07, BROWN), bend=.2, gloss=.4),
    Variety("Apple Striped", APPLE, (236, 186, 92), (
        Marking("streaks", (216, 84, 54), 16, .55, .8),
        Marking("streaks", (190, 36, 40), 28, .4, .7),
        _lenticels((250, 226, 160)),
    ), APPLE_STEM, DRIED_BLOSSOM, gloss=.4),
    Variety("Pepper Red", PEPPER, (206, 24, 22), (
        Marking("ribs", None, 4, .6, relief=.16),
    ), Stem(.6, .12, (84, 132, 44), .3), Leaves(5, .42, .2, (84, 132, 44), .02), gloss=.9),
    Variety("Avocado", PEAR, (62, 84, 40), (
        Marking("pores", (44, 60, 32), 26, .5, .6, .014),
        Marking("blotches", (84, 62, 46), 1.6, .35, .5),
    ), Stem(.1, .08, BROWN), gloss=.3),
    Variety("Plum Red", PLUM, (176, 34, 56), (
        Marking("groove", (120, 16, 40), 2, .14, .5, -.08),
        Marking("blotches", (214, 120, 110), 1.6, .4, .5),
        _lenticels((240, 180, 140), 200),
    ), Stem(.4, .04, BROWN), gloss=.5),
    Variety("Apricot", PEACH, (248, 172, 66), (
        Marking("side", (230, 106, 50), 2, .3, .7),
        Marking("groove", (222, 130, 50), 2, .12, .6, -.1),
        Marking("dots", (200, 80, 40), 90, .008, .6),
    ), gloss=.12, fuzz=.1),
    Variety("Fig", FIG, (92, 58, 92), (
        Marking("streaks", (140, 120, 110), 12, .35, .6, .02),
        Marking("stem end", (140, 150, 80), 2, .3, .8),
    ), gloss=.2),
    Variety("Tomato Yellow", TOMATO, (248, 186, 40), (
        Marking("ribs", None, 5, .8, relief=.04),
        Marking("stem end", (226, 196, 70), 2, .25, .5),
    ), Stem(.3, .06, GREEN, .5), TOMATO_CALYX, gloss=.8),
    Variety("Coconut", BALL, (112, 78, 48), (
        Marking("streaks", (70, 46, 28), 40, .5, .8, .03),
        Marking("blotches", (150, 114, 74), 22, .4, .6, .02),
    ), gloss=.04),
)
# fmt: on

MAX_VARIETIES = 200


def varieties_of(count: int) -> list[Variety]:
    """Lists varieties: those of the table with the number 1, then strains of them with 2, 3, …

    Parameters
    ----------
    count : int
        How many, up to `MAX_VARIETIES`.

    Returns
    -------
    list of Variety
        The first `count`.
    """
    rounds = (divmod(place, len(VARIETIES)) for place in range(count))
    return [_numbered(VARIETIES[place], number + 1) for number, place in rounds]


def _numbered(kind: Variety, number: int) -> Variety:
    """A strain of a kind: its number decides its colours, its shape and all that is random."""
    name = f"{kind.name} {number}"
    if number == 1:
        return replace(kind, name=name)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    wide, tint = rng.uniform(0.85, 1.15), rng.normal(1, 0.06, 3)

    def dyed(colour: Colour) -> Colour:
        red, green, blue = (int(min(255, value)) for value in np.array(colour) * tint)
        return red, green, blue

    markings = tuple(
        replace(
            marking,
            colour=marking.colour and dyed(marking.colour),
            opacity=marking.opacity * rng.uniform(0.6, 1),
            relief=marking.relief * rng.uniform(0.6, 1.4),
        )
        for marking in kind.markings
    )
    return replace(
        kind,
        name=name,
        profile=tuple((radius * wide, height) for radius, height in kind.profile),
        colour=dyed(kind.colour),
        markings=markings,
        gloss=kind.gloss * rng.uniform(0.7, 1.2),
    )
