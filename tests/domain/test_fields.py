"""Declared fields: what is taken, what is refused, and the units a change is merged by."""

from enum import StrEnum

from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.fields import (
    Field,
    Kind,
    Merge,
    Shape,
    enum_field,
    field_paths,
    in_order,
    policy_of,
    server_field,
    together,
    validate,
    whole_problems,
    with_defaults,
)
from backend.errors import Code

ID_A = "01890a5d-ac96-774b-bcce-b302099a8057"
ID_B = "01890a5d-ac96-774b-bcce-b302099a8058"
SKU = "01890a5d-ac96-774b-bcce-b302099a80aa"


class Size(StrEnum):
    S = "S"
    L = "L"


LINE = Shape(
    "line",
    (
        Field("id", Kind.ID, nullable=False, fixed=True),
        Field("price", Kind.MONEY_MINOR, nullable=False, least=0),
        Field("cells", Kind.CELLS, nullable=False, limit=3, most=99),
    ),
    required=(("price",), ("cells",)),
)
EVENT = Shape("event", (Field("what", Kind.TEXT, nullable=False),), required=(("what",),), key="")
THING = Shape(
    "thing",
    (
        Field("id", Kind.ID, nullable=False, fixed=True),
        Field("nameZh", Kind.TEXT, limit=5, personal=True),
        Field("nameEn", Kind.TEXT, limit=5),
        Field("notes", Kind.LONG_TEXT, limit=50, merge=Merge.APPEND_TEXT),
        enum_field("size", Size, nullable=False),
        Field("count", Kind.INT, least=0, most=10, default=3),
        Field("from", Kind.TIMESTAMP),
        Field("to", Kind.TIMESTAMP),
        Field("day", Kind.DATE),
        Field("ownerId", Kind.ID, nullable=False, fixed=True),
        Field("tags", Kind.SET, limit=3, merge=Merge.SET_UNION),
        Field("handles", Kind.MAP, values=("A", "B")),
        Field("open", Kind.BOOL),
        Field("lat", Kind.INT),
        Field("lon", Kind.INT),
        Field("lines", Kind.RECORDS, limit=2, record=LINE),
        Field("events", Kind.RECORDS, limit=9, record=EVENT, merge=Merge.SET_UNION),
        server_field("rank", Kind.INT),
    ),
    required=(("size",), ("nameZh", "nameEn")),
    rules=(in_order("from", "to"), together("lat", "lon")),
)


def found(given_fields: dict[str, object], *, creating: bool = False) -> set[tuple[Code, str]]:
    return {(p.code, ".".join(p.path)) for p in validate(THING, given_fields, creating=creating)[1]}


def test_every_problem_is_told_at_once() -> None:
    given_fields: dict[str, object] = {
        "colour": 1,
        "rank": 7,
        "nameZh": "六个字的名字",
        "size": "XXL",
        "count": 11,
        "from": "yesterday",
        "day": "2026-02-30",
        "ownerId": "7",
        "tags": ["a", 5],
        "handles": {"C": "x"},
        "open": 1,
        "lines": [{"id": ID_A, "price": -1, "cells": {SKU: 100, "x": 1}, "foo": 1}],
        "notes": "nul \x00",
    }
    assert found(given_fields, creating=True) == {
        (Code.UNKNOWN_FIELD, "colour"),
        (Code.SERVER_ONLY_FIELD, "rank"),
        (Code.TOO_LONG, "nameZh"),
        (Code.NOT_ALLOWED_VALUE, "size"),
        (Code.OUT_OF_RANGE, "count"),
        (Code.INVALID_VALUE, "from"),
        (Code.INVALID_VALUE, "day"),
        (Code.INVALID_VALUE, "ownerId"),
        (Code.INVALID_VALUE, "tags.1"),
        (Code.NOT_ALLOWED_VALUE, "handles.C"),
        (Code.INVALID_VALUE, "open"),
        (Code.OUT_OF_RANGE, "lines.0.price"),
        (Code.OUT_OF_RANGE, f"lines.0.cells.{SKU}"),
        (Code.INVALID_VALUE, "lines.0.cells.x"),
        (Code.UNKNOWN_FIELD, "lines.0.foo"),
        (Code.INVALID_VALUE, "notes"),
    }


def test_absent_stays_absent_and_null_is_kept_only_where_allowed() -> None:
    clean, problems = validate(THING, {"nameZh": None, "nameEn": "  ", "count": None}, creating=False)
    assert problems == []
    assert clean == {"nameZh": None, "nameEn": None, "count": None}
    assert validate(THING, {}, creating=False) == ({}, [])
    assert found({"size": None}) == {(Code.REQUIRED, "size")}


def test_creating_asks_for_each_required_group_once() -> None:
    assert found({}, creating=True) == {(Code.REQUIRED, "size"), (Code.REQUIRED, "nameZh")}
    assert found({"size": "S", "nameEn": "Coat"}, creating=True) == set()
    assert found({"size": "S", "nameEn": "too long"}, creating=True) == {(Code.TOO_LONG, "nameEn")}


def test_a_fixed_field_is_taken_at_creation_and_not_editable_later() -> None:
    assert found({"size": "S", "nameEn": "Coat", "ownerId": ID_A}, creating=True) == set()
    assert found({"ownerId": ID_A}) == {(Code.NOT_EDITABLE, "ownerId")}


def test_true_is_not_a_number_and_a_float_is_not_an_integer() -> None:
    for value in (True, 1.0, "1", [1]):
        assert found({"count": value}) == {(Code.INVALID_VALUE, "count")}


def test_values_are_stored_in_one_form() -> None:
    clean, problems = validate(
        THING,
        {
            "from": "2026-03-01T00:00:00.007Z",
            "to": 1_772_323_200_008,
            "tags": ["b", " a", "b"],
            "notes": " one\r\ntwo ",
            "handles": {"B": "y", "A": None},
            "events": [{"what": "x"}, {"what": "x "}],
        },
        creating=False,
    )
    assert problems == []
    assert clean == {
        "notes": "one\ntwo",
        "from": 1_772_323_200_007,
        "to": 1_772_323_200_008,
        "tags": ["a", "b"],
        "handles": {"A": None, "B": "y"},
        "events": [{"what": "x"}],
    }
    assert list(clean) == [f.name for f in THING.fields if f.name in clean]


def test_a_cell_of_zero_takes_the_cell_away_in_a_change_and_is_refused_at_creation() -> None:
    line = {"id": ID_A, "price": 5, "cells": {SKU: 0}}
    assert found({"lines": [line]}) == set()
    assert found({"size": "S", "nameEn": "x", "lines": [line]}, creating=True) == {
        (Code.OUT_OF_RANGE, f"lines.0.cells.{SKU}")
    }


def test_a_changed_line_may_be_partial_a_new_event_never() -> None:
    assert found({"lines": [{"id": ID_A, "price": 5}]}) == set()
    assert found({"lines": [{"price": 5}]}) == {(Code.REQUIRED, "lines.0.id")}
    assert found({"lines": [{"id": ID_A}, {"id": ID_A}]}) == {(Code.INVALID_VALUE, "lines.1.id")}
    assert found({"events": [{}]}) == {(Code.REQUIRED, "events.0.what")}
    assert found({"lines": [{"id": ID_A}, {"id": ID_B}, {"id": SKU}]}) == {(Code.TOO_MANY, "lines")}
    assert found({"lines": ["x"]}) == {(Code.INVALID_VALUE, "lines.0")}
    assert found({"lines": {"id": ID_A}}) == {(Code.INVALID_VALUE, "lines")}


def test_rules_compare_what_is_given_and_the_whole_record_afterwards() -> None:
    assert found({"from": 10, "to": 9}) == {(Code.OUT_OF_RANGE, "to")}
    assert found({"to": 9}) == set()
    assert found({"lat": 5}) == {(Code.REQUIRED, "lon")}
    assert found({"lat": None}) == {(Code.REQUIRED, "lon")}
    assert found({"lat": None, "lon": 5}) == {(Code.REQUIRED, "lat")}
    assert found({"lat": None, "lon": None}) == set()
    assert found({"lat": 1, "lon": "x"}) == {(Code.INVALID_VALUE, "lon")}
    whole = {"size": "S", "nameZh": None, "nameEn": None, "from": 10, "to": 9}
    assert {(p.code, p.path[0]) for p in whole_problems(THING, whole)} == {
        (Code.REQUIRED, "nameZh"),
        (Code.OUT_OF_RANGE, "to"),
    }


def test_a_new_record_has_every_client_field_and_the_declared_defaults() -> None:
    record = with_defaults(THING, {"size": "S"})
    assert set(record) == {f.name for f in THING.client_fields}
    assert "rank" not in record
    assert (record["size"], record["count"], record["tags"]) == ("S", 3, None)


def test_a_change_falls_apart_into_the_paths_that_merge_alone() -> None:
    clean, _ = validate(
        THING,
        {
            "nameEn": "Coat",
            "tags": ["a"],
            "handles": {"A": "x"},
            "lines": [{"id": ID_A, "price": 5, "cells": {SKU: 2}}, {"id": ID_B, "cells": {}}],
            "events": [{"what": "x"}],
        },
        creating=False,
    )
    assert field_paths(THING, clean) == {
        "nameEn": "Coat",
        "tags": ["a"],
        "handles.A": "x",
        f"lines.{ID_A}.price": 5,
        f"lines.{ID_A}.cells.{SKU}": 2,
        "events": [{"what": "x"}],
    }


def test_each_path_has_the_policy_its_field_declares() -> None:
    assert policy_of(THING, "tags") is Merge.SET_UNION
    assert policy_of(THING, "rank") is Merge.SERVER_ONLY
    assert policy_of(THING, "handles.A") is Merge.MERGE
    assert policy_of(THING, f"lines.{ID_A}.cells.{SKU}") is Merge.MERGE


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("aé名\x00 1", max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "price", "cells", "A", "what"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([f.name for f in THING.fields]), anything, max_size=5), st.booleans())
@settings(max_examples=150)
def test_whatever_is_sent_gets_an_answer_and_clean_values_are_stable(sent: dict[str, object], creating: bool) -> None:
    clean, problems = validate(THING, sent, creating=creating)
    if not problems:
        assert validate(THING, clean, creating=creating) == (clean, [])
        assert set(clean) == set(sent)
