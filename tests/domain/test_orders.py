"""Orders: lines, cells, totals, and who may change what when."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.fields import Merge, field_paths, policy_of, validate, whole_problems
from backend.domain.merge import Merged, merge_change, with_paths
from backend.domain.orders import (
    CELLS_MAX,
    LINES_MAX,
    ORDER,
    currency_problem,
    discount_cap_bp,
    discount_problems,
    edit_problems,
    order_totals,
)
from backend.domain.permissions import Role
from backend.errors import Code, Refused

SKUS = [f"01890a5d-ac96-774b-bcce-0000000000{n:02d}" for n in range(70)]
LINE_A, LINE_B, STYLE, COLOUR, CUSTOMER_ID = SKUS[60:65]


def line(line_id: str = LINE_A, **more: object) -> dict[str, object]:
    return {
        "id": line_id,
        "styleId": STYLE,
        "colourId": COLOUR,
        "unitPriceMinor": 1000,
        "discountBp": 0,
        "cells": {SKUS[0]: 2},
        **more,
    }


def found(fields: dict[str, object], *, creating: bool = True) -> set[tuple[str, str]]:
    whole = {"customerId": CUSTOMER_ID, "currency": "USD", **fields} if creating else fields
    return {(p.code.value, ".".join(p.path)) for p in validate(ORDER, whole, creating=creating)[1]}


def test_the_path_of_a_problem_leads_to_the_cell() -> None:
    assert found({"lines": [line(), line(LINE_B, cells={SKUS[1]: -3, SKUS[2]: 1_000_001})]}) == {
        ("OUT_OF_RANGE", f"lines.1.cells.{SKUS[1]}"),
        ("OUT_OF_RANGE", f"lines.1.cells.{SKUS[2]}"),
    }
    assert found({"lines": [line(cells={})]}) == {("REQUIRED", "lines.0.cells")}
    assert found({"lines": [line(cells={SKUS[1]: 0})]}) == {("OUT_OF_RANGE", f"lines.0.cells.{SKUS[1]}")}
    assert found({"lines": [line(cells=dict.fromkeys(SKUS[:61], 1))]}) == {("TOO_MANY", "lines.0.cells")}
    assert found({"lines": [line(discountBp=10_001, unitPriceMinor=-1)]}) == {
        ("OUT_OF_RANGE", "lines.0.discountBp"),
        ("OUT_OF_RANGE", "lines.0.unitPriceMinor"),
    }
    assert found({"totalMinor": 1, "number": "7", "currency": "usd "}) == {
        ("SERVER_ONLY_FIELD", "totalMinor"),
        ("SERVER_ONLY_FIELD", "number"),
    }
    assert found({"currency": "XXX"}) == {("NOT_ALLOWED_VALUE", "currency")}


def test_totals_are_the_sum_of_rounded_lines() -> None:
    lines = [
        line(unitPriceMinor=25, discountBp=5000, cells={SKUS[0]: 1}),
        line(LINE_B, unitPriceMinor=35, discountBp=5000, cells={SKUS[0]: 1}),
        line(LINE_B, unitPriceMinor=1999, cells={SKUS[0]: 2, SKUS[1]: 1}),
    ]
    totals = order_totals(lines, "USD")
    assert totals.line_total_minor == (12, 18, 5997)
    assert (totals.total_minor, totals.units, totals.line_units) == (6027, 5, (1, 1, 3))
    assert order_totals([], "KRW").total_minor == 0


def test_a_total_a_client_could_not_hold_is_refused_with_its_line() -> None:
    with pytest.raises(Refused) as refused:
        order_totals([line(), line(LINE_B, unitPriceMinor=2**53 - 1)], "USD")
    assert refused.value.problems[0].path[:2] == ("lines", "1")
    with pytest.raises(Refused):
        order_totals([line(unitPriceMinor=2**53 - 1, cells={SKUS[0]: 1}), line(LINE_B)], "USD")


def test_an_order_is_in_the_currency_of_its_prices() -> None:
    assert currency_problem("USD", "USD") is None
    problem = currency_problem("USD", "KRW")
    assert problem is not None
    assert (problem.code, problem.allowed) == (Code.CURRENCY_MIXED, ("KRW",))


def merge(lines: list[dict[str, object]], changes: list[dict[str, object]]) -> Merged:
    clean, problems = validate(ORDER, {"lines": changes}, creating=False)
    assert problems == []
    return merge_change(ORDER, {"lines": lines}, clean, field_seq={}, base_rev=0, writer="mine")


def changed(lines: list[dict[str, object]], changes: list[dict[str, object]]) -> list[dict[str, object]]:
    """The lines of an order after a change nobody else's change meets."""
    merged = merge(lines, changes)
    assert merged.conflicts == []
    after = with_paths(ORDER, {"lines": lines}, merged.accepted)["lines"]
    assert isinstance(after, list)
    return after


def test_two_people_editing_different_cells_both_win() -> None:
    base = [line(cells={SKUS[0]: 2, SKUS[1]: 3})]
    mine = [{"id": LINE_A, "cells": {SKUS[0]: 5}}]
    theirs = [{"id": LINE_A, "cells": {SKUS[2]: 1, SKUS[1]: 0}}]
    one_way = changed(changed(base, mine), theirs)
    other_way = changed(changed(base, theirs), mine)
    assert one_way == other_way == [line(cells={SKUS[0]: 5, SKUS[2]: 1})]
    assert set(field_paths(ORDER, {"lines": mine})).isdisjoint(field_paths(ORDER, {"lines": theirs}))
    assert policy_of(ORDER, f"lines.{LINE_A}.cells.{SKUS[0]}") is Merge.MERGE


def test_lines_are_added_whole_and_taken_away() -> None:
    base = [line()]
    after = changed(base, [line(LINE_B, cells={SKUS[1]: 1, SKUS[2]: 0})])
    assert after == [line(), line(LINE_B, cells={SKUS[1]: 1})]
    assert base == [line()]
    assert changed(after, [{"id": LINE_A, "removed": True}]) == [line(LINE_B, cells={SKUS[1]: 1})]
    assert changed(base, [{"id": LINE_A, "cells": {SKUS[0]: 0}}]) == []
    part = {"id": LINE_B, "cells": {SKUS[1]: 1}}
    merged = merge(base, [part])
    assert (merged.accepted, [c.path for c in merged.conflicts]) == ({}, [f"lines.{LINE_B}"])


def test_lines_and_cells_stay_bounded_across_changes() -> None:
    full = changed([line(cells=dict.fromkeys(SKUS[:CELLS_MAX], 1))], [{"id": LINE_A, "cells": {SKUS[60]: 1}}])
    assert beyond(full) == [(Code.TOO_MANY, ("lines", "0", "cells"))]
    many = [line(f"01890a5d-ac96-774b-bccf-{n:012d}") for n in range(LINES_MAX)]
    assert beyond(many) == []
    assert beyond(changed(many, [line(LINE_B)])) == [(Code.TOO_MANY, ("lines",))]


def beyond(lines: list[dict[str, object]]) -> list[tuple[Code, tuple[str, ...]]]:
    order = {"customerId": CUSTOMER_ID, "currency": "USD", "lines": lines}
    return [(p.code, p.path) for p in whole_problems(ORDER, order)]


cells = st.dictionaries(st.sampled_from(SKUS[:5]), st.integers(0, 4), max_size=4)


@given(cells, cells)
@settings(max_examples=100)
def test_a_change_applied_twice_changes_nothing_more(before: dict[str, int], change: dict[str, int]) -> None:
    base = [line(cells={sku: n for sku, n in before.items() if n} or {SKUS[9]: 1})]
    patch = [{"id": LINE_A, "unitPriceMinor": 7, "cells": change}]
    once = changed(base, patch)
    assert all(n > 0 for held in once for n in dict(held["cells"]).values())  # type: ignore[call-overload]
    if once:
        assert changed(once, patch) == once


def test_fields_change_in_draft_only() -> None:
    assert edit_problems(None, ["DRAFT"], ["lines"]) == []
    assert edit_problems("DRAFT", ["SUBMITTED"], ["lines", "state"]) == []
    assert edit_problems("REJECTED", ["DRAFT", "SUBMITTED"], ["lines", "state"]) == []
    assert edit_problems("SUBMITTED", ["REJECTED"], ["state", "rejectReason"]) == []
    for at in ("SUBMITTED", "CONFIRMED", "REJECTED", "CLOSED"):
        problems = edit_problems(at, [], ["lines", "notes"])
        assert [(p.code, p.path) for p in problems] == [
            (Code.NOT_EDITABLE, ("lines",)),
            (Code.NOT_EDITABLE, ("notes",)),
        ]
    assert [p.path for p in edit_problems("SUBMITTED", ["CONFIRMED"], ["rejectReason"])] == [("rejectReason",)]


def test_each_role_has_its_discount_cap() -> None:
    lines = [line(discountBp=1000), line(LINE_B, discountBp=1001)]
    problems = discount_problems(lines, discount_cap_bp(Role.REP, 1000))
    assert [(p.code, p.path, p.allowed) for p in problems] == [
        (Code.DISCOUNT_OVER_CAP, ("lines", "1", "discountBp"), ("1000",))
    ]
    assert discount_problems(lines, discount_cap_bp(Role.SERVICE_AGENT, 0)) != []
    assert discount_problems(lines, discount_cap_bp(Role.MANAGER, 0)) == []
