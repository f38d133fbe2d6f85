"""A deleted photo keeps its bytes for as long as it can be brought back; whose person is erased does not."""

from typing import Any

import pytest

from backend.domain.privacy import ErasureReason
from backend.ids import new_id
from backend.sync.changes import Change, Intent, Outcome, Status
from backend.usecases.retention import carry_out
from backend.usecases.uploads import DAY_MS, Files
from backend.wiring import USE_CASES, open_eraser, use_cases_within
from tests.files.conftest import Desk, declare
from tests.files.pictures import document, picture
from tests.house import House, create

PHOTO: dict[str, Any] = {"kind": "PHOTO", "mime": "image/jpeg"}


def files_of(desk: Desk) -> Files:
    return desk.served.services.files


async def remove(house: House, collection: str, record_id: str, who: str = "wei") -> None:
    use_case = USE_CASES[collection, Intent.DELETE]
    [outcome] = await house.change(who, use_case, Change(record_id, Intent.DELETE))
    assert outcome.status is Status.APPLIED, outcome.problems


async def bring_back(house: House, collection: str, record_id: str, who: str = "wei") -> Outcome:
    [outcome] = await house.change(who, USE_CASES[collection, Intent.RESTORE], Change(record_id, Intent.RESTORE))
    return outcome


def later(desk: Desk, days: int) -> None:
    desk.house.now_ms += days * DAY_MS
    desk.tokens.clear()  # they have run out


async def retain(desk: Desk, **settings: int) -> None:
    async def nobody(_id: str, _reason: object) -> None:
        raise AssertionError("nobody is to be erased")

    await carry_out(
        desk.house.engine,
        settings=desk.settings.model_copy(update=settings),
        clock=lambda: desk.house.now_ms,
        erase=nobody,
    )


async def erase(desk: Desk, record_id: str) -> None:
    eraser = open_eraser(desk.settings, desk.house.engine, files_of(desk), lambda: desk.house.now_ms)
    await eraser.erase(desk.house.people["system"], record_id, ErasureReason.REQUEST, by_operator=True)


@pytest.mark.requirement("R32")
async def test_a_photo_comes_back_with_its_bytes_by_itself_and_with_its_visit(desk: Desk, visit: str) -> None:
    photo = await desk.stored("wei", visit, picture(), **PHOTO)
    shown = (await desk.get("wei", photo)).content
    for collection, record_id, who in (("attachments", photo, "wei"), ("visits", visit, "admin")):
        await remove(desk.house, collection, record_id, who)
        assert await files_of(desk).collect() == 0
        assert (await files_of(desk).survey()).clean, "what can come back is no orphan"
        assert (await desk.get("wei", photo)).status_code == 404
        assert (await bring_back(desk.house, collection, record_id)).status is Status.APPLIED
        assert await desk.row(photo, "state", "preview_state") == ("STORED", "READY")
        assert (await desk.get("wei", photo)).content == shown
        assert (await desk.get("wei", photo, "/preview")).status_code == 200
    assert await files_of(desk).collect() == 0


async def test_after_the_days_its_bytes_go(desk: Desk, visit: str) -> None:
    photo = await desk.stored("wei", visit, picture(), **PHOTO)
    await remove(desk.house, "attachments", photo)
    desk.house.now_ms += 30 * DAY_MS
    await retain(desk)
    assert await files_of(desk).collect() == 0
    desk.house.now_ms += 2
    await retain(desk)
    assert await files_of(desk).collect() == 2
    assert desk.files_kept() == []


async def test_what_may_be_kept_no_longer_goes_though_it_was_deleted_only_now(desk: Desk, visit: str) -> None:
    """The class of old files is about when they were added."""
    old = await desk.stored("wei", visit, picture(), **PHOTO)
    later(desk, 90)
    young = await desk.stored("wei", visit, document(3_000), kind="DOCUMENT")
    for one in (old, young):
        await remove(desk.house, "attachments", one)
    later(desk, 20)
    await retain(desk, retain_attachment_days=100)
    assert await files_of(desk).collect() == 2
    assert [(await bring_back(desk.house, "attachments", one)).status for one in (old, young)] == [
        Status.REFUSED,
        Status.APPLIED,
    ]


@pytest.mark.requirement("R49")
async def test_bytes_of_an_erased_person_go_at_once_though_they_were_deleted_before(desk: Desk, house: House) -> None:
    contact, shop, visit = new_id(), new_id(), new_id()
    made: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("contacts", contact, {"nameEn": "Kim"}),
        ("customers", shop, {"nameEn": "Lee", "kind": "CONSUMER"}),
        ("visits", visit, {"customerId": shop, "purpose": "SELL", "plannedAt": house.now_ms}),
    )
    for collection, record_id, fields in made:
        [outcome] = await house.change("wei", USE_CASES[collection, Intent.CREATE], create(record_id, fields))
        assert outcome.status is Status.APPLIED, outcome.problems
    for number, (collection, record_id, person) in enumerate(
        (("contacts", contact, contact), ("visits", visit, shop)), start=1
    ):
        photo = await desk.stored("wei", record_id, picture(seed=number), collection=collection, **PHOTO)
        await remove(house, "attachments", photo)
        assert await files_of(desk).collect() == 0
        assert len(desk.files_kept()) == 2
        await erase(desk, person)
        assert desk.files_kept() == []
        async with house.engine.read() as conn:
            for table in ("deleted_file", "deleted_record", "stored_file"):
                assert await conn.fetch(f"SELECT count(*) FROM {table}") == [(0,)], table


async def test_bytes_somebody_else_needs_stay(desk: Desk, visit: str) -> None:
    """The same bytes on two records: the one deleted earlier lets go of them, the other keeps them."""
    data = document(3_000)
    first = await desk.stored("wei", visit, data)
    second, _ = await declare(desk.house, "wei", visit, data)
    await remove(desk.house, "attachments", first)
    later(desk, 29)
    await remove(desk.house, "attachments", second)
    later(desk, 2)
    await retain(desk)
    assert await files_of(desk).collect() == 0
    assert (await bring_back(desk.house, "attachments", second)).status is Status.APPLIED
    assert (await desk.get("wei", second)).content == data


async def test_bringing_back_hangs_no_more_on_a_record_than_may(desk: Desk, visit: str) -> None:
    ids = [(await declare(desk.house, "wei", visit, document(100, seed=seed)))[0] for seed in range(4)]
    for one in ids[:3]:
        await remove(desk.house, "attachments", one)
    limits = files_of(desk)._limits
    few = use_cases_within(type(limits)(per_record_max=2))["attachments", Intent.RESTORE]
    outcomes = await desk.house.change("wei", few, *(Change(one, Intent.RESTORE) for one in ids))
    assert sorted(outcome.status.value for outcome in outcomes) == ["APPLIED", "APPLIED", "REFUSED", "REFUSED"]
    assert {(p.code.value, p.path, p.allowed) for outcome in outcomes for p in outcome.problems} == {
        ("TOO_MANY", ("recordId",), ("2",))
    }
    await remove(desk.house, "visits", visit, "admin")
    assert (await bring_back(desk.house, "visits", visit)).status is Status.APPLIED
