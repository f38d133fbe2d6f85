"""Passwords: argon2id, off the event loop, bounded, and the same work for nobody as for somebody."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from backend.auth import passwords as module
from backend.auth.passwords import Passwords
from backend.errors import Code, Refused


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    passwords = Passwords(workers=2)
    yield passwords
    passwords.close()


async def test_only_the_right_password_matches(passwords: Passwords) -> None:
    hashed = await passwords.hash("데모 demo 演示")
    assert hashed.startswith("$argon2id$")
    assert len(hashed) <= 200
    assert await passwords.matches("데모 demo 演示", hashed)
    assert not await passwords.matches("demo", hashed)
    assert not passwords.outdated(hashed)


@pytest.mark.parametrize("password_hash", [None, "", "$argon2id$broken", "plain"])
async def test_without_a_hash_nothing_matches(passwords: Passwords, password_hash: str | None) -> None:
    assert not await passwords.matches("", password_hash)
    assert not await passwords.matches("plain", password_hash)


async def test_an_overlong_password_does_not_match_by_its_beginning(passwords: Passwords) -> None:
    most = "x" * module.PASSWORD_CHARACTERS_MAX
    hashed = await passwords.hash(most)
    assert await passwords.matches(most, hashed)
    assert not await passwords.matches(most + "y", hashed)


async def test_an_unknown_account_costs_a_verification_too(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []
    verify = passwords._verify
    monkeypatch.setattr(passwords, "_verify", lambda hashed, text: verified.append(hashed) or verify(hashed, text))
    hashed = await passwords.hash("demo")
    await passwords.matches("demo", hashed)
    await passwords.matches("demo", None)
    parameters = {text.rsplit("$", 2)[0] for text in verified}
    assert len(verified) == 2
    assert len(parameters) == 1


async def test_the_line_is_bounded_and_the_loop_stays_free(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(passwords, "_verify", lambda _hashed, _text: gate.wait())
    waiting = [asyncio.ensure_future(passwords.matches("demo", None)) for _ in range(module.WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Refused) as caught:
        await passwords.matches("demo", None)
    assert caught.value.problems[0].code is Code.BUSY
    gate.set()
    assert await asyncio.gather(*waiting) == [False] * module.WAITING_MAX
