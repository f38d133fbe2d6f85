"""Which records a phone holds may be the one about to be made: the server's rule, without the server.

Whole numbers and plain text only, for porting line by line; `vectors/duplicates.json` must come out the same. A
telephone number is compared in the form `+8613812345678`, as documents hold it. In JavaScript `isalnum` is
`/[\\p{L}\\p{N}]/u`, and texts are cut into code points, not UTF-16 units.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

Document = dict[str, Any]

LIKELY, POSSIBLE = 65, 40
POINTS = {
    "SAME_CODE": 60,
    "SAME_TAX_ID": 60,
    "SAME_PHONE": 40,
    "SAME_EMAIL": 40,
    "SAME_NAME": 45,
    "SAME_PERSON_NAME": 25,
    "NAME_ALIKE": 25,
    "NEAR": 25,
    "AROUND": 10,
    "SAME_BIRTHDAY": 25,
    "SAME_CUSTOMER": 25,
    "OTHER_TAX_ID": -40,
    "OTHER_KIND": -30,
    "OTHER_BIRTHDAY": -40,
    "FAR": -25,
}
ALIKE_PERCENT = 70
METRE_E7 = 90
NEAR_E7, AROUND_E7, FAR_E7 = 150 * METRE_E7, 1_000 * METRE_E7, 20_000 * METRE_E7
COS_PERCENT = (100, 98, 94, 87, 77, 64, 50, 34, 17)
LATIN_FORMS = re.compile(r"\b(?:incorporated|corporation|company|limited|corp|gmbh|inc|llc|ltd|co)\b", re.ASCII)
OTHER_FORMS = re.compile("股份有限公司|有限责任公司|有限公司|公司|주식회사|유한회사|\\(주\\)")


def likely(
    candidate: Document, held: Iterable[Document], customers_of: dict[str, set[str]] | None = None
) -> list[Document]:
    """The records of `held` that may be the candidate, best first: [{"id", "points", "level", "reasons"}].

    `customers_of`: contact id → ids of the customers it works at, given when contacts are compared; the
    candidate's own stand under its id.
    """
    found = []
    for record in held:
        if record["id"] == candidate.get("id"):
            continue
        reasons = evidence(candidate, record, customers_of)
        points = sum(POINTS[reason] for reason in reasons)
        if points >= POSSIBLE:
            level = "LIKELY" if points >= LIKELY else "POSSIBLE"
            found.append({"id": record["id"], "points": points, "level": level, "reasons": reasons})
    return sorted(found, key=lambda match: (-match["points"], match["id"]))


def evidence(one: Document, other: Document, customers_of: dict[str, set[str]] | None = None) -> list[str]:
    """The codes of what speaks for the two being one, or against it."""
    customers = customers_of is None
    kinds = [one.get("kind"), other.get("kind")]
    found = ["SAME_CODE"] if customers and same(one, other, "code") else []
    found += tax_evidence(one, other) if customers else []
    found += [code for code, name in (("SAME_PHONE", "phone"), ("SAME_EMAIL", "email")) if same(one, other, name)]
    if not (customers and one_chain(one, other)):
        found += name_evidence(one, other, person=not customers or "CONSUMER" in kinds)
    if customers:
        found += distance_evidence(one, other)
        if None not in kinds and (kinds[0] == "CONSUMER") != (kinds[1] == "CONSUMER"):
            found.append("OTHER_KIND")
        return found
    if one.get("birthDate") and other.get("birthDate"):
        found.append("SAME_BIRTHDAY" if one["birthDate"] == other["birthDate"] else "OTHER_BIRTHDAY")
    held = (
        [customers_of.get(record.get("id", ""), set()) for record in (one, other)] if customers_of else [set(), set()]
    )
    return [*found, "SAME_CUSTOMER"] if held[0] & held[1] else found


def tax_evidence(one: Document, other: Document) -> list[str]:
    if one_chain(one, other) or not (one.get("taxId") and other.get("taxId")):
        return []
    return ["SAME_TAX_ID" if same(one, other, "taxId") else "OTHER_TAX_ID"]


def one_chain(one: Document, other: Document) -> bool:
    """Doors of one chain share its tax number and its name, so neither says anything of them."""
    heads = [record.get("parentId") or record.get("id") for record in (one, other)]
    return heads[0] is not None and heads[0] == heads[1]


def name_evidence(one: Document, other: Document, *, person: bool) -> list[str]:
    """Many people have the same name, and more have one like it; few companies do."""
    alike = max((alike_percent(a, b) for a in cores(one) for b in cores(other)), default=0)
    if alike == 100:
        return ["SAME_PERSON_NAME" if person else "SAME_NAME"]
    return ["NAME_ALIKE"] if alike >= ALIKE_PERCENT and not person else []


def same(one: Document, other: Document, name: str) -> bool:
    return bool(one.get(name)) and one[name].lower() == (other.get(name) or "").lower()


def fold(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())


def core(name: str) -> str:
    """A name without legal forms, spaces and marks; of one that is nothing else, all of it."""
    whole = fold(name)
    bare = OTHER_FORMS.sub(" ", LATIN_FORMS.sub(" ", whole))
    return "".join(c for c in bare if c.isalnum()) or "".join(c for c in whole if c.isalnum())


def cores(record: Document) -> list[str]:
    found = [core(record[name]) for name in ("nameZh", "nameKo", "nameEn") if record.get(name)]
    return list(dict.fromkeys(text for text in found if text))


def alike_percent(one: str, other: str) -> int:
    """Pairs of neighbouring characters in both, twice, in percent of all; 100 only says more when texts are equal."""
    if one == other:
        return 100
    pairs, others = ({text[at : at + 2] for at in range(len(text) - 1)} for text in (one, other))
    return 200 * len(pairs & others) // (len(pairs) + len(others)) if pairs and others else 0


def distance_evidence(one: Document, other: Document) -> list[str]:
    at = [record.get(name) for record in (one, other) for name in ("latE7", "lonE7")]
    if None in at:
        return []
    north, east = abs(at[0] - at[2]), abs(at[1] - at[3])
    east = min(east, 3_600_000_000 - east) * COS_PERCENT[min(abs(at[0]) // 100_000_000, 8)] // 100
    if max(north, east) > FAR_E7 or north * north + east * east > FAR_E7 * FAR_E7:
        return ["FAR"]
    square = north * north + east * east
    return ["NEAR"] if square <= NEAR_E7 * NEAR_E7 else ["AROUND"] if square <= AROUND_E7 * AROUND_E7 else []
