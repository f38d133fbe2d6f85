"""Profitability: what stays of the list price, who brings it, and at whom money is lost. *Source*: R20.

Every step is a whole number of minor units, and net is what is left: the steps add up to the cent, for each customer
and for all of them. What nobody records (returns, freight, service) is no step of 0 but a step that is missing.
"""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import BASIS_POINTS, Basis, BoolArray, FloatArray, IntArray
from backend.domain.kpis import Period, Unit
from backend.domain.seven_p.records import Records, absent, used, within
from backend.domain.seven_p.report import (
    ROWS_MAX,
    RULES_VERSION,
    YEAR_DAYS,
    Caveat,
    Figure,
    Part,
    Row,
    SevenPCaveat,
    SevenPFigure,
    SevenPList,
    SevenPPart,
    count,
    money,
    not_recorded,
    nothing,
    points,
    share,
    trend_of,
    year_until,
)
from backend.domain.sources import Source

WHALE_POINTS = 20
EXCESS_FACTOR = 1.5
"""A discount this many times that of the same kind's customers stands out."""
_F, _L, _C = SevenPFigure, SevenPList, SevenPCaveat


@dataclass(frozen=True, slots=True)
class Waterfall:
    """(n,) minor units of a period: `gross` − `discount` − `goods` − `visits` = `net`, exactly. `goods` is None where
    no margin is declared; `priced_minor`: net revenue whose discount was recorded, of `revenue_minor`."""

    gross: IntArray
    discount: IntArray
    goods: IntArray | None
    visits: IntArray
    net: IntArray
    revenue_minor: IntArray
    priced_minor: IntArray


def waterfall(records: Records, period: Period) -> Waterfall:
    """What stays of every customer's list price in a period."""
    revenue = records.revenue(period)
    lines = records.lines.where(within(records.lines.day, period) & records.lines.priced)
    discount = records.by_customer(lines.listed_minor - lines.net_minor, lines.customer)
    priced = records.by_customer(lines.net_minor, lines.customer)
    made = within(records.visit_day, period)
    visits = records.by_customer(np.ones(int(made.sum()), dtype=np.int64), records.visit_customer[made])
    visits = visits * records.visit_cost_minor
    gross = revenue + discount
    goods = None if records.goods_share is None else np.rint(gross * records.goods_share).astype(np.int64)
    net = gross - discount - visits - (0 if goods is None else goods)
    return Waterfall(gross, discount, goods, visits, net, revenue, priced)


def by_account(records: Records, found: Waterfall) -> Waterfall:
    """The same by account: a chain orders at its head and is visited at its doors, so its doors are added to it."""

    def added(values: IntArray) -> IntArray:
        return records.by_customer(values, records.customers.account)

    return Waterfall(
        added(found.gross),
        added(found.discount),
        None if found.goods is None else added(found.goods),
        added(found.visits),
        added(found.net),
        added(found.revenue_minor),
        added(found.priced_minor),
    )


def profitability(records: Records) -> Part:
    """The waterfall of the last year, the whale curve and the loss-makers; the score is net in per cent of gross."""
    year, before = year_until(records.as_of_day), year_until(records.as_of_day - YEAR_DAYS)
    now = waterfall(records, year)
    then = waterfall(records, before) if records.reaches(before) else None
    score = _score(now)
    accounts, accounts_then = by_account(records, now), None if then is None else by_account(records, then)
    active = (accounts.gross != 0) | (accounts.visits != 0)
    losing = accounts.net < 0
    figures = (
        *_steps(now, then),
        share(_F.DISCOUNT_RATE, int(now.discount.sum()), int((now.priced_minor + now.discount).sum())),
        count(_F.LOSS_MAKERS, int(losing.sum()), None if accounts_then is None else int((accounts_then.net < 0).sum()),
              n=int(active.sum())),
    )  # fmt: skip
    rows = (
        *(Row(_L.WATERFALL, (step,), label=step.code.value) for step in _steps(now, then)),
        *whale_rows(accounts.net[active], max(records.rows_from_n, 1)),
        *_loss_makers(records, accounts, losing),
        *_discounted(records, now),
    )
    return Part(
        SevenPPart.PROFITABILITY,
        score,
        trend_of(score, None if then is None else _score(then)),
        figures,
        rows,
        Basis.PARTLY_RECORDED if active.any() else Basis.NOT_RECORDED,
        int(active.sum()),
        tuple(_caveats(records, now, then is not None)),
        (
            used(Source.ORDERS, records.orders.day, year.last, year.first),
            used(Source.VISITS, records.visit_day, year.last, year.first),
            *absent(Source.COSTS, Source.RETURNS, Source.FREIGHT, Source.INVOICES),
        ),
        RULES_VERSION,
        frozenset({_L.LOSS_MAKER, _L.DISCOUNTED}),
    )


def _score(found: Waterfall) -> int | None:
    gross = int(found.gross.sum())
    return points(100.0 * int(found.net.sum()) / gross) if gross > 0 else None


def _steps(now: Waterfall, then: Waterfall | None) -> tuple[Figure, ...]:
    """Gross, what is taken off it, and net, in that sequence."""
    if not now.gross.any() and not now.visits.any():
        return (nothing(_F.GROSS, Unit.MONEY_MINOR), nothing(_F.NET, Unit.MONEY_MINOR))

    def step(code: SevenPFigure, name: str, sign: int) -> Figure:
        earlier = None if then is None else sign * int(getattr(then, name).sum())
        return money(code, sign * int(getattr(now, name).sum()), earlier)

    goods = step(_F.GOODS, "goods", -1) if now.goods is not None else not_recorded(_F.GOODS, Unit.MONEY_MINOR)
    return (
        step(_F.GROSS, "gross", 1),
        step(_F.DISCOUNT, "discount", -1),
        not_recorded(_F.RETURNS, Unit.MONEY_MINOR),
        not_recorded(_F.FREIGHT, Unit.MONEY_MINOR),
        goods,
        step(_F.VISITS_COST, "visits", -1),
        not_recorded(_F.SERVICE, Unit.MONEY_MINOR),
        step(_F.NET, "net", 1),
    )


def whale_rows(net: IntArray, group_min: int) -> list[Row]:
    """Cumulated net over customers, the best first, at steps of equal numbers of them; 0 customers is no point.

    A step never has fewer than `group_min` customers.
    """
    customers_n = int(net.size)
    if customers_n < group_min or not customers_n:
        return []
    total = np.cumsum(np.sort(net)[::-1])
    steps_n = min(WHALE_POINTS, customers_n // group_min)
    ends = np.unique(np.round(np.arange(1, steps_n + 1) * customers_n / steps_n).astype(np.int64))
    return [
        Row(
            _L.WHALE,
            (share(_F.SHARE, int(end), customers_n), money(_F.NET, int(total[end - 1]), n=int(end))),
            label=str(int(end)),
        )
        for end in ends.tolist()
    ]


def _loss_makers(records: Records, now: Waterfall, losing: BoolArray) -> list[Row]:
    chosen = np.flatnonzero(losing)
    chosen = chosen[np.lexsort((chosen, now.net[chosen]))][:ROWS_MAX]
    last = records.last_orders()
    return [
        Row(
            _L.LOSS_MAKER,
            (
                money(_F.NET, int(now.net[row])),
                money(_F.REVENUE, int(now.revenue_minor[row])),
                money(_F.DISCOUNT, -int(now.discount[row])),
                money(_F.VISITS_COST, -int(now.visits[row])),
            ),
            collection="customers",
            record_id=records.customers.ids[row],
            related_id=last.get(row),
        )
        for row in chosen.tolist()
    ]


def _discounted(records: Records, now: Waterfall) -> list[Row]:
    """Customers whose discount is far above that of their kind, the costliest excess first."""
    kind, listed = records.customers.kind, now.priced_minor + now.discount
    totals = np.zeros((2, int(kind.max()) + 1 if kind.size else 1), dtype=np.int64)
    np.add.at(totals[0], kind, now.discount)
    np.add.at(totals[1], kind, listed)
    # of the others of its kind: its own discount is not what it is measured by
    others_listed = totals[1][kind] - listed
    others = _rate(totals[0][kind] - now.discount, others_listed)
    own = _rate(now.discount, listed)
    excess = now.discount - others * listed
    chosen = np.flatnonzero((others_listed > 0) & (listed > 0) & (own > EXCESS_FACTOR * others) & (excess > 0))
    chosen = chosen[np.lexsort((chosen, -excess[chosen]))][:ROWS_MAX]
    return [
        Row(
            _L.DISCOUNTED,
            (
                Figure(_F.DISCOUNT_RATE, Unit.BASIS_POINTS, round(float(own[row]) * BASIS_POINTS)),
                Figure(_F.PEER_DISCOUNT_RATE, Unit.BASIS_POINTS, round(float(others[row]) * BASIS_POINTS)),
                money(_F.DISCOUNT, -int(now.discount[row])),
                money(_F.REVENUE, int(now.revenue_minor[row])),
            ),
            collection="customers",
            record_id=records.customers.ids[row],
        )
        for row in chosen.tolist()
    ]


def _rate(part: IntArray, whole: IntArray) -> FloatArray:
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def _caveats(records: Records, now: Waterfall, year_before: bool) -> list[Caveat]:
    found = []
    revenue, priced = int(now.revenue_minor.sum()), int(now.priced_minor.sum())
    if not revenue:
        found.append(Caveat(_C.NO_ORDERS))
    elif priced < revenue:
        found.append(Caveat(_C.DISCOUNTS_PARTLY, round(100 * max(priced, 0) / revenue)))
    found.append(Caveat(_C.COSTS_NOT_RECORDED if now.goods is None else _C.GOODS_ASSUMED))
    found += [Caveat(_C.RETURNS_NOT_RECORDED), Caveat(_C.FREIGHT_NOT_RECORDED), Caveat(_C.SERVICE_NOT_RECORDED)]
    if revenue and not year_before:
        found.append(Caveat(_C.YEAR_TOO_SHORT))
    return found
