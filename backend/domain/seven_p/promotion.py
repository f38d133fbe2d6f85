"""Promotion: what campaigns brought that would not have come anyway, and how orders go with discounts. *Source*: R24.

Only what was held against customers left alone says what a campaign brought; campaigns themselves are recorded by no
part of the product yet, so before the first evaluated one there is no score.
"""

from collections.abc import Sequence

import numpy as np

from backend.domain.arrays import BASIS_POINTS, Basis, FloatArray, IntArray
from backend.domain.evaluations import EvaluationMetric
from backend.domain.kpis import Unit
from backend.domain.seven_p.records import Effect, Records, absent, used, within
from backend.domain.seven_p.report import (
    ROWS_MAX,
    RULES_VERSION,
    Caveat,
    Figure,
    Part,
    Row,
    SevenPCaveat,
    SevenPFigure,
    SevenPList,
    SevenPPart,
    count,
    money,
    not_recorded,
    nothing,
    points,
    ranged,
    share,
    year_until,
)
from backend.domain.sources import Source, SourceUsed
from backend.domain.survival import Z_95

UNCHANGED = 50.0
ORDERS_MIN = 30
"""Fewer orders say nothing of discounts."""
_F, _L, _C = SevenPFigure, SevenPList, SevenPCaveat


def promotion(records: Records) -> Part:
    """Evaluated campaigns with their interval and return, and discounts of the last year.

    The score is 50 + 50 × the gain after its cost over the cost of all evaluated campaigns, so 50 is money back. The
    interval of their gain is that of a sum of amounts measured apart (half widths add up by their squares); where it
    holds 0, the caveat says so, and where a campaign kept no forecasts: what its arms differed in before is in it.
    """
    effects = [one for one in records.effects if one.gain_minor is not None]
    cost = sum(one.cost_minor for one in effects)
    gain, half = _gain(effects)
    year = year_until(records.as_of_day)
    lines = records.lines.where(within(records.lines.day, year) & records.lines.priced)
    listed, net = int(lines.listed_minor.sum()), int(lines.net_minor.sum())
    figures = (
        count(_F.CAMPAIGNS, len(effects)) if effects else not_recorded(_F.CAMPAIGNS, Unit.COUNT),
        _response(effects),
        _increment(gain, half, len(effects)) if effects else not_recorded(_F.INCREMENT, Unit.MONEY_MINOR),
        _roi(gain, cost, half) if effects else not_recorded(_F.ROI, Unit.BASIS_POINTS),
        not_recorded(_F.CANNIBALISATION, Unit.BASIS_POINTS),
        not_recorded(_F.FATIGUE, Unit.BASIS_POINTS),
        share(_F.DISCOUNT_RATE, listed - net, listed, n=int(np.unique(lines.customer).size)),
        discount_response(records),
    )
    order = sorted(effects, key=lambda one: (one.ends_on, one.id), reverse=True)[:ROWS_MAX]
    rows = tuple(
        Row(
            _L.CAMPAIGN,
            (
                Figure(
                    _F.INCREMENT,
                    Unit.MONEY_MINOR,
                    one.gain_minor,
                    one.gain_low_minor,
                    one.gain_high_minor,
                    n=one.treated_n,
                ),
                _roi(one.gain_minor or 0, one.cost_minor, _gain([one])[1]),
                count(_F.CUSTOMERS, one.treated_n, n=one.treated_n + one.control_n),
                *_lift(one),
                *_adjusted(one),
            ),
            label=one.name,
            collection="evaluations",
            record_id=one.id,
        )
        for one in order
    )
    days = [one.ends_on for one in effects]
    campaigns = (
        SourceUsed(Source.CAMPAIGNS, True, min(days), max(days), len(days))
        if days
        else SourceUsed(Source.CAMPAIGNS, recorded=False)
    )
    caveats = [] if effects else [Caveat(_C.CAMPAIGNS_NOT_RECORDED)]
    if half is not None and abs(gain) <= half:
        caveats.append(Caveat(_C.GAIN_MAY_BE_NONE))
    if any(one.forecast_n == 0 for one in effects):
        caveats.append(Caveat(_C.GAIN_NOT_ADJUSTED))
    if figures[-1].value is not None:
        caveats.append(Caveat(_C.NOT_A_CAUSE))
    return Part(
        SevenPPart.PROMOTION,
        points(UNCHANGED + UNCHANGED * (gain - cost) / cost) if effects and cost > 0 else None,
        None,
        figures,
        rows,
        Basis.RECORDED if effects else Basis.NOT_RECORDED,
        sum(one.treated_n + one.control_n for one in effects),
        tuple(caveats),
        (campaigns, used(Source.ORDERS, records.orders.day, year.last, year.first), *absent(Source.RETURNS)),
        RULES_VERSION,
    )


def _response(effects: Sequence[Effect]) -> Figure:
    """Of all treated customers of campaigns that were judged by who ordered at all, those who did."""
    judged = [one for one in effects if one.metric is EvaluationMetric.BUYERS and one.treated_mean is not None]
    treated = sum(one.treated_n for one in judged)
    if not treated:
        return not_recorded(_F.RESPONSE, Unit.BASIS_POINTS)
    return share(_F.RESPONSE, sum((one.treated_mean or 0.0) * one.treated_n for one in judged), treated, n=treated)


def _lift(effect: Effect) -> tuple[Figure, ...]:
    """What was measured against customers left alone, with its interval: for buyers the response and by how many more
    in a hundred, for revenue and orders the lift as a share of what those left alone showed, whose own
    uncertainty is in the interval of the difference only."""
    lift, low, high, base = effect.lift, effect.low, effect.high, effect.control_mean
    if lift is None or low is None or high is None:
        return ()
    n = effect.treated_n + effect.control_n
    if effect.metric is EvaluationMetric.BUYERS:
        return (
            _response([effect]),
            ranged(_F.RESPONSE_LIFT, Unit.BASIS_POINTS, (lift, low, high), BASIS_POINTS, n=n),
        )
    if base is None or base <= 0:
        return (nothing(_F.RELATIVE_LIFT, Unit.BASIS_POINTS),)
    return (ranged(_F.RELATIVE_LIFT, Unit.BASIS_POINTS, (lift, low, high), BASIS_POINTS / base, n=n),)


def _adjusted(effect: Effect) -> tuple[Figure, ...]:
    """How much less uncertain the gain is for what was expected of each customer before; nothing without forecasts."""
    if not effect.forecast_n or effect.gain_variance_cut is None:
        return ()
    cut = round(effect.gain_variance_cut * BASIS_POINTS)
    return (Figure(_F.GAIN_VARIANCE_CUT, Unit.BASIS_POINTS, cut, n=effect.forecast_n),)


def _gain(effects: Sequence[Effect]) -> tuple[int, float | None]:
    """What all brought, and half the width of its interval; None where one of them has none."""
    gain, squares = 0, 0.0
    known = True
    for one in effects:
        gain += one.gain_minor or 0
        if one.gain_low_minor is None or one.gain_high_minor is None:
            known = False
        else:
            squares += ((one.gain_high_minor - one.gain_low_minor) / 2) ** 2
    return gain, squares**0.5 if known and effects else None


def _increment(gain: int, half: float | None, n: int) -> Figure:
    if half is None:
        return money(_F.INCREMENT, gain, n=n)
    return ranged(_F.INCREMENT, Unit.MONEY_MINOR, (gain, gain - half, gain + half), n=n)


def _roi(gain: int, cost: int, half: float | None = None) -> Figure:
    """Gain after the cost over the cost; nothing to count without a cost."""
    if cost <= 0:
        return nothing(_F.ROI, Unit.BASIS_POINTS)
    scale = BASIS_POINTS / cost
    if half is None:
        return Figure(_F.ROI, Unit.BASIS_POINTS, round((gain - cost) * scale))
    return ranged(_F.ROI, Unit.BASIS_POINTS, (gain - cost, gain - half - cost, gain + half - cost), scale)


def discount_response(records: Records) -> Figure:
    """How much larger, in pieces, order days with one more point of discount are, within the same customer.

    The slope of log pieces on the discount rate by least squares after each customer's mean is taken off, with its 95 %
    interval; in basis points of pieces for each per cent of discount.
    """
    lines = records.lines.where(records.lines.priced & (records.lines.units > 0))
    if not lines.customer.size:
        return nothing(_F.DISCOUNT_RESPONSE, Unit.BASIS_POINTS)
    base = int(lines.day.min())
    width = int(lines.day.max()) - base + 1
    _, place = np.unique(lines.customer * width + lines.day - base, return_inverse=True)
    size = int(place.max()) + 1
    who = np.zeros(size, dtype=np.int64)
    who[place] = lines.customer
    units, listed, net = (
        np.bincount(place, column, size) for column in (lines.units, lines.listed_minor, lines.net_minor)
    )
    told = listed > 0
    who, y = who[told], np.log(units[told])
    x = 100.0 * (1.0 - net[told] / listed[told])
    x, y = x - _means(x, who), y - _means(y, who)
    freedom = x.size - int(np.unique(who).size) - 1
    power = float(x @ x)
    if freedom < ORDERS_MIN or power <= 1e-9:
        return nothing(_F.DISCOUNT_RESPONSE, Unit.BASIS_POINTS)
    slope = float(x @ y) / power
    half = Z_95 * float(np.sqrt(((y - slope * x) ** 2).sum() / freedom / power))
    found = (np.expm1(one) for one in (slope, slope - half, slope + half))
    return ranged(_F.DISCOUNT_RESPONSE, Unit.BASIS_POINTS, found, BASIS_POINTS, n=int(x.size))


def _means(values: FloatArray, group: IntArray) -> FloatArray:
    _, place = np.unique(group, return_inverse=True)
    return np.asarray((np.bincount(place, values) / np.bincount(place))[place], dtype=np.float64)
