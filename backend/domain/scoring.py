"""Score a whole organisation: statistics in, everything a customer's score and its lines need out.

Pure and deterministic in (inputs, parameters, day). Columns have one row per customer, in the caller's order.
*Source*: R16, R27, R28, R50, R51, R52.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from backend.domain.arrays import (
    BASIS_POINTS,
    Basis,
    BoolArray,
    FloatArray,
    IntArray,
    IntColumn,
    Measure,
    length_problems,
    or_missing,
)
from backend.domain.calibration import Calibration, calibrate_history, purchase_history
from backend.domain.forecast import Forecast, forecast
from backend.domain.history import HistoryColumns
from backend.domain.lifecycle import stages
from backend.domain.loyalty import (
    Loyalty,
    breadth,
    churn_risk,
    frequency,
    loyalty,
    overdue,
    recency_ratio,
    referrals,
    returns_score,
    share_of_wallet,
    tenure,
)
from backend.domain.margin import contribution_of
from backend.domain.potential import Potential, potential
from backend.domain.priority import (
    PriorityColumns,
    PriorityInputs,
    PriorityParameters,
    QTables,
    expected_uplift,
    freeze_table,
    priorities,
    publish_parameters,
)
from backend.domain.purchase import Model, TimeUnit, alive_probability
from backend.domain.satisfaction import (
    SatisfactionInputs,
    satisfaction_of,
    satisfaction_parts,
    severe_complaints,
)
from backend.domain.segments import (
    ONBOARDING_DAYS,
    ONBOARDING_ORDERS_N,
    Dimensions,
    PreviousSegments,
    SegmentColumns,
    Thresholds,
    freeze_thresholds,
    segment,
)
from backend.domain.strategy import StrategyTable
from backend.domain.value import rate_per_period
from backend.errors import Code, Problem, refuse_if

EXISTING_HALF_LIFE_QUARTERS = 4.0
INT_COLUMNS = (
    "breadth_n",
    "referrals_n",
    "wallet_year_minor",
    "category_margin_bp",
    "cadence_days",
    "last_visit_day",
    "next_appointment_day",
    "season_close_day",
    "has_preorder_history",
    "severe_cases_n",
    "overdue_tasks_n",
    "open_tasks_n",
)


@dataclass(frozen=True, slots=True)
class ScoreInputs:
    """Whole columns of statistics, one row per customer; `None` or not known = never recorded.

    `history`: see `HistoryColumns`, amounts in minor units of the reporting currency; `kind`: (n,) code of
    the customer kind; `peer_group`: (n,) finer group (kind × region …), −1 none; `closed`: (n,) left out
    of peers, tables and ranking; `breadth_n`: categories bought in the last year; `referrals_n`;
    `wallet_year_minor`: declared or estimated yearly budget for goods like ours; `category_margin_bp`:
    margin rate of the categories it buys; `cadence_days`: planned days between visits (else the
    segment's); days since 1970-01-01; `has_preorder_history`: 0/1; `severe_cases_n`: open severe
    complaints; `overdue_tasks_n`/`open_tasks_n`: tasks and promises past due / other open ones;
    `off_season`: closed day ranges [first, last] in which no customer is expected to order.
    """

    history: HistoryColumns
    kind: IntArray
    peer_group: IntArray | None = None
    closed: BoolArray | None = None
    breadth_n: IntColumn | None = None
    referrals_n: IntColumn | None = None
    wallet_year_minor: IntColumn | None = None
    category_margin_bp: IntColumn | None = None
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
    `visit_cost_minor`: cost of one visit, for the potential threshold and the ramp; `capture_share`: part
    of the gap to the peers' frontier thought reachable within `ramp_quarters`; `typical_interval_days`: the
    population's, where these customers are not all of it; `uplift_*`: see `expected_uplift`, and whether its
    shares were measured.
    """

    version: str = "2026-1"
    priority: PriorityParameters = field(default_factory=publish_parameters)
    strategies: StrategyTable = field(default_factory=StrategyTable)
    calibration: Calibration | None = None
    thresholds: Thresholds | None = None
    tables: QTables | None = None
    model: Model = Model.MBG_NBD
    unit: TimeUnit = TimeUnit.WEEK
    default_margin: float | None = None
    discount_yearly: float = 0.10
    visit_cost_minor: int = 10_000
    capture_share: float = 0.25
    ramp_quarters: int = 4
    existing_floor_minor: int = 0
    typical_interval_days: float | None = None
    uplift_base: float = 0.05
    uplift_peak: float = 0.20
    uplift_centre: float = 1.5
    uplift_width: float = 0.25
    uplift_measured: bool = False


@dataclass(frozen=True, slots=True)
class ScoreColumns:
    """Everything a score row and its lines need; (n,) whole numbers, money in minor units, `*_bp` 0..10,000.

    `*_basis`: `Basis` codes; `potential_parts_minor`: (n, 3) peer gap, category gap, trend before
    weighting; `loyalty_coverage_bp`: share of the weight of loyalty's parts that was recorded; `stage`:
    `Stage` codes; `satisfaction_parts`, `loyalty_parts`: by name; `severe_open`: (n,); `priority_inputs`: what the
    phone's part reads; `calibration`, `thresholds`, `tables`:
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
    loyalty_confidence_bp: IntColumn
    loyalty_basis: IntArray
    satisfaction_bp: IntColumn
    satisfaction_confidence_bp: IntColumn
    satisfaction_basis: IntArray
    satisfaction_parts: Mapping[str, Measure]
    loyalty_parts: Mapping[str, Measure]
    severe_open: BoolArray
    churn_risk_bp: IntColumn
    churn_confidence_bp: IntColumn
    churn_basis: IntArray
    value_at_stake_minor: IntColumn
    uplift_minor: IntColumn
    uplift_basis: IntArray
    expected_orders_milli: IntColumn
    stage: IntArray
    segment: SegmentColumns
    cadence_days: IntColumn
    priority_inputs: PriorityInputs
    priority: PriorityColumns
    calibration: Calibration
    thresholds: Thresholds
    tables: QTables


def score_customers(inputs: ScoreInputs, parameters: ScoreParameters, as_of_day: int) -> ScoreColumns:
    """Score every customer as of a day.

    Deterministic; finite for no customer and for one. What `parameters` does not bring frozen (calibration,
    thresholds, tables) is taken from this run's active customers and handed back.
    *Raises* `INVALID_VALUE` for columns of different length, `IN_THE_FUTURE` for an order after the day,
    `OUT_OF_RANGE` for an impossible discount rate: all problems of the columns at once.
    """
    refuse_if(_problems(inputs, as_of_day))
    rows_n, history = len(inputs), inputs.history
    closed = np.zeros(rows_n, dtype=np.bool_) if inputs.closed is None else inputs.closed
    contribution = contribution_of(history, parameters.default_margin, inputs.category_margin_bp)
    calibration = parameters.calibration or calibrate_history(
        history, as_of_day=as_of_day, version=parameters.version, model=parameters.model, unit=parameters.unit
    )
    alive = np.zeros(rows_n)
    buyers = purchase_history(history, as_of_day, history.has_orders)
    alive[history.has_orders] = alive_probability(calibration.purchase, buyers)
    ahead = _potential(inputs, as_of_day, closed)
    future = forecast(
        history,
        alive=alive,
        margin_rate=contribution.rate,
        potential=ahead,
        calibration=calibration,
        as_of_day=as_of_day,
        discount=rate_per_period(parameters.discount_yearly, 4),
        capture_share=parameters.capture_share,
        ramp_quarters=parameters.ramp_quarters,
        visit_cost_minor=parameters.visit_cost_minor,
    )
    ratio = recency_ratio(history, as_of_day, inputs.off_season, parameters.typical_interval_days)
    late = overdue(ratio)
    risk = churn_risk(alive, late, history)
    loyal = _loyalty(inputs, late, as_of_day)
    severe = severe_complaints(inputs.satisfaction, rows_n) | (or_missing(inputs.severe_cases_n, rows_n).values > 0)
    told = satisfaction_parts(inputs.satisfaction, customers_n=rows_n, as_of_day=as_of_day)
    happy = satisfaction_of(told, severe)
    uplift = _uplift(future, ratio, parameters)
    existing = IntColumn(existing_value(contribution.quarters), history.has_orders)
    stage = stages(history, ratio=ratio.value, alive=alive, trend_yearly=ahead.trend_yearly, as_of_day=as_of_day)
    dimensions = _dimensions(existing, ahead, loyal, happy)
    thresholds = parameters.thresholds or freeze_thresholds(
        parameters.version,
        kind=inputs.kind,
        existing_value_minor=existing,
        counted=~closed,
        visit_cost_minor=parameters.visit_cost_minor,
        margin_rate=float(contribution.rate.mean()) if rows_n else 1.0,
        existing_floor_minor=parameters.existing_floor_minor,
    )
    segments = segment(
        dimensions,
        thresholds,
        kind=inputs.kind,
        onboarding=_onboarding(history, as_of_day),
        severe_open=severe,
        previous=inputs.previous,
        as_of_day=as_of_day,
    )
    cadence = _cadence(inputs, parameters.strategies.cadence_days(segments.code, stage))
    line_inputs = _line_inputs(
        inputs,
        dimensions,
        future.value_at_stake_minor,
        uplift,
        ahead,
        happy,
        cadence,
        measured=parameters.uplift_measured,
    )
    tables = parameters.tables or _freeze_tables(parameters.version, line_inputs, ~closed)
    return ScoreColumns(
        as_of_day=as_of_day,
        parameters_version=parameters.version,
        closed=closed,
        existing_value_minor=existing,
        value_basis=contribution.basis,
        clv_past_minor=IntColumn.rounded(np.where(history.has_orders, contribution.total, 0.0)),
        clv_future_minor=future.future_minor,
        clv_quarters=IntColumn.full(future.quarters_n),
        potential_minor=dimensions.potential_minor,
        potential_parts_minor=np.rint(ahead.parts_minor).astype(np.int64),
        potential_confidence_bp=line_inputs.potential_confidence_bp,
        potential_basis=ahead.year_minor.basis,
        loyalty_bp=dimensions.loyalty_bp,
        loyalty_coverage_bp=IntColumn.rounded(loyal.coverage, BASIS_POINTS),
        loyalty_confidence_bp=IntColumn.rounded(loyal.score.confidence, BASIS_POINTS),
        loyalty_basis=loyal.score.basis,
        satisfaction_bp=IntColumn.rounded(happy.value, 100.0),
        satisfaction_confidence_bp=line_inputs.satisfaction_confidence_bp,
        satisfaction_basis=happy.basis,
        satisfaction_parts=told,
        loyalty_parts=loyal.parts,
        severe_open=severe,
        churn_risk_bp=IntColumn.rounded(risk.value, BASIS_POINTS),
        churn_confidence_bp=IntColumn.rounded(risk.confidence, BASIS_POINTS),
        churn_basis=risk.basis,
        value_at_stake_minor=future.value_at_stake_minor,
        uplift_minor=uplift,
        uplift_basis=np.where(uplift.known, _response(parameters), Basis.NOT_RECORDED).astype(np.int64),
        expected_orders_milli=future.expected_orders_milli,
        stage=stage,
        segment=segments,
        cadence_days=cadence,
        priority_inputs=line_inputs,
        priority=priorities(line_inputs, parameters.priority, tables, as_of_day),
        calibration=calibration,
        thresholds=thresholds,
        tables=tables,
    )


def _problems(inputs: ScoreInputs, as_of_day: int) -> list[Problem]:
    columns = {name: getattr(inputs, name) for name in INT_COLUMNS}
    lengths = {name: None if column is None else column.values for name, column in columns.items()}
    found = length_problems(
        len(inputs),
        {**lengths, "kind": inputs.kind, "peer_group": inputs.peer_group, "closed": inputs.closed},
    )
    if (inputs.history.last_day > as_of_day).any():
        found.append(Problem(Code.IN_THE_FUTURE, ("history", "last_day"), (str(as_of_day),)))
    return found


def _potential(inputs: ScoreInputs, as_of_day: int, closed: BoolArray) -> Potential:
    none = np.full(len(inputs), -1, dtype=np.int64)
    return potential(
        inputs.history,
        kind=inputs.kind,
        peer_group=none if inputs.peer_group is None else inputs.peer_group,
        categories_n=or_missing(inputs.breadth_n, len(inputs)),
        as_of_day=as_of_day,
        active=~closed,
    )


def _loyalty(inputs: ScoreInputs, late: Measure, as_of_day: int) -> Loyalty:
    history, rows_n = inputs.history, len(inputs)
    return loyalty(
        {
            "on_time": Measure(1.0 - late.value, late.confidence, late.basis),
            "frequency": frequency(history, inputs.kind),
            "wallet": share_of_wallet(history, or_missing(inputs.wallet_year_minor, rows_n), inputs.kind, as_of_day),
            "tenure": tenure(history, as_of_day),
            "breadth": breadth(or_missing(inputs.breadth_n, rows_n), inputs.kind),
            "referrals": referrals(or_missing(inputs.referrals_n, rows_n)),
            "returns": returns_score(history.returns_n, history.orders_n),
        }
    )


def existing_value(quarters: FloatArray) -> IntArray:
    """(n,) Σ π_i 2^(−age in quarters / 4) of (n, k) contributions, oldest first; the current quarter is of age 0."""
    ages = np.arange(quarters.shape[1] - 1, -1, -1, dtype=np.float64)
    return IntColumn.rounded(quarters @ np.exp2(-ages / EXISTING_HALF_LIFE_QUARTERS)).values


def _uplift(future: Forecast, ratio: Measure, parameters: ScoreParameters) -> IntColumn:
    spend = future.value_at_stake_minor.floats()
    found: FloatArray = expected_uplift(
        np.nan_to_num(spend),
        ratio.value,
        base=parameters.uplift_base,
        peak=parameters.uplift_peak,
        centre=parameters.uplift_centre,
        width=parameters.uplift_width,
    )
    return IntColumn.rounded(np.where(np.isnan(spend), np.nan, found))


def _response(parameters: ScoreParameters) -> Basis:
    return Basis.MEASURED_RESPONSE if parameters.uplift_measured else Basis.ASSUMED_RESPONSE


def _dimensions(existing: IntColumn, ahead: Potential, loyal: Loyalty, happy: Measure) -> Dimensions:
    """A prior is no knowledge: satisfaction never asked is not known, and keeps its side."""
    asked = np.where(happy.basis == Basis.PRIOR, np.nan, happy.value)
    return Dimensions(
        existing_value_minor=existing,
        potential_minor=IntColumn.rounded(ahead.year_minor.value),
        loyalty_bp=IntColumn.rounded(loyal.score.value, 100.0),
        satisfaction_bp=IntColumn.rounded(asked, 100.0),
    )


def _onboarding(history: HistoryColumns, as_of_day: int) -> BoolArray:
    young = as_of_day - history.first_day < ONBOARDING_DAYS
    return np.asarray((history.orders_n < ONBOARDING_ORDERS_N) | young, dtype=np.bool_)


def _cadence(inputs: ScoreInputs, planned: IntColumn) -> IntColumn:
    """What was agreed with the customer, else what its policy plans."""
    agreed = or_missing(inputs.cadence_days, len(inputs))
    return IntColumn(np.where(agreed.known, agreed.values, planned.values), agreed.known | planned.known)


def _line_inputs(
    inputs: ScoreInputs,
    dimensions: Dimensions,
    at_stake: IntColumn,
    uplift: IntColumn,
    ahead: Potential,
    happy: Measure,
    cadence: IntColumn,
    *,
    measured: bool,
) -> PriorityInputs:
    rows_n = len(inputs)
    return PriorityInputs(
        value_at_stake_minor=at_stake,
        uplift_minor=uplift,
        uplift_measured=IntColumn(np.full(rows_n, int(measured), dtype=np.int64), uplift.known),
        potential_minor=dimensions.potential_minor,
        potential_confidence_bp=IntColumn.rounded(ahead.year_minor.confidence, BASIS_POINTS),
        existing_value_minor=dimensions.existing_value_minor,
        satisfaction_bp=dimensions.satisfaction_bp,
        satisfaction_confidence_bp=IntColumn.rounded(happy.confidence, BASIS_POINTS),
        loyalty_bp=dimensions.loyalty_bp,
        cadence_days=cadence,
        season_close_day=or_missing(inputs.season_close_day, rows_n),
        has_preorder_history=or_missing(inputs.has_preorder_history, rows_n),
        severe_cases_n=or_missing(inputs.severe_cases_n, rows_n),
        overdue_tasks_n=or_missing(inputs.overdue_tasks_n, rows_n),
        open_tasks_n=or_missing(inputs.open_tasks_n, rows_n),
        last_visit_day=or_missing(inputs.last_visit_day, rows_n),
        next_appointment_day=or_missing(inputs.next_appointment_day, rows_n),
    )


def _freeze_tables(version: str, lines: PriorityInputs, counted: BoolArray) -> QTables:
    """The distributions over the active customers of whom the amount is known."""

    def active(column: IntColumn) -> IntColumn:
        return IntColumn(column.values, column.known & counted)

    return QTables(
        version,
        value=freeze_table(active(lines.value_at_stake_minor)),
        uplift=freeze_table(active(lines.uplift_minor)),
        potential=freeze_table(active(lines.potential_minor)),
        existing=freeze_table(active(lines.existing_value_minor)),
    )
