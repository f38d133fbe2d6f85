"""Rotating the keys that access tokens are signed with, so that nobody is signed out.

A new key is published some time before anybody signs with it; the one before it is trusted until what it signed has
run out. Whoever lost a key retires it at once: what it signed is refused within a second, and devices go on with
their refresh tokens, which hang on the root and on no signing key.
"""

from backend.auth.keys import KeyRing, new_signing_key
from backend.domain.times import DAY_MS
from backend.errors import Code, Problem, Refused
from backend.storage.keys import KeyState, begin_ring, list_keys, signer_of
from backend.sync.work import Work

KEYS_MAX = 20
RETIRED_KEPT_DAYS = 90
CLOCKS_APART_MS = 300_000
"""How far the clocks of two servers may stand apart before a rotation is noticed by somebody's token."""
COLLECTION = "signingKeys"


async def rotate_keys(work: Work, ring: KeyRing, *, overlap_seconds: int, token_seconds: int) -> KeyState:
    """Publish a new key, which is signed with after `overlap_seconds`; the others are trusted until what they may
    have signed by then has run out. Raises `Refused(TOO_MANY)` when too many are trusted at once."""
    await work.conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
    await work.conn.execute("DELETE FROM signing_key WHERE retired_at < ?", work.now_ms - RETIRED_KEPT_DAYS * DAY_MS)
    known = await list_keys(work.conn)
    if len([key for key in known if key.retired_at_ms is None or key.retired_at_ms > work.now_ms]) >= KEYS_MAX:
        raise Refused(Problem(Code.TOO_MANY, ("keys",), (str(KEYS_MAX),)))
    if not known:
        # rotated before anybody ever served: what the file says is trusted meanwhile
        await begin_ring(work.conn, ring, work.now_ms)
    signs_from = work.now_ms + overlap_seconds * 1_000
    over = signs_from + token_seconds * 1_000 + CLOCKS_APART_MS
    await work.conn.execute("UPDATE signing_key SET retired_at = ? WHERE retired_at IS NULL", over)
    kid, private = new_signing_key()
    await work.conn.execute(
        "INSERT INTO signing_key (kid, sealed, created_at, signs_from, retired_at) VALUES (?, ?, ?, ?, NULL)",
        kid,
        ring.seal(kid, private),
        work.now_ms,
        signs_from,
    )
    work.audit("CREATE", COLLECTION, kid)
    return KeyState(kid, work.now_ms, signs_from, None)


async def retire_key(work: Work, kid: str, *, at_once: bool) -> KeyState:
    """Trust a key no more. The one that is signed with goes only `at_once`, as after a theft.

    Raises `Refused`: NOT_FOUND, INVALID_TRANSITION for the key in use.
    """
    await work.conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
    known = await list_keys(work.conn)
    found = next((key for key in known if key.kid == kid), None)
    if found is None:
        raise Refused(Problem(Code.NOT_FOUND, ("kid",)))
    if found.kid == signer_of(known, work.now_ms) and not at_once:
        raise Refused(Problem(Code.INVALID_TRANSITION, ("kid",), ("ROTATE",)))
    if found.retired_at_ms is None or found.retired_at_ms > work.now_ms:
        await work.conn.execute("UPDATE signing_key SET retired_at = ? WHERE kid = ?", work.now_ms, kid)
        work.audit("REVOKE", COLLECTION, kid)
        found = KeyState(found.kid, found.created_at_ms, found.signs_from_ms, work.now_ms)
    return found
