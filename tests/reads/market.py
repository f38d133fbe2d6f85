"""A drawn market in the tables: customers with gaps, orders in three currencies, visits in two zones, and scores.

The rows are kept as Python values beside, so that whoever checks an answer of the database counts for himself.
"""

import random
from dataclasses import dataclass, field

import orjson

from backend.domain.customers import CustomerKind, LifecycleStage
from backend.domain.money import Rate, convert
from backend.domain.names import search_keys
from backend.domain.orders import OrderState
from backend.domain.segments import SEGMENT_CODES
from backend.domain.times import add_days, day_start_ms, local_day
from backend.domain.visits import VisitState
from backend.errors import Refused
from backend.ids import new_id
from backend.storage.engine import Connection
from tests import factories
from tests.domain.predicate_cases import NAMES, TAGS, TEXTS
from tests.house import House

TODAY = "2026-11-22"
ZONES = ("Asia/Shanghai", "America/Los_Angeles")
NOT_COUNTED = (OrderState.DRAFT, OrderState.CANCELLED, OrderState.REJECTED)
RATES = (
    Rate("KRW", "2025-01-01", 712_345),
    Rate("KRW", "2026-06-01", 700_001),
    Rate("KWD", "2026-01-01", 3_251_234_567),
)
CATEGORIES = ("TOPS", "SHOES", "KNITS")
Row = dict[str, object]


@dataclass
class Market:
    customers: list[Row] = field(default_factory=list)
    orders: list[Row] = field(default_factory=list)
    lines: list[Row] = field(default_factory=list)
    visits: list[Row] = field(default_factory=list)
    scores: dict[str, Row] = field(default_factory=dict)
    seasons: dict[str, str] = field(default_factory=dict)
    styles: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)

    def counted(self, customer_id: object, as_of: str = TODAY) -> list[Row]:
        """The orders of a customer that count."""
        return [
            row for row in self.orders
            if row["customer_id"] == customer_id and row["state"] not in NOT_COUNTED and str(row["ordered_on"]) <= as_of
        ]  # fmt: skip

    def came(self, customer: Row, as_of: str = TODAY) -> list[str]:
        """The local days of the visits that took place at a customer."""
        zone = str(customer["timezone"] or ZONES[0])
        days = [
            local_day(int(str(row["check_in_at"])), zone) for row in self.visits
            if row["customer_id"] == customer["id"] and row["state"] == VisitState.COMPLETED.value
        ]  # fmt: skip
        return [day for day in days if day <= as_of]


def in_dollars(amount_minor: int, currency: str, day: str) -> int | None:
    """What an amount was in US dollars on a day; None without a rate."""
    if currency == "USD":
        return amount_minor
    rates = [rate for rate in RATES if rate.currency == currency and rate.valid_from <= day]
    if not rates:
        return None
    try:
        return convert(amount_minor, currency, "USD", max(rates, key=lambda rate: rate.valid_from).rate_e9)
    except Refused:
        return None


async def fill(house: House, *, seed: int = 5, count: int = 60) -> Market:
    """Draw a market into a house: north, south, and in no territory."""
    draw = _Drawing(random.Random(seed), house)
    async with house.engine.write() as conn:
        await draw.catalogue(conn)
        for place in range(count):
            await draw.customer(conn, place)
    return draw.market


@dataclass
class _Drawing:
    rng: random.Random
    house: House
    market: Market = field(default_factory=Market)

    def maybe(self, value: object, share: float = 0.75) -> object:
        return value if self.rng.random() < share else None

    async def insert(self, conn: Connection, table: str, row: Row) -> Row:
        await factories.insert(conn, table, **row)
        return row

    async def catalogue(self, conn: Connection) -> None:
        for rate in RATES:
            row = {"currency": rate.currency, "valid_from": rate.valid_from, "rate_e9": rate.rate_e9}
            await self.insert(conn, "exchange_rate", {"id": new_id(), **row})
        for code in ("SS26", "AW26"):
            season = {"id": new_id(), "code": code, "order_opens_on": "2025-01-01", "order_closes_on": "2026-01-01"}
            await self.insert(conn, "season", {**season, "ships_from": "2026-01-01", "ships_to": "2026-05-01"})
            self.market.seasons[str(season["id"])] = code
        for category in CATEGORIES:
            style = {"id": new_id(), "code": category, "brand": "HAIZHI", "category": category, "size_scale": "[]"}
            await self.insert(conn, "style", {**style, "state": "ACTIVE", "created_at": factories.NOW_MS})
            self.market.styles[str(style["id"])] = category
        for row in await conn.fetch("SELECT id, path FROM territory"):
            self.market.paths[row[0]] = row[1]

    async def customer(self, conn: Connection, place: int) -> None:
        rng, market = self.rng, self.market
        names = {"en": rng.choice(NAMES), "zh": None, "ko": None}
        own: Row = {
            "tier": rng.choice(("gold", "2nd-rate", "and")),
            "doors": rng.randint(-9, 40),
            "opened": add_days(TODAY, -rng.randint(0, 500)),
            "vip": rng.random() < 0.5,
            "marks": sorted(rng.sample(("a", "b", "today"), rng.randint(0, 3))),
            "remark": rng.choice(TEXTS),
        }
        custom = {key: value for key, value in own.items() if rng.random() < 0.7}
        patch = rng.choice(("north", "north", "south", None))
        row: Row = {
            "id": new_id(),
            "code": self.maybe(rng.choice(TEXTS)),
            "name_en": names["en"],
            "kind": rng.choice(list(CustomerKind)).value,
            "stage": rng.choice(list(LifecycleStage)).value,
            "territory_id": self.house.patches[patch] if patch else None,
            "country": self.maybe(rng.choice(("CN", "KR"))),
            **{name: self.maybe(rng.choice(TEXTS)) for name in ("province", "city", "district", "postcode")},
            "tags": orjson.dumps(sorted(rng.sample(TAGS, rng.randint(0, 3)))).decode(),
            "timezone": self.maybe(rng.choice(ZONES)),
            "credit_limit_minor": self.maybe(rng.choice((0, 1, 999, 10_000, 2**40))),
            "currency": self.maybe(rng.choice(("USD", "KRW"))),
            "terms_days": self.maybe(rng.choice((0, 30, 60))),
            "cadence_days": self.maybe(rng.choice((7, 14, 28))),
            "customer_since": self.maybe(add_days(TODAY, -rng.choice((0, 1, 90, 400)))),
            "custom": orjson.dumps(custom, option=orjson.OPT_SORT_KEYS).decode(),
            "geofence_m": 150,
            "search_keys": search_keys(names, code=None, phones=()),
            "sort_key": f"{place:04d}",
            "completeness_percent": rng.choice((0, 40, 100)),
            "created_at": factories.NOW_MS,
            "created_by": "system",
        }
        market.customers.append(await self.insert(conn, "customer", row))
        for _ in range(rng.choice((0, 0, 1, 2, 6))):
            await self.order(conn, row)
        for _ in range(rng.choice((0, 1, 3))):
            await self.visit(conn, row)
        if rng.random() < 0.7:
            await self.score(conn, row)

    async def order(self, conn: Connection, customer: Row) -> None:
        rng = self.rng
        # an order may have stayed behind in another territory
        stays = rng.random() < 0.85
        territory = customer["territory_id"] if stays else self.house.patches["south"]
        day = add_days(TODAY, -rng.choice((-3, 0, 1, 6, 7, 30, 89, 90, 91, 200, 400, 720)))
        units = [rng.randint(1, 40) for _ in range(rng.choice((0, 1, 2)))]
        amounts = [rng.choice((1, 50, 333, 12_345, 9_999_999)) for _ in units]
        row: Row = {
            "id": new_id(),
            "customer_id": customer["id"],
            "territory_id": territory,
            "state": rng.choice([*OrderState, OrderState.CLOSED, OrderState.CLOSED, OrderState.CLOSED]).value,
            "source": "IMPORT",
            "season_id": self.maybe(rng.choice(sorted(self.market.seasons)), 0.6),
            "currency": rng.choice(("USD", "USD", "USD", "KRW", "KRW", "KWD", "EUR")),
            "total_minor": sum(amounts) or rng.choice((0, 777)),
            "units": sum(units) or 3,
            "ordered_on": day,
            "ordered_at": day_start_ms(day, ZONES[0]),
            "created_at": factories.NOW_MS,
            "created_by": "system",
        }
        self.market.orders.append(await self.insert(conn, "sales_order", row))
        for place, (amount, many) in enumerate(zip(amounts, units, strict=True)):
            line: Row = {
                "id": new_id(),
                "order_id": row["id"],
                "position": place,
                "style_id": self.maybe(rng.choice(sorted(self.market.styles)), 0.8),
                "unit_price_minor": 1,
                "discount_bp": 0,
                "cells": "{}",
                "units": many,
                "total_minor": amount,
            }
            self.market.lines.append(await self.insert(conn, "order_line", line))

    async def visit(self, conn: Connection, customer: Row) -> None:
        rng = self.rng
        day = add_days(TODAY, -rng.choice((-1, 0, 1, 29, 30, 31, 100)))
        # around midnight in both zones, so that the zone decides the day
        at_ms = day_start_ms(day, rng.choice(ZONES)) + rng.choice((-1, 0, 1, 43_200_000))
        row: Row = {
            "id": new_id(),
            "customer_id": customer["id"],
            "rep_id": self.house.people["wei"].user_id,
            "territory_id": customer["territory_id"],
            "state": rng.choice((VisitState.COMPLETED, VisitState.COMPLETED, VisitState.PLANNED)).value,
            "purpose": "SELL",
            "check_in_at": at_ms,
            "verification": "UNCHECKED",
            "happens_at": at_ms,
            "created_at": factories.NOW_MS,
            "created_by": "system",
        }
        self.market.visits.append(await self.insert(conn, "visit", row))

    async def score(self, conn: Connection, customer: Row) -> None:
        rng = self.rng
        row: Row = {
            "customer_id": customer["id"],
            "run_id": "r",
            "table_id": "t",
            "territory_id": customer["territory_id"],
            "priority": rng.randint(0, 100),
            "segment": rng.choice(SEGMENT_CODES),
            "segment_since": TODAY,
            "segment_cause": "UNCHANGED",
            "stage": "NEW",
            "existing_value_minor": self.maybe(rng.choice((0, 999, 10_000))),
            "potential_minor": self.maybe(rng.choice((0, 999, 10_000))),
            "loyalty_hundredths": self.maybe(rng.randint(0, 10_000)),
            "satisfaction_hundredths": self.maybe(rng.randint(0, 10_000)),
            "churn_risk_bp": self.maybe(rng.randint(0, 10_000)),
            "past_value_minor": rng.choice((0, 123_456)),
            "future_value_minor": rng.choice((0, 999)),
            "currency": "USD",
            "basis": "REVENUE",
            "coverage_bp": 0,
            "confidence_bp": 0,
            "as_of": TODAY,
            "facts": "{}",
            "evidence": "[]",
            "segment_state": 0,
            "segment_state_before": 0,
            "segment_counted_on": TODAY,
        }
        self.market.scores[str(customer["id"])] = await self.insert(conn, "customer_score", row)
