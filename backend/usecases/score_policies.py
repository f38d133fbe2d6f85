"""Drafting and publishing the score policy, and where segments went under it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.given import check_first
from backend.domain.permissions import Action, Collection
from backend.domain.score_policy import (
    NOTE_CHARACTERS_MAX,
    POLICIES_MAX,
    PolicyState,
    PolicyWish,
    ScorePolicy,
    policy_of,
    revised,
)
from backend.domain.segment_moves import Move, fallen_axes, is_alarm, migration
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import new_id
from backend.storage.engine import Engine
from backend.storage.holding import held_customers
from backend.storage.score_policies import (
    COLUMNS,
    read_moved_and_others,
    read_moves,
    read_policies,
    read_policy_in_force,
)
from backend.sync.documents import canonical
from backend.sync.work import Work

AUDITED = "scorePolicies"


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One version as it is kept; moments in milliseconds. `in_force`: runs from now on score by it."""

    id: str
    policy: ScorePolicy
    state: PolicyState
    note: str | None
    drafted_at_ms: int
    drafted_by: str
    published_at_ms: int | None
    published_by: str | None
    in_force: bool


@dataclass(frozen=True, slots=True)
class Alarm:
    """A move somebody should look at. `fallen`: axes that went from high to low."""

    move: Move
    fallen: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AlarmList:
    """The first of them, the newest day first, and how many there are in all."""

    items: tuple[Alarm, ...]
    total: int


async def draft_policy(work: Work, wish: PolicyWish, note: str | None) -> str:
    """Draft a version from the one in force; returns its id.

    For those who may score or publish. Raises NOT_PERMITTED, and everything that is wrong with the wish at once.
    """
    may = work.principal.may
    if not (may(Action.SCORE, Collection.SCORES) or may(Action.PUBLISH, Collection.SCORES)):
        raise Refused(Problem(Code.NOT_PERMITTED))
    # one at a time: versions are counted
    await work.conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
    [taken] = await work.conn.fetch("SELECT COUNT(*), COALESCE(MAX(number), 0) FROM score_policy")
    policy, problems = revised(await read_policy_in_force(work.conn), wish, taken[1] + 1)
    if note is not None and len(note) > NOTE_CHARACTERS_MAX:
        problems.append(Problem(Code.TOO_LONG, ("note",), (str(NOTE_CHARACTERS_MAX),)))
    if taken[0] >= POLICIES_MAX:
        problems.append(Problem(Code.TOO_MANY, ("scorePolicies",), (str(POLICIES_MAX),)))
    refuse_if(problems)
    policy_id = new_id()
    await work.conn.execute(
        "INSERT INTO score_policy (id, number, state, document, note, drafted_at, drafted_by)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        policy_id,
        policy.number,
        PolicyState.DRAFT.value,
        canonical(policy.document()).decode(),
        note,
        work.now_ms,
        work.principal.actor,
    )
    work.audit("CREATE", AUDITED, policy_id)
    return policy_id


async def publish_policy(work: Work, policy_id: str) -> None:
    """Put a version into force from the next run on; one published before may be put into force again.

    For admins. Raises NOT_PERMITTED and NOT_FOUND.
    """
    if not work.principal.may(Action.PUBLISH, Collection.SCORES):
        raise Refused(Problem(Code.NOT_PERMITTED))
    changed = await work.conn.fetch(
        "UPDATE score_policy SET state = ?, published_at = ?, published_by = ? WHERE id = ? RETURNING id",
        PolicyState.PUBLISHED.value,
        work.now_ms,
        work.principal.actor,
        policy_id,
    )
    if not changed:
        raise Refused(Problem(Code.NOT_FOUND, ("id",)))
    work.audit("UPDATE", AUDITED, policy_id)


async def list_policies(
    engine: Engine, principal: Principal, *, settings: Settings, first: int
) -> tuple[PolicyVersion, ...]:
    """The newest versions, and last the product's own when it is in force or asked for."""
    _check_reading(principal, settings, first)
    async with engine.read() as conn:
        rows = await read_policies(conn, first)
        in_force = await read_policy_in_force(conn)
    versions = tuple(_version(row, in_force.number) for row in rows)
    if len(versions) == first:
        return versions
    own = PolicyVersion("", ScorePolicy(), PolicyState.PUBLISHED, None, 0, "", None, None, in_force.number == 0)
    return (*versions, own)


async def segment_migration(
    engine: Engine,
    principal: Principal,
    *,
    first_day: str,
    last_day: str,
    today: str,
    territory_id: str | None = None,
) -> tuple[tuple[int, ...], ...]:
    """(17, 17) customers by segment at the end of two days, in the order of `SEGMENT_CODES`. R52.

    Raises NOT_PERMITTED, OUT_OF_RANGE (the second day before the first), IN_THE_FUTURE, NOT_FOUND (territory).
    """
    if not principal.reads("scores"):
        raise Refused(Problem(Code.NOT_PERMITTED))
    if last_day > today:
        raise Refused(Problem(Code.IN_THE_FUTURE, ("until",)))
    if last_day < first_day:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("until",), ("from", today)))
    async with engine.read() as conn:
        where, args = await held_customers(conn, principal, territory_id)
        moves = await read_moves(conn, where, args, first_day)
        scored, others = await read_moved_and_others(conn, where, args, first_day)
    return migration(moves, scored, others, last_day)


async def segment_alarms(
    engine: Engine,
    principal: Principal,
    *,
    settings: Settings,
    since: str,
    first: int,
    territory_id: str | None = None,
) -> AlarmList:
    """Moves after a day that somebody should look at: an axis fell, or a severe complaint did it. R52.

    Raises NOT_PERMITTED, OUT_OF_RANGE and NOT_FOUND (territory).
    """
    _check_reading(principal, settings, first)
    async with engine.read() as conn:
        where, args = await held_customers(conn, principal, territory_id)
        moves = await read_moves(conn, where, args, since)
    found = sorted((move for move in moves if is_alarm(move)), key=lambda move: move.on_day, reverse=True)
    items = tuple(Alarm(move, fallen_axes(move.from_segment, move.to_segment)) for move in found[:first])
    return AlarmList(items, len(found))


def _check_reading(principal: Principal, settings: Settings, first: int) -> None:
    if not principal.reads("scores"):
        raise Refused(Problem(Code.NOT_PERMITTED))
    check_first(first, settings.page_rows_max)


def _version(row: Sequence[Any], in_force: int) -> PolicyVersion:
    found = dict(zip(COLUMNS.split(", "), row, strict=True))
    return PolicyVersion(
        id=found["id"],
        policy=policy_of(found["number"], orjson.loads(found["document"])),
        state=PolicyState(found["state"]),
        note=found["note"],
        drafted_at_ms=found["drafted_at"],
        drafted_by=found["drafted_by"],
        published_at_ms=found["published_at"],
        published_by=found["published_by"],
        in_force=found["number"] == in_force,
    )
