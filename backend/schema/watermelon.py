"""What WatermelonDB's `synchronize()` asks for. See `mobile_contract/watermelon.md`."""

from typing import Annotated, Any

import orjson
import strawberry
from strawberry.scalars import JSON

from backend.errors import Refused
from backend.schema.context import Info
from backend.schema.finished import Finished
from backend.schema.refusals import Refusal, refuse
from backend.sync.watermelon import WatermelonRequest, answer_watermelon_pull
from backend.sync.watermelon_push import answer_watermelon_push

_LAST_PULLED_AT = Annotated[
    float | None, strawberry.argument(description="The `timestamp` of the last pull; null or 0 for the first.")
]
_PUSHED_AT = Annotated[float, strawberry.argument(description="The `timestamp` of the pull just before.")]
_CHANGES = Annotated[JSON, strawberry.argument(description="Rows by table: {table: {created, updated, deleted}}.")]
_VERSION = Annotated[int, strawberry.argument(description="The version of the app's WatermelonDB schema.")]
_MIGRATION = Annotated[JSON | None, strawberry.argument(description="As WatermelonDB writes it: new tables, columns.")]
_TABLES = Annotated[
    list[str] | None, strawberry.argument(description="Only these tables; the same ones at every pull of a database.")
]
_AGAIN = Annotated[
    JSON | None,
    strawberry.argument(description="Rows to send though they did not change, {table: [id]}: those the app let go of."),
]


@strawberry.type(description="What changed since the last pull, as WatermelonDB takes it.")
class WatermelonPull:
    changes: JSON = strawberry.field(
        description="{table: {created, updated, deleted}}: rows of numbers, texts and booleans; `created` is empty."
    )
    timestamp: float = strawberry.field(description="The feed's clock of this snapshot: the next `lastPulledAt`.")


@strawberry.type(description="Everything of the push was written.")
class WatermelonPushed:
    ok: bool = strawberry.field(description="Always true.")
    experimental_rejected_ids: JSON = strawberry.field(
        description="Always empty: a push is written whole or not at all."
    )


WatermelonPushResult = Annotated[
    WatermelonPushed | Refusal,
    strawberry.union(
        "WatermelonPushResult",
        description="Everything was written, or nothing: each problem's path is table, verb, id and column.",
    ),
]


@strawberry.type
class WatermelonQueries:
    @strawberry.field(description="For WatermelonDB's `pullChanges`: what changed for you since the last pull.")
    async def watermelon_pull(
        self,
        info: Info,
        schema_version: _VERSION,
        last_pulled_at: _LAST_PULLED_AT = None,
        migration: _MIGRATION = None,
        tables: _TABLES = None,
        again: _AGAIN = None,
    ) -> WatermelonPull:
        context = info.context
        page = await answer_watermelon_pull(
            context.engine,
            context.caller,
            WatermelonRequest(last_pulled_at, schema_version, migration, tables, again),
            rows_max=context.settings.watermelon_pull_rows_max,
            retries_max=context.settings.write_retries_max,
            clock=context.clock,
            schema_oldest=context.settings.schema_version_oldest,
            note_seconds=context.settings.device_note_seconds,
        )
        if context.watch_door is not None:
            await context.watch_door.pulled(context.caller, page.rows)
        finished: Any = Finished(
            "WatermelonPull", {"changes": orjson.Fragment(page.changes), "timestamp": page.timestamp}
        )
        return finished  # type: ignore[no-any-return]


@strawberry.type
class WatermelonMutations:
    @strawberry.mutation(
        description="For WatermelonDB's `pushChanges`: all of it is written, or nothing. What stood in the way is kept "
        "as a sync issue; pull, and push again."
    )
    async def watermelon_push(self, info: Info, changes: _CHANGES, last_pulled_at: _PUSHED_AT) -> WatermelonPushResult:
        context = info.context
        try:
            await answer_watermelon_push(
                context.engine,
                context.caller,
                changes,
                last_pulled_at,
                context.use_cases,
                rows_max=context.settings.watermelon_push_rows_max,
                retries_max=context.settings.write_retries_max,
                clock=context.clock,
            )
        except Refused as refused:
            return refuse(info, refused)
        return WatermelonPushed(ok=True, experimental_rejected_ids=JSON({}))
