"""One figure of one customer, followed back: what it stands on, and the run, table and imports behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from backend.auth.principal import Principal
from backend.domain.metrics import METRICS, MetricCode
from backend.domain.sources import ImportUsed, SourceUsed
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Engine
from backend.storage.lineage import read_customer_sources, read_imports
from backend.storage.visibility import visible_to

_COLUMNS = (
    "priority", "segment", "existing_value_minor", "past_value_minor", "future_value_minor", "potential_minor",
    "loyalty_hundredths", "satisfaction_hundredths", "churn_risk_bp", "basis", "coverage_bp", "confidence_bp", "facts",
)  # fmt: skip
_OF = {
    MetricCode.PRIORITY: "priority",
    MetricCode.SEGMENT: "segment",
    MetricCode.EXISTING_VALUE: "existing_value_minor",
    MetricCode.PAST_VALUE: "past_value_minor",
    MetricCode.FUTURE_VALUE: "future_value_minor",
    MetricCode.POTENTIAL: "potential_minor",
    MetricCode.LOYALTY: "loyalty_hundredths",
    MetricCode.SATISFACTION: "satisfaction_hundredths",
    MetricCode.CHURN_RISK: "churn_risk_bp",
}
"""Figure → column of the score."""
_VALUES = frozenset({MetricCode.EXISTING_VALUE, MetricCode.PAST_VALUE, MetricCode.FUTURE_VALUE})


@dataclass(frozen=True, slots=True)
class Lineage:
    """The run that found a figure, the published table it used, and the imports that brought the orders."""

    run_id: str
    as_of: str
    table_version: str
    started_at_ms: int
    started_by: str
    imports: tuple[ImportUsed, ...]


@dataclass(frozen=True, slots=True)
class MetricFound:
    """A figure of a customer: a whole number in the unit of its metric, or a segment's code; None: not recorded.

    `basis`: a `Basis` by name where one is kept; `confidence_bp`: how sure it is, or how much of it is recorded.
    """

    code: MetricCode
    value: int | str | None
    basis: str | None
    confidence_bp: int | None
    sources: tuple[SourceUsed, ...]
    lineage: Lineage


async def explain_customer_metric(
    engine: Engine, principal: Principal, *, code: MetricCode, customer_id: str
) -> MetricFound:
    """Follow one figure of a customer back to its rows, in one snapshot.

    Raises NOT_PERMITTED, and NOT_FOUND for a customer out of scope or never scored. *Source*: R7.
    """
    if not principal.reads("scores") or not principal.reads("customers"):
        raise Refused(Problem(Code.NOT_PERMITTED))
    visible, args = visible_to(principal, "scores", "s", record_column="customer_id")
    async with engine.read() as conn:
        rows = await conn.fetch(
            f"SELECT {', '.join(f's.{name}' for name in _COLUMNS)}, s.run_id, s.as_of, t.version, r.started_at,"
            " r.started_by FROM customer_score s JOIN score_run r ON r.id = s.run_id"
            f" JOIN priority_table t ON t.id = s.table_id WHERE s.customer_id = ? AND {visible}",
            customer_id,
            *args,
        )
        if not rows:
            raise Refused(Problem(Code.NOT_FOUND, ("id",)))
        recorded = {one.source: one for one in await read_customer_sources(conn, customer_id)}
        imports = await read_imports(conn, customer_id)
    score = dict(zip(_COLUMNS, rows[0], strict=False))
    value, basis, sure = _figure(code, score)
    return MetricFound(
        code=code,
        value=value,
        basis=basis,
        confidence_bp=sure,
        sources=tuple(recorded.get(one, SourceUsed(one, recorded=False)) for one in METRICS[code].sources),
        lineage=_lineage(rows[0][len(_COLUMNS) :], imports),
    )


def _figure(code: MetricCode, score: dict[str, Any]) -> tuple[int | str | None, str | None, int | None]:
    """Value, basis and confidence as the score keeps them."""
    value, facts = score[_OF[code]], orjson.loads(score["facts"])
    if code is MetricCode.LOYALTY:
        return _points(value), None, score["coverage_bp"]
    if code is MetricCode.SATISFACTION:
        return _points(value), None, facts.get("satisfactionConfidenceBp")
    if code is MetricCode.POTENTIAL:
        return value, None, facts.get("potentialConfidenceBp")
    if code in _VALUES:
        return value, score["basis"], score["confidence_bp"]
    return value, None, score["confidence_bp"] if code is MetricCode.CHURN_RISK else None


def _points(hundredths: int | None) -> int | None:
    return None if hundredths is None else round(hundredths / 100)


def _lineage(row: Sequence[Any], imports: Sequence[ImportUsed]) -> Lineage:
    run_id, as_of, version, started_at_ms, started_by = row
    return Lineage(run_id, as_of, version, started_at_ms, started_by, tuple(imports))
