"""Trying a predicate: who it chooses, in both its written forms, and what a predicate may say."""

from dataclasses import dataclass

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.customer_fields import customer_vocabulary
from backend.domain.given import check_range
from backend.domain.predicate_forms import Which, read_which
from backend.domain.predicate_json import write_json
from backend.domain.predicate_text import write_text
from backend.domain.predicates import PredicateField, Vocabulary
from backend.errors import Code, Problem, Refused
from backend.reads.entities.entity import readable
from backend.reads.entities.table import ENTITIES
from backend.reads.matching import matching_statement
from backend.reads.predicates import Moment, compares_orders, permitted, predicate_limits
from backend.storage.engine import Connection, Engine
from backend.storage.statistics import crowd_of
from backend.sync.custom import custom_fields_of


@dataclass(frozen=True, slots=True)
class Matching:
    """`text`, `document`: the predicate in both forms; `count`: whom it chooses, None where they are too few to be told
    to who reads sums only; `ids`: the first of them."""

    text: str
    document: dict[str, object]
    count: int | None
    ids: tuple[str, ...]


async def predicate_fields(engine: Engine, principal: Principal, settings: Settings) -> tuple[PredicateField, ...]:
    """What the caller's predicates may say of customers; raises NOT_PERMITTED."""
    async with engine.read() as conn:
        whole = await _vocabulary(conn, principal, settings)
    return tuple(permitted(whole, principal).fields.values())


async def matching_customers(
    engine: Engine, principal: Principal, which: Which, *, settings: Settings, as_of: str, today: str, first: int
) -> Matching:
    """Whom of the customers the caller sees a predicate chooses, as of a local day; the first of them by id.

    Raises `Refused` with every problem of the predicate, REQUIRED without one, OUT_OF_RANGE, IN_THE_FUTURE and
    NOT_PERMITTED.
    """
    problems: list[Problem] = []
    check_range(first, 0, settings.page_rows_max, "first", problems)
    if as_of > today:
        problems.append(Problem(Code.IN_THE_FUTURE, ("asOf",), (today,)))
    async with engine.read() as conn:
        whole = await _vocabulary(conn, principal, settings)
        predicate = None
        try:
            predicate = read_which(which, permitted(whole, principal), predicate_limits(settings))
            if predicate is None:
                problems.append(Problem(Code.REQUIRED, ("filter",), ("text", "json")))
        except Refused as refused:
            problems += refused.problems
        if problems or predicate is None:
            raise Refused(*problems)
        moment = Moment(as_of, (await crowd_of(conn, as_of)).zones, settings.reporting_currency)
        # one row more, as the number stands in a row
        sql, values = matching_statement(predicate, whole, principal, conn.dialect, moment, first=first + 1)
        rows = await conn.fetch(sql, *values)
    count = rows[0][0] if rows else 0
    told_of_orders = principal.only_counts_orders and compares_orders(predicate, whole)
    few = told_of_orders and 0 < count < settings.cube_group_customers_min
    ids = () if few else tuple(row[1] for row in rows[:first])
    return Matching(write_text(predicate, whole), write_json(predicate, whole), None if few else count, ids)


async def _vocabulary(conn: Connection, principal: Principal, settings: Settings) -> Vocabulary:
    if not readable(principal, ENTITIES["customers"]):
        raise Refused(Problem(Code.NOT_PERMITTED, ("customers",)))
    return customer_vocabulary(settings.reporting_currency).with_custom(await custom_fields_of(conn, "customers"))
