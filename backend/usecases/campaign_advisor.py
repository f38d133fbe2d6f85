"""Which activity worked before for customers of a segment, by what closed evaluations measured.

*Source*: R10, R24.
"""

import asyncio

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.campaign_advisor import ACTIVITIES, Pattern, ranked_patterns
from backend.domain.evaluations import EvaluationMetric, EvaluationState
from backend.domain.segments import SEGMENT_CODES
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Connection
from backend.storage.evaluations import read_evaluations, sees_evaluations


async def advise_campaign(
    conn: Connection,
    principal: Principal,
    settings: Settings,
    *,
    segment: str,
    metric: EvaluationMetric | None = None,
) -> tuple[Pattern, ...]:
    """Past activities of the evaluations the caller sees, the surest effect first; none where none is closed.

    Of the newest `advisor_evaluations_max` evaluations. Raises NOT_PERMITTED as the evaluations themselves, and
    NOT_ALLOWED_VALUE for a code that is none of the sixteen.
    """
    seen = sees_evaluations(principal, "e")
    if seen is None:
        raise Refused(Problem(Code.NOT_PERMITTED))
    if segment not in SEGMENT_CODES:
        raise Refused(Problem(Code.NOT_ALLOWED_VALUE, ("segment",), tuple(SEGMENT_CODES)))
    metrics = list(EvaluationMetric) if metric is None else [metric]
    found = await read_evaluations(
        conn,
        seen,
        where="e.state = ? AND e.subject_kind = ANY(?) AND e.metric = ANY(?)",
        args=[EvaluationState.CLOSED.value, [kind.value for kind in ACTIVITIES], [one.value for one in metrics]],
        first=settings.advisor_evaluations_max,
    )
    return await asyncio.to_thread(ranked_patterns, found, segment)
