"""What a metric may say, and what is counted."""

import pytest

from backend.telemetry import OTHER, counter, gauge, histogram, metric_value

_CLOSED = counter("test_closed", "for this test", code=("ONE", "TWO"))
_FIRST = counter("test_first", "for this test", name=2)
_LEVEL = gauge("test_level", "for this test")
_SPREAD = histogram("test_spread_seconds", "for this test", path=("/a",))


def test_a_label_says_one_of_its_words_and_anything_else_is_other() -> None:
    _CLOSED.add(code="ONE")
    _CLOSED.add(2, code="李娜")
    assert metric_value("selvedge_test_closed_total", code="ONE") == 1
    assert metric_value("selvedge_test_closed_total", code="李娜") == 0
    assert metric_value("selvedge_test_closed_total", code=OTHER) == 2


def test_a_label_of_free_words_keeps_the_first_so_many() -> None:
    for name in ("a", "b", "c", "d", "a"):
        _FIRST.add(name=name)
    assert metric_value("selvedge_test_first_total", name="a") == 2
    assert metric_value("selvedge_test_first_total", name="b") == 1
    assert metric_value("selvedge_test_first_total", name=OTHER) == 2


def test_a_label_that_was_not_declared_is_a_mistake_of_ours() -> None:
    with pytest.raises((TypeError, KeyError)):
        _CLOSED.add(code="ONE", phone="1")
    with pytest.raises((TypeError, KeyError)):
        _CLOSED.add(phone="1")


def test_levels_go_up_and_down_and_spreads_are_counted() -> None:
    _LEVEL.set(5)
    _LEVEL.add(-2)
    assert metric_value("selvedge_test_level") == 3
    _SPREAD.observe(0.02, path="/a")
    assert metric_value("selvedge_test_spread_seconds_count", path="/a") == 1
    assert metric_value("selvedge_test_spread_seconds_bucket", path="/a", le="0.025") == 1
    assert metric_value("selvedge_test_spread_seconds_bucket", path="/a", le="0.01") == 0
