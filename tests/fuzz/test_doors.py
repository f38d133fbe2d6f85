"""The doors beside ordinary documents: whatever comes, no answer is a failure of ours, and the server lives."""

import asyncio
from collections import Counter

from tests.files.conftest import Desk
from tests.files.conftest import desk as desk
from tests.files.conftest import file_settings as file_settings
from tests.files.conftest import paper as paper
from tests.files.conftest import visit as visit
from tests.fuzz.doors import draw_requests
from tests.hardness.test_raw import lives, said, statuses

REQUESTS = 520
SEED = 11
AT_ONCE = 8
PULL = "{ syncPull(limit: 2) { ... on SyncPage { cursor } } }"
PAGE = "{ customers(first: 1) { pageInfo { endCursor } } }"


async def test_no_door_fails_whatever_comes(desk: Desk, visit: str, paper: bytes) -> None:
    token, importer = await desk.token("wei"), await desk.token("admin")
    files = [await desk.stored("wei", visit, paper)]
    files.append(await desk.stored("wei", visit, paper + b"x"))
    pulled = (await desk.served.ask(PULL, token=token))["data"]["syncPull"]["cursor"]
    page = (await desk.served.ask(PAGE, token=token))["data"]["customers"]["pageInfo"]["endCursor"]
    told: Counter[int] = Counter()
    waiting = asyncio.Semaphore(AT_ONCE)

    async def one(sent: bytes) -> None:
        async with waiting:
            answer = await said(desk.served, sent, end=True)
        told.update(statuses(answer))
        for status in statuses(answer):
            assert status < 500 or (status == 503 and b'"code"' in answer), (sent[:600], answer[:600])
        assert b"INTERNAL" not in answer, (sent[:600], answer[:600])
        assert b"Traceback" not in answer, (sent[:600], answer[:600])

    async with asyncio.TaskGroup() as group:
        for sent in draw_requests(REQUESTS, SEED, token, importer, files, [pulled, page]):
            group.create_task(one(sent))
    assert told[200] > REQUESTS / 20, told
    assert sum(count for status, count in told.items() if 400 <= status < 500) > REQUESTS / 4, told
    await lives(desk.served)
    assert (await desk.get("wei", files[0])).content == paper, "what was stored is what it was"
    assert (await desk.served.ask(PAGE, token=token))["data"]["customers"]["pageInfo"]["endCursor"]
