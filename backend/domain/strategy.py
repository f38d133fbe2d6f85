"""What to do for whom: one table by segment, bent by the lifecycle stage. Data an analyst may edit, not code.

*Source*: R28, R51, R52. Ending field visits never ends orders, returns or complaints.
"""

from dataclasses import dataclass
from enum import StrEnum

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
    """One row of the table: `labels` by locale; codes of objective and strategy; `cadence_days` 0 = no visits."""

    labels: tuple[str, str, str]
    objective: str
    strategy: str
    cadence_days: int
    serve: Serve = Serve.FIELD
    tries_max: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for one customer: a strategy with the cadence its stage asks for."""

    objective: str
    strategy: str
    cadence_days: int
    serve: Serve
    tries_max: int


LOCALES = ("en", "zh-CN", "ko")
VISIT_DAYS_ONBOARDING = (7, 30, 60)
STRATEGIES: dict[str, Strategy] = {
    "HHHH": Strategy(("Champion partner", "核心伙伴", "핵심 파트너"), "GROW_TOGETHER", "CO_PLAN_SEASON", 14),
    "HHHL": Strategy(("Strained champion", "不满的核心客户", "불만 있는 핵심 고객"), "REPAIR_NOW", "MANAGER_VISIT", 7),
    "HHLH": Strategy(("Contested star", "待巩固明星客户", "확보 필요 스타 고객"), "LOCK_IN", "FRAME_CONTRACT", 14),
    "HHLL": Strategy(("Star at risk", "濒危明星客户", "이탈 위기 스타 고객"), "SAVE", "DIRECTORS_CALL", 7),
    "HLHH": Strategy(("Cash pillar", "稳定支柱", "안정 기둥 고객"), "KEEP_AT_LOW_COST", "AUTOMATIC_REPLENISHMENT", 28),
    "HLHL": Strategy(("Grumbling pillar", "受挫支柱", "불만 기둥 고객"), "FIX_SERVICE", "DELIVERY_AND_FIT_FIXES", 14),
    "HLLH": Strategy(
        ("Comfortable drifter", "满意的游离大客户", "거래 분산 대형 고객"),
        "RAISE_WALLET_SHARE",
        "BUNDLE_AND_REBATE",
        21,
    ),
    "HLLL": Strategy(
        ("Fading giant", "流失边缘大客户", "이탈 직전 대형 고객"),
        "HOLD_MARGIN",
        "DIAGNOSE_AND_SAVE_ONCE",
        14,
        tries_max=3,
    ),
    "LHHH": Strategy(("Rising ally", "成长盟友", "성장 동반자"), "DEVELOP", "SELL_THROUGH_AND_RANGE", 21),
    "LHHL": Strategy(
        ("Held-back ally", "受阻成长客户", "성장 정체 고객"), "REMOVE_OBSTACLE", "MINIMUM_DELIVERY_CREDIT_FIX", 14
    ),
    "LHLH": Strategy(("Warm prospect", "高潜满意客户", "유망 우호 고객"), "CONVERT", "TRIAL_ASSORTMENT", 21),
    "LHLL": Strategy(
        ("Competitor's treasure", "竞品主导高潜客户", "경쟁사 주력 유망 고객"), "WIN_SELECTIVELY", "ONE_HERO_STYLE", 28
    ),
    "LLHH": Strategy(
        ("Faithful small", "忠诚小客户", "충성 소형 고객"), "KEEP_CHEAPLY", "SELF_SERVICE_AND_POINTS", 56, Serve.INSIDE
    ),
    "LLHL": Strategy(
        ("Neglected faithful", "被忽视的忠诚小客户", "소외된 충성 고객"),
        "QUICK_REPAIR",
        "CALL_AND_GOODWILL",
        42,
        Serve.INSIDE,
    ),
    "LLLH": Strategy(("Casual buyer", "随缘客户", "비정기 구매 고객"), "LOW_COST", "SEASON_MAILING", 84, Serve.DIGITAL),
    "LLLL": Strategy(("Low touch", "低维护客户", "저관리 고객"), "STOP_LOSSES", "SELF_SERVICE_ONLY", 0, Serve.EXIT),
    "ONBOARDING": Strategy(("Onboarding", "新客户培育", "신규 정착 고객"), "WIN_SECOND_ORDER", "WELCOME_VISITS", 28),
}
"""Cadences are the longest gap planned between contacts; ONBOARDING visits fall on `VISIT_DAYS_ONBOARDING`."""

STAGE_CADENCE_PERCENT: dict[Stage, int] = {
    Stage.PROSPECT: 100,
    Stage.NEW: 100,
    Stage.GROWING: 100,
    Stage.MATURE: 100,
    Stage.DECLINING: 75,
    Stage.DORMANT: 100,
    Stage.LOST: 200,
    Stage.WON_BACK: 75,
}
STAGE_OBJECTIVE: dict[Stage, str] = {Stage.DORMANT: "WAKE_UP", Stage.LOST: "WIN_BACK_OR_LET_GO"}
"""Stages whose objective stands before the segment's."""


def policy(segment_code: int, stage: Stage) -> Policy:
    """The policy of one segment number and lifecycle stage. Every pair has one."""
    row = STRATEGIES[SEGMENT_CODES[segment_code]]
    return Policy(
        objective=STAGE_OBJECTIVE.get(stage, row.objective),
        strategy=row.strategy,
        cadence_days=row.cadence_days * STAGE_CADENCE_PERCENT[stage] // 100,
        serve=row.serve,
        tries_max=row.tries_max,
    )


def cadence_days(segment_code: IntArray, stage: IntArray) -> IntColumn:
    """(n,) planned days between contacts; not known where the policy plans none."""
    table = np.array([[policy(code, s).cadence_days for s in Stage] for code in range(len(SEGMENT_CODES))])
    found = table[segment_code, stage] if segment_code.size else np.zeros(0, dtype=np.int64)
    return IntColumn(found.astype(np.int64), np.asarray(found > 0))


def segment_labels() -> dict[str, dict[str, str]]:
    """Segment code → locale → name."""
    return {code: dict(zip(LOCALES, row.labels, strict=True)) for code, row in STRATEGIES.items()}
