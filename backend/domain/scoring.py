"""Score a whole organisation: statistics in, everything a customer's score and its lines need out.

Pure and deterministic in (inputs, parameters, day). Columns have one row per customer, in the caller's order.
*Source*: R16, R27, R28, R50, R51, R52.
"""

from dataclasses import dataclass, field

from backend.domain.arrays import BoolArray, IntArray, IntColumn
from backend.domain.calibration import Calibration
from backend.domain.history import HistoryColumns
from backend.domain.priority import (
    PriorityColumns,
    PriorityInputs,
    PriorityParameters,
    QTables,
    publish_parameters,
)
from backend.domain.purchase import Model, TimeUnit
from backend.domain.satisfaction import SatisfactionInputs
from backend.domain.segments import PreviousSegments, SegmentColumns, Thresholds


@dataclass(frozen=True, slots=True)
class ScoreInputs:
    """Whole columns of statistics, one row per customer; `None` or not known = never recorded.

    `history`: see `HistoryColumns`, amounts in minor units of the reporting currency; `kind`: (n,) code of
    the customer kind; `peer_group`: (n,) finer group (kind × region …), −1 none; `closed`: (n,) left out
    of peers, tables and ranking; `breadth_n`: categories bought in the last year; `referrals_n`;
    `wallet_year_minor`: declared or estimated yearly budget for goods like ours; `cadence_days`: planned
    days between visits (else the segment's); days since 1970-01-01; `has_preorder_history`: 0/1;
    `severe_cases_n`: open severe complaints; `overdue_tasks_n`/`open_tasks_n`: tasks and promises past due
    / other open ones; `off_season`: closed day ranges [first, last] in which no customer is expected to
    order.
    """

    history: HistoryColumns
    kind: IntArray
    peer_group: IntArray | None = None
    closed: BoolArray | None = None
    breadth_n: IntColumn | None = None
    referrals_n: IntColumn | None = None
    wallet_year_minor: IntColumn | None = None
    cadence_days: IntColumn | None = None
    last_visit_day: IntColumn | None = None
    next_appointment_day: IntColumn | None = None
    season_close_day: IntColumn | None = None
    has_preorder_history: IntColumn | None = None
    severe_cases_n: IntColumn | None = None
    overdue_tasks_n: IntColumn | None = None
    open_tasks_n: IntColumn | None = None
    satisfaction: SatisfactionInputs | None = None
    previous: PreviousSegments | None = None
    off_season: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.history)


@dataclass(frozen=True, slots=True)
class ScoreParameters:
    """One published set of numbers, with what was frozen earlier (`None`: taken from this run).

    `default_margin`: the organisation's declared margin rate 0..1, used where no cost was recorded at all;
    `visit_cost_minor`: cost of one visit, for the potential threshold; `uplift_*`: see `expected_uplift`.
    """

    version: str = "2026-1"
    priority: PriorityParameters = field(default_factory=publish_parameters)
    calibration: Calibration | None = None
    thresholds: Thresholds | None = None
    tables: QTables | None = None
    model: Model = Model.MBG_NBD
    unit: TimeUnit = TimeUnit.WEEK
    default_margin: float | None = None
    discount_yearly: float = 0.10
    visit_cost_minor: int = 10_000
    existing_floor_minor: int = 0
    uplift_base: float = 0.05
    uplift_peak: float = 0.20
    uplift_centre: float = 1.5
    uplift_width: float = 0.25


@dataclass(frozen=True, slots=True)
class ScoreColumns:
    """Everything a score row and its lines need; (n,) whole numbers, money in minor units, `*_bp` 0..10,000.

    `*_basis`: `Basis` codes; `potential_parts_minor`: (n, 3) peer gap, category gap, trend before
    weighting; `loyalty_coverage_bp`: share of the weight of loyalty's parts that was recorded; `stage`:
    `Stage` codes; `priority_inputs`: what the phone's part reads; `calibration`, `thresholds`, `tables`:
    those used, to be kept when the run froze them.
    """

    as_of_day: int
    parameters_version: str
    closed: BoolArray
    existing_value_minor: IntColumn
    value_basis: IntArray
    clv_past_minor: IntColumn
    clv_future_minor: IntColumn
    clv_quarters: IntColumn
    potential_minor: IntColumn
    potential_parts_minor: IntArray
    potential_confidence_bp: IntColumn
    potential_basis: IntArray
    loyalty_bp: IntColumn
    loyalty_coverage_bp: IntColumn
    loyalty_basis: IntArray
    satisfaction_bp: IntColumn
    satisfaction_confidence_bp: IntColumn
    satisfaction_basis: IntArray
    churn_risk_bp: IntColumn
    churn_basis: IntArray
    value_at_stake_minor: IntColumn
    uplift_minor: IntColumn
    stage: IntArray
    segment: SegmentColumns
    cadence_days: IntColumn
    priority_inputs: PriorityInputs
    priority: PriorityColumns
    calibration: Calibration
    thresholds: Thresholds
    tables: QTables
