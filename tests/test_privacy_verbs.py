"""`selvedge erase` and `selvedge retention`: what they do, what they say, and what they do not do unasked."""

import asyncio
import io
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from backend.cli.main import run
from backend.clock import wall_clock_ms
from backend.domain.contacts import CONTACT
from backend.domain.times import DAY_MS
from backend.ids import new_id
from backend.integrations.erasures import ErasureList
from tests.house import House
from tests.usecases.canaries import is_seen, person, places_in_tables
from tests.usecases.test_erasure import _rows, contact_at, shop

Verb = Callable[..., Awaitable[tuple[int, str]]]
LONG_AGO_DAYS = 4_000


@pytest.fixture
def verb(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verb:
    """Runs a verb on the house's database as a process of its own would; its status and all it said."""
    monkeypatch.setenv("SELVEDGE_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("COLUMNS", "200")

    async def call(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))  # whoever is asked says no
        status = await asyncio.to_thread(run, [*words, "--database", house.engine.url])
        told = capsys.readouterr()
        return status, told.out + told.err

    return call


@pytest.mark.requirement("R49")
async def test_the_operator_erases_a_person_and_the_list_outlives_the_database(
    house: House, verb: Verb, tmp_path: Path
) -> None:
    customer = await shop(house, notes="ask Qzxvanna1")
    contact = await contact_at(house, customer, **person(CONTACT))
    assert (await verb("erase", contact))[0] != 0  # nobody said yes
    for words in (("erase",), ("erase", contact, "--reapply"), ("erase", contact, "--reason", "BORED", "--yes")):
        status, told = await verb(*words)
        assert status != 0
        assert "wanted" in told
    status, told = await verb("erase", new_id(), "--yes")
    assert (status, "NOT_FOUND" in told) == (1, True)
    assert await places_in_tables(house.engine) != []

    status, told = await verb("erase", contact, "--reason", "CONSENT_WITHDRAWN", "--yes")
    assert status == 0, told
    assert f"contacts {contact} was erased now" in told
    assert f"named in customers {customer} notes" in told
    assert not is_seen(told.encode())
    left = {place.partition(".")[0] for place in await places_in_tables(house.engine)}
    assert left <= {"customer", "feed", "audit_entry"}  # the shop's own note, which is listed
    assert await _rows(house, "SELECT reason FROM erased_person WHERE id = ?", contact) == [("CONSENT_WITHDRAWN",)]
    assert ErasureList(tmp_path / "var" / "erasures.jsonl").read().keys() == {contact}
    assert "was erased before" in (await verb("erase", contact, "--yes"))[1]

    async with house.engine.write() as conn:
        await conn.execute("DELETE FROM erased_person WHERE id = ?", contact)
    assert "1 ids of erased people" in (await verb("erase", "--reapply"))[1]
    assert "0 ids of erased people" in (await verb("erase", "--reapply"))[1]


async def test_retention_shows_what_is_past_its_time_and_ends_it_only_when_told_to(house: House, verb: Verb) -> None:
    today_ms, house.now_ms = house.now_ms, wall_clock_ms() - LONG_AGO_DAYS * DAY_MS
    old = await contact_at(house, await shop(house), nameEn="Ann", birthDate="1987-03-21")
    house.now_ms = max(today_ms, wall_clock_ms())
    young = await contact_at(house, await shop(house), nameEn="Bob", birthDate="1988-04-22")

    def line_of(told: str) -> list[str]:
        [line] = [one for one in told.splitlines() if "UNCONSENTED_BIRTHDAYS" in one]
        return line.split()

    status, told = await verb("retention")
    assert status == 0, told
    assert line_of(told)[2] == "1"
    assert await house.row("contact", old, "birth_date") != (None,)
    status, told = await verb("retention", "--run", "--locale", "ko")
    assert status == 0, told
    assert await house.row("contact", old, "birth_date") == (None,)
    assert await house.row("contact", young, "birth_date") != (None,)
    assert line_of((await verb("retention"))[1])[2] == "0"
    told_of = await _rows(house, "SELECT actor, record_id FROM audit_entry WHERE action = 'RETAIN'")
    assert ("service:retention", "UNCONSENTED_BIRTHDAYS") in told_of
    assert {actor for actor, _ in told_of} == {"service:retention"}
