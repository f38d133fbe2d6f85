"""From what a customer says on a visit, without signal, to its score, its evidence and the next questions."""

from typing import Any

import orjson
import pytest

from backend.domain.cases import HOUR_MS
from backend.ids import new_id
from backend.sync.changes import Status
from backend.sync.push import Mutation
from tests.house import NOON_MS, House, patch
from tests.usecases.asking import ask, data
from tests.usecases.phones import sync, synced
from tests.usecases.test_erasure import next_seq, pushed
from tests.usecases.test_feedback import (
    BUDGET,
    CSAT,
    NPS,
    SHARE,
    answered,
    change_cases,
    complained,
    published,
    step,
)
from tests.usecases.test_insights import fetch, run, sell, shops, steady

ASKED = """query($id: ID!) { nextQuestions(customerId: $id) {
  fact because lowSegment highSegment formId formKey question text form { version } } }"""


async def bought(house: House, count: int = 3) -> list[str]:
    """Shops of wei's with a history each."""
    ids = await shops(house, count)
    await sell(house, [row for place, shop in enumerate(ids) for row in steady(shop, 10_000 * (place + 1))])
    return ids


async def score_of(house: House, shop: str) -> dict[str, Any]:
    [(happy, loyal, segment, measures, questions)] = await fetch(
        house.engine,
        "SELECT satisfaction_hundredths, loyalty_hundredths, segment, measures, questions FROM customer_score"
        " WHERE customer_id = ?",
        shop,
    )
    measures, questions = orjson.loads(measures), orjson.loads(questions)
    return {"S": happy, "L": loyal, "segment": segment, "measures": measures, "questions": questions}


@pytest.mark.requirement("R34", "R43", "R52")
async def test_an_answer_captured_without_signal_makes_satisfaction_and_is_its_evidence(house: House) -> None:
    happy, sad, silent = await bought(house)
    form = await published(house, CSAT, NPS)
    ids = [new_id() for _ in range(3)]
    for shop, record_id, values in ((happy, ids[0], {"happy": 5, "recommend": 10}), (sad, ids[1], {"happy": 1})):
        fields = {"formId": form, "customerId": shop, "values": values}
        sent = Mutation(new_id(), await next_seq(house, "wei"), "answers", record_id, None, fields,
                        captured_at_ms=house.now_ms - HOUR_MS)  # fmt: skip
        [answer] = await pushed(house, "wei", sent)
        assert answer.status is Status.APPLIED, answer
    await run(house)
    high, low, none = [await score_of(house, shop) for shop in (happy, sad, silent)]
    mean = 0.5
    csat = (1 + 5 * mean) / 6
    nps = (1 + 5 * 1.0) / 6
    assert high["S"] == pytest.approx(10_000 * (0.4 * csat + 0.2 * nps) / 0.6, abs=1)
    assert low["S"] == pytest.approx(10_000 * (0 + 5 * mean) / 6, abs=1)
    assert none["S"] is None, "nobody asked, and nothing is shown as fact"
    assert high["measures"]["csat"] == {
        "valueBp": round(10_000 * csat), "confidenceBp": 1_667, "basis": "SHRUNK_TO_PEERS", "rows": 1,
        "from": "2026-11-22", "until": "2026-11-22", "evidence": [ids[0]],
    }  # fmt: skip
    assert none["measures"]["csat"]["basis"] == none["measures"]["resolution"]["basis"] == "NOT_RECORDED"
    [(evidence,)] = await fetch(
        house.engine, "SELECT evidence FROM score_line WHERE customer_id = ? AND code = 'SATISFACTION_GAP'", happy
    )
    assert orjson.loads(evidence) == [ids[0]]


async def test_an_answer_to_a_form_nobody_here_knows_is_kept_and_can_be_sent_again(house: House) -> None:
    """As a phone says it that was made for a form another office had, or whose form was taken back."""
    [shop] = await bought(house, 1)
    phone = await synced(house, "wei")
    fields = {"formId": new_id(), "customerId": shop, "values": {"mood": "fine", "n": 3}}
    sent = Mutation(new_id(), await next_seq(house, "wei"), "answers", new_id(), None, fields)
    [answer] = await pushed(house, "wei", sent)
    assert (answer.status, [problem.path for problem in answer.problems]) == (Status.REFUSED, [("formId",)])
    await sync(house, "wei", phone)
    [issue] = [document for (name, _), document in phone.documents.items() if name == "syncIssues"]
    assert issue["state"] == "OPEN"
    assert issue["mine"]["values"] == {"mood": "fine", "n": 3}
    assert "CHANGE_AND_SEND_AGAIN" in issue["waysOut"]


async def test_a_corrected_answer_counts_once_and_what_is_said_of_the_future_not_at_all(house: House) -> None:
    shop, other, _ = await bought(house)
    form = await published(house, CSAT)
    first = await answered(house, form, shop, values={"happy": 1})
    house.now_ms += 1
    await answered(house, form, shop, values={"happy": 5}, correctsId=first.id)
    await answered(house, form, other, values={"happy": 1})
    house.now_ms = NOON_MS + HOUR_MS
    await run(house)
    [told, also] = [await score_of(house, one) for one in (shop, other)]
    assert told["measures"]["csat"]["rows"] == also["measures"]["csat"]["rows"] == 1
    assert told["S"] == pytest.approx(10_000 * (1 + 5 * 0.5) / 6, abs=1)


@pytest.mark.requirement("R52")
async def test_a_severe_complaint_caps_satisfaction_and_stands_among_the_obligations_until_it_is_settled(
    house: House,
) -> None:
    shop, other, _ = await bought(house)
    form = await published(house, CSAT)
    for one in (shop, other):
        await answered(house, form, one, values={"happy": 5})
    await run(house)
    assert (await score_of(house, shop))["S"] > 8_000
    assert (await score_of(house, shop))["segment"][3] == "H"
    case = await complained(house, shop, priority="P1")
    await run(house)
    capped = await score_of(house, shop)
    assert (capped["S"], capped["segment"][3]) == (4_000, "L"), "at once, not after two nights"
    [(numbers, evidence, recorded)] = await fetch(
        house.engine,
        "SELECT numbers, evidence, recorded FROM score_line WHERE customer_id = ? AND code = 'OBLIGATIONS'",
        shop,
    )
    assert (orjson.loads(numbers)["severeCases"], orjson.loads(evidence), bool(recorded)) == (1, [case.id], True)
    silent = (await score_of(house, other))["measures"]["resolution"]
    assert (silent["valueBp"], silent["confidenceBp"]) == (5_000, 0), "silence is not satisfaction"
    await step(house, case.id, "RESOLVED", resolution="exchanged")
    house.now_ms += 24 * HOUR_MS
    await run(house)
    assert (await score_of(house, shop))["S"] > 8_000


@pytest.mark.requirement("R48")
async def test_a_share_of_wallet_raises_loyalty_by_what_its_formula_says(house: House) -> None:
    shop, other, silent = await bought(house)
    form = await published(house, BUDGET, SHARE)
    await run(house)
    before = {one: (await score_of(house, one)) for one in (shop, other, silent)}
    assert before[shop]["measures"]["wallet"]["basis"] == "NOT_RECORDED"
    await answered(house, form, shop, values={"share": 100})
    [(sold,)] = await fetch(house.engine, "SELECT SUM(total_minor) FROM sales_order WHERE customer_id = ?", other)
    await answered(house, form, other, values={"budget": {"amountMinor": 10 * int(sold), "currency": "USD"}})
    await run(house)
    after = {one: (await score_of(house, one)) for one in (shop, other, silent)}
    shares = {one: after[one]["measures"]["wallet"] for one in after}
    assert shares[shop]["valueBp"] > shares[other]["valueBp"]
    assert (shares[silent]["valueBp"], shares[silent]["basis"]) == (None, "NOT_RECORDED")
    assert after[shop]["L"] > after[other]["L"]
    assert after[silent]["L"] == before[silent]["L"], "what is not known of him counts for nothing"


async def test_an_amount_in_a_currency_without_a_rate_is_no_fact(house: House) -> None:
    shop, *_ = await bought(house)
    form = await published(house, BUDGET)
    await answered(house, form, shop, values={"budget": {"amountMinor": 5_000, "currency": "CHF"}})
    await run(house)
    assert (await score_of(house, shop))["measures"]["wallet"]["basis"] == "NOT_RECORDED"


@pytest.mark.requirement("R48")
async def test_what_is_not_known_becomes_the_questions_of_the_next_visit(house: House) -> None:
    shop, *_ = await bought(house)
    [first] = [await published(house, CSAT, key="visit")]
    wallet = await published(house, SHARE, NPS, key="yearly")
    await run(house)
    found = (await data(house, "wei", ASKED, id=shop))["nextQuestions"]
    assert len(found) == 3
    places = {one["fact"]: (one["formId"], one["formKey"], one["question"]) for one in found}
    known = {"CSAT": (first, "visit", "happy"), "NPS": (wallet, "yearly", "recommend"),
             "WALLET": (wallet, "yearly", "share"), "REFERRALS": (None, None, None)}  # fmt: skip
    assert places == {fact: known[fact] for fact in places}
    assert all(one["because"] == "UNRECORDED" and "never recorded" in one["text"] for one in found)
    # the phone holds the same, and the forms to ask with
    documents = (await synced(house, "wei")).documents
    held = documents["scores", shop]["questions"]
    assert [(one["measure"], one["low"], one["high"]) for one in held] == [
        (one["fact"], one["lowSegment"], one["highSegment"]) for one in found
    ]
    await answered(house, first, shop, values={"happy": 4})
    await run(house)
    assert "CSAT" not in {one["fact"] for one in (await data(house, "wei", ASKED, id=shop))["nextQuestions"]}
    refused = await ask(house, "na", ASKED, id=shop)
    assert refused["errors"][0]["extensions"]["problems"][0]["code"] == "NOT_FOUND"


async def test_a_night_without_news_wakes_no_device(house: House) -> None:
    shop, *_ = await bought(house)
    form = await published(house, CSAT)
    await answered(house, form, shop, values={"happy": 4})
    case = await complained(house, shop)
    await run(house)
    assert (await run(house)).customers_changed == 0
    change = patch(case.id, await house.rev("cases", case.id), priority="P4")
    [outcome] = await house.change("agent", change_cases, change)
    assert outcome.problems == ()
