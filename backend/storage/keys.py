"""The ring of signing keys as every process of a deployment shares it: read anew within a second.

A database that holds no trusted key begins its ring with the one of the key file.
"""

import asyncio
from dataclasses import dataclass

from backend.auth.keys import KeyRing, SigningKey, new_signing_key
from backend.clock import Clock
from backend.errors import BadSetting
from backend.storage.engine import Connection, Engine

KEYS_FRESH_MS = 1_000
"""How long a look at the ring is trusted: a key retired at once is refused within a second."""


@dataclass(frozen=True, slots=True)
class KeyState:
    """A row of the ring, as `selvedge keys list` shows it; moments in milliseconds."""

    kid: str
    created_at_ms: int
    signs_from_ms: int
    retired_at_ms: int | None

    def role_at(self, now_ms: int, signer: str | None) -> str:
        """RETIRED, SIGNING, COMING or TRUSTED."""
        if self.retired_at_ms is not None and self.retired_at_ms <= now_ms:
            return "RETIRED"
        if self.kid == signer:
            return "SIGNING"
        return "COMING" if self.signs_from_ms > now_ms else "TRUSTED"


class SharedKeys:
    """Keeps a process' ring as the database has it."""

    def __init__(self, engine: Engine, ring: KeyRing, clock: Clock) -> None:
        self._engine = engine
        self._ring = ring
        self._clock = clock
        self._read_at_ms: int | None = None
        self._alone = asyncio.Lock()

    async def start(self) -> None:
        """Read the ring, or begin one with the key of the file. Raises `BadSetting` for another root secret."""
        async with self._alone:
            await self._read()

    async def fresh(self) -> None:
        """Read the ring anew where the last look is too old."""
        if self._is_fresh():
            return
        async with self._alone:
            if not self._is_fresh():
                await self._read()

    def _is_fresh(self) -> bool:
        return self._read_at_ms is not None and 0 <= self._clock() - self._read_at_ms < KEYS_FRESH_MS

    async def _read(self) -> None:
        asked_at_ms = self._clock()
        async with self._engine.read() as conn:
            ring = await read_ring(conn, self._ring, asked_at_ms)
        if not ring:
            async with self._engine.write() as conn:
                await begin_ring(conn, self._ring, asked_at_ms)
                ring = await read_ring(conn, self._ring, asked_at_ms)
        self._ring.take(ring)
        self._read_at_ms = asked_at_ms


async def read_ring(conn: Connection, ring: KeyRing, now_ms: int) -> list[SigningKey]:
    """The keys that are trusted, unsealed. Raises `BadSetting` when one was sealed under another root secret."""
    rows = await conn.fetch(
        "SELECT kid, sealed, signs_from, retired_at FROM signing_key WHERE retired_at IS NULL OR retired_at > ?"
        " ORDER BY signs_from, kid",
        now_ms,
    )
    try:
        return [SigningKey(kid, ring.unseal(kid, sealed), begins, ends) for kid, sealed, begins, ends in rows]
    except ValueError as error:
        raise BadSetting(
            f"SELVEDGE_ROOT_SECRET: {error}; wanted: the root secret (or keys.json) this database was first served"
            " with; where that is lost, `selvedge keys retire KID --now` gives such a key up"
        ) from None


async def begin_ring(conn: Connection, ring: KeyRing, now_ms: int) -> None:
    """A database without a trusted key begins with the file's, or with a new one where that was retired."""
    keys = ring.file_keys
    known = await conn.fetch("SELECT 1 FROM signing_key WHERE kid = ?", keys.kid)
    kid, private = new_signing_key() if known else (keys.kid, keys.signing)
    await conn.execute(
        "INSERT INTO signing_key (kid, sealed, created_at, signs_from, retired_at) VALUES (?, ?, ?, ?, NULL)"
        " ON CONFLICT (kid) DO NOTHING",
        kid,
        ring.seal(kid, private),
        now_ms,
        now_ms,
    )


async def list_keys(conn: Connection) -> list[KeyState]:
    """Every key the database knows, newest last."""
    rows = await conn.fetch("SELECT kid, created_at, signs_from, retired_at FROM signing_key ORDER BY signs_from, kid")
    return [KeyState(*row) for row in rows]


def signer_of(keys: list[KeyState], now_ms: int) -> str | None:
    """The kid that is signed with now: as `KeyRing.signing_at` chooses."""
    trusted = [key for key in keys if key.retired_at_ms is None or key.retired_at_ms > now_ms]
    due = [key for key in trusted if key.signs_from_ms <= now_ms]
    if due:
        return max(due, key=lambda key: (key.signs_from_ms, key.kid)).kid
    return min(trusted, key=lambda key: (key.signs_from_ms, key.kid)).kid if trusted else None
