"""A schema version to come: what this code declares, and beside it what a later release might add.

`Future` switches the declarations of this very process, so that a test plays both a server of the present version
and one of the next on one database. The next version adds a field to visits, one to the lines of orders, and a
collection.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from backend.domain.fields import Field, Kind, Shape, server_field
from backend.storage import visibility
from backend.storage.engine import Connection
from backend.storage.visibility import Place
from backend.sync import protocol, versions
from backend.sync.collections import COLLECTIONS, Collection
from backend.sync.versions import SCHEMA_VERSION

NEXT = SCHEMA_VERSION + 1
SHELF = Field("shelfMeters", Kind.INT, nullable=False, least=0, most=10_000, default=7, since=NEXT)
GIFT = Field("giftWrap", Kind.TEXT, limit=20, default="NONE", since=NEXT)
DEPOTS = "depots"

MIGRATION = (
    "ALTER TABLE visit ADD COLUMN shelf_meters INTEGER NOT NULL DEFAULT 7",
    "ALTER TABLE order_line ADD COLUMN gift_wrap TEXT DEFAULT 'NONE'",
    "CREATE TABLE depot (id TEXT PRIMARY KEY, name TEXT, territory_id TEXT)",
)


def _with(shape: Shape, *more: Field) -> Shape:
    return replace(shape, fields=(*shape.fields, *more))


def _next_version() -> dict[str, Collection]:
    orders = COLLECTIONS["orders"]
    [lines] = orders.children
    declared = orders.shape.field("lines")
    assert declared is not None
    assert declared.record is not None
    with_gift = replace(declared, record=_with(declared.record, GIFT))
    fields = tuple(with_gift if one.name == "lines" else one for one in orders.shape.fields)
    depot = Shape("depots", (server_field("id", Kind.ID), server_field("name", Kind.TEXT)))
    return {
        "visits": replace(COLLECTIONS["visits"], shape=_with(COLLECTIONS["visits"].shape, SHELF)),
        "orders": replace(
            orders,
            shape=replace(orders.shape, fields=fields),
            children=(replace(lines, fields=(*lines.fields, GIFT)),),
        ),
        DEPOTS: Collection(DEPOTS, "depot", depot, since=NEXT),
    }


class Future:
    """Declarations of the next version, put in force and taken back."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self._later = _next_version()
        self._place = Place(
            "territory", "depot p", "p.id", "p.territory_id", "p.territory_id IS NOT NULL", "territory_id"
        )

    @contextmanager
    def in_force(self) -> Iterator[None]:
        with self._patch.context() as patch:
            for name, collection in self._later.items():
                patch.setitem(COLLECTIONS, name, collection)  # type: ignore[arg-type]
            patch.setitem(visibility.PLACES, DEPOTS, (self._place,))  # type: ignore[arg-type]
            for module in (versions, protocol):
                patch.setattr(module, "SCHEMA_VERSION", NEXT)
            yield


async def migrate_to_next(conn: Connection) -> None:
    """What a migration of the next version would do: add, and touch no document."""
    for statement in MIGRATION:
        await conn.execute(statement)
