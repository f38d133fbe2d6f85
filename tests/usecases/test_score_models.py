"""The models of a run: chosen by what was held out, kept with all that judges them, and refitted by the week's rule."""

from typing import Any

import orjson
import pytest

from backend.config import Settings
from backend.domain.clv import ClvParameters
from backend.domain.times import add_days, day_from_number
from backend.usecases.insights import run_scores
from backend.usecases.values import customer_value
from tests import histories
from tests.domain.buyers import drawn_orders
from tests.domain.worlds import TODAY
from tests.house import House

pytestmark = pytest.mark.requirement("R50")
DAY = day_from_number(TODAY)
SETTINGS = Settings(reporting_currency="USD")
REGULARS = 240


@pytest.fixture
async def regulars(house: House) -> list[str]:
    """Shops that re-order by a clock of their own."""
    sold = drawn_orders(REGULARS, k=4, r=6.0, a=0.3, b=9.0)
    async with house.engine.write() as conn:
        ids = await histories.customers(conn, REGULARS, territory_id=house.patches["north"])
        days = [day_from_number(day) for day in sold.day.tolist()]
        amounts = sold.net_minor.tolist()
        rows = [(ids[who], day, amount) for who, day, amount in zip(sold.customer.tolist(), days, amounts, strict=True)]
        await histories.orders(conn, rows)
    return ids


async def models(house: House, day: str) -> dict[str, Any]:
    summary = await run_scores(
        house.engine, house.people["analyst"], settings=SETTINGS, clock=lambda: house.now_ms, as_of=day
    )
    async with house.engine.read() as conn:
        [(kept,)] = await conn.fetch("SELECT models FROM score_run WHERE id = ?", summary.id)
    found: dict[str, Any] = orjson.loads(kept)
    return found


async def test_regular_reorderers_are_scored_by_their_clock_and_a_week_later_by_the_rule(
    house: House, regulars: list[str]
):
    first = await models(house, DAY)
    fitted = first["calibration"]
    assert (fitted["regularity"]["status"], fitted["regularity"]["k"]) == ("CHOSEN", 4)
    assert fitted["purchase"]["regularity"] == 4
    assert fitted["purchase"]["status"] == "CONVERGED"
    assert all(error > 0 for error in fitted["purchase"]["standardErrors"])
    assert all(error > 0 for error in fitted["purchase"]["standardErrorsLog"])
    assert [trial["k"] for trial in fitted["regularity"]["trials"]] == [4, 5]
    assert [(one["kind"], one["place"], one["peersN"]) for one in first["frontiers"]] == [("RETAILER", None, REGULARS)]
    assert fitted["levelMeasured"]

    asked = await customer_value(
        house.engine, house.people["wei"], settings=SETTINGS, customer_id=regulars[0], as_of=DAY, today=DAY,
        asked=ClvParameters(),
    )  # fmt: skip
    assert (asked.model.regularity, asked.model.status, asked.model.peers_n) == (4, "CONVERGED", REGULARS)
    async with house.engine.read() as conn:
        [(past, future)] = await conn.fetch(
            "SELECT past_value_minor, future_value_minor FROM customer_score WHERE customer_id = ?", regulars[0]
        )
    assert (asked.chosen.past_minor, asked.chosen.future_minor) == (past, future)

    # everybody silent for a week: the old parameters no longer describe them, and drift decides
    later = await models(house, add_days(DAY, 7))
    assert later["refit"] == "CHECKED"
    assert later["refitAccepted"] == (later["calibration"]["version"] != fitted["version"])
    assert later["refitAccepted"] == _rule_allows(fitted["purchase"], later["calibration"]["purchase"])


def _rule_allows(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Drift below three standard errors; what was kept has not drifted, and is then not a new fit."""
    drifts = zip(old["parameters"], new["parameters"], old["standardErrors"], strict=True)
    return old != new and all(abs(was - now) < 3 * error for was, now, error in drifts)
