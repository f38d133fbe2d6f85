"""The synced collections: table, fields and nested rows of each, declared once.

To add one: declare its shape in `backend/domain/`, its places in `storage/visibility.py`, a line here, and its
use case in `wiring.py`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from backend.domain.answers import ANSWER, ANSWER_MEASURE, MEASURES
from backend.domain.attachments import ATTACHMENT
from backend.domain.cases import CASE
from backend.domain.contacts import CONTACT, CUSTOMER_CONTACT
from backend.domain.custom import CUSTOM_FIELD
from backend.domain.customers import CUSTOMER
from backend.domain.fields import Field, Kind, Merge, Shape, server_field
from backend.domain.forms import FORM
from backend.domain.forms import SINCE as FORMS_SINCE
from backend.domain.judgements import JUDGEMENT
from backend.domain.judgements import SINCE as JUDGEMENTS_SINCE
from backend.domain.orders import ORDER, ORDER_LINE
from backend.domain.tasks import TASK
from backend.domain.territories import TERRITORY
from backend.domain.visits import VISIT

_BEFORE_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")


def column_of(name: str) -> str:
    """`checkInLatE7` is kept in `check_in_lat_e7`."""
    return _BEFORE_CAPITAL.sub(r"_\1", name).lower()


@dataclass(frozen=True)
class Child:
    """Rows of another table that travel inside the document as a list."""

    name: str
    table: str
    parent: str
    fields: tuple[Field, ...]
    order: str = "position, id"

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    @cached_property
    def columns(self) -> dict[str, str]:
        return {field.name: column_of(field.name) for field in self.fields}

    @cached_property
    def select_sql(self) -> str:
        """(parent id, fields…) of the parents in one list, in document order."""
        return (
            f"SELECT {self.parent}, {', '.join(_quoted(self.columns.values()))} FROM {self.table}"
            f" WHERE {self.parent} = ANY(?) ORDER BY {self.parent}, {self.order}"
        )


@dataclass(frozen=True)
class Collection:
    """One synced collection.

    `renamed` lists fields whose column is not their name in snake case. `unshown` fields stay out of documents:
    a child's `territoryId` says nothing its customer does not say, and a move would rewrite every document.
    `reset` names client fields the server may set anew, which do not make a replayed creation another one.
    `deletion_wins`: a deletion stands even against an edit it had not seen; else it is refused with CONFLICT.
    `since` is the schema version that brought the collection: clients of an older one never hear of it.
    """

    name: str
    table: str
    shape: Shape
    record_column: str = "id"
    children: tuple[Child, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    unshown: frozenset[str] = frozenset()
    reset: frozenset[str] = frozenset()
    deletion_wins: bool = False
    since: int = 1

    @cached_property
    def doc_version(self) -> int:
        """The schema version that last changed the shape of these documents."""
        return max(self.versions)

    @cached_property
    def versions(self) -> frozenset[int]:
        """Every schema version that changed the shape of these documents, from `since` on."""
        nested = [found for child in self.children for found in child.fields]
        return frozenset({self.since, *_since([*self.own_fields, *nested], self.since)})

    @cached_property
    def own_fields(self) -> tuple[Field, ...]:
        """The document's fields that stand in the collection's own row."""
        nested = {child.name for child in self.children} | self.unshown
        return tuple(found for found in self.shape.fields if found.name not in nested)

    @cached_property
    def own_names(self) -> tuple[str, ...]:
        return tuple(found.name for found in self.own_fields)

    @cached_property
    def columns(self) -> dict[str, str]:
        return {found.name: self.renamed.get(found.name, column_of(found.name)) for found in self.own_fields}

    @cached_property
    def select_sql(self) -> str:
        """(record id, fields…) of the records in one list."""
        columns = ", ".join(_quoted(self.columns.values()))
        return f"SELECT {self.record_column}, {columns} FROM {self.table} WHERE {self.record_column} = ANY(?)"


def _quoted(names: object) -> list[str]:
    return [f'"{name}"' for name in names]  # type: ignore[attr-defined]


def _since(fields: Iterable[Field], least: int) -> Iterator[int]:
    """When each field came, those inside records too; never before what holds it."""
    for found in fields:
        yield max(found.since, least)
        if found.record is not None:
            yield from _since(found.record.fields, max(found.since, least))


def _records(name: str, record: Shape, *, since: int) -> Field:
    """A list of records only the server writes, inside the document."""
    return Field(name, Kind.RECORDS, nullable=False, merge=Merge.SERVER_ONLY, record=record, since=since, default=[])


def _read_only(
    name: str,
    kinds: Mapping[str, Kind],
    *,
    since: Mapping[str, int] | None = None,
    defaults: Mapping[str, object] | None = None,
    records: tuple[Field, ...] = (),
    key: str = "id",
) -> Shape:
    """A shape only the server writes; `since` names the fields that came after the first schema version, `defaults`
    what those mean where a document lacks them, when it is not null. `records` are lists inside it."""
    later, meant = since or {}, defaults or {}
    return Shape(
        name,
        (
            *(
                server_field(found, kind, since=later.get(found, 1), default=meant.get(found))
                for found, kind in kinds.items()
            ),
            *records,
        ),
        key=key,
    )


PERSON = _read_only(
    "Person", {"id": Kind.ID, "name": Kind.TEXT, "sortKey": Kind.TEXT, "role": Kind.ENUM, "active": Kind.BOOL}
)
NEXT_QUESTION = _read_only(
    "nextQuestion",
    {"measure": Kind.ENUM, "because": Kind.ENUM, "low": Kind.ENUM, "high": Kind.ENUM},
    key="",
)
"""A fact worth asking for: what is not known or old, and the segments the worst and the best answer would lead to."""
SCORE = _read_only(
    "Score",
    {
        "id": Kind.ID,
        "priority": Kind.INT,
        "segment": Kind.ENUM,
        "segmentSince": Kind.DATE,
        "previousSegment": Kind.ENUM,
        "segmentCause": Kind.ENUM,
        "stage": Kind.ENUM,
        "existingValueMinor": Kind.MONEY_MINOR,
        "potentialMinor": Kind.MONEY_MINOR,
        "loyaltyHundredths": Kind.INT,
        "satisfactionHundredths": Kind.INT,
        "churnRiskBp": Kind.INT,
        "pastValueMinor": Kind.MONEY_MINOR,
        "futureValueMinor": Kind.MONEY_MINOR,
        "currency": Kind.TEXT,
        "basis": Kind.ENUM,
        "coverageBp": Kind.INT,
        "confidenceBp": Kind.INT,
        "asOf": Kind.DATE,
        "tableId": Kind.ID,
        "facts": Kind.MAP,
    },
    records=(_records("questions", NEXT_QUESTION, since=FORMS_SINCE),),
)
SCORE_LINE = _read_only(
    "ScoreLine",
    {
        "code": Kind.ENUM,
        "points": Kind.INT,
        "recorded": Kind.BOOL,
        "numbers": Kind.MAP,
        "evidence": Kind.SET,
    },
)
PRIORITY_TABLE = _read_only("PriorityTable", {"id": Kind.ID, "version": Kind.TEXT, "tables": Kind.MAP})
ISSUE_SINCE = {
    "authorId": Kind.ID,
    "authorName": Kind.TEXT,
    "theirsName": Kind.TEXT,
    "theirsAt": Kind.TIMESTAMP,
    "theirsRev": Kind.INT,
    "intent": Kind.ENUM,
    "baseRev": Kind.INT,
    "problems": Kind.SET,
    "about": Kind.MAP,
    "names": Kind.MAP,
    "resolution": Kind.ENUM,
    "resolvedValue": Kind.MAP,
    "resolvedBy": Kind.ID,
    "resolvedName": Kind.TEXT,
    "resolvedAt": Kind.TIMESTAMP,
    "history": Kind.SET,
}
"""What version 2 of the documents brought: who, when, which record in words, and how it was settled."""
SYNC_ISSUE = _read_only(
    "SyncIssue",
    {
        "id": Kind.ID,
        "collection": Kind.TEXT,
        "recordId": Kind.ID,
        "mutationId": Kind.ID,
        "code": Kind.ENUM,
        "field": Kind.TEXT,
        "base": Kind.MAP,
        "mine": Kind.MAP,
        "theirs": Kind.MAP,
        "theirsBy": Kind.TEXT,
        "waysOut": Kind.SET,
        "state": Kind.ENUM,
        "capturedAt": Kind.TIMESTAMP,
        "createdAt": Kind.TIMESTAMP,
        **ISSUE_SINCE,
    },
    since=dict.fromkeys(ISSUE_SINCE, 2),
    defaults={"authorName": "", "problems": [], "about": {}, "names": {}, "history": []},
)


NAMES = {"nameZh": Kind.TEXT, "nameKo": Kind.TEXT, "nameEn": Kind.TEXT}
SEASON = _read_only(
    "Season",
    {
        "id": Kind.ID,
        "code": Kind.TEXT,
        **NAMES,
        "orderOpensOn": Kind.DATE,
        "orderClosesOn": Kind.DATE,
        "shipsFrom": Kind.DATE,
        "shipsTo": Kind.DATE,
    },
)
STYLE = _read_only(
    "Style",
    {
        "id": Kind.ID,
        "code": Kind.TEXT,
        "brand": Kind.TEXT,
        **NAMES,
        "category": Kind.ENUM,
        "seasonId": Kind.ID,
        "sizeScale": Kind.SET,
        "state": Kind.ENUM,
    },
)
COLOUR = _read_only("Colour", {"id": Kind.ID, "code": Kind.TEXT, **NAMES})
SKU = _read_only("Sku", {"id": Kind.ID, "colourId": Kind.ID, "size": Kind.TEXT, "ean": Kind.TEXT, "state": Kind.ENUM})
PRICE_LIST = _read_only("PriceList", {"id": Kind.ID, "code": Kind.TEXT, "name": Kind.TEXT, "currency": Kind.TEXT})
PRICE = _read_only(
    "Price",
    {
        "id": Kind.ID,
        "styleId": Kind.ID,
        "minUnits": Kind.INT,
        "priceMinor": Kind.MONEY_MINOR,
        "validFrom": Kind.DATE,
        "validTo": Kind.DATE,
    },
)
STORED_LINE: tuple[Field, ...] = (
    *(found for found in ORDER_LINE.fields if found.name != "removed"),
    server_field("description", Kind.TEXT),
    server_field("units", Kind.INT),
    server_field("totalMinor", Kind.MONEY_MINOR),
)

CHILD = frozenset({"territoryId"})

COLLECTIONS: Mapping[str, Collection] = {
    collection.name: collection
    for collection in (
        Collection("customers", "customer", CUSTOMER),
        Collection("contacts", "contact", CONTACT),
        Collection(
            "customerContacts",
            "customer_contact",
            CUSTOMER_CONTACT,
            renamed={"primary": "is_primary"},
            unshown=CHILD,
            deletion_wins=True,
        ),
        Collection("visits", "visit", VISIT, unshown=CHILD),
        Collection(
            "orders",
            "sales_order",
            ORDER,
            children=(Child("lines", "order_line", "order_id", STORED_LINE),),
            unshown=CHILD,
            reset=frozenset({"unitPriceMinor"}),
        ),
        Collection("tasks", "task", TASK, unshown=CHILD, deletion_wins=True),
        Collection("forms", "form", FORM, since=FORMS_SINCE),
        Collection(
            "answers",
            "answer",
            ANSWER,
            children=(Child(MEASURES, "answer_measure", "answer_id", ANSWER_MEASURE.fields),),
            renamed={"values": "said"},
            unshown=CHILD,
            since=FORMS_SINCE,
        ),
        Collection(
            "cases",
            "service_case",
            CASE,
            renamed={"aboutOrderId": "order_id"},
            unshown=CHILD,
            since=FORMS_SINCE,
        ),
        Collection("judgements", "judgement", JUDGEMENT, unshown=CHILD, since=JUDGEMENTS_SINCE),
        Collection("attachments", "attachment", ATTACHMENT, deletion_wins=True, since=2),
        Collection("territories", "territory", TERRITORY),
        Collection("people", "user_account", PERSON),
        Collection("customFields", "custom_field", CUSTOM_FIELD, since=3),
        Collection(
            "scores",
            "customer_score",
            SCORE,
            record_column="customer_id",
            children=(Child("lines", "score_line", "customer_id", SCORE_LINE.fields),),
            renamed={"id": "customer_id"},
        ),
        Collection("priorityTables", "priority_table", PRIORITY_TABLE),
        Collection("seasons", "season", SEASON),
        Collection(
            "styles",
            "style",
            STYLE,
            children=(
                Child("colours", "colour", "style_id", COLOUR.fields, "code, id"),
                Child("skus", "sku", "style_id", SKU.fields, "colour_id, position, id"),
            ),
        ),
        Collection(
            "priceLists",
            "price_list",
            PRICE_LIST,
            children=(Child("prices", "price", "price_list_id", PRICE.fields, "style_id, min_units, id"),),
        ),
        Collection("syncIssues", "sync_issue", SYNC_ISSUE, renamed={"authorId": "user_id"}),
    )
}
