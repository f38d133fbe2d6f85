"""A customer's numbers as they travel to devices: whole numbers and codes only, `None` for never recorded.

The keys are those `mobile_contract/priority.py` reads, so a device re-ranks from this document and its own
facts.
"""

from backend.domain.arrays import Basis
from backend.domain.lifecycle import Stage
from backend.domain.scoring import ScoreColumns
from backend.domain.segments import SEGMENT_CODES, Cause
from backend.domain.strategy import policy

Document = dict[str, int | str | None]


def score_documents(columns: ScoreColumns) -> list[Document]:
    """One document per customer, in the columns' sequence. *Source*: R28, R50, R52."""
    lines = columns.priority_inputs
    numbers = {
        "valueAtStakeMinor": columns.value_at_stake_minor,
        "upliftMinor": columns.uplift_minor,
        "potentialMinor": columns.potential_minor,
        "potentialConfidenceBp": columns.potential_confidence_bp,
        "existingValueMinor": columns.existing_value_minor,
        "satisfactionBp": lines.satisfaction_bp,
        "satisfactionConfidenceBp": columns.satisfaction_confidence_bp,
        "loyaltyBp": columns.loyalty_bp,
        "loyaltyCoverageBp": columns.loyalty_coverage_bp,
        "churnRiskBp": columns.churn_risk_bp,
        "clvPastMinor": columns.clv_past_minor,
        "clvFutureMinor": columns.clv_future_minor,
        "expectedOrdersMilli": columns.expected_orders_milli,
        "cadenceDays": columns.cadence_days,
        "seasonCloseDay": lines.season_close_day,
        "hasPreorderHistory": lines.has_preorder_history,
        "severeCases": lines.severe_cases_n,
    }
    bases = {
        "valueBasis": columns.value_basis,
        "potentialBasis": columns.potential_basis,
        "loyaltyBasis": columns.loyalty_basis,
        "satisfactionBasis": columns.satisfaction_basis,
        "churnBasis": columns.churn_basis,
        "upliftBasis": columns.uplift_basis,
    }
    names = [basis.name for basis in Basis]
    texts: dict[str, list[str]] = {name: [names[code] for code in column.tolist()] for name, column in bases.items()}
    values: dict[str, list[int | None]] = {name: column.tolist() for name, column in numbers.items()}
    segments, stages = columns.segment.code.tolist(), columns.stage.tolist()
    causes, scores = columns.segment.cause.tolist(), columns.priority.score.tolist()
    return [
        {
            **{name: column[row] for name, column in values.items()},
            **{name: column[row] for name, column in texts.items()},
            "segment": SEGMENT_CODES[segments[row]],
            "segmentCause": Cause(causes[row]).name,
            "stage": Stage(stages[row]).name,
            "objective": policy(segments[row], Stage(stages[row])).objective,
            "strategy": policy(segments[row], Stage(stages[row])).strategy,
            "asOfDay": columns.as_of_day,
            "priority": scores[row],
            "parametersVersion": columns.parameters_version,
            "tablesVersion": columns.tables.version,
        }
        for row in range(len(scores))
    ]
