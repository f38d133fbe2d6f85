"""From exceptions to GraphQL errors: refusals keep their problems, the unexpected is masked and logged."""

from collections.abc import Sequence
from typing import Any

from graphql import GraphQLError

from backend.errors import OPERATOR, Code, Problem, Refused
from backend.ids import new_id
from backend.sync.counted import count_refused
from backend.telemetry import error_told, logger

_LOG = logger(__name__)


def problem_json(problem: Problem) -> dict[str, Any]:
    """A problem as it stands in `extensions.problems`."""
    return {
        "code": problem.code.value,
        "path": list(problem.path),
        "allowed": list(problem.allowed),
        "retry": problem.retry.value,
        "params": dict(problem.params),
    }


def refusal_extensions(refused: Refused) -> dict[str, Any]:
    count_refused(refused.problems, "graphql")
    return {
        "code": refused.problems[0].code.value,
        "problems": [problem_json(problem) for problem in refused.problems],
    }


def refusal_message(refused: Refused) -> str:
    """The operator's line of each problem with the place and what is allowed, one sentence each."""
    sentences = []
    for problem in refused.problems:
        where = f"{'.'.join(problem.path)}: " if problem.path else ""
        allowed = f" (allowed: {', '.join(problem.allowed)})" if problem.allowed else ""
        sentences.append(f"{where}{OPERATOR[problem.code]}{allowed}")
    return "; ".join(sentences)


def error_json(error: GraphQLError) -> dict[str, Any]:
    """One entry of `errors`, always with `extensions.code`."""
    original = error.original_error
    if isinstance(original, Refused):
        return _entry(error, refusal_message(original), refusal_extensions(original))
    if original is None or isinstance(original, GraphQLError):
        extensions = error.extensions or {}
        return _entry(error, error.message, {"code": Code.BAD_REQUEST.value, **extensions})
    error_id = new_id()
    _LOG.error(
        "unexpected failure",
        error_id=error_id,
        **error_told(original),
        where=".".join(str(step) for step in error.path or ()),
        code=Code.INTERNAL.value,
    )
    return _entry(error, OPERATOR[Code.INTERNAL], {"code": Code.INTERNAL.value, "id": error_id})


def errors_json(errors: Sequence[GraphQLError]) -> list[dict[str, Any]]:
    return [error_json(error) for error in errors]


def _entry(error: GraphQLError, message: str, extensions: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {"message": message}
    if error.locations:
        entry["locations"] = [{"line": location.line, "column": location.column} for location in error.locations]
    if error.path is not None:
        entry["path"] = error.path
    entry["extensions"] = extensions
    return entry
