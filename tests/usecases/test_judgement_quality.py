"""The report on judgements: whose, of which time, beside whom."""

import pytest

from backend.domain.judgement_quality import JudgementVerdict
from backend.domain.times import DAY_MS, add_days
from backend.errors import Refused
from backend.usecases.judgement_quality import JudgementQuality, judgement_quality
from tests.house import NOON_MS, House
from tests.usecases.test_insights import sell, shops
from tests.usecases.test_judgements import OVERRIDE, SKIP, judge, taken_back

TODAY = "2026-11-22"
THEN = add_days(TODAY, -60)


async def report(house: House, who: str = "manager", **options: object) -> JudgementQuality:
    given = {"first_day": add_days(TODAY, -90), "last_day": TODAY, "within_days": 30, "territory_id": None, **options}
    return await judgement_quality(house.engine, house.people[who], today=TODAY, **given)  # type: ignore[arg-type]


@pytest.fixture
async def past(house: House) -> list[str]:
    """60 days ago 20 of 60 shops that had ordered before were skipped, of which none ordered; the others did."""
    house.now_ms = NOON_MS - 60 * DAY_MS
    ids = await shops(house, 60)
    before = [(shop, add_days(THEN, -20), 10_000) for shop in ids]
    await sell(house, before + [(shop, add_days(THEN, 5), 10_000) for shop in ids[20:]])
    for shop in ids[:20]:
        await judge(house, shop, **SKIP)
    house.now_ms = NOON_MS
    return ids


@pytest.mark.requirement("R28")
async def test_judged_customers_stand_beside_comparable_ones_by_reason_and_by_person(
    house: House, past: list[str]
) -> None:
    for shop in past[:2]:
        await judge(house, shop, "manager", **OVERRIDE)  # too early to tell
    taken = await judge(house, past[2], **SKIP)
    await taken_back(house, taken.id, "wei")
    found = await report(house)
    assert (found.open_n, found.withdrawn_n) == (2, 1)
    [(kind, told)] = found.by_kind
    assert (kind, told.judgements_n, told.judged.part, told.judged.whole) == ("SKIP", 20, 0, 20)
    assert (told.compared.part, told.compared.whole) == (80, 80)
    assert (told.verdict, told.difference) == (JudgementVerdict.ORDERED_LESS, -1.0)
    assert [key for key, _ in found.by_reason] == [("SKIP", "NO_TIME")]
    assert [key for key, _ in found.by_person or []] == [("SKIP", str(house.people["wei"].user_id))]
    [(_, early)] = (await report(house, within_days=4)).by_kind
    assert (early.compared.part, early.verdict) == (0, JudgementVerdict.NO_DIFFERENCE)
    assert (await report(house, territory_id=house.patches["south"])).by_kind == []


@pytest.mark.requirement("R28")
async def test_who_may_know_and_of_which_days(house: House, past: list[str]) -> None:
    assert len((await report(house, "analyst")).by_kind) == 1
    assert (await report(house, "analyst")).by_person is None
    for who in ("wei", "agent"):
        with pytest.raises(Refused):
            await report(house, who)
    with pytest.raises(Refused) as refused:
        await report(house, first_day=add_days(TODAY, -400), within_days=181)
    assert {problem.path for problem in refused.value.problems} == {("until",), ("withinDays",)}
    [(_, few)] = (await report(house, last_day=THEN)).by_kind
    assert few.judgements_n == len(past) // 3
