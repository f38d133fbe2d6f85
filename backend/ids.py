"""Record ids: UUIDv7 as lower-case text, so that ids made on one device sort by time."""

import re

import uuid_utils

_FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new_id() -> str:
    return str(uuid_utils.uuid7())


def is_id(text: object) -> bool:
    return isinstance(text, str) and _FORM.fullmatch(text) is not None
