"""Rows of the feed as they are printed: whatever a document asks of them, under whatever names."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest

from backend.schema.finished import Picked, StoredRows
from backend.sync.feed import digest_text

COLUMNS: Mapping[str, Sequence[Any]] = {
    "collection": ["visits", 'with "quotes"', "visits"],
    "seq": [1_099_511_632_584, 7, 7],
    "digest": [-1, 2**63 - 1, -(2**63)],
    "document": [b'{"a":1}', b'{"b":"%d"}', b"{}"],
}
ASKED = [asked for count in range(1, 4) for asked in itertools.permutations([*COLUMNS, "__typename"], count)]


@pytest.mark.parametrize("asked", ASKED, ids=",".join)
def test_rows_are_printed_as_json_would(asked: Sequence[str]) -> None:
    fields = tuple(Picked(f"as%{name}", name, "SyncRow", ()) for name in asked)
    printed = {
        **COLUMNS,
        "digest": list(map(digest_text, COLUMNS["digest"])),
        "document": list(map(orjson.loads, COLUMNS["document"])),
        "__typename": ["SyncRow"] * 3,
    }
    found = orjson.loads(orjson.dumps(StoredRows(COLUMNS).picked(fields)))
    assert found == [{f"as%{name}": printed[name][row] for name in asked} for row in range(3)]
    none = StoredRows(dict.fromkeys(COLUMNS, ()))
    assert orjson.dumps(none.picked(fields)) == b"[]"
