"""A backtest as it is kept and told: numbers that JSON knows, and sentences that claim no more than was found.

*Source*: R28, R30.
"""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from backend.domain.backtest import Backtest, Gate, Ranker, Verdict
from backend.domain.messages import Catalogue, label, render
from backend.domain.ranking import Interval
from backend.domain.times import day_from_number

DIGITS = 6
TOLD_OF = (Ranker.PRIORITY, Ranker.VALUE, Ranker.BLEND)
"""Of which rankings sentences are told, each against RFM."""


class Caveat(StrEnum):
    """What a reader of the figures must know."""

    REVENUE_NOT_PROFIT = "REVENUE_NOT_PROFIT"
    """judged by money ordered, not by profit, nor by what a visit changed"""
    ORDERS_ONLY = "ORDERS_ONLY"
    """nothing but orders was known: lines without data cannot be judged"""
    KIND_AND_PLACE_AS_TODAY = "KIND_AND_PLACE_AS_TODAY"
    CANCELLED_SINCE_LEFT_OUT = "CANCELLED_SINCE_LEFT_OUT"
    APPOINTMENTS_AS_LAST_AGREED = "APPOINTMENTS_AS_LAST_AGREED"
    """an appointment that was moved since stands at its last time"""
    COMPLAINTS_AS_FAR_AS_DATED = "COMPLAINTS_AS_FAR_AS_DATED"
    """how often an open complaint was opened again is dated nowhere, and its priority is as of today"""
    CADENCE_OF_SEGMENT = "CADENCE_OF_SEGMENT"
    """the cadence agreed with a customer is known as of today only, so that of its segment is used"""
    NO_RATE_LEFT_OUT = "NO_RATE_LEFT_OUT"
    """customers with orders in a currency without a rate are left out"""
    FEW_CUSTOMERS = "FEW_CUSTOMERS"


FILE_CAVEATS = (Caveat.REVENUE_NOT_PROFIT, Caveat.ORDERS_ONLY)
DATABASE_CAVEATS = (
    Caveat.REVENUE_NOT_PROFIT,
    Caveat.KIND_AND_PLACE_AS_TODAY,
    Caveat.CANCELLED_SINCE_LEFT_OUT,
    Caveat.APPOINTMENTS_AS_LAST_AGREED,
    Caveat.COMPLAINTS_AS_FAR_AS_DATED,
    Caveat.CADENCE_OF_SEGMENT,
)
FEW_CUSTOMERS_N = 200


def backtest_document(
    found: Backtest,
    *,
    caveats: Sequence[Caveat],
    gates: Sequence[Gate] = (),
    currency: str | None = None,
    policy: int = 0,
) -> dict[str, Any]:
    """The result; what could not be measured is null. `rfm` says in one word per ranking how it stands to RFM;
    `policy`: number of the score policy it ranked by."""
    told = [*caveats, *([Caveat.FEW_CUSTOMERS] if found.customers_n < FEW_CUSTOMERS_N else [])]
    return {
        "holdoutDays": found.holdout_days,
        "seed": found.seed,
        "replicates": found.replicates_n,
        "customers": found.customers_n,
        "currency": currency,
        "policy": policy,
        "caveats": [caveat.value for caveat in told],
        "rfm": {
            one.ours.value: one.gini_verdict.value for one in found.comparisons if one.baseline is Ranker.RFM
        },
        "cuts": [
            {
                "day": day_from_number(cut.day),
                "customers": cut.customers_n,
                "buyersAfter": cut.buyers_after_n,
                "moneyAfterMinor": cut.money_after_minor,
                "fitStatus": cut.fit_status,
                "level": _number(cut.level),
                "countMae": _number(cut.count_mae),
                "expectedOrders": _number(cut.expected_total),
                "actualOrders": cut.actual_total,
                "deciles": [
                    {"customers": one.customers_n, "expectedOrders": _number(one.expected_n),
                     "actualOrders": one.actual_n}
                    for one in cut.deciles
                ],
                "rankings": [
                    {"ranking": one.ranker.value, "gini": _number(one.gini), "topShare": _number(one.top_share),
                     "gain": [_number(value) for value in one.gain]}
                    for one in cut.rankers
                ],
            }
            for cut in found.cuts
        ],
        "comparisons": [
            {
                "ranking": one.ours.value,
                "baseline": one.baseline.value,
                "gini": _interval(one.gini),
                "topShare": _interval(one.top_share),
                "giniVerdict": one.gini_verdict.value,
                "topShareVerdict": one.top_verdict.value,
            }
            for one in found.comparisons
        ],
        "ablation": [
            {
                "line": one.line.value,
                "recorded": one.recorded,
                "gini": None if one.gini is None else _interval(one.gini),
                "topShare": None if one.top_share is None else _interval(one.top_share),
            }
            for one in found.ablation
        ],
        "gates": [
            {"gate": gate.code.value, "measured": _number(gate.measured), "wanted": gate.wanted, "met": gate.met}
            for gate in gates
        ],
    }  # fmt: skip


def rfm_sentences(catalogue: Catalogue, document: Mapping[str, Any], locale: str) -> list[str]:
    """How the priority, the value and the blend stand to RFM, by both figures: plain words, one each."""
    found = []
    for one in document["comparisons"]:
        if one["ranking"] in TOLD_OF and one["baseline"] == Ranker.RFM:
            found += [comparison_sentence(catalogue, one, figure, locale) for figure in ("gini", "topShare")]
    return found


def comparison_sentence(catalogue: Catalogue, comparison: Mapping[str, Any], figure: str, locale: str) -> str:
    """One comparison by one figure (`gini`, `topShare`) in the reader's language."""
    verdict, interval = Verdict(comparison[f"{figure}Verdict"]), comparison[figure]
    return render(
        catalogue,
        f"backtest.{verdict.value}",
        locale,
        {
            "ours": label(catalogue, Ranker.__name__, comparison["ranking"], locale),
            "baseline": label(catalogue, Ranker.__name__, comparison["baseline"], locale),
            "figure": render(catalogue, f"backtest.figure.{figure}", locale),
            **{key: _signed(interval[key]) for key in ("value", "low", "high")},
        },
    )


def caveat_sentences(catalogue: Catalogue, document: Mapping[str, Any], locale: str) -> list[str]:
    """Every caveat in the reader's language."""
    return [label(catalogue, Caveat.__name__, caveat, locale) for caveat in document["caveats"]]


def _interval(found: Interval) -> dict[str, float | None]:
    return {"value": _number(found.value), "low": _number(found.low), "high": _number(found.high)}


def _number(value: float) -> float | None:
    return round(value, DIGITS) if math.isfinite(value) else None


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"
