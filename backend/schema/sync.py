"""The native sync protocol: what changed since a cursor, and a device's queue. See `sync-protocol.md`."""

import dataclasses
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON

from backend.domain.times import DAY_MS, instant_text
from backend.errors import Code, Problem, Refused
from backend.schema.context import Context, Info
from backend.schema.finished import Finished, StoredRows
from backend.schema.refusals import Problem as ShownProblem
from backend.schema.refusals import Refusal, refuse, show_problems
from backend.schema.scalars import BigInt, Instant
from backend.sync.buckets import check_bucket
from backend.sync.digests import answer_digest
from backend.sync.forms import read_mutation
from backend.sync.protocol import answer_pull, answer_push, check_syncing
from backend.sync.pull import Page, PullRequest, Refetch
from backend.sync.push import Answer, Mutation
from backend.sync.versions import SCHEMA_VERSION_UNSAID

COLLECTION_OF_KEY: Mapping[str, str] = {
    "customer": "customers",
    "contact": "contacts",
    "customer_contact": "customerContacts",
    "visit": "visits",
    "order": "orders",
    "task": "tasks",
    "answer": "answers",
    "case": "cases",
    "judgement": "judgements",
    "attachment": "attachments",
    "sync_issue": "syncIssues",
}
"""Key of a change in `SyncChange` → collection."""


@strawberry.type(description="A record as the feed holds it.")
class SyncRow:
    seq: BigInt = strawberry.field(description="The clock of its last change; also the record's `rev`.")
    digest: str = strawberry.field(description="First 8 bytes of the document's SHA-256, 16 hexadecimal digits.")
    document: JSON = strawberry.field(description="The record: sorted keys; integers, texts, booleans, null.")


@strawberry.type(description="What one page says about one collection in one scope.")
class SyncBlock:
    scope: str = strawberry.field(description="The scope, such as `territory:<id>`.")
    collection: str = strawberry.field(description="The collection, such as `visits`.")
    rows: list[SyncRow] = strawberry.field(description="Records that stand in the scope.")
    left: list[strawberry.ID] = strawberry.field(description="Records that left the scope.")


@strawberry.type(description="What a device must hold of one collection in one scope once a pull is complete.")
class SyncChecksum:
    scope: str = strawberry.field(description="The scope.")
    collection: str = strawberry.field(description="The collection.")
    sum: str = strawberry.field(description="Sum of the digests modulo 2^64, 16 hexadecimal digits.")
    count: int = strawberry.field(description="How many records.")
    buckets: int = strawberry.field(
        description="1, or in how many parts to compare it by `syncDigest` when your sum differs."
    )


@strawberry.type(description="What a device must hold of one part of a collection in one scope.")
class SyncBucket:
    bucket: int = strawberry.field(description="Which part: the last byte of the id modulo the number of parts.")
    sum: str = strawberry.field(description="Sum of its digests modulo 2^64, 16 hexadecimal digits.")
    count: int = strawberry.field(description="How many records.")


@strawberry.type(description="One page of a pull. Apply it in one local transaction together with its cursor.")
class SyncPage:
    clock: BigInt = strawberry.field(description="The feed's clock in the snapshot this page was read from.")
    cursor: str = strawberry.field(description="Where to go on; only this user on this device can present it.")
    complete: bool = strawberry.field(description="True when nothing more was there at that clock.")
    blocks: list[SyncBlock] = strawberry.field(description="The records, by scope and collection.")
    scopes_removed: list[str] = strawberry.field(description="Scopes no longer yours: drop all their places.")
    acked_mutation: BigInt = strawberry.field(
        description="The last `clientSeq` of this device with an answer. Less than you had: a backup was restored."
    )
    lease_until: Instant = strawberry.field(
        description="Without another page until then, show nothing more; go on capturing, and pushing."
    )
    lease_seconds: int = strawberry.field(description="The same, counted from this page's arrival.")
    keep_answered_days: int = strawberry.field(
        description="So long keep what was answered, to send it again should the server have lost it by a restore."
    )
    checksums: list[SyncChecksum] = strawberry.field(description="On a complete page: what you must now hold.")


@strawberry.input(description="A collection in a scope, or a part of it, to be sent again: its checksum differed.")
class SyncRefetch:
    scope: str = strawberry.field(description="The scope.")
    collection: str = strawberry.field(description="The collection.")
    bucket: int | None = strawberry.field(default=None, description="Only this part, of `buckets`.")
    buckets: int | None = strawberry.field(default=None, description="In how many parts: 1, 2, 4 … 256.")


@strawberry.input(description="One record to be created, changed or deleted.")
class SyncRecord:
    id: strawberry.ID = strawberry.field(description="The record's id, made by the client: a UUID, version 7.")
    base_rev: BigInt | None = strawberry.field(
        default=None, description="The `rev` the change was made on; absent for a new record."
    )
    set: JSON | None = strawberry.field(default=None, description="Fields by their document names.")
    delete: bool = strawberry.field(default=False, description="Delete the record for all.")
    restore: bool = strawberry.field(
        default=False, description="Bring the deleted record back as it was; nothing else is given with it."
    )
    base: JSON | None = strawberry.field(
        default=None, description="What the changed fields held before, to be shown beside a conflict."
    )


@strawberry.input(one_of=True, description="A change of exactly one collection.")
class SyncChange:
    customer: SyncRecord | None = strawberry.field(default=strawberry.UNSET, description="A customer.")
    contact: SyncRecord | None = strawberry.field(default=strawberry.UNSET, description="A contact.")
    customer_contact: SyncRecord | None = strawberry.field(
        default=strawberry.UNSET, description="A link between a customer and a contact."
    )
    visit: SyncRecord | None = strawberry.field(default=strawberry.UNSET, description="A visit.")
    order: SyncRecord | None = strawberry.field(default=strawberry.UNSET, description="An order with its lines.")
    task: SyncRecord | None = strawberry.field(default=strawberry.UNSET, description="A task.")
    answer: SyncRecord | None = strawberry.field(default=strawberry.UNSET, description="An answer to a form.")
    case: SyncRecord | None = strawberry.field(default=strawberry.UNSET, description="A complaint.")
    judgement: SyncRecord | None = strawberry.field(
        default=strawberry.UNSET, description="A skip with its reason, or an override."
    )
    attachment: SyncRecord | None = strawberry.field(
        default=strawberry.UNSET, description="An attachment; its bytes follow by `PUT /files/{id}`."
    )
    sync_issue: SyncRecord | None = strawberry.field(
        default=strawberry.UNSET,
        description="What is to be done about a sync issue: in `set` its `choice`, with `value`, or `fields` and"
        " `without`, and the `recordRev` that was looked at.",
    )


@strawberry.input(description="One entry of a device's queue.")
class SyncMutation:
    id: strawberry.ID = strawberry.field(description="The mutation's own id; a replay is answered as before.")
    client_seq: BigInt = strawberry.field(description="1, 2, 3 … on this device, without a gap.")
    change: SyncChange = strawberry.field(description="What to change.")
    group: str | None = strawberry.field(default=None, description="Mutations of one group stand or fall together.")
    captured_at: Instant | None = strawberry.field(default=None, description="When it was entered on the device.")


@strawberry.type(description="A record a mutation wrote, as it stands for you now.")
class SyncWritten:
    collection: str = strawberry.field(description="The collection.")
    seq: BigInt = strawberry.field(description="Its `rev` now.")
    digest: str = strawberry.field(description="Its digest.")
    document: JSON = strawberry.field(description="The record.")


@strawberry.type(description="What became of one mutation. Only RETRY is to be sent again.")
class SyncAnswer:
    id: strawberry.ID = strawberry.field(description="The mutation's id.")
    status: str = strawberry.field(
        description="APPLIED, MERGED, CONFLICT, REFUSED, DEPENDENCY_FAILED, RETRY or ALREADY_HANDLED."
    )
    problems: list[ShownProblem] = strawberry.field(description="Why it was refused, or which fields conflict.")
    records: list[SyncWritten] = strawberry.field(description="The records it wrote, as far as you see them.")
    late: bool = strawberry.field(
        description="Taken because it was captured before a territory changed hands: the record is no longer yours."
    )


@strawberry.type(description="The answers to a push, in the order of its mutations. It is no cursor: pull as before.")
class SyncPushed:
    clock: BigInt = strawberry.field(description="The feed's clock after the push.")
    results: list[SyncAnswer] = strawberry.field(description="One per mutation.")


@strawberry.type(description="Something changed, for somebody. It carries no data: compare the clock, then pull.")
class SyncPoke:
    clock: BigInt = strawberry.field(description="The feed's clock now; nothing to do where it is your last page's.")


SyncPushResult = Annotated[
    SyncPushed | Refusal, strawberry.union("SyncPushResult", description="The answers, or why none.")
]


@strawberry.type
class SyncQueries:
    @strawberry.field(description="One page of what changed for you since a cursor; without one, everything.")
    async def sync_pull(
        self,
        info: Info,
        cursor: Annotated[str | None, strawberry.argument(description="From the last page applied.")] = None,
        limit: Annotated[int, strawberry.argument(description="Most rows of the page.")] = 500,
        schema_version: Annotated[
            int, strawberry.argument(description="The document schema the client understands.")
        ] = SCHEMA_VERSION_UNSAID,
        refetch: Annotated[list[SyncRefetch] | None, strawberry.argument(description="What to send again.")] = None,
        bytes_max: Annotated[
            int | None,
            strawberry.argument(description="Most bytes of documents, for weak signal; one row always comes."),
        ] = None,
    ) -> SyncPage:
        context = info.context
        wishes = tuple(
            Refetch(
                wish.scope,
                wish.collection,
                check_bucket(wish.bucket, wish.buckets, ("refetch", str(index))),
            )
            for index, wish in enumerate(refetch or [])
        )
        page = await answer_pull(
            context.engine,
            context.caller,
            PullRequest(cursor, limit, schema_version, wishes, bytes_max),
            secret=context.cursor_secret,
            rows_max=context.settings.pull_rows_max,
            bytes_max=context.settings.pull_bytes_max,
            schema_oldest=context.settings.schema_version_oldest,
            sums=context.sums_kept,
            bucket_rows=context.settings.digest_bucket_rows,
            note_seconds=context.settings.device_note_seconds,
            retries_max=context.settings.write_retries_max,
            clock=context.clock,
        )
        if context.watch_door is not None:
            given = Counter[str]()
            for block in page.blocks:
                given[block.collection] += len(block.rows)
            await context.watch_door.pulled(context.caller, given)
        return _page(context, page)

    @strawberry.field(
        description="Checksums of the parts of a collection in a scope; parts without records are absent."
    )
    async def sync_digest(
        self,
        info: Info,
        scope: Annotated[str, strawberry.argument(description="A scope you hold.")],
        collection: Annotated[str, strawberry.argument(description="The collection.")],
        buckets: Annotated[int, strawberry.argument(description="In how many parts: 1, 2, 4 … 256.")],
        schema_version: Annotated[
            int, strawberry.argument(description="The document schema the client understands.")
        ] = SCHEMA_VERSION_UNSAID,
    ) -> list[SyncBucket]:
        context = info.context
        found = await answer_digest(
            context.engine,
            context.caller,
            scope,
            collection,
            buckets,
            schema_version=schema_version,
            schema_oldest=context.settings.schema_version_oldest,
            now_ms=context.now_ms,
        )
        return [SyncBucket(bucket=one.bucket, sum=one.total, count=one.count) for one in found]


@strawberry.type
class SyncMutations:
    @strawberry.mutation(
        description="Hand in a device's queue. What is refused comes back, and is kept as a sync issue."
    )
    async def sync_push(
        self,
        info: Info,
        mutations: Annotated[list[SyncMutation], strawberry.argument(description="The queue, oldest first.")],
        device_now: Annotated[
            Instant | None,
            strawberry.argument(description="The device's clock while sending; `capturedAt` is corrected by it."),
        ] = None,
        schema_version: Annotated[
            int, strawberry.argument(description="The document schema the client understands.")
        ] = SCHEMA_VERSION_UNSAID,
    ) -> SyncPushResult:
        context = info.context
        try:
            clock, answers = await answer_push(
                context.engine,
                context.caller,
                [_mutation(context, index, mutation) for index, mutation in enumerate(mutations)],
                context.use_cases,
                mutations_max=context.settings.push_mutations_max,
                device_now_ms=device_now,
                schema_version=schema_version,
                grace_days=context.settings.grace_days,
                clock_offset_days_max=context.settings.clock_offset_days_max,
                retries_max=context.settings.write_retries_max,
                clock=context.clock,
            )
        except Refused as refused:
            return refuse(info, refused)
        pushed: SyncPushed = _finished(
            "SyncPushed", {"clock": clock, "results": [_answer(info, answer) for answer in answers]}
        )
        return pushed


@strawberry.type
class SyncSubscriptions:
    @strawberry.subscription(
        description="The clock at once, and again when it has gone on. A poke may be lost: pull now and then besides."
    )
    async def sync_poke(self, info: Info) -> AsyncGenerator[SyncPoke, None]:
        context = info.context
        check_syncing(context.caller)
        async with aclosing(context.pokes.follow()) as clocks:
            async for clock in clocks:
                check_syncing(await context.caller_now())
                yield SyncPoke(clock=BigInt(clock))


def _page(context: Context, page: Page) -> SyncPage:
    finished: SyncPage = _finished(
        "SyncPage",
        {
            "clock": page.clock,
            "cursor": page.cursor,
            "complete": page.complete,
            "blocks": [
                {
                    "scope": block.scope,
                    "collection": block.collection,
                    "rows": StoredRows(
                        {
                            "seq": block.rows.seqs,
                            "digest": block.rows.digest_numbers,
                            "document": block.rows.documents,
                        }
                    ),
                    "left": block.left,
                }
                for block in page.blocks
            ],
            "scopesRemoved": page.scopes_removed,
            "ackedMutation": page.acked_mutation,
            "leaseUntil": instant_text(context.now_ms + context.settings.offline_lease_days * DAY_MS),
            "leaseSeconds": context.settings.offline_lease_days * (DAY_MS // 1_000),
            "keepAnsweredDays": context.settings.keep_answered_days,
            "checksums": [
                {
                    "scope": one.scope,
                    "collection": one.collection,
                    "sum": one.total,
                    "count": one.count,
                    "buckets": one.buckets,
                }
                for one in page.checksums
            ],
        },
    )
    return finished


def _finished(typename: str, value: dict[str, Any]) -> Any:
    """An answer the library need not complete field by field."""
    return Finished(typename, value)


def _mutation(context: Context, index: int, given: SyncMutation) -> Mutation:
    if isinstance(given.change.task, SyncRecord) and given.change.task.id in context.put_aside:
        return read_mutation(context.put_aside[given.change.task.id])
    for key, record in vars(given.change).items():
        if isinstance(record, SyncRecord):
            sent: Any = {} if record.set is None else record.set
            return Mutation(
                id=given.id,
                client_seq=given.client_seq,
                collection=COLLECTION_OF_KEY[key],
                record_id=record.id,
                base_rev=record.base_rev,
                fields=sent if isinstance(sent, dict) else {"set": sent},
                problems=() if isinstance(sent, dict) else (Problem(Code.INVALID_VALUE, ("set",), ("map",)),),
                delete=record.delete,
                restore=record.restore,
                group=given.group,
                captured_at_ms=given.captured_at,
                base=record.base if isinstance(record.base, dict) else None,
            )
    raise Refused(Problem(Code.REQUIRED, ("mutations", str(index), "change"), tuple(COLLECTION_OF_KEY)))


def _answer(info: Info, answer: Answer) -> dict[str, Any]:
    return {
        "id": answer.mutation_id,
        "status": answer.status.value,
        "problems": [dataclasses.asdict(problem) for problem in show_problems(info, answer.problems)],
        "records": StoredRows(
            {
                "collection": [row.collection for row in answer.records],
                "seq": [row.seq for row in answer.records],
                "digest": [row.digest_number for row in answer.records],
                "document": [row.document for row in answer.records],
            }
        ),
        "late": answer.late,
    }
