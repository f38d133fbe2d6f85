"""What to do for whom: one table by segment and lifecycle stage, in versions. Data an analyst edits, not code.

*Source*: R28, R51, R52. Ending field visits never ends orders, returns or complaints.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from backend.domain.arrays import IntArray, IntColumn
from backend.domain.lifecycle import Stage
from backend.domain.segments import SEGMENT_CODES


class Serve(StrEnum):
    """How a customer is served. EXIT ends field cost only, never orders, returns or complaints."""

    FIELD = "FIELD"
    INSIDE = "INSIDE"
    DIGITAL = "DIGITAL"
    EXIT = "EXIT"


@dataclass(frozen=True, slots=True)
class Strategy:
    """One row: codes of objective and strategy; `cadence_days`: longest gap planned between contacts, 0 = no visits;
    `tries_max`: 0 = no limit."""

    objective: str
    strategy: str
    cadence_days: int
    serve: Serve = Serve.FIELD
    tries_max: int = 0


@dataclass(frozen=True, slots=True)
class StageRule:
    """How a stage bends the row of any segment: its cadence in per cent, and an objective that stands before it."""

    cadence_percent: int = 100
    objective: str | None = None


_BY_SEGMENT: Mapping[str, Strategy] = {
    "HHHH": Strategy("GROW_TOGETHER", "CO_PLAN_SEASON", 14),
    "HHHL": Strategy("REPAIR_NOW", "MANAGER_VISIT", 7),
    "HHLH": Strategy("LOCK_IN", "FRAME_CONTRACT", 14),
    "HHLL": Strategy("SAVE", "DIRECTORS_CALL", 7),
    "HLHH": Strategy("KEEP_AT_LOW_COST", "AUTOMATIC_REPLENISHMENT", 28),
    "HLHL": Strategy("FIX_SERVICE", "DELIVERY_AND_FIT_FIXES", 14),
    "HLLH": Strategy("RAISE_WALLET_SHARE", "BUNDLE_AND_REBATE", 21),
    "HLLL": Strategy("HOLD_MARGIN", "DIAGNOSE_AND_SAVE_ONCE", 14, tries_max=3),
    "LHHH": Strategy("DEVELOP", "SELL_THROUGH_AND_RANGE", 21),
    "LHHL": Strategy("REMOVE_OBSTACLE", "MINIMUM_DELIVERY_CREDIT_FIX", 14),
    "LHLH": Strategy("CONVERT", "TRIAL_ASSORTMENT", 21),
    "LHLL": Strategy("WIN_SELECTIVELY", "ONE_HERO_STYLE", 28),
    "LLHH": Strategy("KEEP_CHEAPLY", "SELF_SERVICE_AND_POINTS", 56, Serve.INSIDE),
    "LLHL": Strategy("QUICK_REPAIR", "CALL_AND_GOODWILL", 42, Serve.INSIDE),
    "LLLH": Strategy("LOW_COST", "SEASON_MAILING", 84, Serve.DIGITAL),
    "LLLL": Strategy("STOP_LOSSES", "SELF_SERVICE_ONLY", 0, Serve.EXIT),
    "ONBOARDING": Strategy("WIN_SECOND_ORDER", "WELCOME_VISITS", 28),
}

_BY_STAGE: Mapping[Stage, StageRule] = {
    Stage.DECLINING: StageRule(75),
    Stage.DORMANT: StageRule(100, "WAKE_UP"),
    Stage.LOST: StageRule(200, "WIN_BACK_OR_LET_GO"),
    Stage.WON_BACK: StageRule(75),
}

OBJECTIVES = tuple(sorted({row.objective for row in _BY_SEGMENT.values()} | {"WAKE_UP", "WIN_BACK_OR_LET_GO"}))
STRATEGY_CODES = tuple(sorted({row.strategy for row in _BY_SEGMENT.values()}))
"""What a row may name: each has its text in three languages (`objective.<CODE>`, `strategy.<CODE>`)."""


@dataclass(frozen=True)
class StrategyTable:
    """The strategies in force: a row for each segment, bent by the rule of the stage; `exact` rows, for one segment
    in one stage, stand as they are before both."""

    by_segment: Mapping[str, Strategy] = field(default_factory=lambda: dict(_BY_SEGMENT))
    by_stage: Mapping[Stage, StageRule] = field(default_factory=lambda: dict(_BY_STAGE))
    exact: Mapping[tuple[str, Stage], Strategy] = field(default_factory=dict)

    def strategy(self, segment_code: int, stage: Stage) -> Strategy:
        """What holds for one segment number and lifecycle stage. Every pair has a row."""
        segment = SEGMENT_CODES[segment_code]
        if (exact := self.exact.get((segment, stage))) is not None:
            return exact
        row, rule = self.by_segment[segment], self.by_stage.get(stage, StageRule())
        return replace(
            row,
            objective=rule.objective or row.objective,
            cadence_days=row.cadence_days * rule.cadence_percent // 100,
        )

    def cadence_days(self, segment_code: IntArray, stage: IntArray) -> IntColumn:
        """(n,) planned days between contacts; not known where none are planned."""
        table = np.array([[self.strategy(code, s).cadence_days for s in Stage] for code in range(len(SEGMENT_CODES))])
        found = table[segment_code, stage] if segment_code.size else np.zeros(0, dtype=np.int64)
        return IntColumn(found.astype(np.int64), np.asarray(found > 0))

    def document(self) -> dict[str, Any]:
        """The table as it is stored and travels to devices; a row without `stage` holds for every stage."""
        rows = [_row_document(segment, None, row) for segment, row in self.by_segment.items()]
        rows += [_row_document(segment, stage, row) for (segment, stage), row in sorted(self.exact.items())]
        stages = [
            {"stage": stage.name, "cadencePercent": rule.cadence_percent, "objective": rule.objective}
            for stage, rule in sorted(self.by_stage.items())
        ]
        return {"rows": rows, "stages": stages}


def strategies_of(document: Mapping[str, Any] | None) -> StrategyTable:
    """Inverse of `StrategyTable.document`; None is the table the product comes with."""
    if document is None:
        return StrategyTable()
    rows = [(row["segment"], row["stage"], _row_of(row)) for row in document["rows"]]
    return StrategyTable(
        {segment: row for segment, stage, row in rows if stage is None},
        {Stage[one["stage"]]: StageRule(one["cadencePercent"], one["objective"]) for one in document["stages"]},
        {(segment, Stage[stage]): row for segment, stage, row in rows if stage is not None},
    )


def _row_document(segment: str, stage: Stage | None, row: Strategy) -> dict[str, Any]:
    return {
        "segment": segment,
        "stage": None if stage is None else stage.name,
        "objective": row.objective,
        "strategy": row.strategy,
        "cadenceDays": row.cadence_days,
        "serve": row.serve.value,
        "triesMax": row.tries_max,
    }


def _row_of(row: Mapping[str, Any]) -> Strategy:
    return Strategy(row["objective"], row["strategy"], row["cadenceDays"], Serve(row["serve"]), row["triesMax"])
