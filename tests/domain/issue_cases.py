"""Documents of `syncIssues`, for clients that tell them to people without asking the server.

`vectors_text` is the file `mobile_contract/vectors/issues.json`; a test keeps it equal to what the code gives.
"""

import json
from typing import Any

from backend.config import load_messages
from backend.domain.issue_words import tell_issue
from backend.domain.issues import CONFLICT_WAYS, REFUSED_WAYS
from backend.domain.messages import LOCALES

Document = dict[str, Any]

WEI, CHIEF, OTHER = (f"00000000-0000-7000-8000-0000000000a{n}" for n in range(3))
RECORD, LINE, MEDIUM, LARGE, STYLE, NAVY, SEASON = (f"00000000-0000-7000-8000-0000000000b{n}" for n in range(7))
READERS = (WEI, CHIEF)

SHOP = {
    "customer": {"zh": "海之服饰", "ko": "하이즈", "en": "Haizhi Store"},
    "zone": "Asia/Shanghai",
    "currency": "CNY",
}
SEOUL = {"customer": {"ko": "온유"}, "zone": "Asia/Seoul", "currency": "KRW"}
NAMES = {
    MEDIUM: {"zh": "藏青", "ko": "네이비", "en": "navy", "code": "NV", "size": "M"},
    LARGE: {"zh": "藏青", "en": "navy", "size": "L"},
    STYLE: {"en": "Oxford shirt", "zh": "牛津衬衫", "code": "ST-1"},
    NAVY: {"zh": "藏青", "ko": "네이비", "en": "navy", "code": "NV"},
    OTHER: {"name": "Park Ji-ho"},
    SEASON: {"en": "Autumn 2026", "zh": "2026秋", "ko": "2026 가을"},
}


def issue(collection: str = "customers", **more: Any) -> Document:
    """An issue of Wei's, whose manager changed the same thing."""
    return {
        "id": "00000000-0000-7000-8000-0000000000c0",
        "collection": collection,
        "recordId": RECORD,
        "mutationId": None,
        "code": "CONFLICT",
        "field": None,
        "base": None,
        "mine": None,
        "theirs": None,
        "theirsBy": CHIEF,
        "theirsName": "Chen Lan",
        "theirsAt": "2026-11-22T06:30:00.000Z",
        "theirsRev": 1_099_511_627_800,
        "authorId": WEI,
        "authorName": "Wang Wei",
        "waysOut": list(CONFLICT_WAYS),
        "state": "OPEN",
        "capturedAt": "2026-11-22T04:00:00.000Z",
        "createdAt": "2026-11-22T08:00:00.000Z",
        "intent": "PATCH",
        "baseRev": 1_099_511_627_790,
        "problems": [],
        "about": SHOP,
        "names": NAMES,
        "resolution": None,
        "resolvedValue": None,
        "resolvedBy": None,
        "resolvedName": None,
        "resolvedAt": None,
        "history": [],
        **more,
    }


def problem(code: str, *path: str, allowed: tuple[str, ...] = (), **params: Any) -> Document:
    return {"code": code, "path": list(path), "allowed": list(allowed), "params": params}


def refused(collection: str, *problems: Document, **more: Any) -> Document:
    first = problems[0]
    return issue(
        collection,
        **{
            "code": first["code"],
            "field": ".".join(first["path"]) or None,
            "problems": list(problems),
            "waysOut": list(REFUSED_WAYS),
            "theirsBy": None,
            "theirsName": None,
            "theirsAt": None,
            "intent": "CREATE",
            **more,
        },
    )


def cases() -> list[tuple[str, Document]]:
    order = {**SHOP, "number": "SO-1A2B3C", "day": "2026-11-20"}
    visit = {**SHOP, "at": "2026-11-22T16:30:00.000Z"}
    cell = f"lines.{LINE}.cells.{MEDIUM}"
    return [
        ("a number, with what it was", issue(field="termsDays", base=30, mine=60, theirs=45)),
        ("without what it was", issue(field="city", mine="上海", theirs="杭州")),
        ("against nothing", issue(field="city", mine="上海", theirs=None)),
        ("money without decimals", issue(field="creditLimitMinor", base=0, mine=-1_500_000, theirs=2, about=SEOUL)),
        ("money with decimals", issue(field="creditLimitMinor", mine=123_456_789, theirs=5)),
        ("a weekday of the opening hours", issue(field="openHours.MON", mine="09:00-18:00", theirs="10:00-19:00")),
        ("a position", issue(field="latE7", mine=312_304_000, theirs=-5)),
        ("tags that did not fit", issue(field="tags", mine=["a", "b"], theirs=["c"])),
        ("a long text", issue(field="notes", base="one", mine="two\nlines", theirs="x" * 300)),
        ("a colleague", issue("visits", field="repId", mine=OTHER, theirs=WEI, about=visit)),
        ("a cell of an order", issue("orders", field=cell, base=12, mine=10, theirs=8, about=order)),
        (
            "a cell unknown here",
            issue("orders", field=cell, mine=10, theirs=8, about={**order, "number": None}, names={}),
        ),
        (
            "a discount of a line",
            issue("orders", field=f"lines.{LINE}.discountBp", base=0, mine=1_250, theirs=500, about=order),
        ),
        (
            "a line that is gone",
            issue(
                "orders",
                field=f"lines.{LINE}",
                theirs=None,
                about=order,
                base={"id": LINE, "styleId": STYLE, "cells": {MEDIUM: 2}},
                mine={"id": LINE, "cells": {LARGE: 3}},
            ),
        ),
        (
            "a line to be taken away",
            issue("orders", field=f"lines.{LINE}.removed", mine=True, theirs=None, about=order),
        ),
        (
            "a wanted ship date",
            issue("orders", field="requestedShipOn", base="2026-12-01", mine="2026-12-05", theirs=None, about=order),
        ),
        (
            "a moment in the customer's zone",
            issue(
                "visits",
                field="plannedAt",
                mine="2026-11-30T01:00:00.000Z",
                theirs="2026-11-30T23:30:00.000Z",
                about=visit,
            ),
        ),
        (
            "a state in words",
            issue(
                "tasks", field="state", base="OPEN", mine="SNOOZED", theirs="DONE", about={**SHOP, "title": "寄样衣"}
            ),
        ),
        (
            "yes and no",
            issue(
                "customerContacts",
                field="primary",
                base=False,
                mine=True,
                theirs=False,
                about={**SHOP, "contact": {"zh": "李娜"}},
            ),
        ),
        ("a season", issue("orders", field="seasonId", mine=SEASON, theirs=RECORD, about={**SHOP})),
        (
            "another device of the same person",
            issue(field="termsDays", mine=60, theirs=45, theirsBy=WEI, theirsName="Wang Wei"),
        ),
        ("the system", issue(field="termsDays", mine=60, theirs=45, theirsBy="import", theirsName="", theirsAt=None)),
        (
            "settled by its author",
            issue(
                field="termsDays",
                base=30,
                mine=60,
                theirs=45,
                state="RESOLVED",
                resolution="KEEP_MINE",
                resolvedBy=WEI,
                resolvedName="Wang Wei",
                resolvedAt="2026-11-23T01:00:00.000Z",
            ),
        ),
        (
            "a later capture",
            issue(
                "contacts",
                field="preferredChannel",
                mine="SMS",
                theirs="WECHAT",
                waysOut=[],
                state="RESOLVED",
                resolution="LATER_CAPTURE",
                resolvedAt="2026-11-22T08:00:00.000Z",
                about={"contact": {"ko": "김민서"}},
            ),
        ),
        (
            "refused for several reasons",
            refused(
                "customers",
                problem("OUT_OF_RANGE", "termsDays", allowed=("0", "365")),
                problem("REQUIRED", "kind", allowed=("kind",)),
                mine={
                    "nameKo": "온유",
                    "termsDays": 9_999,
                    "openHours": {"MON": "09:00-18:00"},
                    "tags": ["a"],
                    "city": None,
                },
                about={"customer": {"ko": "온유"}},
            ),
        ),
        (
            "refused, in a form nobody reads",
            refused(
                "customers",
                problem("INVALID_VALUE", "termsDays", allowed=("integer",)),
                mine={"termsDays": {"a": [1]}, "colour": "red"},
                about={},
            ),
        ),
        (
            "a step that is not possible",
            refused(
                "visits",
                problem("INVALID_TRANSITION", "state", allowed=("COMPLETED", "ABORTED"), enum="VisitState"),
                mine={"state": "MISSED"},
                intent="PATCH",
                about=visit,
            ),
        ),
        (
            "an order with a line that is wrong",
            refused(
                "orders",
                problem("SKU_DISCONTINUED", "lines", "0", "cells", MEDIUM),
                mine={
                    "customerId": RECORD,
                    "currency": "CNY",
                    "lines": [
                        {
                            "id": LINE,
                            "styleId": STYLE,
                            "colourId": NAVY,
                            "unitPriceMinor": 12_900,
                            "cells": {MEDIUM: 3, LARGE: 1},
                        }
                    ],
                },
                names={**NAMES, RECORD: SHOP["customer"]},
                about=SHOP,
            ),
        ),
        (
            "a consent with a wrong moment",
            refused(
                "contacts",
                problem("INVALID_VALUE", "consentEvents", "0", "at", allowed=("YYYY-MM-DDTHH:MM:SS.mmmZ",)),
                mine={"consentEvents": [{"channel": "SMS", "purpose": "MARKETING", "change": "GIVEN", "at": "now"}]},
                intent="PATCH",
                about={"contact": {"zh": "李娜"}},
            ),
        ),
        (
            "its group failed",
            refused(
                "tasks",
                problem("DEPENDENCY_FAILED", "group"),
                mine={"title": "寄样衣", "dueOn": "2026-12-01"},
                about={**SHOP, "title": "寄样衣"},
            ),
        ),
        (
            "not to be found",
            refused("visits", problem("NOT_FOUND", "customerId"), mine={"customerId": OTHER[:-1] + "9"}, about={}),
        ),
        (
            "a deletion that came too late",
            refused("customers", problem("CONFLICT", "id"), mine={"delete": True}, intent="DELETE"),
        ),
        (
            "of a collection nobody knows",
            refused(
                "fridges",
                problem("NOT_ALLOWED_VALUE", "collection", allowed=("customers",)),
                mine={"cold": True},
                about={},
                waysOut=["DISCARD"],
            ),
        ),
        (
            "kept by an older server",
            issue(
                "tasks",
                code="REQUIRED",
                field="title",
                mine={"notes": "x"},
                problems=None,
                about=None,
                names=None,
                waysOut=["CHANGE_AND_SEND_AGAIN", "DISCARD"],
            ),
        ),
        (
            "deleted unseen",
            issue(
                "tasks",
                code="DELETED",
                mine={"title": "寄样衣", "dueAt": "2026-11-22T08:00:00.000Z"},
                problems=[problem("DELETED")],
                waysOut=["ACCEPT"],
                about={**SHOP, "title": "寄样衣"},
            ),
        ),
        (
            "closed without check-out",
            issue(
                "visits",
                code="NO_CHECK_OUT",
                field="state",
                mine="CHECKED_IN",
                theirs="ABORTED",
                theirsBy=None,
                theirsName=None,
                waysOut=["ACCEPT"],
                about=visit,
            ),
        ),
    ]


def with_expected(says: str, one: Document) -> Document:
    messages = load_messages()
    expected = []
    for reader in READERS:
        for locale in LOCALES:
            told = tell_issue(messages, one, locale, reader)
            ways = [{"code": code, "label": label} for code, label in told.ways]
            expected.append({"reader": reader, "locale": locale, "title": told.title, "text": told.text, "ways": ways})
    return {"says": says, "issue": one, "expected": expected}


def vectors_text() -> str:
    lines = [json.dumps(with_expected(*one), sort_keys=True, ensure_ascii=False) for one in cases()]
    return '{"cases": [\n' + ",\n".join(lines) + "\n]}\n"
