"""What is asked for while all are being told is told too."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from backend.config import Settings
from backend.schema.following import Followers


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
