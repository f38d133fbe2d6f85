"""Who sees a record: one declaration per collection, read by the feed and by every query.

A *place* is a scope a record stands in; a *grant* is a scope someone holds. A record is visible when one of
its places meets an open grant. The feed's places and the predicate of the reads are printed from `PLACES`.
Scopes: `territory:<id>`, `user:<id>`, `unassigned`, `catalogue`, `organisation`; and `tasks:<territory>` and
`unassigned_tasks`, because not everybody who reads the customers of a territory reads what its people have to do.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.domain.permissions import DEVICES_RIGHT, Action, Collection, Reach, reach


@dataclass(frozen=True, slots=True)
class Place:
    """Rows of `source` put `record` into the scope `<scope>:<key>`, or into `scope` itself without a key.

    `in_row`: `source` is the collection's own row and nothing else, so the predicate looks at the row where it stands,
    and an index on the key serves. `hangs_on` names the collection whose record's place this is: who may not
    read that collection does not see what hangs on it either.
    """

    scope: str
    source: str
    record: str
    key: str | None = None
    where: str = "1 = 1"
    in_row: bool = False
    hangs_on: str | None = None


def _by_territory(table: str, record: str = "id") -> tuple[Place, ...]:
    """A row that carries its customer's territory, of whatever age; without, the root sees it."""
    return (
        Place(
            "territory",
            f"{table} p",
            f"p.{record}",
            "p.territory_id",
            "p.territory_id IS NOT NULL",
            in_row=True,
        ),
        Place("unassigned", f"{table} p", f"p.{record}", None, "p.territory_id IS NULL", in_row=True),
    )


_OWN_PLACES: Mapping[str, tuple[Place, ...]] = {
    "customers": (
        *_by_territory("customer"),
        # a chain's head is seen by the reps of its doors
        Place("territory", "customer p", "p.parent_id", "p.territory_id",
              "p.parent_id IS NOT NULL AND p.territory_id IS NOT NULL"),
    ),
    "customerContacts": _by_territory("customer_contact"),
    "contacts": (
        Place("territory", "customer_contact p", "p.contact_id", "p.territory_id",
              "p.territory_id IS NOT NULL"),
        Place("unassigned", "customer_contact p", "p.contact_id", None, "p.territory_id IS NULL"),
        # a contact not yet linked stays with whoever entered it
        Place("user", "contact p", "p.id", "p.created_by",
              "NOT EXISTS (SELECT 1 FROM customer_contact l WHERE l.contact_id = p.id)", in_row=True),
    ),
    "visits": _by_territory("visit"),
    "orders": _by_territory("sales_order"),
    "tasks": (
        Place("tasks", "task p", "p.id", "p.territory_id",
              "p.customer_id IS NOT NULL AND p.territory_id IS NOT NULL", in_row=True),
        Place("unassigned_tasks", "task p", "p.id", None, "p.customer_id IS NOT NULL AND p.territory_id IS NULL",
              in_row=True),
        Place("user", "task p", "p.id", "p.assignee_id", in_row=True),
    ),
    "forms": (Place("organisation", "form p", "p.id"),),
    "answers": _by_territory("answer"),
    "cases": _by_territory("service_case"),
    "judgements": _by_territory("judgement"),
    "scores": _by_territory("customer_score", "customer_id"),
    "territories": (Place("organisation", "territory p", "p.id", in_row=True),),
    "people": (Place("organisation", "user_account p", "p.id", in_row=True),),
    "customFields": (Place("organisation", "custom_field p", "p.id", in_row=True),),
    "priorityTables": (Place("organisation", "priority_table p", "p.id", in_row=True),),
    "seasons": (Place("catalogue", "season p", "p.id", in_row=True),),
    "styles": (Place("catalogue", "style p", "p.id", in_row=True),),
    "priceLists": (Place("catalogue", "price_list p", "p.id", in_row=True),),
    "syncIssues": (Place("user", "sync_issue p", "p.id", "p.user_id", in_row=True),),
}  # fmt: skip


def follows(scopes: Iterable[str], territory_id: str | None) -> str:
    """The scope that what stood in `scopes` for its customer's sake stands in once that customer is in a territory."""
    if any(scope == "unassigned_tasks" or scope.startswith("tasks:") for scope in scopes):
        return f"tasks:{territory_id}" if territory_id else "unassigned_tasks"
    return f"territory:{territory_id}" if territory_id else "unassigned"


HOLDERS = ("customers", "contacts", "visits", "orders", "tasks")
"""What attachments hang on."""


def _with_its_record(table: str, holders: Sequence[str]) -> tuple[Place, ...]:
    """A row that hangs on a record of another collection stands wherever that record stands, and nowhere else."""
    return tuple(
        Place(
            place.scope,
            f"{table} hung JOIN {place.source} ON {place.record} = hung.record_id AND hung.collection = '{holder}'",
            "hung.id",
            place.key,
            place.where,
            hangs_on=holder,
        )
        for holder in holders
        for place in _OWN_PLACES[holder]
    )


PLACES: Mapping[str, tuple[Place, ...]] = {
    **_OWN_PLACES,
    "attachments": _with_its_record("attachment", HOLDERS),
}


def places_sql(collection: str) -> str:
    """Rows (record id, scope) for the records given as one list argument per place."""
    return " UNION ".join(
        f"SELECT {place.record}, {_scope_expression(place)} FROM {place.source} "
        f"WHERE {place.record} = ANY(?) AND {place.where}"
        for place in PLACES[collection]
    )


@cache
def place_columns(collection: str) -> frozenset[str] | None:
    """The columns of a record's own row that decide where it stands; None where other rows have a say.

    While none of them is written, its places are what they were.
    """
    places = PLACES[collection]
    if not all(place.in_row for place in places):
        return None
    told = " ".join(f"{place.record} {place.key or ''} {place.where}" for place in places)
    return frozenset(_OWN_COLUMN.findall(told)) if "SELECT" not in told else None


def _scope_expression(place: Place) -> str:
    return f"'{place.scope}'" if place.key is None else f"'{place.scope}:' || {place.key}"


def visible_to(
    principal: Principal, collection: str, alias: str, *, record_column: str = "id"
) -> tuple[str, list[str | int]]:
    """The predicate "this principal may read the row `alias`", and its arguments.

    A role without the right to read the collection sees none of it, whatever scopes it holds. For a principal with
    `formerly` it is "he sees it, or did when he captured what he hands in".
    """
    if not principal.reads(collection):
        return "(1 = 0)", []
    sql, times = visible_sql(collection, alias, reads=principal.reads, record_column=record_column)
    args: list[str | int] = [principal.holder] * times
    if principal.formerly is None:
        return sql, args
    former = principal.formerly
    then: list[str | int] = [principal.holder, former.captured_at_ms, former.ended_after_ms, former.ended_after_ms]
    parts = [sql, _seen_then(collection, f"{alias}.{record_column}")]
    if collection in CONTINUED:
        # what he made late himself never stood where he could see it
        parts.append(f"({alias}.created_by = ? AND {_seen_then('customers', f'{alias}.customer_id')})")
        return f"({' OR '.join(parts)})", [*args, *then, principal.holder, *then]
    return f"({' OR '.join(parts)})", [*args, *then]


CONTINUED = frozenset({"visits", "orders", "tasks", "answers", "cases", "judgements"})
"""Work on a customer that one rep begins and goes on with, so that all he captured of it comes late together."""
_ITSELF_AND_ALIASES = "IN (SELECT {record} UNION ALL SELECT alias_id FROM record_alias WHERE record_id = {record})"


def _seen_then(collection: str, record: str) -> str:
    """A place of the record met a grant of the user when something was captured, and ended only afterwards.

    Asks for: user id, moment of the capture, and twice the moment the meeting must have outlasted.
    """
    return (
        "EXISTS (SELECT 1 FROM feed_scope w JOIN user_scope u ON u.scope = w.scope AND u.user_id = ?"
        f" WHERE w.collection = '{collection}' AND w.record_id {_ITSELF_AND_ALIASES.format(record=record)}"
        f" AND u.granted_at <= ? AND {MEETING}"
        " AND (w.left_seq IS NULL OR w.left_at > ?) AND (u.revoked_seq IS NULL OR u.revoked_at > ?))"
    )


def seen_then(principal: Principal, collection: str, record: str) -> tuple[str, list[str | int]]:
    """The predicate "this principal saw the record when he captured what he hands in", and its arguments.

    `record` is the column with the record's id; the record itself may be gone. Nothing for who hands in nothing late.
    """
    former = principal.formerly
    if former is None or not principal.reads(collection):
        return "(1 = 0)", []
    after = former.ended_after_ms
    return _seen_then(collection, record), [principal.holder, former.captured_at_ms, after, after]


MEETING = (
    "(u.revoked_seq IS NULL OR w.entered_seq < u.revoked_seq) AND (w.left_seq IS NULL OR u.granted_seq < w.left_seq)"
)
"""The place `w` and the grant `u` of one scope were open at the same time."""


def holds_customer_to(principal: Principal, alias: str) -> tuple[str, list[str | int]]:
    """The predicate "the customer `alias` stands in a territory this principal holds, or in none", and its arguments.

    Seeing a customer is less: the head of a chain is seen by the reps of its doors.
    """
    sql = f"({alias}.territory_id IS NULL OR {alias}.territory_id IN ({granted_keys_sql('territory')}))"
    if principal.formerly is None:
        return sql, [principal.holder]
    after = principal.formerly.ended_after_ms
    then = (
        "EXISTS (SELECT 1 FROM territory_assignment a JOIN user_scope u"
        " ON u.scope = 'territory:' || a.territory_id AND u.user_id = ?"
        f" WHERE a.customer_id {_ITSELF_AND_ALIASES.format(record=f'{alias}.id')} AND u.granted_at <= ?"
        " AND (u.revoked_at IS NULL OR a.valid_from < u.revoked_at)"
        " AND (a.valid_to IS NULL OR u.granted_at < a.valid_to)"
        " AND (a.valid_to IS NULL OR a.valid_to > ?) AND (u.revoked_at IS NULL OR u.revoked_at > ?))"
    )
    return f"({sql} OR {then})", [principal.holder, principal.holder, principal.formerly.captured_at_ms, after, after]


def visible_sql(
    collection: str,
    alias: str,
    *,
    reads: Callable[[str], bool],
    record_column: str = "id",
    held: str | None = None,
) -> tuple[str, int]:
    """The predicate "visible to this user" over the row `alias`, and how often it asks for the user's id.

    `reads` says whether the user's role may read a collection that these records hang on. `held` names the part of
    the statement that `held_sql` gives for this collection, where there is one: PostgreSQL then finds out once what
    the user holds, whatever number of tables is looked at.

    With and without it the predicate is true of the same rows. Both see one snapshot, in which the array of a kind
    of scope has just the keys that `granted_keys_sql` gives, and its flag says whether `_granted` finds a row. So
    `key = ANY(array)` is true when `key IN (keys)` is, and a key that is NULL is in neither; of no keys the array is
    empty, not NULL. Nothing but these two tests is written otherwise.
    """
    grants = _ASKED_EACH_TIME if held is None else _AskedOnce(held)
    places = _open_to(collection, reads)
    parts = [_visible_by(place, alias, f"{alias}.{record_column}", grants) for place in places]
    return "(" + (" OR ".join(parts) or "1 = 0") + ")", len(parts) if held is None else 0


def held_sql(collections: Iterable[str]) -> str:
    """What the user given by `?` holds of the scopes these collections stand in: one row, for PostgreSQL.

    Keys are lists: who holds thousands is better served without.
    """
    found = {(place.scope, place.key is not None) for name in collections for place in PLACES[name]}
    columns = [
        f"coalesce(array_agg(substr(g.scope, {len(scope) + 2})) FILTER (WHERE {_of_kind(scope)}), '{{}}')"
        f" AS {scope}_keys"
        if keyed
        else f"coalesce(bool_or(g.scope = '{scope}'), false) AS {scope}_held"
        for scope, keyed in sorted(found)
    ]
    return f"SELECT {', '.join(columns)} FROM user_scope g WHERE g.user_id = ? AND g.revoked_seq IS NULL"


def visible_ids_sql(collection: str, *, reads: Callable[[str], bool]) -> tuple[str, int]:
    """The ids of all records visible to this user, from the same places, and how often it asks for the user's id.

    For one row `visible_sql` is cheaper; this is for all that few territories hold, which it finds by index.
    """
    parts = [_ids_by(place) for place in _open_to(collection, reads)]
    return " UNION ALL ".join(parts) or "SELECT '' WHERE 1 = 0", len(parts)


def parted_by_territory(collection: str, table: str, record_column: str) -> bool:
    """True where each row stands where its own territory says and nowhere else, so that `territory_parts` holds."""
    return PLACES[collection] == _by_territory(table, record_column)


def territory_parts(alias: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """What a user sees of such rows, in two parts without a row in common: (further source, condition over `alias`).

    Each asks for the user's id once. Within one key of the first part an index that begins with the territory gives
    the rows in the order of what comes after it.
    """
    return (
        (f"({granted_keys_sql('territory')}) k", f"{alias}.territory_id = k.key"),
        ("", f"{_granted('unassigned')} AND {alias}.territory_id IS NULL"),
    )


def _open_to(collection: str, reads: Callable[[str], bool]) -> list[Place]:
    return [place for place in PLACES[collection] if place.hangs_on is None or reads(place.hangs_on)]


def _ids_by(place: Place) -> str:
    if place.key is None:
        return f"SELECT {place.record} FROM {place.source} WHERE {_granted(place.scope)} AND {place.where}"
    keys = granted_keys_sql(place.scope)
    return f"SELECT {place.record} FROM {place.source} WHERE {place.where} AND {place.key} IN ({keys})"


class _AskedEachTime:
    """What the user holds is looked for at each place; `?` is the user, once."""

    def has_key(self, scope: str, key: str) -> str:
        return f"{key} IN ({granted_keys_sql(scope)})"

    def has(self, scope: str) -> str:
        return _granted(scope)


@dataclass(frozen=True, slots=True)
class _AskedOnce:
    """What the user holds stands in the row of the statement's part `name`, as `held_sql` gives it."""

    name: str

    def has_key(self, scope: str, key: str) -> str:
        return f"{key} = ANY((SELECT h.{scope}_keys FROM {self.name} h)::text[])"

    def has(self, scope: str) -> str:
        return f"(SELECT h.{scope}_held FROM {self.name} h)"


_ASKED_EACH_TIME = _AskedEachTime()
_OF_PLACE = re.compile(r"\bp\.")
_OWN_COLUMN = re.compile(r"\bp\.(\w+)")


def _visible_by(place: Place, alias: str, record: str, grants: _AskedEachTime | _AskedOnce) -> str:
    if place.in_row:
        where, key = (_OF_PLACE.sub(f"{alias}.", text or "") for text in (place.where, place.key))
        return f"({grants.has_key(place.scope, key) if key else grants.has(place.scope)} AND {where})"
    if place.key is None:
        return f"({grants.has(place.scope)} AND {_stands(place, record)})"
    return _stands(place, record, f" AND {grants.has_key(place.scope, place.key)}")


def _stands(place: Place, record: str, more: str = "") -> str:
    return f"EXISTS (SELECT 1 FROM {place.source} WHERE {place.record} = {record} AND {place.where}{more})"


def _granted(scope: str) -> str:
    return f"EXISTS (SELECT 1 FROM user_scope g WHERE g.user_id = ? AND g.scope = '{scope}' AND g.revoked_seq IS NULL)"


SEES_ALL_DEVICES = frozenset({Role.SERVICE_AGENT, Role.ADMIN})
"""Roles that see how every device stands."""


def devices_seen(principal: Principal, alias: str) -> tuple[str, int] | None:
    """The predicate "this principal may see how the device `alias` stands", and how often it asks for the user's id.

    A colleague sees his own, a manager those of reps below too. None for who sees no device at all.
    """
    if principal.kind is PrincipalKind.SERVICE and DEVICES_RIGHT in principal.rights:
        return "(1 = 1)", 0
    if principal.kind is not PrincipalKind.STAFF:
        return None
    if principal.role in SEES_ALL_DEVICES:
        return "(1 = 1)", 0
    if principal.role is Role.MANAGER:
        return f"({alias}.user_id = ? OR {alias}.user_id IN ({granted_keys_sql('user')}))", 2
    return f"({alias}.user_id = ?)", 1


_WORKING_SCOPES = "g.scope > 'tasks:' AND g.scope < 'user;'"
"""Territories, what stands in none, and people: not what everybody holds."""


def trail_seen(principal: Principal, alias: str) -> str | None:
    """The predicate "this principal may read the audit entry `alias`", `{user}` for the id; None for who reads none.

    A right over everything reads all of it. One over a subtree reads what its people did, and what was done by
    anybody to a record that stands within, or stood there when it was deleted.
    """
    how_far = reach(principal.role, Action.READ, Collection.AUDIT) if principal.role else None
    if how_far is Reach.ALL:
        return "1 = 1"
    if how_far is None and not principal.may(Action.READ, Collection.AUDIT):
        return None
    team = (
        f"{alias}.actor IN (SELECT 'staff:' || substr(g.scope, 6) FROM user_scope g WHERE g.user_id = {{user}}"
        " AND g.scope > 'user:' AND g.scope < 'user;' AND g.revoked_seq IS NULL)"
    )
    gone = f"(SELECT f.seq FROM feed f WHERE f.key = {alias}.collection || ':' || {alias}.record_id AND f.deleted)"
    within = (
        "EXISTS (SELECT 1 FROM feed_scope w JOIN user_scope g ON g.scope = w.scope AND g.user_id = {user}"
        f" AND g.revoked_seq IS NULL AND {_WORKING_SCOPES} WHERE w.collection = {alias}.collection"
        f" AND w.record_id = {alias}.record_id AND (w.left_seq IS NULL OR w.left_seq = {gone}))"
    )
    own = f"{alias}.actor = 'staff:' || {{user}}"
    return f"({own} OR {team} OR {within})"


BELOW_SEATS = (
    "SELECT t.id FROM territory t JOIN territory top ON t.path = top.path"
    " OR substr(t.path, 1, length(top.path) + 1) = top.path || '/' JOIN territory_member m ON m.territory_id = top.id"
    " WHERE m.user_id = ? AND m.valid_to IS NULL"
)
"""Every node at or below those somebody is seated at: regions too, which grants of patches do not name."""


def territories_held(principal: Principal) -> tuple[str, list[str | int]]:
    """The territories the principal holds, or held when he captured what he hands in: a statement, its arguments."""
    sql, former = granted_keys_sql("territory"), principal.formerly
    if former is None:
        return sql, [principal.holder]
    then = (
        "SELECT substr(g.scope, 11) FROM user_scope g WHERE g.user_id = ? AND g.scope > 'territory:'"
        " AND g.scope < 'territory;' AND g.granted_at <= ? AND g.revoked_at > ?"
    )
    return f"{sql} UNION {then}", [principal.holder, principal.holder, former.captured_at_ms, former.ended_after_ms]


def granted_keys_sql(scope: str) -> str:
    """The keys of one kind of scope that the user given by `?` holds now, as `key`."""
    return (
        f"SELECT substr(g.scope, {len(scope) + 2}) AS key FROM user_scope g WHERE g.user_id = ? "
        f"AND {_of_kind(scope)} AND g.revoked_seq IS NULL"
    )


def _of_kind(scope: str) -> str:
    return f"g.scope > '{scope}:' AND g.scope < '{scope};'"
