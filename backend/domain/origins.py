"""Which pages may speak to the server from a browser. Source: RFC 6454, the Fetch standard."""

import re
from collections.abc import Collection

LOCAL_ORIGIN = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?"
"""Pages of a developer's own machine, whatever port serves them."""


def is_allowed_origin(origin: str, allowed: Collection[str], *, local: bool) -> bool:
    """True for an origin that was named; with `local`, for any of this machine too."""
    return origin in allowed or (local and re.fullmatch(LOCAL_ORIGIN, origin) is not None)
