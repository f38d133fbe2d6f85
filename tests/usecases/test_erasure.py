"""Erasing a person: nothing of it is left anywhere, it does not come back, and what must stay stays."""

import secrets
from pathlib import Path
from typing import Any

import orjson
import pytest

from backend.auth.keys import new_rescue_keys, read_rescue_keys
from backend.config import Settings
from backend.domain.contacts import CONTACT
from backend.domain.privacy import ErasureReason
from backend.errors import Code
from backend.ids import new_id
from backend.integrations.erasures import ErasedId, ErasureList
from backend.storage.dialects import Dialect
from backend.sync.changes import Change, Intent, Status
from backend.sync.doctor import check_feed
from backend.sync.push import Mutation, push
from backend.sync.receipts import ERASED_HASH
from backend.sync.rescue import open_rescue, play_rescue
from backend.sync.work import Door, Work, in_work
from backend.usecases.merges import merge_records, undo_merge
from backend.usecases.privacy.eraser import Eraser
from backend.usecases.privacy.persons import erase_person
from backend.wiring import USE_CASES, open_eraser, open_file_service
from mobile_contract.rescue import base64url, rescue_content, write_rescue
from tests.files.conftest import Desk, declare
from tests.files.pictures import document
from tests.house import House, create, patch
from tests.schema.test_rxdb import PULL as RX_PULL
from tests.schema.test_rxdb import PUSH as RX_PUSH
from tests.schema.test_watermelon import PULL as WM_PULL
from tests.schema.test_watermelon import PUSH as WM_PUSH
from tests.usecases.asking import data
from tests.usecases.canaries import is_seen, person, places_in_files, places_in_tables
from tests.usecases.phones import sync, synced

ERASE = """mutation ($id: ID!, $reason: ErasureReason!, $strike: Boolean! = false) {
  erasePerson(id: $id, reason: $reason, strikeMentions: $strike) { __typename
    ... on PersonErased { id collection ids already removed { kind count } mentions { collection recordId field } }
    ... on Refusal { problems { code path } } } }"""


async def make(house: House, who: str, collection: str, /, **fields: Any) -> str:
    record_id = new_id()
    [outcome] = await house.change(who, USE_CASES[collection, Intent.CREATE], create(record_id, fields))
    assert outcome.status is Status.APPLIED, outcome
    return record_id


async def change(house: House, who: str, collection: str, record_id: str, **fields: Any) -> Status:
    rev = await house.rev(collection, record_id)
    [outcome] = await house.change(who, USE_CASES[collection, Intent.PATCH], patch(record_id, rev, **fields))
    return outcome.status


async def pushed(house: House, who: str, *mutations: Mutation) -> list[Any]:
    async def story(work: Work) -> list[Any]:
        return await push(work, mutations, USE_CASES, mutations_max=100)

    return await house.work(who, story, door=Door.PUSH)


async def next_seq(house: House, who: str) -> int:
    [(last,)] = await _rows(house, "SELECT last_client_seq FROM device WHERE id = ?", house.people[who].device_id)
    return int(last) + 1


async def _rows(house: House, sql: str, *args: object) -> list[Any]:
    async with house.engine.read() as conn:
        return await conn.fetch(sql, *args)


async def shop(house: House, who: str = "wei", **fields: Any) -> str:
    return await make(house, who, "customers", **{"kind": "RETAILER", "nameZh": "春裳生活馆", **fields})


async def contact_at(house: House, customer_id: str, who: str = "wei", **fields: Any) -> str:
    contact_id = await make(house, who, "contacts", **fields)
    await make(house, who, "customerContacts", customerId=customer_id, contactId=contact_id)
    return contact_id


async def telling_receipts(house: House, *record_ids: str) -> set[str]:
    """Mutations of these records whose receipt still lets somebody find out by guessing what they said."""
    found: set[str] = set()
    for one in record_ids:
        said = "SELECT mutation_id FROM receipt WHERE records LIKE ? AND (body_hash <> ? OR problems LIKE '%email%')"
        found |= {row[0] for row in await _rows(house, said, f"%{one}%", ERASED_HASH)}
    return found


def eraser_of(desk: Desk) -> Eraser:
    return desk.served.services.eraser


async def through_every_door(desk: Desk) -> str:
    """A contact whose values went in by every door there is, merged, taken apart again, in conflict, refused."""
    house = desk.house
    customer = await shop(house)
    contact = await contact_at(house, customer, **person(CONTACT))
    base = await house.rev("contacts", contact)
    assert await change(house, "manager", "contacts", contact, nameEn="Qzxvother") is Status.APPLIED
    # a conflict keeps three values, a refusal everything that was sent
    seq = await next_seq(house, "wei")
    answers = await pushed(
        house,
        "wei",
        Mutation(new_id(), seq, "contacts", contact, base, {"nameEn": "Qzxvmine"}, base={"nameEn": "Qzxvanna1"}),
        Mutation(new_id(), seq + 1, "contacts", contact, base, {"email": "qzxv no address", "qzxvField": "qzxv"}),
    )
    assert [answer.status for answer in answers] == [Status.CONFLICT, Status.REFUSED]
    # one that was merged in, one that was merged in and taken out again
    for number in (2, 3):
        other = await contact_at(house, customer, **person(CONTACT, number))
        [merge_id] = await house.work("manager", lambda w, o=other: merge_records(w, "contacts", contact, [o]))  # type: ignore[misc]
        if number == 3:
            await house.work("manager", lambda w, m=merge_id: undo_merge(w, m))  # type: ignore[misc]
            await eraser_of(desk).erase(house.people["admin"], other, ErasureReason.REQUEST)
    row = {"newDocumentState": {"id": contact, "notes": "qzxv from RxDB"}, "assumedMasterState": {"id": contact}}
    await data(house, "wei", RX_PUSH, contactsPushRow=[row])
    at = (await data(house, "wei", WM_PULL))["watermelonPull"]["timestamp"]
    changed = {"id": contact, "_status": "updated", "_changed": "notes", "notes": "qzxv from WatermelonDB"}
    changes = {"contacts": {"created": [], "updated": [changed], "deleted": []}}
    assert (await data(house, "wei", WM_PUSH, changes=changes, at=at))["watermelonPush"]["ok"]
    # a rescue file
    keys, who = read_rescue_keys(new_rescue_keys()), house.people["wei"]
    rescued = {"id": contact, "baseRev": await house.rev("contacts", contact), "set": {"notes": "qzxv rescued"}}
    queue = [{"id": new_id(), "clientSeq": await next_seq(house, "wei"), "change": {"contact": rescued}}]
    content = rescue_content(str(who.user_id), str(who.device_id), queue, "2026-11-22T04:00:00.000Z")
    file = write_rescue(content, keys.kid, base64url(keys.public), iv=secrets.token_bytes(12))
    rescue = open_rescue(file, keys, bytes_max=1_000_000, mutations_max=100)
    [(_, answer)] = await play_rescue(
        house.engine, rescue, USE_CASES, clock=lambda: house.now_ms, retries_max=3, chunk_max=100
    )
    assert answer.status in (Status.APPLIED, Status.MERGED), answer
    # bytes kept, and bytes still on their way
    paper = document(20_000) + b"qzxv in a file"
    await desk.stored("wei", contact, paper, collection="contacts", caption="qzxv card", file_name="qzxv.pdf")
    half, _ = await declare(house, "wei", contact, paper + b"2", collection="contacts", file_name="qzxv2.pdf")
    await desk.put("wei", half, paper + b"2", 0, len(paper))
    return contact


@pytest.mark.requirement("R49")
async def test_of_a_person_who_is_erased_nothing_is_left_anywhere(desk: Desk) -> None:
    house = desk.house
    contact = await through_every_door(desk)
    phone = await synced(house, "wei")
    assert ("contacts", contact) in phone.documents
    before = await places_in_tables(house.engine)
    assert len(await telling_receipts(house, "")) >= 3, "of the conflict, the refusal, the rescue file"
    expected = {"contact", "feed", "sync_issue", "record_merge", "attachment", "match_key", "audit_entry"}
    assert expected <= {place.partition(".")[0] for place in before}, before
    assert places_in_files(desk.settings.data_dir)

    answer = await desk.served.ask(ERASE, {"id": contact, "reason": "REQUEST"}, token=await desk.token("admin"))
    erased = answer["data"]["erasePerson"]
    assert (erased["__typename"], erased["id"], erased["already"]) == ("PersonErased", contact, False), answer
    assert await places_in_tables(house.engine) == []
    assert await telling_receipts(house, "") == set(), "all were about the person"
    assert places_in_files(desk.settings.data_dir) == []
    if house.engine.dialect is Dialect.SQLITE:
        path = Path(house.engine.url.removeprefix("sqlite://"))
        assert places_in_files(*path.parent.glob(f"{path.name}*")) == []
    await sync(house, "wei", phone)
    assert not is_seen(repr(phone.documents).encode())
    assert ("contacts", contact) not in phone.documents
    page = (await data(house, "wei", RX_PULL, limit=100))["pullContacts"]
    assert not is_seen(orjson.dumps(page))
    assert (await check_feed(house.engine)).findings == []


async def test_no_receipt_of_what_hung_on_the_person_keeps_the_hash_of_its_body(desk: Desk) -> None:
    """A hash of few unknown digits can be guessed: also of a visit, a task, a link, a file and what was deleted."""
    house = desk.house
    seq = await next_seq(house, "wei")
    consumer, contact, link, other = new_id(), new_id(), new_id(), new_id()
    visit, task, order, gone = new_id(), new_id(), new_id(), new_id()
    sent: list[tuple[str, str, dict[str, Any]]] = [
        ("customers", consumer, {"kind": "CONSUMER", "nameEn": "Qzxvanna1", "phone": "+8613755501001"}),
        ("contacts", contact, {"nameEn": "Qzxvanna1", "phone": "+8613755501001"}),
        ("customerContacts", link, {"customerId": consumer, "contactId": contact}),
        ("visits", visit, {"customerId": consumer, "plannedAt": house.now_ms, "notes": "qzxv"}),
        ("visits", gone, {"customerId": consumer, "plannedAt": house.now_ms, "notes": "qzxv"}),
        ("tasks", task, {"customerId": consumer, "title": "call +8613755501001"}),
        ("orders", order, {"customerId": consumer, "currency": "CNY", "lines": [], "notes": "qzxv"}),
        ("customers", other, {"kind": "RETAILER", "nameEn": "A shop"}),
    ]
    answers = await pushed(
        house, "wei", *(Mutation(new_id(), seq + n, name, one, None, told) for n, (name, one, told) in enumerate(sent))
    )
    assert {answer.status for answer in answers} == {Status.APPLIED}, answers
    rev = await house.rev("visits", gone)
    await house.change("admin", USE_CASES["visits", Intent.DELETE], Change(gone, Intent.DELETE, base_rev=rev))
    hung = [one for _, one, _ in sent[:-1]]
    assert len(await telling_receipts(house, *hung)) == len(hung)
    await eraser_of(desk).erase(house.people["admin"], consumer, ErasureReason.REQUEST)
    assert await telling_receipts(house, *hung) == set()
    assert len(await telling_receipts(house, other)) == 1, "what is nobody's stays"
    # whoever sends it again is told the same as before
    again = await pushed(house, "wei", Mutation(answers[3].mutation_id, seq + 3, *sent[3][:2], None, sent[3][2]))
    assert again[0].status is Status.APPLIED, again


async def test_a_phone_that_was_offline_is_told_kindly_and_what_it_says_is_kept_nowhere(desk: Desk) -> None:
    house = desk.house
    customer = await shop(house)
    contact = await contact_at(house, customer, **person(CONTACT))
    merged = await contact_at(house, customer, **person(CONTACT, 2))
    await house.work("manager", lambda work: merge_records(work, "contacts", contact, [merged]))
    base = await house.rev("contacts", contact)
    at = (await data(house, "wei", WM_PULL))["watermelonPull"]["timestamp"]
    await eraser_of(desk).erase(house.people["admin"], merged, ErasureReason.REQUEST)
    seq, visit = await next_seq(house, "wei"), new_id()
    edit = Mutation(new_id(), seq, "contacts", contact, base, {"notes": "qzxv late"})
    sent = (
        edit,
        Mutation(new_id(), seq + 1, "contacts", merged, base, {"notes": "qzxv late"}),
        Mutation(new_id(), seq + 2, "contacts", contact, None, person(CONTACT)),
        Mutation(new_id(), seq + 3, "customerContacts", new_id(), None, {"customerId": customer, "contactId": contact}),
        Mutation(new_id(), seq + 4, "visits", visit, None, {"customerId": customer, "plannedAt": house.now_ms}),
    )
    answers = await pushed(house, "wei", *sent)
    assert [(a.status, [p.code for p in a.problems]) for a in answers] == [
        *[(Status.REFUSED, [Code.PERSON_ERASED])] * 4,
        (Status.APPLIED, []),
    ]
    again = await pushed(house, "wei", edit)
    assert again[0].problems == answers[0].problems
    row = {"newDocumentState": {"id": contact, **person(CONTACT), "_deleted": False}}
    [master] = (await data(house, "wei", RX_PUSH, contactsPushRow=[row]))["pushContacts"]
    assert (master["id"], master["_deleted"]) == (contact, True)
    changed = {"id": contact, "_status": "updated", "_changed": "notes", "notes": "qzxv late"}
    changes = {"contacts": {"created": [], "updated": [changed], "deleted": []}}
    told = (await data(house, "wei", WM_PUSH, changes=changes, at=at))["watermelonPush"]
    assert told.get("ok") or {problem["code"] for problem in told["problems"]} <= {"PERSON_ERASED", "DELETED"}, told
    assert await places_in_tables(house.engine) == []


async def test_an_old_backup_does_not_bring_the_person_back(house: House, tmp_path: Path) -> None:
    """The database is as it was before the erasure; the list beside it is not."""
    contact = await contact_at(house, await shop(house), **person(CONTACT))
    settings = _settings(house, tmp_path)
    files = open_file_service(settings, house.engine, lambda: house.now_ms)
    eraser = open_eraser(settings, house.engine, files, lambda: house.now_ms)

    class Undone(Exception):
        pass

    async def story(work: Work) -> None:
        erased = await erase_person(work, contact, ErasureReason.REQUEST)
        ErasureList(settings.data_dir / "erasures.jsonl").add(_listed(erased))
        raise Undone

    with pytest.raises(Undone):
        await in_work(house.engine, house.people["admin"], story, clock=lambda: house.now_ms, retries_max=3)
    assert await places_in_tables(house.engine) != []
    assert await eraser.reapply() == 1
    assert await places_in_tables(house.engine) == []
    assert await eraser.reapply() == 0
    await files.close()


async def test_a_backup_from_before_anybody_knew_the_person_refuses_it_too(house: House, tmp_path: Path) -> None:
    settings = _settings(house, tmp_path)
    files = open_file_service(settings, house.engine, lambda: house.now_ms)
    eraser = open_eraser(settings, house.engine, files, lambda: house.now_ms)
    contact = await contact_at(house, await shop(house), **person(CONTACT))
    await eraser.erase(house.people["admin"], contact, ErasureReason.REQUEST)
    async with house.engine.write() as conn:
        for table in ("erased_person", "feed"):
            await conn.execute(f"DELETE FROM {table} WHERE {'id' if table == 'erased_person' else 'record_id'} = ?",
                               contact)  # fmt: skip
    assert await eraser.reapply() == 1
    [outcome] = await house.change("wei", USE_CASES["contacts", Intent.CREATE], create(contact, person(CONTACT)))
    assert [problem.code for problem in outcome.problems] == [Code.PERSON_ERASED]
    await files.close()


async def test_the_list_is_written_anew_from_the_database_when_its_file_is_lost_or_cut(
    house: House, tmp_path: Path
) -> None:
    settings = _settings(house, tmp_path)
    files = open_file_service(settings, house.engine, lambda: house.now_ms)
    eraser = open_eraser(settings, house.engine, files, lambda: house.now_ms)
    contact = await contact_at(house, await shop(house), **person(CONTACT))
    await eraser.erase(house.people["admin"], contact, ErasureReason.REQUEST)
    path = settings.data_dir / "erasures.jsonl"
    whole = path.read_bytes()
    assert b"qzxv" not in whole.lower()
    path.write_bytes(whole[: len(whole) // 2])
    assert await eraser.remember() == 1
    assert contact in ErasureList(path).read()
    path.unlink()
    assert await eraser.remember() == 1
    assert path.read_bytes() == whole
    assert await eraser.remember() == 0
    await files.close()


def _settings(house: House, folder: Path) -> Settings:
    return Settings(database_url=house.engine.url, data_dir=folder / "var")


def _listed(erased: Any) -> list[Any]:
    return [ErasedId(one, name, erased.erasure_id, erased.reason, erased.at_ms) for one, name in erased.ids.items()]
