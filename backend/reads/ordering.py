"""In which order rows come, and what lies behind the cursor of a page."""

from collections.abc import Iterator
from dataclasses import dataclass

from backend.auth.principal import Principal
from backend.reads.entities.entity import Entity, Order
from backend.reads.selection import SortKind
from backend.reads.sql import Parameter, Source, Sql


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order with its direction settled."""

    name: str
    order: Order
    descending: bool


def settled(entity: Entity, name: str | None, descending: bool | None) -> Ordered:
    """The order asked for, or the entity's first; in the direction asked for, or the order's own."""
    order = entity.orders[name or entity.first_order]
    return Ordered(name or entity.first_order, order, order.descending if descending is None else descending)


def cursor_holds(order: Order, principal: Principal) -> tuple[SortKind, ...]:
    """The kinds of sort keys a cursor carries: none of a personal key for a masked role."""
    return () if order.key.personal and principal.masked else (order.key.kind,)


def behind(entity: Entity, ordered: Ordered, shape: tuple[bool, int], slot: int, alias: str) -> Iterator[Sql]:
    """What holds of rows beyond the cursor of a span; nothing without one."""
    backward, held = shape
    if not held:
        return
    sign = "<" if ordered.descending != backward else ">"
    key = ordered.order.key.sql.replace("{a}", alias)
    here = f'({key}, {alias}."{entity.id_column}")'
    values = [Parameter(Source.POSITION, slot, index) for index in range(held)]
    if held == 2:
        kind = ordered.order.key.kind.value
        yield Sql(f"{here} {sign} (?::{kind}, ?::text)", tuple(values))
        return
    # the cursor names a record only: its key is looked up, and where it is gone the list starts again
    its_key = ordered.order.key.sql.replace("{a}", f"{alias}c")
    its_row = f'FROM {entity.table} {alias}c WHERE {alias}c."{entity.id_column}" = ?::text'
    yield Sql(
        f"(NOT EXISTS (SELECT 1 {its_row}) OR {here} {sign} ((SELECT {its_key} {its_row}), ?::text))",
        (values[0],) * 3,
    )
