"""Attachments as records: seen exactly where their record is, whatever becomes of it; who may do what; bounds."""

import random
from typing import Any

import pytest

from backend.auth.principal import Principal
from backend.domain.attachments import AttachmentLimits
from backend.errors import Code
from backend.ids import new_id
from backend.storage.engine import Connection
from backend.storage.visibility import HOLDERS, visible_to
from backend.sync.changes import Change, Intent, Outcome, Status
from backend.sync.collections import COLLECTIONS
from backend.sync.doctor import check_feed
from backend.sync.feed import places_of
from backend.usecases.attachments import attachments_within
from backend.usecases.contacts import change_contacts, change_customer_contacts
from backend.usecases.customers import change_customers
from backend.usecases.merges import merge_records, undo_merge
from backend.usecases.tasks import change_tasks
from backend.wiring import USE_CASES
from mobile_contract.files import fields_of
from tests.files.conftest import CHANGE, declare, on_sqlite, record_of, shop_of
from tests.files.pictures import document
from tests.files.test_sending import move
from tests.house import House, create, patch
from tests.usecases.asking import ask, data

PAPER = document(100)


async def seen(conn: Connection, principal: Principal, collection: str) -> set[str]:
    visible, args = visible_to(principal, collection, "t")
    rows = await conn.fetch(f"SELECT t.id FROM {COLLECTIONS[collection].table} t WHERE {visible}", *args)
    return {row[0] for row in rows}


async def check_everybody_sees_both_or_neither(house: House) -> int:
    """Every attachment is seen by predicate and by place exactly as its record is; how often by some and not others."""
    split = 0
    async with house.engine.read() as conn:
        rows = [tuple(row) for row in await conn.fetch("SELECT id, collection, record_id FROM attachment")]
        told = await places_of(conn, "attachments", [row[0] for row in rows])
        open_ = await conn.fetch(
            "SELECT record_id, scope FROM feed_scope WHERE collection = 'attachments' AND left_seq IS NULL"
        )
        fed = {attachment_id: {scope for one, scope in open_ if one == attachment_id} for attachment_id, *_ in rows}
        assert fed == {attachment_id: told[attachment_id] for attachment_id, *_ in rows}
        for principal in house.people.values():
            mine = await seen(conn, principal, "attachments")
            records = {collection: await seen(conn, principal, collection) for collection in HOLDERS}
            for attachment_id, collection, record_id in rows:
                may = principal.reads(collection) and record_id in records[collection]
                assert (attachment_id in mine) == may, (principal.role, collection)
            split += 0 < len(mine) < len(rows)
    report = await check_feed(house.engine)
    assert not report.drifted, report.findings
    return split


@pytest.mark.parametrize("seed", range(2))
async def test_an_attachment_is_seen_exactly_where_its_record_is(house: House, seed: int) -> None:
    """Through moves, links, unlinks, assignments, merges and deletions, by every role."""
    rng = random.Random(seed)
    shops = [await shop_of(house, who) for who in ("wei", "wei", "na")]
    shops[1:2] = [await door_of(house, shops[0])]
    held: dict[str, list[str]] = {collection: [] for collection in HOLDERS}
    held["customers"] = list(shops)
    for collection in HOLDERS:
        for shop, who in ((shops[0], "wei"), (shops[2], "na")):
            record = await record_of(house, collection, shop, who)
            if record not in held[collection]:
                held[collection].append(record)
            await declare(house, who, record, PAPER, collection=collection)
    loose = new_id()
    await house.change("wei", change_contacts, create(loose, {"nameEn": "Nobody's"}))
    await declare(house, "wei", loose, PAPER, collection="contacts")
    held["contacts"].append(loose)
    split = await check_everybody_sees_both_or_neither(house)
    merges: list[str] = []
    for _ in range(9):
        house.now_ms += 1_000
        await one_step(house, rng, shops, held, merges)
        split += await check_everybody_sees_both_or_neither(house)
    assert split > 10


async def door_of(house: House, head: str) -> str:
    """A door of a chain, so that its head is seen from two patches."""
    shop = new_id()
    await house.change("na", change_customers, create(shop, {"nameEn": "Door", "kind": "RETAILER", "parentId": head}))
    return shop


async def one_step(
    house: House, rng: random.Random, shops: list[str], held: dict[str, list[str]], merges: list[str]
) -> None:
    here = shops[:2] if merges else shops
    match rng.randrange(6):
        case 0 | 1:
            await move(house, rng.choice(here), rng.choice(["north", "south"]))
        case 2:
            link = create(new_id(), {"customerId": rng.choice(here), "contactId": rng.choice(held["contacts"])})
            await house.change("admin", change_customer_contacts, link)
        case 3:
            async with house.engine.read() as conn:
                links = [row[0] for row in await conn.fetch("SELECT id FROM customer_contact ORDER BY id")]
            if links:
                await house.change("admin", change_customer_contacts, Change(rng.choice(links), Intent.DELETE))
        case 4:
            task, who = rng.choice(held["tasks"]), rng.choice(["wei", "na", "manager"])
            fields = {"assigneeId": house.people[who].user_id}
            await house.change(
                "admin", change_tasks, Change(task, Intent.PATCH, fields, await house.rev("tasks", task))
            )
        case _ if merges:
            await house.work("admin", lambda work: undo_merge(work, merges.pop()))
        case _:
            first, second = shops[0], shops[2]
            merges.extend(await house.work("admin", lambda work: merge_records(work, "customers", first, [second])))


@pytest.mark.parametrize("collection", HOLDERS)
async def test_what_hangs_on_a_deleted_record_goes_with_it(house: House, collection: str) -> None:
    shop = await shop_of(house)
    record = await record_of(house, collection, shop)
    attachment_id, _ = await declare(house, "wei", record, PAPER, collection=collection)
    other, _ = await declare(house, "wei", await record_of(house, "visits", await shop_of(house)), PAPER)
    outcomes = await house.change("admin", USE_CASES[collection, Intent.DELETE], Change(record, Intent.DELETE))
    assert outcomes[0].status is Status.APPLIED, outcomes
    assert await house.row("attachment", attachment_id, "id") == ()
    assert await house.row("attachment", other, "id") == (other,)
    async with house.engine.read() as conn:
        rows = await conn.fetch("SELECT deleted FROM feed WHERE key = ?", f"attachments:{attachment_id}")
        assert [bool(row[0]) for row in rows] == [True]
        told = await conn.fetch("SELECT action FROM audit_entry WHERE record_id = ? ORDER BY id", attachment_id)
    assert [row[0] for row in told] == ["CREATE", "DELETE"]
    assert not (await check_feed(house.engine)).drifted


async def test_who_may_do_what(house: House) -> None:
    record = await record_of(house, "visits", await shop_of(house))
    attachment_id, made = await declare(house, "wei", record, PAPER)
    assert made.status is Status.APPLIED
    rev = await house.rev("attachments", attachment_id)
    for who, code in [("na", Code.NOT_FOUND), ("manager", Code.NOT_PERMITTED), ("agent", Code.NOT_PERMITTED),
                      ("analyst", Code.NOT_PERMITTED)]:  # fmt: skip
        for change in (patch(attachment_id, rev, caption="mine"), Change(attachment_id, Intent.DELETE)):
            (outcome,) = await house.change(who, CHANGE, change)
            assert code in {p.code for p in outcome.problems}, (who, outcome)
        _, outcome = await declare(house, who, record, PAPER)
        assert outcome.status is Status.REFUSED
    (captioned,) = await house.change("wei", CHANGE, patch(attachment_id, rev, caption="窗户"))
    assert captioned.status is Status.APPLIED
    await move_to_colleague(house, record)
    (foreign,) = await house.change("na", CHANGE, Change(attachment_id, Intent.DELETE))
    assert [(p.code, p.path) for p in foreign.problems] == [(Code.NOT_PERMITTED, ("id",))]
    (gone,) = await house.change("admin", CHANGE, Change(attachment_id, Intent.DELETE))
    assert gone.status is Status.APPLIED
    (again,) = await house.change("admin", CHANGE, Change(attachment_id, Intent.DELETE))
    assert again.status is Status.APPLIED


async def move_to_colleague(house: House, record: str) -> None:
    async with house.engine.read() as conn:
        ((shop,),) = await conn.fetch("SELECT customer_id FROM visit WHERE id = ?", record)
    await move(house, shop, "south")


async def declared(house: House, who: str, record: str, **more: Any) -> Outcome:
    fields = fields_of(
        PAPER, collection="visits", record_id=record, kind="DOCUMENT", file_name="a.pdf", mime="application/pdf"
    )
    (outcome,) = await house.change(who, CHANGE, create(new_id(), {**fields, **more}))
    return outcome


@on_sqlite
async def test_what_is_wrong_with_a_declaration_is_said_at_once(house: House) -> None:
    record = await record_of(house, "visits", await shop_of(house))
    for more, code, path in [
        ({"sha256": "xyz"}, Code.INVALID_VALUE, "sha256"),
        ({"sizeBytes": 0}, Code.OUT_OF_RANGE, "sizeBytes"),
        ({"sizeBytes": -1}, Code.OUT_OF_RANGE, "sizeBytes"),
        ({"sizeBytes": 2**40}, Code.OUT_OF_RANGE, "sizeBytes"),
        ({"sizeBytes": "9"}, Code.INVALID_VALUE, "sizeBytes"),
        ({"mime": "image/heic"}, Code.NOT_ALLOWED_VALUE, "mime"),
        ({"mime": "text/html"}, Code.NOT_ALLOWED_VALUE, "mime"),
        ({"kind": "PHOTO"}, Code.NOT_ALLOWED_VALUE, "mime"),
        ({"kind": "VIDEO"}, Code.NOT_ALLOWED_VALUE, "kind"),
        ({"collection": "scores"}, Code.NOT_ALLOWED_VALUE, "collection"),
        ({"collection": "orders"}, Code.NOT_FOUND, "recordId"),
        ({"recordId": new_id()}, Code.NOT_FOUND, "recordId"),
        ({"recordId": "../x"}, Code.INVALID_VALUE, "recordId"),
        ({"recordId": None}, Code.REQUIRED, "recordId"),
        ({"fileName": "a\0b"}, Code.INVALID_VALUE, "fileName"),
        ({"fileName": "x" * 121}, Code.TOO_LONG, "fileName"),
        ({"proof": True}, Code.NOT_ALLOWED_VALUE, "proof"),
        ({"state": "STORED"}, Code.SERVER_ONLY_FIELD, "state"),
        ({"storedSha256": "0" * 64}, Code.SERVER_ONLY_FIELD, "storedSha256"),
        ({"previewSha256": "0" * 64}, Code.UNKNOWN_FIELD, "previewSha256"),
    ]:
        outcome = await declared(house, "wei", record, **more)
        assert outcome.status is Status.REFUSED, more
        assert (code, (path,)) in {(p.code, p.path) for p in outcome.problems}, (more, outcome.problems)
    outcome = await declared(house, "wei", record, sha256="no", mime="text/html", kind="VIDEO")
    assert {p.path for p in outcome.problems} == {("sha256",), ("mime",), ("kind",)}
    assert (await declared(house, "wei", record, fileName="../../a.pdf")).status is Status.APPLIED


async def test_what_was_declared_stays_and_a_replay_is_one(house: House) -> None:
    record = await record_of(house, "visits", await shop_of(house))
    attachment_id, _ = await declare(house, "wei", record, PAPER)
    _, again = await declare(house, "wei", record, PAPER, attachment_id=attachment_id)
    assert again.status is Status.APPLIED
    _, other = await declare(house, "wei", record, document(200), attachment_id=attachment_id)
    assert [p.code for p in other.problems] == [Code.ID_TAKEN]
    rev = await house.rev("attachments", attachment_id)
    for name, value in {"sha256": "0" * 64, "recordId": new_id(), "kind": "PHOTO", "proof": True}.items():
        (outcome,) = await house.change("wei", CHANGE, patch(attachment_id, rev, **{name: value}))
        assert [p.code for p in outcome.problems] == [Code.NOT_EDITABLE], name


@on_sqlite
async def test_a_record_holds_so_many_and_no_more(house: House) -> None:
    record = await record_of(house, "visits", await shop_of(house))
    few = attachments_within(AttachmentLimits(per_record_max=2))
    fields = fields_of(
        PAPER, collection="visits", record_id=record, kind="DOCUMENT", file_name="a.pdf", mime="application/pdf"
    )
    outcomes = await house.change("wei", few, *(create(new_id(), fields) for _ in range(3)))
    assert [outcome.status.value for outcome in outcomes] == ["APPLIED", "APPLIED", "REFUSED"]
    assert [(p.code, p.allowed) for p in outcomes[2].problems] == [(Code.TOO_MANY, ("2",))]


CREATE = """
mutation ($input: AttachmentInput!, $id: ID) { createAttachment(input: $input, id: $id) {
  ... on AttachmentChanged { status attachment { id url previewUrl state fileName caption createdBy rev } }
  ... on Refusal { problems { code path } } } }
"""
READ = """
query ($visit: ID!) { visit(id: $visit) { attachments(first: 5) { edges { node {
  id kind url state fileName caption mime sizeBytes proof } } } } }
"""


async def test_attachments_are_read_with_their_record(house: House) -> None:
    record = await record_of(house, "visits", await shop_of(house))
    given = fields_of(
        PAPER, collection="visits", record_id=record, kind="DOCUMENT", file_name="账单.pdf", mime="application/pdf",
        caption="七月",
    )  # fmt: skip
    attachment_id = new_id()
    made = (await data(house, "wei", CREATE, input=given, id=attachment_id))["createAttachment"]
    assert made["status"] == "APPLIED"
    assert made["attachment"]["url"] == f"/files/{attachment_id}"
    assert made["attachment"]["previewUrl"] == f"/files/{attachment_id}/preview"

    async def names(who: str) -> list[tuple[str, str]]:
        visit = (await data(house, who, READ, visit=record))["visit"]
        return [(edge["node"]["fileName"], edge["node"]["caption"]) for edge in visit["attachments"]["edges"]]

    assert await names("manager") == [("账单.pdf", "七月")]
    assert await names("analyst") == [("账•••", "七•••")]
    answer = await ask(house, "na", READ, visit=record)
    assert answer["data"]["visit"] is None
