"""The message catalogue: complete in every language, and problems told in whole sentences."""

import importlib
import pkgutil
import re
from enum import StrEnum
from pathlib import Path

import pytest

import backend.domain
from backend.auth.principal import PrincipalKind
from backend.config import load_messages
from backend.domain.answers import ANSWER
from backend.domain.cases import CASE
from backend.domain.contacts import CONTACT, CUSTOMER_CONTACT
from backend.domain.customers import CUSTOMER
from backend.domain.fields import Kind, Merge, Shape, validate
from backend.domain.forms import FORM
from backend.domain.judgements import JUDGEMENT
from backend.domain.messages import LOCALES, label, locale_of, placeholders, render, render_problem
from backend.domain.orders import ORDER, discount_problems
from backend.domain.permissions import Role
from backend.domain.predicates import Kind as PredicateKind
from backend.domain.predicates import Op
from backend.domain.steps import step_problem
from backend.domain.tasks import TASK
from backend.domain.territories import TERRITORY
from backend.domain.visits import VISIT, VISIT_STEPS
from backend.errors import BadSetting, Code, Problem, Retry

MESSAGES = load_messages()
ENGLISH = MESSAGES["en"]
NOT_FOR_PEOPLE = {Kind, Merge, PredicateKind, Op}
"""How fields are declared; nobody reads these on a screen."""


def domain_enums() -> list[type[StrEnum]]:
    modules = [
        importlib.import_module(f"backend.domain.{module.name}")
        for module in pkgutil.iter_modules(backend.domain.__path__)
    ]
    found = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, StrEnum) and value.__module__ == module.__name__
    }
    return sorted(found - NOT_FOR_PEOPLE, key=lambda enum: enum.__name__)


def shapes() -> list[Shape]:
    outer = [CUSTOMER, CONTACT, CUSTOMER_CONTACT, VISIT, ORDER, TASK, TERRITORY, FORM, ANSWER, CASE, JUDGEMENT]
    return [*outer, *(field.record for shape in outer for field in shape.fields if field.record)]


def test_the_three_languages_have_the_same_keys() -> None:
    assert set(MESSAGES) == set(LOCALES)
    for locale, texts in MESSAGES.items():
        assert set(texts) == set(ENGLISH), locale
        assert all(text.strip() for text in texts.values()), locale


def test_every_code_enum_value_and_field_has_its_text() -> None:
    enums = [*domain_enums(), Retry, PrincipalKind]
    assert len(enums) > 25
    wanted = {f"problem.{code}" for code in Code}
    wanted |= {f"enum.{enum.__name__}.{member.value}" for enum in enums for member in enum}
    wanted |= {f"field.{field.name}" for shape in shapes() for field in shape.fields}
    assert wanted - set(ENGLISH) == set()
    assert {key for key in ENGLISH if key.startswith("problem.") and key[8:].isupper()} <= wanted


def test_no_text_waits_for_a_reader_who_never_comes() -> None:
    sources = "".join(
        path.read_text()
        for folder, pattern in (("backend", "*.py"), ("mobile_contract", "*.ts"))
        for path in Path(folder).rglob(pattern)
        if "node_modules" not in path.parts
    )
    # a client that shows the measures of a score calls them by these names
    families = {key.partition(".")[0] for key in ENGLISH} - {"measure"}
    assert {family for family in families if not re.search(rf"""["'`]{family}\.""", sources)} == set()


def test_two_enums_never_share_a_name() -> None:
    names = [enum.__name__ for enum in domain_enums()]
    assert len(set(names)) == len(names)


def test_placeholders_are_the_same_in_every_language() -> None:
    for key, text in ENGLISH.items():
        for locale in LOCALES:
            assert placeholders(MESSAGES[locale][key]) == placeholders(text), (locale, key)
            assert MESSAGES[locale][key].count("{") == MESSAGES[locale][key].count("}") == text.count("{")


def test_chinese_and_korean_texts_are_written_in_their_script() -> None:
    for key in set(ENGLISH) - {"list.separator"}:
        words = re.sub(r"\{\w+\}", "", ENGLISH[key])
        chinese, korean = MESSAGES["zh-CN"][key], MESSAGES["ko"][key]
        if not re.search(r"[A-Za-z]{2}", words):
            continue
        assert re.search(r"[\u4e00-\u9fff]", chinese), key
        assert re.search(r"[가-힣]|^\{count\}k?m$", korean), key
        assert not re.search(r"[가-힣]", chinese), key
        assert not re.search(r"[\u4e00-\u9fff]", korean), key
        assert not re.search(r"[\u4e00-\u9fff가-힣]", ENGLISH[key]), key


def test_a_problem_says_what_to_do_next() -> None:
    for code in Code:
        for locale, end in (("en", "."), ("zh-CN", "。"), ("ko", ".")):
            text = MESSAGES[locale][f"problem.{code}"]
            assert text.endswith(end), (locale, code)
            assert len(re.findall(r"[.。;；，,]", text)) >= 2, (locale, code)


def test_a_reader_gets_his_language_or_english() -> None:
    asked = ["zh", "zh-TW", "zh_CN", "ko-KR", "en-GB", "fr", ""]
    assert [locale_of(one) for one in asked] == ["zh-CN", "zh-CN", "zh-CN", "ko", "en", "en", "en"]


def test_values_take_the_place_of_their_names() -> None:
    assert render(MESSAGES, "unit.day.other", "en", {"count": 3}) == "3 days"
    assert render(MESSAGES, "unit.day.other", "ko", {"count": 3}) == "3일"
    assert render(MESSAGES, "unit.day.other", "en") == "– days"
    with pytest.raises(KeyError):
        render(MESSAGES, "no.such.key", "en")


def test_an_enum_value_nobody_knows_yet_is_shown_as_it_is() -> None:
    assert label(MESSAGES, "VisitState", "CHECKED_IN", "zh") == "已签到"
    assert label(MESSAGES, "VisitState", "TELEPORTED", "zh") == "TELEPORTED"


def test_a_problem_is_told_with_field_and_possible_values() -> None:
    sku = "01890a5d-ac96-774b-bcce-b302099a80aa"
    _, problems = validate(ORDER, {"lines": [{"id": sku, "cells": {sku: -3}}]}, creating=False)
    assert render_problem(MESSAGES, problems[0], "en") == (
        "Order lines 1 › Sizes and quantities is outside the possible range. Choose a value inside it. "
        "Possible: 0 – 1000000."
    )
    problem = step_problem(VISIT_STEPS, "CHECKED_IN", "MISSED", Role.REP.value)
    assert problem is not None
    assert (
        render_problem(MESSAGES, problem, "zh") == "当前状态不能执行此步骤。请选择可行的下一步。可选：已完成、已中止。"
    )
    _, problems = validate(CUSTOMER, {"kind": "RETAILER"}, creating=True)
    assert render_problem(MESSAGES, problems[0], "ko") == (
        "중국어 이름 값이 비어 있습니다. 입력한 뒤 다시 저장하세요. 가능한 값: 중국어 이름, 한국어 이름, 영어 이름."
    )
    assert render_problem(MESSAGES, Problem(Code.REQUIRED, ("kind",), allowed=("kind",)), "en") == (
        "Kind is missing. Fill it in and save again."
    )
    assert render_problem(MESSAGES, discount_problems([{"discountBp": 1251}], 1250)[0], "en") == (
        "The discount is above the 12.5% you may give. Lower it or ask your manager."
    )
    assert render_problem(MESSAGES, Problem(Code.DELETED), "en").startswith("This record was deleted.")
    assert render_problem(MESSAGES, Problem(Code.REQUIRED), "en").startswith("This record is missing.")
    assert render_problem(MESSAGES, Problem(Code.CONFLICT), "en").startswith("Somebody else changed this record")


def test_no_text_ends_with_an_empty_place() -> None:
    for code in Code:
        for locale in LOCALES:
            told = render_problem(
                MESSAGES, Problem(code, ("notes",), ("3",), {"percent": 5, "id": "x", "retryAfterSeconds": 3}), locale
            )
            assert "–" not in told, told
            assert "{" not in told


def test_a_broken_catalogue_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(BadSetting):
        load_messages(tmp_path)
    (tmp_path / "en.json").write_text("{", "utf-8")
    with pytest.raises(BadSetting, match=r"en\.json"):
        load_messages(tmp_path)
