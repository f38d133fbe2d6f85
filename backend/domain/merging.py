"""One record of two: what the survivor takes over from the other one. Pure; which two is for people to say."""

from collections.abc import Collection, Iterable, Mapping

from backend.domain.consent import merge_consent
from backend.domain.contacts import CONTACT
from backend.domain.customers import CUSTOMER
from backend.domain.fields import Field, Kind, Merge, Shape
from backend.domain.merge import appended, union
from backend.domain.permissions import Collection as RightsOn
from backend.errors import Code, Problem

TOGETHER: tuple[tuple[str, ...], ...] = (("latE7", "lonE7"), ("creditLimitMinor", "currency"))
"""Fields that say something only side by side: they are taken over all or none."""
MERGEABLE: Mapping[str, Shape] = {"customers": CUSTOMER, "contacts": CONTACT}
MERGE_RIGHT_ON: Mapping[str, RightsOn] = {"customers": RightsOn.CUSTOMERS, "contacts": RightsOn.CONTACTS}
"""Collection → what its right to merge is given on."""


def survivor_changes(
    shape: Shape, survivor: Mapping[str, object], merged: Mapping[str, object], take: Collection[str] = ()
) -> dict[str, object]:
    """Field → new value of the survivor, only where it changes.

    Fields named in `take` become those of the merged record. Otherwise what the survivor has stands and what it
    lacks is filled; tags and consent are united, notes are written below each other as far as they fit, of two
    days since when one was a customer the earlier holds. Both records are in stored form.
    """
    wanted: dict[str, object] = {}
    for field in shape.client_fields:
        if field.fixed or field.name == "parentId":
            continue
        mine, theirs = survivor.get(field.name), merged.get(field.name)
        wanted[field.name] = theirs if field.name in take else _united(field, mine, theirs)
    for group in TOGETHER:
        if all(name in wanted for name in group) and not set(group) & set(take):
            empty = all(survivor.get(name) is None for name in group)
            wanted.update({name: (merged if empty else survivor).get(name) for name in group})
    return {name: value for name, value in wanted.items() if value != survivor.get(name)}


def _united(field: Field, mine: object, theirs: object) -> object:
    if theirs in (None, "", [], {}):
        return mine
    if field.name == "consentEvents":
        return merge_consent(_records(mine), _records(theirs))
    if field.merge is Merge.SET_UNION:
        return union(mine, theirs)
    if field.merge is Merge.APPEND_TEXT:
        return _fitting(appended(mine, theirs), field.limit)
    if field.name == "customerSince" and isinstance(mine, str) and isinstance(theirs, str):
        return min(mine, theirs)
    if field.name == "channels" and isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        return {**theirs, **mine}
    return theirs if mine in (None, "", [], {}) else mine


def _records(value: object) -> list[Mapping[str, object]]:
    return value if isinstance(value, list) else []


def _fitting(text: str | None, characters_max: int | None) -> str | None:
    return text if text is None or characters_max is None else text[:characters_max].rstrip()


def take_problems(shape: Shape, take: Iterable[str]) -> list[Problem]:
    """NOT_ALLOWED_VALUE for names that are no fields a merged record can give."""
    allowed = sorted(
        f.name for f in shape.client_fields if not f.fixed and f.name != "parentId" and f.kind is not Kind.RECORDS
    )
    return [
        Problem(Code.NOT_ALLOWED_VALUE, ("take", str(index)), tuple(allowed))
        for index, name in enumerate(take)
        if name not in allowed
    ]
