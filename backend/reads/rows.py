"""A row of a statement under its alias, and which of its columns what is printed outside takes from it."""

from dataclasses import dataclass, field


@dataclass
class Row:
    """An alias, and the columns taken from it."""

    alias: str
    used: dict[str, None] = field(default_factory=dict)

    def column(self, name: str) -> str:
        self.used[name] = None
        return f'{self.alias}."{name}"'


def taken(outer: Row, alias: str, key: str | None) -> str:
    """The columns `outer` uses of the row `alias`, and its sort key."""
    columns = [f'{alias}."{name}" AS "{name}"' for name in outer.used]
    return ", ".join([*columns, f"{key} AS sort_by"] if key is not None else columns) or "1 AS one"
