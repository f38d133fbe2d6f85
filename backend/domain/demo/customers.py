"""Customers of all seven kinds: accounts that order, doors of chains, suppliers, prospects and consumers.

An *account* is a customer that orders; a chain orders through its head and is visited at its doors too.
"""

from dataclasses import dataclass, replace

import numpy as np

from backend.domain.addresses import address_line
from backend.domain.arrays import BoolArray, FloatArray, IntArray
from backend.domain.customers import GEOFENCE_M_DEFAULT, CustomerKind, derived_fields
from backend.domain.demo.atlas import STREETS_CN, STREETS_KR, City, around, zone_of
from backend.domain.demo.characters import Characters, make_characters
from backend.domain.demo.frame import Setting, Table, canonical, or_none, picked, texts_of_days
from backend.domain.demo.naming import (
    CHAIN,
    CORPORATE,
    DISTRIBUTOR,
    MARKETPLACE,
    STORE,
    SUPPLIER,
    Names,
    person_names,
    phones,
    shop_names,
)
from backend.domain.demo.people import Patches
from backend.domain.territories import AssignmentSource
from backend.domain.times import DAY_MS

ORDERS_PER_YEAR = np.array([6.0, 10.0, 8.0, 1.6, 22.0])
UNITS_MEDIAN = np.array([120.0, 520.0, 1_600.0, 300.0, 380.0])
CHURN_PER_YEAR = np.array([0.14, 0.07, 0.05, 0.22, 0.08])
"""By kind: store, chain, distributor, corporate, marketplace."""
SIZE_SIGMA = 0.7
RATE_SHAPE = 2.2
"""Gamma shape of how often accounts of one kind order."""
TWIN_EVERY = 10
"""Of so many prospects one is a shop that is a customer already."""
LATE_SHARE = 0.07
"""Accounts won during the history."""
CADENCE_DAYS = np.array([7, 14, 28])
TOWN_CADENCE_DAYS = 56
MOVED_SHARE = 0.2
"""Of the accounts in towns with several patches: those that changed hands at the realignment."""

SLIPPING, RISING, UNPROFITABLE = "slipping", "rising", "unprofitable"
_STORIES = (
    (SLIPPING, CHAIN, "bj-01", Names("北辰百货", None, "Beichen Department Store"), 2.6),
    (RISING, STORE, "sel-01", Names(None, "온유", "Onyu"), 0.0),
    (UNPROFITABLE, DISTRIBUTOR, "can-01", Names("南岭云川商贸有限公司", None, "Nanling Yunchuan Commerce"), 1.6),
)
"""Story, kind, city, names, size as the logarithm's multiple of sigma."""

KIND_OF = (
    CustomerKind.RETAILER,
    CustomerKind.CHAIN,
    CustomerKind.DISTRIBUTOR,
    CustomerKind.CORPORATE_GROUP,
    CustomerKind.MARKETPLACE,
    CustomerKind.FABRIC_SUPPLIER,
)
_OPEN_HOURS = tuple(
    canonical(dict.fromkeys(("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"), hours))
    for hours in ("10:00-21:00", "09:30-22:00", "11:00-20:00")
)
_OFFICE_HOURS = canonical(dict.fromkeys(("MON", "TUE", "WED", "THU", "FRI"), "09:00-12:00,13:30-18:00"))


@dataclass(frozen=True, slots=True)
class Accounts:
    """What later parts need to know of the accounts, (n,); they are the first rows of the customer table.

    `size`: logarithm of the factor on units; `rate`: orders per year at an average time; `starts`, `ends`: the
    days between which it orders; `places`: rows of the customer table where it is visited, head first.
    """

    kind: IntArray
    size: FloatArray
    rate: FloatArray
    starts: IntArray
    ends: IntArray
    korean: IntArray
    currency: IntArray
    cadence: IntArray
    places: list[list[int]]
    stories: dict[str, int]
    characters: Characters


@dataclass(frozen=True, slots=True)
class Customers:
    """The customers part. `patch`: (n,) row of the patch of every customer, −1 without; `held_until`: day until
    which its earlier patch (`patch_before`) held it; `doors_of`, `prospects`: rows of the table."""

    tables: tuple[Table, ...]
    accounts: Accounts
    ids: list[str]
    patch: IntArray
    patch_before: IntArray
    lat_e7: IntArray
    lon_e7: IntArray
    created_ms: IntArray
    prospects: range
    names: list[Names]
    korean: IntArray

    def patch_on(self, rows: IntArray, days: IntArray, realigned: int) -> IntArray:
        """(n,) the patch that held a customer on a day, −1 without one."""
        return np.where(days < realigned, self.patch_before[rows], self.patch[rows])


@dataclass(frozen=True, slots=True)
class _Rows:
    """All customers in the order of the table: accounts, doors, suppliers, prospects, consumers."""

    kind: IntArray
    parent: IntArray
    patch: IntArray
    patch_before: IntArray
    country_korean: IntArray
    names: list[Names]
    since: IntArray
    consumer: BoolArray
    prospect: BoolArray


def make_customers(setting: Setting, patches: Patches, price_list_ids: list[str], admin_id: str) -> Customers:
    """Every customer with where it lies and who held it when; `price_list_ids` of CNY, KRW, USD."""
    draw = setting.stream("customers")
    profile = setting.profile
    accounts = _accounts(setting, patches, draw)
    patch_of_account = accounts.characters.patch
    accounts = replace(accounts, korean=patches.korean[patch_of_account])
    accounts = replace(accounts, currency=_currencies(draw, accounts.kind, accounts.korean))
    parents, door_patch = _doors(setting, patches, draw, accounts, patch_of_account)
    rows = _rows(setting, patches, draw, accounts, patch_of_account, parents, door_patch)
    for door, parent in enumerate(parents.tolist()):
        accounts.places[parent].append(profile.accounts_n + door)
    at_ms = _created_ms(setting, rows)
    ids = setting.ids("customer", at_ms)
    table, lat_e7, lon_e7 = _table(setting, patches, draw, accounts, rows, ids, at_ms, price_list_ids, admin_id)
    first_prospect = profile.accounts_n + len(parents) + profile.suppliers_n
    return Customers(
        tables=(table, _assignments(setting, patches, rows, ids, at_ms, admin_id)),
        accounts=accounts,
        ids=ids,
        patch=rows.patch,
        patch_before=rows.patch_before,
        lat_e7=lat_e7,
        lon_e7=lon_e7,
        created_ms=at_ms,
        prospects=range(first_prospect, first_prospect + profile.prospects_n),
        names=rows.names,
        korean=rows.country_korean,
    )


def _accounts(setting: Setting, patches: Patches, draw: np.random.Generator) -> Accounts:
    profile = setting.profile
    counts = (
        profile.stores_n,
        profile.chains_n,
        profile.distributors_n,
        profile.corporates_n,
        profile.marketplaces_n,
    )
    kind = np.repeat(np.arange(5), counts)
    n = len(kind)
    size = draw.normal(0.0, SIZE_SIGMA, n)
    rate = ORDERS_PER_YEAR[kind] * draw.gamma(RATE_SHAPE, 1 / RATE_SHAPE, n)
    late = draw.random(n) < LATE_SHARE
    starts = np.where(late, setting.first + (draw.random(n) * 700).astype(np.int64), setting.first)
    alive_days = draw.exponential(-365.25 / np.log1p(-CHURN_PER_YEAR[kind]))
    ends = np.minimum(starts + alive_days.astype(np.int64), setting.as_of)
    stories = _story_rows(setting, patches, kind)
    for story, _, _, _, sigmas in _STORIES:
        if story in stories:
            row = stories[story]
            size[row], rate[row] = sigmas * SIZE_SIGMA, ORDERS_PER_YEAR[kind[row]] * 1.6
            starts[row], ends[row] = setting.first, setting.as_of
    patch = _patches_of(setting, patches, draw, stories)
    own = make_characters(setting, patches.cities, kind, patch, list(stories.values()))
    size, rate = np.where(np.isnan(own.size), size, own.size), np.where(np.isnan(own.rate), rate, own.rate)
    starts = np.where(own.drawn, setting.first, starts)
    ends = np.where(own.drawn, setting.as_of - own.silent_days, ends)
    return Accounts(
        kind=kind,
        size=size,
        rate=rate,
        starts=starts,
        ends=ends,
        korean=np.zeros(n, dtype=np.int64),
        currency=np.zeros(n, dtype=np.int64),
        cadence=np.where(own.town, TOWN_CADENCE_DAYS, _cadence(rate * UNITS_MEDIAN[kind] * np.exp(size))),
        places=[[row] for row in range(n)],
        stories=stories,
        characters=own,
    )


def _cadence(yearly: FloatArray) -> IntArray:
    """(n,) days between visits: the largest fifth weekly, the next three tenths every two weeks."""
    n = len(yearly)
    ranks = np.argsort(np.argsort(-yearly))
    return CADENCE_DAYS[np.searchsorted([round(0.2 * n), round(0.5 * n)], ranks, side="right")]


def _story_rows(setting: Setting, patches: Patches, kind: IntArray) -> dict[str, int]:
    """The first account of its kind plays a story's part."""
    codes = {city.code for city in patches.cities}
    return {
        story: int(np.flatnonzero(kind == wanted)[0])
        for story, wanted, city, _, _ in _STORIES
        if setting.profile.stories and city in codes
    }


def _patches_of(setting: Setting, patches: Patches, draw: np.random.Generator, stories: dict[str, int]) -> IntArray:
    found = draw.integers(0, len(patches.ids), setting.profile.accounts_n)
    codes = [city.code for city in patches.cities]
    for story, _, city, _, _ in _STORIES:
        if story in stories:
            found[stories[story]] = codes.index(city)
    return np.asarray(found, dtype=np.int64)


def _currencies(draw: np.random.Generator, kind: IntArray, korean: IntArray) -> IntArray:
    """0 CNY, 1 KRW, 2 USD: some distributors and marketplaces sell abroad and buy in dollars."""
    abroad = (draw.random(len(kind)) < 0.25) & np.isin(kind, (DISTRIBUTOR, MARKETPLACE))
    return np.where(abroad, 2, korean)


def _doors(
    setting: Setting, patches: Patches, draw: np.random.Generator, accounts: Accounts, patch: IntArray
) -> tuple[IntArray, IntArray]:
    """(doors,) the account of each door's chain, and its patch: half of them where the head is, others nearby."""
    least, most = setting.profile.doors
    heads = np.flatnonzero(accounts.kind == CHAIN)
    parents = np.repeat(heads, draw.integers(least, most + 1, len(heads)))
    regions = [city.region for city in patches.cities]
    alike = [np.array([p for p, region in enumerate(regions) if region == own]) for own in regions]
    nearby = draw.random(len(parents))
    elsewhere = np.array(
        [alike[patch[parent]][int(u * len(alike[patch[parent]]))] for parent, u in zip(parents, nearby, strict=True)],
        dtype=np.int64,
    )
    return parents, np.where(draw.random(len(parents)) < 0.55, patch[parents], elsewhere)


def _rows(
    setting: Setting,
    patches: Patches,
    draw: np.random.Generator,
    accounts: Accounts,
    patch: IntArray,
    parents: IntArray,
    door_patch: IntArray,
) -> _Rows:
    profile = setting.profile
    listed_n = profile.accounts_n + len(parents) + profile.suppliers_n + profile.prospects_n
    consumers_n = profile.consumers_n if profile.customers_n is None else profile.customers_n - listed_n
    prospect_patch = draw.integers(0, len(patches.ids), profile.prospects_n)
    nowhere = np.full(profile.suppliers_n, -1)
    abroad = (draw.random(profile.suppliers_n) < 0.2).astype(np.int64)
    consumer_korean = (draw.random(consumers_n) < 0.25).astype(np.int64)
    all_patch = np.concatenate([patch, door_patch, nowhere, prospect_patch, np.full(consumers_n, -1)])
    korean = np.where(all_patch >= 0, patches.korean[all_patch], 0)
    korean[profile.accounts_n + len(parents) :][: profile.suppliers_n] = abroad
    korean[listed_n:] = consumer_korean
    kind = np.concatenate(
        [
            accounts.kind,
            np.full(len(parents), CHAIN),
            np.full(profile.suppliers_n, SUPPLIER),
            np.full(profile.prospects_n, STORE),
            np.full(consumers_n, -1),
        ]
    )
    parent = np.full(len(kind), -1)
    parent[profile.accounts_n : profile.accounts_n + len(parents)] = parents
    n = len(kind)
    place = np.arange(n)
    since = setting.first - 30 - (draw.random(n) ** 2 * 3_000).astype(np.int64)
    since[: profile.accounts_n] = np.where(
        accounts.starts > setting.first, accounts.starts - 5, since[: profile.accounts_n]
    )
    since[parent >= 0] = np.minimum(since[parent >= 0], accounts.starts[parent[parent >= 0]] - 1)
    prospect = (place >= listed_n - profile.prospects_n) & (place < listed_n)
    since[prospect] = setting.as_of - 5 - (draw.random(profile.prospects_n) * 200).astype(np.int64)
    consumer = kind < 0
    since[consumer] = setting.as_of - 10 - (draw.random(consumers_n) * 1_400).astype(np.int64)
    return _Rows(
        kind=kind,
        parent=parent,
        patch=all_patch,
        patch_before=_before(setting, patches, draw, all_patch, since),
        country_korean=korean,
        names=_names(patches, draw, accounts, kind, korean, parent, all_patch, prospect, listed_n),
        since=since,
        consumer=consumer,
        prospect=prospect,
    )


def _before(
    setting: Setting, patches: Patches, draw: np.random.Generator, patch: IntArray, since: IntArray
) -> IntArray:
    """The patch until the realignment: for some the other one of their town."""
    other = np.where(patch >= 0, patches.neighbour[patch], -1)
    moved = (draw.random(len(patch)) < MOVED_SHARE) & (other >= 0) & (since < setting.realigned - 30)
    return np.where(moved, other, patch)


def _names(
    patches: Patches,
    draw: np.random.Generator,
    accounts: Accounts,
    kind: IntArray,
    korean: IntArray,
    parent: IntArray,
    patch: IntArray,
    prospect: BoolArray,
    listed_n: int,
) -> list[Names]:
    own = (parent < 0) & (kind >= 0)
    found: list[Names] = [Names()] * len(kind)
    for row, name in zip(np.flatnonzero(own).tolist(), shop_names(draw, kind[own], korean[own]), strict=True):
        found[row] = name
    for story, _, _, name, _ in _STORIES:
        if story in accounts.stories:
            found[accounts.stories[story]] = name
    for row, name in zip(range(listed_n, len(kind)), person_names(draw, korean[listed_n:]), strict=True):
        found[row] = name
    numbers: dict[int, int] = {}
    for row in np.flatnonzero(parent >= 0).tolist():
        head = int(parent[row])
        numbers[head] = numbers.get(head, 0) + 1
        city = patches.cities[int(patch[row])]
        found[row] = _door_name(found[head], city, numbers[head])
    return found


def _door_name(head: Names, city: City, number: int) -> Names:
    district = city.districts[number % len(city.districts)]
    english = f"{head.en} {city.en} {number}" if head.en else None
    if head.ko:
        return Names(ko=f"{head.ko} {district.removesuffix('구')} {number}호점", en=english)
    return Names(zh=f"{head.zh}{city.zh}{number}店", en=english)


def _created_ms(setting: Setting, rows: _Rows) -> IntArray:
    """Taken over with the system a year before history where older, else the day the customer was won."""
    taken_over = setting.first - 380
    at_day = np.maximum(rows.since, taken_over) - setting.as_of
    return np.asarray(setting.now_ms + at_day * DAY_MS + 36_000_000 + np.arange(len(rows.since)), dtype=np.int64)


def _table(
    setting: Setting,
    patches: Patches,
    draw: np.random.Generator,
    accounts: Accounts,
    rows: _Rows,
    ids: list[str],
    at_ms: IntArray,
    price_list_ids: list[str],
    admin_id: str,
) -> tuple[Table, IntArray, IntArray]:
    n = len(ids)
    placed = rows.patch >= 0
    city_of = np.where(placed, rows.patch, draw.integers(0, len(patches.ids), n))
    lat, lon = patches.lat[city_of], patches.lon[city_of]
    lat_e7, lon_e7 = around(draw, lat, lon)
    trade = ~rows.consumer
    owner = np.where(rows.parent >= 0, rows.parent, np.arange(n))
    is_account = owner < len(accounts.kind)
    account = np.where(is_account, owner, 0)
    currency = np.where(is_account, accounts.currency[account], rows.country_korean)
    credit = np.rint(np.exp(draw.normal(0, 0.4, n) + np.where(is_account, accounts.size[account], 0)) * 60) * 10_000
    credit_minor = credit.astype(np.int64) * np.array([100, 190, 14])[currency]
    terms = np.array([30, 45, 60, 90])[draw.integers(0, 4, n)]
    cadence = np.where(is_account, accounts.cadence[account], 28)
    columns: dict[str, list[object]] = {
        "id": list(ids),
        "code": [_code(rows, row) for row in range(n)],
        "name_zh": [name.zh for name in rows.names],
        "name_ko": [name.ko for name in rows.names],
        "name_en": [name.en for name in rows.names],
        "kind": [CustomerKind.CONSUMER.value if k < 0 else KIND_OF[k].value for k in rows.kind.tolist()],
        "parent_id": [ids[parent] if parent >= 0 else None for parent in rows.parent.tolist()],
        "territory_id": [patches.ids[patch] if patch >= 0 else None for patch in rows.patch.tolist()],
        **_addresses(patches, draw, rows, city_of),
        "phone": list(phones(draw, rows.country_korean)),
        "email": or_none(
            [f"{'me' if c else 'office'}{row:05d}@shop.example" for row, c in enumerate(rows.consumer.tolist())],
            draw.random(n) < 0.7,
        ),
        "tax_id": or_none(_tax_ids(draw, rows.country_korean), trade & ~rows.prospect),
        "tags": [_tags(row, rows, accounts) for row in range(n)],
        "lat_e7": or_none(lat_e7.tolist(), placed),
        "lon_e7": or_none(lon_e7.tolist(), placed),
        "geofence_m": np.where(rows.kind == CHAIN, 250, GEOFENCE_M_DEFAULT).tolist(),
        "timezone": [zone_of("KR" if korean else "CN") for korean in rows.country_korean.tolist()],
        "open_hours": or_none(
            [
                _OFFICE_HOURS if kind in (CORPORATE, DISTRIBUTOR) else _OPEN_HOURS[pick]
                for kind, pick in zip(rows.kind.tolist(), draw.integers(0, 3, n).tolist(), strict=True)
            ],
            placed & (draw.random(n) < 0.9),
        ),
        "credit_limit_minor": or_none(credit_minor.tolist(), is_account & (rows.parent < 0)),
        "currency": or_none(picked(("CNY", "KRW", "USD"), currency), trade),
        "terms_days": or_none(terms.tolist(), is_account),
        "price_list_id": or_none(picked(price_list_ids, currency), trade & (rows.kind != SUPPLIER)),
        "cadence_days": or_none(cadence.tolist(), placed),
        "customer_since": or_none(texts_of_days(rows.since), ~rows.prospect),
        "created_at": at_ms.tolist(),
        "created_by": [admin_id] * n,
    }
    _plant_twins(rows, columns)
    return Table("customer", {**columns, **_derived(columns)}), lat_e7, lon_e7


def _plant_twins(rows: _Rows, columns: dict[str, list[object]]) -> None:
    """Some shops were entered a second time by a rep who did not look: the match queue has something to show."""
    for row in np.flatnonzero(rows.prospect)[::TWIN_EVERY].tolist():
        shops = np.flatnonzero((rows.kind == STORE) & ~rows.prospect & (rows.patch == rows.patch[row]))
        if shops.size:
            for name in ("name_zh", "name_ko", "name_en", "phone"):
                columns[name][row] = columns[name][int(shops[0])]


def _code(rows: _Rows, row: int) -> str:
    if rows.consumer[row]:
        return f"P{row:06d}"
    if rows.kind[row] == SUPPLIER:
        return f"F{row:06d}"
    return f"{'D' if rows.parent[row] >= 0 else 'C'}{row:06d}"


def _tags(row: int, rows: _Rows, accounts: Accounts) -> str:
    tags = []
    if row < len(accounts.kind):
        tags.append({7: "A", 14: "B", 28: "C", TOWN_CADENCE_DAYS: "D"}[int(accounts.cadence[row])])
    if row == accounts.stories.get(SLIPPING):
        tags.append("key-account")
    return canonical(sorted(tags))


def _addresses(patches: Patches, draw: np.random.Generator, rows: _Rows, city_of: IntArray) -> dict[str, list[object]]:
    n = len(city_of)
    district, street, number = draw.random(n).tolist(), draw.random(n).tolist(), draw.integers(1, 980, n).tolist()
    parts = []
    for row in range(n):
        city = patches.cities[int(city_of[row])]
        if bool(rows.country_korean[row]) != (city.country == "KR"):
            # who has no patch lives in a city of the own country, as far as this world has one
            city = next((c for c in patches.cities if (c.country == "KR") == bool(rows.country_korean[row])), city)
        korean = city.country == "KR"
        streets = STREETS_KR if korean else STREETS_CN
        name = streets[int(street[row] * len(streets))]
        parts.append(
            {
                "country": city.country,
                # a municipality is its own province
                "province": city.province if city.province != city.city else None,
                "city": city.city,
                "district": city.districts[int(district[row] * len(city.districts))],
                "street": f"{name} {number[row]}" if korean else f"{name}{number[row]}号",
                "postcode": city.postcode,
            }
        )
    found: dict[str, list[object]] = {name: [part[name] for part in parts] for name in parts[0]} if parts else {}
    return {**found, "address_line": [address_line(part) for part in parts]}


def _tax_ids(draw: np.random.Generator, korean: IntArray) -> list[str]:
    numbers = draw.integers(0, 10_000_000_000, len(korean)).tolist()
    return [
        f"{text[:3]}-{text[3:5]}-{text[5:]}" if script else f"91310000{text}"
        for script, number in zip(korean.tolist(), numbers, strict=True)
        for text in [f"{number:010d}"]
    ]


_DOCUMENT_NAMES = {
    "code": "code", "name_zh": "nameZh", "name_ko": "nameKo", "name_en": "nameEn", "kind": "kind", "phone": "phone",
    "email": "email", "country": "country", "province": "province", "city": "city", "street": "street",
    "tax_id": "taxId", "currency": "currency", "terms_days": "termsDays", "lat_e7": "latE7",
    "timezone": "timezone", "open_hours": "openHours", "cadence_days": "cadenceDays",
    "price_list_id": "priceListId", "customer_since": "customerSince",
}  # fmt: skip


def _derived(columns: dict[str, list[object]]) -> dict[str, list[object]]:
    """Search keys, sort keys and completeness as every write of a customer computes them."""
    names = list(_DOCUMENT_NAMES.values())
    found = [
        derived_fields(dict(zip(names, values, strict=True)))
        for values in zip(*(columns[column] for column in _DOCUMENT_NAMES), strict=True)
    ]
    return {
        "search_keys": [one["searchKeys"] for one in found],
        "sort_key": [one["sortKey"] for one in found],
        "completeness_percent": [one["completenessPercent"] for one in found],
    }


def _assignments(
    setting: Setting, patches: Patches, rows: _Rows, ids: list[str], at_ms: IntArray, admin_id: str
) -> Table:
    """Which patch held a customer from when to when; at most one row per customer is open."""
    moved_ms = setting.now_ms - (setting.as_of - setting.realigned) * DAY_MS
    written: list[tuple[str, str, int, int | None, AssignmentSource, str | None]] = []
    held = np.flatnonzero(rows.patch >= 0).tolist()
    for row in held:
        now, before = patches.ids[int(rows.patch[row])], patches.ids[int(rows.patch_before[row])]
        began, moved = int(at_ms[row]), rows.patch[row] != rows.patch_before[row]
        if moved:
            written.append((ids[row], before, began, moved_ms, AssignmentSource.IMPORT, None))
            written.append((ids[row], now, moved_ms, None, AssignmentSource.HUMAN, "REALIGNMENT"))
        else:
            written.append((ids[row], now, began, None, AssignmentSource.IMPORT, None))
    begins = np.array([one[2] for one in written], dtype=np.int64)
    return Table(
        "territory_assignment",
        {
            "id": setting.ids("territory_assignment", begins),
            "customer_id": [one[0] for one in written],
            "territory_id": [one[1] for one in written],
            "valid_from": begins.tolist(),
            "valid_to": [one[3] for one in written],
            "source": [one[4].value for one in written],
            "reason": [one[5] for one in written],
            "assigned_by": [f"staff:{admin_id}"] * len(written),
        },
    )
