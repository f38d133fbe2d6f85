"""A cursor is its owner's alone, whole or not at all, and only as old as history reaches."""

import base64

import pytest

from backend.errors import Refused
from backend.storage.engine import Engine
from backend.sync.cursor import END, Backfill, Cursor, Position, seal, unseal
from tests.sync.offices import Office, Phone

SECRET = b"s"
CURSOR = Cursor(Position(2**40 + 5, "visits", "id", "territory:x"), 2**40 + 3, (Backfill("a", 1, ("b", "c"), "d"),), 1)


def token(cursor: Cursor = CURSOR) -> str:
    return seal(cursor, secret=SECRET, user_id="u", device_id="d")


def opened(text: str, *, user_id: str = "u", device_id: str = "d", secret: bytes = SECRET) -> Cursor:
    return unseal(text, secret=secret, user_id=user_id, device_id=device_id)


def test_a_cursor_comes_back_as_it_was() -> None:
    assert opened(token()) == CURSOR


@pytest.mark.parametrize(
    "other", [{"user_id": "v"}, {"device_id": "e"}, {"secret": b"t"}, {"user_id": "u\0d"}], ids=repr
)
def test_nobody_else_can_present_it(other: dict[str, object]) -> None:
    with pytest.raises(Refused, match="CURSOR_INVALID"):
        opened(token(), **other)  # type: ignore[arg-type]


def test_no_byte_of_it_can_be_changed() -> None:
    whole = token()
    raw = base64.urlsafe_b64decode(whole + "=" * (-len(whole) % 4))
    for index in range(len(raw)):
        for flip in (1, 0x80):
            altered = bytearray(raw)
            altered[index] ^= flip
            with pytest.raises(Refused, match="CURSOR_INVALID"):
                opened(base64.urlsafe_b64encode(bytes(altered)).decode().rstrip("="))
    for index in range(len(whole)):
        for text in (whole[:index], whole[:index] + "-" + whole[index:], whole[:index] + "é" + whole[index + 1 :]):
            with pytest.raises(Refused, match="CURSOR_INVALID"):
                opened(text)


@pytest.mark.parametrize("text", ["", " ", "=", "a", "\0", "null", "A" * 5_000, token() + "=", token() + "\n", "😀"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="CURSOR_INVALID"):
        opened(text)


def test_base_counts_what_was_seen_whole() -> None:
    assert Position(7, END).base == 7
    assert Position(7, "visits", "id", "s").base == 6
    assert Position(7, "visits", "a", "s") < Position(7, "visits", "b", "a") < Position(7) < Position(8, "a")


async def code_of(phone: Phone) -> str:
    with pytest.raises(Refused) as refused:
        await phone.line.ask(phone.replica.pull_request())
    return str(refused.value.problems[0].code)


async def test_another_phone_of_the_same_rep_cannot_use_it(engine: Engine) -> None:
    office = await Office(engine).open()
    one, two = await office.phone(office.rep), await office.phone(office.rep)
    two.replica.cursor = one.replica.cursor
    assert await code_of(two) == "CURSOR_INVALID"


async def test_a_cursor_behind_the_horizon_expires_and_the_phone_heals_without_losing_its_work(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    gone, kept = office.shops[:2]
    async with office.job() as work:
        await work.conn.execute("DELETE FROM customer WHERE id = ?", gone)
        work.deleted("customers", gone)
    async with engine.write() as conn:
        await conn.execute("UPDATE sync_clock SET horizon = seq")
        await conn.execute("DELETE FROM feed_scope WHERE left_seq IS NOT NULL")
        await conn.execute("DELETE FROM feed WHERE deleted")
    assert await code_of(phone) == "CURSOR_EXPIRED"
    phone.replica.edit("customers", kept, {"city": "Seoul"})
    await phone.sync()
    assert phone.replica.view("customers", gone) is None, "swept: history no longer told that it left"
    assert phone.view("customers", kept)["city"] == "Seoul", "pushed before starting again"
    assert phone.replica.marks == set()


async def test_a_cursor_of_before_a_restore_expires(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    async with engine.write() as conn:
        await conn.execute("UPDATE sync_clock SET seq = (seq / ? + 1) * ?", 2**40, 2**40)
    assert await code_of(phone) == "CURSOR_EXPIRED"
    held = dict(phone.replica.documents)
    await phone.sync()
    assert phone.replica.documents == held


async def test_a_cursor_at_the_horizon_still_serves(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    async with engine.write() as conn:
        await conn.execute("UPDATE sync_clock SET horizon = seq")
    await phone.sync()
    assert phone.line.pages[-1]["blocks"] == []
