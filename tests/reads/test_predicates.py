"""One predicate, three answers: SQLite, PostgreSQL and numpy over columns counted by hand. They are the same."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pytest

from backend.domain.arrays import IntColumn
from backend.domain.predicate_columns import Column, MoneyColumn, SetColumn, TextColumn, needed, select
from backend.domain.predicate_text import read_text, write_text
from backend.domain.predicates import USUAL_LIMITS, Every, Kind, Not, Predicate, Ref, Some, refs
from backend.domain.times import add_days, day_number
from backend.reads.entities.table import ENTITIES
from backend.reads.predicates import Given, Moment, PredicateCompiler, permitted
from backend.reads.scopes import Scopes
from backend.reads.sql import arguments_of
from tests.domain.predicate_cases import PATHS, VOCABULARY, several
from tests.house import House
from tests.reads.market import TODAY, ZONES, Market, Row, fill, in_dollars

MOMENT = Moment(TODAY, ZONES, "USD")
OWN = {"termsDays": "terms_days", "cadenceDays": "cadence_days", "completeness": "completeness_percent",
       "customerSince": "customer_since"}  # fmt: skip
SCORES = {"priority": "priority", "loyalty": "loyalty_hundredths", "satisfaction": "satisfaction_hundredths",
          "churnRisk": "churn_risk_bp", "existingValue": "existing_value_minor", "potential": "potential_minor",
          "pastValue": "past_value_minor", "futureValue": "future_value_minor"}  # fmt: skip


async def chosen(house: House, who: str | None, predicate: Predicate) -> list[str]:
    """The ids the database finds."""
    given = Given()
    scopes = None if who is None else Scopes(house.people[who])
    compiled = PredicateCompiler(VOCABULARY, scopes, house.engine.dialect, MOMENT, given).compiled(predicate)
    scope = scopes.scope(ENTITIES["customers"], "k") if scopes else None
    text = f"SELECT k.id FROM customer k WHERE {compiled.text}" + (f" AND {scope.text}" if scope else "")
    parameters = compiled.parameters + (scope.parameters if scope else ())
    values = arguments_of(parameters, house.people[who or "admin"], house.now_ms, given=given.values)
    async with house.engine.read() as conn:
        return sorted(row[0] for row in await conn.fetch(text, *values))


class Counted:
    """Columns counted from the rows as they were drawn, for what one person sees (None: everything)."""

    def __init__(self, market: Market, seen: str | None) -> None:
        self.market, self.seen = market, seen
        self.rows = [row for row in market.customers if self.sees(row)]

    def sees(self, row: Row) -> bool:
        return self.seen is None or row["territory_id"] == self.seen

    def column(self, ref: Ref) -> Column:
        kind = VOCABULARY.fields[ref.name].kind
        values = [self.value(ref, row) for row in self.rows]
        if kind is Kind.SET:
            return SetColumn(tuple(frozenset(one or ()) for one in values))
        if kind is Kind.MONEY:
            amounts, currencies = zip(*(one or (None, None) for one in values), strict=True)
            return MoneyColumn(IntColumn.of(amounts), currencies)
        if kind is Kind.DAY:
            return IntColumn.of(None if one is None else day_number(one) for one in values)
        return IntColumn.of(values) if kind in (Kind.NUMBER, Kind.BOOL) else TextColumn(tuple(values))

    def value(self, ref: Ref, row: Row) -> Any:
        name = ref.name
        score = self.market.scores.get(str(row["id"]))
        if name.startswith("custom."):
            return orjson.loads(str(row["custom"])).get(name.removeprefix("custom."))
        if name in SCORES or name == "segment":
            found = score[SCORES.get(name, name)] if score else None
            return (found, score["currency"]) if score and VOCABULARY.fields[name].kind is Kind.MONEY else found
        if name == "creditLimit":
            return row["credit_limit_minor"], row["currency"]
        if name in ("lastVisitOn", "visits"):
            days = [day for day in self.market.came(row) if ref.days is None or day > add_days(TODAY, -ref.days)]
            return len(days) if name == "visits" else max(days, default=None)
        if name in ("orders", "units", "netSales", "firstOrderOn", "lastOrderOn"):
            return self.of_orders(ref, row)
        match name:
            case "name":
                return row["search_keys"]
            case "tags":
                return orjson.loads(str(row["tags"]))
            case "territory":
                return self.market.paths.get(str(row["territory_id"]))
        return row[OWN.get(name, name)]

    def of_orders(self, ref: Ref, row: Row) -> Any:
        orders = [
            one for one in self.market.counted(row["id"])
            if self.sees(one) and (ref.days is None or str(one["ordered_on"]) > add_days(TODAY, -ref.days))
        ]  # fmt: skip
        match ref.name:
            case "orders":
                return len(orders)
            case "units":
                return sum(int(str(one["units"])) for one in orders)
            case "netSales":
                each = [
                    in_dollars(int(str(one["total_minor"])), str(one["currency"]), str(one["ordered_on"]))
                    for one in orders
                ]
                return None if None in each else (sum(one or 0 for one in each), "USD")
        days = [str(one["ordered_on"]) for one in orders]
        return (min if ref.name == "firstOrderOn" else max)(days, default=None)

    def select(self, predicate: Predicate) -> list[str]:
        columns: Mapping[Ref, Column] = {ref: self.column(ref) for ref in needed(refs(predicate), VOCABULARY)}
        found = select(predicate, VOCABULARY, columns, as_of=TODAY)
        return sorted(str(self.rows[place]["id"]) for place in np.flatnonzero(found))


@pytest.mark.requirement("R8", "R40")
async def test_the_database_and_numpy_choose_the_same_customers(house: House) -> None:
    market = await fill(house)
    told = 0
    for who, seen in ((None, None), ("wei", house.patches["north"])):
        counted = Counted(market, seen)
        for number, predicate in enumerate(several(11 if who else 12, 250)):
            expected = counted.select(predicate)
            assert await chosen(house, who, predicate) == expected, (number, write_text(predicate, VOCABULARY))
            told += 0 < len(expected) < len(counted.rows)
    assert told > 120, "predicates that choose everybody or nobody prove little"


async def test_every_field_and_operator_chooses_the_same_in_both(house: House) -> None:
    """The drawn ones meet some pairs of field and operator rarely: here each field is met on its own."""
    market = await fill(house, seed=6, count=30)
    counted = {None: Counted(market, None), "wei": Counted(market, house.patches["north"])}
    for name, declared in VOCABULARY.fields.items():
        for place, predicate in enumerate(several(len(name), 12, {name: declared})):
            who = None if place % 2 else "wei"
            text = write_text(predicate, VOCABULARY)
            assert await chosen(house, who, predicate) == counted[who].select(predicate), text
    for path in PATHS:
        under = read_text(f'territory under "{path}"', VOCABULARY)
        assert await chosen(house, None, under) == counted[None].select(under), path
    for told in ("orders >= 1", "orders = 0", "units(90) > 3", "netSales is missing", "lastOrderOn is missing"):
        bought = read_text(told, VOCABULARY)
        assert await chosen(house, "wei", bought) == counted["wei"].select(bought), told


async def test_a_predicate_as_high_and_as_wide_as_allowed_is_one_statement_of_both(house: House) -> None:
    market = await fill(house, count=8)
    counted = Counted(market, None)
    leaf = read_text("netSales(90) >= 1 USD", VOCABULARY)
    high: Predicate = leaf
    for level in range(USUAL_LIMITS.depth_max):
        high = (Not(high), Every((leaf, high)), Some((high, leaf)))[level % 3]
    wide = Every(tuple(several(3, 30, {"lastVisitOn": VOCABULARY.fields["lastVisitOn"]})))
    for predicate in (high, wide):
        assert await chosen(house, "admin", predicate) == counted.select(predicate)


async def test_who_may_not_read_something_may_not_compare_it(house: House) -> None:
    analyst = permitted(VOCABULARY, house.people["analyst"])
    assert analyst.withheld == {"name", "custom.remark"}, "personal, and masked for him"
    assert permitted(VOCABULARY, house.people["wei"]).withheld == frozenset()
    assert permitted(VOCABULARY, None) is VOCABULARY
