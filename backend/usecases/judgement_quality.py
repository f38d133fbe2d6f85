"""Whether skips and overrides were right: how often the judged customers ordered beside comparable ones."""

import asyncio
from dataclasses import dataclass

from backend.auth.principal import Principal
from backend.domain.judgement_quality import JudgementFigures, compare, figures_by
from backend.domain.permissions import Action, Collection
from backend.domain.times import add_days, days_between
from backend.errors import Code, Problem, Refused, refuse_if
from backend.storage.engine import Engine
from backend.storage.holding import held_customers
from backend.storage.judgements import JudgedPast, read_judged_past
from backend.storage.statistics import Heads, crowd_of, read_heads

PERIOD_DAYS_MAX = 366
WITHIN_DAYS_MAX = 180


@dataclass(frozen=True, slots=True)
class JudgementQuality:
    """By kind, by kind and reason, and by kind and person; the last is None for who may not know.

    `open_n`: judgements of which it is too early to tell; `withdrawn_n`: taken back, in no figure.
    """

    by_kind: list[tuple[str, JudgementFigures]]
    by_reason: list[tuple[tuple[str, str], JudgementFigures]]
    by_person: list[tuple[tuple[str, str], JudgementFigures]] | None
    open_n: int
    withdrawn_n: int


async def judgement_quality(
    engine: Engine,
    principal: Principal,
    *,
    today: str,
    first_day: str,
    last_day: str,
    within_days: int,
    territory_id: str | None,
) -> JudgementQuality:
    """What came of the judgements that began in a period, of the customers the caller works for.

    People are named to those who may override, so to managers of their subtree. Raises NOT_PERMITTED, NOT_FOUND (a
    territory), OUT_OF_RANGE (all at once) and TOO_MANY.
    """
    if not principal.may(Action.AGGREGATE, Collection.JUDGEMENTS):
        raise Refused(Problem(Code.NOT_PERMITTED))
    refuse_if(_problems(today, first_day, last_day, within_days))
    async with engine.read() as conn:
        where, args = await held_customers(conn, principal, territory_id)
        crowd = await crowd_of(conn, today, where, args)
        heads = await read_heads(conn, crowd)
        past = await read_judged_past(
            conn, crowd, len(heads.ids), first_day=first_day, last_day=last_day, days=within_days
        )
    named = principal.may(Action.OVERRIDE, Collection.SCORES)
    return await asyncio.to_thread(_report, past, heads, within_days, named=named)


def _problems(today: str, first_day: str, last_day: str, within_days: int) -> list[Problem]:
    found = []
    if not first_day <= last_day <= today or days_between(first_day, last_day) >= PERIOD_DAYS_MAX:
        last = min(today, add_days(first_day, PERIOD_DAYS_MAX - 1))
        found.append(Problem(Code.OUT_OF_RANGE, ("until",), (first_day, max(first_day, last))))
    if not 1 <= within_days <= WITHIN_DAYS_MAX:
        found.append(Problem(Code.OUT_OF_RANGE, ("withinDays",), ("1", str(WITHIN_DAYS_MAX))))
    return found


def _report(past: JudgedPast, heads: Heads, within_days: int, *, named: bool) -> JudgementQuality:
    found = compare(past.judged, past.orders, heads.kind, past.ever_judged, within_days)
    return JudgementQuality(
        by_kind=figures_by(found, [kind for kind, _, _ in past.keys]),
        by_reason=figures_by(found, [(kind, reason) for kind, reason, _ in past.keys]),
        by_person=figures_by(found, [(kind, who) for kind, _, who in past.keys]) if named else None,
        open_n=past.open_n,
        withdrawn_n=past.withdrawn_n,
    )
