"""Figures explained over GraphQL: value, words, rows and where they came from."""

import pytest

from backend.domain.messages import LOCALES
from backend.domain.metrics import MetricCode, kpi_code
from backend.ids import new_id
from backend.usecases.customers import change_customers
from tests import factories, histories
from tests.house import House, create
from tests.usecases.asking import ask, data

EXPLAIN = """
query ($code: MetricCode!, $id: ID) {
  explainMetric(code: $code, id: $id) {
    code name meaning formula unit sure requirements value valueCode basis basisText confidenceBp
    sources { source recorded from until rows }
    lineage { runId asOf tableVersion startedBy imports { id system fileName orders } }
    kpi { code value missing }
    example { inputs { name value } result }
  }
}"""
RUN = "mutation { runScores { __typename ... on ScoresRun { id tableVersion } } }"


@pytest.fixture
async def shops(house: House) -> list[str]:
    """A scored shop in the north with a visit and three orders, two of them imported; and one in the south."""
    ids = [new_id(), new_id()]
    wishes = [
        create(shop, {"nameEn": "S", "kind": "RETAILER", "territoryId": house.patches[patch]})
        for shop, patch in zip(ids, ("north", "south"), strict=True)
    ]
    await house.change("admin", change_customers, *wishes)
    async with house.engine.write() as conn:
        orders = await histories.orders(
            conn, [(ids[0], "2025-12-01", 1_000), (ids[0], "2026-02-01", 2_000), (ids[0], "2026-11-02", 3_000)]
        )
        await histories.orders(conn, [(ids[0], "2026-11-03", 9_000)], state="CANCELLED")
        await histories.visits(conn, [(ids[0], house.people["wei"].user_id or "", "2026-11-01")])
        for batch, brought in (("b" * 36, orders[:2]), ("c" * 36, orders[2:])):
            await factories.insert(
                conn, "import_batch", id=batch, kind="ORDERS", system="erp", file_name=f"{batch[0]}.csv",
                file_sha256=batch[0] * 64, mapping="{}", state="DONE", rows_total=2, rows_created=2, rows_unchanged=0,
                rows_failed=0, started_at=factories.NOW_MS + (batch[0] == "c"), started_by="system",
            )  # fmt: skip
            for order in brought:
                await factories.insert(
                    conn, "external_id", id=new_id(), system="erp", collection="orders", external=order,
                    record_id=order, batch_id=batch,
                )  # fmt: skip
    return ids


@pytest.mark.requirement("R7")
async def test_a_figure_is_followed_back_to_its_rows_run_and_imports(house: House, shops: list[str]) -> None:
    ran = (await data(house, "analyst", RUN))["runScores"]
    found = (await data(house, "wei", EXPLAIN, code="PAST_VALUE", id=shops[0]))["explainMetric"]
    assert (found["value"], found["valueCode"], found["unit"], found["basis"]) == (
        6_000,
        None,
        "MONEY_MINOR",
        "REVENUE",
    )
    assert found["basisText"] == "Revenue, no margin known"
    assert found["kpi"] is None
    assert found["sources"] == [
        {"source": "ORDERS", "recorded": True, "from": "2025-12-01", "until": "2026-11-02", "rows": 3},
        {"source": "COSTS", "recorded": False, "from": None, "until": None, "rows": 0},
        {"source": "RETURNS", "recorded": False, "from": None, "until": None, "rows": 0},
    ]
    lineage = found["lineage"]
    assert (lineage["runId"], lineage["tableVersion"], lineage["asOf"]) == (
        ran["id"],
        ran["tableVersion"],
        "2026-11-22",
    )
    assert lineage["startedBy"] == f"staff:{house.people['analyst'].user_id}"
    assert [(one["fileName"], one["orders"]) for one in lineage["imports"]] == [("c.csv", 1), ("b.csv", 2)]
    visited = (await data(house, "wei", EXPLAIN, code="PRIORITY", id=shops[0]))["explainMetric"]
    by_source = {one["source"]: one for one in visited["sources"]}
    assert (by_source["VISITS"]["from"], by_source["VISITS"]["rows"]) == ("2026-11-01", 1)
    assert by_source["PEERS"]["rows"] == 1


@pytest.mark.requirement("R8")
async def test_every_figure_is_explained_as_it_is_kept(house: House, shops: list[str]) -> None:
    await data(house, "analyst", RUN)
    async with house.engine.read() as conn:
        [row] = await conn.fetch(
            "SELECT priority, segment, existing_value_minor, potential_minor, loyalty_hundredths FROM customer_score"
            " WHERE customer_id = ?",
            shops[0],
        )
    wanted = {
        "PRIORITY": (row[0], None), "SEGMENT": (None, row[1]), "EXISTING_VALUE": (row[2], None),
        "POTENTIAL": (row[3], None), "LOYALTY": (round(row[4] / 100), None), "REVENUE": (6_000, None),
        "WIN_RATE": (None, None), "ADOPTION": (5_000, None),
    }  # fmt: skip
    for code in MetricCode:
        of_customer = kpi_code(code) is None
        answer = await data(house, "manager", EXPLAIN, code=code.value, id=shops[0] if of_customer else None)
        found = answer["explainMetric"]
        assert found["code"] == code.value
        assert (found["lineage"] is None) is not of_customer
        assert (found["kpi"] is None) is of_customer
        if code.value in wanted:
            assert (found["value"], found["valueCode"]) == wanted[code.value]
        if not of_customer:
            assert found["kpi"]["value"] == found["value"]


async def test_an_explanation_speaks_the_readers_language(house: House, shops: list[str]) -> None:
    told = set()
    for locale in LOCALES:
        answer = await ask(house, "wei", EXPLAIN, locale, code="WIN_RATE")
        told.add((answer["data"]["explainMetric"]["meaning"], answer["data"]["explainMetric"]["sure"]))
    assert len(told) == 3


async def test_only_what_is_in_scope_is_explained(house: House, shops: list[str]) -> None:
    await data(house, "analyst", RUN)
    asked = [
        ({"code": "LOYALTY", "id": shops[1]}, "NOT_FOUND"),
        ({"code": "LOYALTY", "id": "no such"}, "NOT_FOUND"),
        ({"code": "LOYALTY"}, "REQUIRED"),
        ({"code": "REVENUE", "id": house.patches["south"]}, "NOT_FOUND"),
    ]
    for variables, code in asked:
        answer = await ask(house, "wei", EXPLAIN, **variables)
        [error] = answer["errors"]
        assert error["extensions"]["problems"][0]["code"] == code
