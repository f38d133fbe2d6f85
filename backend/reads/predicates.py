"""Predicates as SQL over the row of a customer: values are parameters, and what a field reads stands in its scope.

Both databases answer as `domain.predicate_columns` does: what is missing is NULL, and `NOT`, `AND`, `OR` are Kleene's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.money import Money
from backend.domain.names import query_keys
from backend.domain.predicate_columns import lower_ascii
from backend.domain.predicates import (
    CUSTOM_PREFIX,
    Condition,
    Every,
    Kind,
    Not,
    Op,
    Predicate,
    PredicateField,
    PredicateLimits,
    Ref,
    Some,
    Value,
    Vocabulary,
    by_day,
    day_of,
    refs,
)
from backend.domain.times import add_days, day_bounds_ms
from backend.domain.visits import VisitState
from backend.reads.entities.entity import readable
from backend.reads.entities.shorthand import CUSTOM_VALUE
from backend.reads.entities.table import ENTITIES
from backend.reads.scopes import Scopes
from backend.reads.sql import Parameter, Source, Sql, sql_of
from backend.storage.customers import TIMEZONE_DEFAULT
from backend.storage.dialects import Dialect
from backend.storage.exchange import converted_sql, sum_sql
from backend.storage.statistics import COUNTS


@dataclass
class Given:
    """The values of a statement's parameters, in the order they are bound."""

    values: list[Any] = field(default_factory=list)

    def bind(self, value: object) -> Parameter:
        self.values.append(value)
        return Parameter(Source.GIVEN, 0, len(self.values) - 1)

    def sql(self, text: str, *values: object) -> Sql:
        """A piece of a statement with a `?` for each value."""
        return Sql(text, tuple(self.bind(value) for value in values))


@dataclass(frozen=True, slots=True)
class Moment:
    """The day facts are judged on, in each customer's own zone; `zones`: every zone that occurs."""

    as_of: str
    zones: tuple[str, ...]
    currency: str


def permitted(vocabulary: Vocabulary, principal: Principal | None) -> Vocabulary:
    """What of a vocabulary somebody may compare: not what he may not read, be it a collection or personal.

    None is the server itself, which may all.
    """
    if principal is None:
        return vocabulary

    def withheld(found: PredicateField) -> bool:
        if found.personal and principal.masked:
            return True
        if found.reads == "orders" and found.sums:
            return not principal.counts_orders
        return bool(found.reads) and not readable(principal, ENTITIES[found.reads])

    return vocabulary.without(frozenset(name for name, found in vocabulary.fields.items() if withheld(found)))


def predicate_limits(settings: Settings) -> PredicateLimits:
    """The bounds of a predicate."""
    return PredicateLimits(
        depth_max=settings.predicate_depth_max,
        nodes_max=settings.predicate_nodes_max,
        lookups_max=settings.predicate_lookups_max,
        values_max=settings.predicate_values_max,
        value_characters_max=settings.predicate_value_characters_max,
        characters_max=settings.predicate_characters_max,
    )


def compares_orders(predicate: Predicate, vocabulary: Vocabulary) -> bool:
    """Whether some condition tells something of orders."""
    fields = [vocabulary.fields[ref.name] for ref in refs(predicate)]
    return any((vocabulary.fields[one.of] if one.of else one).reads == "orders" for one in fields)


def order_scope(scopes: Scopes, alias: str) -> Sql:
    """What orders count for somebody, given that their customer is in scope: those he reads, or whose sums he may."""
    return Sql("1 = 1") if scopes.principal.only_counts_orders else scopes.scope(ENTITIES["orders"], alias)


def zone_case(given: Given, alias: str, moments: Mapping[str, int]) -> Sql:
    """The instant of the customer's own zone."""
    values: list[object] = [TIMEZONE_DEFAULT]
    for zone, at_ms in moments.items():
        values += [zone, at_ms]
    cases = " ".join("WHEN ?::text THEN ?::bigint" for _ in moments)
    return given.sql(f"CASE COALESCE({alias}.timezone, ?::text) {cases} END", *values)


def day_edge(given: Given, alias: str, moment: Moment, day: str, *, end: bool) -> Sql:
    """The first instant of a local day, or of the next one, in the customer's zone."""
    return zone_case(given, alias, {zone: day_bounds_ms(day, zone)[end] for zone in moment.zones})


class PredicateCompiler:
    """One predicate over the row `alias` of `customer`, which must be in scope already.

    `scopes` None: the server itself asks, and everything is in scope.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        scopes: Scopes | None,
        dialect: Dialect,
        moment: Moment,
        given: Given,
        alias: str = "k",
    ) -> None:
        self.vocabulary, self.scopes, self.dialect = vocabulary, scopes, dialect
        self.moment, self.given, self.alias = moment, given, alias

    def compiled(self, predicate: Predicate) -> Sql:
        """The condition, in brackets where it needs them."""
        match predicate:
            case Not(part):
                return sql_of("NOT ", self.compiled(part))
            case Every(parts):
                return sql_of("(", sql_of(*map(self.compiled, parts), by=" AND "), ")")
            case Some(parts):
                return sql_of("(", sql_of(*map(self.compiled, parts), by=" OR "), ")")
            case Condition() as condition:
                declared = self.vocabulary.fields[condition.ref.name]
                if declared.kind is Kind.AGE:
                    condition = by_day(condition, declared)
                    declared = self.vocabulary.fields[condition.ref.name]
                return sql_of("(", self.said(condition, declared), ")")

    def said(self, condition: Condition, declared: PredicateField) -> Sql:
        match declared.kind:
            case Kind.SET:
                return self.of_set(condition)
            case Kind.SEARCH:
                return self.of_keys(condition)
            case Kind.MONEY:
                return self.of_money(condition)
            case Kind.DAY if condition.ref.name in _INSTANTS:
                return self.of_instant(condition)
        value = self.field(condition.ref)
        if condition.op is Op.MISSING:
            return sql_of(value, " IS NULL")
        match declared.kind:
            case Kind.NUMBER:
                return self.of_numbers(condition.op, value, condition.values)
            case Kind.DAY:
                days = [day_of(one, self.moment.as_of) for one in condition.values]
                return self.compared(condition.op, value, days, "text")
            case Kind.BOOL:
                return self.compared(
                    condition.op, value, ["true" if one else "false" for one in condition.values], "text"
                )
            case _:
                return self.of_text(condition, value)

    def compared(self, op: Op, value: Sql, wanted: Sequence[object], kind: str) -> Sql:
        if op is Op.BETWEEN:
            return sql_of(value, self.given.sql(f" BETWEEN ?::{kind} AND ?::{kind}", *wanted))
        sign = "<>" if op is Op.NOT_EQUAL else op.value
        return sql_of(value, self.given.sql(f" {sign} ?::{kind}", wanted[0]))

    def of_numbers(self, op: Op, value: Sql, wanted: Sequence[Value]) -> Sql:
        if op is Op.IN:
            return sql_of("CAST(", value, " AS BIGINT)", self.given.sql(" = ANY(?)", list(wanted)))
        return self.compared(op, value, wanted, "bigint")

    def of_text(self, condition: Condition, value: Sql) -> Sql:
        wanted = [str(one) for one in condition.values]
        match condition.op:
            case Op.IN:
                return sql_of(value, self.given.sql(" = ANY(?)", wanted))
            case Op.CONTAINS:
                return self.found(sql_of("lower(", value, ")"), lower_ascii(wanted[0]))
            case Op.STARTS:
                start = lower_ascii(wanted[0])
                return sql_of("substr(lower(", value, self.given.sql("), 1, ?::int) = ?::text", len(start), start))
            case Op.UNDER:
                return sql_of(*(part for one in wanted for part in self.under(condition.ref, one)), by=" OR ")
            case _:
                return self.compared(condition.op, value, wanted, "text")

    def under(self, ref: Ref, path: str) -> tuple[Sql, Sql]:
        below = f"{path.rstrip('/')}/"
        itself = sql_of(self.field(ref), self.given.sql(" = ?::text", path))
        within = self.given.sql(", 1, ?::int) = ?::text", len(below), below)
        return itself, sql_of("substr(", self.field(ref), within)

    def found(self, value: Sql, text: str) -> Sql:
        function = "instr" if self.dialect is Dialect.SQLITE else "strpos"
        return sql_of(f"{function}(", value, self.given.sql(", ?::text) > 0", text))

    def of_keys(self, condition: Condition) -> Sql:
        """Every term stands in the search keys, or at the beginning of one of them."""
        starts = condition.op is Op.STARTS
        ahead, keys = (" ", f"' ' || {self.alias}.search_keys") if starts else ("", f"{self.alias}.search_keys")
        terms = query_keys(str(condition.values[0]))
        return sql_of(*(self.found(Sql(keys), f"{ahead}{term}") for term in terms), by=" AND ")

    def of_set(self, condition: Condition) -> Sql:
        sqlite, is_own = self.dialect is Dialect.SQLITE, condition.ref.name.startswith(CUSTOM_PREFIX)
        key = (condition.ref.name.removeprefix(CUSTOM_PREFIX),) if is_own else ()
        held = f"{self.alias}.tags" if sqlite else f"{self.alias}.tags::json"
        if is_own:
            held = CUSTOM_VALUE["array"][sqlite].replace("{a}", self.alias)
        each = "json_each" if sqlite else "json_array_elements_text"
        if condition.op is Op.MISSING:
            return sql_of("COALESCE(", self.given.sql(held if sqlite else f"{held}::text", *key), ", '[]') = '[]'")
        row = "h" if sqlite else "h(value)"
        wanted = self.given.sql(f") {row} WHERE h.value = ANY(?))", [str(one) for one in condition.values])
        return sql_of(f"EXISTS (SELECT 1 FROM {each}(", self.given.sql(held, *key), wanted)

    def of_money(self, condition: Condition) -> Sql:
        amounts = [one for one in condition.values if isinstance(one, Money)]
        if condition.ref.name == "netSales":
            value = self.field(condition.ref)
        else:
            value = self.amount(condition.ref.name, amounts[0].currency if amounts else None)
        if not amounts:
            return sql_of(value, " IS NULL")
        return self.compared(condition.op, value, [one.amount_minor for one in amounts], "bigint")

    def amount(self, name: str, currency: str | None) -> Sql:
        """The amount where it is in that currency, or in whichever."""

        def chosen(alias: str, column: str) -> Sql:
            whole = f"{alias}.{column}"
            if currency is None:
                return Sql(whole)
            return self.given.sql(f"CASE WHEN {alias}.currency = ?::text THEN {whole} END", currency)

        if name == "creditLimit":
            return chosen(self.alias, "credit_limit_minor")
        return self.of_score(chosen("s", _SCORES[name]))

    def of_instant(self, condition: Condition) -> Sql:
        """A day that is kept as an instant, against the bounds of the day in the customer's own zone."""
        value = self.field(condition.ref)
        if condition.op is Op.MISSING:
            return sql_of(value, " IS NULL")

        def edge(one: Value, *, end: bool) -> Sql:
            return day_edge(self.given, self.alias, self.moment, day_of(one, self.moment.as_of), end=end)

        first = condition.values[0]
        match condition.op:
            case Op.LESS:
                return sql_of(value, " < ", edge(first, end=False))
            case Op.AT_MOST:
                return sql_of(value, " < ", edge(first, end=True))
            case Op.MORE:
                return sql_of(value, " >= ", edge(first, end=True))
            case Op.AT_LEAST:
                return sql_of(value, " >= ", edge(first, end=False))
            case Op.NOT_EQUAL:
                below = sql_of(value, " < ", edge(first, end=False))
                return sql_of(below, " OR ", self.field(condition.ref), " >= ", edge(first, end=True))
            case _:
                from_here = sql_of(value, " >= ", edge(first, end=False))
                return sql_of(
                    from_here, " AND ", self.field(condition.ref), " < ", edge(condition.values[-1], end=True)
                )

    def field(self, ref: Ref) -> Sql:
        """The value of a field that is one expression, NULL where it is missing."""
        if ref.name.startswith(CUSTOM_PREFIX):
            return self.custom(ref.name)
        if ref.name in _OWN:
            return Sql(f"{self.alias}.{_OWN[ref.name]}")
        if ref.name in _SCORES:
            return self.of_score(Sql(f"s.{_SCORES[ref.name]}"))
        return _FURTHER[ref.name](self, ref)

    def custom(self, name: str) -> Sql:
        kind, key = self.vocabulary.fields[name].kind, name.removeprefix(CUSTOM_PREFIX)
        sqlite = self.dialect is Dialect.SQLITE
        if kind is Kind.BOOL:
            text = f'({self.alias}.custom::json ->> ?::text) COLLATE "C"'
            return self.given.sql(f"({self.alias}.custom -> ?)" if sqlite else text, key)
        value = CUSTOM_VALUE["number" if kind is Kind.NUMBER else "string"][sqlite]
        return self.given.sql(value.replace("{a}", self.alias), key)

    def scope(self, entity: str, alias: str) -> Sql:
        if self.scopes is None:
            return Sql("1 = 1")
        if entity == "orders":
            return order_scope(self.scopes, alias)
        return self.scopes.scope(ENTITIES[entity], alias)

    def of_score(self, value: Sql) -> Sql:
        rows = f" FROM customer_score s WHERE s.customer_id = {self.alias}.id AND "
        return sql_of("(SELECT ", value, rows, self.scope("scores", "s"), ")")

    def of_orders(self, value: str, ref: Ref) -> Sql:
        """Something of the orders that count, of the window."""
        after = "" if ref.days is None else add_days(self.moment.as_of, -ref.days)
        rows = f" FROM sales_order o WHERE o.customer_id = {self.alias}.id AND {COUNTS}"
        window = self.given.sql(
            " AND o.ordered_on > ?::text AND o.ordered_on <= ?::text AND ", after, self.moment.as_of
        )
        return sql_of(f"(SELECT {value}{rows}", window, self.scope("orders", "o"), ")")

    def of_visits(self, value: str, ref: Ref) -> Sql:
        """Something of the visits that took place, of the window."""
        rows = (
            f"(SELECT {value} FROM visit v WHERE v.customer_id = {self.alias}.id"
            f" AND v.state = '{VisitState.COMPLETED.value}' AND v.check_in_at < "
        )
        end = day_edge(self.given, self.alias, self.moment, self.moment.as_of, end=True)
        parts: list[str | Sql] = [rows, end]
        if ref.days is not None:
            first = add_days(self.moment.as_of, 1 - ref.days)
            parts += [" AND v.check_in_at >= ", day_edge(self.given, self.alias, self.moment, first, end=False)]
        return sql_of(*parts, " AND ", self.scope("visits", "v"), ")")

    def net_sales(self, ref: Ref) -> Sql:
        one = converted_sql("o.total_minor", "o.currency", "o.ordered_on", self.moment.currency)
        # of an order without a rate nobody knows what it adds
        total = f"CASE WHEN COUNT(*) = COUNT(q.one) THEN {sum_sql('q.one', self.dialect)} END"
        inner = self.of_orders(f"{one} AS one", ref)
        return sql_of(f"(SELECT {total} FROM ", inner, " q)")


_INSTANTS = frozenset({"lastVisitOn"})
_OWN: Mapping[str, str] = {
    "kind": "kind",
    "stage": "stage",
    "code": "code",
    "country": "country",
    "province": "province",
    "city": "city",
    "district": "district",
    "postcode": "postcode",
    "currency": "currency",
    "termsDays": "terms_days",
    "cadenceDays": "cadence_days",
    "completeness": "completeness_percent",
    "customerSince": "customer_since",
}
_SCORES: Mapping[str, str] = {
    "segment": "segment",
    "priority": "priority",
    "loyalty": "loyalty_hundredths",
    "satisfaction": "satisfaction_hundredths",
    "churnRisk": "churn_risk_bp",
    "existingValue": "existing_value_minor",
    "potential": "potential_minor",
    "pastValue": "past_value_minor",
    "futureValue": "future_value_minor",
}
_FURTHER: Mapping[str, Callable[[PredicateCompiler, Ref], Sql]] = {
    "territory": lambda one, ref: Sql(f"(SELECT t.path FROM territory t WHERE t.id = {one.alias}.territory_id)"),
    "firstOrderOn": lambda one, ref: one.of_orders("MIN(o.ordered_on)", ref),
    "lastOrderOn": lambda one, ref: one.of_orders("MAX(o.ordered_on)", ref),
    "orders": lambda one, ref: one.of_orders("COUNT(*)", ref),
    "units": lambda one, ref: one.of_orders(sum_sql("o.units", one.dialect), ref),
    "netSales": lambda one, ref: one.net_sales(ref),
    "lastVisitOn": lambda one, ref: one.of_visits("MAX(v.check_in_at)", ref),
    "visits": lambda one, ref: one.of_visits("COUNT(*)", ref),
}
