"""Services: other systems that ask in their own name, with keys that can be exchanged one after the other.

A service has rights by name and a scope: everywhere, or some nodes of the tree with all below. What it may see is
granted like a colleague's scopes, so every read and every use case holds for it too. Of a key only a hash is kept.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from backend.auth.principal import Principal
from backend.domain.fields import parse_text
from backend.domain.messages import LOCALES
from backend.domain.permissions import BULK_RIGHT, SERVICE_RIGHTS, Action, Collection
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import is_id, new_id
from backend.storage.engine import Connection
from backend.storage.services import SERVICE_KEY_PREFIX, secret_digest
from backend.sync.work import Door, Work

SECRET_BYTES = 32
NAME_CHARACTERS_MAX = 80
SERVICES_MAX = 500
KEYS_PER_SERVICE_MAX = 10
"""Keys of a service that are neither revoked nor expired."""
KEY_DAYS_MAX = 3_650
TERRITORIES_MAX = 500
REQUESTS_PER_MINUTE_MAX = 100_000
REQUESTS_PER_MINUTE_DEFAULT = 600
DAY_MS = 86_400_000
READ_ALL = frozenset(name for name in SERVICE_RIGHTS if name.startswith("read:"))


@dataclass(frozen=True, slots=True)
class KeyShown:
    """A key without its secret; moments in milliseconds."""

    id: str
    name: str
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None
    last_used_at_ms: int | None


@dataclass(frozen=True, slots=True)
class ServiceShown:
    """A service as its admins see it. `territory_ids` are empty where it works everywhere."""

    id: str
    name: str
    rights: tuple[str, ...]
    everywhere: bool
    territory_ids: tuple[str, ...]
    locale: str
    requests_per_minute: int
    active: bool
    created_at_ms: int
    keys: tuple[KeyShown, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceGiven:
    """A service as an admin wants it."""

    name: str
    rights: Sequence[str]
    everywhere: bool = False
    territory_ids: Sequence[str] = ()
    locale: str = "en"
    requests_per_minute: int = REQUESTS_PER_MINUTE_DEFAULT
    active: bool = True


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key and, this once, its whole text."""

    shown: KeyShown
    text: str = field(repr=False)


async def create_service(work: Work, given: ServiceGiven) -> str:
    """Add a service, which has no key yet; returns its id. Raises `Refused` with every problem, ID_TAKEN."""
    _admins_only(work)
    await work.conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
    ((count,),) = await work.conn.fetch("SELECT count(*) FROM service")
    if count >= SERVICES_MAX:
        raise Refused(Problem(Code.TOO_MANY, ("services",), (str(SERVICES_MAX),)))
    name = await _checked(work, given, None)
    service_id = new_id()
    await work.conn.execute(
        "INSERT INTO service (id, name, rights, everywhere, locale, requests_per_minute, active, created_at,"
        " created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        service_id,
        name,
        _rights_text(given.rights),
        given.everywhere,
        given.locale,
        given.requests_per_minute,
        given.active,
        work.now_ms,
        work.principal.actor,
    )
    await _write_territories(work, service_id, given)
    work.audit("CREATE", "services", service_id)
    return service_id


async def change_service(work: Work, service_id: str, given: ServiceGiven) -> None:
    """Give a service another name, rights, scope, limit, or let it out. It holds within a second.

    Raises `Refused` with every problem, NOT_FOUND, ID_TAKEN.
    """
    _admins_only(work)
    before = await _locked(work, service_id)
    name = await _checked(work, given, service_id)
    await work.conn.execute(
        "UPDATE service SET name = ?, rights = ?, everywhere = ?, locale = ?, requests_per_minute = ?, active = ?"
        " WHERE id = ?",
        name,
        _rights_text(given.rights),
        given.everywhere,
        given.locale,
        given.requests_per_minute,
        given.active,
        service_id,
    )
    await work.conn.execute("DELETE FROM service_territory WHERE service_id = ?", service_id)
    await _write_territories(work, service_id, given)
    after = {"name": name, "rights": tuple(sorted(set(given.rights))), "everywhere": given.everywhere,
             "locale": given.locale, "requestsPerMinute": given.requests_per_minute, "active": given.active,
             "territoryIds": _nodes(given)}  # fmt: skip
    work.audit("UPDATE", "services", service_id, [name for name, value in after.items() if before[name] != value])
    work.standings.add(service_id)


async def add_key(work: Work, service_id: str, name: str, *, days: int | None) -> NewKey:
    """A further key of a service, beside those it has, so that they can be exchanged without a break.

    `days`: until it expires; None for never. Raises `Refused` with every problem, NOT_FOUND, TOO_MANY.
    """
    _admins_only(work)
    await _locked(work, service_id)
    problems: list[Problem] = []
    clean = _text(name, "name", problems)
    if days is not None and not 1 <= days <= KEY_DAYS_MAX:
        problems.append(Problem(Code.OUT_OF_RANGE, ("days",), ("1", str(KEY_DAYS_MAX))))
    ((open_n,),) = await work.conn.fetch(
        "SELECT count(*) FROM service_key WHERE service_id = ? AND revoked_at IS NULL"
        " AND (expires_at IS NULL OR expires_at > ?)",
        service_id,
        work.now_ms,
    )
    if open_n >= KEYS_PER_SERVICE_MAX:
        problems.append(Problem(Code.TOO_MANY, ("keys",), (str(KEYS_PER_SERVICE_MAX),)))
    refuse_if(problems)
    key_id, secret = new_id(), secrets.token_urlsafe(SECRET_BYTES)
    expires_at = None if days is None else work.now_ms + days * DAY_MS
    await work.conn.execute(
        "INSERT INTO service_key (id, service_id, name, secret_sha256, created_at, created_by, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        key_id,
        service_id,
        clean,
        secret_digest(secret),
        work.now_ms,
        work.principal.actor,
        expires_at,
    )
    work.audit("CREATE", "serviceKeys", key_id)
    return NewKey(
        KeyShown(key_id, clean, work.now_ms, expires_at, None, None), f"{SERVICE_KEY_PREFIX}{key_id}.{secret}"
    )


async def revoke_key(work: Work, key_id: str) -> KeyShown:
    """A key is worth nothing from now on, in every process within a second; once is enough. Raises NOT_FOUND."""
    _admins_only(work)
    rows = (
        await work.conn.fetch("SELECT service_id, revoked_at FROM service_key WHERE id = ? FOR UPDATE", key_id)
        if is_id(key_id)
        else []
    )
    if not rows:
        raise Refused(Problem(Code.NOT_FOUND, ("keyId",)))
    if rows[0][1] is None:
        await work.conn.execute("UPDATE service_key SET revoked_at = ? WHERE id = ?", work.now_ms, key_id)
        work.audit("REVOKE", "serviceKeys", key_id)
        work.standings.add(rows[0][0])
    ((name, created, expires, revoked, used),) = await work.conn.fetch(
        "SELECT name, created_at, expires_at, revoked_at, last_used_at FROM service_key WHERE id = ?", key_id
    )
    return KeyShown(key_id, name, created, expires, revoked, used)


async def read_services(
    conn: Connection, principal: Principal | None, *, service_id: str | None = None
) -> list[ServiceShown]:
    """Services by name, with their keys; at most `SERVICES_MAX` are ever made. `principal` None: an operator.

    Raises `Refused(NOT_PERMITTED)` for anybody but an admin.
    """
    if principal is not None and not principal.may(Action.CREATE, Collection.USERS):
        raise Refused(Problem(Code.NOT_PERMITTED))
    one, args = ("", []) if service_id is None else (" WHERE s.id = ?", [service_id])
    rows = await conn.fetch(
        "SELECT s.id, s.name, s.rights, s.everywhere, s.locale, s.requests_per_minute, s.active, s.created_at"
        f" FROM service s{one} ORDER BY s.name",
        *args,
    )
    ids = [row[0] for row in rows]
    nodes: dict[str, list[str]] = {}
    for owner, node in await conn.fetch(
        "SELECT service_id, territory_id FROM service_territory WHERE service_id = ANY(?) ORDER BY territory_id", ids
    ):
        nodes.setdefault(owner, []).append(node)
    keys: dict[str, list[KeyShown]] = {}
    for owner, *key in await conn.fetch(
        "SELECT service_id, id, name, created_at, expires_at, revoked_at, last_used_at FROM service_key"
        " WHERE service_id = ANY(?) ORDER BY created_at, id",
        ids,
    ):
        keys.setdefault(owner, []).append(KeyShown(*key))
    return [
        ServiceShown(
            found_id, name, tuple(orjson.loads(rights)), bool(everywhere), tuple(nodes.get(found_id, ())), locale,
            per_minute, bool(active), created_at, tuple(keys.get(found_id, ())),
        )
        for found_id, name, rights, everywhere, locale, per_minute, active, created_at in rows
    ]  # fmt: skip


async def _locked(work: Work, service_id: str) -> dict[str, object]:
    rows = (
        await work.conn.fetch("SELECT id FROM service WHERE id = ? FOR UPDATE", service_id) if is_id(service_id) else []
    )
    if not rows:
        raise Refused(Problem(Code.NOT_FOUND, ("serviceId",)))
    (found,) = await read_services(work.conn, None, service_id=service_id)
    return {"name": found.name, "rights": found.rights, "everywhere": found.everywhere, "locale": found.locale,
            "requestsPerMinute": found.requests_per_minute, "active": found.active,
            "territoryIds": found.territory_ids}  # fmt: skip


async def _checked(work: Work, given: ServiceGiven, service_id: str | None) -> str:
    """The clean name; raises every problem at once."""
    problems: list[Problem] = []
    name = _text(given.name, "name", problems)
    unknown = sorted(set(given.rights) - set(SERVICE_RIGHTS))
    if unknown:
        problems.append(Problem(Code.NOT_ALLOWED_VALUE, ("rights",), tuple(SERVICE_RIGHTS)))
    elif not given.rights:
        problems.append(Problem(Code.REQUIRED, ("rights",), tuple(SERVICE_RIGHTS)))
    elif BULK_RIGHT in given.rights and READ_ALL - set(given.rights):
        # the stream carries every collection there is
        problems.append(Problem(Code.REQUIRED, ("rights",), tuple(sorted(READ_ALL - set(given.rights)))))
    if given.locale not in LOCALES:
        problems.append(Problem(Code.NOT_ALLOWED_VALUE, ("locale",), tuple(LOCALES)))
    if not 1 <= given.requests_per_minute <= REQUESTS_PER_MINUTE_MAX:
        problems.append(Problem(Code.OUT_OF_RANGE, ("requestsPerMinute",), ("1", str(REQUESTS_PER_MINUTE_MAX))))
    if len(given.territory_ids) > TERRITORIES_MAX:
        problems.append(Problem(Code.TOO_MANY, ("territoryIds",), (str(TERRITORIES_MAX),)))
    elif not given.everywhere:
        wanted = sorted({node for node in given.territory_ids if is_id(node)})
        known = await work.conn.fetch("SELECT id FROM territory WHERE id = ANY(?)", wanted)
        if len(known) != len(set(given.territory_ids)):
            problems.append(Problem(Code.NOT_FOUND, ("territoryIds",)))
    refuse_if(problems)
    if await work.conn.fetch("SELECT 1 FROM service WHERE name = ? AND id <> ?", name, service_id or ""):
        raise Refused(Problem(Code.ID_TAKEN, ("name",)))
    return name


def _text(given: str, path: str, problems: list[Problem]) -> str:
    clean = ""
    try:
        clean = parse_text(given, limit=NAME_CHARACTERS_MAX) or ""
    except Refused as refused:
        problems += [problem.under(path) for problem in refused.problems]
    else:
        if not clean:
            problems.append(Problem(Code.REQUIRED, (path,)))
    return clean


async def _write_territories(work: Work, service_id: str, given: ServiceGiven) -> None:
    await work.conn.execute_many(
        "INSERT INTO service_territory (id, service_id, territory_id) VALUES (?, ?, ?)",
        [(new_id(), service_id, node) for node in _nodes(given)],
    )
    work.reseat([service_id])


def _nodes(given: ServiceGiven) -> tuple[str, ...]:
    return () if given.everywhere else tuple(sorted(set(given.territory_ids)))


def _rights_text(rights: Sequence[str]) -> str:
    return orjson.dumps(sorted(set(rights))).decode()


def _admins_only(work: Work) -> None:
    if work.door is not Door.JOB and not work.principal.may(Action.CREATE, Collection.USERS):
        raise Refused(Problem(Code.NOT_PERMITTED))
