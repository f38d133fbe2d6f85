"""What the demo company's customers say: on visits, once a year, of styles; and what they complain of.

Behind it stands one hidden happiness per account, so that answers, stars and complaints agree. The chain of the first
story grows unhappy as it orders less; the boutique of the second is delighted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.domain.arrays import FloatArray, IntArray
from backend.domain.cases import HOUR_MS, RESOLVE_HOURS, CaseKind, CaseState
from backend.domain.demo.customers import RISING, SLIPPING, Customers
from backend.domain.demo.forms import REVIEW_KEY, VISIT_KEY, YEARLY_KEY, visit_anew_ms
from backend.domain.demo.frame import Setting, Table, canonical, or_none, picked
from backend.domain.demo.orders import Orders, sold
from backend.domain.demo.people import Patches
from backend.domain.demo.visits import Visits
from backend.domain.forms import Measured
from backend.domain.times import DAY_MS

CURRENCIES = ("CNY", "KRW", "USD")
VISITS_ASKED = 0.07
"""Share of the kept visits of a year on which somebody is asked."""
GRUMBLING_ASKED = 0.5
"""The same of customers who have something to complain of; who has nothing is asked less often."""
CONTENT_ASKED = 0.1
"""Of the visits on which others are asked."""
REVIEWS_PER_ACCOUNT = 340 / 720
CASES_PER_ACCOUNT = 1_100 / 720
WORDS = (
    ("尺码偏小，退换较多。", "사이즈가 작아 반품이 많습니다.", 0.35),
    ("交货比约定晚了一周。", "약속보다 일주일 늦게 도착했습니다.", 0.45),
    ("新款卖得不错。", "신상품이 잘 팔립니다.", 1.01),
)
_SUBJECTS = ("尺码与订单不符", "包装破损", "延迟交货", "色差", "사이즈 오류", "포장 파손", "납기 지연", "색상 차이")


@dataclass(frozen=True, slots=True)
class Said:
    """(m,) answers before they are rows; `measures`: (measure, question, value, currency)."""

    form: list[str]
    customer: list[int]
    at_ms: list[int]
    values: list[dict[str, Any]]
    measures: list[list[tuple[Measured, str, int, str | None]]]
    visit: list[str | None]
    style: list[str | None]
    by: list[str]

    @classmethod
    def nothing(cls) -> "Said":
        return cls([], [], [], [], [], [], [], [])

    def add(
        self,
        form: str,
        customer: int,
        at_ms: int,
        values: dict[str, Any],
        measures: list[tuple[Measured, str, int, str | None]],
        *,
        by: str,
        visit: str | None = None,
        style: str | None = None,
    ) -> None:
        self.form.append(form)
        self.customer.append(customer)
        self.at_ms.append(at_ms)
        self.values.append(values)
        self.measures.append(measures)
        self.visit.append(visit)
        self.style.append(style)
        self.by.append(by)


def happiness(setting: Setting, customers: Customers) -> FloatArray:
    """(a,) how happy each account is, 0..1, when nothing changes."""
    draw = setting.stream("happiness")
    found = np.clip(draw.normal(0.62, 0.26, len(customers.accounts.kind)), 0.02, 0.98)
    own = customers.accounts.characters.mood
    found = np.where(np.isnan(own), found, own)
    if (rising := customers.accounts.stories.get(RISING)) is not None:
        found[rising] = 0.96
    if (slipping := customers.accounts.stories.get(SLIPPING)) is not None:
        found[slipping] = 0.9
    return np.asarray(found)


def make_answers(
    setting: Setting,
    patches: Patches,
    customers: Customers,
    orders: Orders,
    visits: Visits,
    forms: Table,
    style_ids: Sequence[str],
) -> tuple[Table, Table]:
    """(answers, what they measure)."""
    form_of = {
        (key, version): form_id
        for form_id, key, version in zip(
            forms.columns["id"], forms.columns["key"], forms.columns["version"], strict=True
        )
    }
    mood, draw = happiness(setting, customers), setting.stream("answers")
    said = Said.nothing()
    _on_visits(setting, customers, visits, mood, draw, form_of, said)
    _of_the_year(setting, patches, customers, orders, draw, form_of[YEARLY_KEY, 1], said)
    _reviews(setting, patches, customers, mood, draw, form_of[REVIEW_KEY, 1], style_ids, said)
    return _written(setting, patches, customers, said)


def _mood_at(customers: Customers, mood: FloatArray, account: int, age_days: float) -> float:
    """The slipping chain was happy a year ago and is no more."""
    if account == customers.accounts.stories.get(SLIPPING):
        return float(np.clip(0.1 + 0.8 * (age_days / 400.0), 0.1, 0.9))
    return float(mood[account])


def _words(korean: bool, mood: float) -> str:
    zh, ko, _ = next(one for one in WORDS if mood < one[2])
    return ko if korean else zh


def _on_visits(
    setting: Setting,
    customers: Customers,
    visits: Visits,
    mood: FloatArray,
    draw: np.random.Generator,
    form_of: Mapping[tuple[str, int], str],
    said: Said,
) -> None:
    accounts_n = len(customers.accounts.kind)
    recent = (visits.completed_ms > setting.now_ms - 365 * DAY_MS) & (visits.customer < accounts_n)
    asked = draw.random(len(visits.customer)) < VISITS_ASKED
    told = {customers.accounts.stories.get(one) for one in (SLIPPING, RISING)} - {None}
    asked |= np.isin(visits.customer, [row for row in told if row is not None])
    own = customers.accounts.characters
    heard = setting.stream("answers of characters").random(len(visits.customer))
    asked |= (heard < GRUMBLING_ASKED) & np.isin(visits.customer, np.flatnonzero(own.grumbling))
    asked &= (heard < CONTENT_ASKED) | ~np.isin(visits.customer, np.flatnonzero(own.drawn & ~own.grumbling))
    anew, noise = visit_anew_ms(setting), draw.normal(0.0, 0.12, (len(visits.customer), 2))
    ids, reps = visits.table.columns["id"], visits.table.columns["rep_id"]
    for row in np.flatnonzero(recent & asked).tolist():
        account, at_ms = int(visits.customer[row]), int(visits.completed_ms[row])
        now = _mood_at(customers, mood, account, (setting.now_ms - at_ms) / DAY_MS)
        csat = int(np.clip(np.rint(1 + 4 * (now + noise[row, 0])), 1, 5))
        values: dict[str, Any] = {"happy": csat}
        measures: list[tuple[Measured, str, int, str | None]] = [(Measured.CSAT, "happy", csat, None)]
        if at_ms > anew and row % 3:
            nps = int(np.clip(np.rint(10 * (now + 0.1 + noise[row, 1])), 0, 10))
            values |= {"recommend": nps, "reason": ("FIT", "PRICE", "DELIVERY", "DESIGN")[row % 4]}
            measures.append((Measured.NPS, "recommend", nps, None))
        if row % 5 == 0:
            values["words"] = _words(bool(customers.korean[account]), now)
        version = 2 if at_ms > anew else 1
        said.add(form_of[VISIT_KEY, version], account, at_ms, values, measures, by=reps[row], visit=ids[row])


def _of_the_year(
    setting: Setting,
    patches: Patches,
    customers: Customers,
    orders: Orders,
    draw: np.random.Generator,
    form_id: str,
    said: Said,
) -> None:
    """A third say which share of their buying is ours, or what they spend."""
    accounts = customers.accounts
    n = len(accounts.kind)
    counted = sold(orders) & (orders.day > setting.as_of - 365)
    sales = np.bincount(orders.account[counted], orders.total_minor[counted], minlength=n)
    share = np.clip(draw.beta(2.0, 2.4, n), 0.03, 0.97)
    asked, amount = draw.random(n) < 0.35, draw.random(n) < 0.4
    ages, referred = draw.integers(1, 300, n), draw.poisson(0.6, n)
    for row in np.flatnonzero(asked & (sales > 0) & (accounts.ends == setting.as_of)).tolist():
        values: dict[str, Any] = {}
        measures: list[tuple[Measured, str, int, str | None]] = []
        if amount[row]:
            currency = CURRENCIES[int(accounts.currency[row])]
            budget = round(sales[row] / share[row], -4)
            values["budget"] = {"amountMinor": int(budget), "currency": currency}
            measures.append((Measured.WALLET_BUDGET, "budget", int(budget), currency))
        else:
            per_cent = int(np.rint(100 * share[row]))
            values["share"] = per_cent
            measures.append((Measured.WALLET_SHARE, "share", per_cent, None))
        if row % 2:
            values["referred"] = int(referred[row])
            measures.append((Measured.REFERRALS, "referred", int(referred[row]), None))
        at_ms = setting.now_ms - int(ages[row]) * DAY_MS + 9 * HOUR_MS
        said.add(form_id, row, at_ms, values, measures, by=_rep_of(patches, customers, row))


def _reviews(
    setting: Setting,
    patches: Patches,
    customers: Customers,
    mood: FloatArray,
    draw: np.random.Generator,
    form_id: str,
    style_ids: Sequence[str],
    said: Said,
) -> None:
    n = len(mood)
    count = round(REVIEWS_PER_ACCOUNT * n)
    account, ages = draw.integers(0, n, count), draw.integers(1, 365, count)
    of_style, style = draw.random(count) < 0.6, draw.integers(0, len(style_ids), count)
    noise = draw.normal(0.0, 0.2, count)
    for row in range(count):
        who = int(account[row])
        now = _mood_at(customers, mood, who, float(ages[row]))
        stars = int(np.clip(np.rint(1 + 4 * (now + noise[row])), 1, 5))
        values = {"stars": stars, "words": _words(bool(customers.korean[who]), stars / 5.0)}
        said.add(
            form_id,
            who,
            setting.now_ms - int(ages[row]) * DAY_MS + 10 * HOUR_MS,
            values,
            [(Measured.REVIEW, "stars", stars, None)],
            by=_rep_of(patches, customers, who),
            style=style_ids[int(style[row])] if of_style[row] else None,
        )


def _rep_of(patches: Patches, customers: Customers, customer: int) -> str:
    return patches.rep_ids[int(patches.rep[customers.patch[customer]])]


def _written(setting: Setting, patches: Patches, customers: Customers, said: Said) -> tuple[Table, Table]:
    order = sorted(range(len(said.form)), key=lambda row: (said.at_ms[row], said.customer[row], said.form[row]))
    at_ms = np.array([said.at_ms[row] for row in order], dtype=np.int64)
    ids = setting.ids("answer", at_ms)
    customer = [said.customer[row] for row in order]
    answers = Table(
        "answer",
        {
            "id": ids,
            "form_id": [said.form[row] for row in order],
            "customer_id": [customers.ids[row] for row in customer],
            "visit_id": [said.visit[row] for row in order],
            "contact_id": [None] * len(order),
            "style_id": [said.style[row] for row in order],
            "corrects_id": [None] * len(order),
            "root_id": ids,
            "territory_id": _territories(patches, customers, customer),
            "said": [canonical(said.values[row]) for row in order],
            "answered_at": at_ms.tolist(),
            "created_at": at_ms.tolist(),
            "created_by": [said.by[row] for row in order],
        },
    )
    rows = [
        (ids[place], position, *measure)
        for place, row in enumerate(order)
        for position, measure in enumerate(said.measures[row])
    ]
    made = np.repeat(at_ms, [len(said.measures[row]) for row in order])
    measures = Table(
        "answer_measure",
        {
            "id": setting.ids("answer_measure", made),
            "answer_id": [row[0] for row in rows],
            "position": [row[1] for row in rows],
            "measure": [row[2].value for row in rows],
            "question": [row[3] for row in rows],
            "value": [row[4] for row in rows],
            "currency": [row[5] for row in rows],
        },
    )
    return answers, measures


def _territories(patches: Patches, customers: Customers, rows: Sequence[int]) -> list[str | None]:
    return [patches.ids[int(patch)] if (patch := customers.patch[row]) >= 0 else None for row in rows]


def make_cases(setting: Setting, patches: Patches, customers: Customers, agents: Sequence[str]) -> Table:
    """Complaints of two years, more of those who are unhappy; one in eleven settled late, some still open."""
    mood, draw = happiness(setting, customers), setting.stream("cases")
    n = round(CASES_PER_ACCOUNT * len(mood))
    # who turns away unhappy says so before
    alive = (customers.accounts.ends == setting.as_of) | customers.accounts.characters.grumbling
    weight = (1.05 - mood) * np.where(alive, 1.0, 0.2)
    account = draw.choice(len(mood), n, p=weight / weight.sum())
    age_ms = (draw.random(n) * 700 * DAY_MS).astype(np.int64) + HOUR_MS
    priority = np.array(["P1", "P2", "P3", "P4"])[draw.choice(4, n, p=[0.04, 0.16, 0.5, 0.3])]
    allowed = np.array([RESOLVE_HOURS[str(one)] for one in priority]) * HOUR_MS
    took = (allowed * np.exp(draw.normal(-1.0, 0.75, n))).astype(np.int64)
    stuck = draw.random(n) < 0.03
    age_ms = np.where(stuck, (draw.random(n) * 20 * DAY_MS).astype(np.int64) + HOUR_MS, age_ms)
    if (slipping := customers.accounts.stories.get(SLIPPING)) is not None:
        account[:2], priority[:2], stuck[:2] = slipping, "P3", [True, False]
        age_ms[:2], took[:2], allowed[:2] = [12 * DAY_MS, 60 * DAY_MS], 9 * DAY_MS, 168 * HOUR_MS
    if (rising := customers.accounts.stories.get(RISING)) is not None:
        account[account == rising] = (rising + 1) % len(mood)
    opened = setting.now_ms - age_ms
    is_open = stuck | (took >= age_ms)
    resolved = opened + took
    is_new = is_open & (age_ms < DAY_MS)
    closed = ~is_open & (setting.now_ms - resolved > 7 * DAY_MS)
    return _case_table(setting, patches, customers, agents, _Cases(account, opened, priority, allowed, resolved,
                                                                   is_open, is_new, closed), draw)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Cases:
    """(n,) complaints before they are rows."""

    account: IntArray
    opened: IntArray
    priority: np.typing.NDArray[np.str_]
    allowed: IntArray
    resolved: IntArray
    is_open: np.typing.NDArray[np.bool_]
    is_new: np.typing.NDArray[np.bool_]
    closed: np.typing.NDArray[np.bool_]


def _case_table(
    setting: Setting,
    patches: Patches,
    customers: Customers,
    agents: Sequence[str],
    cases: _Cases,
    draw: np.random.Generator,
) -> Table:
    n = len(cases.account)
    rows = cases.account.tolist()
    reopened = (draw.random(n) < 0.03) & ~cases.is_new
    agent = picked(list(agents), draw.integers(0, len(agents), n))
    subject = draw.integers(0, 4, n) + 4 * np.array([int(customers.korean[row]) for row in rows])
    state = np.where(
        cases.is_new,
        CaseState.NEW.value,
        np.where(
            cases.is_open,
            CaseState.IN_PROGRESS.value,
            np.where(cases.closed, CaseState.CLOSED.value, CaseState.RESOLVED.value),
        ),
    )
    due = cases.opened + cases.allowed
    return Table(
        "service_case",
        {
            "id": setting.ids("service_case", cases.opened),
            "kind": [CaseKind.COMPLAINT.value] * n,
            "customer_id": [customers.ids[row] for row in rows],
            "contact_id": [None] * n,
            "visit_id": [None] * n,
            "order_id": [None] * n,
            "style_id": [None] * n,
            "territory_id": _territories(patches, customers, rows),
            "subject": picked(list(_SUBJECTS), subject),
            "notes": [None] * n,
            "priority": cases.priority.tolist(),
            "state": state.tolist(),
            "escalated": [False] * n,
            "assignee_id": or_none(agent, ~cases.is_new),
            "resolution": or_none(["换货并补发。"] * n, ~cases.is_open),
            "opened_at": cases.opened.tolist(),
            "due_at": due.tolist(),
            "waiting_since": [None] * n,
            "resolved_at": or_none(cases.resolved.tolist(), ~cases.is_open),
            "late": (~cases.is_open & (cases.resolved > due)).tolist(),
            "reopened_times": reopened.astype(np.int64).tolist(),
            "created_at": cases.opened.tolist(),
            "created_by": [_rep_of(patches, customers, row) for row in rows],
        },
    )
