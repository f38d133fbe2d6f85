"""How long somebody who failed to sign in waits before he may try again.

What is counted is shared by every process of a deployment, in one row per account, address or device the account
is known on. Delays double from one failure to the next. A stranger's failures never lock a colleague out: on a
device that has signed in as him before, only that device's own failures count. Source: promises.md §2.
"""

import hashlib
import hmac
from dataclasses import dataclass

ACCOUNT_SLOTS = 65_536
"""Accounts and addresses are counted in so many rows each, whatever strangers type."""
MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Waits:
    """`free` failures cost no wait; the next costs `first_ms`, each further one twice as long, up to `most_ms`.

    After `forget_ms` without a failure everything is forgotten.
    """

    free: int
    first_ms: int
    most_ms: int
    forget_ms: int


@dataclass(frozen=True, slots=True)
class Tries:
    """What is kept of one key; moments in milliseconds."""

    failures: int = 0
    failed_at_ms: int = 0
    free_at_ms: int = 0


ACCOUNT_WAITS = Waits(free=5, first_ms=1_000, most_ms=15 * MINUTE_MS, forget_ms=60 * MINUTE_MS)
ADDRESS_WAITS = Waits(free=50, first_ms=1_000, most_ms=15 * MINUTE_MS, forget_ms=60 * MINUTE_MS)
"""Wide: a whole office may stand behind one address."""
DEVICE_WAITS = Waits(free=5, first_ms=1_000, most_ms=5 * MINUTE_MS, forget_ms=60 * MINUTE_MS)


def wait_ms(tries: Tries, waits: Waits, now_ms: int) -> int:
    """How long until the next try is taken; 0 for now. A clock that was set back holds nobody longer than `most_ms`."""
    return max(0, min(tries.free_at_ms, now_ms + waits.most_ms) - now_ms)


def after_try(tries: Tries, waits: Waits, now_ms: int) -> Tries:
    """What is kept once a try was let in: it counts as failed until it is known to have succeeded."""
    quiet_ms = now_ms - tries.failed_at_ms
    failures = (tries.failures if 0 <= quiet_ms < waits.forget_ms else 0) + 1
    over = failures - waits.free
    # doubled a bounded number of times: the exponent is capped before the wait is
    pause_ms = 0 if over <= 0 else min(waits.most_ms, waits.first_ms << min(over - 1, 32))
    return Tries(failures, now_ms, now_ms + pause_ms)


def after_success(tries: Tries, *, forgiven: bool) -> Tries:
    """What is kept once the try succeeded: nothing where it is `forgiven`, else one failure less."""
    if forgiven:
        return Tries()
    return Tries(max(0, tries.failures - 1), tries.failed_at_ms, tries.failed_at_ms)


def slot(secret: bytes, kind: str, text: str) -> str:
    """The row an account or address is counted in: of a bounded number, and telling nobody which it stands for."""
    seal = hmac.digest(secret, f"{kind}\0{text}".encode(), hashlib.sha256)
    return f"{kind}:{int.from_bytes(seal[:8], 'big') % ACCOUNT_SLOTS}"


def device_slot(secret: bytes, user_id: str, device_id: str) -> str:
    """The row of a device an account is known on; there are as many as such devices."""
    return f"device:{hmac.digest(secret, f'{user_id}/{device_id}'.encode(), hashlib.sha256).hex()[:40]}"
