"""What to ask a customer next: the facts a score run found most telling, and the form and question that ask them."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from backend.auth.principal import Principal
from backend.domain.forms import Form, in_force
from backend.domain.questions import ANSWERED_BY, AskedBecause, AskedFact
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Connection, Engine
from backend.storage.forms import all_forms
from backend.storage.visibility import visible_to


@dataclass(frozen=True, slots=True)
class NextQuestion:
    """One fact to ask for. `form_id`, `question`: where it is asked, None while no form in force asks it.

    `low`, `high`: the segments the worst and the best answer would lead to.
    """

    fact: AskedFact
    because: AskedBecause
    low: str
    high: str
    form_id: str | None
    form_key: str | None
    question: str | None


async def next_questions(engine: Engine, principal: Principal, customer_id: str) -> list[NextQuestion]:
    """At most three, the most telling first; none for a customer no run has scored.

    Raises NOT_PERMITTED for who reads no scores, NOT_FOUND for a customer out of scope.
    """
    if not principal.reads("scores") or not principal.reads("customers"):
        raise Refused(Problem(Code.NOT_PERMITTED))
    visible, args = visible_to(principal, "customers", "t")
    async with engine.read() as conn:
        rows = await conn.fetch(
            "SELECT s.questions FROM customer t LEFT JOIN customer_score s ON s.customer_id = t.id"
            f" WHERE t.id = ? AND {visible}",
            customer_id,
            *args,
        )
        if not rows:
            raise Refused(Problem(Code.NOT_FOUND, ("customerId",)))
        asked = await _asked(conn)
    return [
        NextQuestion(
            AskedFact(one["measure"]),
            AskedBecause(one["because"]),
            one["low"],
            one["high"],
            *asked.get(AskedFact(one["measure"]), (None, None, None)),
        )
        for one in orjson.loads(rows[0][0] or "[]")
    ]


async def _asked(conn: Connection) -> dict[AskedFact, tuple[str | None, str | None, str | None]]:
    """Fact → (form, its key, question) of the first form in force that asks it."""
    forms = list(in_force(await all_forms(conn)).values())
    found = {fact: _question(fact, forms) for fact in AskedFact}
    return {fact: place for fact, place in found.items() if place is not None}


def _question(fact: AskedFact, forms: Sequence[Form]) -> tuple[str | None, str | None, str | None] | None:
    for measure in ANSWERED_BY[fact]:
        for form in forms:
            for question in form.questions:
                if question.measure is measure:
                    return form.id, form.key, question.key
    return None
