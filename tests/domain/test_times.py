"""Instants, local days and the device's clock."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.times import (
    DAY_MS,
    INSTANT_MAX_MS,
    add_days,
    check_instant,
    check_not_future,
    day_bounds_ms,
    day_from_number,
    day_number,
    day_start_ms,
    days_between,
    instant_text,
    local_day,
    parse_day,
    parse_instant,
    parse_zone,
    quarter_of_day,
)
from backend.errors import Code, Refused

HOUR_MS = 3_600_000


def test_an_instant_has_one_written_form() -> None:
    assert instant_text(0) == "1970-01-01T00:00:00.000Z"
    assert instant_text(1_772_323_200_007) == "2026-03-01T00:00:00.007Z"
    assert parse_instant("2199-12-31T23:59:59.999Z") == INSTANT_MAX_MS


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01",
        "2026-03-01T00:00:00Z",
        "2026-03-01T00:00:00.000+00:00",
        "2026-03-01 00:00:00.000Z",
        "2026-02-30T00:00:00.000Z",
        "2026-03-01T24:00:00.000Z",
        "2026-03-01T00:00:60.000Z",
        "",
        "now",
        "２026-03-01T00:00:00.000Z",
        "2026-03-01T00:00:00.000Z\n",
        "1969-12-31T23:59:59.999Z",
        "2200-01-01T00:00:00.000Z",
    ],
)
def test_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_instant(text)
    problem = refused.value.problems[0]
    outside = text[:4] in {"1969", "2200"}
    assert problem.code is (Code.OUT_OF_RANGE if outside else Code.INVALID_VALUE)


@given(st.integers(0, INSTANT_MAX_MS))
@settings(max_examples=200)
def test_instants_are_read_back_and_sort_as_their_texts(at_ms: int) -> None:
    assert parse_instant(instant_text(at_ms)) == at_ms
    assert (instant_text(at_ms) < "2026-03-01T00:00:00.000Z") == (at_ms < 1_772_323_200_000)


def test_instants_outside_the_years_are_refused() -> None:
    for at_ms in (-1, INSTANT_MAX_MS + 1):
        with pytest.raises(Refused):
            check_instant(at_ms)


@pytest.mark.parametrize("text", ["2026-02-29", "2026-2-3", "20260203", "2026-02-03T", "1899-12-31", "2200-01-01"])
def test_only_real_days_are_days(text: str) -> None:
    with pytest.raises(Refused):
        parse_day(text)
    assert parse_day("2024-02-29") == "2024-02-29"


def test_midnight_in_seoul_and_in_shanghai_is_an_hour_apart() -> None:
    seoul_midnight = parse_instant("2026-11-22T15:00:00.000Z")
    assert local_day(seoul_midnight - 1, "Asia/Seoul") == "2026-11-22"
    assert local_day(seoul_midnight, "Asia/Seoul") == "2026-11-23"
    assert local_day(seoul_midnight, "Asia/Shanghai") == "2026-11-22"
    assert local_day(seoul_midnight + HOUR_MS - 1, "Asia/Shanghai") == "2026-11-22"
    assert local_day(seoul_midnight + HOUR_MS, "Asia/Shanghai") == "2026-11-23"
    assert day_start_ms("2026-11-23", "Asia/Seoul") == seoul_midnight
    assert day_start_ms("2026-11-23", "Asia/Shanghai") == seoul_midnight + HOUR_MS


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        ("2026-03-29", "Europe/Berlin", 23),
        ("2026-10-25", "Europe/Berlin", 25),
        ("2026-03-28", "Europe/Berlin", 24),
        ("2026-11-01", "America/New_York", 25),
        ("2026-11-22", "Asia/Seoul", 24),
        # clocks that change at midnight itself: no 00:00, 00:00 twice, a day left out
        ("2023-04-28", "Africa/Cairo", 23),
        ("2023-11-05", "America/Havana", 25),
        ("2011-12-30", "Pacific/Apia", 0),
    ],
)
def test_a_local_day_has_23_24_or_25_hours(day: str, zone: str, hours: int) -> None:
    start, end = day_bounds_ms(day, zone)
    assert end - start == hours * HOUR_MS


@given(
    st.integers(day_number("1990-01-01"), day_number("2037-12-31")).map(day_from_number),
    st.sampled_from(
        [
            "Asia/Seoul",
            "Asia/Shanghai",
            "Europe/Berlin",
            "Africa/Cairo",
            "America/Havana",
            "Asia/Beirut",
            "UTC",
        ]
    ),
)
@settings(max_examples=300)
def test_the_days_of_a_zone_cover_time_without_gap_or_overlap(day: str, zone: str) -> None:
    start, end = day_bounds_ms(day, zone)
    assert local_day(start, zone) == day
    assert local_day(start - 1, zone) == add_days(day, -1)
    assert local_day(end - 1, zone) == day
    assert 23 * HOUR_MS <= end - start <= 25 * HOUR_MS


def test_an_unknown_zone_is_refused() -> None:
    for name in ("Asia/Atlantis", "", "../etc/passwd", "GMT+99", "Asia"):
        with pytest.raises(Refused):
            parse_zone(name)
    assert parse_zone("Asia/Seoul") == "Asia/Seoul"


def test_a_quarter_is_judged_in_the_organisations_zone() -> None:
    new_year = parse_instant("2025-12-31T16:00:00.000Z")
    assert quarter_of_day(local_day(new_year, "Asia/Shanghai")) == (2026, 1)
    assert quarter_of_day(local_day(new_year, "Europe/Berlin")) == (2025, 4)
    assert [quarter_of_day(f"2026-{month:02d}-15")[1] for month in range(1, 13)] == [
        1,
        1,
        1,
        2,
        2,
        2,
        3,
        3,
        3,
        4,
        4,
        4,
    ]


def test_days_are_numbers_from_1970() -> None:
    assert day_number("1970-01-01") == 0
    assert day_number("1969-12-31") == -1
    assert day_number("2026-03-01") * DAY_MS == parse_instant("2026-03-01T00:00:00.000Z")
    assert days_between("2024-02-28", "2024-03-01") == 2
    assert add_days("2024-03-01", -1) == "2024-02-29"


def test_no_day_lies_outside_the_calendar() -> None:
    """However many days somebody asks for; what he may ask for is judged elsewhere."""
    for days in (1, -1, 2**31, -(2**31), 2**62, -(2**62)):
        assert add_days("9999-12-31", abs(days)) == "9999-12-31"
        assert add_days("0001-01-01", -abs(days)) == "0001-01-01"
        assert add_days("2026-11-23", days) in ("2026-11-24", "2026-11-22", "9999-12-31", "0001-01-01")
    for zone, hours in (("Asia/Shanghai", -8), ("America/New_York", 5)):
        for day in ("0001-01-01", "9999-12-31"):
            # local mean time, before there were zones: within the hour
            assert abs(day_start_ms(day, zone) - day_number(day) * DAY_MS - hours * HOUR_MS) <= HOUR_MS


def test_the_future_begins_after_the_allowed_skew() -> None:
    assert check_not_future(1_300, 1_000, 300) == 1_300
    with pytest.raises(Refused) as refused:
        check_not_future(1_301, 1_000, 300)
    assert refused.value.problems[0].code is Code.IN_THE_FUTURE
