"""Visits: a cadence for every account, kept, missed, cancelled or aborted, and what is planned for two weeks."""

from dataclasses import dataclass, replace

import numpy as np

from backend.domain.arrays import BoolArray, FloatArray, IntArray
from backend.domain.demo.atlas import E7, shifted
from backend.domain.demo.calendar import resting, weekday
from backend.domain.demo.customers import Customers
from backend.domain.demo.frame import HOUR_MS, MINUTE_MS, PLANNED_DAYS, Setting, Table, or_none, picked
from backend.domain.demo.naming import CHAIN
from backend.domain.demo.orders import STATES, Orders
from backend.domain.demo.people import Patches
from backend.domain.orders import OrderState
from backend.domain.times import DAY_MS
from backend.domain.visits import VisitOutcome, VisitPurpose, VisitReason, VisitState, VisitVerification

PROSPECT_CADENCE_DAYS = 28
AFTER_CHURN_DAYS = 45
"""How long a rep keeps calling on an account that has stopped ordering."""
HEAD_SHARE = 0.3
"""Of a chain's visits, those at its head office; the others go to its doors."""
ORDER_REACH_DAYS = 12
"""An order taken in the field is taken on the visit nearest to it, if one was due so close."""
MISSED, CANCELLED, ABORTED = 0.053, 0.044, 0.026
"""Shares of all visits: 6, 5 and 3 for every 100 kept."""
RESCHEDULED_SHARE = 0.5
SUSPECT_SHARE, UNVERIFIED_SHARE = 0.04, 0.02
TODAY_N = 4
"""Visits each rep has on the day the world is made for."""
FULL_REPORT_DAYS = 90
SLOT_MINUTES, FIRST_SLOT_MINUTE = 60, 8 * 60 + 30
MINUTES_PLANNED = 30
_ABORTS = (VisitReason.CUSTOMER_ABSENT, VisitReason.SHOP_CLOSED, VisitReason.NO_CHECK_OUT)
_MISSES = (VisitReason.NO_TIME, VisitReason.TRAFFIC, VisitReason.WEATHER, VisitReason.ILLNESS)
_CANCELS = (VisitReason.CUSTOMER_CANCELLED, VisitReason.NOT_NEEDED, VisitReason.SHOP_CLOSED)
_OUTCOMES = (
    VisitOutcome.NO_ORDER, VisitOutcome.ORDER_EXPECTED, VisitOutcome.DISPLAY_DONE, VisitOutcome.PAYMENT_COLLECTED,
    VisitOutcome.CONTACT_MADE, VisitOutcome.ISSUE_RAISED, VisitOutcome.ISSUE_SETTLED,
)  # fmt: skip
_OUTCOME_SHARES = {
    VisitPurpose.SELL: (0.48, 0.32, 0.06, 0.04, 0.05, 0.03, 0.02),
    VisitPurpose.SERVICE: (0.2, 0.1, 0.1, 0.1, 0.1, 0.15, 0.25),
    VisitPurpose.COLLECT: (0.1, 0.1, 0.0, 0.7, 0.05, 0.05, 0.0),
    VisitPurpose.MERCH: (0.05, 0.05, 0.8, 0.0, 0.05, 0.05, 0.0),
}
_PURPOSES = tuple(VisitPurpose)
_STATES = tuple(VisitState)
_NEXT = (
    ("寄送新季画册", "下次带样衣", "确认秋冬补单数量", "跟进回款", "调整橱窗陈列"),
    ("새 시즌 룩북 보내기", "다음 방문 때 샘플 지참", "가을 추가 수량 확인", "입금 확인", "쇼윈도 진열 변경"),
)
_NOTES = (
    ("店长反映上周末客流明显增加。", "库存偏高，先消化再补。", "竞品在隔壁开了新店。", "喜欢亚麻系列，想要更多颜色。"),
    (
        "점장: 지난 주말 손님이 늘었음.",
        "재고가 많아 소진 후 발주 예정.",
        "옆 건물에 경쟁 매장 오픈.",
        "린넨 라인 색상 추가 요청.",
    ),
)


@dataclass(frozen=True, slots=True)
class _Plan:
    """(n,) visits on their way; `customer` is a row of the customer table, `origin` the missed visit or −1."""

    account: IntArray
    customer: IntArray
    day: IntArray
    state: IntArray
    ordered: BoolArray
    prospect: BoolArray
    origin: IntArray


@dataclass(frozen=True, slots=True)
class Visits:
    """The visits part, and (n,) what the summaries read: customer row and when it was completed, −1 if not."""

    table: Table
    customer: IntArray
    completed_ms: IntArray


def make_visits(setting: Setting, patches: Patches, customers: Customers, orders: Orders) -> Visits:
    """Every visit of 24 months and of the next two weeks."""
    draw = setting.stream("visits")
    plan = _with_orders(_schedule(setting, customers, draw), orders, customers)
    plan = _with_states(setting, draw, plan)
    plan = _with_rescheduled(setting, draw, plan)
    patch = customers.patch_on(plan.customer, plan.day, setting.realigned)
    rep = patches.rep_on(patch, plan.day, setting.left)
    rep = np.where(plan.origin >= 0, rep[plan.origin], rep)
    plan = replace(plan, day=_today_filled(setting, plan, rep))
    return _written(setting, patches, customers, draw, plan, rep)


def _schedule(setting: Setting, customers: Customers, draw: np.random.Generator) -> _Plan:
    """Every account's cadence through history and two weeks on, weekends and feasts avoided."""
    accounts = customers.accounts
    prospects = np.array(customers.prospects, dtype=np.int64)
    made = (customers.created_ms[prospects] - setting.now_ms) // DAY_MS + setting.as_of + 1
    alive = accounts.ends == setting.as_of
    begin = np.concatenate([accounts.starts, made])
    finish = np.concatenate(
        [
            np.where(alive, setting.as_of + PLANNED_DAYS, np.minimum(accounts.ends + AFTER_CHURN_DAYS, setting.as_of)),
            np.full(len(prospects), setting.as_of + PLANNED_DAYS),
        ]
    )
    cadence = np.concatenate([accounts.cadence, np.full(len(prospects), PROSPECT_CADENCE_DAYS)])
    phase = (draw.random(len(begin)) * cadence).astype(np.int64)
    counts = np.maximum(0, -(-(finish - begin - phase) // cadence))
    account = np.repeat(np.arange(len(begin)), counts)
    number = np.arange(len(account)) - np.repeat(np.cumsum(counts) - counts, counts)
    day = begin[account] + phase[account] + number * cadence[account] + draw.integers(-2, 3, len(account))
    day = np.maximum(day, begin[account])
    day = day + np.array([0, 0, 0, 0, 0, -1, 1])[weekday(day)]
    is_prospect = account >= len(accounts.kind)
    first_place = np.concatenate([np.arange(len(accounts.kind)), prospects])
    customer = _places(draw, customers, account, first_place)
    kept = (
        (day >= np.maximum(begin[account], setting.first))
        & (day < finish[account])
        & ~(resting(day, customers.korean[first_place[account]]) & (draw.random(len(day)) < 0.85))
    )
    n = int(kept.sum())
    return _Plan(
        account=account[kept],
        customer=customer[kept],
        day=day[kept],
        state=np.zeros(n, dtype=np.int64),
        ordered=np.zeros(n, dtype=np.bool_),
        prospect=is_prospect[kept],
        origin=np.full(n, -1),
    )


def _places(draw: np.random.Generator, customers: Customers, account: IntArray, first_place: IntArray) -> IntArray:
    """(n,) the customer row visited: a chain's head or one of its doors."""
    counts = np.ones(len(first_place), dtype=np.int64)
    counts[: len(customers.accounts.places)] = [len(places) for places in customers.accounts.places]
    flat = np.array(
        [*(row for places in customers.accounts.places for row in places), *customers.prospects], dtype=np.int64
    )
    first = np.cumsum(counts) - counts
    at_door = (draw.random(len(account)) >= HEAD_SHARE) & (counts[account] > 1)
    door = 1 + (draw.random(len(account)) * (counts[account] - 1)).astype(np.int64)
    return np.asarray(flat[first[account] + np.where(at_door, door, 0)], dtype=np.int64)


def _with_orders(plan: _Plan, orders: Orders, customers: Customers) -> _Plan:
    """Orders taken in the field are taken on a visit: the nearest one of the account moves to that day."""
    taken = (orders.source == 0) & (orders.state != STATES.index(OrderState.DRAFT))
    order = np.lexsort((plan.day, plan.account))
    span = 1_000_000
    keys = plan.account[order] * span + plan.day[order]
    wanted = orders.account[taken] * span + orders.day[taken]
    if not len(keys):
        return plan
    after = np.clip(np.searchsorted(keys, wanted), 0, len(keys) - 1)
    before = np.clip(after - 1, 0, len(keys) - 1)
    nearest = np.where(np.abs(keys[after] - wanted) <= np.abs(keys[before] - wanted), after, before)
    close = np.abs(keys[nearest] - wanted) <= ORDER_REACH_DAYS
    rows, days = order[nearest[close]], orders.day[taken][close]
    day, customer, ordered = plan.day.copy(), plan.customer.copy(), plan.ordered.copy()
    day[rows], customer[rows], ordered[rows] = days, orders.account[taken][close], True
    return replace(plan, day=day, customer=customer, ordered=ordered)


def _with_states(setting: Setting, draw: np.random.Generator, plan: _Plan) -> _Plan:
    n = len(plan.day)
    fate, sure = draw.random(n), draw.random(n) < 0.5
    to_come = plan.day >= setting.as_of
    soon = plan.day < setting.as_of + 4
    state = np.select(
        [
            to_come & soon & sure,
            to_come,
            plan.ordered,
            fate < MISSED,
            fate < MISSED + CANCELLED,
            fate < MISSED + CANCELLED + ABORTED,
        ],
        [
            _STATES.index(one)
            for one in (
                VisitState.CONFIRMED,
                VisitState.PLANNED,
                VisitState.COMPLETED,
                VisitState.MISSED,
                VisitState.CANCELLED,
                VisitState.ABORTED,
            )
        ],
        default=_STATES.index(VisitState.COMPLETED),
    )
    return replace(plan, state=np.asarray(state, dtype=np.int64))


def _with_rescheduled(setting: Setting, draw: np.random.Generator, plan: _Plan) -> _Plan:
    """Half of the missed visits were made good a few days later, by a visit that names the missed one."""
    again = (plan.state == _STATES.index(VisitState.MISSED)) & (draw.random(len(plan.day)) < RESCHEDULED_SHARE)
    later = plan.day + 1 + draw.integers(0, 4, len(plan.day))
    later = later + np.array([0, 0, 0, 0, 0, 2, 1])[weekday(later)]
    rows = np.flatnonzero(again & (later < setting.as_of))
    return _Plan(
        account=np.concatenate([plan.account, plan.account[rows]]),
        customer=np.concatenate([plan.customer, plan.customer[rows]]),
        day=np.concatenate([plan.day, later[rows]]),
        state=np.concatenate([plan.state, np.full(len(rows), _STATES.index(VisitState.COMPLETED))]),
        ordered=np.concatenate([plan.ordered, np.zeros(len(rows), dtype=np.bool_)]),
        prospect=np.concatenate([plan.prospect, plan.prospect[rows]]),
        origin=np.concatenate([plan.origin, rows]),
    )


def _today_filled(setting: Setting, plan: _Plan, rep: IntArray) -> IntArray:
    """(n,) days: each rep's next visits are due today, whatever day of the week it is."""
    to_come = np.flatnonzero(plan.day >= setting.as_of)
    order = to_come[np.lexsort((plan.day[to_come], rep[to_come]))]
    day = plan.day.copy()
    day[order[_ranks(rep[order]) < TODAY_N]] = setting.as_of
    return day


def _ranks(groups: IntArray) -> IntArray:
    """(n,) the place of each row within its group; equal groups stand together."""
    if not len(groups):
        return np.zeros(0, dtype=np.int64)
    starts = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]]))
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))


def _slots(draw: np.random.Generator, plan: _Plan, rep: IntArray) -> IntArray:
    """(n,) minute of the day a visit is planned at: a rep's visits of one day follow each other."""
    order = np.lexsort((draw.random(len(rep)), plan.day, rep))
    rank = np.zeros(len(rep), dtype=np.int64)
    rank[order] = _ranks(rep[order] * 1_000_000 + plan.day[order])
    return FIRST_SLOT_MINUTE + SLOT_MINUTES * rank + draw.integers(0, 15, len(rep))


def _purposes(draw: np.random.Generator, customers: Customers, plan: _Plan) -> IntArray:
    accounts_n = len(customers.accounts.kind)
    of_chain = customers.accounts.kind[np.minimum(plan.account, accounts_n - 1)] == CHAIN
    door = ~plan.prospect & of_chain & (plan.customer != plan.account)
    pick = draw.random(len(plan.day))
    chosen = np.select(
        [plan.prospect, plan.ordered, door, pick < 0.1, pick < 0.17],
        [
            _PURPOSES.index(one)
            for one in (
                VisitPurpose.PROSPECT,
                VisitPurpose.SELL,
                VisitPurpose.MERCH,
                VisitPurpose.SERVICE,
                VisitPurpose.COLLECT,
            )
        ],
        default=_PURPOSES.index(VisitPurpose.SELL),
    )
    # the visit made good is for what the missed one was for
    return np.where(plan.origin >= 0, chosen[plan.origin], chosen)


def _outcomes(draw: np.random.Generator, plan: _Plan, purpose: IntArray) -> list[str | None]:
    n = len(purpose)
    pick = draw.random(n)
    found = np.full(n, "", dtype=object)
    for one, shares in _OUTCOME_SHARES.items():
        rows = np.flatnonzero(purpose == _PURPOSES.index(one))
        places = np.searchsorted(np.cumsum(shares[:-1]), pick[rows], side="right")
        found[rows] = [_OUTCOMES[place].value for place in places.tolist()]
    prospect = np.where(pick < 0.7, VisitOutcome.CONTACT_MADE.value, VisitOutcome.NOT_INTERESTED.value)
    found = np.where(plan.prospect, prospect, found)
    found = np.where(plan.ordered, VisitOutcome.ORDER_TAKEN.value, found)
    return or_none([str(one) for one in found.tolist()], plan.state == _STATES.index(VisitState.COMPLETED))


def _reasons(draw: np.random.Generator, state: IntArray) -> list[str | None]:
    pick = draw.random(len(state)).tolist()
    lists = {
        _STATES.index(VisitState.MISSED): _MISSES,
        _STATES.index(VisitState.CANCELLED): _CANCELS,
        _STATES.index(VisitState.ABORTED): _ABORTS,
    }
    return [
        lists[at][int(u * len(lists[at]))].value if at in lists else None
        for at, u in zip(state.tolist(), pick, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Proof:
    """(n,) where a rep stood at check-in, and what that proves."""

    lat_e7: IntArray
    lon_e7: IntArray
    accuracy_m: IntArray
    fix_age_s: IntArray
    verification: list[str]


def _proof(draw: np.random.Generator, customers: Customers, plan: _Plan, been: BoolArray) -> _Proof:
    n = len(plan.day)
    kind = draw.random(n)
    suspect, stale = kind < SUSPECT_SHARE, kind > 1 - UNVERIFIED_SHARE
    away_m: FloatArray = np.where(suspect, draw.uniform(900, 3_000, n), np.minimum(95, draw.exponential(25, n)))
    angle = draw.uniform(0, 2 * np.pi, n)
    lat_e7, lon_e7 = shifted(
        customers.lat_e7[plan.customer] / E7,
        customers.lon_e7[plan.customer] / E7,
        away_m / 1_000 * np.sin(angle),
        away_m / 1_000 * np.cos(angle),
    )
    proves = np.where(suspect, VisitVerification.SUSPECT.value, VisitVerification.VERIFIED.value)
    proves = np.where(stale | ~been, VisitVerification.UNVERIFIED.value, proves)
    return _Proof(
        lat_e7,
        lon_e7,
        draw.integers(4, 45, n),
        np.where(stale, draw.integers(400, 3_000, n), draw.integers(0, 40, n)),
        [str(one) for one in proves.tolist()],
    )


def _remarks(draw: np.random.Generator, lists: tuple[tuple[str, ...], ...], korean: IntArray) -> list[str]:
    return [
        lists[script][int(u * len(lists[script]))]
        for script, u in zip(korean.tolist(), draw.random(len(korean)).tolist(), strict=True)
    ]


def _written(
    setting: Setting, patches: Patches, customers: Customers, draw: np.random.Generator, plan: _Plan, rep: IntArray
) -> Visits:
    n = len(plan.day)
    offset = patches.offset_ms[customers.patch[plan.customer]]
    planned_ms = plan.day * DAY_MS - offset + _slots(draw, plan, rep) * MINUTE_MS
    in_ms = planned_ms + draw.integers(-4, 10, n) * MINUTE_MS + draw.integers(0, 60_000, n)
    out_ms = in_ms + draw.integers(12, 30, n) * MINUTE_MS
    been = np.isin(plan.state, (_STATES.index(VisitState.COMPLETED), _STATES.index(VisitState.ABORTED)))
    done = plan.state == _STATES.index(VisitState.COMPLETED)
    ahead_ms = HOUR_MS * 20 + (draw.random(n) * 9 * DAY_MS).astype(np.int64)
    made_ms = np.minimum(planned_ms - ahead_ms, setting.now_ms - HOUR_MS * 7)
    origin_ms = planned_ms[plan.origin] + HOUR_MS * 8
    made_ms = np.where(plan.origin >= 0, np.minimum(origin_ms, planned_ms - HOUR_MS), made_ms)
    ids = setting.ids("visit", made_ms)
    proof = _proof(draw, customers, plan, been)
    purpose = _purposes(draw, customers, plan)
    korean = customers.korean[plan.customer]
    recent = done & (plan.day >= setting.as_of - FULL_REPORT_DAYS)
    rep_ids = picked(patches.rep_ids, rep)
    table = Table(
        "visit",
        {
            "id": ids,
            "customer_id": picked(customers.ids, plan.customer),
            "rep_id": rep_ids,
            "territory_id": picked(patches.ids, customers.patch[plan.customer]),
            "state": [_STATES[at].value for at in plan.state.tolist()],
            "purpose": [_PURPOSES[at].value for at in purpose.tolist()],
            "planned_at": planned_ms.tolist(),
            "check_in_at": or_none(in_ms.tolist(), been),
            "check_in_lat_e7": or_none(proof.lat_e7.tolist(), been),
            "check_in_lon_e7": or_none(proof.lon_e7.tolist(), been),
            "check_in_accuracy_m": or_none(proof.accuracy_m.tolist(), been),
            "check_in_fix_age_s": or_none(proof.fix_age_s.tolist(), been),
            "check_out_at": or_none(out_ms.tolist(), done),
            "check_out_lat_e7": or_none(proof.lat_e7.tolist(), done),
            "check_out_lon_e7": or_none(proof.lon_e7.tolist(), done),
            "verification": proof.verification,
            "outcome": _outcomes(draw, plan, purpose),
            "next_step": or_none(_remarks(draw, _NEXT, korean), recent),
            "reason": _reasons(draw, plan.state),
            "minutes_planned": [MINUTES_PLANNED] * n,
            "rescheduled_from_id": [ids[one] if one >= 0 else None for one in plan.origin.tolist()],
            "notes": or_none(_remarks(draw, _NOTES, korean), recent & (draw.random(n) < 0.6)),
            "happens_at": np.where(been, in_ms, planned_ms).tolist(),
            "created_at": made_ms.tolist(),
            "created_by": rep_ids,
        },
    )
    return Visits(table, plan.customer, np.where(done, in_ms, -1))
