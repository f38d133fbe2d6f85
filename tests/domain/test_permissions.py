"""The roles table, read back cell by cell."""

import pytest

from backend.auth.principal import Principal, PrincipalKind
from backend.domain.contacts import CONTACT
from backend.domain.customers import CUSTOMER
from backend.domain.fields import Shape
from backend.domain.permissions import (
    CONTACT_CHANNEL_FIELDS,
    MASKED,
    RIGHTS,
    VISIT_PLAN_FIELDS,
    Action,
    Collection,
    Reach,
    Role,
    mask_text,
    may,
    reach,
    updatable_fields,
)
from backend.domain.visits import VISIT

R, C, U = Action.READ, Action.CREATE, Action.UPDATE
OWN, SUB, ALL = Reach.OWN, Reach.SUBTREE, Reach.ALL


@pytest.mark.parametrize(
    "collection", [Collection.CUSTOMERS, Collection.CONTACTS, Collection.VISITS, Collection.ORDERS]
)
def test_a_rep_reads_creates_and_updates_what_is_his_own_and_nothing_else(collection: Collection) -> None:
    assert RIGHTS[Role.REP][collection] == {R: OWN, C: OWN, U: OWN}


def test_a_manager_works_on_the_subtree() -> None:
    assert reach(Role.MANAGER, R, Collection.CUSTOMERS) is SUB
    assert reach(Role.MANAGER, Action.MOVE, Collection.CUSTOMERS) is SUB
    assert reach(Role.MANAGER, Action.APPROVE, Collection.ORDERS) is SUB
    assert reach(Role.MANAGER, Action.ASSIGN, Collection.TASKS) is SUB
    assert reach(Role.MANAGER, R, Collection.AUDIT) is SUB
    assert not may(Role.MANAGER, U, Collection.ORDERS)
    assert not may(Role.MANAGER, Action.SCORE, Collection.SCORES)
    assert not any(
        Reach.ALL is far
        for c, rights in RIGHTS[Role.MANAGER].items()
        if c not in ("catalogue", "customFields", "forms")
        for far in rights.values()
    )


def test_a_service_agent_reads_all_and_updates_contact_channels() -> None:
    assert reach(Role.SERVICE_AGENT, R, Collection.CUSTOMERS) is ALL
    assert not may(Role.SERVICE_AGENT, U, Collection.CUSTOMERS)
    assert may(Role.SERVICE_AGENT, C, Collection.ORDERS)
    assert updatable_fields(Role.SERVICE_AGENT, Collection.CONTACTS) == CONTACT_CHANNEL_FIELDS
    assert updatable_fields(Role.SERVICE_AGENT, Collection.CUSTOMERS) == frozenset()
    assert updatable_fields(Role.REP, Collection.CONTACTS) is None
    assert {f.name for f in CONTACT.client_fields} >= CONTACT_CHANNEL_FIELDS
    assert {f.name for f in VISIT.client_fields} >= VISIT_PLAN_FIELDS


@pytest.mark.requirement("R8")
def test_an_analyst_reaches_the_data_without_names_and_single_orders() -> None:
    assert reach(Role.ANALYST, R, Collection.CUSTOMERS) is ALL
    assert not may(Role.ANALYST, R, Collection.ORDERS)
    assert may(Role.ANALYST, Action.AGGREGATE, Collection.ORDERS)
    assert may(Role.ANALYST, Action.SCORE, Collection.SCORES)
    assert may(Role.ANALYST, Action.EXPORT, Collection.CUSTOMERS)
    assert not may(Role.ANALYST, Action.IMPORT, Collection.ORDERS)
    assert {Role.ANALYST, Role.MARKETER} == MASKED


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ADMIN])
def test_what_only_an_admin_may(role: Role) -> None:
    for collection in Collection:
        own_files = (role, collection) == (Role.REP, Collection.ATTACHMENTS)
        assert own_files == may(role, Action.DELETE, collection)
        assert not may(role, Action.ERASE, collection)
        assert not may(role, Action.PUBLISH, collection)
    for action in Action:
        assert not may(role, action, Collection.USERS)
        assert may(Role.ADMIN, action, Collection.USERS)
    assert not may(role, U, Collection.CATALOGUE)
    assert may(role, R, Collection.CATALOGUE)


def test_a_role_never_updates_what_it_may_not_read() -> None:
    for role in Role:
        for collection in Collection:
            if may(role, U, collection) or may(role, Action.APPROVE, collection):
                assert may(role, R, collection)


def personal_fields(shape: Shape) -> set[str]:
    return {field.name for field in shape.fields if field.personal}


@pytest.mark.requirement("R49")
def test_personal_data_is_masked_without_telling_its_length() -> None:
    assert mask_text("王伟") == mask_text("王小伟大") == "王•••"
    assert mask_text(None) is None
    assert {"phone", "email", "nameZh", "street", "latE7"} <= personal_fields(CUSTOMER)
    assert {"phone", "birthDate", "channels"} <= personal_fields(CONTACT)
    assert {"kind", "stage", "city", "territoryId"}.isdisjoint(personal_fields(CUSTOMER))
    assert Principal(PrincipalKind.STAFF, role=Role.ANALYST).masked
    assert not Principal(PrincipalKind.STAFF, role=Role.REP).masked
