"""The demo company's forms: what reps ask on a visit, once a year, of a style, and the desk after a complaint."""

from typing import Any

import numpy as np

from backend.domain.demo.frame import Setting, Table, canonical
from backend.domain.forms import FormOccasion, Measured, QuestionKind

VISIT_KEY, YEARLY_KEY, REVIEW_KEY, SERVICE_KEY = "visit", "yearly", "review", "service"
VISIT_ANEW_DAYS = 300
"""So many days ago the visit's form got its second version."""
_Q, _M = QuestionKind, Measured
_CHOICES = (
    ("FIT", "版型尺码", "핏·사이즈", "Fit and sizes"),
    ("PRICE", "价格", "가격", "Price"),
    ("DELIVERY", "交货", "납기", "Delivery"),
    ("DESIGN", "设计", "디자인", "Design"),
)


def _question(
    key: str, kind: QuestionKind, zh: str, ko: str, en: str, measure: Measured | None = None, **more: Any
) -> dict[str, Any]:
    choices = [
        {"value": value, "nameZh": a, "nameKo": b, "nameEn": c, "retired": False}
        for value, a, b, c in more.pop("choices", ())
    ]
    return {
        "key": key, "kind": kind.value, "nameZh": zh, "nameKo": ko, "nameEn": en, "required": False, "personal": False,
        "choices": choices, "least": None, "most": None, "measure": measure.value if measure else None, **more,
    }  # fmt: skip


HAPPY = _question("happy", _Q.CSAT, "您对我们的合作满意吗？", "저희와의 거래에 만족하십니까?",
                  "How happy are you with us?", _M.CSAT, required=True)  # fmt: skip
RECOMMEND = _question("recommend", _Q.NPS, "您愿意把我们推荐给同行吗？", "동종 업계에 저희를 추천하시겠습니까?",
                      "Would you recommend us?", _M.NPS)  # fmt: skip
REASON = _question("reason", _Q.CHOICE, "最主要的原因是什么？", "가장 큰 이유는 무엇입니까?",
                   "What matters most?", choices=_CHOICES)  # fmt: skip
SHARE = _question("share", _Q.SHARE, "我们占您采购额的百分之几？", "전체 구매액 중 당사 비중은 몇 %입니까?",
                  "What share of your buying is ours?", _M.WALLET_SHARE)  # fmt: skip
BUDGET = _question("budget", _Q.MONEY, "您一年采购同类商品的预算是多少？", "동종 상품의 연간 구매 예산은 얼마입니까?",
                   "What do you spend a year on goods like ours?", _M.WALLET_BUDGET)  # fmt: skip
REFERRED = _question("referred", _Q.INT, "您介绍了几家新客户？", "새 고객을 몇 곳 소개하셨습니까?",
                     "How many customers have you brought us?", _M.REFERRALS, least=0, most=99)  # fmt: skip
STARS = _question("stars", _Q.RATING, "您给几颗星？", "별점을 몇 개 주시겠습니까?", "How many stars?", _M.REVIEW,
                  required=True)  # fmt: skip
WORDS = _question("words", _Q.LONG_TEXT, "请说说您的看法。", "의견을 남겨 주세요.", "Tell us more.")
FORMS = (
    (VISIT_KEY, 1, FormOccasion.VISIT, "拜访反馈", "방문 의견", "Visit feedback", (HAPPY, WORDS)),
    (VISIT_KEY, 2, FormOccasion.VISIT, "拜访反馈", "방문 의견", "Visit feedback", (HAPPY, RECOMMEND, REASON, WORDS)),
    (YEARLY_KEY, 1, FormOccasion.VISIT, "年度采购", "연간 구매", "The year's buying", (SHARE, BUDGET, REFERRED)),
    (REVIEW_KEY, 1, FormOccasion.SURVEY, "评价", "리뷰", "Review", (STARS, WORDS)),
    (SERVICE_KEY, 1, FormOccasion.SERVICE, "投诉处理回访", "불만 처리 후 설문", "After a complaint", (HAPPY, WORDS)),
)


def make_forms(setting: Setting, admin_id: str) -> Table:
    """Every version, published the day history begins but for the visit's second one."""
    n = len(FORMS)
    at_ms = np.full(n, setting.first_ms) + np.arange(n)
    at_ms[1] = visit_anew_ms(setting)
    return Table(
        "form",
        {
            "id": setting.ids("form", at_ms),
            "key": [one[0] for one in FORMS],
            "occasion": [one[2].value for one in FORMS],
            "name_zh": [one[3] for one in FORMS],
            "name_ko": [one[4] for one in FORMS],
            "name_en": [one[5] for one in FORMS],
            "questions": [canonical(list(one[6])) for one in FORMS],
            "retired": [False] * n,
            "version": [one[1] for one in FORMS],
            "created_at": at_ms.tolist(),
            "created_by": [admin_id] * n,
        },
    )


def visit_anew_ms(setting: Setting) -> int:
    """When the visit's form got its second version."""
    return setting.now_ms - VISIT_ANEW_DAYS * 86_400_000
