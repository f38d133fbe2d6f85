"""What every part of the demo world shares: profiles, random streams, ids, tables and digests.

A part draws from streams of its own, keyed by its name, so that a part added later changes no earlier digest.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.domain.arrays import IntArray
from backend.domain.times import add_days, day_number, day_start_ms
from backend.errors import Code, Problem, Refused

HISTORY_DAYS = 730
REALIGNED_AFTER_DAYS = 426
"""Month 14: neighbouring patches trade customers."""
LEFT_AFTER_DAYS = 548
"""Month 18: one rep leaves."""
PLANNED_DAYS = 14
ZONE = "Asia/Shanghai"
HOUR_MS = 3_600_000
MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Profile:
    """How large a world is.

    `patches_per_city`: how often each city of the atlas is cut (its reps are as many); `cities`: codes of the
    atlas, none for all of them; `town_shops_n`: of the stores, those drawn to the one town of small shops; `doors`:
    least and most doors of a chain; `customers_n`: the total that consumers fill up to, or None where `consumers_n`
    holds; `styles_n` by category in the order of `products.CATEGORIES`; `managers_n` 1 means one who holds the root.
    """

    name: str
    cities: tuple[str, ...]
    patches_per_city: int
    managers_n: int
    agents_n: int
    marketers_n: int
    stores_n: int
    town_shops_n: int
    chains_n: int
    doors: tuple[int, int]
    distributors_n: int
    corporates_n: int
    marketplaces_n: int
    suppliers_n: int
    prospects_n: int
    consumers_n: int
    customers_n: int | None
    styles_n: tuple[int, ...]
    stories: bool

    @property
    def accounts_n(self) -> int:
        """Customers that order: stores, chains, distributors, corporate groups, marketplaces."""
        return self.stores_n + self.chains_n + self.distributors_n + self.corporates_n + self.marketplaces_n


PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            name="tiny",
            cities=("sh-01", "sel-01"),
            patches_per_city=1,
            managers_n=1,
            agents_n=1,
            marketers_n=1,
            stores_n=16,
            town_shops_n=0,
            chains_n=2,
            doors=(2, 2),
            distributors_n=2,
            corporates_n=2,
            marketplaces_n=1,
            suppliers_n=3,
            prospects_n=4,
            consumers_n=6,
            customers_n=None,
            styles_n=(6, 3, 4, 2, 2, 1, 2),
            stories=False,
        ),
        Profile(
            name="demo",
            cities=(),
            patches_per_city=1,
            managers_n=4,
            agents_n=3,
            marketers_n=2,
            stores_n=480,
            town_shops_n=90,
            chains_n=96,
            doors=(3, 12),
            distributors_n=48,
            corporates_n=72,
            marketplaces_n=24,
            suppliers_n=30,
            prospects_n=60,
            consumers_n=2_000,
            customers_n=None,
            styles_n=(60, 30, 36, 24, 20, 14, 16),
            stories=True,
        ),
        Profile(
            name="load",
            cities=(),
            patches_per_city=10,
            managers_n=4,
            agents_n=12,
            marketers_n=4,
            stores_n=4_800,
            town_shops_n=900,
            chains_n=960,
            doors=(3, 12),
            distributors_n=480,
            corporates_n=720,
            marketplaces_n=240,
            suppliers_n=300,
            prospects_n=600,
            consumers_n=0,
            customers_n=60_000,
            styles_n=(60, 30, 36, 24, 20, 14, 16),
            stories=True,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What a world is made from; days are numbers since 1970-01-01.

    `now_ms` is the first instant of the day it is made for: all history lies before it, that day's visits are
    still planned.
    """

    profile: Profile
    seed: int
    as_of_day: str

    @property
    def as_of(self) -> int:
        """The day the world is made for."""
        return day_number(self.as_of_day)

    @property
    def first(self) -> int:
        """The first day of history."""
        return self.as_of - HISTORY_DAYS

    @property
    def realigned(self) -> int:
        """The day on which patches traded customers."""
        return self.first + REALIGNED_AFTER_DAYS

    @property
    def left(self) -> int:
        """The day on which a rep left."""
        return self.first + LEFT_AFTER_DAYS

    @property
    def now_ms(self) -> int:
        """Nothing that happened is later."""
        return day_start_ms(self.as_of_day, ZONE)

    @property
    def first_ms(self) -> int:
        """The first instant of history."""
        return day_start_ms(add_days(self.as_of_day, -HISTORY_DAYS), ZONE)

    def stream(self, name: str) -> np.random.Generator:
        """The random stream of one part, told apart by its name alone."""
        return stream(self.seed, name)

    def ids(self, name: str, at_ms: IntArray) -> list[str]:
        """One record id per moment: UUIDv7 in form, its random bits from a stream of its own."""
        return record_ids(self.seed, name, at_ms)


def setting_of(profile: str, seed: int, as_of_day: str) -> Setting:
    """The setting of a named profile; raises NOT_ALLOWED_VALUE for an unknown one."""
    if profile not in PROFILES:
        raise Refused(Problem(Code.NOT_ALLOWED_VALUE, ("profile",), tuple(PROFILES)))
    return Setting(PROFILES[profile], seed, as_of_day)


def stream(seed: int, name: str) -> np.random.Generator:
    """The generator of a name: equal seed and name give equal draws, whatever others have drawn."""
    words = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype="<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *(int(word) for word in words)])))


_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def record_ids(seed: int, name: str, at_ms: IntArray) -> list[str]:
    """(n,) ids of the UUIDv7 form whose first 48 bits are `at_ms`."""
    bits = stream(seed, f"ids of {name}").bytes(10 * len(at_ms)).hex()
    found = []
    for index, moment in enumerate(at_ms.tolist()):
        time, rest = f"{moment:012x}", bits[20 * index : 20 * index + 20]
        found.append(f"{time[:8]}-{time[8:]}-7{rest[:3]}-{_VARIANT[rest[3]]}{rest[4:7]}-{rest[7:19]}")
    return found


@dataclass(frozen=True, slots=True)
class Table:
    """Whole columns of a table, in the form they are stored in; the first one is `id`."""

    name: str
    columns: Mapping[str, Sequence[Any]]

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{self.name}: columns differ in length: {lengths}")

    def __len__(self) -> int:
        return len(self.columns["id"])


def digest_of(tables: Sequence[Table]) -> str:
    """SHA-256 over the tables' values, rows by id; booleans count as 0 and 1, as one database keeps them."""
    total = hashlib.sha256()
    for table in tables:
        ids = table.columns["id"]
        order = sorted(range(len(ids)), key=ids.__getitem__)
        for name, values in table.columns.items():
            column = [int(v) if isinstance(v := values[row], bool) else v for row in order]
            total.update(f"{table.name}.{name}".encode())
            total.update(json.dumps(column, ensure_ascii=False, separators=(",", ":")).encode())
    return total.hexdigest()


def canonical(value: object) -> str:
    """JSON as it is stored: sorted keys, no spaces, characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def picked(items: Sequence[Any], indices: IntArray) -> list[Any]:
    """The items at these places."""
    return [items[index] for index in indices.tolist()]


def texts_of_days(days: IntArray) -> list[str]:
    """Day numbers as `YYYY-MM-DD`."""
    return [str(day) for day in np.datetime_as_string(days.astype("datetime64[D]"), unit="D").tolist()]


def or_none(values: Sequence[Any], given: Sequence[bool] | np.typing.NDArray[np.bool_]) -> list[Any]:
    """The values where given, else None."""
    return [value if held else None for value, held in zip(values, given, strict=True)]
