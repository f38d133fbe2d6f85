"""Customers: the seven kinds of party traded with (R46), their fields, and what is still unknown (R18)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum

from backend.domain.addresses import (
    LAT_E7_MAX,
    LON_E7_MAX,
    parse_country,
    parse_email,
    parse_phone,
    parse_postcode,
    parse_tax_id,
    postcode_problem,
)
from backend.domain.custom import custom_values
from backend.domain.fields import (
    Field,
    Kind,
    Merge,
    Shape,
    enum_field,
    server_field,
    together,
)
from backend.domain.money import parse_currency
from backend.domain.names import search_keys, sort_key
from backend.domain.times import parse_zone
from backend.errors import Code, Problem, Refused


class CustomerKind(StrEnum):
    """What a customer is to the company."""

    CONSUMER = "CONSUMER"
    CORPORATE_GROUP = "CORPORATE_GROUP"
    RETAILER = "RETAILER"
    CHAIN = "CHAIN"
    DISTRIBUTOR = "DISTRIBUTOR"
    MARKETPLACE = "MARKETPLACE"
    FABRIC_SUPPLIER = "FABRIC_SUPPLIER"


class LifecycleStage(StrEnum):
    """How far a customer is on the way (R16)."""

    PROSPECT = "PROSPECT"
    NEW = "NEW"
    GROWING = "GROWING"
    MATURE = "MATURE"
    DECLINING = "DECLINING"
    DORMANT = "DORMANT"
    LOST = "LOST"
    WON_BACK = "WON_BACK"


class Weekday(StrEnum):
    """Days of opening hours."""

    MON = "MON"
    TUE = "TUE"
    WED = "WED"
    THU = "THU"
    FRI = "FRI"
    SAT = "SAT"
    SUN = "SUN"


GEOFENCE_M_DEFAULT = 150
GEOFENCE_M_MIN, GEOFENCE_M_MAX = 20, 5_000
NAME_CHARACTERS_MAX = 200
TAGS_MAX = 50
NOTES_CHARACTERS_MAX = 8_000

_SPAN = re.compile(r"([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)", re.ASCII)


def parse_hours(text: str) -> str:
    """Opening spans of one day, `09:00-12:30,14:00-21:00`, each ending after it begins and before the next.

    A day left out is closed. Raises INVALID_VALUE.
    """
    spans = text.replace(" ", "").split(",")
    bounds = [bound for span in spans for bound in span.split("-")]
    if not all(_SPAN.fullmatch(span) for span in spans) or sorted(set(bounds)) != bounds:
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("09:00-12:30,14:00-21:00",)))
    return ",".join(spans)


def _credit_has_currency(record: Mapping[str, object]) -> Iterable[Problem]:
    if record.get("creditLimitMinor") is not None and record.get("currency", "absent") is None:
        yield Problem(Code.REQUIRED, ("currency",), allowed=("currency",))


def _postcode_fits_country(record: Mapping[str, object]) -> Iterable[Problem]:
    country, postcode = record.get("country"), record.get("postcode")
    if isinstance(country, str) and isinstance(postcode, str):
        problem = postcode_problem(country, postcode)
        if problem is not None:
            yield problem


def _not_its_own_parent(record: Mapping[str, object]) -> Iterable[Problem]:
    if record.get("parentId") is not None and record.get("parentId") == record.get("id"):
        yield Problem(Code.INVALID_VALUE, ("parentId",))


CUSTOMER = Shape(
    "customers",
    (
        Field("id", Kind.ID, nullable=False, fixed=True),
        Field("code", Kind.TEXT, limit=60),
        # Personal of a CONSUMER only: a shop's name is no personal data. Readers tell the two apart by `kind`.
        Field("nameZh", Kind.TEXT, limit=NAME_CHARACTERS_MAX, personal=True),
        Field("nameKo", Kind.TEXT, limit=NAME_CHARACTERS_MAX, personal=True),
        Field("nameEn", Kind.TEXT, limit=NAME_CHARACTERS_MAX, personal=True),
        enum_field("kind", CustomerKind, nullable=False),
        enum_field("stage", LifecycleStage, nullable=False, default=LifecycleStage.PROSPECT.value),
        Field("parentId", Kind.ID),
        Field("country", Kind.TEXT, limit=2, check=parse_country),
        Field("province", Kind.TEXT, limit=120),
        Field("city", Kind.TEXT, limit=120),
        Field("district", Kind.TEXT, limit=120),
        Field("street", Kind.TEXT, limit=200, personal=True),
        Field("postcode", Kind.TEXT, limit=20, check=parse_postcode),
        Field("addressLine", Kind.TEXT, limit=400, personal=True),
        Field("phone", Kind.TEXT, limit=40, check=parse_phone, personal=True),
        Field("email", Kind.TEXT, limit=254, check=parse_email, personal=True),
        Field("taxId", Kind.TEXT, limit=40, check=parse_tax_id, personal=True),
        Field("tags", Kind.SET, limit=TAGS_MAX, merge=Merge.SET_UNION, nullable=False),
        # The two halves of a position are always one device's: the later capture wins with both.
        Field("latE7", Kind.INT, least=-LAT_E7_MAX, most=LAT_E7_MAX, merge=Merge.LAST_WRITER, personal=True),
        Field("lonE7", Kind.INT, least=-LON_E7_MAX, most=LON_E7_MAX, merge=Merge.LAST_WRITER, personal=True),
        Field(
            "geofenceM",
            Kind.INT,
            nullable=False,
            least=GEOFENCE_M_MIN,
            most=GEOFENCE_M_MAX,
            default=GEOFENCE_M_DEFAULT,
        ),
        Field("timezone", Kind.TEXT, limit=60, check=parse_zone),
        Field(
            "openHours",
            Kind.MAP,
            values=tuple(day.value for day in Weekday),
            enum=Weekday.__name__,
            check=parse_hours,
        ),
        Field("creditLimitMinor", Kind.MONEY_MINOR, least=0),
        Field("currency", Kind.TEXT, limit=3, check=parse_currency),
        Field("termsDays", Kind.INT, least=0, most=365),
        Field("priceListId", Kind.ID),
        Field("cadenceDays", Kind.INT, least=1, most=365),
        Field("notes", Kind.LONG_TEXT, limit=NOTES_CHARACTERS_MAX, merge=Merge.APPEND_TEXT, personal=True),
        custom_values(),
        Field("customerSince", Kind.DATE),
        server_field("territoryId", Kind.ID),
        server_field("searchKeys", Kind.TEXT),
        server_field("sortKey", Kind.TEXT),
        server_field("completenessPercent", Kind.INT),
        server_field("createdAt", Kind.TIMESTAMP),
        server_field("createdBy", Kind.TEXT),
        server_field("lastOrderAt", Kind.TIMESTAMP),
        server_field("lastVisitAt", Kind.TIMESTAMP),
    ),
    required=(("kind",), ("nameZh", "nameKo", "nameEn")),
    rules=(together("latE7", "lonE7"), _credit_has_currency, _postcode_fits_country, _not_its_own_parent),
)


def with_phone_region(shape: Shape, region: str) -> Shape:
    """The same shape, reading phone numbers without country code as ones of `region`."""

    def parse(text: str) -> str:
        return parse_phone(text, region)

    return replace(
        shape,
        fields=tuple(replace(field, check=parse) if field.check is parse_phone else field for field in shape.fields),
    )


def phone_region(given: Mapping[str, object], region: str) -> str:
    """The country a change itself names, else `region`, for reading a phone number without country code."""
    country = given.get("country")
    try:
        return parse_country(country) if isinstance(country, str) else region
    except Refused:
        return region


def derived_fields(customer: Mapping[str, object]) -> dict[str, object]:
    """The fields computed from a whole customer on every write: search keys, sort key, completeness."""
    names = names_of(customer)
    return {
        "searchKeys": search_keys(
            names, code=_text(customer, "code"), phones=[p for p in [_text(customer, "phone")] if p]
        ),
        "sortKey": sort_key(names, person=customer.get("kind") == CustomerKind.CONSUMER),
        "completenessPercent": completeness(customer)[0],
    }


def names_of(record: Mapping[str, object]) -> dict[str, str | None]:
    """The names of a customer or contact by language."""
    return {
        "zh": _text(record, "nameZh"),
        "ko": _text(record, "nameKo"),
        "en": _text(record, "nameEn"),
    }


_PERSON_WANTED: tuple[tuple[str, ...], ...] = (
    ("nameZh", "nameKo", "nameEn"),
    ("phone", "email"),
    ("country",),
    ("city", "province"),
    ("customerSince",),
)
_TRADE_WANTED: tuple[tuple[str, ...], ...] = (
    ("nameZh", "nameKo", "nameEn"),
    ("code",),
    ("phone", "email"),
    ("country",),
    ("city", "province"),
    ("street", "addressLine"),
    ("taxId",),
    ("currency",),
    ("termsDays",),
)
_VISITED_WANTED: tuple[tuple[str, ...], ...] = (
    ("latE7",),
    ("timezone",),
    ("openHours",),
    ("cadenceDays",),
    ("priceListId",),
)


def wanted_fields(kind: object) -> tuple[tuple[str, ...], ...]:
    """What a complete record of a kind holds; of each group one field is enough."""
    if kind == CustomerKind.CONSUMER:
        return _PERSON_WANTED
    if kind in (CustomerKind.FABRIC_SUPPLIER, CustomerKind.MARKETPLACE):
        return _TRADE_WANTED
    return _TRADE_WANTED + _VISITED_WANTED


def completeness(customer: Mapping[str, object]) -> tuple[int, list[str]]:
    """Percent 0..100 (rounded down) of what a complete record of its kind holds, and the fields missing."""
    wanted = wanted_fields(customer.get("kind"))
    missing = [group[0] for group in wanted if all(customer.get(name) in (None, "", {}, []) for name in group)]
    return 100 * (len(wanted) - len(missing)) // len(wanted), missing


def _text(record: Mapping[str, object], name: str) -> str | None:
    value = record.get(name)
    return value if isinstance(value, str) else None
