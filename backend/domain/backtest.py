"""Does the priority work? Cut history at a day, rank with what was known then, look at what came after.

What ranks (`rankings_at`) never sees what came after: it takes a `Cut`, which holds nothing later than its day.
Judged are the customers who had bought by then. *Source*: R28, R30; `insight.md` §5.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from backend.domain.arrays import BoolArray, FloatArray, IntArray, group_sum, percentile_ranks
from backend.domain.calibration import Calibration, calibrate, purchase_history
from backend.domain.history import HistoryColumns, OrderColumns, history_of
from backend.domain.priority import LINES, LineCode
from backend.domain.purchase_forecast import expected_purchases
from backend.domain.ranking import (
    REPLICATES_N,
    Interval,
    Judged,
    Pair,
    RankedOrder,
    compare,
    gain_curve,
    quality,
    ranked,
)
from backend.domain.scoring import ScoreInputs, ScoreParameters, score_customers
from backend.domain.spend import expected_spend

SEED_DEFAULT = 20_261_122
DECILES_N = 10
LEARN_ROWS_MIN = 50
"""Fewer buyers teach a regression nothing."""
CUSTOMERS_MIN, CUTS_MAX = 20, 8
HOLDOUT_DAYS_MIN, HOLDOUT_DAYS_MAX = 14, 730


class Ranker(StrEnum):
    """What ranks customers: ours first, then what everybody can compute on a spreadsheet."""

    PRIORITY = "PRIORITY"
    """the visit priority 0..100"""
    VALUE = "VALUE"
    """money the purchase and spend models expect"""
    UPLIFT = "UPLIFT"
    """money one visit is expected to bring"""
    BLEND = "BLEND"
    """mean of the ranks by VALUE, RFM and a regression learnt before the cut"""
    RFM = "RFM"
    """mean of the ranks by last order, number of orders and money"""
    RECENCY = "RECENCY"
    LAST_PERIOD = "LAST_PERIOD"
    """money of the period before the cut, as long as the one after it"""
    RANDOM = "RANDOM"


OURS = (Ranker.PRIORITY, Ranker.VALUE, Ranker.UPLIFT, Ranker.BLEND)
BASELINES = (Ranker.RFM, Ranker.RECENCY, Ranker.LAST_PERIOD, Ranker.BLEND, Ranker.RANDOM)
ABLATED = tuple(line for line in LINES if line is not LineCode.CLIP)


class Verdict(StrEnum):
    """What an interval of a difference says."""

    BETTER = "BETTER"
    AS_GOOD = "AS_GOOD"
    """the interval holds 0: nobody may claim a difference"""
    WORSE = "WORSE"
    NOT_MEASURED = "NOT_MEASURED"


class GateCode(StrEnum):
    """What must hold on the CDNOW sample cut at 1997-09-30."""

    GINI = "GINI"
    COUNT_MAE = "COUNT_MAE"


GINI_AT_LEAST, COUNT_MAE_AT_MOST = 0.695, 0.77


@dataclass(frozen=True, slots=True)
class Cut:
    """What was known on `day`, and nothing later.

    `rows`: (n,) numbers of the customers known then among all; `orders`: up to the day, of these
    customers, numbered 0..n−1; `inputs`: their columns as of the day.
    """

    day: int
    rows: IntArray
    orders: OrderColumns
    inputs: ScoreInputs


@dataclass(frozen=True, slots=True)
class After:
    """What came in the days after a cut. (n,) money in minor units, and purchase days, in the cut's rows."""

    money: FloatArray
    purchases_n: IntArray


@dataclass(frozen=True, slots=True)
class Rankings:
    """How the buyers known at a cut were ranked then.

    `buyers`: (n,) which rows of the cut had bought; all others (m,) or by (m,) in those rows' sequence: `scores`
    by name of the ranking, an ablated one as `PRIORITY-<LINE>`; `expected_n`: purchases expected within the
    hold-out; `lines_known`: lines with data for anybody.
    """

    buyers: BoolArray
    scores: Mapping[str, FloatArray]
    expected_n: FloatArray
    lines_known: frozenset[LineCode]
    calibration: Calibration


@dataclass(frozen=True, slots=True)
class RankerResult:
    """One ranking at one cut. `gain`: share of the money held by the best 0, 5 … 100 % of the customers."""

    ranker: Ranker
    gini: float
    top_share: float
    gain: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Decile:
    """A tenth of the buyers by what was expected of them, the most first."""

    customers_n: int
    expected_n: float
    actual_n: int


@dataclass(frozen=True, slots=True)
class CutResult:
    """One cut judged. `count_mae`: mean absolute error of purchases per buyer; money in minor units."""

    day: int
    customers_n: int
    buyers_after_n: int
    money_after_minor: int
    fit_status: str
    level: float
    count_mae: float
    expected_total: float
    actual_total: int
    deciles: tuple[Decile, ...]
    rankers: tuple[RankerResult, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`ours` − `baseline`, the mean over all cuts, with 95 % intervals; verdicts by each figure."""

    ours: Ranker
    baseline: Ranker
    gini: Interval
    top_share: Interval
    gini_verdict: Verdict
    top_verdict: Verdict


@dataclass(frozen=True, slots=True)
class Ablation:
    """What the priority loses without a line (with − without); None where the line had no data at all."""

    line: LineCode
    recorded: bool
    gini: Interval | None
    top_share: Interval | None


@dataclass(frozen=True, slots=True)
class Gate:
    """A promise about a known sample."""

    code: GateCode
    measured: float
    wanted: float
    met: bool


@dataclass(frozen=True, slots=True)
class Backtest:
    """A whole evaluation. `customers_n`: different buyers over all cuts."""

    holdout_days: int
    seed: int
    replicates_n: int
    customers_n: int
    cuts: tuple[CutResult, ...]
    comparisons: tuple[Comparison, ...]
    ablation: tuple[Ablation, ...]


def until(orders: OrderColumns, day: int) -> OrderColumns:
    """The orders up to a day, that day with them."""
    return orders.where(orders.day <= day)


def order_cut(orders: OrderColumns, *, customers_n: int, day: int, kind: IntArray | None = None) -> Cut:
    """A cut through orders alone: nothing but them was known. Raises as `history_of`."""
    before = until(orders, day)
    history = history_of(before, customers_n=customers_n, as_of_day=day)
    kinds = np.zeros(customers_n, dtype=np.int64) if kind is None else kind
    return Cut(day, np.arange(customers_n), before, ScoreInputs(history=history, kind=kinds))


def after_cut(orders: OrderColumns, cut: Cut, *, customers_n: int, holdout_days: int) -> After:
    """What all `customers_n` brought in the days after the cut, for the cut's rows.

    `orders`: of all customers, by their numbers among all. Orders of one day are one purchase.
    """
    inside = (orders.day > cut.day) & (orders.day <= cut.day + holdout_days)
    money = group_sum(orders.customer[inside], orders.net_minor[inside], customers_n)
    bought = inside & ~orders.is_return & (orders.net_minor != 0)
    days = np.unique(orders.customer[bought] * (holdout_days + 1) + (orders.day[bought] - cut.day))
    times = np.bincount(days // (holdout_days + 1), minlength=customers_n)
    return After(money[cut.rows].astype(np.float64), times[cut.rows].astype(np.int64))


def rankings_at(cut: Cut, parameters: ScoreParameters, *, holdout_days: int) -> Rankings:
    """Rank the buyers of a cut in every way, from nothing but the cut. Fits the models on it."""
    history, customers_n = cut.inputs.history, len(cut.inputs)
    fitted = calibrate(
        cut.orders,
        customers_n=customers_n,
        as_of_day=cut.day,
        version=parameters.version,
        model=parameters.model,
        unit=parameters.unit,
    )
    found = score_customers(cut.inputs, _with_calibration(parameters, fitted), cut.day)
    closed = np.zeros(customers_n, dtype=np.bool_) if cut.inputs.closed is None else cut.inputs.closed
    buyers = history.has_orders & ~closed
    past = purchase_history(history, cut.day, buyers)
    expected = expected_purchases(fitted.purchase, past, (holdout_days,))[:, 0] * fitted.level
    orders_n = history.orders_n[buyers]
    mean = history.revenue_minor[buyers] / np.maximum(orders_n, 1)
    value = expected * expected_spend(fitted.spend, mean, orders_n)
    rfm = _rfm(history, buyers)
    points = found.priority.points[buyers][:, : len(ABLATED)]
    scores: dict[str, FloatArray] = {
        Ranker.PRIORITY: found.priority.score[buyers].astype(np.float64),
        Ranker.VALUE: value,
        Ranker.UPLIFT: found.uplift_minor.floats()[buyers],
        Ranker.BLEND: _blend(value, rfm, _learnt(cut, buyers, holdout_days)),
        Ranker.RFM: rfm,
        Ranker.RECENCY: history.last_day[buyers].astype(np.float64),
        Ranker.LAST_PERIOD: _last_period(cut, holdout_days)[buyers],
        Ranker.RANDOM: np.zeros(orders_n.shape),
    }
    for place, line in enumerate(ABLATED):
        without = points.sum(axis=1) - points[:, place]
        scores[_without(line)] = np.clip(without, 0, 100).astype(np.float64)
    known = found.priority.recorded[buyers]
    lines_known = frozenset(line for place, line in enumerate(ABLATED) if known[:, place].any())
    return Rankings(buyers, scores, expected, lines_known, fitted)


def backtest(
    cuts: Sequence[tuple[Cut, After]],
    parameters: ScoreParameters,
    *,
    holdout_days: int,
    seed: int = SEED_DEFAULT,
    replicates_n: int = REPLICATES_N,
    progress: Callable[[str, int, int], None] | None = None,
) -> Backtest:
    """Rank at every cut, judge by what came after, and compare with intervals. Deterministic in `seed`.

    `progress` is told (phase, done, of how many); phases are RANK and COMPARE.
    """
    judged: list[Judged] = []
    results: list[CutResult] = []
    known: set[LineCode] = set()
    for place, (cut, after) in enumerate(cuts):
        rankings = rankings_at(cut, parameters, holdout_days=holdout_days)
        orders = {str(name): ranked(score) for name, score in rankings.scores.items()}
        money, times = after.money[rankings.buyers], after.purchases_n[rankings.buyers]
        results.append(_cut_result(cut, rankings, orders, money, times))
        judged.append(Judged(cut.rows[rankings.buyers], money, orders))
        known |= rankings.lines_known
        if progress is not None:
            progress("RANK", place + 1, len(cuts))
    numbers = np.unique(np.concatenate([one.rows for one in judged])) if judged else np.zeros(0, dtype=np.int64)
    compact = [Judged(np.searchsorted(numbers, one.rows), one.money, one.orders) for one in judged]
    against: list[Pair] = [(ours, base) for ours in OURS for base in BASELINES if ours is not base]
    without: list[Pair] = [(Ranker.PRIORITY, _without(line)) for line in ABLATED if line in known]
    found = compare(
        compact,
        against + without,
        customers_n=int(numbers.size),
        seed=seed,
        replicates_n=replicates_n,
        progress=None if progress is None else lambda done, total: progress("COMPARE", done, total),
    )
    return Backtest(
        holdout_days=holdout_days,
        seed=seed,
        replicates_n=replicates_n,
        customers_n=int(numbers.size),
        cuts=tuple(results),
        comparisons=tuple(
            Comparison(
                Ranker(ours),
                Ranker(base),
                *found[ours, base],
                gini_verdict=verdict_of(found[ours, base][0]),
                top_verdict=verdict_of(found[ours, base][1]),
            )
            for ours, base in against
        ),
        ablation=tuple(
            Ablation(line, True, *found[Ranker.PRIORITY, _without(line)])
            if line in known
            else Ablation(line, False, None, None)
            for line in ABLATED
        ),
    )


def verdict_of(difference: Interval) -> Verdict:
    """BETTER or WORSE only where 0 lies outside the interval."""
    if np.isnan(difference.low):
        return Verdict.NOT_MEASURED
    if difference.low > 0.0:
        return Verdict.BETTER
    return Verdict.WORSE if difference.high < 0.0 else Verdict.AS_GOOD


def sample_gates(found: Backtest) -> tuple[Gate, ...]:
    """The promises about the CDNOW sample, at its first cut; the Gini is that of the best ranker, the blend."""
    first = found.cuts[0]
    gini = next(one.gini for one in first.rankers if one.ranker is Ranker.BLEND)
    return (
        Gate(GateCode.GINI, gini, GINI_AT_LEAST, gini >= GINI_AT_LEAST),
        Gate(GateCode.COUNT_MAE, first.count_mae, COUNT_MAE_AT_MOST, first.count_mae <= COUNT_MAE_AT_MOST),
    )


def _without(line: LineCode) -> str:
    return f"{Ranker.PRIORITY}-{line}"


def _with_calibration(parameters: ScoreParameters, fitted: Calibration) -> ScoreParameters:
    """Nothing frozen later than the cut: tables and cuts are taken from the cut itself."""
    return replace(parameters, calibration=fitted, thresholds=None, tables=None)


def _rfm(history: HistoryColumns, buyers: BoolArray) -> FloatArray:
    columns = (history.last_day, history.orders_n, history.revenue_minor)
    return np.asarray(
        np.mean([percentile_ranks(column[buyers].astype(np.float64)) for column in columns], axis=0)
        if buyers.any()
        else np.zeros(0)
    )


def _last_period(cut: Cut, days: int) -> FloatArray:
    recent = cut.orders.day > cut.day - days
    found = group_sum(cut.orders.customer[recent], cut.orders.net_minor[recent], len(cut.inputs))
    return np.asarray(found, dtype=np.float64)


def _blend(value: FloatArray, rfm: FloatArray, learnt: FloatArray | None) -> FloatArray:
    parts = [percentile_ranks(column) for column in (value, rfm, learnt) if column is not None]
    return np.asarray(np.mean(parts, axis=0), dtype=np.float64) if value.size else value


def _learnt(cut: Cut, buyers: BoolArray, holdout_days: int) -> FloatArray | None:
    """Money by least squares on the logarithms of what was known, learnt at an earlier cut; None with too little."""
    orders, customers_n = cut.orders, len(cut.inputs)
    if not orders.day.size:
        return None
    back = min(holdout_days, int(cut.day - orders.day.min()) // 2)
    earlier = history_of(until(orders, cut.day - back), customers_n=customers_n, as_of_day=cut.day - back)
    rows = earlier.has_orders
    if back < 1 or int(rows.sum()) < LEARN_ROWS_MIN:
        return None
    came = _last_period(cut, back)[rows]
    weights = np.linalg.lstsq(_features(earlier, cut.day - back, rows), np.maximum(came, 0.0), rcond=None)[0]
    return np.asarray(_features(cut.inputs.history, cut.day, buyers) @ weights, dtype=np.float64)


def _features(history: HistoryColumns, day: int, rows: BoolArray) -> FloatArray:
    latest = history.quarter_revenue_minor[:, 0] if history.quarter_revenue_minor.shape[1] else history.revenue_minor
    return np.stack(
        [
            np.ones(int(rows.sum())),
            np.log1p(history.orders_n[rows]),
            np.log1p(np.maximum(history.revenue_minor[rows], 0)),
            np.log1p(day - history.last_day[rows]),
            np.log1p(day - history.first_day[rows]),
            np.log1p(np.maximum(latest[rows], 0)),
        ],
        axis=1,
    )


def _cut_result(
    cut: Cut, rankings: Rankings, orders: Mapping[str, RankedOrder], money: FloatArray, times: IntArray
) -> CutResult:
    rankers = []
    for ranker in Ranker:
        figures = quality(orders[ranker], money)
        gain = gain_curve(orders[ranker], money)
        rankers.append(RankerResult(ranker, float(figures.gini[0]), float(figures.top[0]), tuple(gain.tolist())))
    expected = rankings.expected_n
    return CutResult(
        day=cut.day,
        customers_n=int(money.size),
        buyers_after_n=int((times > 0).sum()),
        money_after_minor=int(money.sum()),
        fit_status=rankings.calibration.purchase.status.value,
        level=rankings.calibration.level,
        count_mae=float(np.abs(expected - times).mean()) if times.size else float("nan"),
        expected_total=float(expected.sum()),
        actual_total=int(times.sum()),
        deciles=_deciles(expected, times),
        rankers=tuple(rankers),
    )


def _deciles(expected: FloatArray, times: IntArray) -> tuple[Decile, ...]:
    order = np.argsort(-expected, kind="stable")
    parts = np.array_split(order, min(DECILES_N, order.size)) if order.size else []
    return tuple(Decile(int(part.size), float(expected[part].sum()), int(times[part].sum())) for part in parts)
