"""A predicate as somebody wrote it, in either of its two forms."""

from dataclasses import dataclass

from backend.domain.predicate_json import read_json
from backend.domain.predicate_text import read_text
from backend.domain.predicates import Predicate, PredicateLimits, Vocabulary
from backend.errors import Code, Problem, Refused


@dataclass(frozen=True, slots=True)
class Which:
    """One of the two forms; neither is everybody."""

    text: str | None = None
    document: object | None = None


def read_which(which: Which, vocabulary: Vocabulary, limits: PredicateLimits) -> Predicate | None:
    """The predicate, None for everybody.

    Raises `Refused` with every problem of the form given below `filter`; INVALID_VALUE where both forms are.
    """
    if which.text is not None and which.document is not None:
        raise Refused(Problem(Code.INVALID_VALUE, ("filter", "json"), ("text", "json")))
    try:
        if which.text is not None:
            return read_text(which.text, vocabulary, limits)
        return None if which.document is None else read_json(which.document, vocabulary, limits)
    except Refused as refused:
        form = "text" if which.text is not None else "json"
        raise Refused(*(problem.under("filter", form) for problem in refused.problems)) from None
