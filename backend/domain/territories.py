"""Territories: a tree of places, and which customer belongs where from when to when."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from backend.domain.fields import Field, Kind, Shape, enum_field, server_field
from backend.domain.times import DAY_MS, parse_zone
from backend.errors import Code, Problem, Refused


class TerritoryKind(StrEnum):
    """How large a node is; customers belong to patches."""

    REGION = "REGION"
    AREA = "AREA"
    PATCH = "PATCH"


class AssignmentSource(StrEnum):
    """What put a customer into a territory."""

    RULE = "RULE"
    HUMAN = "HUMAN"
    IMPORT = "IMPORT"


PATH_CHARACTERS_MAX = 300
DEPTH_MAX = 12
MOVES_MAX = 500
GRACE_DAYS = 14
"""How long work captured before a move is still accepted from the rep who had the customer."""

_STEP = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
_RANK: Mapping[str, int] = {kind.value: rank for rank, kind in enumerate(TerritoryKind)}


def parse_path(text: str) -> str:
    """A path like `/cn/east/sh-01`, at most 12 steps; raises INVALID_VALUE or TOO_LONG."""
    if len(text) > PATH_CHARACTERS_MAX:
        raise Refused(Problem(Code.TOO_LONG, allowed=(str(PATH_CHARACTERS_MAX),)))
    first, *steps = text.split("/")
    if first or not 1 <= len(steps) <= DEPTH_MAX or not all(_STEP.fullmatch(step) for step in steps):
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("/cn/east/sh-01",)))
    return text


def is_at_or_below(path: str, ancestor: str) -> bool:
    """True for the node itself and everything under it; `/cn/east` is not under `/cn/ea`."""
    return path == ancestor or path.startswith(f"{ancestor}/")


def parent_path(path: str) -> str | None:
    """The path one step up, None for the root."""
    return path.rpartition("/")[0] or None


TERRITORY = Shape(
    "territories",
    (
        Field("id", Kind.ID, nullable=False, fixed=True),
        Field("parentId", Kind.ID),
        Field("path", Kind.TEXT, nullable=False, limit=PATH_CHARACTERS_MAX, check=parse_path),
        enum_field("kind", TerritoryKind, nullable=False),
        Field("nameZh", Kind.TEXT, limit=120),
        Field("nameKo", Kind.TEXT, limit=120),
        Field("nameEn", Kind.TEXT, limit=120),
        Field("timezone", Kind.TEXT, nullable=False, limit=60, check=parse_zone),
        server_field("createdAt", Kind.TIMESTAMP),
    ),
    required=(("path",), ("kind",), ("nameZh", "nameKo", "nameEn"), ("timezone",)),
)


def place_problems(kind: str, path: str, parent: Mapping[str, object] | None) -> list[Problem]:
    """What is wrong with where a node hangs: its path continues its parent's, and a child is never larger."""
    if parent is None:
        return [] if parent_path(path) is None else [Problem(Code.INVALID_VALUE, ("path",))]
    problems = []
    if parent_path(path) != parent["path"]:
        problems.append(Problem(Code.INVALID_VALUE, ("path",), allowed=(f"{parent['path']}/…",)))
    if _RANK[kind] < _RANK[str(parent["kind"])] or parent["kind"] == TerritoryKind.PATCH:
        smaller = tuple(kind for kind, rank in _RANK.items() if rank >= _RANK[str(parent["kind"])])
        allowed = () if parent["kind"] == TerritoryKind.PATCH else smaller
        problems.append(
            Problem(Code.NOT_ALLOWED_VALUE, ("kind",), allowed=allowed, params={"enum": TerritoryKind.__name__})
        )
    return problems


@dataclass(frozen=True, slots=True)
class Assignment:
    """A customer in a territory during [valid_from_ms, valid_to_ms); open-ended when None."""

    customer_id: str
    territory_id: str
    valid_from_ms: int
    valid_to_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A customer to be given to a territory."""

    customer_id: str
    territory_id: str


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move writes: assignments ended and assignments begun, both at the same instant."""

    ended: tuple[Assignment, ...]
    begun: tuple[Assignment, ...]


def check_moves(
    moves: Sequence[Move],
    *,
    kinds: Mapping[str, str],
    current: Mapping[str, Assignment | None],
    at_ms: int,
) -> Moved:
    """What moving these customers at an instant writes; a customer already there is left alone.

    `kinds`: the territories the caller holds, id → kind; `current`: the customers the caller sees, id → open
    assignment or None. Raises, all at once: NOT_FOUND for what is not in them, NOT_ALLOWED_VALUE for a
    territory that is no patch, INVALID_VALUE for a customer named twice, OVERLAPPING_ASSIGNMENT when the open
    assignment begins at or after `at_ms`, TOO_MANY.
    """
    problems: list[Problem] = []
    if len(moves) > MOVES_MAX:
        problems.append(Problem(Code.TOO_MANY, ("moves",), allowed=(str(MOVES_MAX),)))
    seen: set[str] = set()
    for index, move in enumerate(moves):
        path = ("moves", str(index))
        if move.customer_id not in current:
            problems.append(Problem(Code.NOT_FOUND, (*path, "customerId")))
        elif (
            (held := current[move.customer_id]) is not None
            and held.territory_id != move.territory_id
            and held.valid_from_ms >= at_ms
        ):
            problems.append(Problem(Code.OVERLAPPING_ASSIGNMENT, (*path, "customerId")))
        if move.territory_id not in kinds:
            problems.append(Problem(Code.NOT_FOUND, (*path, "territoryId")))
        elif kinds[move.territory_id] != TerritoryKind.PATCH:
            problems.append(
                Problem(
                    Code.NOT_ALLOWED_VALUE,
                    (*path, "territoryId"),
                    allowed=(TerritoryKind.PATCH.value,),
                    params={"enum": TerritoryKind.__name__},
                )
            )
        if move.customer_id in seen:
            problems.append(Problem(Code.INVALID_VALUE, (*path, "customerId"), params={"reason": "twice"}))
        seen.add(move.customer_id)
    if problems:
        raise Refused(*problems)
    moving = [
        (move, held)
        for move in moves
        if (held := current[move.customer_id]) is None or held.territory_id != move.territory_id
    ]
    return Moved(
        ended=tuple(
            Assignment(held.customer_id, held.territory_id, held.valid_from_ms, at_ms)
            for _, held in moving
            if held is not None
        ),
        begun=tuple(Assignment(move.customer_id, move.territory_id, at_ms) for move, _ in moving),
    )


def in_grace(captured_at_ms: int, left_at_ms: int, now_ms: int, grace_days: int = GRACE_DAYS) -> bool:
    """True when work captured before a rep lost a customer is still accepted from him."""
    return captured_at_ms < left_at_ms and now_ms - left_at_ms <= grace_days * DAY_MS
