"""Lists in the order of a key that stands in another table: customers by priority.

The join sorted as a whole costs as much as the table is long. That table's index is walked instead, and then the rows
that have none in it. What the first walk fills, the second does not begin: its limit is what is left.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from backend.reads.entities.entity import Beside, Entity, readable
from backend.reads.entities.table import ENTITIES
from backend.reads.rows import Row, taken
from backend.reads.scopes import Conditions, Scopes
from backend.reads.sql import USER, Parameter, Sql, sql_of
from backend.storage.dialects import Dialect
from backend.storage.visibility import parted_by_territory, territory_parts

_ABOVE_IDS = "g"
"""Sorts behind every id, which is hexadecimal."""


def is_parted(scopes: Scopes, beside: Beside) -> bool:
    """True where the key's table can be walked territory by territory."""
    entity = ENTITIES[beside.entity]
    return (
        entity.table == beside.table
        and entity.sees is None
        and not entity.unplaced
        and entity.part_of is None
        and readable(scopes.principal, entity)
        and parted_by_territory(entity.name, beside.table, beside.own)
    )


@dataclass(frozen=True, slots=True)
class BesideWalk:
    """The columns `outer` uses of the rows asked for, with the key as `sort_by`, in no order yet.

    `at`: the key and the id of the cursor, or nothing. `by_parts`: each territory of the few that are held is walked by
    itself, and of what they give the first are taken.
    """

    scopes: Scopes
    dialect: Dialect
    entity: Entity
    outer: Row
    conditions: Conditions
    beside: Beside
    most: Sql
    down: bool
    at: tuple[Parameter, ...]
    by_parts: bool

    def picked(self) -> Sql:
        first, second = (self._having(), self._lacking()) if self.down else (self._lacking(), self._having())
        walked, rest = self.scopes.alias("w"), self.scopes.alias("w")
        left = sql_of("(SELECT CAST(", self.most, f" AS BIGINT) - count(*) FROM {walked})")
        return sql_of(
            f"WITH {walked} AS MATERIALIZED (",
            sql_of(first, self.most),
            f") SELECT * FROM {walked} UNION ALL SELECT * FROM (",
            sql_of(second, left),
            f") {rest}",
        )

    @property
    def _way(self) -> str:
        return "DESC" if self.down else "ASC"

    @property
    def _sign(self) -> str:
        return "<" if self.down else ">"

    def _having(self) -> Sql:
        """Those with a key; what limits them comes behind."""
        alias = self.scopes.alias("t")
        if self.by_parts:
            return self._having_by_parts(alias)
        # a column with a sign is in no index
        join = self.scopes.beside_sql(self.entity, self.beside, alias, is_walked=self.dialect is Dialect.SQLITE)
        rows = self.scopes.rows_of(self.entity, alias, self._beyond(alias), join=join)
        return sql_of(f"SELECT {self._taken(alias)}", rows, self._key_order(alias))

    def _having_by_parts(self, alias: str) -> Sql:
        way, own = self._way, self.entity.id_column
        (held_keys, within), (_, without) = territory_parts(f"{alias}s")
        each, all_parts = self.scopes.alias("e"), self.scopes.alias("u")
        if self.dialect is Dialect.SQLITE:
            # it joins no parts that look at what stands before them; a list of ids may
            ids = self._part(alias, Sql(within), f'{alias}."{own}"')
            held_parts = sql_of(
                Sql(f"SELECT {self._taken(each)} FROM {held_keys} CROSS JOIN {self.entity.table} {each} ", (USER,)),
                # in this order, or the list would be made anew for each row
                f'CROSS {self._joined_to(each)} WHERE {each}."{own}" IN (',
                ids,
                ")",
            )
        else:
            held_parts = sql_of(
                Sql(f"SELECT {each}.* FROM {held_keys} CROSS JOIN LATERAL (", (USER,)),
                self._part(alias, Sql(within), self._taken(alias)),
                f") {each}",
            )
        return sql_of(
            "SELECT * FROM (",
            held_parts,
            " UNION ALL SELECT * FROM (",
            self._part(alias, Sql(without, (USER,)), self._taken(alias)),
            f") {all_parts}n) {all_parts}",
            f' ORDER BY {all_parts}.sort_by {way}, {all_parts}."{own}" {way} LIMIT ',
        )

    def _part(self, alias: str, condition: Sql, columns: str) -> Sql:
        rows = self.scopes.rows_of(
            self.entity, alias, chain((condition,), self._beyond(alias)), join=Sql(self._joined_to(alias))
        )
        return sql_of(f"SELECT {columns}", rows, self._key_order(alias), self.most)

    def _beyond(self, alias: str) -> Iterator[Sql]:
        yield from self.conditions(alias)
        if self.at:
            yield Sql(f"({', '.join(self._keys(alias))}) {self._sign} (?::bigint, ?::text)", self.at)

    def _keys(self, alias: str) -> tuple[str, str]:
        return f'{alias}s."{self.beside.column}"', f'{alias}s."{self.beside.own}"'

    def _key_order(self, alias: str) -> str:
        key, own = self._keys(alias)
        return f" ORDER BY {key} {self._way}, {own} {self._way} LIMIT "

    def _taken(self, alias: str) -> str:
        return taken(self.outer, alias, f'{alias}s."{self.beside.column}"')

    def _joined_to(self, row: str) -> str:
        return f'JOIN {self.beside.table} {row}s ON {row}s."{self.beside.own}" = {row}."{self.entity.id_column}"'

    def _lacking(self) -> Sql:
        """Those without a key, by id; what limits them comes behind."""
        alias = self.scopes.alias("t")
        own = f'{alias}."{self.entity.id_column}"'
        rows = self.scopes.rows_of(self.entity, alias, self._lacking_conditions(alias, own), at_once=self.by_parts)
        columns = taken(self.outer, alias, str(self.beside.absent))
        return sql_of(f"SELECT {columns}", rows, f" ORDER BY {own} {self._way} LIMIT ")

    def _lacking_conditions(self, alias: str, own: str) -> Iterator[Sql]:
        yield from self.conditions(alias)
        beside, absent = self.beside, self.beside.absent
        further = f'{alias}s."{beside.own}" = {own} AND {{scope {beside.entity} {alias}s}}'
        yield self.scopes.filled(f"NOT EXISTS (SELECT 1 FROM {beside.table} {alias}s WHERE {further})", alias)
        if self.at:
            none, every = ("''", f"'{_ABOVE_IDS}'") if self.down else (f"'{_ABOVE_IDS}'", "''")
            # a range of ids, which an index serves, where a comparison of pairs would not
            cases = f"WHEN {absent} THEN ?::text ELSE CASE WHEN ?::bigint"
            yield Sql(
                f"{own} {self._sign} CASE ?::bigint {cases} {'>' if self.down else '<'} {absent}"
                f" THEN {every} ELSE {none} END END",
                (self.at[0], self.at[1], self.at[0]),
            )
