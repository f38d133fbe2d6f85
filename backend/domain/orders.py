"""Orders: one aggregate of lines with size cells, its totals, and the way from draft to closed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from backend.domain.custom import custom_values
from backend.domain.customers import NOTES_CHARACTERS_MAX
from backend.domain.fields import (
    INTEGER_MAX,
    Field,
    Kind,
    Merge,
    Shape,
    enum_field,
    server_field,
)
from backend.domain.money import DISCOUNT_BP_MAX, Money, line_total_minor, parse_currency, sum_money
from backend.domain.permissions import Role
from backend.domain.steps import ERP, Machine
from backend.errors import Code, Problem, Refused


class OrderState(StrEnum):
    """Where an order stands."""

    DRAFT = "DRAFT"
    SUBMITTED = "SUBMITTED"
    PENDING_APPROVAL = "PENDING_APPROVAL"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"
    ALLOCATED = "ALLOCATED"
    PARTLY_SHIPPED = "PARTLY_SHIPPED"
    SHIPPED = "SHIPPED"
    DELIVERED = "DELIVERED"
    CLOSED = "CLOSED"
    CANCELLED = "CANCELLED"


UNCOUNTED = (OrderState.DRAFT, OrderState.CANCELLED, OrderState.REJECTED)
"""Of these nothing was bought: an order counts from when it was submitted, unless it is cancelled or sent back."""


class OrderSource(StrEnum):
    """How an order came in (R25); IMPORT is history taken over from another system."""

    FIELD = "FIELD"
    PHONE = "PHONE"
    WEB = "WEB"
    EDI = "EDI"
    IMPORT = "IMPORT"


LINES_MAX = 500
CELLS_MAX = 60
QUANTITY_MAX = 1_000_000

_WRITER = frozenset({Role.REP.value, Role.SERVICE_AGENT.value, Role.ADMIN.value})
_APPROVER = frozenset({Role.MANAGER.value, Role.ADMIN.value})
_OWNER = frozenset({Role.REP.value, Role.ADMIN.value})
_ERP = frozenset({ERP, Role.ADMIN.value})

ORDER_STEPS = Machine(
    enum=OrderState.__name__,
    starts={OrderState.DRAFT: _WRITER},
    steps={
        OrderState.DRAFT: {OrderState.SUBMITTED: _WRITER, OrderState.CANCELLED: _WRITER},
        OrderState.SUBMITTED: {
            OrderState.PENDING_APPROVAL: _APPROVER,
            OrderState.CONFIRMED: _APPROVER,
            OrderState.REJECTED: _APPROVER,
        },
        OrderState.PENDING_APPROVAL: {OrderState.CONFIRMED: _APPROVER, OrderState.REJECTED: _APPROVER},
        OrderState.REJECTED: {OrderState.DRAFT: _OWNER},
        OrderState.CONFIRMED: {OrderState.ALLOCATED: _ERP, OrderState.CANCELLED: _APPROVER | _ERP},
        OrderState.ALLOCATED: {
            OrderState.PARTLY_SHIPPED: _ERP,
            OrderState.SHIPPED: _ERP,
            OrderState.CANCELLED: _APPROVER | _ERP,
        },
        OrderState.PARTLY_SHIPPED: {OrderState.SHIPPED: _ERP},
        OrderState.SHIPPED: {OrderState.DELIVERED: _ERP},
        OrderState.DELIVERED: {OrderState.CLOSED: _ERP},
        OrderState.CLOSED: {},
        OrderState.CANCELLED: {},
    },
    evidence={
        OrderState.SUBMITTED: (("lines",),),
        OrderState.REJECTED: (("rejectReason",),),
    },
)
"""A connected system steps only from CONFIRMED on; before that an order is people's business."""

ORDER_LINE = Shape(
    "orderLine",
    (
        Field("id", Kind.ID, nullable=False),
        Field("styleId", Kind.ID, nullable=False),
        Field("colourId", Kind.ID, nullable=False),
        Field("unitPriceMinor", Kind.MONEY_MINOR, nullable=False, least=0),
        Field("discountBp", Kind.INT, nullable=False, least=0, most=DISCOUNT_BP_MAX, default=0),
        Field("cells", Kind.CELLS, nullable=False, limit=CELLS_MAX, most=QUANTITY_MAX),
        Field("removed", Kind.BOOL, nullable=False, default=False),
    ),
    required=(("id",), ("styleId",), ("colourId",), ("cells",)),
)
"""A line in a change. `removed: true` takes the line away; stored lines do not have that field."""


def _bounded(order: Mapping[str, object]) -> Iterable[Problem]:
    """Several changes, each within its limits, must not add up to an order beyond them."""
    lines = order.get("lines")
    held = lines if isinstance(lines, list) else []
    if len(held) > LINES_MAX:
        yield Problem(Code.TOO_MANY, ("lines",), allowed=(str(LINES_MAX),))
    for index, line in enumerate(held):
        if len(_cells(line)) > CELLS_MAX:
            yield Problem(Code.TOO_MANY, ("lines", str(index), "cells"), allowed=(str(CELLS_MAX),))


ORDER = Shape(
    "orders",
    (
        Field("id", Kind.ID, nullable=False, fixed=True),
        Field("customerId", Kind.ID, nullable=False, fixed=True),
        Field("repId", Kind.ID, nullable=False),
        enum_field("state", OrderState, nullable=False, merge=Merge.STEPS, default=OrderState.DRAFT.value),
        enum_field("source", OrderSource, nullable=False, fixed=True, default=OrderSource.FIELD.value),
        Field("seasonId", Kind.ID),
        Field("window", Kind.TEXT, limit=20),
        Field("currency", Kind.TEXT, nullable=False, limit=3, check=parse_currency),
        Field("poNumber", Kind.TEXT, limit=60),
        Field("notes", Kind.LONG_TEXT, limit=NOTES_CHARACTERS_MAX, merge=Merge.APPEND_TEXT),
        custom_values(),
        Field("requestedShipOn", Kind.DATE),
        Field("rejectReason", Kind.TEXT, limit=300),
        Field("lines", Kind.RECORDS, nullable=False, limit=LINES_MAX, record=ORDER_LINE),
        server_field("territoryId", Kind.ID),
        server_field("number", Kind.TEXT),
        server_field("totalMinor", Kind.MONEY_MINOR),
        server_field("units", Kind.INT),
        server_field("submittedAt", Kind.TIMESTAMP),
        server_field("orderedOn", Kind.DATE),
        server_field("createdAt", Kind.TIMESTAMP),
        server_field("acceptedLateAt", Kind.TIMESTAMP, since=2),
    ),
    required=(("customerId",), ("currency",)),
    rules=(_bounded,),
)

Line = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class OrderTotals:
    """Amounts in minor units of the order's currency, units in pieces; `line_*` in the order of the lines."""

    total_minor: int
    units: int
    line_total_minor: tuple[int, ...]
    line_units: tuple[int, ...]


def order_totals(lines: Sequence[Line], currency: str) -> OrderTotals:
    """Every line rounded once, half-even, then summed; never taken from a client.

    Raises OUT_OF_RANGE with the line's path when a line or the sum leaves 2^53.
    """
    totals: list[int] = []
    units: list[int] = []
    problems: list[Problem] = []
    for index, line in enumerate(lines):
        units.append(sum(_cells(line).values()))
        try:
            totals.append(line_total_minor(_whole(line, "unitPriceMinor"), units[-1], _whole(line, "discountBp")))
        except Refused as refused:
            problems.extend(problem.under("lines", str(index)) for problem in refused.problems)
    if problems:
        raise Refused(*problems)
    total = sum_money([Money(total, currency) for total in totals], currency)
    if sum(units) > INTEGER_MAX:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("units",), allowed=(str(INTEGER_MAX),)))
    return OrderTotals(total.amount_minor, sum(units), tuple(totals), tuple(units))


def currency_problem(currency: str, price_list_currency: str) -> Problem | None:
    """CURRENCY_MIXED when an order is not in the currency its prices are in."""
    if currency == price_list_currency:
        return None
    return Problem(Code.CURRENCY_MIXED, ("currency",), allowed=(price_list_currency,))


_STEP_FIELDS: Mapping[str, frozenset[str]] = {OrderState.REJECTED: frozenset({"rejectReason"})}


def edit_problems(at: str | None, walk: Iterable[str], changed: Iterable[str]) -> list[Problem]:
    """NOT_EDITABLE for each field changed outside DRAFT; `walk` are the states this same change enters.

    Sending an order back to DRAFT and editing it may be one change; a rejection brings its reason.
    """
    entered = list(walk)
    if at is None or OrderState.DRAFT in (at, *entered):
        return []
    brought = {"state"}.union(*(_STEP_FIELDS.get(state, frozenset()) for state in entered))
    return [
        Problem(
            Code.NOT_EDITABLE,
            (name,),
            allowed=(OrderState.DRAFT.value,),
            params={"enum": OrderState.__name__, "state": at},
        )
        for name in changed
        if name not in brought
    ]


def discount_problems(lines: Sequence[Line], cap_bp: int | None) -> list[Problem]:
    """DISCOUNT_OVER_CAP for each line above what the role may give, in basis points; None is no cap."""
    return [
        Problem(
            Code.DISCOUNT_OVER_CAP,
            ("lines", str(index), "discountBp"),
            allowed=(str(cap_bp),),
            params={"percent": f"{cap_bp / 100:g}"},
        )
        for index, line in enumerate(lines)
        if cap_bp is not None and _whole(line, "discountBp") > cap_bp
    ]


def discount_cap_bp(role: Role, rep_cap_bp: int) -> int | None:
    """What a role may give off in basis points: a manager or admin any discount, others the rep's cap."""
    return None if role in (Role.MANAGER, Role.ADMIN) else rep_cap_bp


def _cells(line: Line) -> dict[str, int]:
    cells = line.get("cells")
    return dict(cells) if isinstance(cells, Mapping) else {}


def _whole(line: Line, name: str) -> int:
    value = line.get(name)
    return value if isinstance(value, int) else 0
