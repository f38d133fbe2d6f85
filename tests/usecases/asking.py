"""GraphQL as one of the house: through the executor, without a socket."""

from typing import Any

import orjson

from backend.config import Settings
from backend.reads.plans import Plans
from backend.schema.context import Context
from backend.schema.execute import Documents, encode, execute
from backend.schema.root import build_schema
from backend.wiring import USE_CASES
from tests.house import House

SETTINGS = Settings()
SCHEMA = build_schema()
DOCUMENTS = Documents(SCHEMA, SETTINGS)
PLANS = Plans(SETTINGS.plan_cache_entries_max)


async def ask(house: House, who: str, document: str, locale: str = "en", **variables: object) -> Any:
    """The whole answer, decoded from the bytes that would be sent."""
    context = Context(
        engine=house.engine,
        principal=house.people[who],
        settings=SETTINGS,
        clock=lambda: house.now_ms,
        now_ms=house.now_ms,
        plans=PLANS,
        locale=locale,
        use_cases=USE_CASES,
        cursor_secret=b"test",
    )
    return orjson.loads(encode(await execute(SCHEMA, context, DOCUMENTS, document, variables)))


async def data(house: House, who: str, document: str, **variables: object) -> Any:
    """The data of an answer that has no errors."""
    answer = await ask(house, who, document, **variables)
    assert "errors" not in answer, answer["errors"]
    return answer["data"]
