"""Downloads: whole and in ranges, judged at every request, harmless to whoever opens them; what photos keep."""

import hashlib

import pytest

from backend.sync.changes import Change, Intent
from backend.usecases.tasks import change_tasks
from mobile_contract.files import download, send_preview
from tests.files.conftest import CHANGE, Desk, code_of, declare, in_thread, on_sqlite, record_of, shop_of
from tests.files.pictures import SERIAL, orientation_in, picture, pixels, position_in
from tests.files.test_sending import move
from tests.house import House

PHOTO = {"kind": "PHOTO", "mime": "image/jpeg", "file_name": "店面.jpg"}
SIGNATURE = {"kind": "SIGNATURE", "mime": "image/png", "file_name": "sign.png"}


@on_sqlite
async def test_ranges(desk: Desk, visit: str, paper: bytes) -> None:
    attachment_id = await desk.stored("wei", visit, paper)
    whole = await desk.get("wei", attachment_id)
    assert (whole.status_code, whole.content) == (200, paper)
    tag = whole.headers["etag"]
    assert tag == f'"{hashlib.sha256(paper).hexdigest()}"'
    size = len(paper)
    for asked, (start, end) in {
        "bytes=0-0": (0, 1),
        "bytes=100-199": (100, 200),
        "bytes=149990-": (149_990, size),
        "bytes=149990-999999": (149_990, size),
        "bytes=-7": (size - 7, size),
        "bytes=-999999": (0, size),
    }.items():
        part = await desk.get("wei", attachment_id, range=asked)
        assert (part.status_code, part.content) == (206, paper[start:end]), asked
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        assert part.headers["content-length"] == str(end - start)
    for asked in ("bytes=150000-", "bytes=999999-", "bytes=-0"):
        none = await desk.get("wei", attachment_id, range=asked)
        assert (none.status_code, none.headers["content-range"]) == (416, f"bytes */{size}"), asked
    for asked in ("bytes=5-2", "bytes=0-1,5-6", "lines=1-2", "bytes=-", "bytes=a-b", "bytes=0-99999999999999999999"):
        whole = await desk.get("wei", attachment_id, range=asked)
        assert (whole.status_code, len(whole.content)) == (200, size), asked
    assert (await desk.get("wei", attachment_id, range="bytes=0-9", if_range=tag)).status_code == 206
    for old in ('"other"', f"W/{tag}", "Sun, 22 Nov 2026 00:00:00 GMT"):
        assert (await desk.get("wei", attachment_id, range="bytes=0-9", if_range=old)).status_code == 200
    assert (await desk.get("wei", attachment_id, if_none_match=f'"x", W/{tag}')).status_code == 304
    assert (await desk.get("wei", attachment_id, if_none_match='"x"')).status_code == 200
    head = await desk.ask("wei", "HEAD", f"/files/{attachment_id}")
    assert (head.status_code, head.headers["content-length"], head.headers["etag"]) == (200, str(size), tag)
    assert await in_thread(download, await desk.http("wei"), attachment_id, part_bytes=40_000) == paper


@on_sqlite
async def test_nothing_is_shown_inside_a_page(desk: Desk, visit: str) -> None:
    attachment_id = await desk.stored("wei", visit, picture(), **{**PHOTO, "file_name": '../x"; y\\店面.html'})
    answer = await desk.get("wei", attachment_id)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    shown = answer.headers["content-disposition"]
    assert shown == ("attachment; filename=\"__.html.jpg\"; filename*=UTF-8''%E5%BA%97%E9%9D%A2.html.jpg")
    preview = await desk.get("wei", attachment_id, "/preview")
    assert preview.headers["content-disposition"].startswith('attachment; filename="preview.jpg"')


async def test_a_row_is_seen_before_its_bytes_and_its_preview_before_the_whole(desk: Desk, visit: str) -> None:
    photo = picture(side=260, orientation=6)
    attachment_id, _ = await declare(desk.house, "wei", visit, photo, **PHOTO)
    waiting = await desk.get("manager", attachment_id)
    assert (waiting.status_code, code_of(waiting)) == (404, "NOT_UPLOADED")
    assert code_of(await desk.get("manager", attachment_id, "/preview")) == "NOT_UPLOADED"
    small = picture("image/webp", side=60, seed=3)
    await in_thread(send_preview, await desk.http("wei"), attachment_id, small)
    assert await desk.row(attachment_id, "state", "preview_state") == ("DECLARED", "DEVICE")
    ahead = await desk.get("manager", attachment_id, "/preview")
    assert (ahead.status_code, ahead.headers["content-type"]) == (200, "image/jpeg")
    assert position_in(ahead.content) == {}, "what a device sends ahead is painted anew"
    assert SERIAL.encode() not in ahead.content
    await desk.put("wei", attachment_id, photo)
    assert await desk.row(attachment_id, "state", "preview_state", "width", "height") == ("STORED", "READY", 390, 260)
    preview = await desk.get("manager", attachment_id, "/preview")
    assert len(preview.content) <= 20_000
    assert preview.content != ahead.content
    assert preview.headers["etag"] == f'"{hashlib.sha256(preview.content).hexdigest()}"'
    late = await desk.ask("wei", "PUT", f"/files/{attachment_id}/preview", small)
    assert (late.status_code, code_of(late)) == (409, "NOT_EDITABLE")
    await desk.served.services.files.collect()
    assert len(desk.files_kept()) == 2, "the photo and its preview; the one sent ahead went"


@on_sqlite
async def test_previews_have_their_bounds(desk: Desk, visit: str, paper: bytes) -> None:
    photo, _ = await declare(desk.house, "wei", visit, picture(), **PHOTO)
    for body, status, code in [
        (b"", 415, "FILE_TYPE_MISMATCH"),
        (b"x" * 20_001, 413, "TOO_LARGE"),
        (b"<svg/>", 415, "FILE_TYPE_MISMATCH"),
        (picture()[:300], 415, "FILE_TYPE_MISMATCH"),
    ]:
        answer = await desk.ask("wei", "PUT", f"/files/{photo}/preview", body)
        assert (answer.status_code, code_of(answer)) == (status, code)
    text, _ = await declare(desk.house, "wei", visit, paper)
    answer = await desk.ask("wei", "PUT", f"/files/{text}/preview", picture())
    assert code_of(answer) == "NOT_ALLOWED_VALUE"
    assert (await desk.ask("na", "PUT", f"/files/{photo}/preview", picture())).status_code == 404


async def test_a_photo_loses_its_position_unless_it_proves_a_visit(desk: Desk, house: House, visit: str) -> None:
    photo = picture(orientation=8)
    assert position_in(photo)
    plain = await desk.stored("wei", visit, photo, **PHOTO)
    proof = await desk.stored("wei", visit, photo, proof=True, **PHOTO)
    for who in ("wei", "manager"):
        served = (await desk.get(who, plain)).content
        assert position_in(served) == {}
        assert SERIAL.encode() not in served
        assert (orientation_in(served), pixels(served)) == (8, pixels(photo))
        assert (await desk.get(who, proof)).content == photo
        assert position_in((await desk.get(who, proof, "/preview")).content) == {}
    declared, stored = await desk.row(plain, "sha256", "stored_sha256")
    assert declared == hashlib.sha256(photo).hexdigest()
    assert stored == hashlib.sha256((await desk.get("wei", plain)).content).hexdigest() != declared
    assert await desk.row(proof, "sha256", "stored_sha256") == (declared, declared)
    for more in ({"kind": "SIGNATURE"}, {"collection": "customers", "record_id": (await shop_of(house))}):
        record = more.pop("record_id", visit)
        _, outcome = await declare(house, "wei", record, photo, proof=True, **{**PHOTO, **more})
        assert [(p.code.value, p.path) for p in outcome.problems] == [("NOT_ALLOWED_VALUE", ("proof",))]


async def test_what_may_be_read_is_asked_at_every_request(desk: Desk, house: House, paper: bytes) -> None:
    shop = await shop_of(house)
    record = await record_of(house, "visits", shop)
    attachment_id = await desk.stored("wei", record, paper)
    assert (await desk.get("na", attachment_id)).status_code == 404
    await move(house, shop, "south")
    assert (await desk.get("wei", attachment_id)).status_code == 404
    assert (await desk.get("wei", attachment_id, range="bytes=5-9")).status_code == 404
    assert (await desk.get("na", attachment_id)).content == paper
    await move(house, shop, "north")
    assert (await desk.get("wei", attachment_id)).content == paper


async def test_a_task_for_a_colleague_brings_its_attachment(desk: Desk, house: House, paper: bytes) -> None:
    record = await record_of(house, "tasks", await shop_of(house))
    attachment_id = await desk.stored("wei", record, paper, collection="tasks")
    assert (await desk.get("na", attachment_id)).status_code == 404
    fields = {"assigneeId": house.people["na"].user_id}
    await house.change("manager", change_tasks, Change(record, Intent.PATCH, fields, await house.rev("tasks", record)))
    assert (await desk.get("na", attachment_id)).content == paper


async def test_masked_roles_see_that_there_is_one_and_never_its_bytes(desk: Desk, visit: str) -> None:
    for data, more in [(picture(), PHOTO), (picture("image/png"), SIGNATURE)]:
        attachment_id = await desk.stored("wei", visit, data, caption="Mr Kim", **more)
        for tail in ("", "/preview"):
            answer = await desk.get("analyst", attachment_id, tail)
            assert (answer.status_code, code_of(answer)) == (403, "NOT_PERMITTED")
        assert "etag" not in (await desk.ask("analyst", "HEAD", f"/files/{attachment_id}")).headers


async def test_reading_a_signature_is_audited(desk: Desk, house: House, visit: str, paper: bytes) -> None:
    signed = await desk.stored("wei", visit, picture("image/png"), **SIGNATURE)
    plain = await desk.stored("wei", visit, paper)
    for attachment_id in (signed, plain):
        await desk.get("manager", attachment_id)
        await desk.ask("manager", "HEAD", f"/files/{attachment_id}")
    await desk.get("agent", signed, "/preview")
    async with house.engine.read() as conn:
        rows = await conn.fetch("SELECT actor, record_id FROM audit_entry WHERE action = 'DOWNLOAD' ORDER BY id")
    assert [tuple(row) for row in rows] == [(house.people[who].actor, signed) for who in ("manager", "agent")]


# -- the same file twice --------------------------------------------------------------------------------------------


async def test_a_file_one_can_see_need_not_be_sent_twice(desk: Desk, visit: str, paper: bytes) -> None:
    first = await desk.stored("wei", visit, paper)
    second, _ = await declare(desk.house, "wei", visit, paper)
    assert await desk.row(second, "state") == ("STORED",)
    assert (await desk.get("wei", second)).content == paper
    assert len(desk.files_kept()) == 1
    await desk.house.change("wei", CHANGE, Change(first, Intent.DELETE))
    await desk.served.services.files.collect()
    assert (await desk.get("wei", second)).content == paper


@pytest.mark.requirement("R49")
async def test_nobody_obtains_a_file_by_naming_its_hash(desk: Desk, house: House, visit: str, paper: bytes) -> None:
    await desk.stored("wei", visit, paper)
    stranger = await record_of(house, "visits", await shop_of(house, "na"), "na")
    stolen, _ = await declare(house, "na", stranger, paper)
    assert await desk.row(stolen, "state", "stored_sha256") == ("DECLARED", None)
    answer = await desk.put("na", stolen, b"x" * len(paper))
    assert code_of(answer) == "FILE_HASH_MISMATCH"
    assert code_of(await desk.get("na", stolen)) == "NOT_UPLOADED"
    assert (await desk.put("na", stolen, paper)).json()["state"] == "STORED"
    assert len(desk.files_kept()) == 1


async def test_what_was_treated_otherwise_is_not_the_same_file(desk: Desk, visit: str) -> None:
    """A photo without its position does not stand in for the proof, nor the proof for the photo."""
    photo = picture()
    await desk.stored("wei", visit, photo, **PHOTO)
    proof, _ = await declare(desk.house, "wei", visit, photo, proof=True, **PHOTO)
    assert await desk.row(proof, "state") == ("DECLARED",)
    await desk.put("wei", proof, photo)
    again, _ = await declare(desk.house, "wei", visit, photo, **PHOTO)
    assert position_in((await desk.get("wei", again)).content) == {}
