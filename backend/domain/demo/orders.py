"""Twenty-four months of orders: when each account orders, what, at which price, and how far it has come."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from backend.domain.arrays import BoolArray, FloatArray, IntArray
from backend.domain.catalogue import DeliveryWindow
from backend.domain.demo.calendar import day_weights
from backend.domain.demo.campaigns import Drawn, campaign_orders
from backend.domain.demo.customers import RISING, SLIPPING, UNITS_MEDIAN, UNPROFITABLE, Customers
from backend.domain.demo.frame import HISTORY_DAYS, HOUR_MS, MINUTE_MS, Setting, Table, picked, texts_of_days
from backend.domain.demo.naming import CHAIN, CORPORATE, DISTRIBUTOR, STORE
from backend.domain.demo.people import Patches
from backend.domain.demo.products import BROKEN_FOR_DAYS, CURRENCIES, TIERS, Products
from backend.domain.money import BASIS_POINTS
from backend.domain.orders import OrderSource, OrderState
from backend.domain.times import DAY_MS

ORDER_SIGMA = 0.6
UNITS_LEAST = 6
LINES_BASE, LINES_POWER, LINES_SIGMA, LINES_MOST = 1.17, 0.25, 0.25, 24
CELL_SIGMA = 0.25
PREBOOK_SHARE, PREBOOK_SHARE_OFF_PEAK = 0.7, 0.2
PREBOOK_PEAK_MONTHS = (3, 4, 8, 9, 10)
CARRIED_OVER_WEIGHT = 0.5
SLIPPING_GAPS_DAYS = (47, 42, 37, 32, 28, 25, 23, 21)
SLIPPING_SILENT_DAYS = 40
RISING_GAPS_DAYS = (11, 13, 15, 18, 21, 25, 30, 36, 43, 52, 62, 75)
RISING_SILENT_DAYS = 5
RISING_UNITS, RISING_UNITS_FIRST = 260.0, 48.0
DRAFT_SHARE = 0.85
"""Reps with an order in the making."""
SHARED_DRAFT = "TWO-PHONES"
"""The order number of the first rep's draft, prepared to be edited by two phones at once."""
CANCELLED_SHARE, REJECTED_SHARE = 0.012, 0.006
_SOURCES = (OrderSource.FIELD, OrderSource.PHONE, OrderSource.WEB, OrderSource.EDI)
_SOURCE_BOUNDS = np.array([[0.85, 0.95, 1.0], [0.55, 0.6, 0.65], [0.7, 0.85, 1.0], [0.7, 1.0, 1.0], [0.05, 0.1, 0.4]])
"""By kind of account: cumulated shares of FIELD, PHONE, WEB; the rest is EDI."""
_DISCOUNTS_BP = np.array(
    [[0, 0, 0, 300, 500], [300, 500, 500, 700, 800], [500, 800, 800, 1_000, 1_000], [0, 0, 0, 300, 500],
     [200, 200, 400, 400, 600]]
)  # fmt: skip
_UNPROFITABLE_BP = np.array([2_400, 2_500, 2_600, 2_800, 2_800])
_REJECTIONS = ("超出信用额度", "여신 한도 초과", "Credit limit exceeded")
STATES = tuple(OrderState)
_AT = {state: place for place, state in enumerate(STATES)}


@dataclass(frozen=True, slots=True)
class Orders:
    """The orders part: its tables and what visits, tasks and summaries read of it, (n,) in the table's order.

    `submitted_ms` is −1 for drafts; `state` a place in `STATES`.
    """

    tables: tuple[Table, ...]
    ids: list[str]
    account: IntArray
    day: IntArray
    state: IntArray
    source: IntArray
    units: IntArray
    total_minor: IntArray
    submitted_ms: IntArray
    rep: IntArray
    campaigns: tuple[Drawn, ...]


@dataclass(frozen=True, slots=True)
class _Heads:
    """Orders before their lines, (n,) by day and account, and the campaigns that brought some of them."""

    account: IntArray
    day: IntArray
    units_wanted: FloatArray
    draft: BoolArray
    campaigns: tuple[Drawn, ...]


@dataclass(frozen=True, slots=True)
class _Lines:
    """(l,) lines in the order of their orders and (c,) cells in the order of their lines."""

    order: IntArray
    colour: IntArray
    units: IntArray
    total_minor: IntArray
    price_minor: IntArray
    cells: list[str]


def make_orders(
    setting: Setting, patches: Patches, customers: Customers, products: Products, agents: list[str], admin_id: str
) -> Orders:
    """Every order with its lines. Totals are those of `orders.order_totals`, books those of the seasons."""
    draw = setting.stream("orders")
    heads = _heads(setting, patches, customers, draw)
    accounts = customers.accounts
    kind, n = accounts.kind[heads.account], len(heads.account)
    season, prebook = _season_of(products, heads, draw)
    discount_bp = _discounts(draw, kind, heads.account == accounts.stories.get(UNPROFITABLE, -1))
    discount_bp = np.where(heads.draft, np.minimum(discount_bp, 1_000), discount_bp)
    currency = accounts.currency[heads.account]
    lines = _lines(setting, products, draw, heads, season, prebook, currency, discount_bp)
    units = np.bincount(lines.order, lines.units, n).astype(np.int64)
    total_minor = np.zeros(n, dtype=np.int64)
    np.add.at(total_minor, lines.order, lines.total_minor)
    state, due = _progress(setting, draw, products, heads, season, prebook, discount_bp)
    source = np.where(heads.draft, 0, (draw.random(n)[:, None] >= _SOURCE_BOUNDS[kind]).sum(axis=1))
    rep = patches.rep_on(customers.patch_on(heads.account, heads.day, setting.realigned), heads.day, setting.left)
    offset = np.where(accounts.korean[heads.account] == 1, 9, 8) * HOUR_MS
    at_ms = heads.day * DAY_MS - offset + 10 * HOUR_MS + (draw.random(n) * 8 * HOUR_MS).astype(np.int64)
    made_ms = at_ms - 5 * MINUTE_MS - (draw.random(n) * 90 * MINUTE_MS).astype(np.int64)
    ids = setting.ids("sales_order", made_ms)
    creator = _creators(draw, patches, source, rep, agents, admin_id)
    rejected = (state == _AT[OrderState.REJECTED]).tolist()
    has_po = (np.isin(kind, (CHAIN, DISTRIBUTOR, CORPORATE)) & ~heads.draft).tolist()
    shared = _shared_draft(heads, rep)
    drafts = heads.draft.tolist()
    orders = Table(
        "sales_order",
        {
            "id": ids,
            "number": [None if d else f"SO-{one[-12:].upper()}" for one, d in zip(ids, drafts, strict=True)],
            "customer_id": picked(customers.ids, heads.account),
            "rep_id": picked(patches.rep_ids, rep),
            "territory_id": picked(patches.ids, customers.patch[heads.account]),
            "state": [STATES[place].value for place in state.tolist()],
            "source": [_SOURCES[place].value for place in source.tolist()],
            "season_id": picked(products.seasons.ids, season),
            "window": [
                (DeliveryWindow.PREBOOK if early else DeliveryWindow.AT_ONCE).value for early in prebook.tolist()
            ],
            "currency": picked(CURRENCIES, currency),
            "po_number": [
                SHARED_DRAFT if row == shared else f"PO{row:06d}" if po else None for row, po in enumerate(has_po)
            ],
            "requested_ship_on": texts_of_days(due),
            "reject_reason": [
                _REJECTIONS[one] if no else None for no, one in zip(rejected, currency.tolist(), strict=True)
            ],
            "notes": [None] * n,
            "total_minor": total_minor.tolist(),
            "units": units.tolist(),
            "ordered_on": texts_of_days(heads.day),
            "ordered_at": np.where(heads.draft, made_ms, at_ms).tolist(),
            "submitted_at": [None if d else at for at, d in zip(at_ms.tolist(), drafts, strict=True)],
            "created_at": made_ms.tolist(),
            "created_by": creator,
        },
    )
    return Orders(
        tables=(orders, _line_table(setting, products, lines, ids, made_ms, discount_bp)),
        ids=ids,
        account=heads.account,
        day=heads.day,
        state=state,
        source=source,
        units=units,
        total_minor=total_minor,
        submitted_ms=np.where(heads.draft, -1, at_ms),
        rep=rep,
        campaigns=heads.campaigns,
    )


def _heads(setting: Setting, patches: Patches, customers: Customers, draw: np.random.Generator) -> _Heads:
    """When each account orders and how much: a Poisson process in the season's time, stories by their own plan."""
    accounts = customers.accounts
    weight = np.stack([day_weights(setting.first, HISTORY_DAYS, korean) for korean in (0, 1)])
    passed = np.concatenate([np.zeros((2, 1)), np.cumsum(weight, axis=1)], axis=1)
    begin = passed[accounts.korean, accounts.starts - setting.first]
    finish = passed[accounts.korean, accounts.ends - setting.first]
    planned = [row for story, row in accounts.stories.items() if story in (SLIPPING, RISING)]
    rate = accounts.rate.copy()
    rate[planned] = 0.0
    counts = draw.poisson(rate * (finish - begin) / 365.25)
    account = np.repeat(np.arange(len(counts)), counts)
    when = begin[account] + draw.random(len(account)) * (finish - begin)[account]
    day = np.zeros(len(account), dtype=np.int64)
    for korean in (0, 1):
        own = accounts.korean[account] == korean
        day[own] = np.searchsorted(passed[korean], when[own], side="right") - 1
    day = np.clip(day, 0, HISTORY_DAYS - 1) + setting.first
    spread = np.exp(accounts.size[account] + draw.normal(0, ORDER_SIGMA, len(account)))
    units = np.maximum(UNITS_LEAST, UNITS_MEDIAN[accounts.kind[account]] * spread)
    story = _story_orders(setting, customers, draw)
    drafts = _draft_accounts(setting, patches, customers, draw)
    draft_day = setting.as_of - 1 - draw.integers(0, 3, len(drafts))
    draft_units = UNITS_MEDIAN[accounts.kind[drafts]] * np.exp(draw.normal(0, 0.3, len(drafts)))
    anyway, on = np.concatenate([account, story[0]]), np.concatenate([day, story[1]])
    brought = campaign_orders(setting, customers, anyway, on)
    all_account = np.concatenate([anyway, brought.account, drafts])
    all_day = np.concatenate([on, brought.day, draft_day])
    all_units = np.concatenate([units, story[2], brought.units, draft_units])
    is_draft = np.arange(len(all_account)) >= len(all_account) - len(drafts)
    order = np.lexsort((is_draft, all_account, all_day))
    return _Heads(all_account[order], all_day[order], all_units[order], is_draft[order], brought.drawn)


def _story_orders(
    setting: Setting, customers: Customers, draw: np.random.Generator
) -> tuple[IntArray, IntArray, FloatArray]:
    """(account, day, units) of the chain that slips away and the boutique that rises."""
    accounts, days, units = [], [], []
    for story, gaps, silent in (
        (SLIPPING, SLIPPING_GAPS_DAYS, SLIPPING_SILENT_DAYS),
        (RISING, RISING_GAPS_DAYS, RISING_SILENT_DAYS),
    ):
        if story not in customers.accounts.stories:
            continue
        row = customers.accounts.stories[story]
        back = [silent, *gaps]
        while sum(back) + gaps[-1] < HISTORY_DAYS:
            back.append(gaps[-1])
        own = setting.as_of - np.cumsum(back)
        days.append(own)
        accounts.append(np.full(len(own), row))
        noise = np.exp(draw.normal(0, 0.12, len(own)))
        if story == RISING:
            level = RISING_UNITS * (RISING_UNITS_FIRST / RISING_UNITS) ** (np.arange(len(own)) / max(1, len(own) - 1))
        else:
            level = np.full(len(own), UNITS_MEDIAN[CHAIN] * np.exp(customers.accounts.size[row]))
        units.append(level * noise)
    if not days:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    return np.concatenate(accounts), np.concatenate(days), np.concatenate(units)


def _draft_accounts(setting: Setting, patches: Patches, customers: Customers, draw: np.random.Generator) -> IntArray:
    """One living store of most reps; the first rep always has one."""
    accounts = customers.accounts
    holder = patches.rep[customers.patch[: len(accounts.kind)]]
    able = (accounts.kind == STORE) & (accounts.ends == setting.as_of)
    chance, pick = draw.random(len(patches.rep_ids)), draw.random(len(patches.rep_ids))
    found = []
    for rep in range(len(patches.rep_ids)):
        own = np.flatnonzero(able & (holder == rep))
        if len(own) and (rep == 0 or chance[rep] < DRAFT_SHARE):
            found.append(int(own[int(pick[rep] * len(own))]))
    return np.array(found, dtype=np.int64)


def _shared_draft(heads: _Heads, rep: IntArray) -> int:
    own = np.flatnonzero(heads.draft & (rep == 0))
    return int(own[0]) if len(own) else -1


def _season_of(products: Products, heads: _Heads, draw: np.random.Generator) -> tuple[IntArray, BoolArray]:
    """Of the books open on the day the next season's (prebook) or the current one's (from stock)."""
    seasons = products.seasons
    day = heads.day[:, None]
    is_open = (seasons.opens <= day) & (day <= seasons.closes)
    early = is_open & (day < seasons.ships_from)
    stock = is_open & ~early
    months = heads.day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12 + 1
    share = np.where(np.isin(months, PREBOOK_PEAK_MONTHS), PREBOOK_SHARE, PREBOOK_SHARE_OFF_PEAK)
    wants_early = draw.random(len(months)) < share
    prebook = np.where(early.any(axis=1) & stock.any(axis=1), wants_early, early.any(axis=1))
    newest_first = slice(None, None, -1)
    chosen = np.where(prebook[:, None], early, stock)[:, newest_first]
    return len(seasons.ids) - 1 - np.argmax(chosen, axis=1), prebook


def _discounts(draw: np.random.Generator, kind: IntArray, unprofitable: BoolArray) -> IntArray:
    pick = draw.integers(0, 5, len(kind))
    return np.where(unprofitable, _UNPROFITABLE_BP[pick], _DISCOUNTS_BP[kind, pick])


def _lines(
    setting: Setting,
    products: Products,
    draw: np.random.Generator,
    heads: _Heads,
    season: IntArray,
    prebook: BoolArray,
    currency: IntArray,
    discount_bp: IntArray,
) -> _Lines:
    articles = products.articles
    order, colour = _picked_colours(products, draw, heads, season, prebook)
    share = draw.gamma(2.0, 1.0, len(order))
    wanted = heads.units_wanted[order] * share / np.bincount(order, share, len(season))[order]
    sizes_n = (articles.sku_first[1:] - articles.sku_first[:-1])[colour]
    line = np.repeat(np.arange(len(order)), sizes_n)
    starts = np.cumsum(sizes_n) - sizes_n
    sku = articles.sku_first[colour][line] + np.arange(len(line)) - starts[line]
    late = heads.day[order] >= setting.as_of - BROKEN_FOR_DAYS
    curve = np.where(articles.broken[sku] & late[line], 0.0, articles.sku_curve[sku])
    expected = wanted[line] * curve * np.exp(draw.normal(0, CELL_SIGMA, len(line)))
    quantity = np.floor(expected + draw.random(len(line))).astype(np.int64) * (curve > 0)
    empty = np.flatnonzero(np.bincount(line, quantity, len(order)) == 0).tolist()
    for row in empty:
        quantity[starts[row] + int(np.argmax(curve[starts[row] : starts[row] + sizes_n[row]]))] = 1
    units = np.bincount(line, quantity, len(order)).astype(np.int64)
    price = _unit_prices(products, order, colour, units, currency)
    return _Lines(
        order,
        colour,
        units,
        _rounded(price * units * (BASIS_POINTS - discount_bp[order])),
        price,
        _cell_texts(articles.sku_ids, sku, quantity, starts),
    )


def _picked_colours(
    products: Products, draw: np.random.Generator, heads: _Heads, season: IntArray, prebook: BoolArray
) -> tuple[IntArray, IntArray]:
    """(l,) order and colour of every line; a colour stands in an order once, carried-over ones from stock only."""
    articles = products.articles
    n = len(season)
    expected = LINES_BASE * heads.units_wanted**LINES_POWER * np.exp(draw.normal(0, LINES_SIGMA, n))
    lines_n = np.clip(np.rint(expected), 1, LINES_MOST).astype(np.int64)
    order = np.repeat(np.arange(n), lines_n)
    colour = np.zeros(len(order), dtype=np.int64)
    style_season = articles.style_season[articles.colour_style]
    for own in range(len(products.seasons.ids)):
        for early in (False, True):
            rows = np.flatnonzero((season[order] == own) & (prebook[order] == early))
            carried = 0.0 if early else CARRIED_OVER_WEIGHT
            weight = articles.colour_weight * np.where(style_season == own, 1.0, (style_season < 0) * carried)
            colour[rows] = draw.choice(len(weight), len(rows), p=weight / weight.sum())
    _, first = np.unique(order * len(articles.colour_ids) + colour, return_index=True)
    kept = np.sort(first)
    return order[kept], colour[kept]


def _unit_prices(
    products: Products, order: IntArray, colour: IntArray, units: IntArray, currency: IntArray
) -> IntArray:
    """(l,) the list's price for as many units of the style as the whole order has."""
    articles = products.articles
    style = articles.colour_style[colour]
    _, group = np.unique(order * len(articles.style_ids) + style, return_inverse=True)
    of_style = np.bincount(group, units)[group]
    tier = np.searchsorted([least for least, _ in TIERS], of_style, side="right") - 1
    return articles.price[currency[order], style, tier]


def _rounded(numerator: IntArray) -> IntArray:
    """Divided by 10,000, an exact half to the even one."""
    whole, rest = np.divmod(numerator, BASIS_POINTS)
    up = (2 * rest > BASIS_POINTS) | ((2 * rest == BASIS_POINTS) & (whole % 2 == 1))
    return np.asarray(whole + up, dtype=np.int64)


def _cell_texts(sku_ids: list[str], sku: IntArray, quantity: IntArray, starts: IntArray) -> list[str]:
    """(l,) `{sku: quantity}` in canonical form; cells of one colour stand in the order of their ids already."""
    keys = [f'"{one}":' for one in sku_ids]
    cells = [f"{keys[one]}{count}" if count else "" for one, count in zip(sku.tolist(), quantity.tolist(), strict=True)]
    bounds = [*starts.tolist(), len(cells)]
    return ["{" + ",".join(filter(None, cells[first:last])) + "}" for first, last in pairwise(bounds)]


def _progress(
    setting: Setting,
    draw: np.random.Generator,
    products: Products,
    heads: _Heads,
    season: IntArray,
    prebook: BoolArray,
    discount_bp: IntArray,
) -> tuple[IntArray, IntArray]:
    """(n,) state and the day the goods are due."""
    n = len(season)
    age = setting.as_of - heads.day
    lead = 3 + (draw.random(n) * 11).astype(np.int64)
    shipping = products.seasons.ships_from[season] + (draw.random(n) * 45).astype(np.int64)
    due = np.where(prebook, np.maximum(heads.day + 21, shipping), heads.day + lead)
    closed = due + 30 + (draw.random(n) * 45).astype(np.int64)
    fate, ahead = draw.random(n), due - setting.as_of
    partly = draw.random(n) < 0.4
    waiting = np.where(
        (discount_bp > 1_000) | (fate < 0.15), _AT[OrderState.PENDING_APPROVAL], _AT[OrderState.SUBMITTED]
    )
    state = np.select(
        [
            heads.draft,
            age <= 2,
            fate < CANCELLED_SHARE,
            fate < CANCELLED_SHARE + REJECTED_SHARE,
            closed <= setting.as_of,
            ahead <= 0,
            ahead <= 2,
            (ahead <= 6) & partly,
            ahead <= 6,
        ],
        [
            np.full(n, _AT[OrderState.DRAFT]),
            waiting,
            *(
                np.full(n, _AT[one])
                for one in (
                    OrderState.CANCELLED,
                    OrderState.REJECTED,
                    OrderState.CLOSED,
                    OrderState.DELIVERED,
                    OrderState.SHIPPED,
                    OrderState.PARTLY_SHIPPED,
                    OrderState.ALLOCATED,
                )
            ),
        ],
        default=_AT[OrderState.CONFIRMED],
    )
    return np.asarray(state, dtype=np.int64), due


def _creators(
    draw: np.random.Generator, patches: Patches, source: IntArray, rep: IntArray, agents: list[str], admin_id: str
) -> list[str]:
    """The rep himself, a service agent on the phone, the admin's connection for web and EDI."""
    agent = draw.integers(0, len(agents), len(source)).tolist()
    return [
        patches.rep_ids[who] if how == 0 else agents[one] if how == 1 else admin_id
        for how, who, one in zip(source.tolist(), rep.tolist(), agent, strict=True)
    ]


def _line_table(
    setting: Setting, products: Products, lines: _Lines, ids: list[str], made_ms: IntArray, discount_bp: IntArray
) -> Table:
    articles = products.articles
    starts = np.searchsorted(lines.order, np.arange(len(ids)))
    position = np.arange(len(lines.order)) - starts[lines.order]
    return Table(
        "order_line",
        {
            "id": setting.ids("order_line", made_ms[lines.order]),
            "order_id": picked(ids, lines.order),
            "position": position.tolist(),
            "style_id": picked(articles.style_ids, articles.colour_style[lines.colour]),
            "colour_id": picked(articles.colour_ids, lines.colour),
            "unit_price_minor": lines.price_minor.tolist(),
            "discount_bp": discount_bp[lines.order].tolist(),
            "cells": lines.cells,
            "units": lines.units.tolist(),
            "total_minor": lines.total_minor.tolist(),
        },
    )


def sold(orders: Orders) -> BoolArray:
    """(n,) True for what counts as revenue: submitted, and neither rejected nor cancelled."""
    not_sold = (_AT[OrderState.DRAFT], _AT[OrderState.REJECTED], _AT[OrderState.CANCELLED])
    return ~np.isin(orders.state, not_sold)
