"""The entity table against the models, and what it says when they differ."""

import dataclasses

import pytest

from backend.reads.entities.customers import CUSTOMERS
from backend.reads.entities.entity import Column, Embedded, Entity, Kind, Many, Relation
from backend.reads.entities.table import ENTITIES, check_entities
from backend.reads.entities.work import ORDER_LINES


def test_the_table_fits_the_models_and_the_scopes() -> None:
    assert check_entities() == []


@pytest.mark.parametrize(
    ("field", "told"),
    [
        (Column("nope", Kind.TEXT, "nope"), "no column nope"),
        (Column("wrong", Kind.TIMESTAMP, "name_zh"), "not stored as TIMESTAMP"),
        (Column("code", Kind.TEXT, "code"), "two fields have one name"),
        (
            Embedded("limit", "Money", (Column("currency", Kind.TEXT, "currency"),), ("credit_limit_minor",)),
            "may be null and the object is not",
        ),
        (Column("by", Kind.TEXT, "name_zh", True, None, ("nope", "x")), "personal by a column that does not exist"),
        (Relation("things", "things", Many.ONE, "id", "id"), "no entity things"),
        (Relation("bad", "orders", Many.PAGE, "id", "nope", "ORDERED_AT"), "joins columns that do not exist"),
        (Relation("bad", "orders", Many.PAGE, "id", "customer_id", "NOPE"), "has no order NOPE"),
    ],
)
def test_a_field_that_does_not_fit_is_told(field: Column | Embedded | Relation, told: str) -> None:
    planted = dataclasses.replace(CUSTOMERS, fields=(*CUSTOMERS.fields, field))
    assert any(told in line for line in check_entities({**ENTITIES, "customers": planted}))


def test_a_filter_for_masked_roles_that_does_not_exist_is_told() -> None:
    planted = dataclasses.replace(CUSTOMERS, filters={"search": dataclasses.replace(CUSTOMERS.filters["search"])})
    assert check_entities({**ENTITIES, "customers": planted}) == ["customers: no filter searchTrade in place of search"]


@pytest.mark.parametrize(
    "planted",
    [
        dataclasses.replace(CUSTOMERS, name="unheard", unplaced=False),
        dataclasses.replace(CUSTOMERS, unplaced=True),
        dataclasses.replace(ORDER_LINES, part_of=None),
        dataclasses.replace(ORDER_LINES, right=None),
    ],
)
def test_an_entity_without_exactly_one_scope_is_told(planted: Entity) -> None:
    assert check_entities({**ENTITIES, planted.name: planted})
