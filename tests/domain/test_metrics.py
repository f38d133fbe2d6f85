"""Every figure has its entry, and its example is what a reader gets with pencil and paper."""

import pytest

from backend.domain.kpis import KpiCode, NoFigure, Unit
from backend.domain.metric_examples import example_of
from backend.domain.metrics import METRICS, MetricCode, kpi_code
from backend.domain.segments import SEGMENT_CODES

BY_HAND: dict[MetricCode, int | str] = {
    MetricCode.PRIORITY: 84,
    MetricCode.SEGMENT: "HLHL",
    # 40,000 + 30,000/2^.25 + 20,000/2^.5 + 10,000/2^.75
    MetricCode.EXISTING_VALUE: 85_315,
    MetricCode.PAST_VALUE: 200,
    # 5,000/1.02 + 4,000/1.02² + 3,000/1.02³
    MetricCode.FUTURE_VALUE: 11_574,
    MetricCode.POTENTIAL: 35_000,
    # (.27 + .12 + .05 + .04) / .70
    MetricCode.LOYALTY: 69,
    # (.30 + .18) / .60
    MetricCode.SATISFACTION: 80,
    # half of 1/(1+e^−2), which is more than 1 − .7
    MetricCode.CHURN_RISK: 4_404,
    MetricCode.REVENUE: 10_800,
    MetricCode.CYCLE_DAYS: 3,
    MetricCode.COST_OF_SALE: 370,
    MetricCode.WIN_RATE: NoFigure.NOT_RECORDED.value,
    MetricCode.SHARE_OF_WALLET: 3_000,
    MetricCode.REPEAT_RATE: 7_500,
    MetricCode.DAYS_TO_SECOND_ORDER: 14,
    MetricCode.WIN_BACK_RATE: 6_667,
    MetricCode.ADOPTION: 7_500,
}


def test_every_figure_is_explained() -> None:
    assert set(METRICS) == set(MetricCode)
    for metric in METRICS.values():
        assert metric.formula
        assert metric.sources
        assert metric.requirements


def test_every_key_figure_is_a_figure_of_the_same_unit() -> None:
    found = {kpi_code(code) for code in MetricCode} - {None}
    assert found == set(KpiCode)


@pytest.mark.parametrize("code", MetricCode)
def test_the_example_comes_out_as_by_hand(code: MetricCode) -> None:
    example = example_of(code)
    assert example.result == BY_HAND[code]
    if METRICS[code].unit is Unit.CODE:
        assert example.result in SEGMENT_CODES
    assert bool(example.given) is (code is not MetricCode.WIN_RATE)


def test_the_example_of_a_priority_adds_up() -> None:
    example = example_of(MetricCode.PRIORITY)
    assert sum(int(points) for points in example.given.values()) == example.result
