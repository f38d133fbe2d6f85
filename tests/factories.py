"""Valid rows for tests, written straight into the tables: each function shows its defaults, returns the id.

They go past the use cases on purpose, to set a scene. What a test wants to prove about documents, places or
grants it must let the product write.
"""

from collections.abc import Sequence

from backend.domain.names import search_keys, sort_key
from backend.ids import new_id
from backend.storage.engine import Connection

NOW_MS = 1_767_225_600_000
"""2026-01-01 00:00 UTC: the moment rows are created at unless a test says otherwise."""
FIRST_SEQ = 2**40


async def insert(conn: Connection, table: str, **columns: object) -> None:
    """One row. Table and column names come from this file and its callers, never from outside."""
    marks = ", ".join("?" for _ in columns)
    await conn.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})",
        *columns.values(),
    )


async def user(
    conn: Connection,
    *,
    id: str | None = None,
    role: str = "REP",
    email: str | None = None,
    name: str = "Kim Min-seo",
    locale: str = "en",
    password_hash: str = "",
    manager_id: str | None = None,
    active: bool = True,
) -> str:
    """A colleague. Without a password hash nobody can sign in as him."""
    id = id or new_id()
    await insert(
        conn,
        "user_account",
        id=id,
        email=email or f"{id}@example.com",
        name=name,
        sort_key=sort_key({"en": name}, person=True),
        role=role,
        locale=locale,
        password_hash=password_hash,
        manager_id=manager_id,
        active=active,
        home_lat_e7=None,
        home_lon_e7=None,
        day_minutes=None,
        created_at=NOW_MS,
    )
    return id


async def device(
    conn: Connection, user_id: str, *, id: str | None = None, state: str = "ACTIVE", platform: str = "ANDROID"
) -> str:
    id = id or new_id()
    await insert(
        conn,
        "device",
        id=id,
        user_id=user_id,
        name="a phone",
        platform=platform,
        state=state,
        created_at=NOW_MS,
        last_seen_at=NOW_MS,
        acked_seq=0,
        last_client_seq=0,
    )
    return id


async def territory(
    conn: Connection,
    path: str,
    *,
    id: str | None = None,
    parent_id: str | None = None,
    kind: str = "PATCH",
    timezone: str = "Asia/Shanghai",
) -> str:
    id = id or new_id()
    await insert(
        conn,
        "territory",
        id=id,
        parent_id=parent_id,
        path=path,
        kind=kind,
        name_zh=None,
        name_ko=None,
        name_en=path.rsplit("/", 1)[-1],
        timezone=timezone,
        created_at=NOW_MS,
    )
    return id


async def member(
    conn: Connection,
    territory_id: str,
    user_id: str,
    *,
    valid_from: int = NOW_MS,
    valid_to: int | None = None,
) -> str:
    """The user holds the territory. This alone lets nobody see anything: see `grant`."""
    id = new_id()
    await insert(
        conn,
        "territory_member",
        id=id,
        territory_id=territory_id,
        user_id=user_id,
        valid_from=valid_from,
        valid_to=valid_to,
        reason=None,
    )
    return id


async def grant(conn: Connection, user_id: str, *scopes: str, granted_seq: int = FIRST_SEQ) -> None:
    """The user sees what stands in the scopes, from now on."""
    for scope in scopes:
        await insert(
            conn,
            "user_scope",
            user_id=user_id,
            scope=scope,
            granted_seq=granted_seq,
            revoked_seq=None,
            granted_at=NOW_MS,
            revoked_at=None,
        )


async def customer(
    conn: Connection,
    *,
    id: str | None = None,
    name_en: str | None = "Corner Shop",
    name_zh: str | None = None,
    name_ko: str | None = None,
    code: str | None = None,
    kind: str = "RETAILER",
    stage: str = "GROWING",
    territory_id: str | None = None,
    parent_id: str | None = None,
    tags: Sequence[str] = (),
    **columns: object,
) -> str:
    """A party the company trades with; any further column by its name."""
    id = id or new_id()
    names = {"zh": name_zh, "ko": name_ko, "en": name_en}
    row: dict[str, object] = {
        "id": id,
        "code": code,
        "name_zh": name_zh,
        "name_ko": name_ko,
        "name_en": name_en,
        "kind": kind,
        "stage": stage,
        "parent_id": parent_id,
        "territory_id": territory_id,
        "tags": "[" + ",".join(f'"{tag}"' for tag in sorted(tags)) + "]",
        "geofence_m": 150,
        "search_keys": search_keys(names, code=code),
        "sort_key": sort_key(names),
        "completeness_percent": 0,
        "created_at": NOW_MS,
        "created_by": "system",
    }
    await insert(conn, "customer", **(row | columns))
    return id
