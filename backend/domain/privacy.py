"""Whose data is whose: what of a person goes when the person is erased, and what stays because the law wants it.

A contact goes whole. A consumer is a customer with orders, which books must keep for years, so the customer stays
without anything that tells who it was: what may stay is named here, and whatever is not named goes, a field that is
added tomorrow too. Source: promises.md §1, R49.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from backend.domain.customers import CUSTOMER, derived_fields
from backend.domain.fields import with_defaults
from backend.domain.permissions import MASKED, Action, Collection, Reach, Role, reach


class ErasureReason(StrEnum):
    """Why a person's data is erased. No free text: that would be about the person again."""

    REQUEST = "REQUEST"
    """the person asked for it"""
    CONSENT_WITHDRAWN = "CONSENT_WITHDRAWN"
    PURPOSE_ENDED = "PURPOSE_ENDED"
    """what the data was kept for is over"""
    UNLAWFUL = "UNLAWFUL"
    """there was never a ground to keep it"""


ERASED_NAMES: Mapping[str, str] = {"nameZh": "已删除的个人", "nameKo": "삭제된 개인", "nameEn": "Erased person"}
"""What an erased consumer is called from then on."""
ERASED_COLLEAGUE = "Former colleague"
ERASED_TEXT = "•••"
"""In place of a text that may not be empty, and of a name in somebody else's text."""

KEPT_OF_CUSTOMER: frozenset[str] = frozenset(
    {
        "id",
        "kind",
        "stage",
        "parentId",
        "country",
        "province",
        "city",
        "timezone",
        "geofenceM",
        "creditLimitMinor",
        "currency",
        "termsDays",
        "priceListId",
        "cadenceDays",
        "customerSince",
    }
)
"""Client fields of a consumer that tell nobody who it was: trade terms, and the place no closer than the city."""

TEXTS_OF_CHILDREN: Mapping[str, tuple[str, ...]] = {
    "visits": ("nextStep", "notes"),
    "orders": ("poNumber", "rejectReason", "notes"),
    "tasks": ("title", "notes"),
    "answers": (),
    "cases": ("subject", "notes", "resolution"),
    "judgements": ("note",),
}
"""Collection → free texts in what hangs on a consumer; they are about that person and go."""
MAPS_OF_CHILDREN: tuple[str, ...] = ("custom", "values")
"""Whatever an organisation asks for by fields and forms of its own: about the person too. What an answer measures is a
number beside it, and stays."""
NEVER_EMPTY = frozenset({"title", "rejectReason", "subject"})
"""Of these the ones a record cannot do without: struck out, not emptied."""
POSITIONS_OF_VISIT: tuple[str, ...] = (
    "checkInLatE7",
    "checkInLonE7",
    "checkInAccuracyM",
    "checkInFixAgeS",
    "checkOutLatE7",
    "checkOutLonE7",
)
"""Where a visit was made. At a consumer's that is where the person lives."""

TEXTS_SEARCHED: Mapping[str, tuple[str, ...]] = {
    "customers": ("notes",),
    "contacts": ("notes",),
    **TEXTS_OF_CHILDREN,
    "attachments": ("fileName", "caption"),
}
"""Collection → free texts in which somebody may have named a person who is somebody else's contact."""
TERM_CHARACTERS_MIN = 2
"""A single character names nobody."""


def erased_customer(stands: Mapping[str, object]) -> dict[str, object]:
    """The fields of an erased consumer that change: document name → value in stored form.

    `stands` needs `kind` and what is kept of it.
    """
    kept = {name: value for name, value in stands.items() if name in KEPT_OF_CUSTOMER}
    neutral = {n: v for n, v in with_defaults(CUSTOMER, {}).items() if n not in KEPT_OF_CUSTOMER}
    neutral.update(ERASED_NAMES)
    return neutral | derived_fields({**kept, **neutral})


def terms_of(person: Mapping[str, object]) -> tuple[str, ...]:
    """What a text would name the person by: names, telephone number, e-mail and other addresses, longest first."""
    channels = person.get("channels")
    addresses: Iterable[object] = channels.values() if isinstance(channels, Mapping) else ()
    given = (*(person.get(name) for name in (*ERASED_NAMES, "phone", "email")), *addresses)
    found = {one.strip() for one in given if isinstance(one, str) and len(one.strip()) >= TERM_CHARACTERS_MIN}
    return tuple(sorted(found - set(ERASED_NAMES.values()), key=lambda term: (-len(term), term)))


def telling_terms(person: Mapping[str, object]) -> tuple[str, ...]:
    """Of these what belongs to one person alone: numbers and addresses, no names, which others may bear too."""
    names = {person.get(name) for name in ERASED_NAMES}
    return tuple(term for term in terms_of(person) if term not in names)


def without_terms(text: str, terms: Iterable[str]) -> str:
    """The text with the terms struck out."""
    for term in terms:
        text = text.replace(term, ERASED_TEXT)
    return text


CHANNEL_FIELDS: frozenset[str] = frozenset({"phone", "email", "channels", "birthDate"})
"""By which a person is reached or known; reading them of many people is noted."""


class SecurityEventKind(StrEnum):
    """What an admin should look at."""

    UNUSUAL_PULL = "UNUSUAL_PULL"
    """a device was given far more rows in a day than its scopes hold"""


def is_watched(role: Role | None) -> bool:
    """True for whoever reads contacts of every territory in clear: what they read of many people at once is noted.

    `role` is None for another system. A rep's reading of his own territory is his work, and masked roles read nobody.
    """
    return role is None or (role not in MASKED and reach(role, Action.READ, Collection.CONTACTS) is Reach.ALL)


def unusual_rows(rows_in_scope: int, *, times: int, rows_min: int) -> int:
    """Beyond how many rows a day a device's pulls are unusual: several times what there is, and never few.

    A first sync is once what there is; an app that starts over twice more on one day is still let be with `times` 3.
    """
    return max(rows_min, times * rows_in_scope)
