"""Bytes on their way to a real server: cut, doubled, parallel, wrong, too many, and across a restart."""

import asyncio
import random
import socket
import threading
from collections.abc import Mapping
from typing import Any

from backend.config import Settings
from backend.errors import Code
from backend.ids import new_id
from backend.usecases.territories import Move, move_customers
from mobile_contract.files import FileRefused, Headers, Http, upload
from tests.files.conftest import Desk, code_of, declare, in_thread, on_sqlite, record_of, shop_of
from tests.files.pictures import document, picture
from tests.house import House
from tests.servers import serve


async def test_a_file_arrives_in_chunks_and_every_answer_says_how_far(desk: Desk, visit: str, paper: bytes) -> None:
    attachment_id, _ = await declare(desk.house, "wei", visit, paper)
    assert await desk.offset("wei", attachment_id) == 0
    first = await desk.put("wei", attachment_id, paper, 0, 60_000)
    assert first.status_code == 200
    assert first.json() == {"id": attachment_id, "state": "DECLARED", "offset": 60_000, "sizeBytes": len(paper)}
    assert first.headers["upload-offset"] == "60000"
    assert first.headers["upload-complete"] == "?0"
    assert await desk.offset("wei", attachment_id) == 60_000
    last = await desk.put("wei", attachment_id, paper, 60_000)
    assert last.json()["state"] == "STORED"
    assert last.headers["upload-complete"] == "?1"
    assert (await desk.get("wei", attachment_id)).content == paper
    again = await desk.put("wei", attachment_id, paper, 60_000)
    assert again.json() == last.json()
    assert await desk.row(attachment_id, "state", "stored_bytes") == ("STORED", len(paper))


@on_sqlite
async def test_without_a_range_it_is_the_whole(desk: Desk, visit: str, paper: bytes) -> None:
    attachment_id, _ = await declare(desk.house, "wei", visit, paper)
    answer = await desk.ask("wei", "PUT", f"/files/{attachment_id}", paper)
    assert answer.json()["state"] == "STORED"


@on_sqlite
async def test_a_chunk_from_elsewhere_is_told_where_to_begin(desk: Desk, visit: str, paper: bytes) -> None:
    attachment_id, _ = await declare(desk.house, "wei", visit, paper)
    await desk.put("wei", attachment_id, paper, 0, 1_000)
    for start in (0, 500, 1_001, 90_000):
        answer = await desk.put("wei", attachment_id, paper, start, start + 500)
        assert (answer.status_code, code_of(answer)) == (409, "UPLOAD_OFFSET")
        assert answer.headers["upload-offset"] == "1000"
        assert answer.json()["errors"][0]["extensions"]["allowed"] == ["1000"]
    assert await desk.offset("wei", attachment_id) == 1_000


async def test_bytes_of_another_hash_are_dropped_and_may_be_sent_again(desk: Desk, visit: str, paper: bytes) -> None:
    attachment_id, _ = await declare(desk.house, "wei", visit, paper)
    wrong = paper[:-1] + bytes([paper[-1] ^ 1])
    answer = await desk.put("wei", attachment_id, wrong)
    assert (answer.status_code, code_of(answer)) == (422, "FILE_HASH_MISMATCH")
    assert await desk.offset("wei", attachment_id) == 0
    assert await desk.row(attachment_id, "state", "stored_sha256") == ("DECLARED", None)
    assert desk.files_kept() == []
    assert (await desk.put("wei", attachment_id, paper)).json()["state"] == "STORED"


WRONG_RANGES: list[tuple[dict[str, str], Code]] = [
    ({"content-range": "bytes 0-9/150001"}, Code.OUT_OF_RANGE),
    ({"content-range": "bytes 0-150000/150001"}, Code.INVALID_VALUE),
    ({"content-range": "bytes 5-4/150000"}, Code.OUT_OF_RANGE),
    ({"content-range": "bytes 149995-150004/150000"}, Code.OUT_OF_RANGE),
    ({"content-range": "bytes 0-99/*"}, Code.INVALID_VALUE),
    ({"content-range": "bytes -5/150000"}, Code.INVALID_VALUE),
    ({"content-range": "items 0-9/150000"}, Code.INVALID_VALUE),
    ({"content-range": "bytes 0-9/99999999999999999999"}, Code.INVALID_VALUE),
    ({"content-range": "bytes 0-19/150000"}, Code.INVALID_VALUE),
    ({"content-range": "bytes 0-9/150000", "content-encoding": "gzip"}, Code.INVALID_VALUE),
    ({}, Code.OUT_OF_RANGE),
]


@on_sqlite
async def test_wrong_ranges_are_said_to_be_wrong(desk: Desk, visit: str, paper: bytes) -> None:
    attachment_id, _ = await declare(desk.house, "wei", visit, paper)
    for headers, code in WRONG_RANGES:
        answer = await desk.ask("wei", "PUT", f"/files/{attachment_id}", paper[:10], **headers)
        assert (answer.status_code, code_of(answer)) == (400, code), headers
        assert await desk.offset("wei", attachment_id) == 0


@on_sqlite
async def test_a_file_longer_than_declared_is_cut_off_where_it_says(desk: Desk, visit: str, paper: bytes) -> None:
    """The length is a lie: the body goes on, without saying how long it is."""
    attachment_id, _ = await declare(desk.house, "wei", visit, paper)

    async def endless() -> Any:
        for _ in range(40):
            yield paper[:10_000]

    headers = {"authorization": f"Bearer {await desk.token('wei')}", "content-range": f"bytes 0-999/{len(paper)}"}
    answer = await desk.served.client.put(f"/files/{attachment_id}", content=endless(), headers=headers)
    assert (answer.status_code, code_of(answer)) == (413, "TOO_LARGE")
    assert await desk.offset("wei", attachment_id) == 1_000
    assert (await desk.put("wei", attachment_id, paper, 1_000)).json()["state"] == "STORED"


async def test_chunks_and_files_have_their_bounds(desk: Desk, visit: str) -> None:
    large = document(200_001)
    attachment_id, _ = await declare(desk.house, "wei", visit, large)
    assert code_of(await desk.put("wei", attachment_id, large)) == "TOO_LARGE"
    _, outcome = await declare(desk.house, "wei", visit, b"")
    assert [(p.code, p.path) for p in outcome.problems] == [(Code.OUT_OF_RANGE, ("sizeBytes",))]
    for kind, mime, most in [("SIGNATURE", "image/png", 1_000_000), ("PHOTO", "image/jpeg", 20_000_000)]:
        _, outcome = await declare(desk.house, "wei", visit, b"x", kind=kind, mime=mime, sizeBytes=most + 1)
        assert [(p.code, p.allowed) for p in outcome.problems] == [(Code.TOO_LARGE, (str(most),))]
    small, _ = await declare(desk.house, "wei", visit, b"x", kind="PHOTO", mime="image/jpeg", sizeBytes=2_000_001)
    answer = await desk.put("wei", small, b"x" * 10, total=2_000_001)
    assert code_of(answer) == "TOO_LARGE", "the setting of this server is lower than the table's"


@on_sqlite
async def test_an_empty_file_is_none(desk: Desk, visit: str, paper: bytes) -> None:
    attachment_id, _ = await declare(desk.house, "wei", visit, paper)
    assert code_of(await desk.ask("wei", "PUT", f"/files/{attachment_id}", b"")) == "OUT_OF_RANGE"
    answer = await desk.ask("wei", "PUT", f"/files/{attachment_id}", content_range=f"bytes */{len(paper)}")
    assert answer.json()["offset"] == 0


# -- what is inside ---------------------------------------------------------------------------------------------


@on_sqlite
async def test_what_is_not_of_its_type_is_refused_for_good(desk: Desk, visit: str) -> None:
    for data, mime in [
        (b"<html><script>alert(1)</script>", "image/jpeg"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image/png"),
        (picture("image/png"), "image/jpeg"),
        (picture()[:-400], "image/jpeg"),
    ]:
        attachment_id, _ = await declare(desk.house, "wei", visit, data, kind="PHOTO", mime=mime)
        answer = await desk.put("wei", attachment_id, data)
        assert (answer.status_code, code_of(answer)) == (415, "FILE_TYPE_MISMATCH")
        assert await desk.row(attachment_id, "state", "refused_for") == ("REFUSED", "FILE_TYPE_MISMATCH")
        again = await desk.put("wei", attachment_id, data)
        assert (again.status_code, code_of(again)) == (409, "NOT_EDITABLE")
    assert desk.files_kept() == []


@on_sqlite
async def test_a_picture_of_too_many_pixels_is_refused(desk: Desk, visit: str) -> None:
    huge = b"\x89PNG\r\n\x1a\n" + bytes.fromhex("0000000d49484452") + (50_000).to_bytes(4, "big") * 2
    huge += bytes([8, 2, 0, 0, 0]) + b"\0\0\0\0" + bytes.fromhex("0000000049454e44") + b"\0\0\0\0"
    attachment_id, _ = await declare(desk.house, "wei", visit, huge, kind="PHOTO", mime="image/png")
    answer = await desk.put("wei", attachment_id, huge)
    assert (answer.status_code, code_of(answer)) == (413, "TOO_LARGE")
    assert await desk.row(attachment_id, "state", "refused_for") == ("REFUSED", "TOO_LARGE")


# -- cuts -------------------------------------------------------------------------------------------------------


def cut_put(port: int, token: str, attachment_id: str, chunk: bytes, start: int, total: int, sent: int) -> None:
    """A chunk of which only `sent` bytes leave before the connection is torn down."""
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0" if sent % 2 else b"\0" * 8)
        head = (
            f"PUT /files/{attachment_id} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
            f"content-range: bytes {start}-{start + len(chunk) - 1}/{total}\r\ncontent-length: {len(chunk)}\r\n\r\n"
        )
        raw.sendall(head.encode() + chunk[:sent])


@on_sqlite
async def test_a_connection_cut_in_mid_chunk_loses_nothing_that_arrived(desk: Desk, visit: str, paper: bytes) -> None:
    attachment_id, _ = await declare(desk.house, "wei", visit, paper)
    token = await desk.token("wei")
    await in_thread(cut_put, desk.served.port, token, attachment_id, paper, 0, len(paper), 70_000)
    arrived = 0
    while not arrived:  # the server notices in its own time
        arrived = await desk.offset("wei", attachment_id)
    assert arrived == 70_000
    assert await in_thread(upload, await desk.http("wei"), attachment_id, paper) == "STORED"
    assert (await desk.get("wei", attachment_id)).content == paper


async def test_an_upload_goes_on_after_a_restart(desk: Desk, visit: str, paper: bytes, file_settings: Settings) -> None:
    attachment_id, _ = await declare(desk.house, "wei", visit, paper)
    await desk.put("wei", attachment_id, paper, 0, 40_000)
    async with serve(file_settings, clock=lambda: desk.house.now_ms) as second:
        moved = Desk(desk.house, file_settings, second, desk.tokens)
        assert await moved.offset("wei", attachment_id) == 40_000
        assert (await moved.put("wei", attachment_id, paper, 40_000)).json()["state"] == "STORED"
    assert (await desk.get("wei", attachment_id)).content == paper


@on_sqlite
async def test_a_server_that_died_before_it_finished_finishes_when_asked(desk: Desk, visit: str, paper: bytes) -> None:
    """All bytes are here, and nobody looked at them."""
    attachment_id, _ = await declare(desk.house, "wei", visit, paper)
    async with desk.served.services.files.spool.open(attachment_id) as part:
        await part.append(paper)
    assert await desk.offset("wei", attachment_id) == len(paper)
    assert await in_thread(upload, await desk.http("wei"), attachment_id, paper) == "STORED"


async def test_parallel_chunks_of_one_upload_take_turns_or_are_told_to(desk: Desk, visit: str, paper: bytes) -> None:
    attachment_id, _ = await declare(desk.house, "wei", visit, paper)
    await desk.token("wei")
    answers = await asyncio.gather(*(desk.put("wei", attachment_id, paper) for _ in range(6)))
    said = {answer.json().get("state") or code_of(answer) for answer in answers}
    assert said <= {"STORED", "BUSY", "UPLOAD_OFFSET"}
    assert "STORED" in said
    assert (await desk.get("wei", attachment_id)).content == paper
    assert desk.files_kept() == [await _digest(desk, attachment_id)]


async def _digest(desk: Desk, attachment_id: str) -> str:
    return str((await desk.row(attachment_id, "stored_sha256"))[0])


async def test_many_phones_send_the_same_file_at_once(desk: Desk, visit: str, paper: bytes) -> None:
    """Each proves that it has it, and it is kept once."""
    mine = [(await declare(desk.house, "wei", visit, paper))[0] for _ in range(4)]
    http = await desk.http("wei")
    states = await asyncio.gather(*(in_thread(upload, http, one, paper, chunk_bytes=30_000) for one in mine))
    assert states == ["STORED"] * 4
    assert len({await _digest(desk, one) for one in mine}) == len(desk.files_kept()) == 1


class Weather:
    """A transport that loses requests and answers, doubles them, and tears connections in the middle."""

    def __init__(self, inner: Http, rng: random.Random) -> None:
        self.inner, self.rng = inner, rng
        self.lock = threading.Lock()
        self.troubles = 0

    def request(self, method: str, path: str, headers: Headers, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        what = self.rng.random()
        if what < 0.15:
            self.troubles += 1
            raise ConnectionError("lost on the way")
        if what < 0.3 and method == "PUT" and len(body) > 1:
            self.troubles += 1
            start, total = (
                int(headers["content-range"][6:].partition("-")[0]),
                int(headers["content-range"].rpartition("/")[2]),
            )
            port = int(self.inner.address.rpartition(":")[2])
            attachment_id = path.rpartition("/")[2]
            cut_put(port, self.inner.token, attachment_id, body, start, total, self.rng.randrange(len(body)))
            raise ConnectionError("torn")
        answer = self.inner.request(method, path, headers, body)
        if what < 0.45:
            self.troubles += 1
            raise ConnectionError("the answer was lost")
        if what < 0.6:
            self.troubles += 1
            answer = self.inner.request(method, path, headers, body)
        return answer


def sent_through(weather: Weather, attachment_id: str, data: bytes, rng: random.Random) -> str:
    for _ in range(200):
        try:
            return upload(weather, attachment_id, data, chunk_bytes=rng.randint(1, 40_000), deaths_max=50)
        except FileRefused as refused:
            # a torn request still held the upload
            if refused.code not in ("BUSY", "UPLOAD_OFFSET") and refused.status != 503:
                raise
    raise AssertionError("it never got through")


async def test_whatever_the_splits_cuts_and_replays_the_bytes_are_the_same(desk: Desk, visit: str) -> None:
    rng = random.Random(20_261_122)
    troubles = 0
    for round_n in range(8):
        data = document(rng.randint(20, 190_000), seed=round_n)
        attachment_id, _ = await declare(desk.house, "wei", visit, data)
        weather = Weather(await desk.http("wei"), rng)
        assert await in_thread(sent_through, weather, attachment_id, data, rng) == "STORED"
        assert (await desk.get("wei", attachment_id)).content == data
        troubles += weather.troubles
    assert troubles > 10


# -- who and how much ---------------------------------------------------------------------------------------------


async def test_who_may_send(desk: Desk, house: House, visit: str, paper: bytes) -> None:
    attachment_id, _ = await declare(house, "wei", visit, paper)
    for who, status in [("na", 404), ("manager", 404), ("agent", 404), ("analyst", 403)]:
        answer = await desk.put(who, attachment_id, paper)
        assert answer.status_code == status, (who, answer.text)
    assert (await desk.put("wei", new_id(), paper)).status_code == 404
    assert (await desk.put("wei", "..%2f..%2fetc", paper)).status_code == 404
    assert (await desk.ask("wei", "PUT", "/files/NOT-AN-ID", paper)).status_code == 404
    assert (await desk.served.client.put(f"/files/{attachment_id}", content=paper)).status_code == 401
    assert (await desk.put("admin", attachment_id, paper)).json()["state"] == "STORED"


async def test_a_device_that_only_hands_in_still_sends_its_files(
    desk: Desk, house: House, visit: str, paper: bytes
) -> None:
    attachment_id, _ = await declare(house, "wei", visit, paper)
    await desk.token("wei")
    async with house.engine.write() as conn:
        await conn.execute("UPDATE device SET state = 'DRAINING' WHERE id = ?", house.people["wei"].device_id)
    house.now_ms += 10_000
    assert await desk.offset("wei", attachment_id) == 0
    assert (await desk.put("wei", attachment_id, paper)).json()["state"] == "STORED"
    assert (await desk.ask("wei", "HEAD", f"/files/{attachment_id}")).headers["upload-complete"] == "?1"
    assert (await desk.get("wei", attachment_id)).status_code == 403


async def test_one_user_has_a_day_and_so_many_at_once(house: House, file_settings: Settings, visit: str) -> None:
    bounds = file_settings.model_copy(update={"upload_bytes_per_day_max": 250_000, "uploads_per_user_max": 2})
    async with serve(bounds, clock=lambda: house.now_ms) as served:
        desk = Desk(house, bounds, served)
        papers = [document(80_000, seed=seed) for seed in range(4)]
        ids = [(await declare(house, "wei", visit, data))[0] for data in papers]
        for one, data in zip(ids[:2], papers[:2], strict=True):
            assert (await desk.put("wei", one, data, 0, 10)).status_code == 200
        third = await desk.put("wei", ids[2], papers[2], 0, 10)
        assert (third.status_code, code_of(third)) == (429, "UPLOAD_QUOTA")
        assert third.json()["errors"][0]["extensions"]["retry"] == "LATER"
        assert third.headers["retry-after"] == "60", "one that is open must end first"
        for one, data in zip(ids[:2], papers[:2], strict=True):
            assert (await desk.put("wei", one, data, 10)).json()["state"] == "STORED"
        assert (await desk.put("wei", ids[2], papers[2])).json()["state"] == "STORED"
        house.now_ms += 3_600_000
        desk.tokens.clear()
        full = await desk.put("wei", ids[3], papers[3])
        assert code_of(full) == "UPLOAD_QUOTA"
        assert full.headers["retry-after"] == str(23 * 3_600), "when the first of the day is a day old"
        house.now_ms += 86_400_001
        desk.tokens.clear()
        assert (await desk.put("wei", ids[3], papers[3])).json()["state"] == "STORED"


@on_sqlite
async def test_a_disk_without_room_is_said_before_anything_is_written(
    house: House, file_settings: Settings, visit: str, paper: bytes
) -> None:
    tight = file_settings.model_copy(update={"disk_free_bytes_min": 2**60})
    async with serve(tight, clock=lambda: house.now_ms) as served:
        desk = Desk(house, tight, served)
        attachment_id, _ = await declare(house, "wei", visit, paper)
        answer = await desk.put("wei", attachment_id, paper)
        assert (answer.status_code, code_of(answer)) == (507, "STORAGE_FULL")
        assert int(answer.headers["retry-after"]) > 0
        assert await desk.offset("wei", attachment_id) == 0


@on_sqlite
async def test_a_chunk_that_takes_too_long_is_ended_and_what_came_is_kept(
    house: House, file_settings: Settings, visit: str, paper: bytes
) -> None:
    hasty = file_settings.model_copy(update={"file_chunk_seconds_max": 1})
    async with serve(hasty, clock=lambda: house.now_ms) as served:
        desk = Desk(house, hasty, served)
        attachment_id, _ = await declare(house, "wei", visit, paper)
        token = await desk.token("wei")

        def slowly() -> bytes:
            with socket.create_connection(("127.0.0.1", served.port)) as raw:
                head = (
                    f"PUT /files/{attachment_id} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
                    f"content-range: bytes 0-9999/{len(paper)}\r\ncontent-length: 10000\r\n\r\n"
                )
                raw.sendall(head.encode() + paper[:500])
                return raw.recv(65_536)

        assert (await in_thread(slowly)).startswith(b"HTTP/1.1 400 ")
        assert await desk.offset("wei", attachment_id) == 500
        assert (await desk.put("wei", attachment_id, paper, 500)).json()["state"] == "STORED"


@on_sqlite
async def test_no_more_files_move_at_once_than_are_allowed(
    house: House, file_settings: Settings, visit: str, paper: bytes
) -> None:
    single = file_settings.model_copy(update={"file_requests_max": 1})
    async with serve(single, clock=lambda: house.now_ms) as served:
        desk = Desk(house, single, served)
        attachment_id, _ = await declare(house, "wei", visit, paper)
        async with served.services.files.turn:
            answer = await desk.put("wei", attachment_id, paper)
            assert (answer.status_code, code_of(answer)) == (503, "BUSY")
            assert answer.headers["retry-after"]
        assert (await desk.put("wei", attachment_id, paper)).json()["state"] == "STORED"


async def test_the_owner_sends_what_he_owes_after_the_customer_moved_away(
    desk: Desk, house: House, paper: bytes
) -> None:
    """His phone alone has the bytes; he may not read them back."""
    from_ = await shop_of(house)
    record = await record_of(house, "visits", from_)
    attachment_id, _ = await declare(house, "wei", record, paper)
    await desk.put("wei", attachment_id, paper, 0, 1_000)
    await move(house, from_, "south")
    assert await desk.offset("wei", attachment_id) == 1_000
    assert (await desk.put("wei", attachment_id, paper, 1_000)).json()["state"] == "STORED"
    assert (await desk.get("wei", attachment_id)).status_code == 404
    head = await desk.ask("wei", "HEAD", f"/files/{attachment_id}")
    assert (head.status_code, "etag" in head.headers) == (204, False)
    assert (await desk.get("na", attachment_id)).content == paper


async def move(house: House, shop: str, patch: str) -> None:
    house.now_ms += 1_000
    await house.work("manager", lambda work: move_customers(work, [Move(shop, house.patches[patch])]))
