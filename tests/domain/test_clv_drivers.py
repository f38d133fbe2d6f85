"""Drivers of lifetime value: a number on a stated basis, or no number and the reason; a true zero stays a zero."""

import dataclasses

import pytest

from backend.domain.clv_drivers import (
    ClvDriver,
    DriverBasis,
    DriverFacts,
    DriverMissing,
    DriverUnit,
    ReferralTerms,
    drivers,
)

pytestmark = pytest.mark.requirement("R50")
KNOWN = DriverFacts(
    purchases_n=8,
    revenue_minor=40_000,
    units_n=100,
    year_purchases_n=4,
    year_revenue_minor=20_000,
    margin=0.4,
    churn=0.05,
    year_visits_n=3,
    visit_cost_minor=5_000,
    discount_yearly=0.1,
    referral=ReferralTerms(0.1, 8_000, 1_500),
)
NOTHING = dataclasses.replace(
    KNOWN, purchases_n=0, revenue_minor=0, units_n=0, year_purchases_n=0, year_revenue_minor=0, margin=None,
    churn=None, year_visits_n=None, referral=None,
)  # fmt: skip


def test_every_driver_is_there_in_its_unit():
    found = {one.code: (one.value, one.unit, one.basis, one.missing) for one in drivers(KNOWN)}
    assert list(found) == list(ClvDriver)
    assert found == {
        ClvDriver.RETENTION_RATE: (0.95, DriverUnit.SHARE_PER_QUARTER, DriverBasis.MODEL, None),
        ClvDriver.ORDER_FREQUENCY: (4.0, DriverUnit.ORDERS_PER_YEAR, DriverBasis.RECORDED, None),
        ClvDriver.AVERAGE_ORDER_VALUE: (5_000.0, DriverUnit.MINOR_PER_ORDER, DriverBasis.RECORDED, None),
        ClvDriver.UNITS_PER_ORDER: (12.5, DriverUnit.UNITS_PER_ORDER, DriverBasis.RECORDED, None),
        ClvDriver.PRODUCT_COST: (12_000.0, DriverUnit.MINOR_PER_YEAR, DriverBasis.DECLARED, None),
        ClvDriver.SERVICE_COST: (
            None, DriverUnit.MINOR_PER_YEAR, DriverBasis.NOT_RECORDED, DriverMissing.NO_SERVICE_COSTS,
        ),
        ClvDriver.SELLING_COST: (15_000.0, DriverUnit.MINOR_PER_YEAR, DriverBasis.DECLARED, None),
        ClvDriver.REFERRAL_RATE: (0.1, DriverUnit.REFERRALS_PER_QUARTER, DriverBasis.ASKED, None),
        ClvDriver.REFERRAL_COST: (1_500.0, DriverUnit.MINOR_PER_REFERRAL, DriverBasis.ASKED, None),
        ClvDriver.DISCOUNT_RATE: (0.1, DriverUnit.SHARE_PER_YEAR, DriverBasis.ASKED, None),
    }  # fmt: skip


def test_what_nobody_recorded_is_no_zero_and_says_why():
    found = {one.code: one for one in drivers(NOTHING)}
    missing = {code: one.missing for code, one in found.items() if one.value is None}
    assert missing == {
        ClvDriver.RETENTION_RATE: DriverMissing.NO_ORDERS,
        ClvDriver.ORDER_FREQUENCY: DriverMissing.NO_ORDERS,
        ClvDriver.AVERAGE_ORDER_VALUE: DriverMissing.NO_ORDERS,
        ClvDriver.UNITS_PER_ORDER: DriverMissing.NO_ORDERS,
        ClvDriver.PRODUCT_COST: DriverMissing.NO_COSTS,
        ClvDriver.SERVICE_COST: DriverMissing.NO_SERVICE_COSTS,
        ClvDriver.SELLING_COST: DriverMissing.NOT_READABLE,
        ClvDriver.REFERRAL_RATE: DriverMissing.NO_REFERRALS,
        ClvDriver.REFERRAL_COST: DriverMissing.NO_REFERRALS,
    }
    assert all(found[code].basis is DriverBasis.NOT_RECORDED for code in missing)


def test_a_true_zero_is_a_zero():
    silent = {one.code: one.value for one in drivers(dataclasses.replace(KNOWN, year_purchases_n=0, year_visits_n=0))}
    assert silent[ClvDriver.ORDER_FREQUENCY] == silent[ClvDriver.SELLING_COST] == 0.0
    unnamed = {one.code: one for one in drivers(dataclasses.replace(KNOWN, units_n=0))}
    assert unnamed[ClvDriver.UNITS_PER_ORDER].missing is DriverMissing.NO_UNITS
