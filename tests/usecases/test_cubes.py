"""A cube's answer is what counting by hand gives: on a drawn market, on the demo world, for whoever asks."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.config import Settings
from backend.domain.cube import CellState, CubeDimension, CubeMeasure, CubeWish, Side
from backend.domain.demo.world import make_world
from backend.domain.exchange import convert_columns
from backend.domain.money import Rate, divide_half_even
from backend.domain.predicate_forms import Which
from backend.domain.times import add_days, day_number
from backend.errors import Refused
from backend.ids import new_id
from backend.storage.engine import Engine
from backend.usecases.cubes import CubeFound, customer_cube
from backend.usecases.demo import load_demo
from tests.house import House
from tests.reads.market import TODAY, Market, Row, fill, in_dollars
from tests.usecases.asking import ask

D, M = CubeDimension, CubeMeasure
SETTINGS = Settings(reporting_currency="USD", cube_group_customers_min=4)
OF_CUSTOMERS = (M.CUSTOMERS, M.ORDERS, M.NET_SALES, M.AVERAGE_ORDER, M.UNITS, M.VISITS, M.AVERAGE_PRIORITY,
                M.AVERAGE_LOYALTY, M.MARGIN)  # fmt: skip
OF_ORDERS = (M.CUSTOMERS, M.ORDERS, M.NET_SALES, M.AVERAGE_ORDER, M.UNITS, M.RETURNS)
Told = dict[tuple[int, tuple[str | None, ...]], tuple[Any, ...]]


async def cube(
    house: House, who: str, wish: CubeWish, told: str | None = None, settings: Settings = SETTINGS, **more: Any
) -> CubeFound:
    which = Which(text=told)
    options = {"as_of": TODAY, "today": TODAY, **more}
    return await customer_cube(house.engine, house.people[who], wish, which, settings=settings, **options)


def shown(found: CubeFound) -> Told:
    """(level, keys) → figures, or why there is none."""
    return {
        (group.level, group.keys): tuple(
            cell.value if cell.state is CellState.SHOWN else cell.state.value for cell in group.cells
        )
        for group in found.groups
    }


KEYS: Mapping[CubeDimension, Callable[[Market, Row], str | None]] = {
    D.KIND: lambda market, row: str(row["kind"]),
    D.STAGE: lambda market, row: str(row["stage"]),
    D.COUNTRY: lambda market, row: row["country"],  # type: ignore[dict-item, return-value]
    D.CITY: lambda market, row: row["city"],  # type: ignore[dict-item, return-value]
    D.SEGMENT: lambda market, row: market.scores.get(str(row["id"]), {}).get("segment"),  # type: ignore[dict-item, return-value]
    D.PRIORITY_TIER: lambda market, row: _tier(market.scores.get(str(row["id"]))),
    D.TERRITORY: lambda market, row: market.paths.get(str(row["territory_id"])),
}


def _tier(score: Row | None) -> str | None:
    if score is None:
        return None
    least = min(int(str(score["priority"])) // 20 * 20, 80)
    return f"{least}-{100 if least == 80 else least + 19}"


def by_hand(market: Market, wish: CubeWish, sees: Callable[[Row], bool], since: str = "") -> Told:
    """The answer, counted row by row."""
    facts: list[tuple[tuple[str | None, ...], Row, list[tuple[str, int | None, int]]]] = []
    for customer in filter(sees, market.customers):
        orders = [row for row in market.counted(customer["id"]) if sees(row) and str(row["ordered_on"]) >= since]
        if not wish.of_orders:
            keys = tuple(KEYS[side.dimension](market, customer) for side in wish.sides)
            facts.append((keys, customer, [_amount(row, row) for row in orders]))
            continue
        for order in orders:
            lines = [line for line in market.lines if line["order_id"] == order["id"]]
            of_lines = any(side.dimension is D.CATEGORY for side in wish.sides) and lines
            for part in lines if of_lines else [order]:
                keys = tuple(_order_key(market, side.dimension, customer, order, part) for side in wish.sides)
                same = wish.by_currency
                facts.append((keys, customer, [_amount(order, part, same=same)]))
    answer: Told = {}
    for level in wish.levels:
        groups: dict[tuple[str | None, ...], list[Any]] = defaultdict(list)
        for keys, customer, orders_of in facts:
            groups[keys[:level]].append((customer, orders_of))
        if level == 0:
            groups.setdefault((), [])
        for keys, found in groups.items():
            answer[(level, keys)] = tuple(_figure(market, measure, found, since) for measure in wish.measures)
    return answer


def _amount(order: Row, part: Row, *, same: bool = False) -> tuple[str, int | None, int]:
    minor = int(str(part["total_minor"]))
    told = minor if same else in_dollars(minor, str(order["currency"]), str(order["ordered_on"]))
    return str(order["id"]), told, int(str(part["units"]))


def _order_key(market: Market, dimension: CubeDimension, customer: Row, order: Row, part: Row) -> str | None:
    day = str(order["ordered_on"])
    match dimension:
        case D.ORDER_MONTH:
            return day[:7]
        case D.ORDER_QUARTER:
            return f"{day[:4]}Q{(int(day[5:7]) + 2) // 3}"
        case D.SEASON:
            return market.seasons.get(str(order["season_id"]))
        case D.CATEGORY:
            return market.styles.get(str(part.get("style_id")))
        case D.CURRENCY:
            return str(order["currency"])
        case D.ORDER_SOURCE:
            return str(order["source"])
        case _:
            return KEYS[dimension](market, customer)


def _figure(market: Market, measure: CubeMeasure, found: Sequence[Any], since: str) -> Any:
    orders = [one for _, orders_of in found for one in orders_of]
    customers = {str(customer["id"]): customer for customer, _ in found}
    scores = [market.scores[one] for one in customers if one in market.scores]
    amounts = [amount for _, amount, _ in orders]
    orders_n = len({order for order, _, _ in orders})
    match measure:
        case M.CUSTOMERS:
            return len(customers)
        case M.ORDERS:
            return orders_n
        case M.UNITS:
            return sum(units for _, _, units in orders)
        case M.NET_SALES:
            return "NO_EXCHANGE_RATE" if None in amounts else sum(amounts)
        case M.AVERAGE_ORDER if None in amounts:
            return "NO_EXCHANGE_RATE"
        case M.AVERAGE_ORDER:
            return divide_half_even(sum(amounts), orders_n) if orders_n else "NOTHING_TO_COUNT"
        case M.VISITS:
            return sum(day >= since for one in customers.values() for day in market.came(one))
        case M.AVERAGE_PRIORITY:
            total = sum(int(str(score["priority"])) for score in scores) * 100
            return divide_half_even(total, len(scores)) if scores else "NOTHING_TO_COUNT"
        case M.AVERAGE_LOYALTY:
            known = [int(str(s["loyalty_hundredths"])) for s in scores if s["loyalty_hundredths"] is not None]
            return divide_half_even(sum(known), len(known)) if known else "NOTHING_TO_COUNT"
        case _:
            return "NOT_RECORDED"


WISHES = (
    CubeWish((), OF_CUSTOMERS),
    CubeWish((Side(D.KIND), Side(D.COUNTRY)), OF_CUSTOMERS, totals=True, subtotals=True),
    CubeWish((Side(D.SEGMENT), Side(D.PRIORITY_TIER), Side(D.STAGE)), OF_CUSTOMERS, totals=True),
    CubeWish((Side(D.TERRITORY, depth=2), Side(D.CITY)), OF_CUSTOMERS, subtotals=True),
    CubeWish((Side(D.ORDER_QUARTER), Side(D.KIND)), OF_ORDERS, totals=True, subtotals=True),
    CubeWish((Side(D.CATEGORY), Side(D.SEASON), Side(D.ORDER_SOURCE)), OF_ORDERS, totals=True, subtotals=True),
    CubeWish((Side(D.CURRENCY), Side(D.ORDER_MONTH)), OF_ORDERS),
)  # fmt: skip


@pytest.mark.requirement("R8")
async def test_a_cube_is_what_counting_by_hand_gives(house: House) -> None:
    market = await fill(house)
    north = house.patches["north"]
    people: dict[str, Callable[[Row], bool]] = {
        "agent": lambda row: True,
        "wei": lambda row: row["territory_id"] == north,
    }
    for who, sees in people.items():
        for place, wish in enumerate(WISHES):
            since = add_days(TODAY, -90) if place % 2 else ""
            found = await cube(house, who, wish, since=since or None)
            assert shown(found) == by_hand(market, wish, sees, since), (who, wish)
    recorded = [source for source in found.sources if source.recorded]
    days = [
        str(row["ordered_on"])
        for one in market.customers
        if sees(one)
        for row in market.counted(one["id"])
        if sees(row)
    ]
    assert [(one.source.value, one.first_day, one.last_day, one.rows_n) for one in recorded] == [
        ("ORDERS", min(days), max(days), len(days))
    ]
    assert [one.source.value for one in found.sources if not one.recorded] == ["RETURNS"]


async def test_a_filter_cuts_the_cube_and_rows_come_in_order(house: House) -> None:
    market = await fill(house)
    wish = CubeWish((Side(D.COUNTRY),), (M.CUSTOMERS, M.ORDERS), totals=True)
    found = await cube(house, "agent", wish, "kind in (RETAILER, CHAIN) and orders(365) >= 1")
    chosen = {
        str(row["id"]) for row in market.customers
        if row["kind"] in ("RETAILER", "CHAIN")
        and any(str(one["ordered_on"]) > add_days(TODAY, -365) for one in market.counted(row["id"]))
    }  # fmt: skip
    assert shown(found) == by_hand(market, wish, lambda row: str(row.get("customer_id", row["id"])) in chosen)
    assert [group.keys for group in found.groups] == [("CN",), ("KR",), (None,), ()]
    above = await cube(house, "agent", CubeWish((Side(D.TERRITORY, depth=1),), (M.CUSTOMERS,)))
    placed = sum(row["territory_id"] is not None for row in market.customers)
    assert shown(above) == {(1, ("/cn",)): (placed,), (1, (None,)): (len(market.customers) - placed,)}
    as_json = Which(document={"and": [{"field": "kind", "op": "in", "values": ["RETAILER", "CHAIN"]},
                                      {"field": "orders", "days": 365, "op": ">=", "value": 1}]})  # fmt: skip
    again = await customer_cube(
        house.engine, house.people["agent"], wish, as_json, settings=SETTINGS, as_of=TODAY, today=TODAY
    )
    assert again == found


@pytest.mark.requirement("R49")
async def test_to_who_reads_sums_only_small_groups_are_not_told(house: House) -> None:
    market = await fill(house)
    wish = CubeWish((Side(D.CITY), Side(D.KIND)), (M.CUSTOMERS, M.NET_SALES), totals=True, subtotals=True)
    found, whole = await cube(house, "analyst", wish), await cube(house, "agent", wish)
    assert (found.suppressed_below, whole.suppressed_below, whole.suppressed_n) == (4, None, 0)
    told = {key: value for key, value in shown(found).items() if "SUPPRESSED" not in value}
    assert 0 < len(told) < len(found.groups) == len(told) + found.suppressed_n
    assert told == {key: value for key, value in shown(whole).items() if key in told}
    assert all(value[0] >= 4 for value in told.values())
    # nor by a filter that cuts one customer off, even where only customers are counted
    buyers = [(row["kind"], row["stage"]) for row in market.customers if market.counted(row["id"])]
    kind, stage = next(pair for pair in buyers if buyers.count(pair) == 1)
    for measures in ((M.ORDERS,), (M.CUSTOMERS,)):
        alone = await cube(
            house, "analyst", CubeWish((), measures), f"kind = {kind} and stage = {stage} and orders > 0"
        )
        assert shown(alone)[(0, ())] == ("SUPPRESSED",)
    by_kind = await cube(house, "analyst", CubeWish((Side(D.KIND),), (M.CUSTOMERS,)))
    assert by_kind.suppressed_n == 0, "how many customers there are is no sum of orders"


@pytest.mark.requirement("R49")
async def test_a_cube_over_what_a_role_may_not_read_is_refused_with_what_it_may(house: House) -> None:
    wish = CubeWish((Side(D.KIND),), (M.CUSTOMERS,))
    with pytest.raises(Refused) as refused:
        await cube(house, "analyst", wish, 'name contains "Grace" and phone = "1" and kind = 5')
    told = [(one.code.value, one.path[:3]) for one in refused.value.problems]
    assert told == [
        ("NOT_PERMITTED", ("filter", "text", "name")),
        ("UNKNOWN_FIELD", ("filter", "text", "phone")),
        ("NOT_ALLOWED_VALUE", ("filter", "text", "kind")),
    ]
    assert "kind" in refused.value.problems[0].allowed
    assert "name" not in refused.value.problems[0].allowed
    service = Principal(PrincipalKind.SERVICE, service_id=new_id(), rights=frozenset({"read:customers"}))
    house.people["service"] = service
    with pytest.raises(Refused) as refused:
        await cube(
            house, "service", CubeWish((Side(D.SEGMENT),), (M.NET_SALES,)), "netSales > 0 USD", as_of="2199-01-01"
        )
    assert [one.code.value for one in refused.value.problems] == ["NOT_PERMITTED"] * 2 + [
        "IN_THE_FUTURE",
        "NOT_PERMITTED",
    ]
    house.people["nobody"] = Principal(PrincipalKind.SERVICE, service_id=new_id())
    with pytest.raises(Refused):
        await cube(house, "nobody", wish)


async def test_a_cube_of_too_many_groups_is_refused_and_not_cut(house: House) -> None:
    await fill(house, count=20)
    wish = CubeWish((Side(D.CITY), Side(D.KIND)), (M.CUSTOMERS, M.VISITS))
    tight = SETTINGS.model_copy(update={"cube_groups_max": 3})
    with pytest.raises(Refused) as refused:
        await cube(house, "agent", wish, settings=tight)
    assert [(one.code.value, one.path, one.allowed) for one in refused.value.problems] == [
        ("TOO_MANY", ("dimensions",), ("3",))
    ]
    few = SETTINGS.model_copy(update={"cube_cells_max": 5})
    with pytest.raises(Refused) as refused:
        await cube(house, "agent", wish, settings=few)
    assert refused.value.problems[0].allowed == ("2",)


@pytest.mark.requirement("R8")
async def test_the_demo_world_cut_by_kind_and_quarter_is_what_its_tables_say(engine: Engine) -> None:
    world = make_world("tiny")
    now_ms = world.setting.now_ms + 3_600_000
    await load_demo(engine, world, password_hash="none", clock=lambda: now_ms)
    tables = {table.name: table.columns for table in world.tables}
    users = dict(zip(tables["user_account"]["role"], tables["user_account"]["id"], strict=True))
    admin = Principal(PrincipalKind.STAFF, user_id=users["ADMIN"], device_id="d", role=Role.ADMIN)
    sold = {name: np.array(tables["sales_order"][name]) for name in
            ("customer_id", "ordered_on", "total_minor", "currency", "state")}  # fmt: skip
    dated = (tables["exchange_rate"][name] for name in ("currency", "valid_from", "rate_e9"))
    rates = [Rate(*row) for row in zip(*dated, strict=True)]
    days = np.array([day_number(day) for day in sold["ordered_on"]])
    dollars = convert_columns(sold["total_minor"], sold["currency"], days, to="USD", rates=rates)
    counts = ~np.isin(sold["state"], ["DRAFT", "CANCELLED", "REJECTED"]) & (
        sold["ordered_on"] <= world.setting.as_of_day
    )
    kind_of = dict(zip(tables["customer"]["id"], tables["customer"]["kind"], strict=True))
    expected: dict[Any, list[Any]] = defaultdict(lambda: [set(), 0, 0])
    for place in np.flatnonzero(counts).tolist():
        day = str(sold["ordered_on"][place])
        one = expected[(kind_of[sold["customer_id"][place]], f"{day[:4]}Q{(int(day[5:7]) + 2) // 3}")]
        one[0].add(sold["customer_id"][place])
        one[1] += 1
        one[2] += int(dollars.amount_minor[place])
    assert dollars.known.all()
    found = await customer_cube(
        engine,
        admin,
        CubeWish((Side(D.KIND), Side(D.ORDER_QUARTER)), (M.CUSTOMERS, M.ORDERS, M.NET_SALES)),
        Which(),
        settings=SETTINGS,
        as_of=world.setting.as_of_day,
        today=world.setting.as_of_day,
    )
    assert len(expected) > 10
    assert {keys: value for (_, keys), value in shown(found).items()} == {
        keys: (len(who), count, total) for keys, (who, count, total) in expected.items()
    }


CUBE = """
query ($sides: [CubeSideInput!]!, $measures: [CubeMeasure!]!, $filter: PredicateInput, $totals: Boolean! = false) {
  customerCube(dimensions: $sides, measures: $measures, filter: $filter, totals: $totals) {
    asOf since suppressedRows suppressedBelow sources { source recorded rows }
    rows { level keys currency cells { measure unit state stateText value n } }
  }
}"""


async def test_a_client_reads_a_cube_and_its_reasons_in_words(house: House) -> None:
    await fill(house, count=12)
    variables = {"sides": [{"by": "TERRITORY", "depth": 2}], "measures": ["CUSTOMERS", "RETURNS"], "totals": True}
    answer = (await ask(house, "wei", CUBE, locale="ko", **variables))["data"]["customerCube"]
    assert [row["keys"] for row in answer["rows"]] == [["/cn/north"], []]
    assert answer["rows"][0]["cells"][1] == {"measure": "RETURNS", "unit": "COUNT", "state": "NOT_RECORDED",
                                             "stateText": "기록 없음", "value": None, "n": None}  # fmt: skip
    assert answer["sources"] == [{"source": "RETURNS", "recorded": False, "rows": 0}]
    wrong = {"sides": [], "measures": ["CUSTOMERS"], "filter": {"text": "kind = 5 or x"}}
    [error] = (await ask(house, "wei", CUBE, **wrong))["errors"]
    told = [(one["code"], one["path"]) for one in error["extensions"]["problems"]]
    assert told == [
        ("NOT_ALLOWED_VALUE", ["filter", "text", "kind", "offset=7", "line=1", "column=8"]),
        ("REQUIRED", ["filter", "text", "offset=13", "line=1", "column=14"]),
    ]


MATCHING = """
query ($filter: PredicateInput!, $first: Int! = 3) { matchingCustomers(filter: $filter, first: $first) {
  text json count sample { customerId customer { id kind } } } }"""


@pytest.mark.requirement("R40")
async def test_a_predicate_is_tried_before_it_is_used(house: House) -> None:
    market = await fill(house)
    north = {str(row["id"]): row for row in market.customers if row["territory_id"] == house.patches["north"]}
    told = {"text": "kind in (RETAILER,CHAIN) or not orders>=1"}
    answer = (await ask(house, "wei", MATCHING, filter=told))["data"]["matchingCustomers"]
    chosen = sorted(
        one for one, row in north.items()
        if row["kind"] in ("RETAILER", "CHAIN")
        or not any(order["territory_id"] == row["territory_id"] for order in market.counted(one))
    )  # fmt: skip
    assert (answer["count"], [one["customerId"] for one in answer["sample"]]) == (len(chosen), chosen[:3])
    assert answer["sample"][0]["customer"] == {"id": chosen[0], "kind": north[chosen[0]]["kind"]}
    assert answer["text"] == "kind in (RETAILER, CHAIN) or not orders >= 1"
    again = (await ask(house, "wei", MATCHING, filter={"json": answer["json"]}, first=0))["data"]["matchingCustomers"]
    assert (again["count"], again["text"], again["sample"]) == (len(chosen), answer["text"], [])
    nobody = (await ask(house, "wei", MATCHING, filter={"text": "orders > 999"}))["data"]["matchingCustomers"]
    assert (nobody["count"], nobody["sample"]) == (0, [])
    codes = {}
    for name, wrong in (("none", {}), ("both", {"text": "orders > 1", "json": {}}), ("bad", {"text": "orders >"})):
        codes[name] = (await ask(house, "wei", MATCHING, filter=wrong))["errors"][0]["extensions"]["code"]
    assert codes == {"none": "REQUIRED", "both": "INVALID_VALUE", "bad": "REQUIRED"}


@pytest.mark.requirement("R49")
async def test_who_reads_sums_only_is_not_told_who_few_buyers_are_and_which_fields_there_are(house: House) -> None:
    market = await fill(house, count=20)
    bought = [len(market.counted(row["id"])) for row in market.customers]
    assert 0 < bought.count(max(bought)) < 5
    for told, hidden in ((f"orders >= {max(bought)}", True), ("orders >= 0", False), ("completeness >= 0", False)):
        found = (await ask(house, "analyst", MATCHING, filter={"text": told}))["data"]["matchingCustomers"]
        assert (found["count"] is None, found["sample"] == []) == (hidden, hidden), told
    fields = {one["name"]: one for one in (await ask(house, "analyst", FIELDS))["data"]["predicateFields"]}
    assert "name" not in fields
    assert (fields["orders"]["windowed"], fields["orders"]["kind"]) == (True, "NUMBER")
    assert "CHAIN" in fields["kind"]["values"]
    assert fields["netSales"]["currency"] == "USD"
    assert "name" in {one["name"] for one in (await ask(house, "wei", FIELDS))["data"]["predicateFields"]}


FIELDS = "{ predicateFields { name kind operators values windowed currency } }"
