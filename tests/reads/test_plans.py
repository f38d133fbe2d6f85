"""What stands in a compiled statement itself, what of it is a value, and which way it goes."""

from dataclasses import replace

import pytest

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.reads.compiler import compile_selection
from backend.reads.plans import Plan
from backend.reads.selection import Asked, Form, Selection, Span, one
from backend.storage.dialects import Dialect, for_sqlite, sqlite_argument
from backend.storage.engine import Engine

REP = Principal(PrincipalKind.STAFF, user_id="u", device_id="d", role=Role.REP)
NODES = (Asked("nodes", "nodes", (Asked("id", "id"),)),)
ORDERS = (Asked("orders", "orders", NODES, slot=1),)
BY_PRIORITY = Selection("customers", Form.PAGE, order="PRIORITY")


def plan_of(selection: Selection, *spans: Span, dialect: Dialect = Dialect.POSTGRES) -> Plan:
    asked = NODES if selection.form is Form.PAGE else ORDERS
    plan = compile_selection(selection, asked, spans, REP, dialect)
    assert plan is not None
    return plan


@pytest.mark.parametrize(
    ("selection", "spans", "steady"),
    [
        (one("customers", "c"), (Span(50), Span(10)), True),
        (one("customers", "c"), (Span(50), Span(7)), False),
        (one("customers", "c"), (Span(50), Span(10, position=(1, "o"))), False),
        (BY_PRIORITY, (Span(50),), True),
        (BY_PRIORITY, (Span(49),), False),
        (BY_PRIORITY, (Span(50, position=(1, "c")),), False),
        (Selection("customers", Form.PAGE, (("search", (["hang"],)),)), (Span(50),), False),
    ],
)
def test_one_plan_is_enough_where_no_value_says_how_many_rows_there_are(
    selection: Selection, spans: tuple[Span, ...], steady: bool
) -> None:
    assert plan_of(selection, *spans).steady is steady


def test_usual_sizes_stand_in_the_statement_which_then_fits_no_other() -> None:
    usual, other = plan_of(BY_PRIORITY, Span(50)), plan_of(BY_PRIORITY, Span(49))
    assert "LIMIT 50" in usual.sql
    assert usual.fits([Span(50)])
    assert not usual.fits([Span(20)])
    assert not usual.fits([Span(49)])
    assert "LIMIT 50" not in other.sql
    assert other.fits([Span(48)])
    assert not other.fits([Span(50)])


def test_only_who_asks_whether_there_are_more_reads_one_more_and_numbers_them() -> None:
    more = (*NODES, Asked("pageInfo", "pageInfo", (Asked("hasNextPage", "hasNextPage"),)))
    last = Selection("visits", Form.PAGE)
    for asked, span, numbered in ((NODES, Span(50), False), (more, Span(50), True), (NODES, Span(50, True), True)):
        plan = compile_selection(last, asked, (span,), REP, Dialect.POSTGRES)
        assert plan is not None
        assert ("row_number()" in plan.sql) is numbered
        assert f"LIMIT {51 if numbered else 50})" in plan.sql


def test_what_a_rep_holds_is_found_out_once_and_looked_at_at_every_level() -> None:
    """Who holds much is better served by a hash at each place than by lists; SQLite has no lists."""
    manager = replace(REP, role=Role.MANAGER)
    held = "FROM user_scope g WHERE g.user_id = ?"
    for principal, dialect, times in (
        (REP, Dialect.POSTGRES, 1), (manager, Dialect.POSTGRES, 5), (REP, Dialect.SQLITE, 5),
    ):  # fmt: skip
        plan = compile_selection(one("customers", "c"), ORDERS, (Span(50), Span(10)), principal, dialect)
        assert plan is not None
        assert plan.sql.count(held) == times
        if times == 1:
            # his customer in three ways, its orders in two
            assert plan.sql.count("h.territory_keys FROM held h") == 3
            assert plan.sql.count("h.unassigned_held FROM held h") == 2


async def test_a_reps_list_by_priority_walks_his_territories_and_prints_no_more_than_he_asked_for(
    engine: Engine,
) -> None:
    """The list of what comes first in a territory is read off its index, once for each."""
    if engine.dialect is not Dialect.SQLITE:
        pytest.skip("PostgreSQL chooses by what the tables hold")
    steps = await steps_of(engine, REP, Span(50))
    lists = [at for at, step in enumerate(steps) if step.startswith("CORRELATED LIST SUBQUERY")]
    assert len(lists) == 1, steps
    assert "INDEX idx_customer_sc_territo" in steps[lists[0] + 1], steps
    assert "territory_id=?" in steps[lists[0] + 1], steps


@pytest.mark.parametrize("span", [Span(50), Span(50, position=(40, "c"))], ids=["first", "later"])
async def test_the_list_by_priority_of_who_holds_much_walks_the_index_of_priorities_from_any_page(
    engine: Engine, span: Span
) -> None:
    """Else all that is in scope is found and sorted for each page, which is as slow as the company is large."""
    if engine.dialect is not Dialect.SQLITE:
        pytest.skip("PostgreSQL chooses by what the tables hold")
    steps = await steps_of(engine, replace(REP, role=Role.MANAGER), span)
    walked = [step for step in steps if "INDEX idx_customer_sc" in step]
    assert walked, steps
    assert all("INDEX idx_customer_sc_priorit" in step for step in walked), steps


async def steps_of(engine: Engine, principal: Principal, span: Span) -> list[str]:
    """How SQLite goes about a page of the list by priority, where it knows nothing of what the tables hold."""
    plan = compile_selection(BY_PRIORITY, NODES, [span], principal, Dialect.SQLITE)
    assert plan is not None
    values = [sqlite_argument(value) for value in plan.arguments(principal, 0, BY_PRIORITY, [span])]
    return [str(row[3]) for row in await engine.fetch(f"EXPLAIN QUERY PLAN {for_sqlite(plan.sql)}", *values)]
