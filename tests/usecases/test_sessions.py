"""Signing in: one successor per refresh, reuse ends the family, a revoked device is out within a second."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from argon2 import PasswordHasher

from backend.auth.keys import new_keys, read_keys
from backend.auth.passwords import Passwords
from backend.auth.tokens import Tokens
from backend.config import Settings
from backend.domain.devices import DeviceGiven
from backend.domain.throttling import ADDRESS_WAITS
from backend.errors import Code, Refused
from backend.ids import new_id
from backend.storage.engine import Engine
from backend.storage.throttle import Throttle
from backend.usecases.sessions import STANDINGS_MAX, Session, Sessions
from tests import factories
from tests.clocks import HandClock

PASSWORD = "demo"
PASSWORD_HASH = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).hash(PASSWORD)


@dataclass
class World:
    engine: Engine
    clock: HandClock
    settings: Settings
    tokens: Tokens
    sessions: Sessions
    user_id: str
    email: str
    device: DeviceGiven

    async def sign_in(self, device: DeviceGiven | None = None) -> Session:
        return await self.sessions.sign_in(self.email, PASSWORD, device or self.device)

    async def execute(self, sql: str, *args: object) -> None:
        async with self.engine.write() as conn:
            await conn.execute(sql, *args)

    async def fetch(self, sql: str, *args: object) -> list[tuple[object, ...]]:
        async with self.engine.read() as conn:
            return [tuple(row) for row in await conn.fetch(sql, *args)]


@pytest.fixture
async def world(engine: Engine) -> AsyncIterator[World]:
    clock, settings, passwords = HandClock(), Settings(), Passwords(workers=1)
    tokens = Tokens(read_keys(new_keys()), settings, clock)
    sessions = Sessions(engine, tokens, passwords, settings=settings, clock=clock)
    async with engine.write() as conn:
        user_id = await factories.user(conn, email="min@example.com", locale="ko", password_hash=PASSWORD_HASH)
    device = DeviceGiven(new_id(), "Min's phone", "ANDROID")
    yield World(engine, clock, settings, tokens, sessions, user_id, "min@example.com", device)
    passwords.close()


async def refused(waiting: object) -> Code:
    with pytest.raises(Refused) as caught:
        await waiting  # type: ignore[misc]
    (problem,) = caught.value.problems
    return problem.code


async def test_signing_in_registers_the_device_and_says_who_asks(world: World) -> None:
    session = await world.sign_in()
    standing = await world.sessions.standing(session.access_token)
    principal = standing.principal
    assert (principal.user_id, principal.device_id) == (world.user_id, world.device.id)
    assert (principal.role, principal.locale, standing.device_state) == ("REP", "ko", "ACTIVE")
    me = await world.sessions.me(principal)
    assert (me.name, me.device_name, me.device_platform) == ("Kim Min-seo", "Min's phone", "ANDROID")
    assert await world.fetch("SELECT actor, device_id, action FROM audit_entry") == [
        (f"staff:{world.user_id}", world.device.id, "SIGN_IN")
    ]


async def test_the_email_is_taken_in_any_case(world: World) -> None:
    world.email = " Min@Example.COM "
    assert (await world.sign_in()).user_id == world.user_id


async def test_who_may_not_sign_in_always_gets_the_same_answer(world: World) -> None:
    async with world.engine.write() as conn:
        other = await factories.user(conn)
        taken = await factories.device(conn, other)
        await factories.user(conn, email="gone@example.com", password_hash=PASSWORD_HASH, active=False)
        await factories.user(conn, email="unset@example.com")
    attempts = [
        ("nobody@example.com", PASSWORD, world.device),
        (world.email, "wrong", world.device),
        ("gone@example.com", PASSWORD, world.device),
        ("unset@example.com", PASSWORD, world.device),
        (world.email, "wrong", replace(world.device, id=taken)),
    ]
    for attempt in attempts:
        with pytest.raises(Refused) as caught:
            await world.sessions.sign_in(*attempt)
        (problem,) = caught.value.problems
        assert (problem.code, problem.path, problem.allowed) == (Code.SIGN_IN_FAILED, (), ())
    assert await world.fetch("SELECT count(*) FROM refresh_family") == [(0,)]
    assert await world.fetch("SELECT id, user_id, name FROM device") == [(taken, other, "a phone")]


async def test_a_phone_handed_on_is_told_to_take_an_id_of_its_own_once_the_password_was_right(world: World) -> None:
    async with world.engine.write() as conn:
        taken = await factories.device(conn, await factories.user(conn))
    with pytest.raises(Refused) as caught:
        await world.sign_in(replace(world.device, id=taken))
    (problem,) = caught.value.problems
    assert (problem.code, problem.path) == (Code.DEVICE_OF_ANOTHER_USER, ("device", "id"))
    assert await world.fetch("SELECT count(*) FROM refresh_family") == [(0,)]
    assert (await world.sign_in(replace(world.device, id=new_id()))).user_id == world.user_id


@pytest.mark.parametrize(
    "wrong", ["01890A5D-AC96-774B-BCCE-B302099A8057", "", "phone", "01890a5dac96774bbcceb302099a8057"]
)
async def test_a_device_id_of_another_form_is_refused_with_the_form(world: World, wrong: str) -> None:
    with pytest.raises(Refused) as caught:
        await world.sign_in(replace(world.device, id=wrong))
    (problem,) = caught.value.problems
    assert (problem.code, problem.path) == (Code.INVALID_VALUE, ("device", "id"))
    assert problem.allowed == ("a UUID in small letters",)


async def test_what_is_malformed_is_named_all_at_once(world: World) -> None:
    with pytest.raises(Refused) as caught:
        await world.sessions.sign_in("", "x" * 2_000, DeviceGiven("phone-1", " ", "A\x00"))
    assert {(problem.code, problem.path) for problem in caught.value.problems} == {
        (Code.REQUIRED, ("email",)),
        (Code.TOO_LONG, ("password",)),
        (Code.INVALID_VALUE, ("device", "id")),
        (Code.REQUIRED, ("device", "name")),
        (Code.INVALID_VALUE, ("device", "platform")),
    }


async def test_each_refresh_gives_a_new_token_and_pushes_the_end_out(world: World) -> None:
    first = await world.sign_in()
    world.clock.forward(days=20)
    second = await world.sessions.refresh(first.refresh_token)
    world.clock.forward(days=20)
    third = await world.sessions.refresh(second.refresh_token)
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    assert (await world.sessions.standing(third.access_token)).principal.user_id == world.user_id
    world.clock.forward(days=30)
    assert await refused(world.sessions.refresh(third.refresh_token)) is Code.TOKEN_EXPIRED


async def test_a_lost_answer_is_answered_with_the_same_successor(world: World) -> None:
    first = await world.sign_in()
    second = await world.sessions.refresh(first.refresh_token)
    world.clock.forward(seconds=30)
    again = await world.sessions.refresh(first.refresh_token)
    assert again.refresh_token == second.refresh_token
    assert (await world.sessions.refresh(again.refresh_token)).refresh_token != second.refresh_token


async def test_a_predecessor_after_the_grace_ends_the_family(world: World) -> None:
    first = await world.sign_in()
    second = await world.sessions.refresh(first.refresh_token)
    world.clock.forward(seconds=30.001)
    assert await refused(world.sessions.refresh(first.refresh_token)) is Code.UNAUTHENTICATED
    assert await refused(world.sessions.refresh(second.refresh_token)) is Code.UNAUTHENTICATED
    assert await refused(world.sessions.standing(second.access_token)) is Code.UNAUTHENTICATED
    assert await world.fetch("SELECT actor FROM audit_entry WHERE action = 'REUSE'") == [(f"staff:{world.user_id}",)]


async def test_an_older_generation_ends_the_family_even_within_the_grace(world: World) -> None:
    first = await world.sign_in()
    second = await world.sessions.refresh(first.refresh_token)
    third = await world.sessions.refresh(second.refresh_token)
    assert await refused(world.sessions.refresh(first.refresh_token)) is Code.UNAUTHENTICATED
    assert await refused(world.sessions.refresh(third.refresh_token)) is Code.UNAUTHENTICATED


async def test_a_hundred_refreshes_at_once_give_one_successor(world: World) -> None:
    first = await world.sign_in()
    given = await asyncio.gather(*(world.sessions.refresh(first.refresh_token) for _ in range(100)))
    assert len({session.refresh_token for session in given}) == 1
    assert await world.fetch("SELECT generation, revoked_at FROM refresh_family") == [(2, None)]


async def test_signing_in_again_on_a_device_ends_what_it_held(world: World) -> None:
    first = await world.sign_in()
    second = await world.sign_in()
    assert await refused(world.sessions.refresh(first.refresh_token)) is Code.UNAUTHENTICATED
    assert (await world.sessions.refresh(second.refresh_token)).device_id == world.device.id


async def test_another_device_of_the_same_user_is_left_alone(world: World) -> None:
    phone = await world.sign_in()
    tablet = await world.sign_in(replace(world.device, id=new_id()))
    await world.sessions.sign_out(phone.refresh_token)
    assert (await world.sessions.refresh(tablet.refresh_token)).user_id == world.user_id


async def test_signing_out_ends_both_tokens_and_may_be_repeated(world: World) -> None:
    session = await world.sign_in()
    await world.sessions.standing(session.access_token)
    await world.sessions.sign_out(session.refresh_token)
    await world.sessions.sign_out(session.refresh_token)
    assert await refused(world.sessions.refresh(session.refresh_token)) is Code.UNAUTHENTICATED
    assert await refused(world.sessions.standing(session.access_token)) is Code.UNAUTHENTICATED
    assert await world.fetch("SELECT count(*) FROM audit_entry WHERE action = 'SIGN_OUT'") == [(1,)]


@pytest.mark.parametrize("state", ["REVOKED", "WIPED"])
async def test_a_device_no_longer_served_is_out_within_a_second(world: World, state: str) -> None:
    told = Code(f"DEVICE_{state}")
    session = await world.sign_in()
    await world.sessions.standing(session.access_token)
    await world.execute("UPDATE device SET state = ?", state)
    world.clock.forward(seconds=1)
    assert await refused(world.sessions.standing(session.access_token)) is told
    assert await refused(world.sessions.refresh(session.refresh_token)) is told
    assert await refused(world.sign_in()) is told


async def test_a_draining_device_still_gets_in_to_push(world: World) -> None:
    session = await world.sign_in()
    await world.execute("UPDATE device SET state = 'DRAINING'")
    world.clock.forward(seconds=1)
    assert (await world.sessions.standing(session.access_token)).device_state == "DRAINING"
    assert (await world.sessions.refresh(session.refresh_token)).device_state == "DRAINING"


async def test_a_user_who_left_is_out_within_a_second(world: World) -> None:
    session = await world.sign_in()
    await world.execute("UPDATE user_account SET active = ?", False)
    world.clock.forward(seconds=1)
    assert await refused(world.sessions.standing(session.access_token)) is Code.DEVICE_REVOKED
    assert await refused(world.sessions.refresh(session.refresh_token)) is Code.DEVICE_REVOKED


async def test_a_new_role_counts_before_the_token_runs_out(world: World) -> None:
    session = await world.sign_in()
    await world.execute("UPDATE user_account SET role = 'MANAGER', locale = 'zh-CN'")
    world.clock.forward(seconds=1)
    principal = (await world.sessions.standing(session.access_token)).principal
    assert (principal.role, principal.locale) == ("MANAGER", "zh-CN")


async def test_a_genuine_token_for_another_device_than_its_sign_in_is_refused(world: World) -> None:
    session = await world.sign_in()
    family_id, _ = world.tokens.read_refresh(session.refresh_token)
    async with world.engine.write() as conn:
        other = await factories.device(conn, world.user_id)
    token, _ = world.tokens.issue(
        user_id=world.user_id, device_id=other, family_id=family_id, role="ADMIN", locale="en"
    )
    assert await refused(world.sessions.standing(token)) is Code.DEVICE_REVOKED


async def test_a_family_this_database_does_not_know_is_refused(world: World) -> None:
    session = await world.sign_in()
    family_id, _ = world.tokens.read_refresh(session.refresh_token)
    for token in (world.tokens.refresh_token(new_id(), 1), world.tokens.refresh_token(family_id, 2)):
        assert await refused(world.sessions.refresh(token)) is Code.UNAUTHENTICATED
    assert (await world.sessions.refresh(session.refresh_token)).user_id == world.user_id


async def test_an_old_hash_is_renewed_when_its_password_is_known(world: World) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash(PASSWORD)
    await world.execute("UPDATE user_account SET password_hash = ?", weak)
    await world.sign_in()
    (((renewed),),) = await world.fetch("SELECT password_hash FROM user_account")
    assert renewed != weak
    assert (await world.sign_in()).user_id == world.user_id
    assert await world.fetch("SELECT password_hash FROM user_account") == [(renewed,)]


async def test_what_is_remembered_of_sign_ins_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert STANDINGS_MAX > 2
    monkeypatch.setattr("backend.usecases.sessions.STANDINGS_MAX", 2)
    for _ in range(4):
        session = await world.sign_in(replace(world.device, id=new_id()))
        await world.sessions.standing(session.access_token)
    assert len(world.sessions._standings) == 2


async def test_many_who_ask_at_once_are_read_once_and_nobody_after_a_change_is_told_of_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await world.sign_in()
    asked, found, go, real = 0, asyncio.Semaphore(0), asyncio.Event(), world.engine.fetch

    async def slow(sql: str, *args: object, steady: bool = False) -> list[tuple[object, ...]]:
        nonlocal asked
        asked += 1
        rows = await real(sql, *args, steady=steady)
        found.release()
        await go.wait()
        return rows

    monkeypatch.setattr(world.engine, "fetch", slow)
    many = [asyncio.ensure_future(world.sessions.standing(session.access_token)) for _ in range(8)]
    await asyncio.wait_for(found.acquire(), 60)
    many[0].cancel()
    await world.execute("UPDATE device SET state = 'REVOKED'")
    world.sessions.forget()
    later = asyncio.ensure_future(world.sessions.standing(session.access_token))
    await asyncio.wait_for(found.acquire(), 60)
    go.set()
    first, *others = await asyncio.gather(*many, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert {one.principal.user_id for one in others if not isinstance(one, BaseException)} == {world.user_id}
    assert len(others) == 7
    assert await refused(later) is Code.DEVICE_REVOKED
    assert asked == 2
    assert await refused(world.sessions.standing(session.access_token)) is Code.DEVICE_REVOKED
    assert asked == 2, "what was read before the change is not remembered, what was read after it is"


@pytest.mark.parametrize("database_source", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
async def test_a_refresh_waits_for_whoever_holds_the_family(world: World) -> None:
    """Without the wait, one that read an old generation could set a newer one back (SQLite has one writer anyway)."""
    first = await world.sign_in()
    async with world.engine.write() as conn:
        await conn.fetch("SELECT id FROM refresh_family FOR UPDATE")
        refreshing = asyncio.ensure_future(world.sessions.refresh(first.refresh_token))
        # of this database alone: others share the server
        looking = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        async with asyncio.timeout(60):
            while not refreshing.done() and not await world.fetch(looking):  # noqa: ASYNC110 - nobody tells it
                await asyncio.sleep(0.01)
        assert not refreshing.done(), "it had not to wait"
        await conn.execute("UPDATE refresh_family SET generation = 3")
    assert await refused(refreshing) is Code.UNAUTHENTICATED
    assert await world.fetch("SELECT generation FROM refresh_family") == [(3,)]


async def test_an_address_that_guesses_at_many_accounts_is_held_back_and_no_other(engine: Engine) -> None:
    """No account is tried often enough to be held back itself, and a colleague on his own phone gets in from there."""
    throttle = Throttle(engine, b"secret", clock=HandClock(), retries_max=3)
    for n in range(ADDRESS_WAITS.free):
        await throttle.attempt(f"{n}@example.com", "203.0.113.9", None)
    await throttle.attempt("last@example.com", "203.0.113.9", None)  # let in, and from then on it waits
    assert await refused(throttle.attempt("next@example.com", "203.0.113.9", None)) is Code.RATE_LIMITED
    await throttle.attempt("next@example.com", "203.0.113.10", None)
    await throttle.attempt("next@example.com", "", None)
    await throttle.attempt("min@example.com", "203.0.113.9", (new_id(), new_id()))
