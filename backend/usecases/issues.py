"""Settling sync issues: the author, or whoever manages him, says what is to stand; every value stays readable.

What a decision writes goes through the use case any change goes through, with the rights of whoever decides, on the
revision he looked at: if the record has changed again since, it is a conflict again and not overwritten.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.domain.fields import INTEGER_MAX
from backend.domain.issues import SHAPES, IssueState, Resolution, WayOut, change_at, corrected, restored, shown_value
from backend.domain.merge import Conflict
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import is_id
from backend.sync.changes import Change, Intent, Outcome, Status, UseCase
from backend.sync.issues import Issue, close_issue, read_issue, refresh_issue
from backend.sync.kept import as_kept
from backend.sync.push import UseCaseTable
from backend.sync.work import Work

DECISION_FIELDS = ("choice", "value", "fields", "without", "recordRev")
WITHOUT_MAX = 100


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody wants done about an issue. `record_rev`: the revision of the record he looked at."""

    choice: WayOut
    value: Any = None
    fields: Mapping[str, Any] | None = None
    without: tuple[str, ...] = ()
    record_rev: int | None = None


class _Undone(Exception):
    """Takes a part back whose outcome was not what was asked for."""


def resolver(table: UseCaseTable) -> UseCase:
    """The use case that settles issues, writing through the use cases of `table`."""

    async def resolve_issues(work: Work, changes: Sequence[Change]) -> list[Outcome]:
        """One decision per issue. Refuses NOT_FOUND, ALREADY_RESOLVED, NOT_ALLOWED_VALUE for a way the issue does not
        have, and whatever the record's own use case refuses; CONFLICT when the record has changed again since."""
        return [await _resolve(work, change, table) for change in changes]

    return resolve_issues


async def _resolve(work: Work, change: Change, table: UseCaseTable) -> Outcome:
    try:
        decision = read_decision(change.fields)
        issue = await read_issue(work, change.id) if is_id(change.id) else None
        if issue is None:
            raise Refused(Problem(Code.NOT_FOUND, ("id",)))
        if issue.state != IssueState.OPEN:
            return _again(work, issue, decision)
        if decision.choice.value not in issue.ways_out:
            raise Refused(
                Problem(Code.NOT_ALLOWED_VALUE, ("choice",), issue.ways_out, {"enum": WayOut.__name__}),
            )
        return await _settle(work, change, issue, decision, table)
    except Refused as refused:
        return Outcome(change.id, Status.REFUSED, refused.problems)


def read_decision(given: Mapping[str, object]) -> Decision:
    """A decision as a client sends it; raises `Refused` with everything wrong with its form."""
    problems = [Problem(Code.UNKNOWN_FIELD, (name,)) for name in given if name not in DECISION_FIELDS]
    choice, fields, without = given.get("choice"), given.get("fields"), given.get("without")
    record_rev = given.get("recordRev")
    if choice is None:
        problems.append(Problem(Code.REQUIRED, ("choice",), ("choice",)))
    elif not isinstance(choice, str) or choice not in set(WayOut):
        allowed = tuple(way.value for way in WayOut)
        problems.append(Problem(Code.NOT_ALLOWED_VALUE, ("choice",), allowed, {"enum": WayOut.__name__}))
    if fields is not None and not isinstance(fields, Mapping):
        problems.append(Problem(Code.INVALID_VALUE, ("fields",), ("map",)))
    if without is not None and not (isinstance(without, list) and all(isinstance(name, str) for name in without)):
        problems.append(Problem(Code.INVALID_VALUE, ("without",), ("list",)))
    elif isinstance(without, list) and len(without) > WITHOUT_MAX:
        problems.append(Problem(Code.TOO_MANY, ("without",), (str(WITHOUT_MAX),)))
    if record_rev is not None and not _is_revision(record_rev):
        problems.append(Problem(Code.INVALID_VALUE, ("recordRev",), ("integer",)))
    refuse_if(problems)
    return Decision(
        WayOut(str(choice)),
        given.get("value"),
        fields if isinstance(fields, Mapping) else None,
        tuple(without) if isinstance(without, list) else (),
        record_rev if isinstance(record_rev, int) else None,
    )


def _is_revision(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= INTEGER_MAX


def _again(work: Work, issue: Issue, decision: Decision) -> Outcome:
    """The same decision by the same person is answered as before; any other is told that it came too late."""
    same = (
        issue.resolved_by == work.principal.holder
        and issue.resolution == decision.choice.value
        and (decision.choice is not WayOut.CUSTOM or issue.resolved_value == as_kept(decision.value))
    )
    if same:
        return Outcome(issue.id, Status.APPLIED)
    told = {"enum": Resolution.__name__, "name": issue.resolved_name or "", "resolution": issue.resolution or ""}
    raise Refused(Problem(Code.ALREADY_RESOLVED, ("choice",), params=told))


async def _settle(work: Work, change: Change, issue: Issue, decision: Decision, table: UseCaseTable) -> Outcome:
    resolution, value = Resolution(decision.choice.value), _value(issue, decision)
    if decision.choice in (WayOut.KEEP_THEIRS, WayOut.DISCARD, WayOut.ACCEPT):
        await close_issue(work, issue, resolution, issue.theirs if decision.choice is WayOut.KEEP_THEIRS else None)
        return Outcome(issue.id, Status.APPLIED)
    wish = _wish(change, issue, decision, value)
    use_case = table.get((issue.collection, wish.intent))
    if use_case is None:
        raise Refused(Problem(Code.NOT_ALLOWED_VALUE, ("choice",), (WayOut.DISCARD.value,)))
    outcome = await _written(work, use_case, wish, whole=decision.choice is WayOut.CHANGE_AND_SEND_AGAIN)
    if outcome.status is Status.REFUSED:
        raise Refused(*outcome.problems)
    if outcome.status is Status.CONFLICT and decision.choice is not WayOut.CHANGE_AND_SEND_AGAIN:
        await _conflict_again(work, issue, decision, outcome.conflicts[0])
        return Outcome(issue.id, Status.CONFLICT, conflicts=outcome.conflicts)
    await close_issue(work, issue, resolution, value)
    return Outcome(issue.id, outcome.status, conflicts=outcome.conflicts)


async def _written(work: Work, use_case: UseCase, wish: Change, *, whole: bool) -> Outcome:
    """The outcome of one change. What was refused leaves nothing behind, and a conflict neither unless `whole`: it is
    the same issue still, not a new one."""
    outcomes: list[Outcome] = []
    try:
        async with work.part():
            outcomes = await use_case(work, [wish])
            if outcomes[0].status is Status.REFUSED or (outcomes[0].status is Status.CONFLICT and not whole):
                raise _Undone
    except _Undone:
        pass
    return outcomes[0]


def _value(issue: Issue, decision: Decision) -> Any:
    """What is to be written: a value at the issue's path, or the fields of a whole change."""
    shape = SHAPES.get(issue.collection)
    if decision.choice is WayOut.CUSTOM:
        return decision.value
    if decision.choice is WayOut.KEEP_MINE and shape is not None and issue.path is not None:
        return restored(shape, issue.path, issue.base, issue.mine)
    if decision.choice is WayOut.CHANGE_AND_SEND_AGAIN and shape is not None and isinstance(issue.mine, Mapping):
        return corrected(shape, issue.mine, decision.fields or {}, decision.without)
    return issue.mine


def _wish(change: Change, issue: Issue, decision: Decision, value: Any) -> Change:
    """The change a decision comes to."""
    shape = SHAPES.get(issue.collection)
    if decision.choice is not WayOut.CHANGE_AND_SEND_AGAIN:
        if shape is None or issue.path is None:
            raise Refused(Problem(Code.NOT_ALLOWED_VALUE, ("choice",), (WayOut.KEEP_THEIRS.value,)))
        rev = decision.record_rev if decision.record_rev is not None else issue.theirs_rev
        fields = change_at(shape, issue.path, value)
        base = {issue.path: issue.theirs}
        return Change(issue.record_id, Intent.PATCH, fields, rev, change.captured_at_ms, change.mutation_id, base)
    intent = Intent(issue.intent) if issue.intent in set(Intent) else Intent.PATCH
    rev = decision.record_rev if decision.record_rev is not None else issue.base_rev
    return Change(
        issue.record_id,
        intent,
        value if isinstance(value, Mapping) and intent is not Intent.DELETE else {},
        None if intent is Intent.CREATE else rev,
        change.captured_at_ms,
        change.mutation_id,
    )


async def _conflict_again(work: Work, issue: Issue, decision: Decision, conflict: Conflict) -> None:
    """The issue stays open and says what stands now; what was just tried is kept with it."""
    shape = SHAPES[issue.collection]
    sent = {"choice": decision.choice.value, **({"value": decision.value} if decision.choice is WayOut.CUSTOM else {})}
    await refresh_issue(
        work,
        issue,
        theirs=shown_value(shape, conflict.path, conflict.theirs),
        writer=conflict.theirs_by,
        theirs_rev=conflict.theirs_seq,
        entry={"sent": sent},
    )
