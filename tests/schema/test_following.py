"""What is asked for while all are being told is told too."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backend.config import Settings
from backend.schema.following import Follower, Followers, Form


class Asked(Followers):
    """Is asked once more between the end of a telling and its being noticed."""

    tellings = 0

    async def _tell_all(self) -> None:
        await super()._tell_all()
        self.tellings += 1
        if self.tellings == 1:
            asyncio.get_running_loop().call_soon(self.soon)


async def test_whoever_asks_as_a_telling_ends_is_told() -> None:
    async def look_up(_authorizations: object) -> None:
        """Nobody follows."""

    edge, pokes = SimpleNamespace(look_up=look_up), SimpleNamespace(clock=1, ended=False)
    followers = Asked(cast("Any", edge), cast("Any", pokes), Settings())
    followers.soon()
    for _ in range(10):
        await asyncio.sleep(0)
    assert followers.tellings == 2


class Told:
    """Stands in for whoever is told of the clock and of standings: who joined, and has not left."""

    def __init__(self) -> None:
        self.joined: list[object] = []
        self.clock, self.ended = 7, False
        self.standings = SimpleNamespace(join=lambda tell, _user: self.join(tell), leave=self.leave)

    def join(self, tell: object) -> None:
        self.joined.append(tell)

    def leave(self, tell: object) -> None:
        self.joined.remove(tell)


@pytest.mark.parametrize("reader_leaves", [True, False])
async def test_a_stream_that_has_begun_keeps_nothing_of_its_beginning_and_leaves_nothing_at_its_end(
    reader_leaves: bool,
) -> None:
    async def look_up(_authorizations: object) -> None:
        """Nobody is due."""

    told, sent, coming = Told(), list[Any](), asyncio.Queue[Any]()
    followers = Followers(cast("Any", SimpleNamespace(look_up=look_up)), cast("Any", told), Settings())
    first = {"data": {"syncPoke": {"clock": 7}}}
    form = Form("syncPoke", (("clock", "clock"),))
    follower = Follower(followers, form, first, authorization="Bearer x", user_id="u", locale="en")
    assert len(told.joined) == 2

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "headers": [(b"authorization", b"Bearer x")]}
    answering = asyncio.ensure_future(follower(scope, coming.get, send))
    for _ in range(10):
        await asyncio.sleep(0)
    assert b'"clock":7' in sent[1]["body"]
    assert not scope["headers"]
    assert not follower.raw_headers
    assert dict(sent[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
    if reader_leaves:
        coming.put_nowait({"type": "http.disconnect"})
    else:
        follower.finish()
    await answering
    assert not told.joined
    closed = {"type": "http.response.body", "body": b"", "more_body": False}
    assert (sent[-1] == closed) is not reader_leaves
