"""Where a customer is and how to reach it: country, phone, e-mail, tax id, position, distance."""

import math
import re
from collections.abc import Mapping
from functools import cache

import phonenumbers
from babel import Locale

from backend.errors import Code, Problem, Refused

E7 = 10_000_000
LAT_E7_MAX = 90 * E7
LON_E7_MAX = 180 * E7
EARTH_RADIUS_M = 6_371_008.8
"""Mean radius of the earth (IUGG)."""

REGION_DEFAULT = "CN"
REGION_OF_LOCALE = {"zh-CN": "CN", "ko": "KR", "en": "US"}
"""Where a telephone number without country code belongs, by the language of who enters it."""

_SMALL_TO_LARGE = ("country", "province", "city", "district", "street", "postcode")
_LARGE_FIRST = frozenset({"CN", "HK", "JP", "KP", "KR", "MO", "TW"})
_EMAIL = re.compile(r"[^\s@\"(),:;<>\[\]\\]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_][\w-]*[^\W_]")
_TAX_ID = re.compile(r"[0-9A-Z][0-9A-Z./-]{3,38}[0-9A-Z]", re.ASCII)
_POSTCODE = re.compile(r"[0-9A-Z](?:[0-9A-Z -]{0,10}[0-9A-Z])?", re.ASCII)
_POSTCODES: Mapping[str, re.Pattern[str]] = {
    "CN": re.compile(r"\d{6}", re.ASCII),
    "KR": re.compile(r"\d{5}", re.ASCII),
    "JP": re.compile(r"\d{3}-?\d{4}", re.ASCII),
    "US": re.compile(r"\d{5}(-\d{4})?", re.ASCII),
}


@cache
def countries() -> frozenset[str]:
    """ISO 3166-1 alpha-2 codes: the two-letter territories of CLDR without its own inventions."""
    not_iso = {"AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "XK", "ZZ"}
    known = (str(code) for code in Locale("en").territories)
    return frozenset(code for code in known if len(code) == 2 and code.isalpha() and code not in not_iso)


def parse_country(text: str) -> str:
    """The ISO 3166-1 alpha-2 code in capitals; raises NOT_ALLOWED_VALUE."""
    code = text.upper()
    if code not in countries():
        raise Refused(Problem(Code.NOT_ALLOWED_VALUE, allowed=("CN", "KR", "US", "…")))
    return code


def parse_postcode(text: str) -> str:
    """Letters, digits, spaces and hyphens in capitals; raises INVALID_VALUE. No country is assumed."""
    code = text.upper()
    if _POSTCODE.fullmatch(code) is None:
        raise Refused(Problem(Code.INVALID_VALUE))
    return code


def postcode_problem(country: str | None, postcode: str | None) -> Problem | None:
    """INVALID_VALUE when the country's postcodes have another form; None for countries not known here."""
    form = _POSTCODES.get(country or "")
    if form is None or postcode is None or form.fullmatch(postcode):
        return None
    return Problem(Code.INVALID_VALUE, ("postcode",), params={"country": country or ""})


def parse_phone(text: str, region: str = REGION_DEFAULT) -> str:
    """A phone number as E.164 (`+8613800138000`).

    A number without country code is read as one of `region` (ISO 3166-1 alpha-2). Raises INVALID_VALUE for
    what no numbering plan can hold.
    """
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("+8613800138000",))) from None
    if not phonenumbers.is_possible_number(number) or number.extension:
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("+8613800138000",)))
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def parse_email(text: str) -> str:
    """An address with one @ and a dotted domain, the domain in small letters; raises INVALID_VALUE.

    Whether mail arrives there only sending can tell, so nothing more is asked.
    """
    name, _, domain = text.rpartition("@")
    address = f"{name}@{domain.lower()}"
    if len(text) > 254 or _EMAIL.fullmatch(address) is None or ".." in name or name[:1] == "." or name[-1:] == ".":
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("name@example.com",)))
    return address


def parse_tax_id(text: str) -> str:
    """5 to 40 letters and digits in capitals, spaces taken out; raises INVALID_VALUE.

    Forms differ by country and year, so check digits are the tax office's affair.
    """
    tax_id = text.upper().replace(" ", "")
    if _TAX_ID.fullmatch(tax_id) is None:
        raise Refused(Problem(Code.INVALID_VALUE))
    return tax_id


def address_line(parts: Mapping[str, str | None]) -> str:
    """The parts country, province, city, district, street and postcode as one line.

    East Asian countries write from the large to the small without commas where the script needs none; all
    others from the street to the country.
    """
    country = parts.get("country") or ""
    held = [parts.get(name) or "" for name in _SMALL_TO_LARGE[1:5]]
    if country in _LARGE_FIRST:
        wide = any(ord(character) > 0x2E80 for part in held for character in part)
        hangul = any("가" <= character <= "힣" for part in held for character in part)
        joined = ("" if wide and not hangul else " ").join(part for part in held if part)
        return " ".join(part for part in (parts.get("postcode") or "", joined) if part)
    last = " ".join(part for part in (held[0], parts.get("postcode") or "") if part)
    return ", ".join(part for part in (held[3], held[2], held[1], last, country) if part)


def haversine_m(lat_a_e7: int, lon_a_e7: int, lat_b_e7: int, lon_b_e7: int) -> float:
    """Great-circle distance in metres between two positions given in degrees·10⁷."""
    lat_a, lat_b = math.radians(lat_a_e7 / E7), math.radians(lat_b_e7 / E7)
    lon = math.radians((lon_b_e7 - lon_a_e7) / E7)
    half = math.sin((lat_b - lat_a) / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(lon / 2) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(half)))
