"""Where a device stands in the feed: an opaque token that only its owner can present.

`pull.md` §1: one seq covers many rows, so a position is (seq, collection, id, scope); at the end of the delta it
is (clock, END). `base` is what the device has surely seen, and what the horizon is compared with.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from backend.errors import Code, Problem, Refused

END = "~"
"""Sorts above every collection name."""
FIRST = ("", "")
"""Sorts below every (collection, id)."""
NAMES_END = "~"
"""Sorts above every scope's name."""
MAC_BYTES = 16


class Position(NamedTuple):
    """Compared as it stands; a tuple, for a page makes and sorts thousands."""

    seq: int
    collection: str = END
    record_id: str = ""
    scope: str = ""

    @property
    def base(self) -> int:
        return self.seq if self.collection == END else self.seq - 1


@dataclass(frozen=True, slots=True)
class Backfill:
    """What of a scope is still to be sent: open places entered up to `up_to`, after (collection, id).

    `only` names a collection, `without` one that is left out. `bucket` is (which, of how many): of its records only
    those `in_bucket`. `onward`: and after this scope every later one, by name, that was held already at the cursor's
    `scopes_at`, up to before this name.
    """

    scope: str
    up_to: int
    after: tuple[str, str] = FIRST
    only: str | None = None
    bucket: tuple[int, int] | None = None
    onward: str | None = None
    without: str | None = None

    @property
    def untouched(self) -> bool:
        """Nothing of it was sent yet."""
        return self.after == FIRST and self.bucket is None

    def brings(self, collection: str) -> bool:
        return self.without != collection and self.only in (None, collection)


@dataclass(frozen=True, slots=True)
class Cursor:
    position: Position
    scopes_at: int
    backfill: tuple[Backfill, ...]
    schema: int

    @property
    def epoch(self) -> int:
        return self.position.seq >> 40

    def is_expired(self, clock: int, horizon: int) -> bool:
        """Of another epoch, or from before the horizon; or from a future that a restore took back."""
        return self.epoch != clock >> 40 or not horizon <= self.position.base <= clock


def seal(cursor: Cursor, *, secret: bytes, user_id: str, device_id: str) -> str:
    """The token of a cursor for this user and device."""
    at = cursor.position
    body = orjson.dumps(
        [
            [at.seq, at.collection, at.record_id, at.scope],
            cursor.scopes_at,
            [_entry(entry) for entry in cursor.backfill],
            cursor.schema,
        ]
    )
    return seal_body(body, secret=secret, user_id=user_id, device_id=device_id)


def unseal(token: str, *, secret: bytes, user_id: str, device_id: str) -> Cursor:
    """The cursor in a token; raises `Refused(CURSOR_INVALID)` for anyone else's, or an altered one."""
    body = open_body(token, secret=secret, user_id=user_id, device_id=device_id)
    at, scopes_at, backfill, schema = orjson.loads(body)
    return Cursor(Position(*at), scopes_at, tuple(_backfill(*entry) for entry in backfill), schema)


def _entry(entry: Backfill) -> list[object]:
    """As it travels; the tail that says nothing stays away."""
    after = [*entry.after, entry.without] if entry.without else list(entry.after)
    told: list[object] = [entry.scope, entry.up_to, after, entry.only]
    more = [entry.bucket, entry.onward] if entry.onward else [entry.bucket] if entry.bucket else []
    return [*told, *more]


def _backfill(
    scope: str,
    up_to: int,
    after: list[str],
    only: str | None,
    bucket: list[int] | None = None,
    onward: str | bool | None = None,
) -> Backfill:
    part = (bucket[0], bucket[1]) if bucket else None
    # of before there were stretches: true, which is to the end
    until = NAMES_END if onward is True else onward or None
    return Backfill(scope, up_to, (after[0], after[1]), only, part, until, after[2] if len(after) > 2 else None)


def seal_body(body: bytes, *, secret: bytes, user_id: str, device_id: str) -> str:
    """A text that tells nobody else anything and that nobody can alter. A secret serves one kind of body only."""
    return base64.urlsafe_b64encode(_mac(secret, user_id, device_id, body) + body).decode().rstrip("=")


def open_body(token: str, *, secret: bytes, user_id: str, device_id: str) -> bytes:
    """What was sealed; raises `Refused(CURSOR_INVALID)` for anyone else's, or an altered text."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _invalid() from None
    mac, body = raw[:MAC_BYTES], raw[MAC_BYTES:]
    canonical = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    if canonical != token or not hmac.compare_digest(mac, _mac(secret, user_id, device_id, body)):
        raise _invalid()
    return body


def expired(*path: str) -> Refused:
    """The device starts again from nothing; what it has not sent yet it keeps, and sends first."""
    return Refused(Problem(Code.CURSOR_EXPIRED, path or ("cursor",), (), {"keepLocal": True}))


def _invalid() -> Refused:
    return Refused(Problem(Code.CURSOR_INVALID, ("cursor",)))


def _mac(secret: bytes, user_id: str, device_id: str, body: bytes) -> bytes:
    message = b"\0".join([user_id.encode(), device_id.encode(), body])
    return hmac.new(secret, message, hashlib.sha256).digest()[:MAC_BYTES]
