"""Revenue by quarters of 91 days back from a day."""

from backend.domain.history import QUARTER_DAYS
from backend.domain.kpis import Period
from backend.domain.seven_p.records import MONTH_DAYS, Records
from backend.domain.seven_p.report import Row, SevenPFigure, SevenPList, money

QUARTERS_BACK = 8


def quarter_rows(records: Records) -> list[Row]:
    """The last eight quarters, the oldest first, as far as orders reach back; `0` ends on the day, `-1` before it."""
    if not records.orders.day.size:
        return []
    first = int(records.orders.day.min())
    rows = []
    for back in range(QUARTERS_BACK - 1, -1, -1):
        last = records.as_of_day - back * QUARTER_DAYS
        span = Period(last - QUARTER_DAYS + 1, last)
        if first <= span.first + MONTH_DAYS:
            revenue = int(records.revenue(span).sum())
            rows.append(Row(SevenPList.QUARTER, (money(SevenPFigure.REVENUE, revenue),), label=str(-back)))
    return rows
