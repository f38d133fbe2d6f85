"""The demo organisation's own fields: what its reps note of a shop, and one thing about its people."""

from collections.abc import Sequence

import numpy as np

from backend.domain.arrays import BoolArray
from backend.domain.custom import Customised, CustomKind
from backend.domain.demo.frame import Setting, Table, canonical, or_none, picked, texts_of_days

STORE_FORMATS = (
    ("STREET", "临街店", "로드숍", "High street"),
    ("MALL", "购物中心店", "쇼핑몰", "Shopping centre"),
    ("DEPARTMENT", "百货专柜", "백화점", "Department store"),
    ("OUTLET", "奥特莱斯", "아웃렛", "Outlet"),
)
SHIRT_SIZES = (("S", "S", "S", "S"), ("M", "M", "M", "M"), ("L", "L", "L", "L"), ("XL", "XL", "XL", "XL"))
_Definition = tuple[Customised, str, CustomKind, str, str, str, bool, Sequence[tuple[str, str, str, str]], int | None]
DEFINITIONS: tuple[_Definition, ...] = (
    (Customised.customers, "storeFormat", CustomKind.CHOICE, "门店类型", "매장 유형", "Store format", False,
     STORE_FORMATS, None),
    (Customised.customers, "floorAreaM2", CustomKind.INT, "营业面积（平方米）", "매장 면적(㎡)", "Floor area (m²)",
     False, (), 1),
    (Customised.customers, "lastRefitOn", CustomKind.DATE, "上次装修日期", "최근 리뉴얼일", "Last refit", False,
     (), None),
    (Customised.contacts, "shirtSize", CustomKind.CHOICE, "衬衫尺码", "셔츠 사이즈", "Shirt size", True,
     SHIRT_SIZES, None),
    (Customised.visits, "windowDisplayed", CustomKind.BOOL, "橱窗已陈列", "쇼윈도 진열 여부", "Window displayed", False,
     (), None),
)  # fmt: skip


def make_custom_fields(setting: Setting, admin_id: str) -> Table:
    """The definitions, made the day history begins."""
    n = len(DEFINITIONS)
    at_ms = np.full(n, setting.first_ms) + np.arange(n)
    return Table(
        "custom_field",
        {
            "id": setting.ids("custom_field", at_ms),
            "collection": [one[0].value for one in DEFINITIONS],
            "key": [one[1] for one in DEFINITIONS],
            "kind": [one[2].value for one in DEFINITIONS],
            "name_zh": [one[3] for one in DEFINITIONS],
            "name_ko": [one[4] for one in DEFINITIONS],
            "name_en": [one[5] for one in DEFINITIONS],
            "required": [False] * n,
            "personal": [one[6] for one in DEFINITIONS],
            "choices": [
                canonical(
                    [
                        {"value": value, "nameZh": zh, "nameKo": ko, "nameEn": en, "retired": False}
                        for value, zh, ko, en in one[7]
                    ]
                )
                for one in DEFINITIONS
            ],
            "least": [one[8] for one in DEFINITIONS],
            "most": [None] * n,
            "position": list(range(n)),
            "retired": [False] * n,
            "required_since": [None] * n,
            "created_at": at_ms.tolist(),
            "created_by": [admin_id] * n,
        },
    )


def make_custom_values(setting: Setting, ids: Sequence[str], shops: BoolArray) -> Table:
    """(n,) the custom values of customers: shops mostly have a format and an area, few a refit; others nothing."""
    draw, n = setting.stream("custom"), len(ids)
    columns = {
        "storeFormat": or_none(
            picked([one[0] for one in STORE_FORMATS], draw.integers(0, len(STORE_FORMATS), n)),
            shops & (draw.random(n) < 0.8),
        ),
        "floorAreaM2": or_none(
            np.rint(np.exp(draw.normal(4.6, 0.6, n))).astype(np.int64).tolist(), shops & (draw.random(n) < 0.6)
        ),
        "lastRefitOn": or_none(
            texts_of_days(setting.as_of - draw.integers(30, 3_000, n)), shops & (draw.random(n) < 0.3)
        ),
    }
    filled = [
        canonical({key: value for key, value in zip(columns, values, strict=True) if value is not None})
        for values in zip(*columns.values(), strict=True)
    ]
    return Table("customer", {"id": list(ids), "custom": filled})
