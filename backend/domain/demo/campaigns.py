"""Campaigns whose effect is known, because it was planted: what they brought is in the orders, and who was left alone.

A campaign goes to loyal accounts, half of them held out. Of a hundred treated so many order in its window who would not
have; nobody else does otherwise. What came of it is then computed as the product computes it.
*Source*: R24, R30.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.domain.arrays import BoolArray, FloatArray, IntArray
from backend.domain.backtest import Verdict, order_cut
from backend.domain.demo.customers import KIND_OF, RISING, SLIPPING, UNITS_MEDIAN, Customers
from backend.domain.demo.frame import Setting, Table, canonical, record_ids
from backend.domain.demo.naming import CHAIN, DISTRIBUTOR, MARKETPLACE, STORE
from backend.domain.evaluation_results import judged, numbered
from backend.domain.evaluations import (
    EvaluationMetric,
    EvaluationRecord,
    EvaluationState,
    SubjectKind,
    arm_hashes,
    held_out,
)
from backend.domain.exchange import convert_columns
from backend.domain.history import OrderColumns
from backend.domain.money import Rate
from backend.domain.scoring import ScoreParameters, score_customers
from backend.domain.segments import SEGMENT_CODES
from backend.domain.times import DAY_MS, day_from_number

HOLDOUT_BP = 5_000
"""Half: with some five hundred customers, less would not tell nine in a hundred from chance."""
PLANNED_DAYS, FROZEN_DAYS = 21, 6
"""So long before the start."""
FORECAST_STEP_MINOR = 10_000
LOYAL_DAYS = 182
"""Who ordered within so many days stood in a segment of high loyalty then."""
GOES_TO = (STORE, CHAIN, DISTRIBUTOR, MARKETPLACE)
LOYAL = tuple(code for code in SEGMENT_CODES if len(code) == 4 and code[2] == "H")
REPORTED_IN = "USD"


@dataclass(frozen=True, slots=True)
class Campaign:
    """`lift`: planted; `starts`, `days`: its window, counted from the day the world is made for."""

    subject_id: str
    name: str
    expectation: str
    lift: float
    starts: int
    days: int
    cost_minor: int


CAMPAIGNS = (
    Campaign("pre-order-letter", "预订邀请信 Pre-order letter", "More shops order before the book closes.",
             0.09, -530, 161, 900_000),
    Campaign("sample-box", "样品盒 Sample box", "Who holds the fabric orders.", 0.04, -470, 150, 2_400_000),
    Campaign("line-preview", "新品预览 Line preview", "Who saw it first orders first.", 0.09, -350, 168, 1_500_000),
    Campaign("group-flyer", "团购传单 Group flyer", "Shops order together.", 0.0, -330, 120, 600_000),
    Campaign("free-return", "无忧退货 Free return", "Who may send back dares to order.", 0.04, -185, 150, 1_200_000),
    Campaign("double-points", "双倍积分 Double points", "The best season ever.", 0.0, -115, 91, 3_000_000),
    Campaign("winter-visit", "冬季电话 Winter call", "A call before the holidays.", 0.0, -14, 56, 400_000),
)  # fmt: skip
SOLD_WELL = "double-points"
"""It sold well, and would have without."""
LESSONS = {
    Verdict.BETTER: "参加的客户下单更多，值得再做。 More ordered than among those left alone: do it again.",
    Verdict.AS_GOOD: "未参加的客户同样下单，看不出效果。 Those left alone ordered as well: no effect can be told.",
    Verdict.WORSE: "参加的客户下单更少，停止。 Fewer ordered than among those left alone: stop it.",
    Verdict.NOT_MEASURED: "客户太少，无法判断。 Too few customers to say.",
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A campaign with its arms: (k,) accounts and whether they were left alone; (b,) accounts and days of the orders
    that came because of it."""

    campaign: Campaign
    id: str
    account: IntArray
    held_out: BoolArray
    brought: IntArray
    brought_day: IntArray


@dataclass(frozen=True, slots=True)
class CampaignOrders:
    """(n,) orders that came because of campaigns, and the campaigns."""

    account: IntArray
    day: IntArray
    units: FloatArray
    drawn: tuple[Drawn, ...]


def campaign_orders(setting: Setting, customers: Customers, account: IntArray, day: IntArray) -> CampaignOrders:
    """Draw every campaign after the one before it; (n,) `account`, `day`: the orders that come anyway."""
    draw, accounts = setting.stream("campaigns"), customers.accounts
    found: list[Drawn] = []
    extra: list[tuple[IntArray, IntArray]] = []
    campaigns = CAMPAIGNS if setting.profile.stories else ()
    ids = record_ids(setting.seed, "evaluation", _planned_ms(setting, campaigns))
    # those with a plan of their own order by it
    own = accounts.characters.drawn.copy()
    own[[row for story, row in accounts.stories.items() if story in (SLIPPING, RISING)]] = True
    for campaign, campaign_id in zip(campaigns, ids, strict=True):
        first = setting.as_of + campaign.starts
        who = np.concatenate([account, *(one[0] for one in extra)])
        on = np.concatenate([day, *(one[1] for one in extra)])
        recent = np.zeros(len(accounts.kind), dtype=np.bool_)
        recent[who[(on < first) & (on >= first - LOYAL_DAYS)]] = True
        chosen = np.flatnonzero(recent & np.isin(accounts.kind, GOES_TO))
        hashes = arm_hashes(f"{SubjectKind.CAMPAIGN}:{campaign.subject_id}", _ids(customers, chosen), campaign_id)
        control = held_out(hashes, numbered(_strata(customers, chosen)), HOLDOUT_BP)
        bought = np.zeros(len(accounts.kind), dtype=np.bool_)
        bought[who[(on >= first) & (on < first + campaign.days)]] = True
        treated = chosen[~control]
        idle = treated[~bought[treated] & ~own[treated]]
        brought = draw.permutation(idle)[: round(campaign.lift * len(treated))]
        brought_day = first + draw.integers(0, campaign.days, len(brought))
        extra.append((brought, brought_day))
        found.append(Drawn(campaign, campaign_id, chosen, control, brought, brought_day))
    who, on = (np.concatenate([np.zeros(0, np.int64), *(one[side] for one in extra)]) for side in (0, 1))
    spread = np.exp(accounts.size[who] + draw.normal(0.0, 0.6, len(who)))
    return CampaignOrders(who, on, UNITS_MEDIAN[accounts.kind[who]] * spread, tuple(found))


def make_evaluations(
    setting: Setting,
    customers: Customers,
    drawn: Sequence[Drawn],
    orders: Table,
    counts: BoolArray,
    rates: Table,
    marketer_id: str,
) -> tuple[Table, Table]:
    """(evaluations, their arms). `counts`: (n,) orders that count as bought; those over by now are closed."""
    known = tuple(Rate(*row) for row in zip(*(rates.columns[name] for name in _RATE), strict=True))
    bought: dict[str, list[tuple[str, str, int, str]]] = {}
    kept = zip(*(orders.columns[name] for name in _ORDER), counts.tolist(), strict=True)
    for customer_id, day, amount, currency, counted in kept:
        if counted:
            bought.setdefault(customer_id, []).append((customer_id, day, amount, currency))
    sales = _sales(customers, orders, counts, known) if drawn else None
    rows, arms = [], []
    for one in drawn:
        row, own = _evaluated(setting, customers, one, bought, sales, known, marketer_id)
        rows.append(row)
        arms += own
    names = list(_RECORD)
    made = np.array([row["frozen_at"] for row, one in zip(rows, drawn, strict=True) for _ in one.account], np.int64)
    return (
        Table("evaluation", {name: [row[name] for row in rows] for name in names}),
        Table(
            "evaluation_arm",
            {
                "id": setting.ids("evaluation_arm", made),
                "evaluation_id": [one.id for one in drawn for _ in one.account],
                "customer_id": [arm[0] for arm in arms],
                "held_out": [arm[1] for arm in arms],
                "stratum": [arm[2] for arm in arms],
                "forecast_minor": [arm[3] for arm in arms],
            },
        ),
    )


_RATE = ("currency", "valid_from", "rate_e9")
_ORDER = ("customer_id", "ordered_on", "total_minor", "currency")
_RECORD = (
    "id", "state", "subject_kind", "subject_id", "name", "strategy", "territory_id", "segments", "kinds", "metric",
    "starts_on", "ends_on", "holdout_bp", "salt", "cost_minor", "currency", "expectation", "planned_at", "planned_by",
    "frozen_at", "treated_n", "control_n", "ended_at", "ended_by", "result", "lesson",
)  # fmt: skip
Arm = tuple[str, bool, str, int | None]


def _evaluated(
    setting: Setting,
    customers: Customers,
    drawn: Drawn,
    bought: dict[str, list[tuple[str, str, int, str]]],
    sales: OrderColumns | None,
    rates: tuple[Rate, ...],
    marketer_id: str,
) -> tuple[dict[str, Any], list[Arm]]:
    campaign = drawn.campaign
    first = setting.as_of + campaign.starts
    starts_on, ends_on = day_from_number(first), day_from_number(first + campaign.days - 1)
    planned_ms = int(_planned_ms(setting, (campaign,))[0])
    ids = _ids(customers, drawn.account)
    expected = _expected(customers, sales, drawn.account, first - FROZEN_DAYS - 1)
    arms: list[Arm] = [
        (customer_id, alone, stratum, forecast)
        for customer_id, alone, stratum, forecast in zip(
            ids, drawn.held_out.tolist(), _strata(customers, drawn.account), expected, strict=True
        )
    ]
    control_n, over = int(drawn.held_out.sum()), first + campaign.days < setting.as_of
    record = EvaluationRecord(
        id=drawn.id,
        state=EvaluationState.CLOSED if over else EvaluationState.FROZEN,
        subject_kind=SubjectKind.CAMPAIGN,
        subject_id=campaign.subject_id,
        name=campaign.name,
        strategy=None,
        territory_id=None,
        segments=LOYAL,
        kinds=tuple(sorted(KIND_OF[kind].value for kind in GOES_TO)),
        metric=EvaluationMetric.BUYERS,
        starts_on=starts_on,
        ends_on=ends_on,
        holdout_bp=HOLDOUT_BP,
        salt=drawn.id,
        cost_minor=campaign.cost_minor,
        currency=REPORTED_IN,
        expectation=campaign.expectation,
        planned_at_ms=planned_ms,
        planned_by=f"staff:{marketer_id}",
        frozen_at_ms=planned_ms + (PLANNED_DAYS - FROZEN_DAYS) * DAY_MS,
        treated_n=len(ids) - control_n,
        control_n=control_n,
        ended_at_ms=setting.now_ms + (campaign.starts + campaign.days) * DAY_MS + 36_000_000 if over else None,
        ended_by=f"staff:{marketer_id}" if over else None,
        result=None,
        lesson=None,
    )
    result = None
    if over:
        window = [one for row in ids for one in bought.get(row, ()) if starts_on <= one[1] <= ends_on]
        result = judged(record, arms, window, rates=rates, margin_bp=None)
    return _row(record, result), arms


def _sales(customers: Customers, orders: Table, counts: BoolArray, rates: tuple[Rate, ...]) -> OrderColumns:
    """What counts as bought by the accounts, in the currency that is reported in."""
    place = {customer_id: row for row, customer_id in enumerate(customers.ids)}
    customer, day, amount, currency = (
        [one for one, counted in zip(orders.columns[name], counts.tolist(), strict=True) if counted] for name in _ORDER
    )
    days = np.array(day, dtype="datetime64[D]").astype(np.int64)
    minor = np.array(amount, dtype=np.int64)
    converted = convert_columns(minor, np.array(currency, dtype=np.str_), days, to=REPORTED_IN, rates=rates)
    nothing = np.zeros(days.shape, dtype=np.bool_)
    who = np.array([place[one] for one in customer], dtype=np.int64)
    return OrderColumns(who, days, converted.amount_minor, np.zeros_like(who), nothing, nothing)


def _expected(customers: Customers, sales: OrderColumns | None, rows: IntArray, day: int) -> list[int | None]:
    """What the score run of that night expected of accounts in two quarters, as the product keeps it with the arms.

    Coarser than the product's: a fit's last digits are not the same on every machine, the world is.
    """
    if sales is None:
        return [None] * len(rows)
    kind = customers.accounts.kind
    known = order_cut(sales, customers_n=len(kind), day=day, kind=kind)
    found = score_customers(known.inputs, ScoreParameters(), day).value_at_stake_minor
    coarse = np.rint(found.values[rows] / FORECAST_STEP_MINOR).astype(np.int64) * FORECAST_STEP_MINOR
    return [value if told else None for value, told in zip(coarse.tolist(), found.known[rows].tolist(), strict=True)]


def _row(record: EvaluationRecord, result: dict[str, Any] | None) -> dict[str, Any]:
    stored = {name: getattr(record, name, getattr(record, f"{name}_ms", None)) for name in _RECORD}
    return stored | {
        "state": record.state.value,
        "subject_kind": record.subject_kind.value,
        "metric": record.metric.value,
        "segments": canonical(sorted(record.segments)),
        "kinds": canonical(sorted(record.kinds)),
        "result": None if result is None else canonical(result),
        "lesson": None if result is None else LESSONS[Verdict(result.get("verdict", Verdict.NOT_MEASURED))],
    }


def _planned_ms(setting: Setting, campaigns: Sequence[Campaign]) -> IntArray:
    """In the morning."""
    starts = np.array([one.starts for one in campaigns], dtype=np.int64)
    return np.asarray(setting.now_ms + (starts - PLANNED_DAYS) * DAY_MS + 32_400_000, dtype=np.int64)


def _ids(customers: Customers, rows: IntArray) -> list[str]:
    return [customers.ids[row] for row in rows.tolist()]


def _strata(customers: Customers, rows: IntArray) -> list[str]:
    """The largest fifth stood for high value then."""
    large = customers.accounts.cadence[rows] == customers.accounts.cadence.min()
    return ["HHHH" if one else "LHHH" for one in large.tolist()]
