"""The stories planted in the demo world stand in its 7P report, where somebody who looks would find them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from backend.config import Settings
from backend.domain.demo.world import AS_OF_DAY, World, make_world
from backend.domain.seven_p.report import Part, SevenPFigure, SevenPList, SevenPPart
from backend.storage.engine import Engine, open_engine
from backend.usecases.seven_p import ReportScope, SevenPReport, seven_p_report
from tests.databases import fresh_sqlite

TABLES = ("territory", "exchange_rate", "style", "colour", "sku", "customer", "sales_order", "order_line")
F, L = SevenPFigure, SevenPList


@pytest.fixture(scope="module")
def world() -> World:
    return make_world("demo")


@pytest.fixture(scope="module")
def report(world: World, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> SevenPReport:
    """Of the whole organisation, with a margin of a quarter declared."""
    return asyncio.run(found_in(world, fresh_sqlite(sqlite_template, tmp_path_factory.mktemp("stories"))))


async def found_in(world: World, url: str) -> SevenPReport:
    engine = open_engine(url)
    await engine.start()
    await fill(engine, world)
    margin = Settings(default_margin_bp=2_500)
    found = await seven_p_report(engine, None, ReportScope(), settings=margin, as_of=AS_OF_DAY, today=AS_OF_DAY)
    await engine.close()
    return found


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
    assert net < 0 < 100_000_000 < revenue


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
