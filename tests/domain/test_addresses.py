"""Addresses, phones, e-mail, tax ids, positions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.addresses import (
    E7,
    address_line,
    countries,
    haversine_m,
    parse_country,
    parse_email,
    parse_phone,
    parse_postcode,
    parse_tax_id,
    postcode_problem,
)
from backend.domain.customers import CUSTOMER
from backend.domain.fields import validate
from backend.errors import Code, Refused

SHANGHAI = (312_304_000, 1_214_737_000)
SEOUL = (375_665_000, 1_269_780_000)


def test_countries_are_the_249_of_iso_3166() -> None:
    assert len(countries()) == 249
    assert {"CN", "KR", "US", "TW", "HK", "GB"} <= countries()
    assert parse_country("kr") == "KR"
    for unknown in ("EU", "XK", "UK", "ZZ", "C", "CHN", "86"):
        with pytest.raises(Refused):
            parse_country(unknown)


@pytest.mark.parametrize(
    ("text", "region", "e164"),
    [
        ("138 0013 8000", "CN", "+8613800138000"),
        ("010-1234-5678", "KR", "+821012345678"),
        ("+82 10 1234 5678", "CN", "+821012345678"),
        ("021-6279 8888", "CN", "+862162798888"),
        ("12", "CN", None),
        ("call me", "CN", None),
        ("+999123456789", "CN", None),
        ("021-62798888 ext 5", "CN", None),
    ],
)
def test_a_phone_is_kept_as_e164_or_refused(text: str, region: str, e164: str | None) -> None:
    if e164 is not None:
        assert parse_phone(text, region) == e164
        assert parse_phone(e164, "US") == e164
        return
    with pytest.raises(Refused) as refused:
        parse_phone(text, region)
    assert refused.value.problems[0].code is Code.INVALID_VALUE


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Wang.Wei@Example.COM", "Wang.Wei@example.com"),
        ("김민수@예시.한국", "김민수@예시.한국"),
        ("a+b@c-d.co.kr",) * 2,
    ]
    + [(bad, None) for bad in ("a", "a@b", "@b.c", "a b@c.de", "a@@b.de", ".a@b.de", "a..b@c.de", "a@-b.de")]
    + [(bad, None) for bad in ("a@b.de\n", "a@b..de", "x" * 65 + "@b.de", "a@b." + "d" * 260, "a@1.2")],
)
def test_an_email_has_a_name_and_a_dotted_domain(text: str, kept: str | None) -> None:
    if kept is not None:
        assert parse_email(text) == kept
        return
    with pytest.raises(Refused):
        parse_email(text)


def test_tax_ids_and_postcodes_are_kept_in_capitals() -> None:
    assert parse_tax_id("91310000ma1fl 3qk4x") == "91310000MA1FL3QK4X"
    assert parse_tax_id("123-45-67890") == "123-45-67890"
    assert parse_postcode("sw1a 1aa") == "SW1A 1AA"
    for bad in ("1", "税号12345", "-12345-", "A" * 41):
        with pytest.raises(Refused):
            parse_tax_id(bad)
    for bad in ("邮编", "12345678901234", "-1"):
        with pytest.raises(Refused):
            parse_postcode(bad)


def test_a_postcode_has_the_form_of_its_country() -> None:
    assert postcode_problem("CN", "200040") is None
    assert postcode_problem("KR", "04524") is None
    assert postcode_problem("DE", "what ever") is None
    assert postcode_problem(None, "20004") is None
    problem = postcode_problem("CN", "20004")
    assert problem is not None
    assert (problem.code, problem.path) == (Code.INVALID_VALUE, ("postcode",))


def test_parts_become_one_line_as_the_country_writes_them() -> None:
    shanghai = {
        "country": "CN",
        "province": "上海市",
        "district": "静安区",
        "street": "南京西路1266号",
        "postcode": "200040",
    }
    assert address_line(shanghai) == "200040 上海市静安区南京西路1266号"
    seoul = {
        "country": "KR",
        "city": "서울특별시",
        "district": "중구",
        "street": "세종대로 110",
        "postcode": "04524",
    }
    assert address_line(seoul) == "04524 서울특별시 중구 세종대로 110"
    boston = {"country": "US", "province": "MA", "city": "Boston", "street": "1 Main St", "postcode": "02110"}
    assert address_line(boston) == "1 Main St, Boston, MA 02110, US"
    assert address_line({}) == ""


def test_a_position_is_on_the_globe() -> None:
    assert validate(CUSTOMER, {"latE7": -900_000_000, "lonE7": 1_800_000_000}, creating=False)[1] == []
    _, problems = validate(CUSTOMER, {"latE7": 90 * E7 + 1, "lonE7": -180 * E7 - 1}, creating=False)
    assert [(p.code, p.path) for p in problems] == [(Code.OUT_OF_RANGE, ("latE7",)), (Code.OUT_OF_RANGE, ("lonE7",))]


def test_known_distances() -> None:
    assert haversine_m(*SHANGHAI, *SEOUL) == pytest.approx(866_000, rel=0.005)
    assert haversine_m(0, 0, 0, 180 * E7) == pytest.approx(20_015_115, abs=1)
    assert haversine_m(0, 0, 10_000_000, 0) == pytest.approx(111_195.08, abs=0.01)


latitudes, longitudes = st.integers(-90 * E7, 90 * E7), st.integers(-180 * E7, 180 * E7)


@given(latitudes, longitudes, latitudes, longitudes)
def test_distance_is_symmetric_and_never_more_than_half_round(a: int, b: int, c: int, d: int) -> None:
    there = haversine_m(a, b, c, d)
    assert there == pytest.approx(haversine_m(c, d, a, b), abs=1e-6)
    assert 0 <= there <= 20_015_116
    assert haversine_m(a, b, a, b) == 0
