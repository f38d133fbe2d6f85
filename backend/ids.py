"""Record ids: UUIDv7 as lower-case text, so that ids made on one device sort by time."""

import re
from functools import lru_cache

import uuid_utils

_FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new_id() -> str:
    return str(uuid_utils.uuid7())


def is_id(text: object) -> bool:
    return isinstance(text, str) and _has_form(text)


@lru_cache(maxsize=4_096)
def _has_form(text: str) -> bool:
    # each part of a push asks it of the same ids, ten times in all
    return _FORM.fullmatch(text) is not None
