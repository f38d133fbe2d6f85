"""Two devices change one record: nothing that was entered is lost without its author being told."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.contacts import CONTACT
from backend.domain.customers import CUSTOMER
from backend.domain.fields import field_paths
from backend.domain.merge import Merged, appended, merge_change, union, with_paths
from backend.domain.orders import ORDER
from backend.domain.tasks import TASK
from tests.domain.merge_cases import LARGE, LINE, MINE, SMALL, THEIRS, WHOLE_LINE, cases, vectors_text, with_expected

VECTORS = Path(__file__).parents[2] / "mobile_contract" / "vectors" / "merge.json"

cities = st.none() | st.sampled_from(["Seoul", "Busan", "Daegu"])
days = st.none() | st.integers(0, 365)
values = {"city": cities, "district": cities, "termsDays": days, "code": cities}
records = st.fixed_dictionaries(values)
changes = st.fixed_dictionaries({}, optional=values)
cells = st.dictionaries(st.sampled_from([SMALL, LARGE, "00000000-0000-7000-8000-000000000009"]), st.integers(0, 5))


def merged(current: dict[str, Any], change: dict[str, Any], **field_seq: tuple[int, str]) -> Merged:
    sent = {name.replace("__", "."): at for name, at in field_seq.items()}
    return merge_change(CUSTOMER, current, change, field_seq={"*": (10, THEIRS), **sent}, base_rev=10, writer=MINE)


def test_of_his_own_nobody_takes_away_what_he_was_not_shown() -> None:
    """His first tag and line were taken, and the answer could not show them: the record had left him."""
    own = (20, MINE)
    standing = {"tags": ["a"], "notes": "first", "city": "Seoul"}
    sent = {"tags": ["b"], "notes": "second", "city": "Busan"}

    def after(shown: dict[str, Any] | None) -> dict[str, object]:
        at = {"*": (10, THEIRS), "tags": own, "notes": own, "city": own}
        found = merge_change(CUSTOMER, standing, sent, field_seq=at, base_rev=10, writer=MINE, shown=shown)
        assert found.conflicts == []
        return found.accepted

    assert after({"tags": [], "notes": None, "city": None}) == {
        "tags": ["a", "b"], "notes": "first\nsecond", "city": "Busan",
    }  # fmt: skip
    replaced = {"tags": ["b"], "notes": "second", "city": "Busan"}
    assert after({"tags": [" a"], "notes": "first ", "city": "Seoul"}) == replaced, "he saw them and meant the others"
    assert after(None) == after({}) == replaced, "who does not say what he saw is taken at his word"


def test_the_committed_vectors_are_what_the_code_gives() -> None:
    assert VECTORS.read_text(encoding="utf-8") == vectors_text()


def test_every_case_loses_nothing() -> None:
    """What was sent is in the record, equal to what stood, or named in a conflict."""
    for one in cases():
        expected = with_expected(one)["expected"]
        text = json.dumps(expected)
        for path, sent in _leaves(one["change"]):
            stands = json.dumps(sent) in json.dumps(one["current"]) or sent in (0, None, True, LINE)
            assert stands or json.dumps(sent).strip('"').split("\\n")[-1] in text, (one["says"], path)


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [leaf for name, entry in value.items() for leaf in _leaves(entry, f"{path}.{name}")]
    if isinstance(value, list):
        return [leaf for entry in value for leaf in _leaves(entry, path)]
    return [(path, value)]


@given(records, changes, changes)
def test_what_two_devices_changed_apart_both_stands(
    base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]
) -> None:
    theirs = {name: value for name, value in theirs.items() if name not in mine}
    current = {**base, **theirs}
    found = merged(current, mine, **dict.fromkeys(theirs, (20, THEIRS)))
    assert found.conflicts == []
    assert with_paths(CUSTOMER, current, found.accepted) == {**base, **theirs, **mine}


@given(records, changes, changes)
def test_on_the_same_field_theirs_stands_and_mine_is_kept(
    base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]
) -> None:
    current = {**base, **theirs}
    found = merged(current, mine, **dict.fromkeys(theirs, (20, THEIRS)))
    fought = {name for name in mine.keys() & theirs.keys() if mine[name] != theirs[name]}
    assert {conflict.path: (conflict.mine, conflict.theirs) for conflict in found.conflicts} == {
        name: (mine[name], theirs[name]) for name in fought
    }
    assert with_paths(CUSTOMER, current, found.accepted) == {**base, **mine, **{n: theirs[n] for n in theirs}}


@given(records, changes)
def test_a_device_never_conflicts_with_itself(base: dict[str, Any], mine: dict[str, Any]) -> None:
    found = merged(base, mine, **dict.fromkeys(base, (99, MINE)))
    assert found.conflicts == []
    assert with_paths(CUSTOMER, base, found.accepted) == {**base, **mine}


@given(records, changes, changes)
def test_sending_a_merged_change_again_changes_nothing(
    base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]
) -> None:
    current = {**base, **theirs}
    seqs = dict.fromkeys(theirs, (20, THEIRS))
    once = merged(current, mine, **seqs)
    after = with_paths(CUSTOMER, current, once.accepted)
    again = merged(after, mine, **{**seqs, **dict.fromkeys(once.accepted, (30, MINE))})
    assert with_paths(CUSTOMER, after, again.accepted) == after


@given(cells, cells, cells)
def test_cells_of_one_line_are_apart(base: dict[str, int], mine: dict[str, int], theirs: dict[str, int]) -> None:
    def record(held: dict[str, int]) -> dict[str, Any]:
        lines = [{**WHOLE_LINE, "cells": {sku: n for sku, n in held.items() if n}}]
        return {"lines": [line for line in lines if line["cells"]]}

    current = record({**base, **theirs})
    found = merge_change(
        ORDER,
        current,
        {"lines": [{"id": LINE, "cells": mine}]},
        field_seq={"*": (10, THEIRS), **{f"lines.{LINE}.cells.{sku}": (20, THEIRS) for sku in theirs}},
        base_rev=10,
        writer=MINE,
    )
    if not current["lines"]:
        # the line is gone: a part of it is no line, and is kept whole
        assert (found.accepted, [c.path for c in found.conflicts]) == ({}, [f"lines.{LINE}"] if mine else [])
        return
    after = with_paths(ORDER, current, found.accepted)
    kept = {conflict.path.rpartition(".")[2]: conflict.mine for conflict in found.conflicts}
    held = {**base, **theirs, **{sku: n for sku, n in mine.items() if sku not in kept}}
    assert after == record(held)
    # 0 for a cell that is not there says what is so already
    assert kept == {sku: n for sku, n in mine.items() if sku in theirs and theirs[sku] != n}


def test_a_removed_line_beats_no_newer_edit_and_an_edit_brings_no_half_line_back() -> None:
    removal = {"lines": [{"id": LINE, "removed": True}]}
    edited = {"*": (10, THEIRS), f"lines.{LINE}.cells.{SMALL}": (20, THEIRS)}
    found = merge_change(ORDER, {"lines": [WHOLE_LINE]}, removal, field_seq=edited, base_rev=10, writer=MINE)
    assert found.accepted == {}
    assert [conflict.mine for conflict in found.conflicts] == [True]
    edit = {"lines": [{"id": LINE, "cells": {SMALL: 5}}]}
    found = merge_change(ORDER, {"lines": []}, edit, field_seq={"*": (20, THEIRS)}, base_rev=10, writer=MINE)
    assert found.accepted == {}
    assert [conflict.mine for conflict in found.conflicts] == [{"id": LINE, "cells": {SMALL: 5}}]


@given(st.lists(st.text(max_size=3)), st.lists(st.text(max_size=3)))
def test_a_union_holds_all_of_both_sorted_once(theirs: list[str], mine: list[str]) -> None:
    assert union(sorted(set(theirs)), mine) == sorted({*theirs, *mine})


texts = st.none() | st.lists(st.sampled_from(["no", "not now", "call", "x"]), min_size=1, max_size=4).map("\n".join)


@given(texts, texts)
def test_no_line_of_either_text_is_lost(theirs: str | None, mine: str | None) -> None:
    both = (appended(theirs, mine) or "").split("\n")
    for text in (theirs, mine):
        assert set((text or "").split("\n")) - {""} <= set(both)


@given(texts, texts)
def test_appending_again_adds_nothing(theirs: str | None, mine: str | None) -> None:
    once = appended(theirs, mine)
    assert appended(once, mine) == once
    assert appended(once, theirs) == once


@pytest.mark.parametrize(
    ("stands", "sent", "after", "conflicts"),
    [
        ("DONE", "OPEN", "DONE", ["state"]),
        ("DONE", "DONE", "DONE", []),
        ("OPEN", "DONE", "DONE", []),
        ("IN_PROGRESS", "SNOOZED", "SNOOZED", []),
    ],
)
def test_done_is_a_latch_against_a_stale_base(stands: str, sent: str, after: str, conflicts: list[str]) -> None:
    found = merge_change(
        TASK, {"state": stands}, {"state": sent}, field_seq={"state": (20, THEIRS)}, base_rev=10, writer=MINE
    )
    assert with_paths(TASK, {"state": stands}, found.accepted)["state"] == after
    assert [conflict.path for conflict in found.conflicts] == conflicts


def test_a_value_that_was_captured_later_wins_and_the_other_is_told_of() -> None:
    at = {"field_seq": {"preferredChannel": (20, THEIRS)}, "base_rev": 10, "writer": MINE}
    standing, sent = {"preferredChannel": "CALL"}, {"preferredChannel": "SMS"}
    late = merge_change(CONTACT, standing, sent, captured={"preferredChannel": 50}, captured_at_ms=60, **at)
    assert late.accepted == sent
    assert [(c.mine, c.theirs, mine_lost) for c, mine_lost in late.outrun] == [("SMS", "CALL", False)]
    early = merge_change(CONTACT, standing, sent, captured={"preferredChannel": 50}, captured_at_ms=40, **at)
    assert (early.accepted, early.conflicts) == ({}, [])
    assert [(c.mine, c.theirs, mine_lost) for c, mine_lost in early.outrun] == [("SMS", "CALL", True)]


def test_paths_of_a_record_put_back_give_the_record() -> None:
    record = {"city": "Seoul", "openHours": {"MON": "09:00-18:00"}, "tags": ["a"]}
    assert with_paths(CUSTOMER, {}, field_paths(CUSTOMER, record)) == record
    assert with_paths(ORDER, {}, field_paths(ORDER, {"lines": [WHOLE_LINE]})) == {"lines": [WHOLE_LINE]}
