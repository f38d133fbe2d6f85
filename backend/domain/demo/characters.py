"""Accounts of a character of their own: the small shops of one town, and large buyers who turn away unhappy.

Most of a trade's customers could bring more and have little to complain of. Those who could not, and those who do, are
few and easily missing from a company that is drawn at random; here they are drawn on purpose, by what they do: how
much and how long they order, and what they say.
"""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import BoolArray, FloatArray, IntArray
from backend.domain.demo.atlas import City
from backend.domain.demo.frame import Setting
from backend.domain.demo.naming import STORE

TOWN = "hfe-01"
"""The city whose stores are all small ones: a stall, a corner in a market hall."""
TOWN_SIZE, TOWN_SIZE_SIGMA = -2.9, 0.12
"""Logarithm of the factor on units: they take the least lots there are."""
TOWN_RATE, TOWN_RATE_SIGMA = 5.0, 0.1
TOWN_SILENT_DAYS = (80, 150)
TOWN_SILENT_OF = (4, 11)
"""Of so many pairs of shops so many fell silent; who did had ordered more often before."""
TOWN_SILENT_RATE = 1.4
CONTENT_MOOD, GRUMBLING_MOOD = 0.95, 0.12
FADING_SHARE = 1 / 13
"""Of the stores: large, buying every category, unhappy for a long time and silent since a while."""
FADING_SIZE, FADING_RATE = 1.1, 10.0
FADING_GRUMBLING_SHARE = 0.32
FADING_SILENT_DAYS = (90, 150)


@dataclass(frozen=True, slots=True)
class Characters:
    """(n,) accounts. `town`, `fading`: who is one of the two; `patch`: where it lies; `size`, `rate`, `silent_days`,
    `mood`: its own, NaN or 0 for those that have none; `grumbling`: says so on half of the visits."""

    town: BoolArray
    fading: BoolArray
    patch: IntArray
    size: FloatArray
    rate: FloatArray
    silent_days: IntArray
    mood: FloatArray
    grumbling: BoolArray

    @property
    def drawn(self) -> BoolArray:
        """(n,) True for those who have a character."""
        return np.asarray(self.town | self.fading)


def make_characters(
    setting: Setting, cities: list[City], kind: IntArray, patch: IntArray, played: list[int]
) -> Characters:
    """`patch`: where everybody lies as drawn; `played`: accounts that play a story's part and have no other."""
    draw, n = setting.stream("characters"), len(kind)
    free = (kind == STORE) & ~np.isin(np.arange(n), played)
    here = np.flatnonzero([city.code.startswith(TOWN) for city in cities])
    fading = np.zeros(n, dtype=np.bool_)
    moved, settled = patch.copy(), np.zeros(n, dtype=np.bool_)
    if here.size and setting.profile.town_shops_n:
        own = np.flatnonzero(free & ~np.isin(patch, here))
        come = own[-setting.profile.town_shops_n :]
        moved[come] = here[draw.integers(0, here.size, len(come))]
        settled = free & np.isin(moved, here)
        rest = np.flatnonzero(free & ~settled)
        fading[draw.choice(rest, round(FADING_SHARE * len(rest)), replace=False)] = True
    u = draw.random((2, n))
    # every second shop of the town grumbles, of those who fell silent as of the others
    place = np.full(n, -1)
    place[draw.permutation(np.flatnonzero(settled))] = np.arange(int(settled.sum()))
    hushed = settled & (place // 2 % TOWN_SILENT_OF[1] < TOWN_SILENT_OF[0])
    silent = np.where(hushed, _between(u[0], TOWN_SILENT_DAYS), 0)
    silent = np.where(fading, _between(u[0], FADING_SILENT_DAYS), silent)
    grumbling = (settled & (place % 2 == 0)) | (fading & (u[1] < FADING_GRUMBLING_SHARE))
    noise = draw.normal(0.0, 1.0, (2, n))
    size = np.where(settled, TOWN_SIZE + TOWN_SIZE_SIGMA * noise[0], np.nan)
    rate = np.where(settled, TOWN_RATE * np.exp(TOWN_RATE_SIGMA * noise[1]), np.nan)
    rate = np.where(hushed, TOWN_SILENT_RATE * rate, rate)
    return Characters(
        town=settled,
        fading=fading,
        patch=moved,
        size=np.where(fading, FADING_SIZE + 0.2 * noise[0], size),
        rate=np.where(fading, FADING_RATE * np.exp(0.15 * noise[1]), rate),
        silent_days=silent.astype(np.int64),
        mood=np.where(grumbling, GRUMBLING_MOOD, np.where(settled | fading, CONTENT_MOOD, np.nan)),
        grumbling=grumbling,
    )


def _between(u: FloatArray, days: tuple[int, int]) -> FloatArray:
    return np.floor(days[0] + u * (days[1] - days[0]))
