"""A nested value sent whole becomes a change of what differs, which brings the old value to the new one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.contacts import CONTACT
from backend.domain.deltas import NOTHING, nested_change
from backend.domain.fields import Field, Shape, field_paths, validate
from backend.domain.merge import with_paths
from backend.domain.orders import ORDER

LINES, CHANNELS = ORDER.field("lines"), CONTACT.field("channels")
IDS = [f"00000000-0000-7000-8000-00000000000{n}" for n in range(5)]


def field_of(found: Field | None) -> Field:
    assert found is not None
    return found


lines = st.dictionaries(
    st.sampled_from(IDS[:3]),
    st.tuples(st.dictionaries(st.sampled_from(IDS[3:]), st.integers(1, 9), min_size=1), st.integers(0, 3)),
).map(
    lambda held: [
        {"id": key, "styleId": IDS[0], "colourId": IDS[1], "unitPriceMinor": 1, "discountBp": bp, "cells": cells}
        for key, (cells, bp) in held.items()
    ]
)


def applied(shape: Shape, name: str, before: Any, change: Any) -> Any:
    clean, problems = validate(shape, {name: change}, creating=False)
    assert not problems, problems
    return with_paths(shape, {name: before}, field_paths(shape, clean))[name]


@given(lines, lines)
def test_the_change_brings_the_old_lines_to_the_new(before: list[Any], after: list[Any]) -> None:
    change = nested_change(field_of(LINES), before, after)
    found = applied(ORDER, "lines", before, change)
    assert {line["id"]: line for line in found} == {line["id"]: line for line in after}
    assert (change in NOTHING) == ({line["id"]: line for line in before} == {line["id"]: line for line in after})


def test_only_what_differs_is_named() -> None:
    line = {"id": IDS[0], "discountBp": 0, "cells": {IDS[3]: 2, IDS[4]: 3}, "units": 5}
    more = {**line, "cells": {IDS[3]: 2, IDS[4]: 4}, "units": 6}
    silent = frozenset({"units"})
    assert nested_change(field_of(LINES), [line], [more], silent=silent) == [{"id": IDS[0], "cells": {IDS[4]: 4}}]
    assert nested_change(field_of(LINES), [line], [more], silent=silent, kept=frozenset({"cells"})) == []
    assert nested_change(field_of(LINES), [line], [], silent=silent) == [{"id": IDS[0], "removed": True}]


def test_a_key_that_is_gone_is_taken_away() -> None:
    assert nested_change(field_of(CHANNELS), {"CALL": "1", "CHAT": "2"}, {"CALL": "1"}) == {"CHAT": None}


@pytest.mark.parametrize("wrong", ["text", 5, [5], [{"no": "id"}], {"a": 1}])
def test_a_value_of_another_form_comes_back_as_it_is(wrong: object) -> None:
    assert nested_change(field_of(LINES), [], wrong) == wrong
