"""Column types that mean the same on SQLite and PostgreSQL.

Text compares by bytes on both (`COLLATE "C"`), moments are epoch milliseconds, local days are `YYYY-MM-DD`,
money is minor units, and no column holds a float.
"""

from typing import Any

from tortoise import fields


class Text(fields.CharField[str]):
    """Text of at most `max_length` characters, ordered by bytes on both databases."""

    class _db_postgres:
        SQL_TYPE = 'TEXT COLLATE "C"'


class LongText(fields.TextField):
    class _db_postgres:
        SQL_TYPE = 'TEXT COLLATE "C"'


class Id(Text):
    """A record id: lower-case UUID text, whole and plain everywhere."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 36)
        super().__init__(**kwargs)


class Day(Text):
    """A local calendar day, `YYYY-MM-DD`."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 10)
        super().__init__(**kwargs)


class JsonText(LongText):
    """Canonical JSON (sorted keys, no spaces), kept as text so both databases print the same bytes."""


class Millis(fields.BigIntField):
    """Milliseconds since 1970-01-01 UTC."""


class Minor(fields.BigIntField):
    """An amount in minor units of its currency."""
