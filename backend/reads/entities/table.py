"""Every entity that can be read: field → column, relation → join and order, filter and sort → SQL.

**To add a field:** a line in the entity's `columns(…)` in the file of its area beside this one, and a line with its
description in the object type of the same name in `backend/schema/types.py`. `check_entities` and the schema's own
check say at start-up what does not fit.
"""

from collections.abc import Iterator, Mapping

from backend.reads.entities.catalogue import COLOURS, PRICE_LISTS, PRICES, SEASONS, SKUS, STYLES
from backend.reads.entities.customers import CONTACTS, CUSTOMER_CONTACTS, CUSTOMERS, MATCH_PAIRS
from backend.reads.entities.entity import Embedded, Entity, Kind, Many
from backend.reads.entities.feedback import ANSWER_MEASURES, ANSWERS, CASES, FORMS
from backend.reads.entities.insight import JUDGEMENTS, SCORE_LINES, SCORE_RUNS, SCORES
from backend.reads.entities.keeping import AUDIT, IMPORT_BATCHES
from backend.reads.entities.organisation import CUSTOM_FIELDS, PEOPLE, TERRITORIES
from backend.reads.entities.sync import DEVICES, SYNC_ISSUES
from backend.reads.entities.work import ATTACHMENTS, ORDER_LINES, ORDERS, TASKS, VISITS
from backend.storage.visibility import PLACES

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
