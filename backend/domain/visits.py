"""Visits: how one passes from planned to done, what proves it, and where it took place."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from backend.domain.addresses import LAT_E7_MAX, LON_E7_MAX, haversine_m
from backend.domain.custom import custom_values
from backend.domain.customers import NOTES_CHARACTERS_MAX
from backend.domain.fields import (
    Field,
    Kind,
    Merge,
    Shape,
    enum_field,
    in_order,
    server_field,
    together,
)
from backend.domain.permissions import Role
from backend.domain.steps import Machine


class VisitState(StrEnum):
    """Where a visit stands."""

    PLANNED = "PLANNED"
    CONFIRMED = "CONFIRMED"
    CHECKED_IN = "CHECKED_IN"
    COMPLETED = "COMPLETED"
    ABORTED = "ABORTED"
    MISSED = "MISSED"
    CANCELLED = "CANCELLED"


class VisitPurpose(StrEnum):
    """What a visit is for."""

    SELL = "SELL"
    SERVICE = "SERVICE"
    COLLECT = "COLLECT"
    MERCH = "MERCH"
    PROSPECT = "PROSPECT"


class VisitVerification(StrEnum):
    """What the position at check-in says about the place."""

    VERIFIED = "VERIFIED"
    SUSPECT = "SUSPECT"
    UNVERIFIED = "UNVERIFIED"


class VisitOutcome(StrEnum):
    """What a completed visit brought."""

    ORDER_TAKEN = "ORDER_TAKEN"
    ORDER_EXPECTED = "ORDER_EXPECTED"
    NO_ORDER = "NO_ORDER"
    ISSUE_RAISED = "ISSUE_RAISED"
    ISSUE_SETTLED = "ISSUE_SETTLED"
    PAYMENT_COLLECTED = "PAYMENT_COLLECTED"
    DISPLAY_DONE = "DISPLAY_DONE"
    CONTACT_MADE = "CONTACT_MADE"
    NOT_INTERESTED = "NOT_INTERESTED"


class VisitReason(StrEnum):
    """Why a visit was aborted, missed or cancelled; NO_CHECK_OUT is given by the server."""

    NO_CHECK_OUT = "NO_CHECK_OUT"
    CUSTOMER_ABSENT = "CUSTOMER_ABSENT"
    CUSTOMER_CANCELLED = "CUSTOMER_CANCELLED"
    SHOP_CLOSED = "SHOP_CLOSED"
    NO_TIME = "NO_TIME"
    TRAFFIC = "TRAFFIC"
    WEATHER = "WEATHER"
    ILLNESS = "ILLNESS"
    NOT_NEEDED = "NOT_NEEDED"
    OTHER = "OTHER"


_REP = frozenset({Role.REP.value, Role.ADMIN.value})
_PLANNER = frozenset({Role.REP.value, Role.MANAGER.value, Role.ADMIN.value})

VISIT_STEPS = Machine(
    enum=VisitState.__name__,
    starts={VisitState.PLANNED: _PLANNER, VisitState.CHECKED_IN: _REP},
    steps={
        VisitState.PLANNED: {
            VisitState.CONFIRMED: _PLANNER,
            VisitState.CHECKED_IN: _REP,
            VisitState.MISSED: _PLANNER,
            VisitState.CANCELLED: _PLANNER,
        },
        VisitState.CONFIRMED: {
            VisitState.CHECKED_IN: _REP,
            VisitState.MISSED: _PLANNER,
            VisitState.CANCELLED: _PLANNER,
        },
        VisitState.CHECKED_IN: {VisitState.COMPLETED: _REP, VisitState.ABORTED: _REP},
        VisitState.COMPLETED: {},
        VisitState.ABORTED: {},
        VisitState.MISSED: {},
        VisitState.CANCELLED: {},
    },
    evidence={
        VisitState.PLANNED: (("plannedAt",),),
        VisitState.CHECKED_IN: (("checkInAt",),),
        VisitState.COMPLETED: (("checkOutAt",), ("outcome",)),
        VisitState.ABORTED: (("reason",),),
    },
)
"""A visit nobody planned starts at CHECKED_IN. Only who was there can check in and out."""

_VISIT_MINUTES_MAX = 1_440


def _position(prefix: str) -> tuple[Field, Field]:
    return (
        Field(f"{prefix}LatE7", Kind.INT, least=-LAT_E7_MAX, most=LAT_E7_MAX, personal=True),
        Field(f"{prefix}LonE7", Kind.INT, least=-LON_E7_MAX, most=LON_E7_MAX, personal=True),
    )


VISIT = Shape(
    "visits",
    (
        Field("id", Kind.ID, nullable=False, fixed=True),
        Field("customerId", Kind.ID, nullable=False, fixed=True),
        Field("repId", Kind.ID, nullable=False),
        enum_field("state", VisitState, nullable=False, merge=Merge.STEPS, default=VisitState.PLANNED.value),
        enum_field("purpose", VisitPurpose, nullable=False, default=VisitPurpose.SELL.value),
        Field("plannedAt", Kind.TIMESTAMP),
        Field("windowStartAt", Kind.TIMESTAMP),
        Field("windowEndAt", Kind.TIMESTAMP),
        Field("checkInAt", Kind.TIMESTAMP),
        *_position("checkIn"),
        Field("checkInAccuracyM", Kind.INT, least=0, most=100_000),
        Field("checkInFixAgeS", Kind.INT, least=0, most=86_400),
        Field("checkOutAt", Kind.TIMESTAMP),
        *_position("checkOut"),
        enum_field("outcome", VisitOutcome),
        Field("nextStep", Kind.TEXT, limit=400, personal=True),
        enum_field("reason", VisitReason),
        Field("notes", Kind.LONG_TEXT, limit=NOTES_CHARACTERS_MAX, merge=Merge.APPEND_TEXT, personal=True),
        custom_values(),
        Field("minutesPlanned", Kind.INT, least=1, most=_VISIT_MINUTES_MAX),
        Field("rescheduledFromId", Kind.ID, fixed=True),
        server_field("territoryId", Kind.ID),
        server_field("verification", Kind.ENUM, values=VisitVerification),
        server_field("createdAt", Kind.TIMESTAMP),
        server_field("acceptedLateAt", Kind.TIMESTAMP, since=2),
    ),
    required=(("customerId",), ("plannedAt", "checkInAt")),
    rules=(
        in_order("windowStartAt", "windowEndAt"),
        in_order("checkInAt", "checkOutAt"),
        together("checkInLatE7", "checkInLonE7"),
        together("checkOutLatE7", "checkOutLonE7"),
    ),
)


def state_asked_for(clean: Mapping[str, object]) -> str:
    """The state a new visit asks for: the one it names, else CHECKED_IN when it began, else PLANNED."""
    if isinstance(state := clean.get("state"), str):
        return state
    return (VisitState.PLANNED if clean.get("checkInAt") is None else VisitState.CHECKED_IN).value


def visits_to_close(checked_in: Iterable[Mapping[str, object]]) -> list[str]:
    """Of one rep's visits in CHECKED_IN, the ids to be closed as ABORTED, reason NO_CHECK_OUT.

    The latest check-in stays (of equals the greater id), whichever arrived first: a rep cannot be at two
    places, and the later one is where he went.
    """
    ordered = sorted(checked_in, key=lambda visit: (_ms(visit, "checkInAt"), str(visit["id"])))
    return [str(visit["id"]) for visit in ordered[:-1]]


CLOSED_WITHOUT_CHECK_OUT: Mapping[str, str] = {
    "state": VisitState.ABORTED.value,
    "reason": VisitReason.NO_CHECK_OUT.value,
}
"""What the server writes into a visit of `visits_to_close`."""


FIX_AGE_MAX_S = 300
ACCURACY_MAX_M = 500


def verify_place(
    distance_m: float | None, accuracy_m: int | None, fix_age_s: int | None, geofence_m: int
) -> VisitVerification:
    """What the check-in position proves.

    UNVERIFIED without a distance, or when the fix is older than 5 minutes or vaguer than 500 m: it proves
    nothing either way. SUSPECT when even the nearest point of the accuracy circle lies outside the geofence.
    """
    if distance_m is None or (fix_age_s or 0) > FIX_AGE_MAX_S or (accuracy_m or 0) > ACCURACY_MAX_M:
        return VisitVerification.UNVERIFIED
    inside = distance_m - (accuracy_m or 0) <= geofence_m
    return VisitVerification.VERIFIED if inside else VisitVerification.SUSPECT


def verification_of(visit: Mapping[str, object], customer: Mapping[str, object]) -> VisitVerification:
    """`verify_place` from the fields of a visit and its customer."""
    if visit.get("checkInLatE7") is None:
        return VisitVerification.UNVERIFIED
    there = [
        visit.get("checkInLatE7"),
        visit.get("checkInLonE7"),
        customer.get("latE7"),
        customer.get("lonE7"),
    ]
    points = [value for value in there if isinstance(value, int)]
    accuracy_m, fix_age_s = visit.get("checkInAccuracyM"), visit.get("checkInFixAgeS")
    geofence_m = customer.get("geofenceM")
    return verify_place(
        haversine_m(*points) if len(points) == 4 else None,
        accuracy_m if isinstance(accuracy_m, int) else None,
        fix_age_s if isinstance(fix_age_s, int) else None,
        geofence_m if isinstance(geofence_m, int) else 0,
    )


def _ms(visit: Mapping[str, object], name: str) -> int:
    value = visit.get(name)
    return value if isinstance(value, int) else -1
