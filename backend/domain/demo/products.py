"""What the demo company sells: seasons, 200 styles in colours and sizes, price lists with tiers, exchange rates."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from backend.domain.arrays import BoolArray, FloatArray, IntArray
from backend.domain.catalogue import ArticleState, ean_check_digit
from backend.domain.demo.frame import Setting, Table, canonical, picked
from backend.domain.times import DAY_MS, day_from_number, day_number


@dataclass(frozen=True, slots=True)
class Category:
    """One kind of garment; `usd_minor` its wholesale price around which styles lie, in cents."""

    code: str
    zh: str
    ko: str
    en: str
    colours_n: int
    sizes: tuple[str, ...]
    curve: tuple[float, ...]
    usd_minor: int
    weight: float


CATEGORIES = (
    Category("TOPS", "衬衫", "셔츠", "Shirt", 4, ("XXS", "XS", "S", "M", "L", "XL"),
             (0.07, 0.15, 0.26, 0.27, 0.17, 0.08), 1_900, 1.2),
    Category("KNITS", "针织衫", "니트", "Knit", 4, ("XS", "S", "M", "L", "XL"),
             (0.14, 0.27, 0.31, 0.19, 0.09), 2_700, 1.0),
    Category("BOTTOMS", "长裤", "팬츠", "Trousers", 3, ("26", "27", "28", "29", "30", "31", "32", "34"),
             (0.08, 0.13, 0.18, 0.19, 0.16, 0.12, 0.09, 0.05), 2_350, 1.1),
    Category("DRESSES", "连衣裙", "원피스", "Dress", 3, ("XS", "S", "M", "L", "XL"),
             (0.16, 0.29, 0.29, 0.18, 0.08), 3_350, 1.1),
    Category("OUTERWEAR", "外套", "아우터", "Jacket", 3, ("85", "90", "95", "100", "105", "110"),
             (0.08, 0.19, 0.28, 0.24, 0.14, 0.07), 6_100, 0.7),
    Category("SHOES", "鞋", "슈즈", "Shoes", 2, ("220", "225", "230", "235", "240", "245", "250", "255", "260"),
             (0.05, 0.1, 0.14, 0.17, 0.17, 0.14, 0.11, 0.07, 0.05), 3_700, 0.6),
    Category("ACCESSORIES", "配饰", "액세서리", "Accessory", 3, ("ONE",), (1.0,), 1_000, 0.5),
)  # fmt: skip
BRANDS = (("HAIZHI", "HZ", 0.5, 1.0), ("NORTHLOOM", "NL", 0.3, 1.25), ("MINU", "MN", 0.2, 0.8))
"""Brand, code, share of styles, price level."""
COLOURS = (("BLK", "黑色", "블랙", "Black"), ("IVR", "象牙白", "아이보리", "Ivory"), ("NVY", "藏青", "네이비", "Navy"),
           ("BGE", "米色", "베이지", "Beige"), ("GRY", "灰色", "그레이", "Grey"), ("RED", "正红", "레드", "Red"),
           ("GRN", "墨绿", "그린", "Green"), ("SKY", "天蓝", "스카이", "Sky"), ("BRN", "棕色", "브라운", "Brown"),
           ("PNK", "豆沙粉", "핑크", "Pink"))  # fmt: skip
ADJECTIVES = (("轻盈", "가벼운", "Airy"), ("经典", "클래식", "Classic"), ("亚麻", "린넨", "Linen"),
              ("羊毛", "울", "Wool"), ("有机棉", "오가닉", "Organic"), ("宽松", "루즈", "Loose"),
              ("修身", "슬림", "Slim"), ("复古", "빈티지", "Vintage"), ("水洗", "워시드", "Washed"),
              ("真丝", "실크", "Silk"), ("防风", "윈드", "Windproof"), ("格纹", "체크", "Checked"))  # fmt: skip
CARRIED_OVER_SHARE = 0.2
"""Styles that belong to no season and are sold all year."""
CURRENCIES = ("CNY", "KRW", "USD")
PER_USD_E6 = (7_200_000, 1_390_000_000, 1_000_000)
"""How many units of a currency one dollar buys, times 10⁶; fixed in this world."""
ROUNDED_TO_MINOR = (100, 100, 5)
"""Prices end on whole yuan, hundred won, five cents."""
TIERS = ((1, 10_000), (120, 9_600), (480, 9_200))
"""From how many units of a style on, and the price in basis points of the first tier's."""
STORY_NUMBER = 14
BROKEN_SIZES = frozenset({"S", "M"})
BROKEN_COLOURS_N = 2
BROKEN_FOR_DAYS = 56


@dataclass(frozen=True, slots=True)
class Seasons:
    """(5,) by when their book opens; all columns are day numbers."""

    ids: list[str]
    codes: list[str]
    opens: IntArray
    closes: IntArray
    ships_from: IntArray
    ships_to: IntArray


@dataclass(frozen=True, slots=True)
class Articles:
    """Styles (s,), their colours (c,) and SKUs (k,); `style_season` −1 for what is carried over.

    `price`: (3, s, 3) minor units by price list, style and tier; `sku_first`: (c + 1,) where each colour's SKUs
    begin; `broken`: (k,) SKUs no longer to be had, though their style is sold; `sku_curve`: share of a colour's
    units.
    """

    style_ids: list[str]
    style_season: IntArray
    colour_ids: list[str]
    colour_style: IntArray
    colour_weight: FloatArray
    sku_ids: list[str]
    sku_first: IntArray
    sku_curve: FloatArray
    broken: BoolArray
    price: IntArray


@dataclass(frozen=True, slots=True)
class Products:
    """The products part."""

    tables: tuple[Table, ...]
    seasons: Seasons
    articles: Articles
    price_list_ids: list[str]


def make_products(setting: Setting) -> Products:
    """Five seasons up to the one whose book is the latest to be open, and everything sold in them."""
    draw = setting.stream("products")
    seasons = _seasons(setting)
    styles = _styles(setting, draw, seasons)
    colours = _colours(setting, draw, styles)
    skus = _skus(setting, styles, colours)
    list_ms = np.full(3, setting.first_ms - 300 * DAY_MS, dtype=np.int64) + np.arange(3)
    list_ids = setting.ids("price_list", list_ms)
    price = _prices(draw, styles)
    articles = Articles(
        style_ids=styles.ids,
        style_season=styles.season,
        colour_ids=colours.ids,
        colour_style=colours.style,
        colour_weight=colours.weight,
        sku_ids=skus.ids,
        sku_first=skus.first,
        sku_curve=skus.curve,
        broken=skus.broken,
        price=price,
    )
    return Products(
        (
            _season_table(seasons),
            _style_table(setting, styles, seasons),
            _colour_table(styles, colours),
            _sku_table(styles, colours, skus),
            Table(
                "price_list",
                {
                    "id": list_ids,
                    "code": [f"WHOLESALE-{currency}" for currency in CURRENCIES],
                    "name": [f"Wholesale {currency}" for currency in CURRENCIES],
                    "currency": list(CURRENCIES),
                },
            ),
            _price_table(setting, styles, list_ids, price),
            _rate_table(setting),
        ),
        seasons,
        articles,
        list_ids,
    )


def _seasons(setting: Setting) -> Seasons:
    """The latest five whose book has opened: spring books open in August, autumn books in March.

    A book stays open for orders from stock until the season is over.
    """
    year = date.fromisoformat(setting.as_of_day).year
    found = []
    for spring in range(year - 2, year + 2):
        found.append((f"SS{spring % 100:02d}", f"{spring - 1}-08-01", f"{spring}-07-15", f"{spring}-01-10"))
        found.append((f"AW{spring % 100:02d}", f"{spring}-03-01", f"{spring + 1}-01-31", f"{spring}-07-10"))
    kept = sorted((one for one in found if one[1] <= setting.as_of_day), key=lambda one: one[1])[-5:]
    opens = np.array([day_number(one[1]) for one in kept], dtype=np.int64)
    closes = np.array([day_number(one[2]) for one in kept], dtype=np.int64)
    ships_from = np.array([day_number(one[3]) for one in kept], dtype=np.int64)
    at_ms = (opens - 120) * DAY_MS
    return Seasons(setting.ids("season", at_ms), [one[0] for one in kept], opens, closes, ships_from, closes + 15)


def _season_table(seasons: Seasons) -> Table:
    years = [2000 + int(code[2:]) for code in seasons.codes]
    spring = [code.startswith("SS") for code in seasons.codes]
    return Table(
        "season",
        {
            "id": seasons.ids,
            "code": seasons.codes,
            "name_zh": [f"{year}{'春夏' if s else '秋冬'}" for year, s in zip(years, spring, strict=True)],
            "name_ko": [f"{year} {'봄여름' if s else '가을겨울'}" for year, s in zip(years, spring, strict=True)],
            "name_en": [
                f"{'Spring/Summer' if s else 'Autumn/Winter'} {year}" for year, s in zip(years, spring, strict=True)
            ],
            "order_opens_on": [day_from_number(day) for day in seasons.opens.tolist()],
            "order_closes_on": [day_from_number(day) for day in seasons.closes.tolist()],
            "ships_from": [day_from_number(day) for day in seasons.ships_from.tolist()],
            "ships_to": [day_from_number(day) for day in seasons.ships_to.tolist()],
        },
    )


@dataclass(frozen=True, slots=True)
class _Styles:
    ids: list[str]
    codes: list[str]
    brand: IntArray
    category: IntArray
    season: IntArray
    active: BoolArray
    names: list[tuple[str, str, str]]
    at_ms: IntArray
    story: int


def _styles(setting: Setting, draw: np.random.Generator, seasons: Seasons) -> _Styles:
    category = draw.permutation(np.repeat(np.arange(len(CATEGORIES)), setting.profile.styles_n))
    n = len(category)
    per_season = round(n * (1 - CARRIED_OVER_SHARE) / len(seasons.ids))
    season = np.concatenate([np.repeat(np.arange(len(seasons.ids)), per_season), np.full(n, -1)])[:n]
    brand = np.zeros(n, dtype=np.int64)
    codes = [""] * n
    for own in (*range(len(seasons.ids)), -1):
        rows = np.flatnonzero(season == own)
        bounds = np.cumsum([round(share * len(rows)) for _, _, share, _ in BRANDS[:-1]])
        brand[rows] = np.searchsorted(bounds, np.arange(len(rows)), side="right")
        label = "C" if own < 0 else seasons.codes[own][2:]
        # numbers above 50 are spring's, so that a year's two seasons share none
        offset = 50 if own >= 0 and seasons.codes[own].startswith("SS") else 0
        counts = [0] * len(BRANDS)
        for row in rows.tolist():
            counts[brand[row]] += 1
            codes[row] = f"{BRANDS[brand[row]][1]}-{label}{offset + counts[brand[row]]:02d}"
    story = _story_style(setting, seasons, codes)
    if story >= 0 and category[story] != 0:
        swap = int(np.flatnonzero(category == 0)[0])
        category[[story, swap]] = category[[swap, story]]
    opens = np.where(season >= 0, seasons.opens[season], setting.first - 200)
    at_ms = (opens - 30) * DAY_MS + np.arange(n)
    active = (season < 0) | (seasons.closes[season] >= setting.as_of)
    names = [
        (f"{adjective[0]}{c.zh}", f"{adjective[1]} {c.ko}", f"{adjective[2]} {c.en}")
        for c, adjective in zip(
            picked(CATEGORIES, category), picked(ADJECTIVES, draw.integers(0, len(ADJECTIVES), n)), strict=True
        )
    ]
    return _Styles(setting.ids("style", at_ms), codes, brand, category, season, active, names, at_ms, story)


def _story_style(setting: Setting, seasons: Seasons, codes: list[str]) -> int:
    """Style 14 of the first brand in the autumn season that is sold now or was last."""
    autumn = [code[2:] for code in seasons.codes if code.startswith("AW")][-1]
    wanted = f"{BRANDS[0][1]}-{autumn}{STORY_NUMBER}"
    return codes.index(wanted) if setting.profile.stories and wanted in codes else -1


def _style_table(setting: Setting, styles: _Styles, seasons: Seasons) -> Table:
    return Table(
        "style",
        {
            "id": styles.ids,
            "code": styles.codes,
            "brand": [BRANDS[brand][0] for brand in styles.brand.tolist()],
            "name_zh": [name[0] for name in styles.names],
            "name_ko": [name[1] for name in styles.names],
            "name_en": [name[2] for name in styles.names],
            "category": [CATEGORIES[category].code for category in styles.category.tolist()],
            "season_id": [seasons.ids[season] if season >= 0 else None for season in styles.season.tolist()],
            "size_scale": [canonical(list(CATEGORIES[category].sizes)) for category in styles.category.tolist()],
            "state": [_state(active) for active in styles.active.tolist()],
            "created_at": styles.at_ms.tolist(),
        },
    )


def _state(active: bool) -> str:
    return (ArticleState.ACTIVE if active else ArticleState.DISCONTINUED).value


@dataclass(frozen=True, slots=True)
class _Colours:
    ids: list[str]
    style: IntArray
    number: IntArray
    colour: IntArray
    weight: FloatArray


def _colours(setting: Setting, draw: np.random.Generator, styles: _Styles) -> _Colours:
    counts = np.array([category.colours_n for category in CATEGORIES])[styles.category]
    style = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(style)) - np.repeat(np.cumsum(counts) - counts, counts)
    colour = np.concatenate([draw.permutation(len(COLOURS))[:count] for count in counts.tolist()])
    weight = np.exp(draw.normal(0, 0.8, len(style))) * np.array([c.weight for c in CATEGORIES])[styles.category[style]]
    if styles.story >= 0:
        # everybody wanted it: that is why its middle sizes ran out
        weight[style == styles.story] *= 8
    ids = setting.ids("colour", styles.at_ms[style] + 1)
    return _Colours(ids, style, number, np.asarray(colour, dtype=np.int64), weight)


def _colour_table(styles: _Styles, colours: _Colours) -> Table:
    named = picked(COLOURS, colours.colour)
    return Table(
        "colour",
        {
            "id": colours.ids,
            "style_id": picked(styles.ids, colours.style),
            "code": [one[0] for one in named],
            "name_zh": [one[1] for one in named],
            "name_ko": [one[2] for one in named],
            "name_en": [one[3] for one in named],
        },
    )


@dataclass(frozen=True, slots=True)
class _Skus:
    ids: list[str]
    colour: IntArray
    position: IntArray
    first: IntArray
    curve: FloatArray
    broken: BoolArray


def _skus(setting: Setting, styles: _Styles, colours: _Colours) -> _Skus:
    category = styles.category[colours.style]
    counts = np.array([len(one.sizes) for one in CATEGORIES])[category]
    first = np.concatenate([[0], np.cumsum(counts)])
    colour = np.repeat(np.arange(len(counts)), counts)
    position = np.arange(len(colour)) - first[colour]
    curve = np.array([share for one in category.tolist() for share in CATEGORIES[one].curve])
    sizes = [size for one in category.tolist() for size in CATEGORIES[one].sizes]
    is_story = (colours.style[colour] == styles.story) & (colours.number[colour] < BROKEN_COLOURS_N)
    broken = is_story & np.array([size in BROKEN_SIZES for size in sizes])
    ids = setting.ids("sku", styles.at_ms[colours.style[colour]] + 2)
    # within a colour ids follow the sizes, so that a line's cells, printed by id, stand in their order
    ordered = [one for at in range(len(counts)) for one in sorted(ids[first[at] : first[at + 1]])]
    return _Skus(ordered, colour, position, first, curve, broken)


def _sku_table(styles: _Styles, colours: _Colours, skus: _Skus) -> Table:
    style = colours.style[skus.colour]
    scales = [CATEGORIES[category].sizes for category in styles.category[style].tolist()]
    digits = [f"29{number:010d}" for number in range(100_000, 100_000 + len(skus.ids))]
    return Table(
        "sku",
        {
            "id": skus.ids,
            "style_id": picked(styles.ids, style),
            "colour_id": picked(colours.ids, skus.colour),
            "size": [scale[position] for scale, position in zip(scales, skus.position.tolist(), strict=True)],
            "position": skus.position.tolist(),
            "ean": [f"{twelve}{ean_check_digit(twelve)}" for twelve in digits],
            "state": [_state(active) for active in (styles.active[style] & ~skus.broken).tolist()],
        },
    )


def _prices(draw: np.random.Generator, styles: _Styles) -> IntArray:
    """(3, s, 3) minor units by list, style and tier."""
    level = np.array([one[3] for one in BRANDS])[styles.brand]
    base = np.array([one.usd_minor for one in CATEGORIES])[styles.category]
    usd_minor = base * level * np.exp(draw.normal(0, 0.18, len(base)))
    lists = []
    for per_usd_e6, step, currency in zip(PER_USD_E6, ROUNDED_TO_MINOR, CURRENCIES, strict=True):
        whole = usd_minor * per_usd_e6 / 1e6 / (100 if currency == "KRW" else 1)
        lists.append(np.stack([np.rint(whole * bp / 10_000 / step) * step for _, bp in TIERS], axis=-1))
    return np.stack(lists).astype(np.int64)


def _price_table(setting: Setting, styles: _Styles, list_ids: list[str], price: IntArray) -> Table:
    rows: list[tuple[Any, ...]] = [
        (list_id, style_id, units, int(price[place, row, tier]))
        for place, list_id in enumerate(list_ids)
        for row, style_id in enumerate(styles.ids)
        for tier, (units, _) in enumerate(TIERS)
    ]
    at_ms = np.full(len(rows), setting.first_ms - 300 * DAY_MS, dtype=np.int64)
    return Table(
        "price",
        {
            "id": setting.ids("price", at_ms),
            "price_list_id": [row[0] for row in rows],
            "style_id": [row[1] for row in rows],
            "min_units": [row[2] for row in rows],
            "price_minor": [row[3] for row in rows],
            "valid_from": [day_from_number(setting.first - 300)] * len(rows),
            "valid_to": [None] * len(rows),
        },
    )


def _rate_table(setting: Setting) -> Table:
    at_ms = np.full(len(CURRENCIES), setting.first_ms - 300 * DAY_MS, dtype=np.int64)
    return Table(
        "exchange_rate",
        {
            "id": setting.ids("exchange_rate", at_ms),
            "currency": list(CURRENCIES),
            "valid_from": [day_from_number(setting.first - 300)] * len(CURRENCIES),
            "rate_e9": [round(10**15 / per_usd_e6) for per_usd_e6 in PER_USD_E6],
        },
    )
