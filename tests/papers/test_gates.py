"""The gates of the CDNOW sample, cut at 1997-09-30: met by what the product ranks with, and no more is claimed."""

import numpy as np
import pytest

from backend.domain.backtest import Backtest, GateCode, Ranker, Verdict, after_cut, backtest, order_cut, sample_gates
from backend.domain.history import OrderColumns
from backend.domain.scoring import ScoreParameters
from tests.papers.cdnow import orders

pytestmark = pytest.mark.requirement("R28", "R30")

CUT = int(np.datetime64("1997-09-30").astype(np.int64))


@pytest.fixture(scope="module")
def found() -> Backtest:
    customer, day, cents = orders()
    nothing = np.zeros(day.size, dtype=np.bool_)
    columns = OrderColumns(customer, day, cents, np.zeros(day.size, dtype=np.int64), nothing, nothing)
    customers_n, days = int(customer.max()) + 1, int(day.max()) - CUT
    cut = order_cut(columns, customers_n=customers_n, day=CUT)
    after = after_cut(columns, cut, customers_n=customers_n, holdout_days=days)
    return backtest([(cut, after)], ScoreParameters(), holdout_days=days, replicates_n=200)


def test_the_gates_are_met(found: Backtest) -> None:
    gates = {gate.code: gate for gate in sample_gates(found)}
    assert all(gate.met for gate in gates.values())
    assert gates[GateCode.GINI].measured >= 0.695
    assert gates[GateCode.COUNT_MAE].measured <= 0.77


def test_rfm_is_as_strong_as_published_and_it_is_said_where_it_is_as_good(found: Backtest) -> None:
    rankers = {one.ranker: one for one in found.cuts[0].rankers}
    assert rankers[Ranker.RFM].gini == pytest.approx(0.704, abs=0.003)
    assert rankers[Ranker.RFM].top_share == pytest.approx(0.490, abs=0.015)
    assert rankers[Ranker.VALUE].top_share >= 0.49
    verdicts = {(one.ours, one.baseline): (one.gini_verdict, one.top_verdict) for one in found.comparisons}
    assert verdicts[Ranker.BLEND, Ranker.RFM] == (Verdict.AS_GOOD, Verdict.AS_GOOD)
    assert verdicts[Ranker.VALUE, Ranker.RFM][1] is Verdict.AS_GOOD
    assert verdicts[Ranker.PRIORITY, Ranker.RFM][1] is Verdict.AS_GOOD
    assert verdicts[Ranker.PRIORITY, Ranker.RECENCY] == (Verdict.BETTER, Verdict.BETTER)
    assert verdicts[Ranker.PRIORITY, Ranker.RANDOM] == (Verdict.BETTER, Verdict.BETTER)


def test_without_the_value_at_stake_the_priority_ranks_worse(found: Backtest) -> None:
    lost = {one.line.value: one.gini for one in found.ablation if one.gini is not None}
    assert lost["VALUE_AT_STAKE"].low > 0.0
    assert set(lost) == {"VALUE_AT_STAKE", "SAVABLE_REVENUE", "POTENTIAL", "LOYALTY"}, "the file knows of no visits"
