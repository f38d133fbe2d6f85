"""Who may do what: the roles table as data.

A right says how far it reaches; whether a certain row lies within is decided where rows are read, from the
grants of that moment. A right that is absent does not exist: there is no default.
"""

from collections.abc import Collection as Collected
from collections.abc import Mapping
from enum import StrEnum


class Role(StrEnum):
    """What a colleague does in the company."""

    REP = "REP"
    MANAGER = "MANAGER"
    SERVICE_AGENT = "SERVICE_AGENT"
    MARKETER = "MARKETER"
    ANALYST = "ANALYST"
    BACK_OFFICE = "BACK_OFFICE"
    """looks things up in every territory, in clear, and changes, exports and syncs nothing"""
    ADMIN = "ADMIN"


class Action(StrEnum):
    """What can be done with the records of a collection."""

    READ = "READ"
    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    APPROVE = "APPROVE"
    """confirm or reject what a rep submitted or planned"""
    MOVE = "MOVE"
    """give customers to another territory, or territories to another rep"""
    MERGE = "MERGE"
    """make one record of two"""
    ASSIGN = "ASSIGN"
    """give a task to somebody else"""
    AGGREGATE = "AGGREGATE"
    """read sums and shares without the rows behind them"""
    IMPORT = "IMPORT"
    SCORE = "SCORE"
    """start a score run"""
    OVERRIDE = "OVERRIDE"
    """put a reasoned judgement in place of a score"""
    PUBLISH = "PUBLISH"
    """put drafted weights into force"""
    EXPORT = "EXPORT"
    ERASE = "ERASE"
    """remove a person's data everywhere"""


class Reach(StrEnum):
    """How far a right goes."""

    OWN = "OWN"
    """the territories held now, and what is assigned to oneself"""
    SUBTREE = "SUBTREE"
    """every territory below one's own"""
    ALL = "ALL"


class Collection(StrEnum):
    """What rights are given on."""

    CUSTOMERS = "customers"
    CONTACTS = "contacts"
    VISITS = "visits"
    ORDERS = "orders"
    TASKS = "tasks"
    FORMS = "forms"
    ANSWERS = "answers"
    CASES = "cases"
    ATTACHMENTS = "attachments"
    TERRITORIES = "territories"
    SCORES = "scores"
    JUDGEMENTS = "judgements"
    """what people know better than a score; AGGREGATE is what came of them"""
    CATALOGUE = "catalogue"
    IMPORTS = "imports"
    USERS = "users"
    CUSTOM_FIELDS = "customFields"
    AUDIT = "audit"
    EVALUATIONS = "evaluations"
    """what was done to customers, judged against others; to SCORE them is to backtest the priority"""
    IMPLEMENTATION = "implementation"
    """capacities, analyses of contribution, roll-outs, goals: the five steps; to SCORE is to analyse contribution"""


MASKED: frozenset[Role] = frozenset({Role.MARKETER, Role.ANALYST})
"""Roles that read personal data masked (R49)."""

CONTACT_CHANNEL_FIELDS: frozenset[str] = frozenset(
    {"phone", "email", "channels", "preferredChannel", "locale", "consentEvents"}
)
VISIT_PLAN_FIELDS: frozenset[str] = frozenset(
    {"state", "purpose", "plannedAt", "windowStartAt", "windowEndAt", "minutesPlanned", "reason", "notes"}
)

_C = Collection
_A = Action
_OWN, _SUB, _ALL = Reach.OWN, Reach.SUBTREE, Reach.ALL

Rights = Mapping[Collection, Mapping[Action, Reach]]

RIGHTS: Mapping[Role, Rights] = {
    Role.REP: {
        _C.CUSTOMERS: {_A.READ: _OWN, _A.CREATE: _OWN, _A.UPDATE: _OWN},
        _C.CONTACTS: {_A.READ: _OWN, _A.CREATE: _OWN, _A.UPDATE: _OWN},
        _C.VISITS: {_A.READ: _OWN, _A.CREATE: _OWN, _A.UPDATE: _OWN},
        _C.ORDERS: {_A.READ: _OWN, _A.CREATE: _OWN, _A.UPDATE: _OWN},
        _C.TASKS: {_A.READ: _OWN, _A.CREATE: _OWN, _A.UPDATE: _OWN},
        _C.FORMS: {_A.READ: _ALL},
        # Told once: who got an answer wrong gives another one.
        _C.ANSWERS: {_A.READ: _OWN, _A.CREATE: _OWN},
        _C.CASES: {_A.READ: _OWN, _A.CREATE: _OWN},
        # Those he made himself: the use case sees to that.
        _C.ATTACHMENTS: {_A.READ: _OWN, _A.CREATE: _OWN, _A.UPDATE: _OWN, _A.DELETE: _OWN},
        _C.TERRITORIES: {_A.READ: _OWN},
        _C.SCORES: {_A.READ: _OWN},
        # His own "not today"; an override he only sees.
        _C.JUDGEMENTS: {_A.READ: _OWN, _A.CREATE: _OWN, _A.UPDATE: _OWN},
        _C.CATALOGUE: {_A.READ: _ALL},
        _C.CUSTOM_FIELDS: {_A.READ: _ALL},
    },
    Role.MANAGER: {
        _C.CUSTOMERS: {
            _A.READ: _SUB,
            _A.UPDATE: _SUB,
            _A.MERGE: _SUB,
            _A.MOVE: _SUB,
            _A.EXPORT: _SUB,
            _A.IMPORT: _SUB,
        },
        _C.CONTACTS: {_A.READ: _SUB, _A.UPDATE: _SUB, _A.MERGE: _SUB, _A.EXPORT: _SUB},
        _C.VISITS: {_A.READ: _SUB, _A.CREATE: _SUB, _A.UPDATE: _SUB, _A.APPROVE: _SUB},
        _C.ORDERS: {_A.READ: _SUB, _A.APPROVE: _SUB, _A.IMPORT: _SUB},
        _C.TASKS: {_A.READ: _SUB, _A.CREATE: _SUB, _A.UPDATE: _SUB, _A.ASSIGN: _SUB},
        _C.FORMS: {_A.READ: _ALL},
        _C.ANSWERS: {_A.READ: _SUB, _A.CREATE: _SUB},
        _C.CASES: {_A.READ: _SUB, _A.UPDATE: _SUB},
        _C.ATTACHMENTS: {_A.READ: _SUB},
        _C.TERRITORIES: {_A.READ: _SUB, _A.MOVE: _SUB},
        _C.SCORES: {_A.READ: _SUB, _A.OVERRIDE: _SUB},
        _C.JUDGEMENTS: {_A.READ: _SUB, _A.CREATE: _SUB, _A.UPDATE: _SUB, _A.AGGREGATE: _SUB},
        _C.CATALOGUE: {_A.READ: _ALL},
        _C.CUSTOM_FIELDS: {_A.READ: _ALL},
        _C.IMPORTS: {_A.READ: _SUB, _A.IMPORT: _SUB},
        _C.AUDIT: {_A.READ: _SUB},
        _C.EVALUATIONS: {_A.READ: _SUB, _A.CREATE: _SUB, _A.UPDATE: _SUB},
        _C.IMPLEMENTATION: {_A.READ: _SUB, _A.CREATE: _SUB, _A.UPDATE: _SUB, _A.SCORE: _SUB},
    },
    Role.SERVICE_AGENT: {
        _C.CUSTOMERS: {_A.READ: _ALL},
        _C.CONTACTS: {_A.READ: _ALL, _A.UPDATE: _ALL},
        _C.VISITS: {_A.READ: _ALL},
        _C.ORDERS: {_A.READ: _ALL, _A.CREATE: _ALL},
        _C.TASKS: {_A.READ: _OWN, _A.CREATE: _OWN, _A.UPDATE: _OWN},
        _C.FORMS: {_A.READ: _ALL},
        _C.ANSWERS: {_A.READ: _ALL, _A.CREATE: _ALL},
        _C.CASES: {_A.READ: _ALL, _A.CREATE: _ALL, _A.UPDATE: _ALL},
        _C.ATTACHMENTS: {_A.READ: _ALL},
        # The tree is reference data that every syncing phone holds; its rules are not the agent's.
        _C.TERRITORIES: {_A.READ: _ALL},
        _C.SCORES: {_A.READ: _ALL},
        _C.JUDGEMENTS: {_A.READ: _ALL},
        _C.CATALOGUE: {_A.READ: _ALL},
        _C.CUSTOM_FIELDS: {_A.READ: _ALL},
    },
    Role.MARKETER: {
        _C.CUSTOMERS: {_A.READ: _ALL, _A.EXPORT: _ALL, _A.IMPORT: _ALL},
        _C.CONTACTS: {_A.READ: _ALL, _A.EXPORT: _ALL},
        _C.VISITS: {_A.READ: _ALL},
        _C.ORDERS: {_A.AGGREGATE: _ALL},
        _C.TASKS: {_A.READ: _OWN, _A.CREATE: _OWN, _A.UPDATE: _OWN},
        _C.FORMS: {_A.READ: _ALL},
        # What it measures; what was said stays masked. Of cases there are sums.
        _C.ANSWERS: {_A.READ: _ALL},
        _C.CASES: {_A.AGGREGATE: _ALL},
        # That there is one, with masked texts; never its bytes.
        _C.ATTACHMENTS: {_A.READ: _ALL},
        _C.TERRITORIES: {_A.READ: _ALL},
        _C.SCORES: {_A.READ: _ALL, _A.SCORE: _ALL},
        # With the note masked.
        _C.JUDGEMENTS: {_A.READ: _ALL, _A.AGGREGATE: _ALL},
        _C.CATALOGUE: {_A.READ: _ALL},
        _C.CUSTOM_FIELDS: {_A.READ: _ALL},
        _C.IMPORTS: {_A.READ: _OWN, _A.IMPORT: _OWN},
        _C.EVALUATIONS: {_A.READ: _ALL, _A.CREATE: _ALL, _A.UPDATE: _ALL},
        _C.IMPLEMENTATION: {_A.READ: _ALL},
    },
    Role.ANALYST: {
        _C.CUSTOMERS: {_A.READ: _ALL, _A.EXPORT: _ALL, _A.IMPORT: _ALL},
        _C.CONTACTS: {_A.READ: _ALL, _A.EXPORT: _ALL},
        _C.VISITS: {_A.READ: _ALL},
        _C.ORDERS: {_A.AGGREGATE: _ALL},
        _C.TASKS: {_A.READ: _OWN, _A.CREATE: _OWN, _A.UPDATE: _OWN},
        _C.FORMS: {_A.READ: _ALL},
        # What it measures; what was said stays masked. Of cases there are sums.
        _C.ANSWERS: {_A.READ: _ALL},
        _C.CASES: {_A.AGGREGATE: _ALL},
        # That there is one, with masked texts; never its bytes.
        _C.ATTACHMENTS: {_A.READ: _ALL},
        _C.TERRITORIES: {_A.READ: _ALL},
        _C.SCORES: {_A.READ: _ALL, _A.SCORE: _ALL},
        # With the note masked.
        _C.JUDGEMENTS: {_A.READ: _ALL, _A.AGGREGATE: _ALL},
        _C.CATALOGUE: {_A.READ: _ALL},
        _C.CUSTOM_FIELDS: {_A.READ: _ALL},
        _C.IMPORTS: {_A.READ: _OWN, _A.IMPORT: _OWN},
        _C.EVALUATIONS: {_A.READ: _ALL, _A.CREATE: _ALL, _A.UPDATE: _ALL, _A.SCORE: _ALL},
        _C.IMPLEMENTATION: {_A.READ: _ALL, _A.SCORE: _ALL},
    },
    Role.BACK_OFFICE: {
        collection: {_A.READ: _ALL}
        for collection in (
            _C.CUSTOMERS,
            _C.CONTACTS,
            _C.VISITS,
            _C.ORDERS,
            _C.TASKS,
            _C.FORMS,
            _C.ANSWERS,
            _C.CASES,
            _C.ATTACHMENTS,
            _C.TERRITORIES,
            _C.SCORES,
            _C.JUDGEMENTS,
            _C.CATALOGUE,
            _C.CUSTOM_FIELDS,
        )
    },
    Role.ADMIN: {collection: dict.fromkeys(Action, _ALL) for collection in Collection},
}
"""role → collection → action → reach. Marketers and analysts import leads (customers) only, never orders."""

FIELDS: Mapping[tuple[Role, Collection], frozenset[str]] = {
    (Role.SERVICE_AGENT, Collection.CONTACTS): CONTACT_CHANNEL_FIELDS,
    (Role.MANAGER, Collection.VISITS): VISIT_PLAN_FIELDS,
    (Role.MANAGER, Collection.CASES): frozenset({"escalated"}),
}
"""Where a role may change some fields only; elsewhere an UPDATE right covers all client fields."""

Cells = frozenset[tuple[Action, Collection]]

SCORE_RIGHT = "score:scores"
EVALUATE_RIGHT = "score:evaluations"
DEVICES_RIGHT = "devices"
BULK_RIGHT = "bulk"
EXPORT_RIGHT = "export"
_SERVICE_READS = (_C.CUSTOMERS, _C.CONTACTS, _C.VISITS, _C.ORDERS, _C.TASKS, _C.ATTACHMENTS, _C.TERRITORIES,
                  _C.SCORES, _C.CATALOGUE, _C.USERS, _C.CUSTOM_FIELDS, _C.FORMS, _C.ANSWERS, _C.CASES,
                  _C.JUDGEMENTS)  # fmt: skip
_SERVICE_WRITES = (_C.CUSTOMERS, _C.CONTACTS, _C.VISITS, _C.ORDERS, _C.TASKS, _C.ANSWERS, _C.CASES)

SERVICE_RIGHTS: Mapping[str, Cells] = {
    **{f"read:{one.value}": frozenset({(_A.READ, one)}) for one in _SERVICE_READS},
    **{f"write:{one.value}": frozenset({(_A.CREATE, one), (_A.UPDATE, one)}) for one in _SERVICE_WRITES},
    "assign:tasks": frozenset({(_A.ASSIGN, _C.TASKS)}),
    SCORE_RIGHT: frozenset({(_A.SCORE, _C.SCORES)}),
    EVALUATE_RIGHT: frozenset({(_A.SCORE, _C.EVALUATIONS)}),
    EXPORT_RIGHT: frozenset({(_A.EXPORT, _C.CUSTOMERS), (_A.EXPORT, _C.CONTACTS)}),
    BULK_RIGHT: frozenset(),
    DEVICES_RIGHT: frozenset(),
}
"""Name of a service's right → what it may do. Which rows, its territories say. BULK reads all it sees as one stream,
DEVICES reads how devices stand."""


def service_may(rights: Collected[str], action: Action, collection: Collection) -> bool:
    """True when one of the rights named covers the action; names nobody knows cover nothing."""
    return any((action, collection) in SERVICE_RIGHTS.get(name, frozenset()) for name in rights)


def reach(role: Role, action: Action, collection: Collection) -> Reach | None:
    """How far a role's right goes, or None when it has none."""
    return RIGHTS[role].get(collection, {}).get(action)


def may(role: Role, action: Action, collection: Collection) -> bool:
    """True when the role has the right at all; the rows it covers are those in scope."""
    return reach(role, action, collection) is not None


def updatable_fields(role: Role, collection: Collection) -> frozenset[str] | None:
    """The only fields the role may change in records that exist; None when all; empty when none."""
    if not may(role, Action.UPDATE, collection):
        return frozenset()
    return FIELDS.get((role, collection))


def mask_text(text: str | None) -> str | None:
    """What a masked role reads of personal data: the first character, never how long the rest is."""
    return None if text is None else f"{text[:1]}•••"
