"""What a predicate may say of a customer: every field once, with its kind, its range and what it may be read by."""

from backend.domain.customers import CustomerKind, LifecycleStage
from backend.domain.predicates import Kind, PredicateField, Vocabulary
from backend.domain.segments import SEGMENT_CODES

_AGE_MOST = 36_600


def _number(name: str, most: int, *, decimals: int = 0, reads: str = "") -> PredicateField:
    return PredicateField(name, Kind.NUMBER, decimals=decimals, least=0, most=most, reads=reads)


def customer_vocabulary(reporting_currency: str) -> Vocabulary:
    """The fields of customers; `with_custom` adds the organisation's own.

    *Units*: `loyalty` and `satisfaction` are points 0..100, `churnRisk` a share 0..1, `priority` points 0..100, all of
    the last score run; `orders(n)`, `units(n)`, `netSales(n)` and `visits(n)` count the last n days up to and with the
    as-of day, net sales in the reporting currency by the rate of each order's day (missing where one has no rate).
    *Source*: `domain.md`; R8, R40.
    """

    def measure(name: str) -> PredicateField:
        return PredicateField(name, Kind.MONEY, reads="scores")

    return Vocabulary.of(
        (
            PredicateField("kind", Kind.CHOICE, values=tuple(kind.value for kind in CustomerKind)),
            PredicateField("stage", Kind.CHOICE, values=tuple(stage.value for stage in LifecycleStage)),
            PredicateField("segment", Kind.CHOICE, values=tuple(SEGMENT_CODES), reads="scores"),
            PredicateField("name", Kind.SEARCH, personal=True),
            PredicateField("code", Kind.TEXT),
            PredicateField("country", Kind.TEXT),
            PredicateField("province", Kind.TEXT),
            PredicateField("city", Kind.TEXT),
            PredicateField("district", Kind.TEXT),
            PredicateField("postcode", Kind.TEXT),
            PredicateField("currency", Kind.TEXT),
            PredicateField("tags", Kind.SET),
            PredicateField("territory", Kind.TREE),
            _number("termsDays", 3_650),
            _number("cadenceDays", 3_650),
            _number("completeness", 100),
            PredicateField("creditLimit", Kind.MONEY),
            PredicateField("customerSince", Kind.DAY),
            PredicateField("firstOrderOn", Kind.DAY, reads="orders", sums=True),
            PredicateField("lastOrderOn", Kind.DAY, reads="orders", sums=True),
            PredicateField("lastVisitOn", Kind.DAY, reads="visits"),
            PredicateField("daysSinceFirstOrder", Kind.AGE, of="firstOrderOn", least=0, most=_AGE_MOST),
            PredicateField("daysSinceLastOrder", Kind.AGE, of="lastOrderOn", least=0, most=_AGE_MOST),
            PredicateField("daysSinceLastVisit", Kind.AGE, of="lastVisitOn", least=0, most=_AGE_MOST),
            PredicateField("orders", Kind.NUMBER, windowed=True, least=0, reads="orders", sums=True),
            PredicateField("units", Kind.NUMBER, windowed=True, reads="orders", sums=True),
            PredicateField(
                "netSales", Kind.MONEY, windowed=True, currency=reporting_currency, reads="orders", sums=True
            ),
            PredicateField("visits", Kind.NUMBER, windowed=True, least=0, reads="visits"),
            _number("priority", 100, reads="scores"),
            _number("loyalty", 10_000, decimals=2, reads="scores"),
            _number("satisfaction", 10_000, decimals=2, reads="scores"),
            _number("churnRisk", 10_000, decimals=4, reads="scores"),
            measure("existingValue"),
            measure("potential"),
            measure("pastValue"),
            measure("futureValue"),
        )
    )
