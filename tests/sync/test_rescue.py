"""Work of a device that can no longer send it: written so that nobody else reads it, taken once, by an operator."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from backend.auth.keys import RescueKeys, load_rescue_keys, new_rescue_keys, read_rescue_keys
from backend.errors import BadSetting, Refused
from backend.ids import new_id
from backend.storage.engine import Engine
from backend.sync.push import Answer, Mutation
from backend.sync.rescue import Rescue, open_rescue, owner_of, play_rescue
from backend.wiring import USE_CASES
from mobile_contract.replica import Document
from mobile_contract.rescue import base64url, rescue_content, write_rescue
from tests.clients.nodes import run_node
from tests.factories import NOW_MS
from tests.sync.offices import Office, Phone, visit_fields

MADE_AT = "2026-01-01T00:00:00.000Z"
LIMITS = {"bytes_max": 1_000_000, "mutations_max": 1_000}


@pytest.fixture(scope="module")
def keys() -> RescueKeys:
    return read_rescue_keys(new_rescue_keys())


def written(phone: Phone, keys: RescueKeys, queue: list[Document] | None = None) -> bytes:
    """The file a phone writes."""
    principal = phone.line.principal
    content = rescue_content(
        str(principal.user_id),
        str(principal.device_id),
        phone.replica.queue if queue is None else queue,
        MADE_AT,
    )
    return write_rescue(content, keys.kid, base64url(keys.public), iv=secrets.token_bytes(12))


async def play(office: Office, data: bytes, keys: RescueKeys, **more: Any) -> list[tuple[Mutation, Answer]]:
    rescue = open_rescue(data, keys, **LIMITS)
    how = {"clock": lambda: NOW_MS, "retries_max": 3, "chunk_max": 500, **more}
    return await play_rescue(office.engine, rescue, USE_CASES, **how)


def outcomes(played: list[tuple[Mutation, Answer]]) -> list[str]:
    return [answer.status.value for _, answer in played]


def codes(refused: pytest.ExceptionInfo[Refused]) -> list[str]:
    return [problem.code.value for problem in refused.value.problems]


async def a_day(office: Office, phone: Phone) -> str:
    """A queue: a visit, its notes, a change that cannot be, a task."""
    visit = new_id()
    phone.replica.edit("visits", visit, visit_fields(office.shops[0]))
    phone.replica.edit("visits", visit, {"notes": "sold"})
    phone.replica.edit("customers", office.shops[0], {"termsDays": 9_999})
    phone.replica.edit("tasks", new_id(), {"title": "samples"})
    return visit


# --- the file ----------------------------------------------------------------------------------------------------


def test_what_is_written_is_opened(keys: RescueKeys) -> None:
    queue = [{"id": new_id(), "clientSeq": 1, "change": {"task": {"id": new_id(), "set": {"title": "寄样衣 \ud800"}}}}]
    user, device = new_id(), new_id()
    data = write_rescue(
        rescue_content(user, device, queue, MADE_AT), keys.kid, base64url(keys.public), iv=secrets.token_bytes(12)
    )
    assert b"task" not in data
    found = open_rescue(data, keys, **LIMITS)
    assert (found.user_id, found.device_id, found.queue) == (user, device, tuple(queue))


def test_each_byte_counts(keys: RescueKeys) -> None:
    data = write_rescue(
        rescue_content(new_id(), new_id(), [], MADE_AT), keys.kid, base64url(keys.public), iv=secrets.token_bytes(12)
    )
    file = json.loads(data)
    for name in ("key", "iv", "sealed"):
        for place in range(0, len(file[name]) - 1, 7):
            text = file[name]
            other = "A" if text[place] != "A" else "B"
            spoilt = json.dumps({**file, name: text[:place] + other + text[place + 1 :]}).encode()
            with pytest.raises(Refused) as refused:
                open_rescue(spoilt, keys, **LIMITS)
            assert codes(refused) == ["RESCUE_DAMAGED"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: b"",
        lambda file: b"\xff\xfe",
        lambda file: b"[]",
        lambda file: json.dumps(file).encode()[:-20],
        lambda file: json.dumps({**file, "format": "selvedge-rescue-2"}).encode(),
        lambda file: json.dumps({**file, "kid": 5}).encode(),
        lambda file: json.dumps({**file, "key": "ä"}).encode(),
        lambda file: json.dumps({**file, "key": "AAAA"}).encode(),
        lambda file: json.dumps({**file, "iv": None}).encode(),
        lambda file: json.dumps({name: value for name, value in file.items() if name != "sealed"}).encode(),
    ],
)
def test_what_is_no_whole_file_is_named(keys: RescueKeys, spoil: Any) -> None:
    data = write_rescue(
        rescue_content(new_id(), new_id(), [], MADE_AT), keys.kid, base64url(keys.public), iv=secrets.token_bytes(12)
    )
    with pytest.raises(Refused) as refused:
        open_rescue(spoil(json.loads(data)), keys, **LIMITS)
    assert codes(refused) == ["RESCUE_DAMAGED"]


@pytest.mark.parametrize(
    "content",
    [
        {"user": "x", "device": new_id(), "madeAt": MADE_AT, "queue": []},
        {"user": new_id(), "device": None, "madeAt": MADE_AT, "queue": []},
        {"user": new_id(), "device": new_id(), "madeAt": "yesterday", "queue": []},
        {"user": new_id(), "device": new_id(), "madeAt": MADE_AT, "queue": {}},
        [],
    ],
)
def test_what_holds_something_else_is_named(keys: RescueKeys, content: Any) -> None:
    data = write_rescue(content, keys.kid, base64url(keys.public), iv=secrets.token_bytes(12))
    with pytest.raises(Refused) as refused:
        open_rescue(data, keys, **LIMITS)
    assert codes(refused) == ["RESCUE_DAMAGED"]


def test_a_file_for_another_server_or_an_old_key_is_told_apart(keys: RescueKeys) -> None:
    data = write_rescue(
        rescue_content(new_id(), new_id(), [], MADE_AT), keys.kid, base64url(keys.public), iv=secrets.token_bytes(12)
    )
    other = read_rescue_keys(new_rescue_keys())
    with pytest.raises(Refused) as refused:
        open_rescue(data, other, **LIMITS)
    assert codes(refused) == ["RESCUE_KEY_UNKNOWN"]
    rotated = RescueKeys(other.kid, {**other.private, **keys.private})
    assert open_rescue(data, rotated, **LIMITS).queue == (), "a key that was put behind another still opens"
    forged = RescueKeys(keys.kid, {keys.kid: other.private[other.kid]})
    with pytest.raises(Refused) as refused:
        open_rescue(data, forged, **LIMITS)
    assert codes(refused) == ["RESCUE_DAMAGED"]


def test_a_file_has_its_limits(keys: RescueKeys) -> None:
    data = write_rescue(
        rescue_content(new_id(), new_id(), [{}] * 11, MADE_AT), keys.kid, base64url(keys.public),
        iv=secrets.token_bytes(12),
    )  # fmt: skip
    with pytest.raises(Refused) as refused:
        open_rescue(data, keys, bytes_max=len(data) - 1, mutations_max=100)
    assert codes(refused) == ["TOO_LARGE"]
    with pytest.raises(Refused) as refused:
        open_rescue(data, keys, bytes_max=len(data), mutations_max=10)
    assert codes(refused) == ["TOO_MANY"]


def test_keys_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    first = load_rescue_keys(tmp_path)
    assert load_rescue_keys(tmp_path).public == first.public
    assert (tmp_path / "rescue-keys.json").stat().st_mode & 0o777 == 0o600
    assert len(first.public) == 65
    (tmp_path / "rescue-keys.json").write_text("{}")
    with pytest.raises(BadSetting, match="rescue-keys"):
        load_rescue_keys(tmp_path)


async def test_a_file_written_by_webcrypto_opens(keys: RescueKeys) -> None:
    """Another implementation, by the page of the contract alone."""
    queue = [{"id": new_id(), "clientSeq": 1, "change": {"task": {"id": new_id(), "set": {"title": "寄样衣"}}}}]
    content = rescue_content(new_id(), new_id(), queue, MADE_AT)
    script = Path(__file__).parents[1] / "clients" / "rescue.mjs"
    orders = {"content": content, "kid": keys.kid, "publicKey": base64url(keys.public)}
    [told] = await run_node(script, orders)
    found = open_rescue(json.dumps(told["file"]).encode(), keys, **LIMITS)
    assert found == Rescue(content["user"], content["device"], 1_767_225_600_000, tuple(queue))


# --- the work ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["ACTIVE", "DRAINING", "REVOKED", "WIPED"])
async def test_whatever_became_of_the_device_its_work_is_taken(engine: Engine, keys: RescueKeys, state: str) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    visit = await a_day(office, phone)
    data = written(phone, keys)
    async with engine.write() as conn:
        await conn.execute("UPDATE device SET state = ? WHERE id = ?", state, phone.line.principal.device_id)
    assert outcomes(await play(office, data, keys)) == ["APPLIED", "APPLIED", "REFUSED", "APPLIED"]
    assert await office.rows("SELECT notes, rep_id FROM visit WHERE id = ?", visit) == [("sold", office.rep)]
    kept = await office.rows("SELECT user_id, code FROM sync_issue")
    assert kept == [(office.rep, "OUT_OF_RANGE")], "what is refused stays with its author"


async def test_what_was_sent_already_and_what_is_sent_again_counts_once(engine: Engine, keys: RescueKeys) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    await a_day(office, phone)
    queue = list(phone.replica.queue)
    first = await phone.line.hand_in(queue[:2])  # the answer is lost
    data = written(phone, keys)
    played = await play(office, data, keys)
    assert outcomes(played) == ["APPLIED", "APPLIED", "REFUSED", "APPLIED"]
    held = await office.tables()
    assert outcomes(await play(office, data, keys)) == outcomes(played)
    again = await phone.push()
    assert [answer["status"] for answer in again] == outcomes(played)
    assert [answer["status"] for answer in first] == ["APPLIED", "APPLIED"]
    assert await office.tables() == held
    phone.replica.edit("tasks", new_id(), {"title": "later"})
    assert [answer["status"] for answer in await phone.push()] == ["APPLIED"], "the device goes on counting"


async def test_a_gap_in_the_file_stops_nobody_and_what_was_missing_may_still_come(
    engine: Engine, keys: RescueKeys
) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    for title in ("one", "two", "three"):
        phone.replica.edit("tasks", new_id(), {"title": title})
    one, two, three = phone.replica.queue
    assert outcomes(await play(office, written(phone, keys, [one, three]), keys)) == ["APPLIED", "APPLIED"]
    answers = await phone.line.hand_in([one, two, three])
    assert [answer["status"] for answer in answers] == ["APPLIED"] * 3
    titles = [row[0] for row in await office.rows("SELECT title FROM task ORDER BY title")]
    assert titles == ["one", "three", "two"]


async def test_what_was_answered_so_long_ago_that_nobody_knows_is_not_taken_again(
    engine: Engine, keys: RescueKeys
) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    phone.replica.edit("tasks", new_id(), {"title": "one"})
    queue = list(phone.replica.queue)
    await phone.push()
    async with engine.write() as conn:
        await conn.execute("DELETE FROM receipt")
        await conn.execute("DELETE FROM task")
    assert outcomes(await play(office, written(phone, keys, queue), keys)) == ["ALREADY_HANDLED"]
    assert await office.rows("SELECT count(*) FROM task") == [(0,)]


async def test_a_dry_run_tells_the_same_and_writes_nothing(engine: Engine, keys: RescueKeys) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    await a_day(office, phone)
    data, held = written(phone, keys), await office.tables()
    clock = await office.rows("SELECT seq FROM sync_clock")
    dry = outcomes(await play(office, data, keys, dry_run=True))
    assert await office.tables() == held
    assert await office.rows("SELECT seq FROM sync_clock") == clock
    assert await office.rows("SELECT count(*) FROM receipt") == [(0,)]
    assert outcomes(await play(office, data, keys)) == dry


async def test_groups_stay_whole_whatever_the_chunks(engine: Engine, keys: RescueKeys) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    phone.replica.edit("tasks", new_id(), {"title": "alone"})
    phone.replica.edit("tasks", new_id(), {"title": "a"}, group="g")
    phone.replica.edit("tasks", new_id(), {"title": "b"}, group="g")
    phone.replica.edit("tasks", new_id(), {"title": ""}, group="g")
    phone.replica.edit("tasks", new_id(), {"title": "after"})
    played = outcomes(await play(office, written(phone, keys), keys, chunk_max=2))
    assert played == ["APPLIED", "DEPENDENCY_FAILED", "DEPENDENCY_FAILED", "REFUSED", "APPLIED"]


async def test_what_cannot_be_read_in_a_file_is_refused_alone(engine: Engine, keys: RescueKeys) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    phone.replica.edit("tasks", new_id(), {"title": "one"})
    phone.replica.edit("tasks", new_id(), {"title": "two"})
    one, two = phone.replica.queue
    queue: list[Any] = [
        one,
        {**two, "change": {"task": 5, "visit": 6}},
        None,
        "text",
        {**two, "id": new_id(), "clientSeq": 3},
    ]
    assert outcomes(await play(office, written(phone, keys, queue), keys)) == [
        "APPLIED", "REFUSED", "REFUSED", "REFUSED", "APPLIED",
    ]  # fmt: skip


async def test_a_device_nobody_knows_here_is_a_file_of_another_server(engine: Engine, keys: RescueKeys) -> None:
    office = await Office(engine).open()
    phone, other = await office.phone(office.rep), await office.phone(office.other_rep)
    for user, device in (
        (new_id(), new_id()),
        (office.rep, other.line.principal.device_id),
        (office.other_rep, phone.line.principal.device_id),
    ):
        content = rescue_content(user, str(device), [], MADE_AT)
        data = write_rescue(content, keys.kid, base64url(keys.public), iv=secrets.token_bytes(12))
        async with engine.read() as conn:
            with pytest.raises(Refused) as refused:
                await owner_of(conn, open_rescue(data, keys, **LIMITS))
        assert codes(refused) == ["NOT_FOUND"]
