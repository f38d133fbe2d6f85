"""The colleagues of the demo company and the tree of territories they hold."""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import FloatArray, IntArray
from backend.domain.demo.atlas import CITIES, REGIONS, City, around, offset_ms_of, shifted, zone_of
from backend.domain.demo.frame import Setting, Table
from backend.domain.demo.naming import person_names
from backend.domain.names import sort_key
from backend.domain.permissions import Role
from backend.domain.territories import TerritoryKind

MAIL = "haizhi.example"
DAY_MINUTES = 480
LEAVER_CITY, SUCCESSOR_CITY = "ngb-01", "hgh-01"

REPS = {
    "sh-01": ("王伟", "Wang Wei"),
    "sh-02": ("李娜", "Li Na"),
    "sh-03": ("陈思远", "Chen Siyuan"),
    "hgh-01": ("张伟", "Zhang Wei"),
    "nkg-01": ("张伟", "Zhang Wei"),
    "szv-01": (None, "Grace Miller"),
    "ngb-01": ("周敏", "Zhou Min"),
    "hfe-01": ("许嘉", "Xu Jia"),
    "can-01": ("欧阳静", "Ouyang Jing"),
    "can-02": ("黄志强", "Huang Zhiqiang"),
    "szx-01": ("张伟", "Zhang Wei"),
    "szx-02": ("林晓彤", "Lin Xiaotong"),
    "xmn-01": (None, "John Park"),
    "csx-01": ("吴倩", "Wu Qian"),
    "bj-01": ("赵磊", "Zhao Lei"),
    "bj-02": ("孙悦", "Sun Yue"),
    "tsn-01": (None, "Tom Becker"),
    "ctu-01": ("刘洋", "Liu Yang"),
    "sia-01": ("马超", "Ma Chao"),
    "sel-01": ("김민수", "Kim Minsu"),
    "sel-02": ("박서연", "Park Seoyeon"),
    "pus-01": ("이도윤", "Lee Doyun"),
    "tae-01": ("최지우", "Choi Jiwoo"),
    "tjn-01": (None, "Jon Park"),
}
MANAGERS = (("何建国", "He Jianguo"), ("郑雅文", "Zheng Yawen"), ("高翔", "Gao Xiang"), ("정하은", "Jung Haeun"))
AGENTS = (("沈丽", "Shen Li"), ("한지민", "Han Jimin"), (None, "Emily Chen"))
MARKETERS = (("方圆", "Fang Yuan"), ("윤서아", "Yoon Seoa"))
ANALYSTS = ((None, "Daniel Weber"),)
ADMINS = (("罗敏", "Luo Min"),)
BACK_OFFICE = (("钱晓梅", "Qian Xiaomei"),)


@dataclass(frozen=True, slots=True)
class Patches:
    """The patches and who holds them, (n,) in the order of the tree.

    `rep` is the place of a rep in `rep_ids`; `left_rep` of the patch whose rep left, before he did; −1 else.
    """

    ids: list[str]
    cities: list[City]
    lat: FloatArray
    lon: FloatArray
    rep: IntArray
    left_rep: IntArray
    neighbour: IntArray
    """Another patch of the same town, −1 where there is none."""
    rep_ids: list[str]
    korean: IntArray
    offset_ms: IntArray

    def rep_on(self, patch: IntArray, day: IntArray, left: int) -> IntArray:
        """(n,) who held a patch on a day."""
        return np.where((self.left_rep[patch] >= 0) & (day < left), self.left_rep[patch], self.rep[patch])


@dataclass(frozen=True, slots=True)
class Team:
    """The people part: its table and the ids later parts point at."""

    table: Table
    by_role: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Tree:
    """The territory part."""

    tables: tuple[Table, ...]
    patches: Patches


def cities_of(setting: Setting) -> list[City]:
    """The cities of a profile, each as often as it has patches."""
    wanted = [city for city in CITIES if not setting.profile.cities or city.code in setting.profile.cities]
    return [city for city in wanted for _ in range(setting.profile.patches_per_city)]


def make_team(setting: Setting) -> Team:
    """Everybody who works here; of a large profile the first rep of a city has his name from the list."""
    draw = setting.stream("people")
    profile, cities = setting.profile, cities_of(setting)
    staff: list[tuple[Role, str | None, str | None]] = []
    korean = np.array([city.country == "KR" for city in cities], dtype=np.int64)
    spare = person_names(draw, korean)
    for place, city in enumerate(cities):
        first = place % profile.patches_per_city == 0
        native, latin = REPS[city.code] if first else (spare[place].zh or spare[place].ko, spare[place].en)
        staff.append((Role.REP, native, latin))
    for role, listed, wanted_n in (
        (Role.MANAGER, MANAGERS, profile.managers_n),
        (Role.SERVICE_AGENT, AGENTS, profile.agents_n),
        (Role.MARKETER, MARKETERS, profile.marketers_n),
        (Role.ANALYST, ANALYSTS, 1),
        (Role.ADMIN, ADMINS, 1),
        (Role.BACK_OFFICE, BACK_OFFICE, 1),
    ):
        more = person_names(draw, np.zeros(max(0, wanted_n - len(listed)), dtype=np.int64))
        named = [*listed, *((name.zh, name.en) for name in more)][:wanted_n]
        staff += [(role, native, latin) for native, latin in named]
    at_ms = np.full(len(staff), setting.first_ms - 400 * 86_400_000, dtype=np.int64) + np.arange(len(staff))
    ids = setting.ids("user_account", at_ms)
    by_role: dict[str, list[str]] = {}
    for user_id, (role, _, _) in zip(ids, staff, strict=True):
        by_role.setdefault(role, []).append(user_id)
    regions = [region.code for region in REGIONS]
    managers = by_role[Role.MANAGER]
    manager_of = [
        managers[regions.index(city.region)] if len(managers) == len(regions) else managers[0] for city in cities
    ]
    home_lat, home_lon = around(draw, np.array([c.lat for c in cities]), np.array([c.lon for c in cities]))
    rest_n = len(staff) - len(cities)
    leaver = leaver_place(setting)
    names = [_full_name(native, latin) for _, native, latin in staff]
    return Team(
        Table(
            "user_account",
            {
                "id": ids,
                "email": _addresses([latin or f"{role}.{n}" for n, (role, _, latin) in enumerate(staff)]),
                "name": names,
                "sort_key": [sort_key({"zh": name}, person=True) for name in names],
                "role": [role.value for role, _, _ in staff],
                "locale": [_locale(native) for _, native, _ in staff],
                "manager_id": [*manager_of, *[None] * rest_n],
                "active": [place != leaver for place in range(len(staff))],
                "home_lat_e7": [*home_lat.tolist(), *[None] * rest_n],
                "home_lon_e7": [*home_lon.tolist(), *[None] * rest_n],
                "day_minutes": [*[DAY_MINUTES] * len(cities), *[None] * rest_n],
                "created_at": at_ms.tolist(),
            },
        ),
        by_role,
    )


def leaver_place(setting: Setting) -> int:
    """Which rep left, −1 where the profile has not his city."""
    codes = [city.code for city in cities_of(setting)]
    return codes.index(LEAVER_CITY) if LEAVER_CITY in codes else -1


def _full_name(native: str | None, latin: str | None) -> str:
    return " ".join(part for part in (native, latin) if part)


def _locale(native: str | None) -> str:
    if native is None:
        return "en"
    return "ko" if "가" <= native[0] <= "힣" else "zh-CN"


def _addresses(names: list[str]) -> list[str]:
    """One address each: of namesakes the second has a 2."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        local = ".".join(name.lower().replace("_", " ").split())
        seen[local] = seen.get(local, 0) + 1
        found.append(f"{local}{'' if seen[local] == 1 else f'.{seen[local]}'}@{MAIL}")
    return found


def make_tree(setting: Setting, team: Team) -> Tree:
    """Root, regions and patches, each with its holder; the patch of the rep who left passed to a neighbour."""
    draw = setting.stream("territories")
    cities = cities_of(setting)
    regions = [region for region in REGIONS if any(city.region == region.code for city in cities)]
    nodes_n = 1 + len(regions) + len(cities)
    at_ms = np.full(nodes_n, setting.first_ms - 399 * 86_400_000, dtype=np.int64) + np.arange(nodes_n)
    ids = setting.ids("territory", at_ms)
    region_ids = {region.code: ids[1 + place] for place, region in enumerate(regions)}
    patch_ids = ids[1 + len(regions) :]
    per_city = setting.profile.patches_per_city
    suffixes = [f"-{place % per_city + 1:02d}" if per_city > 1 else "" for place in range(len(cities))]
    lat, lon = np.array([city.lat for city in cities]), np.array([city.lon for city in cities])
    if per_city > 1:
        lat_e7, lon_e7 = shifted(lat, lon, draw.uniform(-6, 6, lat.shape), draw.uniform(-6, 6, lat.shape))
        lat, lon = lat_e7 / 1e7, lon_e7 / 1e7
    territory = Table(
        "territory",
        {
            "id": ids,
            "parent_id": [None, *[ids[0]] * len(regions), *(region_ids[city.region] for city in cities)],
            "path": [
                "/haizhi",
                *(f"/haizhi/{region.code}" for region in regions),
                *(f"/haizhi/{city.region}/{city.code}{end}" for city, end in zip(cities, suffixes, strict=True)),
            ],
            "kind": [TerritoryKind.REGION.value] * (1 + len(regions)) + [TerritoryKind.PATCH.value] * len(cities),
            "name_zh": ["海织服饰", *(r.zh for r in regions), *_with(suffixes, [city.zh for city in cities])],
            "name_ko": ["하이즈 어패럴", *(r.ko for r in regions), *_with(suffixes, [city.ko for city in cities])],
            "name_en": ["Haizhi Apparel", *(r.en for r in regions), *_with(suffixes, [city.en for city in cities])],
            "timezone": ["Asia/Shanghai", *(r.zone for r in regions), *(zone_of(city.country) for city in cities)],
            "created_at": at_ms.tolist(),
        },
    )
    patches = _patches(setting, team, cities, patch_ids, lat, lon)
    top = [ids[0]] if len(team.by_role[Role.MANAGER]) == 1 else [region_ids[region.code] for region in regions]
    return Tree((territory, _members(setting, team, patches, top)), patches)


def _with(suffixes: list[str], names: list[str]) -> list[str]:
    return [f"{name} {end[1:]}" if end else name for name, end in zip(names, suffixes, strict=True)]


def _patches(
    setting: Setting, team: Team, cities: list[City], ids: list[str], lat: FloatArray, lon: FloatArray
) -> Patches:
    rep = np.arange(len(cities))
    left_rep = np.full(len(cities), -1)
    leaver = leaver_place(setting)
    if leaver >= 0:
        left_rep[leaver] = leaver
        rep[leaver] = [city.code for city in cities].index(SUCCESSOR_CITY)
    towns = [city.city for city in cities]
    neighbour = [
        next((other for other in range(len(cities)) if other != place and towns[other] == town), -1)
        for place, town in enumerate(towns)
    ]
    return Patches(
        ids=ids,
        cities=cities,
        lat=lat,
        lon=lon,
        rep=rep,
        left_rep=left_rep,
        neighbour=np.array(neighbour, dtype=np.int64),
        rep_ids=team.by_role[Role.REP],
        korean=np.array([city.country == "KR" for city in cities], dtype=np.int64),
        offset_ms=np.array([offset_ms_of(city.country) for city in cities], dtype=np.int64),
    )


def _members(setting: Setting, team: Team, patches: Patches, top: list[str]) -> Table:
    """Who holds which node: (territory, user, from, to, reason)."""
    began, left_ms = setting.first_ms - 398 * 86_400_000, setting.now_ms - (setting.as_of - setting.left) * 86_400_000
    rows: list[tuple[str, str, int, int | None, str | None]] = []
    for place, territory_id in enumerate(patches.ids):
        gone = int(patches.left_rep[place])
        if gone >= 0:
            rows.append((territory_id, patches.rep_ids[gone], began, left_ms, "LEFT_THE_COMPANY"))
        holder = patches.rep_ids[int(patches.rep[place])]
        rows.append((territory_id, holder, left_ms if gone >= 0 else began, None, None))
    rows += [
        (territory_id, user_id, began, None, None)
        for territory_id, user_id in zip(top, team.by_role[Role.MANAGER], strict=True)
    ]
    at_ms = np.array([row[2] for row in rows], dtype=np.int64)
    return Table(
        "territory_member",
        {
            "id": setting.ids("territory_member", at_ms),
            "territory_id": [row[0] for row in rows],
            "user_id": [row[1] for row in rows],
            "valid_from": [row[2] for row in rows],
            "valid_to": [row[3] for row in rows],
            "reason": [row[4] for row in rows],
        },
    )
