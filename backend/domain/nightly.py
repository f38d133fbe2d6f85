"""One night's scoring: what was frozen is used, what changed is found, what a segment remembers is carried on.

Pure: columns and what earlier nights left in, columns and what this night leaves out. *Source*: R27, R28, R52.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from backend.domain.arrays import Basis, BoolArray, IntArray, IntColumn
from backend.domain.calibration import calibrate, purchase_history
from backend.domain.feedback import (
    Feedback,
    Proof,
    fact_ages,
    proof_of,
    referrals_n,
    satisfaction_inputs,
    severe_cases_n,
    wallet_year_minor,
)
from backend.domain.frozen import Fitted, Published, Refit, accepted
from backend.domain.history import HistoryColumns, OrderColumns, history_of
from backend.domain.lifecycle import Stage
from backend.domain.loyalty import typical_interval_days
from backend.domain.potential import Frontier, peer_frontiers
from backend.domain.priority import PriorityInputs, priorities
from backend.domain.questions import Standing, next_questions
from backend.domain.score_changes import Shown, changed_scores
from backend.domain.score_facts import DayFacts, inputs_of, text_hashes
from backend.domain.score_policy import ScorePolicy
from backend.domain.scoring import ScoreColumns, ScoreInputs, ScoreParameters, score_customers
from backend.domain.segment_memory import pack_segments, states_found, unpack_segments
from backend.domain.segments import SEGMENT_CODES, Cause, Thresholds
from backend.domain.times import day_from_number, day_number
from backend.domain.visit_uplift import VisitUplift, assumed_uplift

MONEY_COLUMNS = ("existing_value_minor", "potential_minor", "past_value_minor", "future_value_minor")
SHARE_COLUMNS = (
    "loyalty_hundredths",
    "satisfaction_hundredths",
    "churn_risk_bp",
    "coverage_bp",
    "confidence_bp",
)
LABEL_COLUMNS = ("segment", "stage", "basis", "currency", "table_id", "questions")


@dataclass(frozen=True, slots=True)
class StoredScores:
    """(n,) the scores in force; rows without one have empty texts, and numbers not known.

    `numbers`, `texts`: column of the score's row → values; `facts`: what a device ranks with, by column of
    `PriorityInputs`; `evidence`: what `text_hashes` makes of the ids the lines name.
    """

    scored: BoolArray
    numbers: Mapping[str, IntColumn]
    texts: Mapping[str, Sequence[str]]
    facts: Mapping[str, IntColumn]
    evidence: IntArray


@dataclass(frozen=True, slots=True)
class Night:
    """What a night starts from; (n,) columns of the customers it scores, in one sequence.

    `published`, `table_id`: the set in force and its id, None when one must be frozen under `new_table_id`
    and `new_version`; `fitted`: the last fit; `uplift`: what a visit brings; money in minor units of `currency`.
    """

    as_of: str
    quarter: str
    orders: OrderColumns
    kind: IntArray
    peer_group: IntArray
    cadence_days: IntColumn
    breadth_n: IntColumn
    season_close_day: IntColumn
    has_preorder_history: IntColumn
    facts: DayFacts
    stored: StoredScores
    currency: str
    published: Published | None
    table_id: str
    new_version: str
    new_table_id: str
    fitted: Fitted | None
    default_margin: float | None
    visit_cost_minor: int
    policy: ScorePolicy = field(default_factory=ScorePolicy)
    uplift: VisitUplift = field(default_factory=assumed_uplift)
    feedback: Feedback = field(default_factory=Feedback.nothing)


@dataclass(frozen=True, slots=True)
class Scored:
    """What a night found. `numbers`, `texts`: column of the score's row → (n,) values, but the evidence, which
    `facts.evidence_text` of the night tells.

    `changed`: rows to be written and told; `remembered`: rows of which only the segment's memory moved.
    """

    columns: ScoreColumns
    numbers: Mapping[str, IntColumn]
    texts: Mapping[str, Sequence[str]]
    changed: BoolArray
    remembered: BoolArray
    published: Published
    table_id: str
    published_anew: bool
    fitted: Fitted
    refit: Refit
    refit_accepted: bool
    frontiers: tuple[Frontier, ...]
    proof: Proof
    typical_interval_days: float | None
    """of the organisation, for questions about one customer"""


def score_night(night: Night) -> Scored:
    """Score everybody and say what of it must be written. Raises what `score_customers` raises."""
    today, customers_n = day_number(night.as_of), int(night.kind.shape[0])
    history = history_of(night.orders, customers_n=customers_n, as_of_day=today)
    fitted, refit, taken = _fit(night, history, today)
    held, policy = night.published, night.policy
    described = held if held is not None and held.describes(night.quarter, customers_n) else None
    keep = described is not None and described.follows(policy)
    found_states = _states_found(night.stored, today)
    columns = score_customers(
        _inputs(night, history, found_states),
        ScoreParameters(
            version=described.version if described is not None and keep else night.new_version,
            priority=policy.parameters(),
            strategies=policy.strategies,
            calibration=fitted.calibration,
            thresholds=_thresholds(described, policy),
            tables=None if described is None else described.tables,
            existing_floor_minor=policy.existing_floor_minor,
            default_margin=night.default_margin,
            visit_cost_minor=night.visit_cost_minor,
            uplift_base=night.uplift.base.value,
            uplift_peak=night.uplift.peak.value,
            uplift_centre=night.uplift.centre,
            uplift_width=night.uplift.width,
            uplift_measured=night.uplift.measured,
        ),
        today,
    )
    published = (
        described
        if described is not None and keep
        else Published(
            night.new_version,
            night.quarter,
            customers_n if described is None else described.customers_n,
            policy.parameters(),
            columns.tables,
            columns.thresholds,
            policy.strategies,
        )
    )
    table_id = night.table_id if keep else night.new_table_id
    numbers = _numbers(columns, found_states)
    asked = next_questions(
        Standing(
            columns.satisfaction_parts,
            columns.loyalty_parts,
            columns.severe_open,
            columns.segment,
            columns.thresholds,
            history,
            today,
        ),
        fact_ages(night.feedback, customers_n, today),
    )
    texts = _texts(night, columns, table_id) | {"questions": asked.texts()}
    changed = _changed(night, columns, numbers, texts)
    state_moved = numbers["segment_state"].values != night.stored.numbers["segment_state"].values
    return Scored(
        columns=columns,
        numbers=numbers,
        texts=texts,
        changed=changed,
        remembered=night.stored.scored & state_moved & ~changed,
        published=published,
        table_id=table_id,
        published_anew=not keep,
        fitted=fitted,
        refit=refit,
        refit_accepted=taken,
        frontiers=peer_frontiers(history, kind=night.kind, peer_group=night.peer_group, as_of_day=today),
        proof=proof_of(night.feedback, columns.satisfaction_parts, columns.loyalty_parts["wallet"]),
        typical_interval_days=typical_interval_days(history),
    )


def _thresholds(described: Published | None, policy: ScorePolicy) -> Thresholds | None:
    """Those of the quarter, over the floor in force; None where they are to be frozen."""
    if described is None:
        return None
    return replace(described.thresholds, existing_floor_minor=policy.existing_floor_minor)


def _fit(night: Night, history: HistoryColumns, today: int) -> tuple[Fitted, Refit, bool]:
    """The fit to use, what was asked, and whether a new one was taken."""
    buyers_n = int(history.has_orders.sum())
    wish = Refit.ANEW if night.fitted is None else night.fitted.refit(today, buyers_n)
    if night.fitted is not None and wish is Refit.KEEP:
        return night.fitted, wish, False
    new = calibrate(night.orders, customers_n=int(night.kind.shape[0]), as_of_day=today, version=f"{night.as_of}-fit")
    if night.fitted is not None and wish is Refit.CHECKED:
        past = purchase_history(history, today, history.has_orders)
        if not accepted(night.fitted.calibration, new, past):
            return night.fitted, wish, False
    return Fitted(new, today, buyers_n), wish, True


def _states_found(stored: StoredScores, today: int) -> IntArray:
    counted = stored.texts["segment_counted_on"]
    days = np.array([day_number(day) if day else today for day in counted], dtype=np.int64)
    return states_found(
        stored.numbers["segment_state"].values, stored.numbers["segment_state_before"].values, days, today
    )


def _inputs(night: Night, history: HistoryColumns, found_states: IntArray) -> ScoreInputs:
    return ScoreInputs(
        history=history,
        kind=night.kind,
        peer_group=night.peer_group,
        breadth_n=night.breadth_n,
        cadence_days=night.cadence_days,
        last_visit_day=night.facts.last_visit_day,
        next_appointment_day=night.facts.next_appointment_day,
        season_close_day=night.season_close_day,
        has_preorder_history=night.has_preorder_history,
        overdue_tasks_n=night.facts.overdue_tasks_n,
        open_tasks_n=night.facts.open_tasks_n,
        referrals_n=referrals_n(night.feedback, len(history)),
        wallet_year_minor=wallet_year_minor(night.feedback, history, day_number(night.as_of)),
        severe_cases_n=severe_cases_n(night.feedback, len(history)),
        satisfaction=satisfaction_inputs(night.feedback, day_number(night.as_of)),
        previous=unpack_segments(found_states),
    )


def _numbers(columns: ScoreColumns, found_states: IntArray) -> dict[str, IntColumn]:
    return {
        "priority": IntColumn.full(columns.priority.score),
        "existing_value_minor": columns.existing_value_minor,
        "potential_minor": columns.potential_minor,
        "loyalty_hundredths": columns.loyalty_bp,
        "satisfaction_hundredths": _asked(columns),
        "churn_risk_bp": columns.churn_risk_bp,
        "past_value_minor": columns.clv_past_minor,
        "future_value_minor": columns.clv_future_minor,
        "coverage_bp": columns.loyalty_coverage_bp,
        "confidence_bp": columns.churn_confidence_bp,
        "segment_state": IntColumn.full(pack_segments(columns.segment)),
        "segment_state_before": IntColumn.full(found_states),
    }


def _asked(columns: ScoreColumns) -> IntColumn:
    """Satisfaction that was never asked is not shown as its prior."""
    known = columns.satisfaction_bp.known & (columns.satisfaction_basis != Basis.PRIOR)
    return IntColumn(np.where(known, columns.satisfaction_bp.values, 0), known)


def _texts(night: Night, columns: ScoreColumns, table_id: str) -> dict[str, list[str]]:
    stored, segment = night.stored.texts, columns.segment
    codes, befores = segment.code.tolist(), segment.previous_code.tolist()
    causes = segment.cause.tolist()
    # one text for all who have it
    stages, bases = ({one.value: one.name for one in kind} for kind in (Stage, Basis))
    n = len(codes)
    moved = [code != before for code, before in zip(codes, befores, strict=True)]
    return {
        "segment": [SEGMENT_CODES[code] for code in codes],
        "segment_since": _day_texts(segment.since_day),
        "previous_segment": [
            (SEGMENT_CODES[before] if before >= 0 else "") if stepped else kept
            for stepped, before, kept in zip(moved, befores, stored["previous_segment"], strict=True)
        ],
        "segment_cause": [
            Cause(cause).name if stepped or not kept else kept
            for stepped, cause, kept in zip(moved, causes, stored["segment_cause"], strict=True)
        ],
        "stage": [stages[stage] for stage in columns.stage.tolist()],
        "basis": [bases[basis] for basis in columns.value_basis.tolist()],
        "currency": [night.currency] * n,
        "table_id": [table_id] * n,
        "segment_counted_on": [night.as_of] * n,
    }


def _day_texts(days: IntArray) -> list[str]:
    """(n,) days as texts, each text once."""
    known, which = np.unique(days, return_inverse=True)
    texts = [day_from_number(day) for day in known.tolist()]
    return [texts[at] for at in which.tolist()]


def _changed(
    night: Night, columns: ScoreColumns, numbers: Mapping[str, IntColumn], texts: Mapping[str, Sequence[str]]
) -> BoolArray:
    stored = night.stored
    if not stored.scored.any():
        return np.ones(stored.scored.shape, dtype=np.bool_)
    kept: PriorityInputs = inputs_of(stored.facts, night.facts)
    points_kept = priorities(kept, night.policy.parameters(), columns.tables, columns.as_of_day).points
    found = changed_scores(
        _shown(stored.numbers, stored.texts, stored.evidence),
        _shown(numbers, texts, text_hashes(night.facts.evidence_texts())),
        points_kept,
        columns.priority.points,
    )
    return np.asarray(found | ~stored.scored, dtype=np.bool_)


def _shown(numbers: Mapping[str, IntColumn], texts: Mapping[str, Sequence[str]], evidence: IntArray) -> Shown:
    return Shown(
        labels=tuple(texts[name] for name in LABEL_COLUMNS),
        evidence=evidence,
        priority=numbers["priority"].values,
        money=tuple(numbers[name] for name in MONEY_COLUMNS),
        shares=tuple(numbers[name] for name in SHARE_COLUMNS),
    )
