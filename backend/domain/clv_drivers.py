"""What drives a customer's lifetime value, each driver with its unit and on what it stands.

A driver nobody records is not zero: it has no value and a reason. *Source*: R50 (seed S4 lists them).
"""

from dataclasses import dataclass
from enum import StrEnum


class ClvDriver(StrEnum):
    """The drivers of lifetime value."""

    RETENTION_RATE = "RETENTION_RATE"
    ORDER_FREQUENCY = "ORDER_FREQUENCY"
    AVERAGE_ORDER_VALUE = "AVERAGE_ORDER_VALUE"
    UNITS_PER_ORDER = "UNITS_PER_ORDER"
    PRODUCT_COST = "PRODUCT_COST"
    SERVICE_COST = "SERVICE_COST"
    SELLING_COST = "SELLING_COST"
    REFERRAL_RATE = "REFERRAL_RATE"
    REFERRAL_COST = "REFERRAL_COST"
    DISCOUNT_RATE = "DISCOUNT_RATE"


class DriverUnit(StrEnum):
    """What a driver is counted in."""

    SHARE_PER_QUARTER = "SHARE_PER_QUARTER"
    SHARE_PER_YEAR = "SHARE_PER_YEAR"
    ORDERS_PER_YEAR = "ORDERS_PER_YEAR"
    MINOR_PER_ORDER = "MINOR_PER_ORDER"
    UNITS_PER_ORDER = "UNITS_PER_ORDER"
    MINOR_PER_YEAR = "MINOR_PER_YEAR"
    REFERRALS_PER_QUARTER = "REFERRALS_PER_QUARTER"
    MINOR_PER_REFERRAL = "MINOR_PER_REFERRAL"


class DriverBasis(StrEnum):
    """What a driver stands on."""

    RECORDED = "RECORDED"
    MODEL = "MODEL"
    DECLARED = "DECLARED"
    """records × a rate the organisation declared: its usual margin, its cost of a visit"""
    ASKED = "ASKED"
    """given with the question"""
    NOT_RECORDED = "NOT_RECORDED"


class DriverMissing(StrEnum):
    """Why a driver has no value."""

    NO_ORDERS = "NO_ORDERS"
    NO_UNITS = "NO_UNITS"
    NO_COSTS = "NO_COSTS"
    NO_SERVICE_COSTS = "NO_SERVICE_COSTS"
    NO_REFERRALS = "NO_REFERRALS"
    NOT_READABLE = "NOT_READABLE"
    """whoever asks may not read the records it is counted from"""


UNITS = {
    ClvDriver.RETENTION_RATE: DriverUnit.SHARE_PER_QUARTER,
    ClvDriver.ORDER_FREQUENCY: DriverUnit.ORDERS_PER_YEAR,
    ClvDriver.AVERAGE_ORDER_VALUE: DriverUnit.MINOR_PER_ORDER,
    ClvDriver.UNITS_PER_ORDER: DriverUnit.UNITS_PER_ORDER,
    ClvDriver.PRODUCT_COST: DriverUnit.MINOR_PER_YEAR,
    ClvDriver.SERVICE_COST: DriverUnit.MINOR_PER_YEAR,
    ClvDriver.SELLING_COST: DriverUnit.MINOR_PER_YEAR,
    ClvDriver.REFERRAL_RATE: DriverUnit.REFERRALS_PER_QUARTER,
    ClvDriver.REFERRAL_COST: DriverUnit.MINOR_PER_REFERRAL,
    ClvDriver.DISCOUNT_RATE: DriverUnit.SHARE_PER_YEAR,
}


@dataclass(frozen=True, slots=True)
class DriverValue:
    """One driver: a value with its basis, or none and why."""

    code: ClvDriver
    value: float | None
    basis: DriverBasis
    missing: DriverMissing | None = None

    @property
    def unit(self) -> DriverUnit:
        """What `value` is counted in."""
        return UNITS[self.code]


@dataclass(frozen=True, slots=True)
class ReferralTerms:
    """What a caller says of referrals: how many a quarter, and of one what it brings and what it costs, minor units."""

    per_quarter: float
    gain_minor: int
    cost_minor: int


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """What is known of one customer; amounts in minor units of the reporting currency.

    `purchases_n`: purchase days ever; `revenue_minor`, `units_n`: of all orders; `units_n` 0 where none was named;
    `year_purchases_n`, `year_revenue_minor`: of the last four quarters; `margin`: the declared or recorded margin rate,
    `None` unknown; `churn`: per quarter, `None` for a prospect; `year_visits_n`: visits made, `None` where the caller
    may not read them; `discount_yearly`: as asked.
    """

    purchases_n: int
    revenue_minor: int
    units_n: int
    year_purchases_n: int
    year_revenue_minor: int
    margin: float | None
    churn: float | None
    year_visits_n: int | None
    visit_cost_minor: int
    discount_yearly: float
    referral: ReferralTerms | None = None


def drivers(facts: DriverFacts) -> tuple[DriverValue, ...]:
    """Every driver, in the order of `ClvDriver`."""
    found = {
        ClvDriver.RETENTION_RATE: _known(
            None if facts.churn is None else 1.0 - facts.churn, DriverBasis.MODEL, DriverMissing.NO_ORDERS
        ),
        ClvDriver.ORDER_FREQUENCY: _known(
            float(facts.year_purchases_n) if facts.purchases_n else None, DriverBasis.RECORDED, DriverMissing.NO_ORDERS
        ),
        ClvDriver.AVERAGE_ORDER_VALUE: _known(
            facts.revenue_minor / facts.purchases_n if facts.purchases_n else None,
            DriverBasis.RECORDED,
            DriverMissing.NO_ORDERS,
        ),
        ClvDriver.UNITS_PER_ORDER: _known(
            facts.units_n / facts.purchases_n if facts.purchases_n and facts.units_n else None,
            DriverBasis.RECORDED,
            DriverMissing.NO_UNITS if facts.purchases_n else DriverMissing.NO_ORDERS,
        ),
        ClvDriver.PRODUCT_COST: _known(
            None if facts.margin is None else facts.year_revenue_minor * (1.0 - facts.margin),
            DriverBasis.DECLARED,
            DriverMissing.NO_COSTS,
        ),
        ClvDriver.SERVICE_COST: _known(None, DriverBasis.RECORDED, DriverMissing.NO_SERVICE_COSTS),
        ClvDriver.SELLING_COST: _known(
            None if facts.year_visits_n is None else float(facts.year_visits_n * facts.visit_cost_minor),
            DriverBasis.DECLARED,
            DriverMissing.NOT_READABLE,
        ),
        ClvDriver.REFERRAL_RATE: _known(
            None if facts.referral is None else facts.referral.per_quarter,
            DriverBasis.ASKED,
            DriverMissing.NO_REFERRALS,
        ),
        ClvDriver.REFERRAL_COST: _known(
            None if facts.referral is None else float(facts.referral.cost_minor),
            DriverBasis.ASKED,
            DriverMissing.NO_REFERRALS,
        ),
        ClvDriver.DISCOUNT_RATE: _known(facts.discount_yearly, DriverBasis.ASKED, None),
    }
    return tuple(DriverValue(code, *found[code]) for code in ClvDriver)


def _known(
    value: float | None, basis: DriverBasis, missing: DriverMissing | None
) -> tuple[float | None, DriverBasis, DriverMissing | None]:
    return (None, DriverBasis.NOT_RECORDED, missing) if value is None else (value, basis, None)
