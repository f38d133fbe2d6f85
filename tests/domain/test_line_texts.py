"""Every line in every state has a whole sentence in each language."""

import numpy as np
import pytest

from backend.config import load_messages
from backend.domain.arrays import Basis
from backend.domain.explanations import Line, reasons
from backend.domain.line_texts import REASON_CHARACTERS_MAX, line_text, reason_text
from backend.domain.messages import LOCALES
from backend.domain.priority import LINES, LineCode
from backend.domain.score_facts import is_open, local_days
from backend.domain.times import day_number, local_day

pytestmark = pytest.mark.requirement("R28")
MESSAGES = load_messages()
MONEY = {"amountMinor": 123_456, "shareMicro": 870_000}
STATES: dict[LineCode, list[dict[str, int]]] = {
    LineCode.VALUE_AT_STAKE: [MONEY, MONEY | {"amountMinor": -5}],
    LineCode.SAVABLE_REVENUE: [MONEY],
    LineCode.POTENTIAL: [MONEY | {"confidenceBp": 7_000}],
    LineCode.OVERDUE: [{"daysSinceVisit": days, "cadenceDays": 14} for days in (-1, 0, 1, 30)],
    LineCode.OBLIGATIONS: [
        {"severeCases": severe, "overdueTasks": late, "openTasks": 0} for severe in (0, 1) for late in (0, 2)
    ],
    LineCode.SEASON_WINDOW: [
        {"daysToClose": days, "preorderHistory": history} for days in (-3, 0, 1, 20) for history in (0, 1)
    ],
    LineCode.SATISFACTION_GAP: [{"satisfactionBp": 4_000, "shareMicro": 1, "confidenceBp": 1}],
    LineCode.LOYALTY: [{"loyaltyBp": 6_150, "shareMicro": 1}],
    LineCode.JUST_VISITED: [
        {"daysToNearestVisit": days, "isAppointment": agreed} for days in (0, 1, 9) for agreed in (0, 1)
    ],
    LineCode.CLIP: [{"total": 104}],
}


def told(code: LineCode, numbers: dict[str, int], locale: str = "en", currency: str = "USD") -> str:
    return line_text(MESSAGES, Line(code, 3, True, numbers, ()), locale, currency)


@pytest.mark.parametrize("locale", LOCALES)
def test_no_line_in_no_state_leaves_a_place_unfilled(locale: str):
    assert set(STATES) == set(LINES)
    texts = {told(code, numbers, locale) for code, states in STATES.items() for numbers in states}
    texts |= {line_text(MESSAGES, Line(code, 0, False, {}, ()), locale, "KRW") for code in LINES}
    assert len(texts) >= 30
    for text in texts:
        assert text
        assert not [mark for mark in "{}–" if mark in text.replace("0–100", "")], text
        assert "  " not in text


def test_a_line_says_the_odd_case_as_it_is():
    assert told(LineCode.OVERDUE, {"daysSinceVisit": 1, "cadenceDays": 14}) == (
        "Last visit 1 day ago, one every 14 days is planned"
    )
    assert told(LineCode.JUST_VISITED, {"daysToNearestVisit": 0, "isAppointment": 1}) == "Appointment today"
    assert told(LineCode.JUST_VISITED, {"daysToNearestVisit": 2, "isAppointment": 0}) == "Visited 2 days ago"
    assert told(LineCode.SEASON_WINDOW, {"daysToClose": -3, "preorderHistory": 1}) == "Order book closed 3 days ago"
    assert told(LineCode.OBLIGATIONS, {"severeCases": 0, "overdueTasks": 0, "openTasks": 0}) == (
        "No open tasks or complaints"
    )
    assert line_text(MESSAGES, Line(LineCode.POTENTIAL, 0, False, {}, ()), "ko", "KRW") == "잠재력: 아직 기록 없음"


@pytest.mark.parametrize(
    ("currency", "locale", "amount"),
    [
        ("USD", "en", "$1,234.56"),
        ("KRW", "ko", "₩123,456"),
        ("CNY", "zh-CN", "¥1,234.56"),
        ("KWD", "en", "KWD123.456"),
    ],
)
def test_money_is_written_as_the_reader_and_the_currency_want_it(currency: str, locale: str, amount: str):
    assert amount in told(LineCode.VALUE_AT_STAKE, MONEY, locale, currency)
    assert "87%" in told(LineCode.VALUE_AT_STAKE, MONEY, locale, currency)


def test_every_basis_has_its_name_in_each_language():
    assert all(MESSAGES[locale][f"enum.Basis.{basis.name}"] for locale in LOCALES for basis in Basis)


def test_a_shop_is_open_on_the_days_it_names_and_any_day_when_it_names_none():
    assert [is_open({"MON": "09:00-18:00"}, day) for day in ("2026-11-22", "2026-11-23")] == [False, True]
    assert is_open(None, "2026-11-22")
    assert is_open({}, "2026-11-22")


def test_instants_fall_on_the_same_local_days_as_one_by_one():

    zones = ("America/New_York", "Asia/Seoul", "Asia/Shanghai", "Pacific/Apia")
    draw = np.random.default_rng(3)
    # around the end of daylight saving in New York, and the day Apia skipped
    at = np.concatenate([draw.integers(a, a + 5 * 86_400_000, 400) for a in (1_793_318_400_000, 1_325_030_400_000)])
    zone = draw.integers(0, 4, at.size)
    found = local_days(at, zone, zones)
    wanted = [day_number(local_day(int(ms), zones[z])) for ms, z in zip(at.tolist(), zone.tolist(), strict=True)]
    assert found.tolist() == wanted
    assert len(set(wanted)) > 8


LARGEST: dict[LineCode, list[dict[str, int]]] = {
    LineCode.VALUE_AT_STAKE: [{"amountMinor": 900_000_000_000, "shareMicro": 1_000_000}],
    LineCode.SAVABLE_REVENUE: [{"amountMinor": 899_999_999_999, "shareMicro": 1_000_000}],
    LineCode.POTENTIAL: [{"amountMinor": 876_543_219_876, "confidenceBp": 10_000}],
    LineCode.OVERDUE: [{"daysSinceVisit": days, "cadenceDays": 3_650} for days in (0, 36_500)],
    LineCode.OBLIGATIONS: [{"severeCases": many, "overdueTasks": many, "openTasks": many} for many in (0, 9_999)],
    LineCode.SEASON_WINDOW: [
        {"daysToClose": days, "preorderHistory": history} for days in (-36_500, 0, 36_500) for history in (0, 1)
    ],
    LineCode.SATISFACTION_GAP: [{"satisfactionBp": 10_000, "shareMicro": 1, "confidenceBp": 1}],
    LineCode.LOYALTY: [{"loyaltyBp": 10_000, "shareMicro": 1}],
    LineCode.JUST_VISITED: [
        {"daysToNearestVisit": days, "isAppointment": agreed} for days in (0, 36_500) for agreed in (0, 1)
    ],
}


@pytest.mark.parametrize("locale", LOCALES)
def test_a_reason_fits_one_line_of_a_phone_however_large_its_numbers(locale: str):
    assert set(LARGEST) == set(LINES) - {LineCode.CLIP}
    for currency in ("USD", "CNY", "KRW", "KWD", "VND"):
        for code, states in LARGEST.items():
            for numbers in states:
                text = reason_text(MESSAGES, Line(code, 3, True, numbers, ()), locale, currency)
                assert 0 < len(text) <= REASON_CHARACTERS_MAX, text
                assert not set("{}–") & set(text), text


def test_the_reasons_are_the_strongest_lines_that_speak_for_a_visit():
    points = {
        LineCode.VALUE_AT_STAKE: 5, LineCode.SAVABLE_REVENUE: 9, LineCode.POTENTIAL: 5, LineCode.OVERDUE: 12,
        LineCode.LOYALTY: 0, LineCode.JUST_VISITED: -20, LineCode.CLIP: 30,
    }  # fmt: skip
    lines = [Line(code, many, True, {}, ()) for code, many in points.items()]
    unheard = Line(LineCode.OBLIGATIONS, 12, False, {}, ())
    found = reasons([unheard, *lines])
    assert [line.code for line in found] == [LineCode.OVERDUE, LineCode.SAVABLE_REVENUE, LineCode.VALUE_AT_STAKE]
    assert reasons(lines[4:]) == ()


def test_a_reason_rounds_its_amount():
    numbers = {"amountMinor": 123_456_789, "shareMicro": 1}
    line = Line(LineCode.VALUE_AT_STAKE, 3, True, numbers, ())
    assert reason_text(MESSAGES, line, "en", "USD") == "Expected to bring $1.2M in two quarters"
    assert reason_text(MESSAGES, line, "zh-CN", "CNY") == "预计两个季度带来¥123.5万"
