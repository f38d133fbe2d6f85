"""Who is asking: a colleague with a device, a service with a key, or a customer's contact."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from backend.domain.permissions import MASKED, Action, Collection, Role, may, service_may, updatable_fields

__all__ = ["Principal", "PrincipalKind", "Role", "kind_of"]


_RIGHTS_OF: Mapping[str, Collection] = {
    **{collection.value: collection for collection in Collection},
    "customerContacts": Collection.CONTACTS,
    "seasons": Collection.CATALOGUE,
    "styles": Collection.CATALOGUE,
    "priceLists": Collection.CATALOGUE,
    "priorityTables": Collection.SCORES,
    "people": Collection.USERS,
}
"""Synced collection → what its rights are given on; for others (own sync issues) none is needed."""
_OF_ALL_STAFF = frozenset({"people"})
"""Colleagues know each other; other systems need a right for it."""


class PrincipalKind(StrEnum):
    """The kinds of those who ask. A setting given per kind of principal names its kinds by these words."""

    ANONYMOUS = "ANONYMOUS"
    """nobody proved who he is: there is no `Principal`; only `kind_of` answers this"""
    STAFF = "STAFF"
    """a colleague who signed in on a device, with an access token of minutes"""
    SERVICE = "SERVICE"
    """another system, with one of its service's keys: named rights, no role, no device"""
    CUSTOMER = "CUSTOMER"
    """a customer's contact, who would see his own records only; nobody signs in as one yet"""


@dataclass(frozen=True, slots=True)
class Formerly:
    """A moment in the past at which work was captured that is handed in now; moments in milliseconds.

    What the principal saw then counts where he stopped seeing it after `ended_after_ms`, which is never before
    `captured_at_ms`.
    """

    captured_at_ms: int
    ended_after_ms: int


@dataclass(frozen=True, slots=True)
class Principal:
    """The one who asks, as proved by a token.

    STAFF has `user_id`, `device_id` and `role`; SERVICE has `service_id` and `rights`;
    CUSTOMER has `contact_id` and sees that contact's own records only. What a principal may *see* is never
    here: grants are read from the database inside the statement or snapshot that uses them. `formerly` is set
    while a mutation runs that was captured before a territory changed hands: it widens what is loaded to be written.
    """

    kind: PrincipalKind
    user_id: str | None = None
    device_id: str | None = None
    role: Role | None = None
    service_id: str | None = None
    contact_id: str | None = None
    rights: frozenset[str] = field(default_factory=frozenset)
    locale: str = "en"
    formerly: Formerly | None = None
    requests_per_minute: int = 0
    """a service's own limit; 0: what the settings say of everybody"""

    @property
    def holder(self) -> str:
        """The id under which grants (`user_scope.user_id`) are held; without any, nothing is visible."""
        return self.user_id or self.service_id or self.contact_id or ""

    def reads(self, collection: str) -> bool:
        """True when records of a synced collection may be read at all; scope decides which."""
        named = _RIGHTS_OF.get(collection)
        if self.role is None:
            return self.kind is PrincipalKind.SERVICE and named is not None and self.may(Action.READ, named)
        return named is None or collection in _OF_ALL_STAFF or may(self.role, Action.READ, named)

    @property
    def counts_orders(self) -> bool:
        """True when sums over orders may be read, whether or not the orders themselves may."""
        return self.may(Action.READ, Collection.ORDERS) or self.may(Action.AGGREGATE, Collection.ORDERS)

    @property
    def only_counts_orders(self) -> bool:
        """True when sums over orders may be read and the orders may not, so that no sum may be one customer's."""
        return self.counts_orders and not self.may(Action.READ, Collection.ORDERS)

    def may(self, action: Action, collection: Collection) -> bool:
        """True when the role, or the rights of a service, cover the action at all; scope decides on which rows."""
        if self.role is not None:
            return may(self.role, action, collection)
        return self.kind is PrincipalKind.SERVICE and service_may(self.rights, action, collection)

    def updatable_fields(self, collection: Collection) -> frozenset[str] | None:
        """The only fields that may be changed in records that exist; None when all; empty when none."""
        if self.role is not None:
            return updatable_fields(self.role, collection)
        return None if self.may(Action.UPDATE, collection) else frozenset()

    @property
    def masked(self) -> bool:
        """True for roles that see personal data masked."""
        return self.role in MASKED

    @property
    def actor(self) -> str:
        """How audit entries name this principal."""
        return f"{self.kind.value.lower()}:{self.holder}"


def kind_of(principal: Principal | None) -> PrincipalKind:
    """The kind of whoever asks, ANONYMOUS for nobody: what a setting per kind of principal is looked up by."""
    return PrincipalKind.ANONYMOUS if principal is None else principal.kind
