"""The company itself: territories, colleagues, and the fields it defined."""

from backend.domain.permissions import Collection
from backend.reads.entities.entity import Entity, Filter, Kind, Order
from backend.reads.entities.shorthand import (
    BY_ID,
    ID,
    NAMES,
    among,
    columns,
    number_key,
    one,
    page,
    rev,
    same,
    text_key,
)
from backend.storage.models import custom, people, territories

TERRITORIES = Entity(
    "territories",
    "Territory",
    territories.Territory,
    Collection.TERRITORIES,
    (
        rev("territories"),
        *columns(ID, "id", "parentId"),
        *columns(Kind.TEXT, "path", *NAMES, "timezone"),
        *columns(Kind.ENUM, "kind"),
        *columns(Kind.TIMESTAMP, "createdAt"),
        one("parent", "territories", "parent_id"),
        page("children", "territories", "parent_id", "PATH"),
        page("customers", "customers", "territory_id", "NAME"),
    ),
    {"PATH": Order(text_key("{a}.path"))},
    {**BY_ID, **same("parentId", "parent_id"), **among("kindIn", "kind")},
    node=True,
)
CUSTOM_FIELDS = Entity(
    "customFields",
    "CustomField",
    custom.CustomFieldRow,
    None,
    (
        rev("customFields"),
        *columns(ID, "id"),
        *columns(Kind.ENUM, "collection", "kind"),
        *columns(Kind.TEXT, "key", *NAMES),
        *columns(Kind.BOOL, "required", "personal", "retired"),
        *columns(Kind.JSON, "choices"),
        *columns(Kind.BIGINT, "least", "most"),
        *columns(Kind.INT, "position"),
        *columns(Kind.TIMESTAMP, "requiredSince", "createdAt"),
    ),
    {"POSITION": Order(number_key("{a}.position"))},
    {
        **BY_ID,
        **same("collection", "collection"),
        "inUse": Filter("NOT {a}.retired"),
    },
    node=True,
)
PEOPLE = Entity(
    "people",
    "Person",
    people.User,
    None,
    (
        rev("people"),
        *columns(ID, "id"),
        *columns(Kind.TEXT, "name"),
        *columns(Kind.ENUM, "role", "locale"),
        *columns(Kind.BOOL, "active"),
    ),
    {"NAME": Order(text_key("{a}.sort_key"))},
    {**BY_ID, **among("roleIn", "role")},
    node=True,
)
