"""Other cuts over GraphQL: everybody once in each, small groups without amounts for who reads sums only."""

import pytest

from backend.ids import new_id
from backend.usecases.customers import change_customers
from tests import histories
from tests.house import House, create
from tests.usecases.asking import ask, data

RUN = "mutation { runScores { __typename } }"
MODELS = """
query ($territory: ID) {
  segmentModels(territoryId: $territory) {
    customers customersLeftOut
    models { model name agreementBp cells { code customers existingValue { amountMinor } yearRevenue { amountMinor } } }
  }
}"""


@pytest.fixture
async def shops(house: House) -> list[str]:
    """Twenty scored shops of the north with a year behind them, one that is new, and one of the south."""
    ids = sorted(new_id() for _ in range(22))
    wishes = [
        create(
            shop, {"nameEn": "S", "kind": "RETAILER", "territoryId": house.patches["south" if place == 21 else "north"]}
        )
        for place, shop in enumerate(ids)
    ]
    await house.change("admin", change_customers, *wishes)
    rows = [
        (shop, f"2026-{month:02d}-{1 + place:02d}", 1_000 * (1 + place) ** 2)
        for place, shop in enumerate(ids)
        if place != 20
        for month in range(1, 12, 1 + place % 4)
    ]
    async with house.engine.write() as conn:
        await histories.orders(conn, [*rows, (ids[20], "2026-11-20", 500)])
    await data(house, "analyst", RUN)
    return ids


@pytest.mark.requirement("R52")
async def test_every_model_cuts_the_same_customers(house: House, shops: list[str]) -> None:
    found = (await data(house, "wei", MODELS))["segmentModels"]
    assert (found["customers"], found["customersLeftOut"]) == (20, 1)
    models = {one["model"]: one for one in found["models"]}
    assert list(models) == ["SIXTEEN", "VALUE_POTENTIAL", "VALUE_GROWTH_LOYALTY", "RFM"]
    assert models["SIXTEEN"]["agreementBp"] == 10_000
    async with house.engine.read() as conn:
        [[revenue]] = await conn.fetch(
            "SELECT SUM(total_minor) FROM sales_order WHERE customer_id = ANY(?)", shops[:20]
        )
    for one in models.values():
        assert sum(cell["customers"] for cell in one["cells"]) == 20
        assert sum(cell["yearRevenue"]["amountMinor"] for cell in one["cells"]) == revenue
        values = [cell["existingValue"]["amountMinor"] for cell in one["cells"]]
        assert values == sorted(values, reverse=True)
        assert 0 <= one["agreementBp"] <= 10_000
    assert len(models["RFM"]["cells"]) > len(models["VALUE_POTENTIAL"]["cells"]) > 1
    zh = (await ask(house, "wei", MODELS, "zh-CN"))["data"]["segmentModels"]["models"][1]["name"]
    assert zh == "价值×潜力"


async def test_who_reads_sums_only_is_told_no_amounts_of_few(house: House, shops: list[str]) -> None:
    found = (await data(house, "analyst", MODELS))["segmentModels"]
    for one in found["models"]:
        for cell in one["cells"]:
            assert (cell["yearRevenue"] is None) is (cell["customers"] < 5), cell
    answer = await ask(house, "wei", MODELS, territory=house.patches["south"])
    assert answer["errors"][0]["extensions"]["problems"][0]["path"] == ["territoryId"]
