"""A cube's question as one statement: facts once, within scope, then sums of them at every level that is asked for.

Where customers are cut, a fact is a customer, and its measures are the fields a predicate compares; where orders are
cut, it is an order, or a line where categories are asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.auth.principal import Principal
from backend.domain.cube import PRIORITY_TIERS, CubeDimension, CubeWish, Group, Side
from backend.domain.predicates import CUSTOM_PREFIX, Predicate, Ref, Vocabulary
from backend.domain.times import days_between
from backend.reads.entities.table import ENTITIES
from backend.reads.predicates import Given, Moment, PredicateCompiler, order_scope
from backend.reads.scopes import Scopes
from backend.reads.sql import Sql, arguments_of, sql_of
from backend.storage.dialects import Dialect
from backend.storage.engine import Row
from backend.storage.exchange import converted_sql, sum_sql
from backend.storage.statistics import COUNTS


@dataclass(frozen=True, slots=True)
class CubeStatement:
    """One statement. Its rows: level, the keys, customers, sums by `columns`, and of the orders behind them how many,
    the first day and the last."""

    sql: str
    values: tuple[object, ...]
    columns: tuple[str, ...]
    keys_n: int

    def group(self, row: Row) -> Group:
        """One row of the answer."""
        level = row[0]
        sums = dict(zip(self.columns, row[2 + self.keys_n :], strict=False))
        return Group(level, tuple(row[1 : 1 + level]), row[1 + self.keys_n], sums)

    def orders_of(self, row: Row) -> tuple[int, str | None, str | None]:
        """How many orders a row stands on, and their first and last day."""
        count, first, last = row[-3:]
        return count or 0, first, last


@dataclass
class _Writer:
    """What all pieces of one statement share."""

    wish: CubeWish
    vocabulary: Vocabulary
    scopes: Scopes
    dialect: Dialect
    moment: Moment
    since: str | None
    given: Given

    def __post_init__(self) -> None:
        args = (self.vocabulary, self.scopes, self.dialect, self.moment, self.given)
        self.compiler = PredicateCompiler(*args)
        self.days = None if self.since is None else days_between(self.since, self.moment.as_of) + 1

    def key(self, side: Side) -> Sql:
        """The text a row is grouped by, NULL where nothing was recorded."""
        match side.dimension:
            case CubeDimension.TERRITORY:
                return self.given.sql(_TERRITORY, side.depth)
            case CubeDimension.CUSTOM:
                return self.compiler.field(Ref(f"{CUSTOM_PREFIX}{side.key}"))
            case CubeDimension.PRIORITY_TIER:
                tiers = " ".join(f"WHEN s.priority >= {least} THEN '{name}'" for least, name in PRIORITY_TIERS)
                return self.compiler.of_score(Sql(f"CASE {tiers} END"))
            case CubeDimension.SEGMENT:
                return self.compiler.field(Ref("segment"))
            case _:
                return Sql(_COLUMNS[side.dimension])

    def parts(self, filter: Predicate | None) -> Sql:
        """The named parts of the statement: whom it is about, then the facts: keys `d0`…, `c` the customer, and what is
        summed. Who is chosen is found out once for each customer, not for each of its orders."""
        keys = [sql_of(self.key(side), f" AS d{place}") for place, side in enumerate(self.wish.sides)]
        scope = self.scopes.scope(ENTITIES["customers"], "k")
        where = [scope] if filter is None else [scope, self.compiler.compiled(filter)]
        joins, more, columns = self.orders() if self.wish.of_orders else self.customers()
        chosen = sql_of("chosen AS MATERIALIZED (SELECT k.* FROM customer k WHERE ", sql_of(*where, by=" AND "), ")")
        told = sql_of("SELECT ", sql_of("k.id AS c", *keys, *columns, by=", "), " FROM chosen k", joins)
        only = sql_of(" WHERE ", sql_of(*more, by=" AND ")) if more else Sql("")
        return sql_of(chosen, ", facts AS MATERIALIZED (", told, only, ")")

    def customers(self) -> tuple[Sql, list[Sql], list[Sql]]:
        """Facts that are customers: their measures, each from the rows in scope."""
        refs = {
            "orders": Ref("orders", self.days),
            "net": Ref("netSales", self.days),
            "units": Ref("units", self.days),
            "visits": Ref("visits", self.days),
            "priority": Ref("priority"),
            "loyalty": Ref("loyalty"),
            "satisfaction": Ref("satisfaction"),
        }
        wanted = dict.fromkeys(_base(name) for name in self.wish.sums)
        if self.wish.asks_orders:
            wanted["orders"] = None
        columns = [sql_of(self.compiler.field(refs[name]), f" AS {name}") for name in wanted]
        if self.wish.asks_orders:
            for edge in ("MIN", "MAX"):
                day = self.compiler.of_orders(f"{edge}(o.ordered_on)", Ref("orders", self.days))
                columns.append(sql_of(day, f" AS {edge.lower()}_day"))
        return Sql(""), [], columns

    def orders(self) -> tuple[Sql, list[Sql], list[Sql]]:
        """Facts that are orders, or their lines."""
        dimensions = {side.dimension for side in self.wish.sides}
        joins = " JOIN sales_order o ON o.customer_id = k.id"
        total, units = "o.total_minor", "o.units"
        if CubeDimension.CATEGORY in dimensions:
            joins += " LEFT JOIN order_line l ON l.order_id = o.id LEFT JOIN style y ON y.id = l.style_id"
            total, units = f"COALESCE(l.total_minor, {total})", f"COALESCE(l.units, {units})"
        if CubeDimension.SEASON in dimensions:
            joins += " LEFT JOIN season n ON n.id = o.season_id"
        columns = [Sql("o.id AS o"), Sql("o.ordered_on AS day")]
        if "net" in self.wish.sums:
            same = self.wish.by_currency
            amount = total if same else converted_sql(total, "o.currency", "o.ordered_on", self.moment.currency)
            columns.append(Sql(f"{amount} AS net"))
        if "units" in self.wish.sums:
            columns.append(Sql(f"{units} AS units"))
        window = self.given.sql(f"{COUNTS} AND o.ordered_on <= ?::text", self.moment.as_of)
        more = [window, order_scope(self.scopes, "o")]
        if self.since is not None:
            more.append(self.given.sql("o.ordered_on >= ?::text", self.since))
        return Sql(joins), more, columns

    def sums(self) -> list[str]:
        """The aggregates, in the order of `wish.sums`, then what the orders were."""
        rules = self.order_sums() if self.wish.of_orders else self.customer_sums()
        own = [rules[name] for name in self.wish.sums]
        if self.wish.of_orders:
            return [*own, "COUNT(DISTINCT f.o)", "MIN(f.day)", "MAX(f.day)"]
        if self.wish.asks_orders:
            return [*own, self.summed("orders"), "MIN(f.min_day)", "MAX(f.max_day)"]
        return [*own, "0", "CAST(NULL AS TEXT)", "CAST(NULL AS TEXT)"]

    def summed(self, column: str) -> str:
        return sum_sql(f"f.{column}", self.dialect)

    def order_sums(self) -> Mapping[str, str]:
        return {
            "orders": "COUNT(DISTINCT f.o)",
            "net": self.summed("net"),
            "unknown": "COUNT(*) - COUNT(f.net)",
            "units": self.summed("units"),
        }

    def customer_sums(self) -> Mapping[str, str]:
        scores = ("priority", "loyalty", "satisfaction")
        return {
            **{name: self.summed(name) for name in ("orders", "net", "units", "visits", *scores)},
            **{f"{name}_n": f"COUNT(f.{name})" for name in scores},
            "unknown": "COUNT(*) - COUNT(f.net)",
        }


def _base(name: str) -> str:
    """The fact's column that a sum is made of."""
    return "net" if name == "unknown" else name.removesuffix("_n")


_TERRITORY = (
    "(SELECT COALESCE((SELECT a.path FROM territory a WHERE length(a.path) - length(replace(a.path, '/', '')) = ?::int"
    " AND (a.path = t.path OR substr(t.path, 1, length(a.path) + 1) = a.path || '/')), t.path)"
    " FROM territory t WHERE t.id = k.territory_id)"
)
"""The node above a customer's at that depth; a customer that hangs higher stands with its own node."""
_QUARTER = "substr(o.ordered_on, 1, 4) || 'Q' || CAST((CAST(substr(o.ordered_on, 6, 2) AS INTEGER) + 2) / 3 AS TEXT)"
_COLUMNS: Mapping[CubeDimension, str] = {
    CubeDimension.KIND: "k.kind",
    CubeDimension.STAGE: "k.stage",
    CubeDimension.COUNTRY: "k.country",
    CubeDimension.PROVINCE: "k.province",
    CubeDimension.CITY: "k.city",
    CubeDimension.SEASON: "n.code",
    CubeDimension.CATEGORY: "y.category",
    CubeDimension.ORDER_QUARTER: _QUARTER,
    CubeDimension.ORDER_MONTH: "substr(o.ordered_on, 1, 7)",
    CubeDimension.ORDER_SOURCE: "o.source",
    CubeDimension.CURRENCY: "o.currency",
}


def cube_statement(
    wish: CubeWish,
    filter: Predicate | None,
    vocabulary: Vocabulary,
    principal: Principal,
    dialect: Dialect,
    moment: Moment,
    *,
    since: str | None,
    groups_max: int,
) -> CubeStatement:
    """The statement of a question that was found good. It ends after one group more than `groups_max`."""
    given = Given()
    writer = _Writer(wish, vocabulary, Scopes(principal), dialect, moment, since, given)
    parts = writer.parts(filter)
    keys_n = len(wish.sides)
    customers = "COUNT(DISTINCT f.c)" if wish.of_orders else "COUNT(*)"
    levels = []
    for level in wish.levels:
        keys = [f"f.d{place}" if place < level else "CAST(NULL AS TEXT)" for place in range(keys_n)]
        told = ", ".join([str(level), *keys, customers, *writer.sums()])
        grouped = f" GROUP BY {', '.join(keys[:level])}" if level else ""
        levels.append(f"SELECT {told} FROM facts f{grouped}")
    limit = given.sql(" LIMIT ?::bigint", groups_max + 1)
    text = sql_of("WITH ", parts, f" {' UNION ALL '.join(levels)}", limit)
    values = arguments_of(text.parameters, principal, 0, given=given.values)
    return CubeStatement(text.text, tuple(values), wish.sums, keys_n)


def in_order(groups: Sequence[Group]) -> list[Group]:
    """The finest level first; within a level by keys, what was not recorded behind."""
    return sorted(groups, key=lambda group: (-group.level, [(key is None, key or "") for key in group.keys]))
