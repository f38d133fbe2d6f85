"""A sync issue in words: whole sentences in each language, the same on a phone; and what each way out writes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.config import load_messages
from backend.domain.fields import Field, Kind, Shape, field_paths, validate
from backend.domain.issue_words import IssueKind, field_kinds, kind_of, tell_issue
from backend.domain.issues import SHAPES, WayOut, change_at, corrected, restored
from backend.domain.messages import LOCALES
from backend.domain.orders import ORDER
from backend.errors import Code
from mobile_contract import issues as reference
from tests.domain.issue_cases import (
    CHIEF,
    LARGE,
    LINE,
    MEDIUM,
    NAMES,
    NAVY,
    RECORD,
    SHOP,
    STYLE,
    WEI,
    cases,
    issue,
    problem,
    refused,
    vectors_text,
)

CONTRACT = Path(reference.__file__).parent
MESSAGES = load_messages()
TEXTS, FIELDS = reference.load()
RAW = re.compile(
    r"\{|\}|[A-Z]{2,}_[A-Z]|[0-9a-f]{8}-[0-9a-f]{4}|\b[a-z]+[A-Z][A-Za-z]*\b|\bNone\b|\bnull\b|\bTrue\b|–\.|: [.。]"
)
"""What no reader should meet: placeholders, codes, ids, names of fields, and values that are not there."""
NAMED = re.compile(r"KakaoTalk|WeChat|Wang Wei|Chen Lan")


def test_the_committed_vectors_are_what_the_code_gives() -> None:
    assert (CONTRACT / "vectors" / "issues.json").read_text("utf-8") == vectors_text()


def test_the_kinds_of_fields_are_up_to_date() -> None:
    assert json.loads((CONTRACT / "fields.json").read_text("utf-8")) == field_kinds(), "run: selvedge contract"


def test_a_phone_tells_every_case_in_the_very_words() -> None:
    seen: set[str] = set()
    for case in json.loads((CONTRACT / "vectors" / "issues.json").read_text("utf-8"))["cases"]:
        seen.add(kind_of(case["issue"]))
        assert len(case["expected"]) == 2 * len(LOCALES)
        for expected in case["expected"]:
            told = reference.tell_issue(
                TEXTS[expected["locale"]], FIELDS, case["issue"], expected["locale"], expected["reader"]
            )
            assert told == {name: expected[name] for name in ("title", "text", "ways")}, case["says"]
    assert seen == set(IssueKind)


def sample(declared: Field, other: bool = False) -> Any:
    """A value of a field's kind; of two, another one."""
    match declared.kind:
        case Kind.ENUM:
            return declared.values[-1 if other else 0] if declared.values else "A"
        case Kind.INT | Kind.MONEY_MINOR:
            return 7 if other else 1_234
        case Kind.TIMESTAMP:
            return "2026-11-22T04:00:00.000Z" if other else "2026-01-05T23:30:00.000Z"
        case Kind.DATE:
            return "2026-11-22" if other else "2026-01-05"
        case Kind.ID:
            return MEDIUM if other else RECORD
        case Kind.SET:
            return list(declared.values[:2]) or (["vip"] if other else ["new", "vip"])
        case Kind.BOOL:
            return other
        case Kind.MAP:
            return {declared.values[0]: "a", declared.values[-1]: "b"} if declared.values else {"a": "b"}
        case Kind.CELLS:
            return {MEDIUM: 3, LARGE: 2 if other else 1}
        case Kind.RECORDS:
            assert declared.record is not None
            return [{inner.name: sample(inner) for inner in declared.record.client_fields}]
        case _:
            return "some text" if other else "another text"


def places(shape: Shape, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(path, one value, another) for every place of a collection that can conflict."""
    found: list[tuple[str, Any, Any]] = []
    for declared in shape.client_fields:
        path = f"{prefix}{declared.name}"
        if declared.kind in (Kind.MAP, Kind.CELLS):
            keys = [MEDIUM] if declared.kind is Kind.CELLS else list(declared.values)
            found += [(f"{path}.{key}", 3 if declared.kind is Kind.CELLS else "a", None) for key in keys]
        elif declared.record is not None and declared.record.key:
            found += places(declared.record, f"{path}.{LINE}.")
            found.append((f"{path}.{LINE}", {"id": LINE, "cells": {MEDIUM: 1}}, None))
        else:
            found.append((path, sample(declared), sample(declared, other=True)))
    return found


ABOUT = {**SHOP, "contact": {"zh": "李娜"}, "title": "寄样衣", "number": "SO-1", "day": "2026-11-20"}
KNOWN = {**NAMES, RECORD: SHOP["customer"], LINE: {"name": "Line"}}


def check(told: Any, locale: str, about: object) -> None:
    for text in (told.title, told.text, *(label for _, label in told.ways)):
        assert text.strip(), about
        assert RAW.search(NAMED.sub("", text)) is None, (about, locale, text)
    end = "。" if locale == "zh-CN" else "."
    assert told.text.endswith(end), (about, told.text)
    if locale == "zh-CN":
        assert re.search(r"[\u4e00-\u9fff]", told.text), about
    if locale == "ko":
        assert re.search(r"[가-힣]", told.text), about


@pytest.mark.parametrize("collection", SHAPES)
def test_every_field_that_can_conflict_is_told_in_whole_sentences(collection: str) -> None:
    for path, mine, theirs in places(SHAPES[collection]):
        for base in (None, theirs):
            one = issue(collection, field=path, base=base, mine=mine, theirs=theirs, about=ABOUT, names=KNOWN)
            for locale in LOCALES:
                for reader in (WEI, CHIEF):
                    told = tell_issue(MESSAGES, one, locale, reader)
                    check(told, locale, (collection, path))
                    fields = reference.tell_issue(TEXTS[locale], FIELDS, one, locale, reader)
                    assert (told.title, told.text) == (fields["title"], fields["text"])


@pytest.mark.parametrize("collection", SHAPES)
def test_every_code_at_every_field_is_told_in_whole_sentences(collection: str) -> None:
    shape = SHAPES[collection]
    for code in Code:
        for declared in shape.client_fields:
            params = {"percent": 5, "id": "77", "enum": declared.enum}
            allowed = declared.values[:2] or ("3",)
            reason = problem(code.value, declared.name, allowed=allowed, **params)
            one = refused(collection, reason, mine={declared.name: sample(declared)}, about=ABOUT, names=KNOWN)
            for locale in LOCALES:
                told = tell_issue(MESSAGES, one, locale, WEI)
                check(told, locale, (collection, code, declared.name))
                fields = reference.tell_issue(TEXTS[locale], FIELDS, one, locale, WEI)
                assert (told.title, told.text) == (fields["title"], fields["text"])


def test_every_way_out_has_its_words() -> None:
    one = issue(field="termsDays", mine=1, theirs=2, waysOut=[way.value for way in WayOut])
    for locale in LOCALES:
        told = tell_issue(MESSAGES, one, locale, WEI)
        labels = [label for _, label in told.ways]
        assert len(set(labels)) == len(WayOut), "no two ways are called the same"
        assert not set(labels) & set(WayOut)


@pytest.mark.parametrize(("says", "one"), cases(), ids=lambda value: value if isinstance(value, str) else "")
def test_the_reader_is_told_whose_value_stands(says: str, one: dict[str, Any]) -> None:
    told = tell_issue(MESSAGES, one, "en", WEI)
    if kind_of(one) is IssueKind.CONFLICT:
        assert told.text.count("That is what stands.") == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(JSON, JSON, JSON, st.sampled_from([path for name in SHAPES for path, _, _ in places(SHAPES[name])]))
def test_whatever_was_sent_is_told_and_never_stumbles(base: Any, mine: Any, theirs: Any, path: str) -> None:
    for one in (
        issue("orders", field=path, base=base, mine=mine, theirs=theirs),
        refused("orders", problem("INVALID_VALUE", "lines"), mine=mine),
    ):
        told = tell_issue(MESSAGES, one, "ko", CHIEF)
        fields = reference.tell_issue(TEXTS["ko"], FIELDS, one, "ko", CHIEF)
        assert (told.title, told.text) == (fields["title"], fields["text"])


@pytest.mark.parametrize("collection", ["customers", "contacts", "visits", "orders", "tasks"])
def test_what_is_put_back_at_a_path_is_a_change_of_that_path_alone(collection: str) -> None:
    shape = SHAPES[collection]
    for path, value, _ in places(shape):
        declared = shape.field(path.partition(".")[0])
        if path == f"lines.{LINE}" or path.endswith((".removed", ".id")) or (declared and declared.fixed):
            continue
        clean, _ = validate(shape, change_at(shape, path, value), creating=False)
        touched = set(field_paths(shape, clean))
        assert touched <= {path}, path


@pytest.mark.parametrize("key", ["shelfMetres", "notes", "city", "customers", "set"])
def test_an_own_field_is_called_by_its_key(key: str) -> None:
    """Also where a key is the name of another field, which has a word of its own."""
    lost = issue(field=f"custom.{key}", mine=4, theirs=5)
    wrong = [{"code": "OUT_OF_RANGE", "path": ["custom", key], "allowed": ["0", "3"], "params": {}}]
    refused = issue(code="REFUSED", mine={"custom": {key: 4}}, problems=wrong, waysOut=["DISCARD"])
    for locale in LOCALES:
        own = TEXTS[locale]["field.custom"]
        for one, found in ((lost, "title"), (refused, "text")):
            server = tell_issue(MESSAGES, one, locale, WEI)
            phone = reference.tell_issue(TEXTS[locale], FIELDS, one, locale, WEI)
            assert (server.title, server.text) == (phone["title"], phone["text"])
            assert own in phone[found]
            assert key in phone[found], (locale, phone)
        told = phone["text"].partition(own)[2]
        assert told.startswith(f" › {key}"), phone["text"]


def test_an_entry_is_taken_away_as_a_change_does_it() -> None:
    assert change_at(ORDER, f"lines.{LINE}.cells.{MEDIUM}", None) == {"lines": [{"id": LINE, "cells": {MEDIUM: 0}}]}
    assert change_at(ORDER, f"lines.{LINE}", None) == {"lines": [{"id": LINE, "removed": True}]}
    assert change_at(SHAPES["customers"], "openHours.MON", None) == {"openHours": {"MON": None}}


def test_a_part_of_a_line_that_is_gone_comes_back_with_the_rest_of_it() -> None:
    base = {"id": LINE, "styleId": STYLE, "colourId": NAVY, "unitPriceMinor": 9, "cells": {MEDIUM: 2}, "units": 2}
    mine = {"id": LINE, "cells": {LARGE: 3}}
    whole = restored(ORDER, f"lines.{LINE}", base, mine)
    assert change_at(ORDER, f"lines.{LINE}", whole) == {
        "lines": [{"id": LINE, "styleId": STYLE, "colourId": NAVY, "unitPriceMinor": 9, "cells": {MEDIUM: 2, LARGE: 3}}]
    }
    assert restored(ORDER, f"lines.{LINE}.cells.{LARGE}", base, 3) == 3


def test_corrections_change_what_they_name_and_nothing_else() -> None:
    lines = [{"id": LINE, "cells": {MEDIUM: 2, LARGE: 1}}, {"id": RECORD, "cells": {MEDIUM: 1}}]
    kept = {"currency": "CNY", "lines": lines, "colour": "red"}
    fields = {"currency": "KRW", "lines": [{"id": LINE, "cells": {LARGE: 0}}, {"id": RECORD, "removed": True}]}
    assert corrected(ORDER, kept, fields, ["colour"]) == {
        "currency": "KRW",
        "lines": [{"id": LINE, "cells": {MEDIUM: 2}}],
    }
    assert kept["lines"] == lines, "what was kept stays as it was"
