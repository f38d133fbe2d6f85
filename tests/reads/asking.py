"""Asking a schema on behalf of somebody, either way."""

from dataclasses import dataclass
from typing import Any

import orjson

from backend.config import Settings
from backend.reads.plans import Plans
from backend.schema.context import Context
from backend.schema.execute import Documents, encode, execute
from backend.schema.root import build_schema
from backend.storage.engine import Engine
from tests.factories import NOW_MS
from tests.reads.world import World

SETTINGS = Settings(nested_page_rows_max=20, page_rows_max=100)
SCHEMA = build_schema()


@dataclass
class Asker:
    """Keeps plans and documents between questions, as a server does."""

    engine: Engine
    world: World

    def __post_init__(self) -> None:
        self.plans = Plans(1_000)
        self.documents = Documents(SCHEMA, SETTINGS)
        self.context: Context | None = None

    async def bytes(
        self, who: str, document: str, variables: dict[str, Any] | None = None, *, compiled: bool = True
    ) -> bytes:
        self.context = Context(
            engine=self.engine,
            principal=self.world.principal(who),
            settings=SETTINGS,
            clock=lambda: NOW_MS,
            now_ms=NOW_MS,
            plans=self.plans,
            compiled=compiled,
            # reading the audit writes to it, so that no second look would see the same
            trail_noted=True,
        )
        return encode(await execute(SCHEMA, self.context, self.documents, document, variables))

    async def answer(self, who: str, document: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """The compiled answer, after seeing that the ordinary one is the same to the byte."""
        ordinary = await self.bytes(who, document, variables, compiled=False)
        compiled = await self.bytes(who, document, variables)
        assert compiled == ordinary, document
        if any(self.documents.prepare(document).shortcuts.values()):
            assert await self.bytes(who, document, variables) == ordinary, document
        answered: dict[str, Any] = orjson.loads(compiled)
        return answered

    async def data(self, who: str, document: str, variables: dict[str, Any] | None = None) -> Any:
        answered = await self.answer(who, document, variables)
        assert "errors" not in answered, answered["errors"]
        return answered["data"]

    @property
    def reads(self) -> Any:
        assert self.context is not None
        return self.context.reads
