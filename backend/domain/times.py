"""Time as integers: instants in epoch milliseconds, local days as `YYYY-MM-DD`, both judged in a named zone.

An instant is written in exactly one form, `YYYY-MM-DDTHH:MM:SS.mmmZ`, so equal instants are equal texts.
"""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from backend.errors import Code, Problem, Refused

DAY_MS = 86_400_000
INSTANT_MIN_MS = 0
INSTANT_MAX_MS = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()) * 1000 - 1
DAY_FIRST = "1900-01-01"
DAY_LAST = "2199-12-31"
INSTANT_FORM = "YYYY-MM-DDTHH:MM:SS.mmmZ"
DAY_FORM = "YYYY-MM-DD"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1)
_FIRST_DAY, _LAST_DAY = (date.min - _EPOCH_DAY).days, (date.max - _EPOCH_DAY).days
_CLOCK_TEXTS = tuple(f"{hour:02d}:{minute:02d}" for hour in range(24) for minute in range(60))
_INSTANT = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{3})Z", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def parse_instant(text: str) -> int:
    """Epoch milliseconds of a text in the one form `YYYY-MM-DDTHH:MM:SS.mmmZ`.

    Raises INVALID_VALUE for any other form or an impossible date, OUT_OF_RANGE outside 1970..2199.
    """
    found = _INSTANT.fullmatch(text)
    if found is None:
        raise Refused(Problem(Code.INVALID_VALUE, allowed=(INSTANT_FORM,)))
    year, month, day, hour, minute, second, ms = (int(part) for part in found.groups())
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise Refused(Problem(Code.INVALID_VALUE, allowed=(INSTANT_FORM,))) from None
    return check_instant((moment - _EPOCH) // timedelta(milliseconds=1) + ms)


def check_instant(at_ms: int) -> int:
    """The same number when it lies in 1970..2199; raises OUT_OF_RANGE."""
    if not INSTANT_MIN_MS <= at_ms <= INSTANT_MAX_MS:
        raise Refused(Problem(Code.OUT_OF_RANGE, allowed=("1970-01-01T00:00:00.000Z", "2199-12-31T23:59:59.999Z")))
    return at_ms


@lru_cache(maxsize=4_096)
def _day_text(days: int) -> str:
    return day_from_number(days)


def instant_text(at_ms: int) -> str:
    """The one written form of an instant in 1970..2199; inverse of `parse_instant`."""
    days, rest_ms = divmod(check_instant(at_ms), DAY_MS)
    seconds, ms = divmod(rest_ms, 1_000)
    # documents hold several each, of few days: half the time of the library's own form
    return f"{_day_text(days)}T{_CLOCK_TEXTS[seconds // 60]}:{seconds % 60:02d}.{ms:03d}Z"


def parse_day(text: str) -> str:
    """The same text when it is a real day `YYYY-MM-DD` in 1900..2199.

    Raises INVALID_VALUE for another form or an impossible day, OUT_OF_RANGE outside the years.
    """
    if _DAY.fullmatch(text) is None:
        raise Refused(Problem(Code.INVALID_VALUE, allowed=(DAY_FORM,)))
    try:
        date.fromisoformat(text)
    except ValueError:
        raise Refused(Problem(Code.INVALID_VALUE, allowed=(DAY_FORM,))) from None
    if not DAY_FIRST <= text <= DAY_LAST:
        raise Refused(Problem(Code.OUT_OF_RANGE, allowed=(DAY_FIRST, DAY_LAST)))
    return text


def parse_zone(name: str) -> str:
    """The same text when it names an IANA zone; raises INVALID_VALUE."""
    _zone(name)
    return name


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("Asia/Shanghai", "Asia/Seoul"))) from None


def day_number(day: str) -> int:
    """Whole days from 1970-01-01 to `day`; negative before."""
    return (date.fromisoformat(day) - _EPOCH_DAY).days


def day_from_number(number: int) -> str:
    """Inverse of `day_number`."""
    return (_EPOCH_DAY + timedelta(days=number)).isoformat()


def add_days(day: str, days: int) -> str:
    """The day `days` later (earlier when negative) in the calendar, which has no days before year 1 or after 9999."""
    return day_from_number(min(max(day_number(day) + days, _FIRST_DAY), _LAST_DAY))


def days_between(first: str, last: str) -> int:
    """Days from `first` to `last`; 0 when equal, negative when `last` is earlier."""
    return day_number(last) - day_number(first)


def local_day(at_ms: int, zone: str) -> str:
    """The calendar day an instant falls on in `zone`; raises INVALID_VALUE for an unknown zone."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(_zone(zone)).date().isoformat()


def local_clock(at_ms: int, zone: str) -> str:
    """What a clock on the wall of `zone` shows at an instant, `HH:MM`; raises INVALID_VALUE for an unknown zone."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(_zone(zone)).strftime("%H:%M")


def day_start_ms(day: str, zone: str) -> int:
    """First instant of a local day.

    Where clocks go forward at midnight the day starts with the hour that exists; where midnight comes twice,
    with the first.
    """
    midnight = datetime.combine(date.fromisoformat(day), datetime.min.time(), tzinfo=_zone(zone))
    # not by way of UTC, where the first day of year 1 may begin before there is a calendar
    return (midnight - _EPOCH) // timedelta(milliseconds=1)


def day_bounds_ms(day: str, zone: str) -> tuple[int, int]:
    """[start, end) of a local day in epoch ms: 23, 24 or 25 hours apart, 0 for a day a zone skipped."""
    return day_start_ms(day, zone), day_start_ms(add_days(day, 1), zone)


def quarter_of_day(day: str) -> tuple[int, int]:
    """(year, quarter 1..4) of a calendar day."""
    moment = date.fromisoformat(day)
    return moment.year, (moment.month + 2) // 3


def check_not_future(at_ms: int, now_ms: int, skew_ms: int) -> int:
    """The same instant when at most `skew_ms` ahead of `now_ms`; raises IN_THE_FUTURE."""
    if at_ms > now_ms + skew_ms:
        raise Refused(Problem(Code.IN_THE_FUTURE, allowed=(instant_text(now_ms),)))
    return at_ms
