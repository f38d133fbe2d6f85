"""Judgements: where people know better than a priority, with a reason, for so long.

A rep says "not today, because…" (SKIP), a manager puts a customer at another priority (OVERRIDE). Both are kept, and
what came of them is reported. The computed score never changes: a judgement stands beside it and moves the customer
in the ranking only. *Source*: R28; `insight.md` §5.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from backend.domain.fields import Field, Kind, Shape, enum_field, server_field
from backend.domain.times import add_days
from backend.errors import Code, Problem

SINCE = 4
"""The schema version of documents that brought judgements."""
NOTE_CHARACTERS_MAX = 500
SCORE_MAX = 100
SKIP_DAYS_MAX = 30
"""A rep who wants a customer left alone for longer asks the manager."""
OVERRIDE_DAYS_MAX = 90
LATE_DAYS_MAX = 31
"""How long ago a judgement may have begun that arrives only now."""


class JudgementKind(StrEnum):
    """What is judged."""

    SKIP = "SKIP"
    """not today, by the one who would go"""
    OVERRIDE = "OVERRIDE"
    """another priority, by whoever answers for the territory"""


class JudgementReason(StrEnum):
    """Why. Which of them fit depends on the kind."""

    CLOSED_TODAY = "CLOSED_TODAY"
    CONTACT_AWAY = "CONTACT_AWAY"
    SPOKEN_ALREADY = "SPOKEN_ALREADY"
    ASKED_NOT_TO_COME = "ASKED_NOT_TO_COME"
    OUT_OF_THE_WAY = "OUT_OF_THE_WAY"
    NO_TIME = "NO_TIME"
    STRATEGIC = "STRATEGIC"
    NEW_NEED = "NEW_NEED"
    COMPETITOR = "COMPETITOR"
    RELATION = "RELATION"
    PAYMENT_RISK = "PAYMENT_RISK"
    CLOSING_DOWN = "CLOSING_DOWN"
    OTHER = "OTHER"
    """said in the note"""


_R = JudgementReason
REASONS: Mapping[str, tuple[str, ...]] = {
    JudgementKind.SKIP: (
        _R.CLOSED_TODAY,
        _R.CONTACT_AWAY,
        _R.SPOKEN_ALREADY,
        _R.ASKED_NOT_TO_COME,
        _R.OUT_OF_THE_WAY,
        _R.NO_TIME,
        _R.OTHER,
    ),
    JudgementKind.OVERRIDE: (
        _R.STRATEGIC,
        _R.NEW_NEED,
        _R.COMPETITOR,
        _R.RELATION,
        _R.PAYMENT_RISK,
        _R.CLOSING_DOWN,
        _R.OTHER,
    ),
}

JUDGEMENT = Shape(
    "judgements",
    (
        Field("id", Kind.ID, nullable=False, fixed=True),
        Field("customerId", Kind.ID, nullable=False, fixed=True),
        enum_field("kind", JudgementKind, nullable=False, fixed=True),
        enum_field("reason", JudgementReason, nullable=False, fixed=True),
        Field("note", Kind.TEXT, limit=NOTE_CHARACTERS_MAX, fixed=True, personal=True),
        Field("startsOn", Kind.DATE, fixed=True),
        Field("endsOn", Kind.DATE, fixed=True),
        Field("score", Kind.INT, least=0, most=SCORE_MAX, fixed=True),
        Field("points", Kind.INT, least=-SCORE_MAX, most=SCORE_MAX, fixed=True),
        Field("withdrawn", Kind.BOOL, nullable=False, default=False),
        server_field("withdrawnAt", Kind.TIMESTAMP),
        server_field("scoreBefore", Kind.INT),
        server_field("territoryId", Kind.ID),
        server_field("createdAt", Kind.TIMESTAMP),
        server_field("createdBy", Kind.TEXT),
        server_field("acceptedLateAt", Kind.TIMESTAMP),
    ),
    required=(("customerId",), ("kind",), ("reason",)),
)
"""`startsOn`, `endsOn`: local days at the customer, both counted; `score` or `points`: where an override puts it, or by
how much it moves it. `scoreBefore`: the priority as the latest run had it. All is said once; later it is only taken
back."""


def judgement_problems(judgement: Mapping[str, object], today: str) -> Iterable[Problem]:
    """What speaks against a judgement made on a local day, all at once. `startsOn` and `endsOn` must hold a day."""
    kind, reason = str(judgement["kind"]), str(judgement["reason"])
    if reason not in REASONS[kind]:
        yield Problem(Code.NOT_ALLOWED_VALUE, ("reason",), REASONS[kind], params={"enum": JudgementReason.__name__})
    if reason == JudgementReason.OTHER and judgement.get("note") is None:
        yield Problem(Code.REQUIRED, ("note",), ("note",))
    yield from _place_problems(kind, judgement)
    starts, ends = str(judgement["startsOn"]), str(judgement["endsOn"])
    if starts < add_days(today, -LATE_DAYS_MAX):
        yield Problem(Code.OUT_OF_RANGE, ("startsOn",), (add_days(today, -LATE_DAYS_MAX), ends))
    last = add_days(today, OVERRIDE_DAYS_MAX if kind == JudgementKind.OVERRIDE else SKIP_DAYS_MAX)
    if not starts <= ends <= last:
        yield Problem(Code.OUT_OF_RANGE, ("endsOn",), (starts, last))


def _place_problems(kind: str, judgement: Mapping[str, object]) -> Iterable[Problem]:
    given = [name for name in ("score", "points") if judgement.get(name) is not None]
    if kind == JudgementKind.SKIP:
        for name in given:
            yield Problem(Code.INVALID_VALUE, (name,), ("null",))
    elif not given:
        yield Problem(Code.REQUIRED, ("score",), ("score", "points"))
    elif len(given) > 1:
        yield Problem(Code.INVALID_VALUE, ("points",), ("score", "points"))


@dataclass(frozen=True, slots=True)
class Judgement:
    """One judgement as the ranking reads it. Exactly one of `score` and `points` holds a number for an override."""

    id: str
    customer_id: str
    kind: JudgementKind
    reason: JudgementReason
    note: str | None
    starts_on: str
    ends_on: str
    score: int | None
    points: int | None
    created_at_ms: int
    created_by: str
    withdrawn: bool = False

    def ranked_at(self, score: int) -> int:
        """Where the override puts a customer of a computed score, 0..100."""
        return self.score if self.score is not None else min(SCORE_MAX, max(0, score + (self.points or 0)))


@dataclass(frozen=True, slots=True)
class JudgedPlace:
    """Where judgements put a customer on one person's list of a day.

    `ranked_at`: 0..100, the computed score without an override; `skipped`: it ranks behind all others; `shown`: every
    judgement in force, the override that counts first.
    """

    ranked_at: int
    skipped: bool
    shown: tuple[Judgement, ...]


def judged_place(score: int, judgements: Sequence[Judgement], on: str, me: str | None) -> JudgedPlace:
    """The place of one customer, from its judgements. Of overrides in force the latest counts; a skip counts for
    whoever said it, `me`, and for others it is only shown."""
    standing = [one for one in judgements if not one.withdrawn and one.starts_on <= on <= one.ends_on]
    standing.sort(key=lambda one: (one.created_at_ms, one.id), reverse=True)
    overrides = [one for one in standing if one.kind is JudgementKind.OVERRIDE]
    skips = [one for one in standing if one.kind is JudgementKind.SKIP]
    return JudgedPlace(
        ranked_at=overrides[0].ranked_at(score) if overrides else score,
        skipped=me is not None and any(one.created_by == me for one in skips),
        shown=(*overrides[:1], *skips),
    )
