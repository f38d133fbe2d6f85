"""How a refusal looks to a client: every problem at once, in the reader's words."""

from collections.abc import Collection, Sequence

import strawberry

from backend.domain.messages import render_problem
from backend.domain.rates import retry_after_seconds
from backend.errors import Code, Refused, Retry
from backend.errors import Problem as FoundProblem
from backend.schema.context import Info
from backend.sync.counted import count_refused

LATER_SECONDS = 5
"""When to come again where nobody can know."""
PASSING = frozenset({Code.BUSY, Code.UNAVAILABLE, Code.STORAGE_FULL})
"""What passes without the caller's doing, some time."""

strawberry.enum(Retry, description="When sending the same again can help.")


@strawberry.type(description="One reason for a refusal.")
class Problem:
    code: str = strawberry.field(description="The code; `errors.md` lists them. More may be added.")
    message: str = strawberry.field(description="What is wrong and what to do next, in the reader's language.")
    path: list[str] = strawberry.field(description="The way to the value, down to the cell.")
    allowed: list[str] = strawberry.field(description="What would have been taken.")
    retry: Retry = strawberry.field(description="When sending it again can help.")


@strawberry.type(description="The request was understood and is refused; nothing of it was written.")
class Refusal:
    problems: list[Problem] = strawberry.field(description="All of its problems.")


def show_problems(info: Info, problems: Sequence[FoundProblem]) -> list[Problem]:
    """The problems in the words of whoever asks."""
    context = info.context
    return [
        Problem(
            code=problem.code.value,
            message=render_problem(context.messages, problem, context.locale),
            path=list(problem.path),
            allowed=list(problem.allowed),
            retry=problem.retry,
        )
        for problem in problems
    ]


def refuse(info: Info, refused: Refused) -> Refusal:
    """What a mutation answers instead of its payload. When to come again also stands in a header."""
    after_seconds = retry_after_seconds(refused) or later_seconds([problem.code for problem in refused.problems])
    info.context.retry_after_seconds = after_seconds or info.context.retry_after_seconds
    count_refused(refused.problems, "graphql")
    return Refusal(problems=show_problems(info, refused.problems))


def later_seconds(codes: Collection[str]) -> int | None:
    """When to come again with what was refused by these codes; None where waiting alone mends nothing."""
    return LATER_SECONDS if PASSING & set(codes) else None
