"""How long work stays where: stays by hand, what still waits counted, and the state most time goes into named."""

import pytest

from backend.domain.bottlenecks import MINUTE_MS, Flow, FlowReport, Step, flow_report

NOW = 100_000


def report(*steps: tuple[int, int, str | None], flow: Flow = Flow.ORDERS, now: int = NOW) -> FlowReport:
    return flow_report(
        flow, [Step(record, at * MINUTE_MS, state) for record, at, state in steps], now_ms=now * MINUTE_MS
    )


@pytest.mark.requirement("R37")
def test_a_stay_is_from_coming_into_a_state_to_the_next() -> None:
    found = report(
        (0, 0, "DRAFT"), (0, 10, "SUBMITTED"), (0, 40, "CONFIRMED"), (0, 41, None),
        (1, 5, "DRAFT"), (1, 25, "SUBMITTED"), (1, 25, "SUBMITTED"), (1, 125, "REJECTED"), (1, 130, "DRAFT"),
        (1, 140, "CANCELLED"), (2, 140, "CLOSED"),
    )  # fmt: skip
    told = {one.state: (one.stays_n, one.waiting_n, one.median_minutes, one.p90_minutes) for one in found.states}
    assert told == {
        "DRAFT": (3, 0, 10, 20),
        "SUBMITTED": (2, 0, 30, 100),
        "CONFIRMED": (1, 0, 1, 1),
        "REJECTED": (1, 0, 5, 5),
    }
    assert [one.state for one in found.states] == ["SUBMITTED", "DRAFT", "REJECTED", "CONFIRMED"]
    assert sum(one.waited_share for one in found.states) == pytest.approx(1.0)
    assert found.states[0].waited_share == pytest.approx(130 / 176)
    assert found.bottleneck is None, "of two stays nothing is named"


def test_who_still_waits_has_waited_at_least_so_long() -> None:
    quick = [(record, 0, "SUBMITTED") for record in range(20)] + [(record, 10, None) for record in range(8)]
    found = report(*quick, now=50)
    [stay] = found.states
    assert (stay.stays_n, stay.waiting_n, stay.median_minutes, stay.p90_minutes) == (20, 12, None, None)
    assert found.bottleneck == "SUBMITTED"
    assert stay.examples == (8, 9, 10, 11, 12)
    longer = report(*quick, (12, 12, None), (13, 12, None), (30, -5, "SUBMITTED"), now=50)
    assert longer.states[0].median_minutes is None
    assert longer.states[0].examples[0] == 30, "the longest first"
    left = report(*quick, *((record, 20, None) for record in range(8, 13)), now=50).states[0]
    assert left.median_minutes == 20


def test_steps_in_any_order_and_steps_to_come_change_nothing() -> None:
    steps = [(0, 0, "OPEN"), (0, 30, "IN_PROGRESS"), (0, 90, "DONE"), (1, 10, "OPEN")]
    there = report(*steps, flow=Flow.TASKS, now=60)
    assert there == report(*reversed(steps), flow=Flow.TASKS, now=60)
    told = {one.state: (one.stays_n, one.waiting_n, one.median_minutes) for one in there.states}
    assert told == {"OPEN": (2, 1, 30), "IN_PROGRESS": (1, 1, None)}


def test_nothing_recorded_gives_no_state() -> None:
    assert report() == FlowReport(Flow.ORDERS, (), None)
    assert report((0, 5, "DONE"), flow=Flow.TASKS).states == ()
