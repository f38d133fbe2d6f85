"""What a customer is worth, by every method, with all that went into it."""

from typing import Annotated

import strawberry

from backend.domain.clv import ClvParameters
from backend.domain.clv_drivers import ClvDriver, DriverBasis, DriverMissing, DriverUnit, DriverValue, ReferralTerms
from backend.domain.history import QUARTER_DAYS
from backend.domain.messages import label
from backend.domain.purchase import FitStatus
from backend.domain.times import local_day
from backend.domain.value import ChurnForm, Method, rate_per_period
from backend.reads.selection import one
from backend.schema.context import Context, Info
from backend.schema.scalars import BigInt, Day
from backend.schema.sources import SourceUsed, show_sources
from backend.schema.types import Customer, Money
from backend.usecases.values import CustomerValue, ModelUsed, ValueByMethod, customer_value

ID = strawberry.ID
_DEFAULTS = ClvParameters()

for _enum, _name in (
    (Method, "ClvMethod"),
    (ChurnForm, "ClvChurnForm"),
    (ClvDriver, "ClvDriverCode"),
    (DriverUnit, "ClvDriverUnit"),
    (DriverBasis, "ClvDriverBasis"),
    (DriverMissing, "ClvDriverMissing"),
):
    strawberry.enum(_enum, name=_name, description=(_enum.__doc__ or "").strip())


@strawberry.input(description="What you say of referrals; nobody records them yet.")
class ClvReferral:
    per_quarter: float = strawberry.field(description="New customers it brings a quarter.")
    gain_minor: BigInt = strawberry.field(description="What one of them brings, in the smallest unit of currency.")
    cost_minor: BigInt = strawberry.field(description="What one of them costs to win.")


@strawberry.type(description="The value by one method. Value = past + future.")
class ClvOfMethod:
    method: Method = strawberry.field(description="The method.")
    name: str = strawberry.field(description="The method in the reader's language.")
    value: Money = strawberry.field(description="Past and future together.")
    past: Money = strawberry.field(description="What it has contributed; of BASIC discounted from its first quarter.")
    future: Money = strawberry.field(description="What it is expected to contribute, discounted to the day.")
    gain: Money = strawberry.field(
        description="The part of the future that reaching the best of its peers would bring; all of a prospect's."
    )
    quarters: int = strawberry.field(description="Quarters looked ahead.")


@strawberry.type(description="What was asked, with what was taken where nothing was said.")
class ClvAsked:
    method: Method = strawberry.field(description="The method.")
    discount_yearly: float = strawberry.field(description="Discount rate a year.")
    discount_per_quarter: float = strawberry.field(description="The same compounded to a quarter.")
    compound_past_yearly: float = strawberry.field(description="Rate a year at which the past was compounded to now.")
    churn_form: ChurnForm = strawberry.field(description="How leaving enters a regression.")
    damping: float = strawberry.field(description="What is kept of a trend from quarter to quarter, 0 to 1.")
    margin: float | None = strawberry.field(
        description="The organisation's usual margin, 0 to 1; null where none is declared."
    )
    quarter_days: int = strawberry.field(description="Days of a quarter.")
    referral_per_quarter: float | None = strawberry.field(description="Referrals a quarter; null where not said.")
    referral_gain: Money | None = strawberry.field(description="What one brings.")
    referral_cost: Money | None = strawberry.field(description="What one costs.")


@strawberry.type(description="The history a value stands on.")
class ClvHistory:
    purchases: int = strawberry.field(description="Days on which it ordered.")
    first_order_on: Day | None = strawberry.field(description="The first of them.")
    last_order_on: Day | None = strawberry.field(description="The last of them.")
    quarters: int = strawberry.field(description="Quarters since the first, at most those kept apart.")


@strawberry.type(description="The models a value stands on: those of the last score run of that day or before.")
class ClvModel:
    version: str = strawberry.field(description="Version of the parameters.")
    run_id: ID | None = strawberry.field(
        description="The run that used them; null where none was made by that day and shipped parameters were taken."
    )
    fitted_on: Day = strawberry.field(description="The day they were fitted.")
    model: str = strawberry.field(description="The purchase model.")
    regularity: int = strawberry.field(
        description="1 for memoryless buying; k where every k-th beat of a steady clock brings an order (CNBD-k)."
    )
    fit_status: str = strawberry.field(description="How far they may be trusted.")
    fit_status_text: str = strawberry.field(description="The same in the reader's language.")
    level: float = strawberry.field(description="Factor on expected purchases from the rolling backtest.")
    level_measured: bool = strawberry.field(description="False where history was too short to measure the level.")
    frontier: Money | None = strawberry.field(
        description="What the best fifth of its peers bring at least, a year; null with fewer than thirty peers."
    )
    peers: int = strawberry.field(description="How many peers set it.")


@strawberry.type(description="What drives the value. One that nobody records has no value and a reason.")
class ClvDriverValue:
    code: ClvDriver = strawberry.field(description="Which driver.")
    name: str = strawberry.field(description="Its name in the reader's language.")
    value: float | None = strawberry.field(description="How much; null where `missing` says why.")
    unit: DriverUnit = strawberry.field(description="What it is counted in.")
    unit_text: str = strawberry.field(description="The same in the reader's language.")
    basis: DriverBasis = strawberry.field(description="What it stands on.")
    basis_text: str = strawberry.field(description="The same in the reader's language.")
    missing: DriverMissing | None = strawberry.field(description="Why it has no value.")
    missing_text: str | None = strawberry.field(description="The same in the reader's language.")


@strawberry.type(description="What a customer is worth as of a day, with all that went into it.")
class Clv:
    customer_id: ID = strawberry.field(description="The customer.")
    as_of: Day = strawberry.field(description="The day it was valued for, with what was known then.")
    basis: str = strawberry.field(description="The kind of money it stands on, as a code.")
    basis_text: str = strawberry.field(description="The same in the reader's language.")
    value: Money = strawberry.field(description="Past and future together, by the method asked for.")
    past: Money = strawberry.field(description="What it has contributed.")
    future: Money = strawberry.field(description="What it is expected to contribute.")
    quarters: int = strawberry.field(description="Quarters looked ahead.")
    churn_bp: int | None = strawberry.field(
        description="Chance of leaving within a quarter, basis points; null for a prospect."
    )
    referral: Money | None = strawberry.field(
        description="What one generation of referred customers is worth over those quarters, beside the value; null"
        " where nothing was said of referrals."
    )
    asked: ClvAsked = strawberry.field(description="What was asked.")
    history: ClvHistory = strawberry.field(description="The history used.")
    model: ClvModel = strawberry.field(description="The models used.")
    methods: list[ClvOfMethod] = strawberry.field(description="The value by each method, side by side.")
    drivers: list[ClvDriverValue] = strawberry.field(description="What drives it.")
    sources: list[SourceUsed] = strawberry.field(description="The records it was computed from.")

    @strawberry.field(description="The customer.")
    def customer(self) -> Customer | None:
        return one("customers", self.customer_id)  # type: ignore[return-value]


@strawberry.type
class ValueQueries:
    @strawberry.field(
        description="What a customer you work for is worth, as of a day. Past values use what was known then: orders"
        " until that day and the models of the last score run before it."
    )
    async def clv(
        self,
        info: Info,
        customer: Annotated[ID, strawberry.argument(description="The customer.")],
        method: Annotated[Method, strawberry.argument(description="How to reckon.")] = Method.PROBABILISTIC,
        as_of: Annotated[
            Day | None, strawberry.argument(description="The day to value it for; today when absent.")
        ] = None,
        discount_yearly: Annotated[
            float, strawberry.argument(description="Discount rate a year.")
        ] = _DEFAULTS.discount_yearly,
        compound_past_yearly: Annotated[
            float, strawberry.argument(description="Rate a year at which the past is compounded to now.")
        ] = _DEFAULTS.compound_past_yearly,
        churn_form: Annotated[
            ChurnForm, strawberry.argument(description="How leaving enters a regression.")
        ] = _DEFAULTS.churn_form,
        damping: Annotated[
            float, strawberry.argument(description="What is kept of a trend from quarter to quarter, 0 to 1.")
        ] = _DEFAULTS.damping,
        referral: Annotated[ClvReferral | None, strawberry.argument(description="What you say of referrals.")] = None,
    ) -> Clv:
        context = info.context
        today = local_day(context.now_ms, context.settings.organisation_timezone)
        found = await customer_value(
            context.engine,
            context.caller,
            settings=context.settings,
            customer_id=customer,
            as_of=as_of or today,
            today=today,
            asked=ClvParameters(
                method=method,
                discount_yearly=discount_yearly,
                compound_past_yearly=compound_past_yearly,
                churn_form=churn_form,
                damping=damping,
            ),
            referral=None
            if referral is None
            else ReferralTerms(referral.per_quarter, referral.gain_minor, referral.cost_minor),
        )
        return _shown(context, found)


def _shown(context: Context, found: CustomerValue) -> Clv:
    chosen = _method(context, found, found.chosen)
    return Clv(
        customer_id=ID(found.customer_id),
        as_of=Day(found.as_of),
        basis=found.basis.name,
        basis_text=_words(context, "Basis", found.basis.name),
        value=chosen.value,
        past=chosen.past,
        future=chosen.future,
        quarters=chosen.quarters,
        churn_bp=found.churn_bp,
        referral=None if found.referral_minor is None else _money(found, found.referral_minor),
        asked=_asked(found),
        history=ClvHistory(
            purchases=found.purchases_n,
            first_order_on=None if found.first_order_on is None else Day(found.first_order_on),
            last_order_on=None if found.last_order_on is None else Day(found.last_order_on),
            quarters=found.quarters_lived_n,
        ),
        model=_model(context, found, found.model),
        methods=[_method(context, found, item) for item in found.methods],
        drivers=[_driver(context, driver) for driver in found.drivers],
        sources=show_sources(context, found.sources),
    )


def _asked(found: CustomerValue) -> ClvAsked:
    asked, referral = found.asked, found.referral
    return ClvAsked(
        method=asked.method,
        discount_yearly=asked.discount_yearly,
        discount_per_quarter=rate_per_period(asked.discount_yearly, 4),
        compound_past_yearly=asked.compound_past_yearly,
        churn_form=asked.churn_form,
        damping=asked.damping,
        margin=asked.default_margin,
        quarter_days=QUARTER_DAYS,
        referral_per_quarter=None if referral is None else referral.per_quarter,
        referral_gain=None if referral is None else _money(found, referral.gain_minor),
        referral_cost=None if referral is None else _money(found, referral.cost_minor),
    )


def _model(context: Context, found: CustomerValue, used: ModelUsed) -> ClvModel:
    frontier = used.frontier_year_minor
    return ClvModel(
        version=used.version,
        run_id=None if used.run_id is None else ID(used.run_id),
        fitted_on=Day(used.fitted_on),
        model=used.model,
        regularity=used.regularity,
        fit_status=used.status,
        fit_status_text=_words(context, FitStatus.__name__, used.status),
        level=used.level,
        level_measured=used.level_measured,
        frontier=None if frontier is None else _money(found, round(frontier)),
        peers=used.peers_n,
    )


def _method(context: Context, found: CustomerValue, item: ValueByMethod) -> ClvOfMethod:
    return ClvOfMethod(
        method=item.method,
        name=_words(context, Method.__name__, item.method.value),
        value=_money(found, item.value_minor),
        past=_money(found, item.past_minor),
        future=_money(found, item.future_minor),
        gain=_money(found, item.gain_minor),
        quarters=item.quarters_n,
    )


def _driver(context: Context, driver: DriverValue) -> ClvDriverValue:
    missing = driver.missing
    return ClvDriverValue(
        code=driver.code,
        name=_words(context, ClvDriver.__name__, driver.code.value),
        value=driver.value,
        unit=driver.unit,
        unit_text=_words(context, DriverUnit.__name__, driver.unit.value),
        basis=driver.basis,
        basis_text=_words(context, DriverBasis.__name__, driver.basis.value),
        missing=missing,
        missing_text=None if missing is None else _words(context, DriverMissing.__name__, missing.value),
    )


def _money(found: CustomerValue, amount_minor: int) -> Money:
    return Money(amount_minor=BigInt(amount_minor), currency=found.currency)


def _words(context: Context, enum: str, code: str) -> str:
    return label(context.messages, enum, code, context.locale)
