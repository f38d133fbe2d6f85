"""A service's key as it is presented: taken apart, looked up, and when it was last used."""

import hashlib
import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass

import orjson

from backend.auth.principal import Principal, PrincipalKind
from backend.clock import Clock
from backend.errors import Code, Problem, Refused
from backend.ids import is_id
from backend.storage.engine import Connection, Engine
from backend.telemetry import logger

SERVICE_KEY_PREFIX = "sk1."
USED_NOTE_MS = 60_000
USES_KEPT_MAX = 1_000
_KEY = re.compile(r"sk1\.([0-9a-f-]{36})\.([A-Za-z0-9_-]{43})")
_LOG = logger(__name__)


@dataclass(frozen=True, slots=True)
class GivenKey:
    """A key as it was presented; well formed, not yet known to be one of ours."""

    id: str
    secret_sha256: str

    @property
    def cached_as(self) -> str:
        """What is remembered of it hangs on the whole key, never on its name alone."""
        return f"{SERVICE_KEY_PREFIX}{self.id}.{self.secret_sha256}"


def read_service_key(text: str) -> GivenKey:
    """A presented key taken apart. Raises `Refused(UNAUTHENTICATED)` for any other text."""
    found = _KEY.fullmatch(text)
    if found is None or not is_id(found[1]):
        raise Refused(Problem(Code.UNAUTHENTICATED))
    return GivenKey(found[1], secret_digest(found[2]))


async def read_service_principal(conn: Connection, key: GivenKey, now_ms: int) -> Principal | Refused:
    """Who asks with a key. Refused: UNAUTHENTICATED, TOKEN_EXPIRED for a key whose time is over."""
    rows = await conn.fetch(
        "SELECT k.secret_sha256, k.expires_at, k.revoked_at, s.id, s.rights, s.locale, s.requests_per_minute, s.active"
        " FROM service_key k JOIN service s ON s.id = k.service_id WHERE k.id = ?",
        key.id,
    )
    if not rows or not hmac.compare_digest(rows[0][0], key.secret_sha256):
        return Refused(Problem(Code.UNAUTHENTICATED))
    ((_, expires_at, revoked_at, service_id, rights, locale, per_minute, active),) = rows
    if revoked_at is not None or not active:
        return Refused(Problem(Code.UNAUTHENTICATED))
    if expires_at is not None and now_ms >= expires_at:
        return Refused(Problem(Code.TOKEN_EXPIRED))
    return Principal(
        PrincipalKind.SERVICE,
        service_id=service_id,
        rights=frozenset(orjson.loads(rights)),
        locale=locale,
        requests_per_minute=per_minute,
    )


class ServiceUse:
    """Notes when a key was last used, at most once a minute; never in the way of what it is used for."""

    def __init__(self, engine: Engine, *, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._noted: OrderedDict[str, int] = OrderedDict()

    async def note(self, key_id: str) -> None:
        now_ms = self._clock()
        if 0 <= now_ms - self._noted.get(key_id, -USED_NOTE_MS) < USED_NOTE_MS:
            return
        self._noted[key_id] = now_ms
        self._noted.move_to_end(key_id)
        while len(self._noted) > USES_KEPT_MAX:
            self._noted.popitem(last=False)
        try:
            async with self._engine.write() as conn:
                await conn.execute("UPDATE service_key SET last_used_at = ? WHERE id = ?", now_ms, key_id)
        except Exception as error:  # noqa: BLE001 - a disk that is full, a busy database: reading goes on
            _LOG.warning("the use of a service's key was not noted", error_type=type(error).__name__)


def secret_digest(secret: str) -> str:
    """A secret of 32 random bytes as it is kept: nothing can be guessed from it, so it needs no salt."""
    return hashlib.sha256(secret.encode()).hexdigest()
