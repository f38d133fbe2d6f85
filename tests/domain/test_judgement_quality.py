"""Whether people knew better: comparable customers, counts and what they allow to say."""

from dataclasses import replace

import numpy as np
import pytest

from backend.domain.judgement_quality import (
    COMPARED_EACH_MAX,
    Compared,
    JudgedRows,
    JudgementVerdict,
    OrderDays,
    compare,
    figures,
    figures_by,
)
from backend.domain.judgements import (
    REASONS,
    Judgement,
    JudgementKind,
    JudgementReason,
    judged_place,
    judgement_problems,
)

DAY = 20_000
SKIP = Judgement(
    "s", "c", JudgementKind.SKIP, JudgementReason.NO_TIME, None, "2026-11-22", "2026-11-22", None, None, 5, "wei"
)
PUT = replace(SKIP, id="p", kind=JudgementKind.OVERRIDE, reason=JudgementReason.STRATEGIC, score=70, created_by="boss")


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@pytest.mark.requirement("R28")
def test_the_latest_override_counts_and_a_skip_counts_for_whoever_said_it() -> None:
    later = replace(PUT, id="q", score=None, points=-30, created_at_ms=6)
    found = judged_place(20, [SKIP, PUT, later], "2026-11-22", "wei")
    assert (found.ranked_at, found.skipped, [one.id for one in found.shown]) == (0, True, ["q", "s"])
    assert not judged_place(20, [SKIP, PUT], "2026-11-22", "na").skipped
    assert not judged_place(20, [SKIP, PUT], "2026-11-22", None).skipped
    assert judged_place(20, [PUT, replace(later, withdrawn=True)], "2026-11-22", None).ranked_at == 70
    assert judged_place(20, [SKIP, PUT], "2026-11-23", "wei").shown == ()
    assert judged_place(20, [PUT, replace(PUT, id="z", score=1)], "2026-11-22", None).ranked_at == 1, "equal: by id"
    assert judged_place(95, [replace(PUT, score=None, points=30)], "2026-11-22", None).ranked_at == 100


@pytest.mark.parametrize("kind", list(JudgementKind))
def test_every_reason_fits_one_kind_and_another_is_for_both(kind: JudgementKind) -> None:
    for reason in JudgementReason:
        given = {"kind": kind, "reason": reason, "note": "x", "startsOn": "2026-11-22", "endsOn": "2026-11-22"}
        given |= {"score": 5} if kind is JudgementKind.OVERRIDE else {}
        wrong = [problem.path for problem in judgement_problems(given, "2026-11-22")]
        assert wrong == ([] if reason in REASONS[kind] else [("reason",)])
    assert set(REASONS[JudgementKind.SKIP]) & set(REASONS[JudgementKind.OVERRIDE]) == {JudgementReason.OTHER}


def test_an_order_counts_from_the_first_day_to_the_last_of_the_window() -> None:
    orders = OrderDays.of(ints(0, 1, 2, 3), ints(DAY - 1, DAY, DAY + 30, DAY + 31))
    assert orders.within(ints(0, 1, 2, 3, 4), np.full(5, DAY), 30).tolist() == [False, True, True, False, False]


def test_how_long_ago_an_order_was_is_told_by_bands() -> None:
    days = (1, 29, 30, 89, 90, 179, 180, 400)
    orders = OrderDays.of(np.arange(8), DAY - ints(*days))
    assert orders.band(np.arange(9), np.full(9, DAY)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 3]
    of_the_day = OrderDays.of(ints(0), ints(DAY))
    assert of_the_day.band(ints(0), ints(DAY)).tolist() == [3], "an order of the day itself was not there before"


@pytest.mark.requirement("R28")
def test_comparable_are_customers_of_the_kind_with_an_order_as_long_ago_who_were_not_judged() -> None:
    # 0 is judged; 1 is of another kind; 2 was judged some time; 3 ordered long ago; 4 to 9 are like 0
    customers = np.arange(10)
    last = np.where(customers == 3, DAY - 100, DAY - 10)
    again = ints(1, 2, 3, 4, 5)
    orders = OrderDays.of(np.concatenate([customers, again]), np.concatenate([last, np.full(5, DAY + 3)]))
    group, ever = (customers == 1).astype(np.int64), np.isin(customers, [0, 2])
    for draw in range(8):
        found = compare(JudgedRows(ints(0), ints(DAY), ints(draw)), orders, group, ever, 30)
        assert found.ordered.tolist() == [False]
        assert found.compared_n.tolist() == [COMPARED_EACH_MAX]
        assert found.compared_ordered_n[0] <= 2, "of 4 and 5 alone"
    nobody = compare(JudgedRows(ints(0), ints(DAY), ints(1)), orders, group, np.ones(10, dtype=np.bool_), 30)
    assert nobody.compared_n.tolist() == [0]


def outcome(ordered_n: int, judged_n: int, compared_share: float) -> Compared:
    rows = np.arange(judged_n)
    return Compared(rows < ordered_n, np.full(judged_n, 4), np.where(rows < judged_n * compared_share, 4, 0))


@pytest.mark.requirement("R28")
@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (outcome(19, 19, 0.0), JudgementVerdict.TOO_FEW),
        (outcome(18, 20, 0.1), JudgementVerdict.ORDERED_MORE),
        (outcome(2, 20, 0.9), JudgementVerdict.ORDERED_LESS),
        (outcome(11, 20, 0.5), JudgementVerdict.NO_DIFFERENCE),
    ],
)
def test_what_is_said_follows_from_the_interval_of_the_difference(found: Compared, verdict: JudgementVerdict) -> None:
    told = figures(found, np.arange(found.ordered.size))
    assert told.verdict is verdict
    assert (told.difference is None) == (verdict is JudgementVerdict.TOO_FEW)
    if told.difference is not None:
        assert told.difference_low < told.difference < told.difference_high  # type: ignore[operator]
    assert told.judged.low <= told.judged.value <= told.judged.high


def test_each_judgement_counts_alike_whatever_number_it_is_compared_with() -> None:
    found = Compared(np.array([True, False, True]), ints(4, 1, 0), ints(0, 1, 0))
    told = figures(found, np.arange(3))
    assert (told.judgements_n, told.judged.part, told.judged.whole) == (3, 1, 2), "one has nobody to compare with"
    assert (told.compared.part, told.compared.whole, told.compared.value) == (1, 5, 0.5)
    empty = figures(found, ints())
    assert (empty.judged.whole, empty.compared.whole, empty.compared.low, empty.compared.high) == (0, 0, 0.0, 1.0)


def test_groups_stand_by_how_many_they_are() -> None:
    found = Compared(np.ones(3, dtype=np.bool_), ints(1, 1, 1), ints(0, 0, 0))
    assert [(key, one.judgements_n) for key, one in figures_by(found, ["a", "b", "b"])] == [("b", 2), ("a", 1)]
