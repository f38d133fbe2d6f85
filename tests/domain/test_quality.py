"""Data quality: each rule on customers made to break it, and nothing scored that was not checked."""

from typing import Any

import numpy as np
import pytest

from backend.domain.arrays import IntColumn
from backend.domain.customers import CustomerKind, wanted_fields
from backend.domain.quality import CustomerFacts, Quality, QualityPart, QualityRule, data_quality

FIELDS = sorted({name for kind in CustomerKind for group in wanted_fields(kind.value) for name in group})
GOOD: dict[str, Any] = {
    "kind": "RETAILER", "stage": "MATURE", "nameEn": "Shop", "code": "C1", "phone": "+8613800138000", "country": "CN",
    "city": "Shanghai", "street": "Road 1", "taxId": "T1", "currency": "CNY", "termsDays": 0, "latE7": 0,
    "timezone": "Asia/Shanghai", "openHours": "{\"MON\":[]}", "cadenceDays": 14, "priceListId": "p",
    "silent": 3, "last_order": 100, "since": 90, "list_currency": "CNY", "parent": None, "suspected": False,
}  # fmt: skip


def facts(*changes: dict[str, Any]) -> CustomerFacts:
    rows = [{**GOOD, "code": f"C{place}", "taxId": f"T{place}", **change} for place, change in enumerate(changes)]

    def column(name: str) -> list[Any]:
        return [row.get(name) for row in rows]

    return CustomerFacts(
        kind=column("kind"),
        stored={name: column(name) for name in (*FIELDS, "stage")},
        silent_days=IntColumn.of(column("silent")),
        last_order_day=IntColumn.of(column("last_order")),
        since_day=IntColumn.of(column("since")),
        price_list_currency=column("list_currency"),
        parent_kind=column("parent"),
        suspected=np.array(column("suspected"), dtype=np.bool_),
    )


def failing(found: tuple[Quality, ...]) -> dict[str, tuple[int, tuple[int, ...]]]:
    return {
        check.field or check.rule.value: (check.failed_n, check.examples)
        for part in found
        for check in part.checks
        if check.failed_n
    }


@pytest.mark.requirement("R48")
def test_customers_without_a_fault_have_four_whole_parts() -> None:
    found = data_quality(
        facts({}, {"parent": "CHAIN"}, {"kind": "CONSUMER", "customerSince": "2020-01-01"}), stale_days=180
    )
    assert [part.part for part in found] == list(QualityPart)
    assert [part.score_bp for part in found] == [10_000] * 4
    assert failing(found) == {}
    assert found[0].checked_n == 14 + 14 + 5


@pytest.mark.parametrize(
    ("change", "rule", "part"),
    [
        ({"phone": None, "email": ""}, "phone", QualityPart.COMPLETENESS),
        ({"openHours": "{}"}, "openHours", QualityPart.COMPLETENESS),
        ({"silent": 180}, "SILENT", QualityPart.FRESHNESS),
        ({"stage": "PROSPECT"}, "PROSPECT_WITH_ORDERS", QualityPart.CONSISTENCY),
        ({"since": 101}, "SINCE_AFTER_LAST_ORDER", QualityPart.CONSISTENCY),
        ({"list_currency": "USD"}, "CURRENCY_OF_PRICE_LIST", QualityPart.CONSISTENCY),
        ({"country": "KR"}, "PHONE_OF_OTHER_COUNTRY", QualityPart.CONSISTENCY),
        ({"parent": "RETAILER"}, "DOOR_OF_NO_CHAIN", QualityPart.CONSISTENCY),
        ({"suspected": True}, "DUPLICATE_SUSPECTED", QualityPart.UNIQUENESS),
    ],
)
def test_a_fault_is_found_named_and_shown(change: dict[str, Any], rule: str, part: QualityPart) -> None:
    found = data_quality(facts({}, change, {}), stale_days=180)
    assert failing(found) == {rule: (1, (1,))}
    hit = next(one for one in found if one.failed_n)
    assert hit.part is part
    assert hit.score_bp is not None
    assert hit.score_bp < 10_000
    assert hit.checks[0].failed_n == 1, "the most failures first"


def test_the_same_number_twice_is_found_and_none_at_all_is_not() -> None:
    found = data_quality(
        facts({"taxId": " t9 "}, {"taxId": "T9"}, {"taxId": None}, {"taxId": ""}, {"code": "C0"}), stale_days=9
    )
    assert failing(found)["SAME_TAX_ID"] == (2, (0, 1))
    assert failing(found)["SAME_CODE"] == (2, (0, 4))
    assert failing(found)["taxId"] == (2, (2, 3))


def test_what_cannot_be_checked_is_not_counted() -> None:
    lone = facts({"phone": None, "email": "a@b.c", "list_currency": None, "since": None, "last_order": None})
    checks = {check.rule: check.checked_n for check in data_quality(lone, stale_days=9)[2].checks}
    assert checks == {
        QualityRule.PROSPECT_WITH_ORDERS: 1,
        QualityRule.SINCE_AFTER_LAST_ORDER: 0,
        QualityRule.CURRENCY_OF_PRICE_LIST: 0,
        QualityRule.PHONE_OF_OTHER_COUNTRY: 0,
        QualityRule.DOOR_OF_NO_CHAIN: 0,
    }
    nobody = data_quality(facts(), stale_days=9)
    assert [(part.checked_n, part.score_bp) for part in nobody] == [(0, None)] * 4


def test_five_examples_are_enough() -> None:
    found = data_quality(facts(*({"silent": 400},) * 9), stale_days=180)
    assert failing(found)["SILENT"] == (9, (0, 1, 2, 3, 4))
