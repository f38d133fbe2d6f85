"""Answers that were read before they are asked for: a snapshot of which only these are known."""

from collections.abc import Mapping, Sequence

from backend.storage.dialects import Dialect
from backend.storage.engine import Row


class Beyond(Exception):
    """Something was asked that had not been read."""


class Foretold:
    """A connection to what one statement has read. Whatever else is asked of it raises `Beyond`.

    `answers`: statement → (its arguments, its rows).
    """

    def __init__(self, dialect: Dialect, answers: Mapping[str, tuple[Sequence[object], list[Row]]]) -> None:
        self.dialect = dialect
        self._answers = answers

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        known = self._answers.get(sql)
        if known is None or tuple(known[0]) != args:
            raise Beyond
        return known[1]

    async def execute(self, sql: str, *args: object) -> None:
        raise Beyond

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        raise Beyond
