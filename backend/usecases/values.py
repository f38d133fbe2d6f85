"""What one customer is worth: by every method, with what was asked, what it stands on, and what drives it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.arrays import BASIS_POINTS, MONEY_MINOR_MAX, Basis, FloatArray
from backend.domain.calibration import Calibration, calibrate_history
from backend.domain.clv import ClvColumns, ClvParameters, PeerGap, check_asked, clv, referrals_minor
from backend.domain.clv_drivers import DriverFacts, DriverValue, ReferralTerms, drivers
from backend.domain.frozen import fitted_of, frontier_for
from backend.domain.history import QUARTER_DAYS, QUARTERS_KEPT, HistoryColumns, history_of
from backend.domain.potential import yearly_run_rate
from backend.domain.sources import Source, SourceUsed
from backend.domain.times import day_from_number, day_number, local_day
from backend.domain.value import Method
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Engine
from backend.storage.holding import held_customers
from backend.storage.statistics import sales_of
from backend.storage.values import (
    OneCustomer,
    SoldTo,
    read_models,
    read_one_customer,
    read_sold_to,
    read_year_visits,
)
from backend.sync.aliases import survivors_of

SHIPPED_VERSION = "shipped"
"""Parameters of a day before the first run: later ones would know what came after."""

_NOT_KEPT = (Source.COSTS, Source.RETURNS, Source.FREIGHT, Source.REFERRALS)


@dataclass(frozen=True, slots=True)
class ValueByMethod:
    """Past and future by one method, minor units; `gain_minor`: the part of the future a changed pattern brings."""

    method: Method
    past_minor: int
    future_minor: int
    gain_minor: int
    quarters_n: int

    @property
    def value_minor(self) -> int:
        """CLV = past + future."""
        return self.past_minor + self.future_minor

    @property
    def amounts(self) -> tuple[int, ...]:
        """Every amount of it."""
        return self.past_minor, self.future_minor, self.gain_minor, self.value_minor


@dataclass(frozen=True, slots=True)
class ModelUsed:
    """The fit a value stands on. `run_id` `None`: parameters shipped with the product, as no run was made by that day.

    `frontier_year_minor`, `peers_n`: what the best of its peers bring in a year, `None` and 0 without enough peers.
    """

    version: str
    run_id: str | None
    fitted_on: str
    model: str
    regularity: int
    status: str
    level: float
    level_measured: bool
    frontier_year_minor: float | None
    peers_n: int


@dataclass(frozen=True, slots=True)
class CustomerValue:
    """The answer: every method beside the one asked for, and all that went in."""

    customer_id: str
    as_of: str
    currency: str
    basis: Basis
    asked: ClvParameters
    chosen: ValueByMethod
    methods: tuple[ValueByMethod, ...]
    churn_bp: int | None
    purchases_n: int
    first_order_on: str | None
    last_order_on: str | None
    quarters_lived_n: int
    model: ModelUsed
    referral: ReferralTerms | None
    referral_minor: int | None
    drivers: tuple[DriverValue, ...]
    sources: tuple[SourceUsed, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    customer: OneCustomer
    sold: SoldTo
    models: Mapping[str, Any] | None
    visits: tuple[int, int | None, int | None] | None


async def customer_value(
    engine: Engine,
    principal: Principal,
    *,
    settings: Settings,
    customer_id: str,
    as_of: str,
    today: str,
    asked: ClvParameters,
    referral: ReferralTerms | None = None,
) -> CustomerValue:
    """Value one customer as of a day, with what was known then: its orders until that day, and the models of the last
    run of that day or before.

    The declared margin is the organisation's, whatever `asked` says. Raises NOT_PERMITTED; NOT_FOUND for a customer the
    caller does not work for or nobody sells to; IN_THE_FUTURE; OUT_OF_RANGE for rates that cannot be, and amounts no
    client could hold; NO_EXCHANGE_RATE for an order in a currency without one.
    """
    if not principal.reads("scores") or not principal.reads("customers"):
        raise Refused(Problem(Code.NOT_PERMITTED))
    if as_of > today:
        raise Refused(Problem(Code.IN_THE_FUTURE, ("asOf",), (today,)))
    margin = settings.default_margin_bp
    wish = replace(asked, default_margin=None if margin is None else margin / BASIS_POINTS)
    check_asked(wish, referral)
    found = await _read(engine, principal, customer_id, as_of)
    return await asyncio.to_thread(_valued, found, settings, as_of, wish, referral)


async def _read(engine: Engine, principal: Principal, customer_id: str, as_of: str) -> _Found:
    async with engine.read() as conn:
        named = (await survivors_of(conn, [customer_id])).get(customer_id, customer_id)
        where, args = await held_customers(conn, principal, None)
        customer = await read_one_customer(conn, named, where, args)
        if customer is None:
            raise Refused(Problem(Code.NOT_FOUND, ("customer",)))
        return _Found(
            customer,
            await read_sold_to(conn, customer.id, as_of),
            await read_models(conn, as_of),
            await read_year_visits(conn, customer, as_of) if principal.reads("visits") else None,
        )


def _valued(
    found: _Found, settings: Settings, as_of: str, wish: ClvParameters, referral: ReferralTerms | None
) -> CustomerValue:
    today = day_number(as_of)
    sales = sales_of(found.sold.orders, customers_n=1, currency=settings.reporting_currency)
    if sales.missing:
        raise Refused(
            *(
                Problem(Code.NO_EXCHANGE_RATE, (currency,), params={"currency": currency, "count": count})
                for currency, count in sorted(sales.missing.items())
            )
        )
    history = history_of(sales.orders, customers_n=1, as_of_day=today)
    calibration, model = _model(found, history, as_of)
    gap = PeerGap(
        year_minor=_gap(history, today, model),
        peers_n=np.array([model.peers_n]),
        visit_cost_minor=settings.visit_cost_minor,
    )
    by_method = {
        method: clv(history, calibration=calibration, as_of_day=today, asked=replace(wish, method=method), gap=gap)
        for method in Method
    }
    methods = tuple(_one(method, columns) for method, columns in by_method.items())
    if any(abs(amount) >= MONEY_MINOR_MAX for one in methods for amount in one.amounts):
        # cut to what a client holds it would pass for a value
        raise Refused(Problem(Code.OUT_OF_RANGE, ("value",), (str(1 - MONEY_MINOR_MAX), str(MONEY_MINOR_MAX - 1))))
    chosen = next(one for one in methods if one.method is wish.method)
    columns = by_method[wish.method]
    churn_bp = columns.churn_bp.tolist()[0]
    bought = bool(history.has_orders[0])
    return CustomerValue(
        customer_id=found.customer.id,
        as_of=as_of,
        currency=settings.reporting_currency,
        basis=Basis(int(columns.basis[0])),
        asked=wish,
        chosen=chosen,
        methods=methods,
        churn_bp=churn_bp,
        purchases_n=int(history.orders_n[0]),
        first_order_on=day_from_number(int(history.first_day[0])) if bought else None,
        last_order_on=day_from_number(int(history.last_day[0])) if bought else None,
        quarters_lived_n=_lived(history, today),
        model=model,
        referral=referral,
        referral_minor=None
        if referral is None
        else referrals_minor(referral, quarters_n=_horizon(methods), discount_yearly=wish.discount_yearly),
        drivers=drivers(_facts(found, settings, history, wish, churn_bp, referral)),
        sources=_sources(found, model),
    )


def _model(found: _Found, history: HistoryColumns, as_of: str) -> tuple[Calibration, ModelUsed]:
    frontier = None
    if found.models is None:
        calibration = calibrate_history(history, as_of_day=day_number(as_of), version=SHIPPED_VERSION)
        run_id, fitted_on = None, as_of
    else:
        fitted = fitted_of(found.models["calibration"])
        calibration, run_id, fitted_on = fitted.calibration, found.models["runId"], day_from_number(fitted.fitted_day)
        frontier = frontier_for(found.models.get("frontiers", ()), found.customer.kind, found.customer.place)
    purchase = calibration.purchase
    return calibration, ModelUsed(
        version=calibration.version,
        run_id=run_id,
        fitted_on=fitted_on,
        model=purchase.model.name,
        regularity=purchase.regularity,
        status=purchase.status.value,
        level=calibration.level,
        level_measured=calibration.level_measured,
        frontier_year_minor=None if frontier is None else frontier[0],
        peers_n=0 if frontier is None else frontier[1],
    )


def _gap(history: HistoryColumns, today: int, model: ModelUsed) -> FloatArray:
    frontier = model.frontier_year_minor or 0.0
    return np.asarray(np.maximum(frontier - yearly_run_rate(history, today), 0.0), dtype=np.float64)


def _one(method: Method, columns: ClvColumns) -> ValueByMethod:
    return ValueByMethod(
        method=method,
        past_minor=int(columns.past_minor.values[0]),
        future_minor=int(columns.future_minor.values[0]),
        gain_minor=int(columns.gain_minor.values[0]),
        quarters_n=int(columns.quarters_n[0]),
    )


def _lived(history: HistoryColumns, today: int) -> int:
    """Quarters since the first order, as far as they are kept apart."""
    if not history.has_orders[0]:
        return 0
    return min((today - int(history.first_day[0])) // QUARTER_DAYS + 1, QUARTERS_KEPT)


def _horizon(methods: tuple[ValueByMethod, ...]) -> int:
    """Referrals are looked for as far ahead as the customer is expected to last."""
    return next(one.quarters_n for one in methods if one.method is Method.PROBABILISTIC)


def _facts(
    found: _Found,
    settings: Settings,
    history: HistoryColumns,
    wish: ClvParameters,
    churn_bp: int | None,
    referral: ReferralTerms | None,
) -> DriverFacts:
    return DriverFacts(
        purchases_n=int(history.orders_n[0]),
        revenue_minor=int(history.revenue_minor[0]),
        units_n=found.sold.units_n,
        year_purchases_n=int(history.quarter_orders_n[0, :4].sum()),
        year_revenue_minor=int(history.quarter_revenue_minor[0, :4].sum()),
        margin=wish.default_margin,
        churn=None if churn_bp is None else churn_bp / BASIS_POINTS,
        year_visits_n=None if found.visits is None else found.visits[0],
        visit_cost_minor=settings.visit_cost_minor,
        discount_yearly=wish.discount_yearly,
        referral=referral,
    )


def _sources(found: _Found, model: ModelUsed) -> tuple[SourceUsed, ...]:
    sold = found.sold
    used = [SourceUsed(Source.ORDERS, sold.rows_n > 0, sold.first_day, sold.last_day, sold.rows_n)]
    if found.visits is not None:
        made, first, last = found.visits
        days = [None if at is None else local_day(at, found.customer.zone) for at in (first, last)]
        used.append(SourceUsed(Source.VISITS, made > 0, days[0], days[1], made))
    used.append(SourceUsed(Source.PEERS, model.peers_n > 0, rows_n=model.peers_n))
    return (*used, *(SourceUsed(source, recorded=False) for source in _NOT_KEPT))
