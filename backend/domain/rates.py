"""How often somebody may ask: token buckets whose clock is passed in, and whom an address stands for.

A bucket holds so many tokens and fills up again within so many seconds. Of each the moment is kept at which it will
be full; one that is full already is like one nobody has heard of, so what is kept can be bounded: the bucket that was
used longest ago is forgotten first, which at worst gives somebody his tokens back early. Source: promises.md §4.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from math import ceil

from backend.errors import Code, Problem, Refused

SECOND_MS = 1_000
IPV6_HOST_BITS = 64
"""What one household or phone is given of IPv6: the rest of an address its holder may change at will."""
ADDRESS_UNKNOWN = "unknown"
ADDRESSES_KEPT_MAX = 4_096
"""Hosts of which it is remembered what they count under."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`tokens` at once, and as many again within each `seconds`; no tokens at all means no limit."""

    tokens: int
    seconds: int

    @property
    def refill_ms(self) -> int:
        """How long an empty bucket takes to be full."""
        return self.seconds * SECOND_MS


class Buckets:
    """One bucket per key under one rate, of at most `keys_max` keys."""

    def __init__(self, rate: Rate, *, keys_max: int) -> None:
        self.rate = rate
        self._keys_max = keys_max
        self._full_at_ms: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """How many keys are kept."""
        return len(self._full_at_ms)

    def take(self, key: str, now_ms: int, tokens: int = 1, *, rate: Rate | None = None) -> int:
        """0 when the tokens were there and are taken; else the milliseconds until they will be, and none is taken.

        What costs more than a bucket holds takes a full one. A clock that was set back lets nobody wait longer
        than a bucket needs to fill. `rate` is of one who has a rate of his own.
        """
        rate = rate or self.rate
        if not rate.tokens:
            return 0
        refill_ms = rate.refill_ms
        full_at_ms = min(max(self._full_at_ms.get(key, 0.0), now_ms), now_ms + refill_ms)
        full_at_ms += min(tokens, rate.tokens) * refill_ms / rate.tokens
        # the least above nothing is what the float has of its own
        wait_ms = full_at_ms - now_ms - refill_ms
        if wait_ms > 0.5:
            # whoever goes on asking is not forgotten
            if key in self._full_at_ms:
                self._full_at_ms.move_to_end(key)
            return ceil(wait_ms)
        self._keep(key, full_at_ms)
        return 0

    def _keep(self, key: str, full_at_ms: float) -> None:
        self._full_at_ms[key] = full_at_ms
        self._full_at_ms.move_to_end(key)
        while len(self._full_at_ms) > self._keys_max:
            self._full_at_ms.popitem(last=False)


def rate_limited(what: str, limit: int, wait_ms: int) -> Refused:
    """The refusal of who asks too often. `what` is limited: `user`, `device`, `service`, `address`,
    `signIn`."""
    seconds = max(1, ceil(wait_ms / SECOND_MS))
    return Refused(Problem(Code.RATE_LIMITED, (what,), (), {"limit": limit, "retryAfterSeconds": seconds}))


def retry_after_seconds(refused: Refused) -> int | None:
    """When a refusal says to come again: RATE_LIMITED, UPLOAD_QUOTA; None for one that names no time."""
    seconds = refused.problems[0].params.get("retryAfterSeconds")
    return None if seconds is None else int(seconds)


@lru_cache(maxsize=ADDRESSES_KEPT_MAX)
def address_key(host: str) -> str:
    """What an address is counted under: itself, of IPv6 the network a household is given.

    Empty for this very machine: a proxy that was not named among those trusted, in front of everybody.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return ADDRESS_UNKNOWN
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address_key(str(address.ipv4_mapped))
    if address.is_loopback:
        return ""
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> IPV6_HOST_BITS << IPV6_HOST_BITS))
    return str(address)
