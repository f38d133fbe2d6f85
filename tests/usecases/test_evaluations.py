"""Evaluations in an organisation: planned before, drawn once, judged in their window, and never changed afterwards."""

from dataclasses import replace
from typing import Any

import pytest

from backend.config import Settings
from backend.domain.evaluations import EvaluationMetric, EvaluationRecord, EvaluationState, SubjectKind
from backend.domain.times import add_days
from backend.domain.visit_uplift import UpliftBasis, VisitUplift
from backend.errors import Code, Refused
from backend.ids import new_id
from backend.usecases.evaluations import (
    EvaluationPlan,
    arm_of,
    close_evaluation,
    drop_evaluation,
    freeze_evaluation,
    lessons_for,
    list_evaluations,
    plan_evaluation,
    visit_uplift_now,
)
from tests import factories, histories
from tests.house import House

pytestmark = pytest.mark.requirement("R30")

TODAY, STARTS, ENDS = "2026-11-22", "2026-11-23", "2026-12-22"
SETTINGS = Settings(reporting_currency="USD")
DAY_MS = 86_400_000
PLAN = EvaluationPlan(
    subject_kind=SubjectKind.VISIT_PROGRAMME,
    subject_id="winter-visits",
    name="Two visits before the winter",
    metric=EvaluationMetric.REVENUE,
    starts_on=STARTS,
    ends_on=ENDS,
    holdout_bp=2_500,
    cost_minor=30_000,
)
SHOPS = 80
SCORE = {
    "run_id": new_id(), "table_id": "", "priority": 1, "segment_since": TODAY, "segment_cause": "FIRST",
    "stage": "MATURE", "past_value_minor": 0, "future_value_minor": 0, "currency": "USD", "basis": "REVENUE",
    "coverage_bp": 0, "confidence_bp": 0, "as_of": TODAY, "evidence": "", "segment_state": 0,
    "segment_state_before": 0, "segment_counted_on": TODAY,
}  # fmt: skip
"""The columns of a score that do not matter here."""


async def plan(house: House, who: str = "analyst", **changes: Any) -> str:
    return await house.work(who, lambda work: plan_evaluation(work, replace(PLAN, **changes), SETTINGS))


async def freeze(house: House, evaluation_id: str, who: str = "analyst", settings: Settings = SETTINGS) -> None:
    await house.work(who, lambda work: freeze_evaluation(work, evaluation_id, settings))


async def close(
    house: House, evaluation_id: str, lesson: str = "Visits helped.", settings: Settings = SETTINGS
) -> EvaluationRecord:
    return await house.work("analyst", lambda work: close_evaluation(work, evaluation_id, lesson, settings))


async def seen(house: House, who: str, **options: Any) -> tuple[EvaluationRecord, ...]:
    async with house.engine.read() as conn:
        return (await list_evaluations(conn, house.people[who], first=50, **options)).items


async def arms(house: House, evaluation_id: str) -> dict[str, bool]:
    async with house.engine.read() as conn:
        rows = await conn.fetch(
            "SELECT customer_id, held_out FROM evaluation_arm WHERE evaluation_id = ?", evaluation_id
        )
    return {row[0]: bool(row[1]) for row in rows}


def problems(refused: pytest.ExceptionInfo[Refused]) -> list[tuple[Code, tuple[str, ...]]]:
    return [(problem.code, problem.path) for problem in refused.value.problems]


@pytest.fixture
async def shops(house: House) -> list[str]:
    """80 shops in the north, 20 in the south."""
    async with house.engine.write() as conn:
        north = await histories.customers(conn, SHOPS, territory_id=house.patches["north"])
        await histories.customers(conn, 20, territory_id=house.patches["south"])
    return north


async def sold(house: House, rows: list[tuple[str, str, int]], currency: str = "USD") -> None:
    async with house.engine.write() as conn:
        await histories.orders(conn, rows, currency=currency)


async def north_evaluation(house: House, **changes: Any) -> str:
    found = await plan(house, territory_id=house.patches["north"], **changes)
    await freeze(house, found)
    return found


async def test_what_was_injected_is_found_with_its_interval_and_its_return(house: House, shops: list[str]) -> None:
    evaluation_id = await north_evaluation(house)
    held = await arms(house, evaluation_id)
    assert set(held) == set(shops)
    assert sum(held.values()) == SHOPS // 4
    await sold(
        house,
        [
            (shop, add_days(STARTS, place % 30), 10_000 + 100 * (place % 7) + (0 if held[shop] else 2_000))
            for place, shop in enumerate(shops)
        ],
    )
    # before the window and after it nothing counts
    await sold(house, [(shop, day, 777_777) for shop in shops[:9] for day in (TODAY, add_days(ENDS, 1))])
    house.now_ms += 31 * DAY_MS
    found = await close(house, evaluation_id)
    result = found.result
    assert result is not None
    assert (found.state, found.lesson) == (EvaluationState.CLOSED, "Visits helped.")
    # what is sold spreads by 200, so the error is 200·√(1/60 + 1/20) = 52: the arms, drawn anew each time, may miss it
    assert result["lift"] == pytest.approx(2_000, abs=300)
    assert result["high"] - result["low"] == pytest.approx(4 * 52, rel=0.3)
    assert (result["verdict"], result["basis"]) == ("BETTER", "REVENUE")
    assert (result["treatedN"], result["controlN"]) == (60, 20)
    assert result["gainMinor"] == pytest.approx(60 * result["lift"], abs=1)
    assert result["netMinor"] == result["gainMinor"] - 30_000
    assert result["returnRatio"] == pytest.approx(result["gainMinor"] / 30_000, abs=1e-5)
    assert result["relative"] == pytest.approx(result["lift"] / result["controlMean"], abs=1e-4)


async def test_everybody_counts_in_the_arm_drawn_and_a_margin_makes_money_of_it(house: House, shops: list[str]) -> None:
    evaluation_id = await north_evaluation(house, metric=EvaluationMetric.BUYERS)
    held = await arms(house, evaluation_id)
    treated = [shop for shop in shops if not held[shop]]
    # half of the treated were never reached: they count as treated all the same
    await sold(house, [(shop, STARTS, 10_000) for shop in treated[:30]])
    await sold(house, [(shop, ENDS, 0) for shop in treated[30:]])
    house.now_ms += 31 * DAY_MS
    found = await close(house, evaluation_id, settings=Settings(reporting_currency="USD", default_margin_bp=4_000))
    assert found.result is not None
    assert found.result["treatedMean"] == 0.5
    assert found.result["controlMean"] == 0.0
    assert found.result["relative"] is None
    assert found.result["basis"] == "DEFAULT_MARGIN"
    assert found.result["gainMinor"] == round(30 * 10_000 * 0.4)


async def test_foreign_orders_count_at_the_rate_of_their_day_and_without_one_it_stays_open(
    house: House, shops: list[str]
) -> None:
    evaluation_id = await north_evaluation(house)
    await sold(house, [(shop, STARTS, 1_000) for shop in shops], currency="CNY")
    house.now_ms += 31 * DAY_MS
    with pytest.raises(Refused) as refused:
        await close(house, evaluation_id)
    assert problems(refused) == [(Code.NO_EXCHANGE_RATE, ("CNY",))]
    assert (await seen(house, "admin"))[0].state is EvaluationState.FROZEN
    async with house.engine.write() as conn:
        await factories.insert(
            conn, "exchange_rate", id=new_id(), currency="CNY", valid_from="2026-01-01", rate_e9=140_000_000
        )
    found = await close(house, evaluation_id)
    assert found.result is not None
    assert found.result["controlMean"] == 140.0


@pytest.mark.parametrize("lost", [8, 16])
async def test_arms_that_lost_customers_unevenly_end_it_without_an_effect(
    house: House, shops: list[str], lost: int
) -> None:
    """12 of 72 could still be a draw of a quarter; that all 8 who are gone were held out could not."""
    evaluation_id = await north_evaluation(house)
    held = await arms(house, evaluation_id)
    async with house.engine.write() as conn:
        gone = [shop for shop in shops if held[shop]][:lost]
        await conn.execute("DELETE FROM customer WHERE id = ANY(?)", gone)
    house.now_ms += 31 * DAY_MS
    found = await close(house, evaluation_id, "Held-out shops were closed in the shop system.")
    assert found.state is EvaluationState.ABORTED
    assert found.result is not None
    assert found.result["ratioP"] < 0.001
    assert "lift" not in found.result


async def test_it_is_planned_before_it_starts_and_every_mistake_is_told_at_once(house: House) -> None:
    with pytest.raises(Refused) as refused:
        await plan(
            house, name=" ", subject_id="x" * 81, starts_on=TODAY, ends_on=add_days(TODAY, 5), holdout_bp=999,
            cost_minor=-1, segments=("ZZZZ",), kinds=("DRAGON",), territory_id=new_id(),
        )  # fmt: skip
    assert sorted(problems(refused)) == sorted(
        [
            (Code.REQUIRED, ("name",)),
            (Code.TOO_LONG, ("subjectId",)),
            (Code.OUT_OF_RANGE, ("startsOn",)),
            (Code.OUT_OF_RANGE, ("endsOn",)),
            (Code.OUT_OF_RANGE, ("holdoutBp",)),
            (Code.OUT_OF_RANGE, ("costMinor",)),
            (Code.NOT_ALLOWED_VALUE, ("segments",)),
            (Code.NOT_ALLOWED_VALUE, ("kinds",)),
            (Code.NOT_FOUND, ("territoryId",)),
        ]
    )
    assert await seen(house, "admin") == ()


async def test_arms_are_drawn_once_not_after_the_start_and_not_for_too_few(house: House, shops: list[str]) -> None:
    drawn = await north_evaluation(house)
    before = await arms(house, drawn)
    with pytest.raises(Refused) as refused:
        await freeze(house, drawn)
    assert problems(refused) == [(Code.INVALID_TRANSITION, ("state",))]
    assert await arms(house, drawn) == before
    few = await plan(house, territory_id=house.patches["south"], holdout_bp=1_000)
    with pytest.raises(Refused) as refused:
        await freeze(house, few)
    assert problems(refused) == [(Code.OUT_OF_RANGE, ("holdoutBp",))], "2 of 20 are no control"
    many = await plan(house)
    with pytest.raises(Refused) as refused:
        await freeze(house, many, settings=Settings(reporting_currency="USD", evaluation_customers_max=99))
    assert problems(refused) == [(Code.TOO_MANY, ("customers",))]
    house.now_ms += 2 * DAY_MS
    with pytest.raises(Refused) as refused:
        await freeze(house, many)
    assert problems(refused) == [(Code.OUT_OF_RANGE, ("startsOn",))]


async def test_it_is_closed_with_a_lesson_after_its_window_and_never_changes_again(
    house: House, shops: list[str]
) -> None:
    evaluation_id = await north_evaluation(house)
    with pytest.raises(Refused) as refused:
        await close(house, evaluation_id, "  ")
    assert problems(refused) == [(Code.REQUIRED, ("lesson",)), (Code.OUT_OF_RANGE, ("endsOn",))]
    house.now_ms += 31 * DAY_MS
    closed = await close(house, evaluation_id)
    assert closed.result is not None
    assert closed.result["verdict"] == "AS_GOOD", "nobody bought anything"
    for again in (
        close(house, evaluation_id, "Another lesson."),
        freeze(house, evaluation_id),
        house.work("analyst", lambda work: drop_evaluation(work, evaluation_id, "No.")),
    ):
        with pytest.raises(Refused) as refused:
            await again
        assert problems(refused) == [(Code.INVALID_TRANSITION, ("state",))]
    assert (await seen(house, "analyst"))[0] == closed
    never = await plan(house, starts_on=add_days(STARTS, 60), ends_on=add_days(STARTS, 90))
    with pytest.raises(Refused) as refused:
        await close(house, never)
    assert problems(refused) == [(Code.INVALID_TRANSITION, ("state",))], "no arms were drawn"


async def test_lessons_meet_the_next_plan_and_those_running_the_same_strategy_first(
    house: House, shops: list[str]
) -> None:
    ended = []
    for place, (kind, strategy) in enumerate(
        ((SubjectKind.VISIT_PROGRAMME, None), (SubjectKind.CAMPAIGN, "HHLH"), (SubjectKind.CAMPAIGN, None))
    ):
        one = await plan(house, subject_kind=kind, strategy=strategy, subject_id=f"s{place}")
        await house.work("analyst", lambda work, one=one, n=place: drop_evaluation(work, one, f"Lesson {n}"))  # type: ignore[misc]
        ended.append(one)
        house.now_ms += 1_000
    running = await plan(house, strategy="HHLH")
    async with house.engine.read() as conn:
        lessons = await lessons_for(conn, house.people["analyst"], running)
        listed = (await list_evaluations(conn, house.people["analyst"], first=50)).lessons
    assert [one.lesson for one in lessons] == ["Lesson 1", "Lesson 0"], "its strategy first, then its kind"
    assert {key: [one.id for one in found] for key, found in listed.items()} == {running: [ended[1], ended[0]]}


async def test_a_manager_evaluates_in_his_subtree_and_reads_what_concerns_all(house: House, shops: list[str]) -> None:
    everywhere = await plan(house)
    mine = await plan(house, "manager", territory_id=house.patches["north"])
    async with house.engine.write() as conn:
        other = await factories.territory(conn, "/us")
    far = await plan(house, territory_id=other)
    assert {one.id for one in await seen(house, "manager")} == {everywhere, mine}
    assert {one.id for one in await seen(house, "analyst")} == {everywhere, mine, far}
    for territory_id in (None, other):
        with pytest.raises(Refused) as refused:
            await plan(house, "manager", territory_id=territory_id)
        assert problems(refused) == [(Code.NOT_FOUND, ("territoryId",))]
    with pytest.raises(Refused) as refused:
        await freeze(house, everywhere, "manager")
    assert problems(refused) == [(Code.NOT_PERMITTED, ())], "he reads it, he does not run it"
    with pytest.raises(Refused) as refused:
        await freeze(house, far, "manager")
    assert problems(refused) == [(Code.NOT_FOUND, ("evaluationId",))]
    await freeze(house, mine, "manager")
    for who in ("wei", "agent"):
        with pytest.raises(Refused) as refused:
            await plan(house, who)
        assert problems(refused) == [(Code.NOT_PERMITTED, ())]
        with pytest.raises(Refused):
            await seen(house, who)


async def test_a_manager_evaluates_on_every_node_at_or_below_his_seat_and_on_none_beside_it(
    house: House, shops: list[str]
) -> None:
    async with house.engine.write() as conn:
        [(region,)] = await conn.fetch("SELECT id FROM territory WHERE path = '/cn'")
        area = await factories.territory(conn, "/cn/west", parent_id=region, kind="AREA")
        beside = await factories.territory(conn, "/cnx", kind="REGION")
    for node in (region, area):
        found = await plan(house, "manager", territory_id=node)
        assert found in {one.id for one in await seen(house, "manager")}
    regions = await plan(house, "manager", territory_id=region)
    await freeze(house, regions, "manager")
    assert set(await arms(house, regions)) > set(shops), "the south is below the region too"
    theirs = await plan(house, territory_id=beside)
    assert theirs not in {one.id for one in await seen(house, "manager")}
    with pytest.raises(Refused) as refused:
        await plan(house, "manager", territory_id=beside)
    assert problems(refused) == [(Code.NOT_FOUND, ("territoryId",))]


async def test_who_is_held_out_is_told_page_by_page_to_whom_may_know(house: House, shops: list[str]) -> None:
    evaluation_id = await north_evaluation(house)
    held = {shop for shop, out in (await arms(house, evaluation_id)).items() if out}
    async with house.engine.read() as conn:
        first = await arm_of(conn, house.people["manager"], evaluation_id, held_out=True, after="", first=12)
        rest = await arm_of(conn, house.people["manager"], evaluation_id, held_out=True, after=first[-1], first=50)
        with pytest.raises(Refused):
            await arm_of(conn, house.people["wei"], evaluation_id, held_out=True, after="", first=12)
    assert len(first) == 12
    assert (set(first) | set(rest), len(first) + len(rest)) == (held, len(held))


async def test_only_the_segments_and_kinds_named_are_drawn_and_segments_are_strata(
    house: House, shops: list[str]
) -> None:
    async with house.engine.write() as conn:
        for place, shop in enumerate(shops):
            segment = "HHHH" if place < 40 else "LLLL" if place < 60 else "HLLL"
            facts = f'{{"valueAtStakeMinor":{place}}}'
            await factories.insert(conn, "customer_score", customer_id=shop, segment=segment, facts=facts, **SCORE)
    evaluation_id = await plan(house, segments=("HHHH", "LLLL"), kinds=("RETAILER",))
    await freeze(house, evaluation_id)
    async with house.engine.read() as conn:
        rows = await conn.fetch(
            "SELECT stratum, held_out, COUNT(*), MIN(forecast_minor) FROM evaluation_arm WHERE evaluation_id = ?"
            " GROUP BY stratum, held_out ORDER BY stratum, held_out",
            evaluation_id,
        )
    counts = {(row[0], bool(row[1])): row[2] for row in rows}
    assert counts == {("HHHH", False): 30, ("HHHH", True): 10, ("LLLL", False): 15, ("LLLL", True): 5}
    assert all(row[3] is not None for row in rows)


async def test_every_step_is_in_the_audit(house: House, shops: list[str]) -> None:
    evaluation_id = await north_evaluation(house)
    await house.work("analyst", lambda work: drop_evaluation(work, evaluation_id, "Budget was cut."))
    async with house.engine.read() as conn:
        rows = await conn.fetch(
            "SELECT action, actor FROM audit_entry WHERE collection = 'evaluations' AND record_id = ? ORDER BY at, id",
            evaluation_id,
        )
    assert [row[0] for row in rows] == ["CREATE", "UPDATE", "UPDATE"]
    assert {row[1] for row in rows} == {house.people["analyst"].actor}


async def uplift(house: House, who: str = "analyst") -> VisitUplift:
    async with house.engine.read() as conn:
        return await visit_uplift_now(conn, house.people[who], SETTINGS, house.now_ms)


@pytest.mark.requirement("R28")
async def test_what_a_visit_brings_is_assumed_until_enough_visits_were_held_out_then_measured(house: House) -> None:
    assert (await uplift(house)).basis is UpliftBasis.PRIOR
    with pytest.raises(Refused):
        await uplift(house, "manager")
    async with house.engine.write() as conn:
        shops = await histories.customers(conn, 1_000, territory_id=house.patches["north"])
        # half of them order every 30 days and did so yesterday, half have been silent for 90
        rows = [
            (shop, add_days(TODAY, -(1 if place % 2 else 90) - 30 * step), 20_000)
            for place, shop in enumerate(shops)
            for step in range(4)
        ]
        await histories.orders(conn, rows)
        facts = [(f'{{"valueAtStakeMinor":{40_000 + 10 * place}}}', shop) for place, shop in enumerate(shops)]
        names = ", ".join(SCORE)
        marks = ", ".join("?" for _ in SCORE)
        await conn.execute_many(
            f"INSERT INTO customer_score (customer_id, segment, facts, {names}) VALUES (?, 'HHHH', ?, {marks})",
            [(shop, text, *SCORE.values()) for text, shop in facts],
        )
    evaluation_id = await plan(house, holdout_bp=5_000)
    await freeze(house, evaluation_id)
    held = await arms(house, evaluation_id)
    # half of what was expected comes anyway; a visit brings .02 of it on time and .30 where they were silent
    shares = {shop: 0.5 + (0.0 if held[shop] else 0.02 if place % 2 else 0.30) for place, shop in enumerate(shops)}
    await sold(
        house,
        [
            (
                shop,
                add_days(STARTS, place % 20),
                round((40_000 + 10 * place) * shares[shop] * (1 + (place % 5 - 2) / 50)),
            )
            for place, shop in enumerate(shops)
        ],
    )
    house.now_ms += 31 * DAY_MS
    assert (await uplift(house)).basis is UpliftBasis.PRIOR, "one that is not closed says nothing"
    await close(house, evaluation_id)
    found = await uplift(house)
    assert (found.basis, found.treated_n, found.control_n) == (UpliftBasis.ESTIMATED, 500, 500)
    # who is held out hangs on ids drawn anew each time, which alone moves a share by .002 (one standard error)
    assert found.base.value == pytest.approx(0.02, abs=0.01)
    assert found.peak.value == pytest.approx(0.30, abs=0.01)
