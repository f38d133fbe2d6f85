"""A phone of somebody in the house, over the pull itself."""

from backend.sync.pull import pull
from mobile_contract.replica import Replica
from tests.house import House
from tests.sync.worlds import SECRET, page_json, pull_request

PAGES_MAX = 100


async def synced(house: House, who: str) -> Replica:
    """A phone of theirs that has pulled everything."""
    replica = Replica()
    await sync(house, who, replica)
    return replica


async def sync(house: House, who: str, replica: Replica) -> int:
    """Pull until complete and equal; returns how many pages it took."""
    for pages in range(1, PAGES_MAX):
        request = replica.pull_request()
        async with house.engine.read() as conn:
            page = await pull(conn, house.people[who], pull_request(request), secret=SECRET, bytes_max=10_000_000)
        answer = page_json(page)
        assert replica.apply(request, answer)
        if answer["complete"] and not replica.refetch:
            return pages
    raise AssertionError("never complete and equal")
