"""The two calls of the native protocol, from who may make them to what is noted afterwards."""

from collections.abc import Sequence

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.clock import Clock
from backend.domain.capture import CLOCK_OFFSET_DAYS_MAX
from backend.domain.permissions import BULK_RIGHT, Action, Collection
from backend.domain.territories import GRACE_DAYS
from backend.errors import Code, Problem, Refused, refuse_if
from backend.storage.engine import Engine
from backend.sync.at_once import pull_at_once
from backend.sync.buckets import BUCKET_ROWS
from backend.sync.devices import NOTE_SECONDS, note_pull
from backend.sync.pull import Page, PullRequest, SumsKept, pull
from backend.sync.push import Answer, Mutation, UseCaseTable, push, read_answered
from backend.sync.versions import SCHEMA_VERSION, versions_served
from backend.sync.work import Door, in_work

SYNCING_ROLES = frozenset({Role.REP, Role.MANAGER, Role.SERVICE_AGENT, Role.ADMIN})
"""Marketers and analysts read online; they hold no slice of the company on a device."""
_NOT_SYNCED = frozenset({Collection.IMPORTS, Collection.AUDIT, Collection.EVALUATIONS, Collection.IMPLEMENTATION})
_STREAMED = frozenset(Collection) - _NOT_SYNCED
"""What a stream carries; a service that takes it may read each."""
PAGE_BYTES_LEAST = 1_000
"""The smallest page a client may ask for."""
REFETCH_MAX = 5_000
"""Wishes of one pull."""


def check_syncing(principal: Principal) -> None:
    """Raise NOT_PERMITTED for whoever has no device to sync, or a role that does not."""
    if principal.kind is not PrincipalKind.STAFF or not principal.device_id or principal.role not in SYNCING_ROLES:
        raise Refused(Problem(Code.NOT_PERMITTED))


def check_streaming(principal: Principal) -> None:
    """Raise NOT_PERMITTED for whoever neither syncs nor is a service that may read everything it sees as a stream."""
    if principal.kind is not PrincipalKind.SERVICE:
        check_syncing(principal)
    elif BULK_RIGHT not in principal.rights or not all(principal.may(Action.READ, one) for one in _STREAMED):
        raise Refused(Problem(Code.NOT_PERMITTED))


async def answer_pull(
    engine: Engine,
    principal: Principal,
    request: PullRequest,
    *,
    secret: bytes,
    rows_max: int,
    bytes_max: int,
    retries_max: int,
    clock: Clock,
    schema_oldest: int = 1,
    sums: SumsKept | None = None,
    bucket_rows: int = BUCKET_ROWS,
    note_seconds: int = NOTE_SECONDS,
) -> Page:
    """One page for the caller's device. Raises what `pull` raises, OUT_OF_RANGE for a limit, DEVICE_REVOKED."""
    check_syncing(principal)
    problems = []
    if not 1 <= request.limit <= rows_max:
        problems.append(Problem(Code.OUT_OF_RANGE, ("limit",), ("1", str(rows_max))))
    if request.bytes_max is not None and not PAGE_BYTES_LEAST <= request.bytes_max <= bytes_max:
        problems.append(Problem(Code.OUT_OF_RANGE, ("bytesMax",), (str(PAGE_BYTES_LEAST), str(bytes_max))))
    if len(request.refetch) > REFETCH_MAX:
        problems.append(Problem(Code.TOO_MANY, ("refetch",), (str(REFETCH_MAX),)))
    refuse_if(problems)
    sums, now_ms = sums or SumsKept(), clock()
    page = await pull_at_once(
        engine,
        principal,
        request,
        secret=secret,
        bytes_max=bytes_max,
        sums=sums,
        bucket_rows=bucket_rows,
        device_at_ms=now_ms,
    )
    if page is None:
        async with engine.read() as conn:
            page = await pull(
                conn,
                principal,
                request,
                secret=secret,
                bytes_max=bytes_max,
                schema_oldest=schema_oldest,
                sums=sums,
                bucket_rows=bucket_rows,
                device_at_ms=now_ms,
            )
        sums.hold_scopes(principal.holder, page.held)
    assert page.device is not None
    await note_pull(
        engine,
        principal,
        page.device,
        base=page.base,
        schema_version=request.schema_version,
        clock=clock,
        retries_max=retries_max,
        note_seconds=note_seconds,
    )
    return page


async def answer_push(
    engine: Engine,
    principal: Principal,
    mutations: Sequence[Mutation],
    table: UseCaseTable,
    *,
    mutations_max: int,
    retries_max: int,
    clock: Clock,
    device_now_ms: int | None = None,
    schema_version: int = SCHEMA_VERSION,
    grace_days: int = GRACE_DAYS,
    clock_offset_days_max: int = CLOCK_OFFSET_DAYS_MAX,
) -> tuple[int, list[Answer]]:
    """(clock after it, one answer per mutation with the records written as they stand for the caller).

    Every older schema version may push. Raises what `push` raises, and UPGRADE_REQUIRED for a version this server
    does not know yet, before anything is taken: it would refuse for good what it cannot read.
    """
    check_syncing(principal)
    if not 1 <= schema_version <= SCHEMA_VERSION:
        raise Refused(Problem(Code.UPGRADE_REQUIRED, ("schemaVersion",), versions_served(1)))
    answers, work = await in_work(
        engine,
        principal,
        lambda work: push(
            work,
            mutations,
            table,
            mutations_max=mutations_max,
            device_now_ms=device_now_ms,
            grace_days=grace_days,
            clock_offset_days_max=clock_offset_days_max,
        ),
        clock=clock,
        retries_max=retries_max,
        door=Door.PUSH,
    )
    return work.seq, await read_answered(engine, principal, answers, version=schema_version)
