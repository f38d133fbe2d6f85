"""What customers told us, as the columns that satisfaction, loyalty and the next questions are made of.

A source nobody ever used stays unrecorded: without an answer to a measure in the whole organisation that part is
missing, and without a case ever opened there is no knowing of complaints. Where a source is used, silence is silence:
no complaint is .5, not 1. *Source*: R34, R43, R48, R52.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backend.domain.arrays import BASIS_POINTS, Basis, BoolArray, FloatArray, IntArray, IntColumn, Measure
from backend.domain.forms import RATING_MOST, Measured
from backend.domain.history import HistoryColumns
from backend.domain.questions import ANSWERED_BY, AskedFact
from backend.domain.satisfaction import SEVERE_FROM, Answers, Complaints, SatisfactionInputs
from backend.domain.times import day_from_number

MEASURED = tuple(Measured)
WALLET_VALID_DAYS = 730
"""An older word about a budget says nothing of this year's."""
COMPLAINTS_DAYS = 365
EVIDENCE_MAX = 5
"""Records named beside a measure, the latest first."""


@dataclass(frozen=True, slots=True)
class Told:
    """Measurements that stand, one row each: none that was corrected, none of the future.

    `customer` (m,) row; `measure` (m,) place in `MEASURED`; `day` (m,) since 1970-01-01; `value` (m,) as asked, amounts
    in minor units of the reporting currency; `of_style` (m,) the answer was about a style; `ids` (m,) of the answers.
    """

    customer: IntArray
    measure: IntArray
    day: IntArray
    value: IntArray
    of_style: BoolArray
    ids: Sequence[str]

    @classmethod
    def nothing(cls) -> "Told":
        none = np.zeros(0, dtype=np.int64)
        return cls(none, none, none, none, np.zeros(0, dtype=np.bool_), ())


@dataclass(frozen=True, slots=True)
class CaseRows:
    """Complaints heard by the day, one row each.

    `customer` (m,) row; `severity` (m,) 0..1; `opened` (m,) day; `is_open` (m,); `age_share` (m,) age over the agreed
    time; `late`, `reopened` (m,); `ids` (m,).
    """

    customer: IntArray
    severity: FloatArray
    opened: IntArray
    is_open: BoolArray
    age_share: FloatArray
    late: BoolArray
    reopened: BoolArray
    ids: Sequence[str]

    @classmethod
    def nothing(cls) -> "CaseRows":
        none, no = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_)
        return cls(none, np.zeros(0), none, no, np.zeros(0), no, no, ())


@dataclass(frozen=True, slots=True)
class Feedback:
    """All that was told. `cases_recorded`: somebody in the organisation has opened a case by then."""

    told: Told
    cases: CaseRows
    cases_recorded: bool = False

    @classmethod
    def nothing(cls) -> "Feedback":
        return cls(Told.nothing(), CaseRows.nothing())


def only_of(feedback: Feedback, kept: BoolArray) -> Feedback:
    """The rows of the customers kept, numbered as those are without the others. `kept`: (n,)."""
    number = np.cumsum(kept) - 1
    told, cases = feedback.told, feedback.cases
    rows, heard = kept[told.customer], kept[cases.customer]
    return replace(
        feedback,
        told=Told(
            number[told.customer[rows]],
            told.measure[rows],
            told.day[rows],
            told.value[rows],
            told.of_style[rows],
            _texts(told.ids, rows),
        ),
        cases=CaseRows(
            number[cases.customer[heard]],
            cases.severity[heard],
            cases.opened[heard],
            cases.is_open[heard],
            cases.age_share[heard],
            cases.late[heard],
            cases.reopened[heard],
            _texts(cases.ids, heard),
        ),
    )


def satisfaction_inputs(feedback: Feedback, as_of_day: int) -> SatisfactionInputs:
    """The parts of satisfaction that were recorded. A review of our service is an answer to how happy somebody is; one
    of a style is about goods, and stays out."""
    told = feedback.told
    happy = _is(told, Measured.CSAT) | (_is(told, Measured.REVIEW) & ~told.of_style)
    recommend = _is(told, Measured.NPS)
    return SatisfactionInputs(
        csat=_answers(told, happy, lambda stars: (stars - 1.0) / (RATING_MOST - 1.0)),
        nps=_answers(told, recommend, lambda score: score),
        complaints=complaints(feedback, as_of_day),
    )


def complaints(feedback: Feedback, as_of_day: int) -> Complaints | None:
    """Those of the trailing year, and older ones still open; None where nobody ever opened a case."""
    if not feedback.cases_recorded:
        return None
    cases = feedback.cases
    rows = cases.is_open | (cases.opened > as_of_day - COMPLAINTS_DAYS)
    return Complaints(
        cases.customer[rows],
        cases.severity[rows],
        cases.is_open[rows],
        np.where(cases.is_open, cases.age_share, 0.0)[rows],
        cases.late[rows],
        cases.reopened[rows],
    )


def severe_cases_n(feedback: Feedback, customers_n: int) -> IntColumn | None:
    """(n,) open severe complaints; None where nobody ever opened a case: none heard is not none there."""
    if not feedback.cases_recorded:
        return None
    cases = feedback.cases
    severe = cases.is_open & (cases.severity >= SEVERE_FROM)
    return IntColumn.full(np.bincount(cases.customer[severe], minlength=customers_n))


def wallet_year_minor(feedback: Feedback, history: HistoryColumns, as_of_day: int) -> IntColumn | None:
    """(n,) yearly budget for goods like ours, by the customer's latest word of two years, else not known.

    Who told a share of it has a budget of our sales of a year over that share; a share of nothing, or without sales,
    says no budget.
    """
    told, n = feedback.told, len(history)
    fresh = told.day > as_of_day - WALLET_VALID_DAYS
    rows = np.flatnonzero((_is(told, Measured.WALLET_BUDGET) | _is(told, Measured.WALLET_SHARE)) & fresh)
    if rows.size == 0:
        return None
    latest = _latest(told, rows, n)
    has = latest >= 0
    at = np.where(has, latest, rows[0])
    is_share = has & (told.measure[at] == MEASURED.index(Measured.WALLET_SHARE))
    sales = history.quarter_revenue_minor[:, :4].sum(axis=1).astype(np.float64)
    share = told.value[at] / 100.0
    budget = np.where(has & ~is_share, told.value[at].astype(np.float64), np.nan)
    np.divide(sales, share, out=budget, where=is_share & (share > 0) & (sales > 0))
    return IntColumn.rounded(np.where(budget > 0, budget, np.nan))


def referrals_n(feedback: Feedback, customers_n: int) -> IntColumn | None:
    """(n,) others the customer has brought us by its latest word; None where nobody was ever asked."""
    rows = np.flatnonzero(_is(feedback.told, Measured.REFERRALS))
    if rows.size == 0:
        return None
    latest = _latest(feedback.told, rows, customers_n)
    has = latest >= 0
    return IntColumn(np.where(has, feedback.told.value[np.where(has, latest, rows[0])], 0), has)


def fact_ages(feedback: Feedback, customers_n: int, as_of_day: int) -> dict[AskedFact, IntColumn]:
    """(n,) days since each fact was last told; a review of our service tells what CSAT tells."""
    told, found = feedback.told, {}
    for fact, measures in ANSWERED_BY.items():
        rows = np.isin(told.measure, [MEASURED.index(one) for one in measures])
        if fact is AskedFact.CSAT:
            rows = rows | (_is(told, Measured.REVIEW) & ~told.of_style)
        last = np.full(customers_n, np.iinfo(np.int64).min)
        np.maximum.at(last, told.customer[rows], told.day[rows])
        known = last > np.iinfo(np.int64).min
        found[fact] = IntColumn(np.where(known, as_of_day - last, 0), known)
    return found


@dataclass(frozen=True, slots=True)
class Proof:
    """The measures customers tell us by name, and what they rest on: name → customer row → the records."""

    parts: Mapping[str, Measure]
    behind: Mapping[str, Mapping[int, Mapping[str, Any]]]


def proof_of(feedback: Feedback, satisfaction: Mapping[str, Measure], wallet: Measure) -> Proof:
    """csat, nps, resolution and wallet with the answers and complaints behind each."""
    told, cases = feedback.told, feedback.cases
    of_answers = {
        "csat": _is(told, Measured.CSAT) | (_is(told, Measured.REVIEW) & ~told.of_style),
        "nps": _is(told, Measured.NPS),
        "wallet": _is(told, Measured.WALLET_BUDGET) | _is(told, Measured.WALLET_SHARE),
    }
    behind = {name: _by_customer(told.customer, told.day, told.ids, rows) for name, rows in of_answers.items()}
    every = np.ones(cases.customer.shape, dtype=np.bool_)
    behind["resolution"] = _by_customer(cases.customer, cases.opened, cases.ids, every)
    return Proof({**{name: satisfaction[name] for name in ("csat", "nps", "resolution")}, "wallet": wallet}, behind)


def measure_documents(proof: Proof, rows: Sequence[int]) -> list[dict[str, Any]]:
    """The measures of some customers: value and confidence in basis points, basis, and the records they rest on.

    What was not recorded is there with its basis and without a value: a zero would be a fact.
    """
    at = np.asarray(rows, dtype=np.int64)
    columns = {
        name: (
            IntColumn.rounded(part.value[at], BASIS_POINTS).tolist(),
            IntColumn.rounded(part.confidence[at], BASIS_POINTS).tolist(),
            part.basis[at].tolist(),
        )
        for name, part in proof.parts.items()
    }
    return [
        {
            name: {
                "valueBp": values[place],
                "confidenceBp": sure[place],
                "basis": Basis(basis[place]).name,
                **proof.behind[name].get(row, _NOTHING_BEHIND),
            }
            for name, (values, sure, basis) in columns.items()
        }
        for place, row in enumerate(rows)
    ]


_NOTHING_BEHIND: Mapping[str, Any] = {"rows": 0, "from": None, "until": None, "evidence": []}


def _by_customer(customer: IntArray, day: IntArray, ids: Sequence[str], rows: BoolArray) -> dict[int, dict[str, Any]]:
    """Customer row → how many records, from when until when, and the ids of the latest."""
    # an answer that measures two things is one record
    found: dict[int, set[tuple[int, str]]] = {}
    for at in np.flatnonzero(rows).tolist():
        found.setdefault(int(customer[at]), set()).add((int(day[at]), ids[at]))
    return {
        one: {
            "rows": len(held),
            "from": day_from_number(min(held)[0]),
            "until": day_from_number(max(held)[0]),
            "evidence": [record_id for _, record_id in sorted(held, reverse=True)[:EVIDENCE_MAX]],
        }
        for one, held in found.items()
    }


def evidence_ids(feedback: Feedback) -> tuple[dict[int, tuple[str, ...]], dict[int, tuple[str, ...]]]:
    """Customer row → ids of its open complaints, and of its latest answers about satisfaction."""
    cases, told = feedback.cases, feedback.told
    opened = _by_customer(cases.customer, cases.opened, cases.ids, cases.is_open)
    said = _by_customer(told.customer, told.day, told.ids, ~told.of_style & np.isin(told.measure, _SATISFYING))
    return (
        {row: tuple(found["evidence"]) for row, found in opened.items()},
        {row: tuple(found["evidence"]) for row, found in said.items()},
    )


_SATISFYING = [MEASURED.index(one) for one in (Measured.CSAT, Measured.NPS, Measured.REVIEW)]


def _is(told: Told, measure: Measured) -> BoolArray:
    return np.asarray(told.measure == MEASURED.index(measure), dtype=np.bool_)


def _answers(told: Told, rows: BoolArray, scaled: Any) -> Answers | None:
    """None where nobody in the organisation ever answered: then the part is not recorded for anybody."""
    if not rows.any():
        return None
    return Answers(told.customer[rows], told.day[rows], scaled(told.value[rows].astype(np.float64)))


def _latest(told: Told, rows: IntArray, customers_n: int) -> IntArray:
    """(n,) the row of each customer's latest word among `rows`, −1 without; of one day the higher id."""
    order = np.array(sorted(rows.tolist(), key=lambda at: (int(told.day[at]), told.ids[at])), dtype=np.int64)
    found = np.full(customers_n, -1, dtype=np.int64)
    found[told.customer[order]] = order
    return found


def _texts(ids: Sequence[str], rows: BoolArray) -> tuple[str, ...]:
    return tuple(ids[at] for at in np.flatnonzero(rows).tolist())
