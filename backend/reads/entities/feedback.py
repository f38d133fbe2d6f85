"""What customers said: forms, answers, and complaints."""

from backend.domain.permissions import Collection
from backend.reads.entities.entity import Entity, Filter, Kind, Order
from backend.reads.entities.shorthand import (
    BY_ID,
    ID,
    NAMES,
    among,
    between,
    columns,
    listing,
    number_key,
    one,
    rev,
    same,
    text_key,
)
from backend.storage.models import feedback

FORMS = Entity(
    "forms",
    "Form",
    feedback.FormVersion,
    Collection.FORMS,
    (
        rev("forms"),
        *columns(ID, "id"),
        *columns(Kind.TEXT, "key", *NAMES),
        *columns(Kind.ENUM, "occasion"),
        *columns(Kind.INT, "version"),
        *columns(Kind.JSON, "questions"),
        *columns(Kind.BOOL, "retired"),
        *columns(Kind.TIMESTAMP, "createdAt"),
    ),
    {"KEY": Order(text_key("{a}.key")), "CREATED_AT": Order(number_key("{a}.created_at"), descending=True)},
    {
        **BY_ID,
        **same("key", "key"),
        **same("occasion", "occasion"),
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
        rev("answers"),
        *columns(ID, "id", "formId", "customerId", "visitId", "contactId", "styleId", "correctsId", "territoryId"),
        *columns(Kind.JSON, personal=True, values="said"),
        *columns(Kind.TIMESTAMP, "answeredAt", "createdAt", "acceptedLateAt"),
        one("form", "forms", "form_id"),
        one("customer", "customers", "customer_id"),
        one("visit", "visits", "visit_id"),
        one("style", "styles", "style_id"),
        one("corrects", "answers", "corrects_id"),
        listing("measures", "answerMeasures", "answer_id", "POSITION"),
    ),
    {"ANSWERED_AT": Order(number_key("{a}.answered_at"), descending=True)},
    {
        **BY_ID,
        **same("customerId", "customer_id"),
        **same("formId", "form_id"),
        **same("visitId", "visit_id"),
        **same("styleId", "style_id"),
        **same("territoryId", "territory_id"),
        **between("answered_at"),
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
        *columns(ID, "id"),
        *columns(Kind.INT, "position"),
        *columns(Kind.ENUM, "measure"),
        *columns(Kind.TEXT, "question", "currency"),
        *columns(Kind.BIGINT, "value"),
    ),
    {"POSITION": Order(number_key("{a}.position"))},
    part_of=("answers", "answer_id", "id"),
)
CASES = Entity(
    "cases",
    "Case",
    feedback.ServiceCase,
    Collection.CASES,
    (
        rev("cases"),
        *columns(ID, "id", "customerId", "contactId", "visitId", "styleId", "assigneeId", "territoryId"),
        *columns(ID, aboutOrderId="order_id"),
        *columns(Kind.ENUM, "kind", "priority", "state"),
        *columns(Kind.TEXT, "subject", "notes", "resolution", personal=True),
        *columns(Kind.BOOL, "escalated", "late"),
        *columns(Kind.INT, "reopenedTimes"),
        *columns(Kind.TIMESTAMP, "openedAt", "dueAt", "waitingSince", "resolvedAt", "createdAt", "acceptedLateAt"),
        one("customer", "customers", "customer_id"),
        one("visit", "visits", "visit_id"),
        one("aboutOrder", "orders", "order_id"),
        one("style", "styles", "style_id"),
        one("assignee", "people", "assignee_id"),
    ),
    {
        "DUE": Order(number_key("{a}.due_at")),
        "OPENED_AT": Order(number_key("{a}.opened_at"), descending=True),
    },
    {
        **BY_ID,
        **same("customerId", "customer_id"),
        **same("assigneeId", "assignee_id"),
        **same("territoryId", "territory_id"),
        **among("stateIn", "state"),
        **among("priorityIn", "priority"),
        "unsettled": Filter("{a}.state NOT IN ('RESOLVED', 'CLOSED')"),
        "escalated": Filter("{a}.escalated"),
    },
    node=True,
)
