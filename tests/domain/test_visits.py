"""Visits: one at a time, and what a position proves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.fields import Merge, policy_of, validate
from backend.domain.steps import evidence_problems
from backend.domain.visits import (
    CLOSED_WITHOUT_CHECK_OUT,
    VISIT,
    VISIT_STEPS,
    VisitVerification,
    state_asked_for,
    verification_of,
    verify_place,
    visits_to_close,
)

ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def found(fields: dict[str, object], *, creating: bool = False) -> set[tuple[str, str]]:
    return {(p.code.value, p.path[0]) for p in validate(VISIT, fields, creating=creating)[1]}


def test_a_visit_needs_a_customer_and_a_time() -> None:
    assert found({}, creating=True) == {("REQUIRED", "customerId"), ("REQUIRED", "plannedAt")}
    assert found({"customerId": ID, "checkInAt": 5}, creating=True) == set()
    assert found({"customerId": ID}) == {("NOT_EDITABLE", "customerId")}
    assert found({"verification": "VERIFIED"}) == {("SERVER_ONLY_FIELD", "verification")}
    assert found({"checkInAt": 10, "checkOutAt": 9}) == {("OUT_OF_RANGE", "checkOutAt")}
    assert found({"windowStartAt": 10, "windowEndAt": 9}) == {("OUT_OF_RANGE", "windowEndAt")}
    assert found({"checkInLatE7": 1}) == {("REQUIRED", "checkInLonE7")}
    assert policy_of(VISIT, "state") is Merge.STEPS


def test_a_visit_nobody_planned_starts_checked_in() -> None:
    assert state_asked_for({"checkInAt": 5}) == "CHECKED_IN"
    assert state_asked_for({"plannedAt": 5}) == "PLANNED"
    assert state_asked_for({"plannedAt": 5, "state": "COMPLETED"}) == "COMPLETED"


def test_a_second_check_in_closes_the_earlier_one_whichever_arrived_first() -> None:
    morning, noon = {"id": "b", "checkInAt": 900}, {"id": "a", "checkInAt": 1200}
    assert visits_to_close([morning, noon]) == visits_to_close([noon, morning]) == ["b"]
    assert visits_to_close([morning]) == visits_to_close([]) == []
    assert visits_to_close([morning, noon, {"id": "c", "checkInAt": 1000}]) == ["b", "c"]
    assert visits_to_close([{"id": "x", "checkInAt": 5}, {"id": "y", "checkInAt": 5}]) == ["x"]
    closed = {"checkInAt": 900, **CLOSED_WITHOUT_CHECK_OUT}
    assert evidence_problems(VISIT_STEPS, ["ABORTED"], closed) == []
    assert validate(VISIT, dict(CLOSED_WITHOUT_CHECK_OUT), creating=False)[1] == []


@given(st.lists(st.tuples(st.uuids().map(str), st.integers(0, 3)), min_size=1, max_size=6, unique_by=lambda v: v[0]))
def test_exactly_one_visit_stays_open(visits: list[tuple[str, int]]) -> None:
    records = [{"id": visit_id, "checkInAt": at} for visit_id, at in visits]
    assert len(visits_to_close(records)) == len(records) - 1


@pytest.mark.parametrize(
    ("distance_m", "accuracy_m", "fix_age_s", "verdict"),
    [
        (0.0, 10, 0, "VERIFIED"),
        (150.0, 0, 300, "VERIFIED"),
        (151.0, 0, 0, "SUSPECT"),
        (180.0, 30, 0, "VERIFIED"),
        (181.0, 30, 0, "SUSPECT"),
        (5_000.0, 500, 300, "SUSPECT"),
        (5_000.0, 501, 0, "UNVERIFIED"),
        (0.0, 10, 301, "UNVERIFIED"),
        (None, 10, 0, "UNVERIFIED"),
        (10.0, None, None, "VERIFIED"),
    ],
)
def test_what_a_position_proves(
    distance_m: float | None, accuracy_m: int | None, fix_age_s: int | None, verdict: str
) -> None:
    assert verify_place(distance_m, accuracy_m, fix_age_s, 150) == verdict


def test_verification_reads_visit_and_customer() -> None:
    shop = {"latE7": 312_304_000, "lonE7": 1_214_737_000, "geofenceM": 150}
    here = {"checkInLatE7": 312_305_000, "checkInLonE7": 1_214_737_000, "checkInAccuracyM": 5, "checkInFixAgeS": 1}
    assert verification_of(here, shop) is VisitVerification.VERIFIED
    assert verification_of(here | {"checkInLatE7": 312_404_000}, shop) is VisitVerification.SUSPECT
    assert verification_of(here, {"latE7": None, "lonE7": None, "geofenceM": 150}) is VisitVerification.UNVERIFIED
    assert verification_of({}, shop) is VisitVerification.UNVERIFIED
