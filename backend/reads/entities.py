"""Every entity that can be read: field → column, relation → join and order, filter and sort → SQL.

**To add a field:** a line in the entity's `columns(…)` below, and a line with its description in the object
type of the same name in `backend/schema/types.py`. `check_entities` and the schema's own check say at start-up
what does not fit.

Templates hold `{a}` where the alias of the entity's row goes.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

from tortoise.models import Model

from backend.auth.principal import Principal
from backend.domain.customers import CustomerKind
from backend.domain.permissions import Action, Collection
from backend.reads.selection import SortKind
from backend.storage.imports import sees_batch
from backend.storage.models import (
    attachments,
    catalogue,
    custom,
    customers,
    feedback,
    insight,
    judged,
    merges,
    people,
    records,
    sync,
    territories,
    work,
)
from backend.storage.visibility import HOLDERS, PLACES, devices_seen, trail_seen


class Kind(StrEnum):
    """How a column is stored and written."""

    ID = "ID"
    TEXT = "TEXT"
    ENUM = "ENUM"
    INT = "INT"
    """|x| < 2^31"""
    BIGINT = "BIGINT"
    """|x| < 2^53"""
    TIMESTAMP = "TIMESTAMP"
    """epoch ms, written as an instant"""
    DATE = "DATE"
    BOOL = "BOOL"
    JSON = "JSON"
    """JSON text, embedded as it stands"""
    TEXTS = "TEXTS"
    """JSON text that is a list of texts"""


LIST_ROWS_MAX = 1_000
"""A bound above every list that is no connection: an order has at most 500 lines."""

_BEFORE_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")


def snake(name: str) -> str:
    """`checkInLatE7` → `check_in_lat_e7`."""
    return _BEFORE_CAPITAL.sub(r"_\1", name).lower()


@dataclass(frozen=True, slots=True)
class Column:
    """A field printed from one column, or from the SQL of `expression`. `personal`: masked roles read
    the first character of a text, and nothing of anything else; with `personal_where` (a column and its value)
    only in rows where it holds: a shop's name is no personal data, a person's is. `custom_of` names the collection
    whose custom fields a map holds: masked roles read it without those defined as personal."""

    name: str
    kind: Kind
    column: str
    personal: bool = False
    expression: str | None = None
    personal_where: tuple[str, str] | None = None
    may_be_null: bool = False
    """of an expression; a column's own model says it"""
    custom_of: str | None = None

    @property
    def attribute(self) -> str:
        return snake(self.name)


@dataclass(frozen=True, slots=True)
class Embedded:
    """An object made of the row's own columns; null where one of `unless_null` is."""

    name: str
    typename: str
    columns: tuple[Column, ...]
    unless_null: tuple[str, ...]


class Many(StrEnum):
    """What a relation leads to."""

    ONE = "ONE"
    """one row or null"""
    FIRST = "FIRST"
    """the first of many, or null"""
    LIST = "LIST"
    """a bounded list"""
    PAGE = "PAGE"
    """a connection"""


@dataclass(frozen=True, slots=True)
class Relation:
    """Rows of `entity` whose `theirs` equals this row's `ours`; `where` names filters without values."""

    name: str
    entity: str
    many: Many
    ours: str
    theirs: str
    order: str | None = None
    where: tuple[str, ...] = ()


Field = Column | Embedded | Relation


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition. `?` takes the values in order, `{now}` the moment of the request, `{scope <entity> <alias>}` the
    scope predicate of a further table, which never stands without it. `sqlite` differs where the databases do.
    `repeats`: once per value, all must hold. `personal`: it compares what masked roles do not read, so they are
    refused it, or given `masked` instead."""

    sql: str
    sqlite: str | None = None
    repeats: bool = False
    personal: bool = False
    masked: str | None = None


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key, NOT NULL or coalesced. `personal`: a masked role's cursor does not hold it."""

    sql: str
    kind: SortKind
    personal: bool = False


@dataclass(frozen=True, slots=True)
class Beside:
    """A table with at most one row beside each row of an entity: `own` is that entity's id, `entity` its scope's.

    `column` is NOT NULL and indexed together with `own`; a row without one in scope counts as `absent`, which is
    below whatever stands there.
    """

    table: str
    own: str
    column: str
    entity: str
    absent: int


@dataclass(frozen=True, slots=True)
class Order:
    """Keys in one direction; the id comes last by itself. `beside`: where the key stands in another table."""

    key: SortKey
    descending: bool = False
    beside: Beside | None = None


def _beside(beside: Beside) -> Order:
    """The order of another table's column, the highest first."""
    return Order(_number_key(f"coalesce({{a}}s.{beside.column}, {beside.absent})"), descending=True, beside=beside)


@dataclass(frozen=True)
class Entity:
    """One kind of record. Its scope is that of its collection, or of the parent row it is a part of.

    `right`: on what a role must have one of `actions`; None for what every colleague sees.
    `part_of`: (parent entity, own column, parent's column): visible exactly when that parent is.
    `unplaced`: has no scope but the right: the organisation's own records, never synced.
    `sees`: a scope of its own, as a template, None for who sees nothing; for what is not synced and not everybody's.
    `few`: a rep sees hundreds of them, not tens of thousands, so a list is the sorted scope.
    `listed`, `page_type`: where its pages have names of their own for `nodes` and for the type.
    """

    name: str
    typename: str
    model: type[Model]
    right: Collection | None
    fields: tuple[Field, ...]
    orders: Mapping[str, Order]
    filters: Mapping[str, Filter] = field(default_factory=dict)
    id_column: str = "id"
    part_of: tuple[str, str, str] | None = None
    unplaced: bool = False
    actions: tuple[Action, ...] = (Action.READ,)
    node: bool = False
    few: bool = False
    sees: Callable[[Principal], str | None] | None = None
    listed: str = "nodes"
    page_type: str | None = None

    @cached_property
    def table(self) -> str:
        return str(self.model._meta.db_table)

    @cached_property
    def page_typename(self) -> str:
        return self.page_type or f"{self.typename}Connection"

    @cached_property
    def by_name(self) -> dict[str, Field]:
        return {found.name: found for found in self.fields}

    @cached_property
    def by_attribute(self) -> dict[str, Field]:
        return {snake(found.name): found for found in self.fields}

    @cached_property
    def first_order(self) -> str:
        return next(iter(self.orders))

    def nullable(self, *columns: str) -> bool:
        """True when one of the columns can be NULL."""
        return any(self.model._meta.fields_map[column].null for column in columns)

    @cached_property
    def relations(self) -> tuple[Relation, ...]:
        return tuple(found for found in self.fields if isinstance(found, Relation))

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Every column field, those inside embedded objects too."""
        return tuple(_columns(self.fields))


def _columns(fields: tuple[Field, ...]) -> Iterator[Column]:
    for found in fields:
        if isinstance(found, Column):
            yield found
        elif isinstance(found, Embedded):
            yield from found.columns


def readable(principal: Principal, entity: Entity) -> bool:
    """True when the role, or a service's rights, may read this kind of record at all; which, the scope says."""
    if entity.sees is not None:
        permitted = entity.right is None or any(principal.may(action, entity.right) for action in entity.actions)
        return permitted and entity.sees(principal) is not None
    if entity.right is None:
        return principal.role is not None or principal.may(Action.READ, Collection.USERS)
    return any(principal.may(action, entity.right) for action in entity.actions)


def columns(kind: Kind, *names: str, personal: bool = False, **renamed: str) -> tuple[Column, ...]:
    """Fields of one kind, each kept in the column of its name in snake case or as `renamed` says."""
    return tuple(Column(name, kind, renamed.get(name, snake(name)), personal) for name in (*names, *renamed))


def _custom(collection: str) -> Column:
    return Column("custom", Kind.JSON, "custom", custom_of=collection)


def _rev(collection: str, id_column: str = "id") -> Column:
    """`seq` of the record's last change, joined from the feed; 0 before the feed knows the record."""
    sql = f"coalesce((SELECT f.seq FROM feed f WHERE f.key = '{collection}:' || {{a}}.{id_column}), 0)"
    return Column("rev", Kind.BIGINT, id_column, expression=sql)


def _money(name: str, column: str) -> Embedded:
    return Embedded(
        name,
        "Money",
        (
            Column("amountMinor", Kind.BIGINT, column),
            Column("currency", Kind.TEXT, "currency"),
        ),
        unless_null=(column, "currency"),
    )


def _one(name: str, entity: str, ours: str, theirs: str = "id") -> Relation:
    return Relation(name, entity, Many.ONE, ours, theirs)


def _page(name: str, entity: str, theirs: str, order: str, ours: str = "id") -> Relation:
    return Relation(name, entity, Many.PAGE, ours, theirs, order)


def _attached_to(collection: str) -> Relation:
    where = (f"on_{collection}",)
    return Relation("attachments", "attachments", Many.PAGE, "id", "record_id", "CREATED_AT", where)


def _list(name: str, entity: str, theirs: str, order: str, ours: str = "id") -> Relation:
    return Relation(name, entity, Many.LIST, ours, theirs, order)


def _text_key(sql: str, **more: bool) -> SortKey:
    return SortKey(sql, SortKind.TEXT, **more)


def _number_key(sql: str) -> SortKey:
    return SortKey(sql, SortKind.INTEGER)


_ID = Kind.ID
_NAMES = ("nameZh", "nameKo", "nameEn")
_BY_ID = {"id": Filter("{a}.id = ?::text"), "ids": Filter("{a}.id = ANY(?)")}
_FOUND, _FOUND_SQLITE = "strpos({a}.search_keys, ?::text) > 0", "instr({a}.search_keys, ?) > 0"
_PERSONS = ("kind", CustomerKind.CONSUMER.value)
_NO_PERSON = f"{{a}}.kind <> '{CustomerKind.CONSUMER.value}'"


CUSTOM_VALUE: Mapping[str, tuple[str, str]] = {
    kind: (
        f"(SELECT CASE json_typeof(h.v) WHEN '{kind}' THEN {value} END"
        " FROM (SELECT {a}.custom::json -> ?::text AS v) h)",
        f"(SELECT CASE json_type(h.v) WHEN '{sqlite}' THEN h.v ->> '$' END FROM (SELECT {{a}}.custom -> ? AS v) h)",
    )
    for kind, value, sqlite in (
        ("number", "(h.v #>> '{}')::bigint", "integer"),
        ("string", "(h.v #>> '{}') COLLATE \"C\"", "text"),
        ("array", "h.v", "array"),
    )
}
"""What a record holds under a key, where it is of this kind as JSON names it: for PostgreSQL, for SQLite. One of
another kind counts as none: a database that is asked to make a number of it would refuse the whole statement."""
_NUMBER, _TEXT, _LIST = CUSTOM_VALUE["number"], CUSTOM_VALUE["string"], CUSTOM_VALUE["array"]
_HELD = "{a}.custom::json -> ?::text"
_BY_CUSTOM = {
    "customIn": Filter(f"({_HELD})::text = ANY(?)", "({a}.custom -> ?) = ANY(?)"),
    "customHas": Filter(
        f"EXISTS (SELECT 1 FROM json_array_elements_text({_LIST[0]}) e(value) WHERE e.value = ANY(?))",
        f"EXISTS (SELECT 1 FROM json_each({_LIST[1]}) e WHERE e.value = ANY(?))",
    ),
    "customFilled": Filter(f"({_HELD}) IS NOT NULL", "({a}.custom -> ?) IS NOT NULL"),
    "customEmpty": Filter(f"({_HELD}) IS NULL", "({a}.custom -> ?) IS NULL"),
    "customNumberFrom": Filter(f"{_NUMBER[0]} >= ?::bigint", f"{_NUMBER[1]} >= ?"),
    "customNumberTo": Filter(f"{_NUMBER[0]} <= ?::bigint", f"{_NUMBER[1]} <= ?"),
    "customTextFrom": Filter(f"{_TEXT[0]} >= ?::text", f"{_TEXT[1]} >= ?"),
    "customTextTo": Filter(f"{_TEXT[0]} <= ?::text", f"{_TEXT[1]} <= ?"),
}
"""Conditions on one custom field, as `domain.custom.filter_conditions` names them: its key, then what it is compared
with. The first takes values as JSON texts, so that a number is not a text of the same digits."""


def _same(name: str, column: str) -> dict[str, Filter]:
    return {name: Filter(f"{{a}}.{column} = ?::text")}


def _among(name: str, column: str) -> dict[str, Filter]:
    return {name: Filter(f"{{a}}.{column} = ANY(?)")}


def _between(column: str) -> dict[str, Filter]:
    return {
        "from": Filter(f"{{a}}.{column} >= ?::bigint"),
        "to": Filter(f"{{a}}.{column} < ?::bigint"),
    }


CUSTOMERS = Entity(
    "customers",
    "Customer",
    customers.Customer,
    Collection.CUSTOMERS,
    (
        _rev("customers"),
        *columns(_ID, "id", "parentId", "territoryId", "priceListId"),
        *columns(Kind.TEXT, "code"),
        *(replace(name, personal_where=_PERSONS) for name in columns(Kind.TEXT, *_NAMES, personal=True)),
        *columns(Kind.ENUM, "kind", "stage"),
        *columns(Kind.TEXT, "country", "province", "city", "district", "postcode", "timezone", "currency"),
        *columns(Kind.TEXT, "street", "addressLine", "phone", "email", "taxId", "notes", personal=True),
        *columns(Kind.TEXTS, "tags"),
        *columns(Kind.INT, "latE7", "lonE7", personal=True),
        *columns(Kind.INT, "geofenceM", "termsDays", "cadenceDays", "completenessPercent"),
        *columns(Kind.JSON, "openHours"),
        _custom("customers"),
        *columns(Kind.DATE, "customerSince"),
        *columns(Kind.TIMESTAMP, "createdAt", "lastOrderAt", "lastVisitAt"),
        _money("creditLimit", "credit_limit_minor"),
        _one("parent", "customers", "parent_id"),
        _one("territory", "territories", "territory_id"),
        _one("priceList", "priceLists", "price_list_id"),
        _one("score", "scores", "id", "customer_id"),
        Relation("nextVisit", "visits", Many.FIRST, "id", "customer_id", "SOONEST", ("ahead",)),
        _page("doors", "customers", "parent_id", "NAME"),
        _page("contacts", "customerContacts", "customer_id", "CREATED_AT"),
        _page("visits", "visits", "customer_id", "HAPPENS_AT"),
        _page("orders", "orders", "customer_id", "ORDERED_AT"),
        _page("tasks", "tasks", "customer_id", "DUE"),
        _page("answers", "answers", "customer_id", "ANSWERED_AT"),
        _page("cases", "cases", "customer_id", "OPENED_AT"),
        _page("judgements", "judgements", "customer_id", "ENDS_ON"),
        _attached_to("customers"),
    ),
    {
        "NAME": Order(_text_key("{a}.sort_key", personal=True)),
        "PRIORITY": _beside(Beside("customer_score", "customer_id", "priority", "scores", -1)),
        "CREATED_AT": Order(_number_key("{a}.created_at"), descending=True),
        "LAST_ORDER_AT": Order(_number_key("coalesce({a}.last_order_at, 0)"), descending=True),
    },
    {
        **_BY_ID,
        **_BY_CUSTOM,
        "search": Filter(_FOUND, _FOUND_SQLITE, repeats=True, personal=True, masked="searchTrade"),
        "searchTrade": Filter(f"{_NO_PERSON} AND {_FOUND}", f"{_NO_PERSON} AND {_FOUND_SQLITE}", repeats=True),
        **_among("kindIn", "kind"),
        **_among("stageIn", "stage"),
        **_same("territoryId", "territory_id"),
        **_same("parentId", "parent_id"),
        "tag": Filter(
            "EXISTS (SELECT 1 FROM json_array_elements_text({a}.tags::json) t(value) WHERE t.value = ?::text)",
            "EXISTS (SELECT 1 FROM json_each({a}.tags) t WHERE t.value = ?)",
        ),
    },
    node=True,
    few=True,
)

CUSTOMER_CONTACTS = Entity(
    "customerContacts",
    "CustomerContact",
    customers.CustomerContact,
    Collection.CONTACTS,
    (
        _rev("customerContacts"),
        *columns(_ID, "id", "customerId", "contactId"),
        *columns(Kind.ENUM, "role"),
        *columns(Kind.BOOL, primary="is_primary"),
        *columns(Kind.TIMESTAMP, "createdAt"),
        _one("customer", "customers", "customer_id"),
        _one("contact", "contacts", "contact_id"),
    ),
    {"CREATED_AT": Order(_number_key("{a}.created_at"))},
    _BY_ID,
    node=True,
)

CONTACTS = Entity(
    "contacts",
    "Contact",
    customers.Contact,
    Collection.CONTACTS,
    (
        _rev("contacts"),
        *columns(_ID, "id"),
        *columns(Kind.TEXT, *_NAMES, "phone", "email", "notes", personal=True),
        *columns(Kind.DATE, "birthDate", personal=True),
        *columns(Kind.JSON, "channels", personal=True),
        *columns(Kind.ENUM, "preferredChannel", "locale"),
        *columns(Kind.JSON, "consentEvents"),
        _custom("contacts"),
        *columns(Kind.TIMESTAMP, "createdAt"),
        _page("customers", "customerContacts", "contact_id", "CREATED_AT"),
        _attached_to("contacts"),
    ),
    {
        "NAME": Order(_text_key("{a}.sort_key", personal=True)),
        "CREATED_AT": Order(_number_key("{a}.created_at"), descending=True),
    },
    {
        **_BY_ID,
        **_BY_CUSTOM,
        "search": Filter(_FOUND, _FOUND_SQLITE, repeats=True, personal=True),
        "customerId": Filter(
            "EXISTS (SELECT 1 FROM customer_contact {a}l WHERE {a}l.contact_id = {a}.id"
            " AND {a}l.customer_id = ?::text AND {scope customerContacts {a}l})"
        ),
    },
    node=True,
    few=True,
)

VISITS = Entity(
    "visits",
    "Visit",
    work.Visit,
    Collection.VISITS,
    (
        _rev("visits"),
        *columns(_ID, "id", "customerId", "repId", "territoryId", "rescheduledFromId"),
        *columns(Kind.ENUM, "state", "purpose", "verification", "outcome", "reason"),
        *columns(
            Kind.TIMESTAMP,
            "plannedAt",
            "windowStartAt",
            "windowEndAt",
            "checkInAt",
            "checkOutAt",
            "happensAt",
            "createdAt",
            "acceptedLateAt",
        ),
        *columns(Kind.INT, "checkInLatE7", "checkInLonE7", "checkOutLatE7", "checkOutLonE7", personal=True),
        *columns(Kind.INT, "checkInAccuracyM", "checkInFixAgeS", "minutesPlanned"),
        *columns(Kind.TEXT, "nextStep", personal=True),
        _custom("visits"),
        *columns(Kind.TEXT, "notes", personal=True),
        _one("customer", "customers", "customer_id"),
        _one("rep", "people", "rep_id"),
        _one("rescheduledFrom", "visits", "rescheduled_from_id"),
        _page("answers", "answers", "visit_id", "ANSWERED_AT"),
        _attached_to("visits"),
    ),
    {
        "HAPPENS_AT": Order(_number_key("{a}.happens_at"), descending=True),
        "SOONEST": Order(_number_key("{a}.happens_at")),
    },
    {
        **_BY_ID,
        **_BY_CUSTOM,
        **_same("customerId", "customer_id"),
        **_same("repId", "rep_id"),
        **_same("territoryId", "territory_id"),
        **_among("stateIn", "state"),
        **_between("happens_at"),
        "ahead": Filter("{a}.state IN ('PLANNED', 'CONFIRMED') AND {a}.happens_at >= {now}"),
    },
    node=True,
)

ORDERS = Entity(
    "orders",
    "Order",
    work.SalesOrder,
    Collection.ORDERS,
    (
        _rev("orders"),
        *columns(_ID, "id", "customerId", "repId", "territoryId", "seasonId"),
        *columns(Kind.TEXT, "number", "window", "currency", "poNumber", "rejectReason", "notes"),
        _custom("orders"),
        *columns(Kind.ENUM, "state", "source"),
        *columns(Kind.DATE, "requestedShipOn", "orderedOn"),
        *columns(Kind.BIGINT, "units"),
        *columns(Kind.TIMESTAMP, "orderedAt", "submittedAt", "createdAt", "acceptedLateAt"),
        _money("total", "total_minor"),
        _one("customer", "customers", "customer_id"),
        _one("rep", "people", "rep_id"),
        _one("season", "seasons", "season_id"),
        _list("lines", "orderLines", "order_id", "POSITION"),
        _attached_to("orders"),
    ),
    {"ORDERED_AT": Order(_number_key("{a}.ordered_at"), descending=True)},
    {
        **_BY_ID,
        **_BY_CUSTOM,
        **_same("customerId", "customer_id"),
        **_same("repId", "rep_id"),
        **_same("territoryId", "territory_id"),
        **_same("seasonId", "season_id"),
        **_among("stateIn", "state"),
        **_between("ordered_at"),
    },
    node=True,
)

ORDER_LINES = Entity(
    "orderLines",
    "OrderLine",
    work.OrderLine,
    Collection.ORDERS,
    (
        *columns(_ID, "id", "styleId", "colourId"),
        *columns(Kind.INT, "position", "discountBp"),
        *columns(Kind.TEXT, "description"),
        *columns(Kind.BIGINT, "unitPriceMinor", "units", "totalMinor"),
        *columns(Kind.JSON, "cells"),
        _one("style", "styles", "style_id"),
        _one("colour", "colours", "colour_id"),
    ),
    {"POSITION": Order(_number_key("{a}.position"))},
    part_of=("orders", "order_id", "id"),
)

TASKS = Entity(
    "tasks",
    "Task",
    work.Task,
    Collection.TASKS,
    (
        _rev("tasks"),
        *columns(_ID, "id", "customerId", "assigneeId", "territoryId", "relatedId"),
        *columns(Kind.TEXT, "title"),
        _custom("tasks"),
        *columns(Kind.TEXT, "notes", personal=True),
        *columns(Kind.ENUM, "state", "priority", "source"),
        *columns(Kind.DATE, "dueOn"),
        *columns(Kind.TIMESTAMP, "dueAt", "snoozedUntil", "doneAt", "createdAt", "acceptedLateAt"),
        _one("customer", "customers", "customer_id"),
        _one("assignee", "people", "assignee_id"),
        _attached_to("tasks"),
    ),
    {"DUE": Order(_number_key("{a}.due_sort"))},
    {
        **_BY_ID,
        **_BY_CUSTOM,
        **_same("assigneeId", "assignee_id"),
        **_same("customerId", "customer_id"),
        **_among("stateIn", "state"),
        "dueBefore": Filter("{a}.due_sort < ?::bigint"),
    },
    node=True,
)

FORMS = Entity(
    "forms",
    "Form",
    feedback.FormVersion,
    Collection.FORMS,
    (
        _rev("forms"),
        *columns(_ID, "id"),
        *columns(Kind.TEXT, "key", *_NAMES),
        *columns(Kind.ENUM, "occasion"),
        *columns(Kind.INT, "version"),
        *columns(Kind.JSON, "questions"),
        *columns(Kind.BOOL, "retired"),
        *columns(Kind.TIMESTAMP, "createdAt"),
    ),
    {"KEY": Order(_text_key("{a}.key")), "CREATED_AT": Order(_number_key("{a}.created_at"), descending=True)},
    {
        **_BY_ID,
        **_same("key", "key"),
        **_same("occasion", "occasion"),
        "inForce": Filter(
            "NOT {a}.retired AND NOT EXISTS (SELECT 1 FROM form later WHERE later.key = {a}.key"
            " AND later.version > {a}.version)"
        ),
    },
    node=True,
)

ANSWERS = Entity(
    "answers",
    "Answer",
    feedback.Answer,
    Collection.ANSWERS,
    (
        _rev("answers"),
        *columns(_ID, "id", "formId", "customerId", "visitId", "contactId", "styleId", "correctsId", "territoryId"),
        *columns(Kind.JSON, personal=True, values="said"),
        *columns(Kind.TIMESTAMP, "answeredAt", "createdAt", "acceptedLateAt"),
        _one("form", "forms", "form_id"),
        _one("customer", "customers", "customer_id"),
        _one("visit", "visits", "visit_id"),
        _one("style", "styles", "style_id"),
        _one("corrects", "answers", "corrects_id"),
        _list("measures", "answerMeasures", "answer_id", "POSITION"),
    ),
    {"ANSWERED_AT": Order(_number_key("{a}.answered_at"), descending=True)},
    {
        **_BY_ID,
        **_same("customerId", "customer_id"),
        **_same("formId", "form_id"),
        **_same("visitId", "visit_id"),
        **_same("styleId", "style_id"),
        **_same("territoryId", "territory_id"),
        **_between("answered_at"),
        "measure": Filter(
            "EXISTS (SELECT 1 FROM answer_measure am WHERE am.answer_id = {a}.id AND am.measure = ?::text)"
        ),
        "standing": Filter(
            "NOT EXISTS (SELECT 1 FROM answer later WHERE later.root_id = {a}.root_id AND (later.created_at >"
            " {a}.created_at OR (later.created_at = {a}.created_at AND later.id > {a}.id)))"
        ),
    },
    node=True,
)

ANSWER_MEASURES = Entity(
    "answerMeasures",
    "AnswerMeasure",
    feedback.AnswerMeasure,
    Collection.ANSWERS,
    (
        *columns(_ID, "id"),
        *columns(Kind.INT, "position"),
        *columns(Kind.ENUM, "measure"),
        *columns(Kind.TEXT, "question", "currency"),
        *columns(Kind.BIGINT, "value"),
    ),
    {"POSITION": Order(_number_key("{a}.position"))},
    part_of=("answers", "answer_id", "id"),
)

CASES = Entity(
    "cases",
    "Case",
    feedback.ServiceCase,
    Collection.CASES,
    (
        _rev("cases"),
        *columns(_ID, "id", "customerId", "contactId", "visitId", "styleId", "assigneeId", "territoryId"),
        *columns(_ID, aboutOrderId="order_id"),
        *columns(Kind.ENUM, "kind", "priority", "state"),
        *columns(Kind.TEXT, "subject", "notes", "resolution", personal=True),
        *columns(Kind.BOOL, "escalated", "late"),
        *columns(Kind.INT, "reopenedTimes"),
        *columns(Kind.TIMESTAMP, "openedAt", "dueAt", "waitingSince", "resolvedAt", "createdAt", "acceptedLateAt"),
        _one("customer", "customers", "customer_id"),
        _one("visit", "visits", "visit_id"),
        _one("aboutOrder", "orders", "order_id"),
        _one("style", "styles", "style_id"),
        _one("assignee", "people", "assignee_id"),
    ),
    {
        "DUE": Order(_number_key("{a}.due_at")),
        "OPENED_AT": Order(_number_key("{a}.opened_at"), descending=True),
    },
    {
        **_BY_ID,
        **_same("customerId", "customer_id"),
        **_same("assigneeId", "assignee_id"),
        **_same("territoryId", "territory_id"),
        **_among("stateIn", "state"),
        **_among("priorityIn", "priority"),
        "unsettled": Filter("{a}.state NOT IN ('RESOLVED', 'CLOSED')"),
        "escalated": Filter("{a}.escalated"),
    },
    node=True,
)

JUDGEMENTS = Entity(
    "judgements",
    "Judgement",
    judged.Judgement,
    Collection.JUDGEMENTS,
    (
        _rev("judgements"),
        *columns(_ID, "id", "customerId", "territoryId"),
        *columns(Kind.ENUM, "kind", "reason"),
        *columns(Kind.TEXT, "note", personal=True),
        *columns(Kind.TEXT, "createdBy"),
        *columns(Kind.DATE, "startsOn", "endsOn"),
        *columns(Kind.INT, "score", "points", "scoreBefore"),
        *columns(Kind.BOOL, "withdrawn"),
        *columns(Kind.TIMESTAMP, "withdrawnAt", "createdAt", "acceptedLateAt"),
        _one("customer", "customers", "customer_id"),
        _one("author", "people", "created_by"),
    ),
    {"ENDS_ON": Order(_text_key("{a}.ends_on"), descending=True)},
    {
        **_BY_ID,
        **_same("customerId", "customer_id"),
        **_same("territoryId", "territory_id"),
        **_same("kind", "kind"),
        **_same("createdBy", "created_by"),
        "standingOn": Filter("?::text BETWEEN {a}.starts_on AND {a}.ends_on AND NOT {a}.withdrawn"),
    },
    node=True,
)

ATTACHMENTS = Entity(
    "attachments",
    "Attachment",
    attachments.Attachment,
    Collection.ATTACHMENTS,
    (
        _rev("attachments"),
        *columns(_ID, "id", "recordId", "createdBy"),
        *columns(Kind.ENUM, "collection", "kind", "state", "previewState"),
        *columns(Kind.TEXT, "fileName", "caption", personal=True),
        *columns(Kind.TEXT, "mime", "sha256", "refusedFor", "storedSha256"),
        *columns(Kind.INT, "sizeBytes", "storedBytes", "width", "height"),
        *columns(Kind.BOOL, "proof"),
        Column("url", Kind.TEXT, "id", expression="'/files/' || {a}.id"),
        Column("previewUrl", Kind.TEXT, "id", expression="'/files/' || {a}.id || '/preview'"),
        *columns(Kind.TIMESTAMP, "createdAt"),
    ),
    {"CREATED_AT": Order(_number_key("{a}.created_at"), descending=True)},
    {
        **_BY_ID,
        **{f"on_{collection}": Filter(f"{{a}}.collection = '{collection}'") for collection in HOLDERS},
    },
    node=True,
)

TERRITORIES = Entity(
    "territories",
    "Territory",
    territories.Territory,
    Collection.TERRITORIES,
    (
        _rev("territories"),
        *columns(_ID, "id", "parentId"),
        *columns(Kind.TEXT, "path", *_NAMES, "timezone"),
        *columns(Kind.ENUM, "kind"),
        *columns(Kind.TIMESTAMP, "createdAt"),
        _one("parent", "territories", "parent_id"),
        _page("children", "territories", "parent_id", "PATH"),
        _page("customers", "customers", "territory_id", "NAME"),
    ),
    {"PATH": Order(_text_key("{a}.path"))},
    {**_BY_ID, **_same("parentId", "parent_id"), **_among("kindIn", "kind")},
    node=True,
)

CUSTOM_FIELDS = Entity(
    "customFields",
    "CustomField",
    custom.CustomFieldRow,
    None,
    (
        _rev("customFields"),
        *columns(_ID, "id"),
        *columns(Kind.ENUM, "collection", "kind"),
        *columns(Kind.TEXT, "key", *_NAMES),
        *columns(Kind.BOOL, "required", "personal", "retired"),
        *columns(Kind.JSON, "choices"),
        *columns(Kind.BIGINT, "least", "most"),
        *columns(Kind.INT, "position"),
        *columns(Kind.TIMESTAMP, "requiredSince", "createdAt"),
    ),
    {"POSITION": Order(_number_key("{a}.position"))},
    {
        **_BY_ID,
        **_same("collection", "collection"),
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
        _rev("people"),
        *columns(_ID, "id"),
        *columns(Kind.TEXT, "name"),
        *columns(Kind.ENUM, "role", "locale"),
        *columns(Kind.BOOL, "active"),
    ),
    {"NAME": Order(_text_key("{a}.sort_key"))},
    {**_BY_ID, **_among("roleIn", "role")},
    node=True,
)

SCORES = Entity(
    "scores",
    "CustomerScore",
    insight.CustomerScore,
    Collection.SCORES,
    (
        _rev("scores", "customer_id"),
        *columns(_ID, "customerId", "runId", "tableId", "territoryId"),
        *columns(
            Kind.INT,
            "priority",
            "loyaltyHundredths",
            "satisfactionHundredths",
            "churnRiskBp",
            "coverageBp",
            "confidenceBp",
        ),
        *columns(Kind.TEXT, "segment", "previousSegment", "segmentCause", "basis"),
        *columns(Kind.ENUM, "stage"),
        *columns(Kind.DATE, "segmentSince", "asOf"),
        *columns(Kind.JSON, "facts", "questions", "measures"),
        _money("existingValue", "existing_value_minor"),
        _money("potential", "potential_minor"),
        _money("pastValue", "past_value_minor"),
        _money("futureValue", "future_value_minor"),
        _one("customer", "customers", "customer_id"),
        _list("lines", "scoreLines", "customer_id", "POSITION", ours="customer_id"),
    ),
    {"PRIORITY": Order(_number_key("{a}.priority"), descending=True)},
    {
        "id": Filter("{a}.customer_id = ?::text"),
        **_same("territoryId", "territory_id"),
        **_among("segmentIn", "segment"),
        "priorityAtLeast": Filter("{a}.priority >= ?::bigint"),
    },
    id_column="customer_id",
    few=True,
)

SCORE_LINES = Entity(
    "scoreLines",
    "ScoreLine",
    insight.ScoreLine,
    Collection.SCORES,
    (
        *columns(_ID, "id"),
        *columns(Kind.INT, "position", "points"),
        *columns(Kind.TEXT, "code"),
        *columns(Kind.BOOL, "recorded"),
        *columns(Kind.JSON, "numbers", "evidence"),
    ),
    {"POSITION": Order(_number_key("{a}.position"))},
    part_of=("scores", "customer_id", "customer_id"),
)

SYNC_ISSUES = Entity(
    "syncIssues",
    "SyncIssue",
    sync.SyncIssue,
    None,
    (
        _rev("syncIssues"),
        *columns(_ID, "id", "recordId", "mutationId", authorId="user_id"),
        *columns(Kind.TEXT, "collection", "code", "field", "intent", "authorName", "theirsBy", "theirsName"),
        *columns(Kind.TEXT, "resolvedBy", "resolvedName"),
        *columns(Kind.ENUM, "state", "resolution"),
        *columns(Kind.JSON, "base", "mine", "theirs", "problems", "about", "names", "resolvedValue", "history"),
        *columns(Kind.TEXTS, wayCodes="ways_out"),
        *columns(Kind.BIGINT, "theirsRev", "baseRev"),
        *columns(Kind.TIMESTAMP, "theirsAt", "capturedAt", "createdAt", "resolvedAt"),
    ),
    {"CREATED_AT": Order(_number_key("{a}.created_at"))},
    {
        **_BY_ID,
        **_same("authorId", "user_id"),
        **_same("recordId", "record_id"),
        "authorIsNot": Filter("{a}.user_id <> ?::text"),
        **_among("stateIn", "state"),
        "createdUpTo": Filter("{a}.created_at <= ?::bigint"),
    },
)

SCORE_RUNS = Entity(
    "scoreRuns",
    "ScoreRun",
    insight.ScoreRun,
    Collection.SCORES,
    (
        *columns(_ID, "id", "tableId"),
        *columns(Kind.TEXT, "state"),
        *columns(Kind.DATE, "asOf"),
        *columns(Kind.JSON, "models", "scope", "problems"),
        *columns(Kind.INT, "customersScored", "customersChanged"),
        *columns(Kind.BIGINT, "milliseconds"),
        *columns(Kind.TIMESTAMP, "startedAt", "finishedAt", "cancelAskedAt"),
        *columns(Kind.TEXT, "startedBy"),
    ),
    {"STARTED_AT": Order(_number_key("{a}.started_at"), descending=True)},
    _BY_ID,
    unplaced=True,
    actions=(Action.SCORE, Action.OVERRIDE),
)


def _devices_seen(principal: Principal) -> str | None:
    seen = devices_seen(principal, "{a}")
    return seen[0].replace("?", "{user}") if seen else None


_DEVICE_STATE = "CASE WHEN {a}.state = 'DRAINING' AND {a}.drain_until <= {now} THEN 'REVOKED' ELSE {a}.state END"
_OPEN_ISSUES = "FROM sync_issue i WHERE i.user_id = {a}.user_id AND i.state = 'OPEN' AND i.device_id = {a}.id"
_OWNER = "(SELECT u.{name} FROM user_account u WHERE u.id = {a}.user_id)"
# up to date is who has seen a step of this epoch that the feed still leads on from
_BEHIND = (
    "(SELECT CASE WHEN {a}.acked_seq >= k.horizon AND ({a}.acked_seq >> 40) = (k.seq >> 40)"
    " THEN k.seq - {a}.acked_seq END FROM sync_clock k WHERE k.id = 1)"
)

DEVICES = Entity(
    "devices",
    "DeviceStatus",
    people.Device,
    None,
    (
        *columns(_ID, "id", "userId"),
        Column("userName", Kind.TEXT, "user_id", expression=_OWNER.replace("{name}", "name")),
        Column("role", Kind.ENUM, "user_id", expression=_OWNER.replace("{name}", "role")),
        *columns(Kind.TEXT, "name", "platform", "appVersion", "stateReason"),
        *columns(Kind.INT, "schemaVersion", unsent="unsent_count", refused="refused_count"),
        Column("state", Kind.ENUM, "state", expression=_DEVICE_STATE),
        *columns(
            Kind.TIMESTAMP,
            "stateSince",
            "drainUntil",
            "droppedAt",
            "createdAt",
            "lastSeenAt",
            "pulledAt",
            "pushedAt",
            "unsentOldestAt",
            "reportedAt",
            wipeAcknowledgedAt="wipe_acked_at",
        ),
        *columns(Kind.BIGINT, "ackedSeq", "clockOffsetMs", ackedMutation="last_client_seq"),
        Column("behind", Kind.BIGINT, "acked_seq", expression=_BEHIND, may_be_null=True),
        Column("openIssues", Kind.INT, "id", expression=f"(SELECT count(*) {_OPEN_ISSUES})"),
    ),
    {"LAST_SEEN_AT": Order(_number_key("{a}.last_seen_at"))},
    {
        **_BY_ID,
        **_same("userId", "user_id"),
        "stateIn": Filter(f"({_DEVICE_STATE}) = ANY(?)"),
        "silentSince": Filter("{a}.last_seen_at <= ?::bigint"),
        "unsent": Filter("{a}.unsent_count > 0"),
        "openIssues": Filter(f"EXISTS (SELECT 1 {_OPEN_ISSUES})"),
    },
    sees=_devices_seen,
    listed="devices",
    page_type="DeviceStatusPage",
)

_CUSTOMERS_MADE = (
    "(SELECT count(*) FROM external_id e WHERE e.batch_id = {a}.id AND e.collection = 'customers' AND NOT EXISTS"
    " (SELECT 1 FROM import_row r WHERE r.batch_id = e.batch_id AND r.outcome = 'LINKED'"
    " AND r.record_id = e.record_id))"
)

IMPORT_BATCHES = Entity(
    "importBatches",
    "ImportBatch",
    records.ImportBatch,
    Collection.IMPORTS,
    (
        *columns(_ID, "id"),
        Column("startedById", _ID, "started_by", expression="substr({a}.started_by, 7)"),
        *columns(Kind.TEXT, "system", "fileName"),
        *columns(Kind.ENUM, "state"),
        *columns(Kind.INT, "rowsTotal", "rowsUnchanged", "rowsFailed", ordersCreated="rows_created"),
        Column("customersCreated", Kind.INT, "id", expression=_CUSTOMERS_MADE),
        *columns(Kind.TIMESTAMP, "startedAt", "finishedAt", "undoneAt"),
    ),
    {"STARTED_AT": Order(_number_key("{a}.started_at"), descending=True)},
    _BY_ID,
    sees=lambda _: sees_batch("{a}").replace("?", "{user}"),
)


def _pair_of(entity: str, table: str) -> str:
    """Both records are seen; of a pair that was merged one record is no more, and the other is."""

    def there(column: str, more: str = "") -> str:
        return f"EXISTS (SELECT 1 FROM {table} {{a}}x WHERE {{a}}x.id = {{a}}.{column}{more})"

    seen = f" AND {{scope {entity} {{a}}x}}"
    either = [f"({there(column, seen)} OR NOT {there(column)})" for column in ("first_id", "second_id")]
    merged = f"{{a}}.state = 'MERGED' AND {' AND '.join(either)} AND ({there('first_id')} OR {there('second_id')})"
    both = f"{there('first_id', seen)} AND {there('second_id', seen)}"
    return f"{{a}}.collection = '{entity}' AND ({{a}}.state <> 'MERGED' AND {both} OR {merged})"


MATCH_PAIRS = Entity(
    "matchPairs",
    "MatchPair",
    merges.MatchPair,
    Collection.CUSTOMERS,
    (
        *columns(_ID, "id", "firstId", "secondId"),
        *columns(Kind.TEXT, "collection"),
        *columns(Kind.INT, "points"),
        *columns(Kind.ENUM, "state"),
        *columns(Kind.TEXTS, reasonCodes="reasons"),
        *columns(Kind.TIMESTAMP, "foundAt"),
        _one("firstCustomer", "customers", "first_id"),
        _one("secondCustomer", "customers", "second_id"),
        _one("firstContact", "contacts", "first_id"),
        _one("secondContact", "contacts", "second_id"),
    ),
    {"FOUND_AT": Order(_number_key("{a}.found_at"), descending=True)},
    {**_BY_ID, **_same("collection", "collection"), **_same("state", "state")},
    actions=(Action.MERGE,),
    sees=lambda _: f"({_pair_of('customers', 'customer')} OR {_pair_of('contacts', 'contact')})",
)

_ACTOR_NAME = (
    "coalesce((SELECT u.name FROM user_account u WHERE {a}.actor LIKE 'staff:%' AND u.id = substr({a}.actor, 7)),"
    " (SELECT s.name FROM service s WHERE {a}.actor LIKE 'service:%' AND s.id = substr({a}.actor, 9)))"
)

_BY_ACTOR = (
    "{a}.actor = (SELECT CASE WHEN EXISTS (SELECT 1 FROM user_account u WHERE u.id = v.id) THEN 'staff:'"
    " ELSE 'service:' END || v.id FROM (SELECT ?::text AS id) v)"
)
"""By a colleague or another system of this id. One value, so that the newest of whoever did little are found by the
index: of several, PostgreSQL may walk the whole trail backwards until it has met enough."""

AUDIT = Entity(
    "audit",
    "AuditEntry",
    records.AuditEntry,
    Collection.AUDIT,
    (
        *columns(_ID, "id", "deviceId", "recordId"),
        *columns(Kind.TIMESTAMP, "at", "capturedAt"),
        *columns(Kind.TEXT, "actor", "action", "door", "collection", "causeId", "requestId"),
        Column("actorName", Kind.TEXT, "actor", expression=_ACTOR_NAME, may_be_null=True),
        *columns(Kind.TEXT, "reason", personal=True),
        *columns(Kind.TEXTS, fields="fields_changed"),
        *columns(Kind.JSON, "changes"),
        *columns(Kind.JSON, "personalChanges", personal=True),
    ),
    {"AT": Order(_number_key("{a}.at"), descending=True)},
    {
        **_BY_ID,
        "actor": Filter(_BY_ACTOR),
        **_same("deviceId", "device_id"),
        **_same("collection", "collection"),
        **_same("recordId", "record_id"),
        **_same("action", "action"),
        **_among("actionIn", "action"),
        **_among("doorIn", "door"),
        **_between("at"),
    },
    sees=lambda principal: trail_seen(principal, "{a}"),
)

SEASONS = Entity(
    "seasons",
    "Season",
    catalogue.Season,
    Collection.CATALOGUE,
    (
        _rev("seasons"),
        *columns(_ID, "id"),
        *columns(Kind.TEXT, "code", *_NAMES),
        *columns(Kind.DATE, "orderOpensOn", "orderClosesOn", "shipsFrom", "shipsTo"),
    ),
    {"CODE": Order(_text_key("{a}.code"))},
    _BY_ID,
    node=True,
)

STYLES = Entity(
    "styles",
    "Style",
    catalogue.Style,
    Collection.CATALOGUE,
    (
        _rev("styles"),
        *columns(_ID, "id", "seasonId"),
        *columns(Kind.TEXT, "code", "brand", *_NAMES, "category"),
        *columns(Kind.TEXTS, "sizeScale"),
        *columns(Kind.ENUM, "state"),
        *columns(Kind.TIMESTAMP, "createdAt"),
        _one("season", "seasons", "season_id"),
        _list("colours", "colours", "style_id", "CODE"),
        _list("skus", "skus", "style_id", "POSITION"),
        _page("answers", "answers", "style_id", "ANSWERED_AT"),
    ),
    {"CODE": Order(_text_key("{a}.code"))},
    {
        **_BY_ID,
        **_same("seasonId", "season_id"),
        **_among("categoryIn", "category"),
        **_among("stateIn", "state"),
        **_same("code", "code"),
    },
    node=True,
)

COLOURS = Entity(
    "colours",
    "Colour",
    catalogue.Colour,
    Collection.CATALOGUE,
    (*columns(_ID, "id", "styleId"), *columns(Kind.TEXT, "code", *_NAMES)),
    {"CODE": Order(_text_key("{a}.code"))},
    part_of=("styles", "style_id", "id"),
)

SKUS = Entity(
    "skus",
    "Sku",
    catalogue.Sku,
    Collection.CATALOGUE,
    (
        *columns(_ID, "id", "styleId", "colourId"),
        *columns(Kind.TEXT, "size", "ean"),
        *columns(Kind.INT, "position"),
        *columns(Kind.ENUM, "state"),
        _one("colour", "colours", "colour_id"),
    ),
    {"POSITION": Order(_number_key("{a}.position"))},
    part_of=("styles", "style_id", "id"),
)

PRICE_LISTS = Entity(
    "priceLists",
    "PriceList",
    catalogue.PriceList,
    Collection.CATALOGUE,
    (
        _rev("priceLists"),
        *columns(_ID, "id"),
        *columns(Kind.TEXT, "code", "name", "currency"),
        _page("prices", "prices", "price_list_id", "STYLE"),
    ),
    {"CODE": Order(_text_key("{a}.code"))},
    _BY_ID,
    node=True,
)

PRICES = Entity(
    "prices",
    "Price",
    catalogue.Price,
    Collection.CATALOGUE,
    (
        *columns(_ID, "id", "priceListId", "styleId"),
        *columns(Kind.INT, "minUnits"),
        *columns(Kind.BIGINT, "priceMinor"),
        *columns(Kind.DATE, "validFrom", "validTo"),
        _one("style", "styles", "style_id"),
    ),
    {"STYLE": Order(_text_key("{a}.style_id"))},
    part_of=("priceLists", "price_list_id", "id"),
)

ENTITIES: Mapping[str, Entity] = {
    entity.name: entity
    for entity in (
        CUSTOMERS,
        CUSTOMER_CONTACTS,
        CONTACTS,
        VISITS,
        ORDERS,
        ORDER_LINES,
        TASKS,
        FORMS,
        ANSWERS,
        ANSWER_MEASURES,
        CASES,
        JUDGEMENTS,
        ATTACHMENTS,
        TERRITORIES,
        CUSTOM_FIELDS,
        PEOPLE,
        SCORES,
        SCORE_LINES,
        SCORE_RUNS,
        SYNC_ISSUES,
        DEVICES,
        IMPORT_BATCHES,
        MATCH_PAIRS,
        AUDIT,
        SEASONS,
        STYLES,
        COLOURS,
        SKUS,
        PRICE_LISTS,
        PRICES,
    )
}

_COLUMN_TYPES: Mapping[Kind, frozenset[str]] = {
    Kind.ID: frozenset({"Id", "Text"}),
    Kind.TEXT: frozenset({"Text", "LongText"}),
    Kind.ENUM: frozenset({"Text"}),
    Kind.INT: frozenset({"IntField", "BigIntField"}),
    Kind.BIGINT: frozenset({"IntField", "BigIntField", "Minor"}),
    Kind.TIMESTAMP: frozenset({"Millis"}),
    Kind.DATE: frozenset({"Day"}),
    Kind.BOOL: frozenset({"BooleanField"}),
    Kind.JSON: frozenset({"JsonText"}),
    Kind.TEXTS: frozenset({"JsonText"}),
}


def check_entities(entities: Mapping[str, Entity] = ENTITIES) -> list[str]:
    """What of the table does not fit the models or the scopes, one line each; empty when all does."""
    return [line for entity in entities.values() for line in _misfits(entity, entities)]


def _misfits(entity: Entity, entities: Mapping[str, Entity]) -> Iterator[str]:
    known = entity.model._meta.fields_map
    scopes = [entity.part_of is not None, entity.name in PLACES, entity.unplaced, entity.sees is not None]
    if scopes.count(True) != 1:
        yield f"{entity.name}: needs places, a parent, a scope of its own or a declared lack of all, and only one"
    if len(entity.by_name) != len(entity.fields):
        yield f"{entity.name}: two fields have one name"
    if entity.part_of is not None:
        parent, own, theirs = entity.part_of
        if own not in known or theirs not in entities[parent].model._meta.fields_map:
            yield f"{entity.name}: part of {parent} by a column that does not exist"
        if entity.right != entities[parent].right:
            yield f"{entity.name}: another right than the {parent} it is part of"
    for column in entity.columns:
        if column.column not in known:
            yield f"{entity.name}.{column.name}: no column {column.column}"
        elif column.expression is None and type(known[column.column]).__name__ not in _COLUMN_TYPES[column.kind]:
            yield f"{entity.name}.{column.name}: {column.column} is not stored as {column.kind}"
        if column.personal_where is not None and column.personal_where[0] not in known:
            yield f"{entity.name}.{column.name}: personal by a column that does not exist"
    for name, declared in entity.filters.items():
        if declared.masked is not None and declared.masked not in entity.filters:
            yield f"{entity.name}: no filter {declared.masked} in place of {name}"
    for embedded in (found for found in entity.fields if isinstance(found, Embedded)):
        yield from (
            f"{entity.name}.{embedded.name}: {column.name} may be null and the object is not then"
            for column in embedded.columns
            if column.column in known and known[column.column].null and column.column not in embedded.unless_null
        )
    for relation in entity.relations:
        target = entities.get(relation.entity)
        if target is None:
            yield f"{entity.name}.{relation.name}: no entity {relation.entity}"
            continue
        if relation.ours not in known or relation.theirs not in target.model._meta.fields_map:
            yield f"{entity.name}.{relation.name}: joins columns that do not exist"
        if relation.many is not Many.ONE and relation.order not in target.orders:
            yield f"{entity.name}.{relation.name}: {relation.entity} has no order {relation.order}"
        yield from (
            f"{entity.name}.{relation.name}: {relation.entity} has no filter {name}"
            for name in relation.where
            if name not in target.filters
        )
