"""Evidence that two records are one: the same on a phone, both ways round, and never from a legal form alone."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.duplicates import (
    POINTS,
    POSSIBLE_POINTS,
    MatchReason,
    alike_percent,
    contact_reasons,
    customer_reasons,
    match,
    match_keys,
    name_core,
    wanted_keys,
)
from mobile_contract.duplicates import evidence, likely

VECTORS = Path(__file__).parents[2] / "mobile_contract" / "vectors" / "duplicates.json"
SHOP: dict[str, Any] = {
    "id": "00000000-0000-7000-8000-000000000001",
    "kind": "RETAILER",
    "nameZh": "春裳生活馆",
    "phone": "+862161234567",
    "taxId": "91310000MA1FL00001",
    "latE7": 312_400_000,
    "lonE7": 1_214_900_000,
}
OTHER: dict[str, Any] = {
    "id": "00000000-0000-7000-8000-000000000002",
    "kind": "RETAILER",
    "nameZh": "云尚供应链有限公司",
}

CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("a legal form is no part of a name", {**OTHER, "nameZh": "春裳生活馆有限公司"}, SHOP),
    (
        "full-width letters, case and marks do not matter",
        {**OTHER, "nameEn": "ＳＰＲＩＮＧ-Wear Co., Ltd."},
        {**SHOP, "nameEn": "Spring Wear"},
    ),
    ("the Korean mark of a company goes", {**OTHER, "nameKo": "㈜서울패션"}, {**SHOP, "nameKo": "서울패션 주식회사"}),
    ("a name alone is possible", {**OTHER, "nameZh": "春裳生活馆"}, {**SHOP, "taxId": None}),
    ("a telephone number alone is possible", {**OTHER, "phone": "+862161234567"}, SHOP),
    (
        "the same tax number is possible by itself",
        {**OTHER, "nameZh": "春裳生活馆南京路店", "taxId": "91310000MA1FL00001"},
        SHOP,
    ),
    ("doors of one chain share its tax number", {**OTHER, "parentId": SHOP["id"], "taxId": "91310000MA1FL00001"}, SHOP),
    (
        "two doors of one head",
        {**OTHER, "parentId": "00000000-0000-7000-8000-000000000009", "taxId": SHOP["taxId"]},
        {**SHOP, "parentId": "00000000-0000-7000-8000-000000000009"},
    ),
    ("another tax number speaks against", {**OTHER, "nameZh": "春裳生活馆", "taxId": "91310000MA1FL00002"}, SHOP),
    (
        "next door",
        {**OTHER, "nameZh": "春裳生活广场", "latE7": 312_401_000, "lonE7": 1_214_901_000},
        {**SHOP, "nameZh": "春裳生活广场店", "taxId": None},
    ),
    ("a kilometre off", {**OTHER, "nameZh": "春裳生活馆", "latE7": 312_470_000, "lonE7": 1_214_900_000}, SHOP),
    ("another town", {**OTHER, "nameZh": "春裳生活馆", "latE7": 399_000_000, "lonE7": 1_164_000_000}, SHOP),
    (
        "on both sides of the date line",
        {**OTHER, "nameZh": "春裳生活馆", "latE7": 0, "lonE7": 1_799_999_000},
        {**SHOP, "latE7": 0, "lonE7": -1_799_999_000},
    ),
    ("a person is no company", {**OTHER, "kind": "CONSUMER", "nameZh": "春裳生活馆"}, {**SHOP, "taxId": None}),
    (
        "a person's name alone is too little",
        {**OTHER, "kind": "CONSUMER", "nameZh": "王伟"},
        {**SHOP, "kind": "CONSUMER", "nameZh": "王伟", "taxId": None},
    ),
    ("the company's own code twice", {**OTHER, "code": "c-17"}, {**SHOP, "code": "C-17"}),
    ("nothing in common", OTHER, SHOP),
    ("a name of one character is only equal", {**OTHER, "nameZh": "春"}, {**SHOP, "nameZh": "春裳"}),
    (
        "a name that is a legal form keeps it",
        {**OTHER, "nameEn": "Company", "nameZh": None},
        {**SHOP, "nameEn": "company", "taxId": None},
    ),
]


def vectors_text() -> str:
    cases = [
        {"says": says, "one": one, "other": other, "reasons": [reason.value for reason in customer_reasons(one, other)]}
        for says, one, other in CASES
    ]
    lines = ",\n".join(json.dumps(case, ensure_ascii=False, sort_keys=True) for case in cases)
    return f'{{"cases": [\n{lines}\n]}}\n'


def test_the_committed_vectors_are_what_the_code_gives() -> None:
    if os.environ.get("SELVEDGE_WRITE_VECTORS"):
        VECTORS.write_text(vectors_text(), encoding="utf-8")
    assert VECTORS.read_text(encoding="utf-8") == vectors_text()


@pytest.mark.requirement("R32")
def test_a_phone_comes_to_the_same_evidence_without_the_server() -> None:
    for case in json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]:
        assert evidence(case["one"], case["other"]) == case["reasons"], case["says"]


NAMES = st.sampled_from(
    ["春裳生活馆", "春裳生活", "Spring Wear Co., Ltd.", "spring wear", "㈜서울패션", "서울패션", "公司", "", "A"]
)
FOUND = st.fixed_dictionaries(
    {"id": st.sampled_from(["a", "b", "c"]), "kind": st.sampled_from(["RETAILER", "CONSUMER"])},
    optional={
        "code": st.sampled_from(["C-1", "c-1", "C-2"]),
        "nameZh": NAMES,
        "nameEn": NAMES,
        "phone": st.sampled_from(["+8621", "+8622", None]),
        "email": st.sampled_from(["a@b.example", "A@b.example"]),
        "taxId": st.sampled_from(["T1", "T2", None]),
        "parentId": st.sampled_from(["a", "h", None]),
        "latE7": st.integers(-900_000_000, 900_000_000),
        "lonE7": st.integers(-1_800_000_000, 1_800_000_000),
        "birthDate": st.sampled_from(["1990-01-01", "1991-01-01"]),
    },
)


@given(FOUND, FOUND)
def test_any_two_records_give_the_same_evidence_on_phone_and_server(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert evidence(one, other) == [reason.value for reason in customer_reasons(one, other)]
    assert evidence(one, other, {"a": {"x"}, "b": {"x"}}) == [
        reason.value
        for reason in contact_reasons(
            one,
            other,
            customers={"x"} if one["id"] in "ab" else set(),
            other_customers={"x"} if other["id"] in "ab" else set(),
        )
    ]


@given(FOUND, FOUND)
def test_who_matches_shares_a_key(one: dict[str, Any], other: dict[str, Any]) -> None:
    reasons = customer_reasons(one, other)
    if match("x", reasons) and abs(one.get("latE7") or 0) < 600_000_000:
        assert set(wanted_keys(one)) & set(match_keys(other)), reasons


@given(st.text(max_size=12), st.text(max_size=12))
def test_likeness_is_the_same_both_ways_and_within_bounds(one: str, other: str) -> None:
    assert alike_percent(one, other) == alike_percent(other, one)
    assert 0 <= alike_percent(one, other) <= 100
    assert (alike_percent(one, other) == 100) >= (one == other)


@given(st.text(max_size=30))
def test_a_core_is_its_own_core_unless_a_word_grew_together(name: str) -> None:
    assert name_core(name) == "".join(character for character in name_core(name) if character.isalnum())


def test_no_single_hint_but_number_or_name_makes_a_match() -> None:
    alone = {reason for reason in MatchReason if POINTS[reason] >= POSSIBLE_POINTS}
    assert alone - {MatchReason.NAMED, MatchReason.SAME_CODE} == {
        MatchReason.SAME_TAX_ID,
        MatchReason.SAME_PHONE,
        MatchReason.SAME_EMAIL,
        MatchReason.SAME_NAME,
    }


def test_the_best_comes_first_and_the_record_itself_not_at_all() -> None:
    found = likely({**OTHER, "phone": SHOP["phone"], "nameZh": SHOP["nameZh"]}, [SHOP, {**OTHER, "id": OTHER["id"]},
                   {**OTHER, "id": "00000000-0000-7000-8000-000000000003", "phone": SHOP["phone"]}])  # fmt: skip
    assert [one["id"][-1] for one in found] == ["1", "3"]
    assert found[0]["level"] == "LIKELY"
