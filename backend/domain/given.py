"""What somebody filled in, checked part by part with everything wrong collected, to be refused at once."""

from collections.abc import Sequence

from backend.domain.fields import parse_text
from backend.domain.times import add_days, parse_day
from backend.errors import Code, Problem, Refused, refuse_if


def checked_text(
    value: str | None, field: str, limit: int, problems: list[Problem], *, required: bool = True, breaks: bool = False
) -> str:
    """The trimmed text; what is wrong with it goes to `problems`. Empty where none is needed and none was given."""
    try:
        found = None if value is None else parse_text(value, limit=limit, breaks=breaks)
    except Refused as refused:
        problems += [problem.under(field) for problem in refused.problems]
        return ""
    if found is None and required:
        problems.append(Problem(Code.REQUIRED, (field,)))
    return found or ""


def check_range(value: float, least: float, most: float, field: str, problems: list[Problem]) -> None:
    """OUT_OF_RANGE unless `least` ≤ value ≤ `most`; NaN lies nowhere."""
    if not least <= value <= most:
        problems.append(Problem(Code.OUT_OF_RANGE, (field,), (f"{least:.0f}", f"{most:.0f}")))


def check_first(first: int, rows_max: int, *, least: int = 1) -> None:
    """How many rows somebody asks for: `least` to `rows_max`. Raises OUT_OF_RANGE under `first`."""
    problems: list[Problem] = []
    check_range(first, least, rows_max, "first", problems)
    refuse_if(problems)


def check_days(
    first: str, last: str, problems: list[Problem], *, least_days: int, most_days: int, names: Sequence[str]
) -> bool:
    """True for two real days that are `least_days` to `most_days` apart, both counted. `names`: of the two fields."""
    right = True
    for name, day in zip(names, (first, last), strict=True):
        try:
            parse_day(day)
        except Refused as refused:
            problems += [problem.under(name) for problem in refused.problems]
            right = False
    if not right:
        return False
    earliest, latest = add_days(first, least_days - 1), add_days(first, most_days - 1)
    if not earliest <= last <= latest:
        problems.append(Problem(Code.OUT_OF_RANGE, (names[1],), (earliest, latest)))
        return False
    return True


def checked_list(values: Sequence[str], field: str, most: int, limit: int, problems: list[Problem]) -> tuple[str, ...]:
    """Distinct trimmed texts in their order, at most `most` of at most `limit` characters each."""
    if len(values) > most:
        problems.append(Problem(Code.TOO_MANY, (field,), (str(most),)))
        return ()
    found = []
    for place, value in enumerate(values):
        own: list[Problem] = []
        found.append(checked_text(value, str(place), limit, own))
        problems += [problem.under(field) for problem in own]
    return tuple(dict.fromkeys(one for one in found if one))
