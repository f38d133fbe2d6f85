"""The stories planted in the demo world stand in its 7P report, where somebody who looks would find them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backend.cli.terminal import OPERATOR_PRINCIPAL
from backend.config import Settings
from backend.domain.demo.campaigns import SOLD_WELL
from backend.domain.demo.world import AS_OF_DAY, World, make_world
from backend.domain.evaluation_results import judged
from backend.domain.segments import SEGMENT_CODES
from backend.domain.seven_p.report import Part, SevenPFigure, SevenPList, SevenPPart
from backend.storage.engine import Engine, open_engine
from backend.storage.evaluations import read_evaluations, read_window
from backend.usecases.insights import run_scores
from backend.usecases.seven_p import ReportScope, SevenPReport, seven_p_report
from tests.databases import fresh_sqlite

TABLES = (
    "territory", "exchange_rate", "season", "style", "colour", "sku", "customer", "sales_order", "order_line", "form",
    "answer", "answer_measure", "service_case", "goal", "evaluation", "evaluation_arm",
)  # fmt: skip
F, L = SevenPFigure, SevenPList
SEEN_OF_SEGMENT_MIN = 6
"""Fewer customers of a segment would show nothing of it."""


@pytest.fixture(scope="module")
def world() -> World:
    return make_world("demo")


@pytest.fixture(scope="module")
def found(world: World, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> "Found":
    """Of the whole organisation, with a margin of a quarter declared."""
    return asyncio.run(found_in(world, fresh_sqlite(sqlite_template, tmp_path_factory.mktemp("stories"))))


@pytest.fixture(scope="module")
def report(found: "Found") -> SevenPReport:
    return found.report


@dataclass(frozen=True)
class Found:
    """The report before anybody was scored, what SQL says of the goals, campaigns judged anew, and the segments after
    scoring."""

    report: SevenPReport
    sold: dict[str, int]
    judged: dict[str, tuple[Any, Any]]
    segments: dict[str, int]


async def found_in(world: World, url: str) -> Found:
    engine = open_engine(url)
    await engine.start()
    await fill(engine, world)
    margin = Settings(default_margin_bp=2_500)
    report = await seven_p_report(engine, None, ReportScope(), settings=margin, as_of=AS_OF_DAY, today=AS_OF_DAY)
    async with engine.read() as conn:
        sold = dict(await conn.fetch(SOLD))
        judged_anew = {
            one.subject_id: (one.result, judged(one, window.arms, window.orders, rates=window.rates, margin_bp=None))
            for one in await read_evaluations(conn, ("1 = 1", []), where="e.state = 'CLOSED'", first=20)
            for window in [await read_window(conn, one)]
        }
    await run_scores(
        engine, OPERATOR_PRINCIPAL, settings=Settings(), clock=lambda: world.setting.now_ms + 3_600_000, as_of=AS_OF_DAY
    )
    async with engine.read() as conn:
        segments = dict(await conn.fetch("SELECT segment, COUNT(*) FROM customer_score GROUP BY segment"))
    await engine.close()
    return Found(report, sold, judged_anew, segments)


SOLD = """
SELECT g.id, CAST(ROUND(SUM(o.total_minor * CASE o.currency WHEN 'USD' THEN 1.0 ELSE r.rate_e9 / 1e9 END
    * CASE o.currency WHEN 'KRW' THEN 100.0 ELSE 1.0 END)) AS BIGINT)
FROM goal g CROSS JOIN sales_order o
JOIN customer k ON k.id = o.customer_id
JOIN exchange_rate r ON r.currency = o.currency
JOIN territory t ON t.id = k.territory_id
LEFT JOIN territory top ON top.id = g.territory_id
WHERE o.state NOT IN ('DRAFT', 'REJECTED', 'CANCELLED') AND o.ordered_on > date('2026-11-22', '-91 days')
    AND o.ordered_on <= '2026-11-22' AND (top.id IS NULL OR t.path = top.path OR t.path LIKE top.path || '/%')
GROUP BY g.id"""
"""What was sold in the days of every goal, apart from everything the product computes it by."""


async def fill(engine: Engine, world: World) -> None:
    """Only what the stories stand on: neither the feed nor the visits, which take most of the time."""
    async with engine.write() as conn:
        for name in TABLES:
            columns = world.table(name).columns
            listed, marks = ", ".join(f'"{one}"' for one in columns), ", ".join("?" for _ in columns)
            rows: Sequence[Sequence[object]] = list(zip(*columns.values(), strict=True))
            await conn.execute_many(f"INSERT INTO {name} ({listed}) VALUES ({marks})", rows)


def part(report: SevenPReport, code: SevenPPart) -> Part:
    return next(one for one in report.parts if one.code is code)


def named(report: SevenPReport, code: SevenPPart, rows: SevenPList) -> list[str]:
    found = part(report, code).rows_of(rows)
    return [next(name for name in report.names[one.record_id or ""].values() if name) for one in found]


@pytest.mark.requirement("R19")
def test_the_crown_chain_that_slips_away_is_the_one_that_orders_ever_less_often(report: SevenPReport) -> None:
    assert named(report, SevenPPart.PERSISTENCY, L.SLOWING)[0] == "北辰百货"
    row = part(report, SevenPPart.PERSISTENCY).rows_of(L.SLOWING)[0]
    now, before = (figure.value or 0 for figure in row.figures)
    assert 35 <= now <= 47
    assert 20 <= before <= 26


@pytest.mark.requirement("R19")
def test_the_boutique_that_rises_is_the_one_that_orders_ever_more_often(report: SevenPReport) -> None:
    assert named(report, SevenPPart.PERSISTENCY, L.QUICKENING)[0] == "온유"


@pytest.mark.requirement("R23")
def test_the_broken_size_runs_are_those_of_the_one_style(report: SevenPReport) -> None:
    rows = part(report, SevenPPart.PRODUCT).rows_of(L.BROKEN_RUN)
    assert [(row.label or "").partition(" ")[0] for row in rows] == ["HZ-2614", "HZ-2614"]
    assert all((row.label or "").endswith(": S/M") for row in rows)
    assert all((row.figures[0].value or 0) > 4_000 for row in rows), "the middle sizes were nearly half of it"


@pytest.mark.requirement("R20")
def test_the_distributor_of_high_revenue_is_the_largest_loss(report: SevenPReport) -> None:
    assert named(report, SevenPPart.PROFITABILITY, L.LOSS_MAKER)[0] == "南岭云川商贸有限公司"
    assert named(report, SevenPPart.PROFITABILITY, L.DISCOUNTED)[0] == "南岭云川商贸有限公司"
    row = part(report, SevenPPart.PROFITABILITY).rows_of(L.LOSS_MAKER)[0]
    net, revenue = (figure.value or 0 for figure in row.figures[:2])
    assert net < 0 < 50_000_000 < revenue


@pytest.mark.requirement("R20")
def test_the_waterfall_of_the_whole_company_adds_up_and_a_fifth_of_customers_bring_most_of_it(
    report: SevenPReport,
) -> None:
    found = part(report, SevenPPart.PROFITABILITY)
    *steps, net = [row.figures[0].value for row in found.rows_of(L.WATERFALL)]
    assert sum(value for value in steps if value is not None) == net
    whale = {row.figures[0].value: row.figures[1].value or 0 for row in found.rows_of(L.WHALE)}
    fifth = next(value for reached, value in whale.items() if reached is not None and reached >= 1_900)
    assert fifth > 0.7 * (net or 0)


@pytest.mark.requirement("R22")
def test_without_a_score_run_the_forecast_says_on_what_it_stands(report: SevenPReport) -> None:
    found = part(report, SevenPPart.PROSPECTING)
    assert "MODEL_SHIPPED" in {caveat.code.value for caveat in found.caveats}
    forecast, sold = found.figure(F.FORECAST), part(report, SevenPPart.PERFORMANCE).figure(F.REVENUE).value or 0
    assert forecast.low is not None
    assert forecast.high is not None
    assert forecast.low < sold < forecast.high


@pytest.mark.requirement("R52")
def test_every_segment_of_the_demo_company_has_customers_enough_to_be_looked_at(found: Found) -> None:
    sixteen = [code for code in SEGMENT_CODES if len(code) == 4]
    assert len(sixteen) == 16
    few = {code: found.segments.get(code, 0) for code in sixteen if found.segments.get(code, 0) < SEEN_OF_SEGMENT_MIN}
    assert few == {}


@pytest.mark.requirement("R12", "R21")
def test_attainment_is_what_was_sold_and_stands_by_territory_where_a_goal_is_set(found: Found, world: World) -> None:
    performance = part(found.report, SevenPPart.PERFORMANCE)
    goals = {row["id"]: row for row in _goals(world)}
    rows = performance.rows_of(L.GOAL)
    assert {row.record_id for row in rows} == set(goals) == set(found.sold)
    for row in rows:
        attained, sold, target = row.figures
        assert sold.value == pytest.approx(found.sold[row.record_id or ""], abs=len(world.table("sales_order")))
        assert target.value == goals[row.record_id or ""]["target"]
        assert attained.value == round(10_000 * (sold.value or 0) / (target.value or 1))
    whole = performance.figure(F.ATTAINMENT)
    assert goals[rows[0].record_id or ""]["territory_id"] is None
    assert whole.value == rows[0].figures[0].value
    assert 5_000 < (whole.value or 0) < 15_000


def _goals(world: World) -> list[dict[str, Any]]:
    columns = world.table("goal").columns
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.mark.requirement("R24", "R30")
def test_campaigns_stand_with_their_lift_and_the_one_that_sold_well_shows_none(found: Found) -> None:
    assert len(found.judged) == 6
    for told, anew in found.judged.values():
        assert told == anew, "what was written is what the product computes"
    rows = {row.label: row for row in part(found.report, SevenPPart.PROMOTION).rows_of(L.CAMPAIGN)}
    assert len(rows) == 6
    lifts = {name: next(one for one in row.figures if one.code is F.RESPONSE_LIFT) for name, row in rows.items()}
    sold_well = lifts["双倍积分 Double points"]
    assert (sold_well.low or 0) < 0 < (sold_well.high or 0)
    assert found.judged[SOLD_WELL][0]["lift"] * 10_000 == pytest.approx(sold_well.value, abs=1)
    sure = {name for name, one in lifts.items() if (one.low or 0) > 0}
    assert sure == {"预订邀请信 Pre-order letter", "新品预览 Line preview"}
    assert (part(found.report, SevenPPart.PROMOTION).figure(F.RESPONSE).value or 0) > 6_000
