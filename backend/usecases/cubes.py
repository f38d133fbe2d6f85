"""Asking for a cube: the question judged with who asks, one statement, and what of the answer may be told."""

from dataclasses import dataclass, replace

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.cube import (
    Cell,
    CellState,
    CubeDimension,
    CubeWish,
    Group,
    cells,
    cube_problems,
    refuse_too_many,
    suppressed,
)
from backend.domain.customer_fields import customer_vocabulary
from backend.domain.predicate_forms import Which, read_which
from backend.domain.predicates import Predicate, Vocabulary
from backend.domain.sources import Source, SourceUsed
from backend.errors import Code, Problem, Refused
from backend.reads.cube import cube_statement, in_order
from backend.reads.entities.entity import readable
from backend.reads.entities.table import ENTITIES
from backend.reads.predicates import Moment, compares_orders, permitted, predicate_limits
from backend.storage.engine import Connection, Engine
from backend.storage.statistics import crowd_of
from backend.sync.custom import custom_fields_of


@dataclass(frozen=True, slots=True)
class CubeGroup:
    """One row of the answer. `currency`: of its amounts."""

    level: int
    keys: tuple[str | None, ...]
    currency: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class CubeFound:
    """A cube's answer. `suppressed_n`: groups of which nothing is told; `suppressed_below`: because they stand for
    fewer customers, None where the caller may read everything one by one."""

    as_of: str
    since: str | None
    groups: tuple[CubeGroup, ...]
    suppressed_n: int
    suppressed_below: int | None
    sources: tuple[SourceUsed, ...]


async def customer_cube(
    engine: Engine,
    principal: Principal,
    wish: CubeWish,
    which: Which,
    *,
    settings: Settings,
    as_of: str,
    today: str,
    since: str | None = None,
) -> CubeFound:
    """Answer a cube over the customers the caller sees, as of a local day; orders and visits from `since` on.

    Raises `Refused` with everything wrong at once: NOT_PERMITTED (a field, dimension or measure the role may not read),
    UNKNOWN_FIELD and the other codes of predicates, TOO_MANY (dimensions, or groups), IN_THE_FUTURE, OUT_OF_RANGE and
    CURRENCY_MIXED (totals over several currencies).
    """
    if not readable(principal, ENTITIES["customers"]):
        raise Refused(Problem(Code.NOT_PERMITTED, ("customers",)))
    async with engine.read() as conn:
        defined = await custom_fields_of(conn, "customers")
        whole = customer_vocabulary(settings.reporting_currency).with_custom(defined)
        vocabulary = permitted(whole, principal)
        problems = cube_problems(
            wish,
            defined=defined,
            masked=principal.masked,
            may=lambda name: principal.counts_orders if name == "orders" else readable(principal, ENTITIES[name]),
            allowed=vocabulary.fields,
        )
        if as_of > today:
            problems.append(Problem(Code.IN_THE_FUTURE, ("asOf",), (today,)))
        if since is not None and since > as_of:
            problems.append(Problem(Code.OUT_OF_RANGE, ("since",), ("", as_of)))
        predicate = None
        try:
            predicate = read_which(which, vocabulary, predicate_limits(settings))
        except Refused as refused:
            problems += refused.problems
        if problems:
            raise Refused(*problems)
        return await _answer(conn, principal, wish, predicate, whole, settings, as_of, since)


async def _answer(
    conn: Connection,
    principal: Principal,
    wish: CubeWish,
    predicate: Predicate | None,
    vocabulary: Vocabulary,
    settings: Settings,
    as_of: str,
    since: str | None,
) -> CubeFound:
    groups_max = min(settings.cube_groups_max, settings.cube_cells_max // len(wish.measures))
    moment = Moment(as_of, (await crowd_of(conn, as_of)).zones, settings.reporting_currency)
    statement = cube_statement(
        wish, predicate, vocabulary, principal, conn.dialect, moment, since=since, groups_max=groups_max
    )
    rows = await conn.fetch(statement.sql, *statement.values)
    refuse_too_many(len(rows), groups_max)
    groups = in_order([statement.group(row) for row in rows])
    told_of_orders = wish.asks_orders or (predicate is not None and compares_orders(predicate, vocabulary))
    least_n = settings.cube_group_customers_min if told_of_orders and principal.only_counts_orders else None
    gone = frozenset() if least_n is None else suppressed(groups, least_n)
    orders = [statement.orders_of(row) for row in rows if row[0] == len(wish.sides)]
    return CubeFound(
        as_of=as_of,
        since=since,
        groups=tuple(_told(wish, group, settings, hidden=(group.level, group.keys) in gone) for group in groups),
        suppressed_n=sum((group.level, group.keys) in gone for group in groups),
        suppressed_below=least_n,
        sources=_sources(wish, orders),
    )


def _told(wish: CubeWish, group: Group, settings: Settings, *, hidden: bool) -> CubeGroup:
    found = cells(group, wish.measures)
    if hidden:
        found = tuple(replace(cell, state=CellState.SUPPRESSED, value=None, n=None) for cell in found)
    currency = settings.reporting_currency
    for side, key in zip(wish.sides, group.keys, strict=False):
        if side.dimension is CubeDimension.CURRENCY and key is not None:
            currency = key
    return CubeGroup(group.level, group.keys, currency, found)


def _sources(wish: CubeWish, orders: list[tuple[int, str | None, str | None]]) -> tuple[SourceUsed, ...]:
    """What the figures stand on; sources that nobody keeps are named as such."""
    found: list[SourceUsed] = []
    if wish.asks_orders:
        count = sum(one for one, _, _ in orders)
        first = min((day for _, day, _ in orders if day), default=None)
        last = max((day for _, _, day in orders if day), default=None)
        found.append(SourceUsed(Source.ORDERS, recorded=count > 0, first_day=first, last_day=last, rows_n=count))
    missing = {"MARGIN": Source.COSTS, "RETURNS": Source.RETURNS}
    return (*found, *(SourceUsed(missing[one.value], recorded=False) for one in wish.measures if one.value in missing))
