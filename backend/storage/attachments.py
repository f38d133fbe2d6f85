"""Named queries on attachments, the files they are kept in, and uploads under way.

A file is kept once for all attachments whose kept bytes are equal. Its row is locked by whoever adds or takes away
a reference, and by whoever removes it, so a file is never removed under an attachment that has just come to it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backend.domain.attachments import AttachmentState
from backend.storage.engine import Connection

_COLUMNS = (
    "id, collection, record_id, kind, file_name, sha256, size_bytes, mime, proof, state, stored_sha256, stored_bytes,"
    " preview_state, preview_sha256, created_at, created_by"
)


@dataclass(frozen=True, slots=True)
class Held:
    """An attachment's row, as whoever handles its bytes needs it. Sizes in bytes."""

    id: str
    collection: str
    record_id: str
    kind: str
    file_name: str
    sha256: str
    size_bytes: int
    mime: str
    proof: bool
    state: str
    stored_sha256: str | None
    stored_bytes: int | None
    preview_state: str
    preview_sha256: str | None
    created_at_ms: int
    created_by: str


async def attachment_of(conn: Connection, attachment_id: str, *, lock: bool = False) -> Held | None:
    """The row with that id, whoever asks; None when there is none."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM attachment WHERE id = ?{' FOR UPDATE' if lock else ''}", attachment_id
    )
    return _held(rows[0]) if rows else None


async def visible_attachment(conn: Connection, attachment_id: str, visible: str, args: Sequence[object]) -> Held | None:
    """The row with that id under a predicate of `storage/visibility.py` over the alias `t`."""
    columns = ", ".join(f"t.{name.strip()}" for name in _COLUMNS.split(","))
    rows = await conn.fetch(f"SELECT {columns} FROM attachment t WHERE t.id = ? AND {visible}", attachment_id, *args)
    return _held(rows[0]) if rows else None


def _held(row: Sequence[object]) -> Held:
    values = list(row)
    values[8] = bool(values[8])
    return Held(*values)  # type: ignore[arg-type]


async def hanging_on(conn: Connection, records: Mapping[str, Sequence[str]]) -> list[str]:
    """Ids of the attachments of these records, given as collection → record ids."""
    found: list[str] = []
    for collection, record_ids in sorted(records.items()):
        rows = await conn.fetch(
            "SELECT id FROM attachment WHERE record_id = ANY(?) AND collection = ?", list(record_ids), collection
        )
        found += [row[0] for row in rows]
    return found


async def counts_of(conn: Connection, record_ids: Iterable[str]) -> dict[tuple[str, str], int]:
    """(collection, record id) → how many attachments hang on it."""
    rows = await conn.fetch(
        "SELECT collection, record_id, count(*) FROM attachment WHERE record_id = ANY(?)"
        " GROUP BY collection, record_id",
        sorted(set(record_ids)),
    )
    return {(collection, record_id): int(count) for collection, record_id, count in rows}


async def lock_files(conn: Connection, hashes: Iterable[str | None]) -> set[str]:
    """Which of these files are kept, held against removal until commit. Always called after the rows are locked."""
    wanted = sorted({digest for digest in hashes if digest})
    if not wanted:
        return set()
    rows = await conn.fetch("SELECT sha256 FROM stored_file WHERE sha256 = ANY(?) ORDER BY sha256 FOR UPDATE", wanted)
    return {row[0] for row in rows}


async def keep_files(conn: Connection, sizes: Mapping[str, int], now_ms: int) -> None:
    """Note files that have been written (hash → bytes), held against removal until commit."""
    for digest, size in sorted(sizes.items()):
        await conn.execute(
            "INSERT INTO stored_file (sha256, size_bytes, created_at) VALUES (?, ?, ?)"
            " ON CONFLICT (sha256) DO UPDATE SET size_bytes = excluded.size_bytes",
            digest,
            size,
            now_ms,
        )


async def release_files(conn: Connection, hashes: Iterable[str | None], now_ms: int) -> None:
    """Ask for these files to be looked at: something that referred to them does no more."""
    wanted = sorted({digest for digest in hashes if digest})
    if wanted:
        await conn.execute("UPDATE stored_file SET check_at = ? WHERE sha256 = ANY(?)", now_ms, wanted)


async def files_to_check(conn: Connection, limit: int) -> list[str]:
    rows = await conn.fetch(
        "SELECT sha256 FROM stored_file WHERE check_at IS NOT NULL ORDER BY check_at, sha256 LIMIT ?", limit
    )
    return [row[0] for row in rows]


async def is_referred_to(conn: Connection, digest: str) -> bool:
    """True while an attachment refers to the file, or a deleted one that can still be brought back."""
    found = " UNION ALL ".join(
        f"SELECT 1 FROM {table} WHERE {column} = ?"
        for table in ("attachment", "deleted_file")
        for column in ("stored_sha256", "preview_sha256")
    )
    return bool(await conn.fetch(f"{found} LIMIT 1", *[digest] * 4))


async def keep_for_return(conn: Connection, rows: Mapping[str, Mapping[str, object]]) -> None:
    """Keep the files deleted attachments would come back with: key of the copy → the row as it stood."""
    names = ("collection", "record_id", "created_at", "stored_sha256", "preview_sha256")
    await conn.execute_many(
        "INSERT INTO deleted_file (key, holder, holder_id, added_at, stored_sha256, preview_sha256)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET holder_id = excluded.holder_id,"
        " stored_sha256 = excluded.stored_sha256, preview_sha256 = excluded.preview_sha256",
        [(key, *(row[name] for name in names)) for key, row in rows.items()],
    )


async def returned(conn: Connection, keys: Sequence[str]) -> list[str]:
    """What deleted attachments kept is not kept for them any more; their files, which may be needed by nobody now."""
    rows = await conn.fetch(
        "DELETE FROM deleted_file WHERE key = ANY(?) RETURNING stored_sha256, preview_sha256", list(keys)
    )
    return sorted({digest for row in rows for digest in row if digest})


async def delete_attachments_of(conn: Connection, records: Mapping[str, Sequence[str]], now_ms: int) -> list[str]:
    """Delete what hangs on records that go (collection → ids) and release its files; returns the ids deleted."""
    gone: list[str] = []
    released: list[str | None] = []
    for collection, record_ids in sorted(records.items()):
        rows = await conn.fetch(
            "DELETE FROM attachment WHERE record_id = ANY(?) AND collection = ?"
            " RETURNING id, stored_sha256, preview_sha256",
            list(record_ids),
            collection,
        )
        gone += [row[0] for row in rows]
        released += [digest for row in rows for digest in row[1:]]
    await release_files(conn, released, now_ms)
    return gone


async def files_named(conn: Connection) -> dict[str, list[str]]:
    """Hash → the attachments that refer to it, deleted ones by their keys, for every file the database speaks of; for
    operators."""
    found: dict[str, list[str]] = {}
    for digest, attachment_id in await conn.fetch(
        "SELECT stored_sha256, id FROM attachment WHERE stored_sha256 IS NOT NULL AND state = ?"
        " UNION ALL SELECT preview_sha256, id FROM attachment WHERE preview_sha256 IS NOT NULL"
        " UNION ALL SELECT stored_sha256, key FROM deleted_file WHERE stored_sha256 IS NOT NULL"
        " UNION ALL SELECT preview_sha256, key FROM deleted_file WHERE preview_sha256 IS NOT NULL",
        AttachmentState.STORED.value,
    ):
        found.setdefault(digest, []).append(attachment_id)
    return found
