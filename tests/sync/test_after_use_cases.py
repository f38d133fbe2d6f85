"""After every use case: what a phone held plus what the pull brings is what a phone that starts now would hold.

And both are what the tables say its user may see.
"""

from collections.abc import Awaitable, Callable

import orjson
import pytest

from backend.domain.territories import Move
from backend.errors import Refused
from backend.ids import new_id
from backend.storage.engine import Engine
from backend.storage.visibility import visible_to
from backend.sync.changes import Change, Intent, Status
from backend.sync.collections import COLLECTIONS
from backend.sync.documents import read_documents
from backend.usecases.people import create_user, set_active
from backend.usecases.territories import create_territory, grant_territory, move_customers, revoke_territory
from tests.factories import insert
from tests.sync.offices import Office, Phone, visit_fields
from tests.sync.test_push import line

Story = Callable[[Office], Awaitable[None]]
STORIES: list[Story] = []


def story(told: Story) -> Story:
    STORIES.append(told)
    return told


async def make(office: Office, collection: str, user_id: str | None = None, **fields: object) -> str:
    record_id = new_id()
    change = Change(record_id, Intent.CREATE, fields)
    (outcome,) = await office.online(user_id or office.rep, collection, change)
    assert outcome.status is Status.APPLIED, outcome
    return record_id


async def change(office: Office, collection: str, record_id: str, user_id: str | None = None, **fields: object) -> None:
    outcome = await office.patch(user_id or office.rep, collection, record_id, **fields)
    assert outcome.status is Status.APPLIED, outcome


async def remove(office: Office, collection: str, record_id: str) -> None:
    (outcome,) = await office.online(office.admin, collection, Change(record_id, Intent.DELETE))
    assert outcome.status is Status.APPLIED, outcome


async def move(office: Office, shop: str, to: str) -> None:
    async with office.work(office.manager) as work:
        assert await move_customers(work, [Move(shop, to)], "test") == 1


async def with_everything(office: Office) -> str:
    """A shop with a link, a contact, a visit, an order, a task, an answer, a complaint and a score."""
    shop = office.shops[0]
    contact = await make(office, "contacts", nameEn="Lee")
    await make(office, "customerContacts", customerId=shop, contactId=contact)
    await make(office, "visits", **visit_fields(shop))
    await make(office, "orders", customerId=shop, currency="USD", lines=[await line(office, 3)])
    await make(office, "tasks", customerId=shop, title="Call")
    await make(office, "answers", customerId=shop, formId=await asked(office), values={"happy": 4})
    await make(office, "cases", customerId=shop, subject="Late")
    await make(office, "judgements", customerId=shop, kind="SKIP", reason="NO_TIME")
    async with office.job() as work:
        await insert(work.conn, "customer_score", **await score_columns(office, shop))
        work.touched("scores", shop)
    return shop


async def asked(office: Office) -> str:
    """A form about how happy somebody is."""
    questions = [{"key": "happy", "kind": "CSAT", "nameEn": "Happy?", "measure": "CSAT"}]
    return await make(office, "forms", office.admin, key="visit", occasion="VISIT", nameEn="Visit", questions=questions)


_JSON = {"facts": "{}", "numbers": "{}", "measures": "{}", "questions": "[]"}


async def score_columns(office: Office, shop: str) -> dict[str, object]:
    """A score row with a value in every column that must have one."""
    if office.engine.url.startswith("sqlite"):
        rows = await office.rows("SELECT name, type, \"notnull\" FROM pragma_table_info('customer_score')")
        columns = [(name, kind, bool(needed)) for name, kind, needed in rows]
    else:
        rows = await office.rows(
            "SELECT column_name, data_type, is_nullable FROM information_schema.columns"
            " WHERE table_name = 'customer_score'"
        )
        columns = [(name, kind, nullable == "NO") for name, kind, nullable in rows]
    found: dict[str, object] = {"customer_id": shop, "territory_id": office.east}
    for name, kind, needed in columns:
        if needed and name not in found:
            text = any(part in kind.upper() for part in ("CHAR", "TEXT"))
            found[name] = _JSON.get(name, "x") if text else 0
    return found


@story
async def a_customer_is_made_edited_and_deleted(office: Office) -> None:
    shop = await make(office, "customers", kind="RETAILER", nameZh="王五服饰", tags=["b", "a"])
    await change(office, "customers", shop, tags=["c"], openHours={"MON": "09:00-18:00"}, termsDays=0)
    await remove(office, "customers", shop)
    await make(office, "customers", kind="RETAILER", nameKo="가나다")


@story
async def a_shop_with_everything_moves_away_and_back(office: Office) -> None:
    shop = await with_everything(office)
    await move(office, shop, office.west)
    await move(office, shop, office.east)
    await move(office, shop, office.west)


@story
async def a_chain_gets_doors_in_two_territories(office: Office) -> None:
    head = await make(office, "customers", kind="CHAIN", nameEn="Head")
    door = await make(office, "customers", kind="RETAILER", nameEn="Door", parentId=head)
    await move(office, door, office.west)
    await change(office, "customers", door, office.other_rep, parentId=None)
    await change(office, "customers", door, office.other_rep, parentId=head)
    await move(office, head, office.west)
    await remove(office, "customers", door)


@story
async def a_head_is_deleted_while_its_doors_name_it(office: Office) -> None:
    head = await make(office, "customers", kind="CHAIN", nameEn="Head")
    door = await make(office, "customers", kind="RETAILER", nameEn="Door", parentId=head)
    await move(office, door, office.west)
    await remove(office, "customers", head)


@story
async def a_form_is_published_answered_corrected_and_retired(office: Office) -> None:
    form, shop = await asked(office), office.shops[0]
    first = await make(office, "answers", customerId=shop, formId=form, values={"happy": 1})
    second = await make(office, "answers", customerId=shop, formId=form, values={"happy": 5}, correctsId=first)
    await change(office, "forms", form, office.admin, retired=True)
    await move(office, shop, office.west)
    await remove(office, "answers", second)
    await remove(office, "answers", first)
    # one that somebody answered stays, because a deleted answer may come back
    await remove(office, "forms", await asked(office))


@story
async def a_complaint_is_heard_escalated_settled_and_opened_again(office: Office) -> None:
    case = await make(office, "cases", customerId=office.shops[0], subject="Wrong sizes", priority="P1")
    await change(office, "cases", case, office.manager, escalated=True)
    await change(office, "cases", case, office.admin, state="CLOSED", resolution="exchanged")
    await change(office, "cases", case, office.admin, state="REOPENED")
    await move(office, office.shops[0], office.west)
    await remove(office, "cases", case)


@story
async def a_customer_is_skipped_put_first_and_that_is_taken_back(office: Office) -> None:
    shop = office.shops[0]
    skip = await make(office, "judgements", customerId=shop, kind="SKIP", reason="NO_TIME")
    put = {"kind": "OVERRIDE", "reason": "COMPETITOR", "points": 30}
    override = await make(office, "judgements", office.manager, customerId=shop, **put)
    await move(office, shop, office.west)
    await change(office, "judgements", override, office.manager, withdrawn=True)
    await remove(office, "judgements", skip)


@story
async def a_contact_works_at_shops_of_two_territories(office: Office) -> None:
    contact = await make(office, "contacts", nameKo="김민서", channels={"CALL": "+82 10 1234 5678"})
    links = [await make(office, "customerContacts", customerId=s, contactId=contact) for s in office.shops[:2]]
    await move(office, office.shops[0], office.west)
    await change(office, "contacts", contact, notes="of two")
    await change(office, "customerContacts", links[1], role="OWNER", primary=True)
    await remove(office, "customerContacts", links[1])
    await remove(office, "customerContacts", links[0])


@story
async def a_linked_contact_is_deleted(office: Office) -> None:
    contact = await make(office, "contacts", nameEn="Lee")
    await make(office, "customerContacts", customerId=office.shops[0], contactId=contact)
    await remove(office, "contacts", contact)


@story
async def a_customer_with_contacts_and_a_score_is_deleted(office: Office) -> None:
    shop = office.shops[0]
    contact = await make(office, "contacts", nameEn="Lee")
    await make(office, "customerContacts", customerId=shop, contactId=contact)
    async with office.job() as work:
        await insert(work.conn, "customer_score", **await score_columns(office, shop))
        work.touched("scores", shop)
    await remove(office, "customers", shop)


@story
async def a_visit_is_planned_made_and_another_forgotten(office: Office) -> None:
    visit = await make(office, "visits", **visit_fields(office.shops[0]))
    await change(office, "visits", visit, state="CHECKED_IN", checkInAt="2026-01-01T00:00:00.000Z")
    ahead = "2026-01-01T00:01:00.000Z"
    await make(office, "visits", customerId=office.shops[1], state="CHECKED_IN", checkInAt=ahead)
    done = await make(office, "visits", **visit_fields(office.shops[2]))
    times = {"checkInAt": "2025-12-31T10:00:00.000Z", "checkOutAt": "2025-12-31T11:00:00.000Z"}
    await change(office, "visits", done, state="COMPLETED", outcome="NO_ORDER", **times)
    planned = await make(office, "visits", **visit_fields(office.shops[0]))
    await remove(office, "visits", planned)


@story
async def an_order_is_written_submitted_and_decided(office: Office) -> None:
    for decision in ({"state": "CONFIRMED"}, {"state": "REJECTED", "rejectReason": "credit"}):
        first = await line(office, 3)
        order = await make(office, "orders", customerId=office.shops[0], currency="USD", lines=[first])
        await change(office, "orders", order, lines=[{"id": first["id"], "cells": dict.fromkeys(first["cells"], 7)}])
        await change(office, "orders", order, state="SUBMITTED")
        await change(office, "orders", order, office.manager, **decision)
    draft = await make(office, "orders", customerId=office.shops[0], currency="USD", lines=[])
    await remove(office, "orders", draft)


@story
async def tasks_are_given_done_and_deleted(office: Office) -> None:
    task = await make(office, "tasks", title="Call", customerId=office.shops[0], dueOn="2026-01-05")
    alone = await make(office, "tasks", title="Think")
    await change(office, "tasks", task, office.manager, assigneeId=office.other_rep)
    await change(office, "tasks", alone, state="DONE")
    await move(office, office.shops[0], office.west)
    await remove(office, "tasks", task)


@story
async def a_territory_is_taken_given_and_given_back(office: Office) -> None:
    await with_everything(office)
    async with office.work(office.manager) as work:
        await revoke_territory(work, office.rep, office.east)
        await grant_territory(work, office.other_rep, office.east)
    async with office.work(office.manager) as work:
        await grant_territory(work, office.rep, office.east)
    async with office.work(office.manager) as work:
        await revoke_territory(work, office.other_rep, office.east)
        await grant_territory(work, office.rep, office.west)


@story
async def a_territory_is_made(office: Office) -> None:
    async with office.work(office.admin) as work:
        made = await create_territory(
            work,
            {"path": "/r/south", "kind": "PATCH", "parentId": office.root, "nameEn": "South", "timezone": "Asia/Seoul"},
        )
    await move(office, office.shops[0], made)


@story
async def people_come_and_go(office: Office) -> None:
    async with office.work(office.admin) as work:
        made = await create_user(work, email="new@example.com", name="신입", role="REP", password_hash="x")
    async with office.work(office.admin) as work:
        await grant_territory(work, made, office.east)
    async with office.work(office.admin) as work:
        await set_active(work, office.other_rep, active=False)
    async with office.work(office.admin) as work:
        await set_active(work, office.other_rep, active=True)


async def true_documents(office: Office, phone: Phone) -> dict[tuple[str, str], object]:
    found: dict[tuple[str, str], object] = {}
    async with office.engine.read() as conn:
        for collection in COLLECTIONS.values():
            visible, args = visible_to(
                phone.line.principal, collection.name, "t", record_column=collection.record_column
            )
            rows = await conn.fetch(
                f"SELECT t.{collection.record_column} FROM {collection.table} t WHERE {visible}", *args
            )
            documents = await read_documents(conn, collection, [row[0] for row in rows])
            found |= {(collection.name, record_id): orjson.loads(text) for record_id, text in documents.items()}
    return found


@pytest.mark.requirement("R4")
@pytest.mark.parametrize("told", STORIES, ids=lambda told: told.__name__)
async def test_state_and_delta_are_what_a_first_sync_brings(engine: Engine, told: Story) -> None:
    office = await Office(engine).open()
    people = [office.rep, office.other_rep, office.manager, office.agent, office.admin]
    phones = [await office.phone(person) for person in people]
    await told(office)
    for person, phone in zip(people, phones, strict=True):
        await phone.sync()
        assert not any(page["complete"] and phone.replica.refetch for page in phone.line.pages)
        fresh = await office.phone(person)
        assert phone.replica.documents == fresh.replica.documents, office.roles[person]
        assert phone.replica.places == fresh.replica.places, office.roles[person]
        assert phone.replica.documents == await true_documents(office, phone), office.roles[person]
        asked_again = [page for page in phone.line.pages if page["blocks"]]
        assert len(asked_again) <= 2, "checksums agreed at once"


async def test_who_may_not_changes_nothing_and_is_told_so(engine: Engine) -> None:
    office = await Office(engine).open()
    held = await office.tables()
    with pytest.raises(Refused, match="NOT_PERMITTED"):
        async with office.work(office.rep) as work:
            await move_customers(work, [Move(office.shops[0], office.west)])
    with pytest.raises(Refused, match="NOT_PERMITTED"):
        async with office.work(office.rep) as work:
            await grant_territory(work, office.rep, office.west)
    assert await office.tables() == held
