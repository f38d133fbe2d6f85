"""Cases of two devices changing one record, for clients that show before sending what a merge will do.

`vectors_text` is the file `mobile_contract/vectors/merge.json`; a test keeps it equal to what the code gives.
"""

import json
from collections.abc import Mapping
from typing import Any

from backend.domain.contacts import CONTACT
from backend.domain.customers import CUSTOMER
from backend.domain.fields import Shape, validate, with_defaults
from backend.domain.merge import merge_change, with_paths
from backend.domain.orders import ORDER
from backend.domain.tasks import TASK
from backend.domain.visits import VISIT

Document = dict[str, Any]
SHAPES: Mapping[str, Shape] = {shape.name: shape for shape in (CUSTOMER, CONTACT, VISIT, ORDER, TASK)}

MINE, THEIRS = "phone-1", "phone-2"
LINE, STYLE, COLOUR, SMALL, LARGE = (f"00000000-0000-7000-8000-00000000000{n}" for n in range(5))
WHOLE_LINE = {"id": LINE, "styleId": STYLE, "colourId": COLOUR, "unitPriceMinor": 900, "cells": {SMALL: 2, LARGE: 3}}


def case(
    collection: str,
    says: str,
    current: Document,
    field_seq: Document,
    change: Document,
    base: int = 10,
    shown: Document | None = None,
) -> Document:
    """`field_seq`: path → [seq, device]; the change was made on revision `base` by `phone-1`, that was `shown` this."""
    return {
        "collection": collection,
        "says": says,
        "current": current,
        "fieldSeq": {"*": [10, THEIRS], **field_seq},
        "baseRev": base,
        "device": MINE,
        "change": change,
        **({} if shown is None else {"base": shown}),
    }


def cases() -> list[Document]:
    late = [20, THEIRS]
    shop = {"nameEn": "Shop", "termsDays": 30, "city": "Seoul", "tags": ["a"], "notes": "one"}
    lined = {"lines": [WHOLE_LINE]}
    cell, large = f"lines.{LINE}.cells.{SMALL}", f"lines.{LINE}.cells.{LARGE}"
    return [
        case("customers", "nobody else wrote: it stands", shop, {}, {"termsDays": 60}),
        case("customers", "different fields both win", shop, {"city": late}, {"termsDays": 60}),
        case("customers", "the same field: theirs stands, mine is kept", shop, {"termsDays": late}, {"termsDays": 60}),
        case("customers", "the same value is no conflict", shop, {"termsDays": late}, {"termsDays": 30}),
        case("customers", "my own earlier change is no conflict", shop, {"termsDays": [20, MINE]}, {"termsDays": 60}),
        case("customers", "one field of a change loses alone", shop, {"city": late}, {"city": "Busan", "termsDays": 0}),
        case("customers", "zero is a value", {**shop, "termsDays": None}, {}, {"termsDays": 0}),
        case("customers", "null against a newer value", shop, {"city": late}, {"city": None}),
        case("customers", "tags of both", {**shop, "tags": ["a", "c"]}, {"tags": late}, {"tags": ["a", "b"]}),
        case("customers", "tags of his own in the place of those he was shown", {**shop, "tags": ["a"]},
             {"tags": [20, MINE]}, {"tags": ["b"]}, shown={"tags": ["a"]}),
        case("customers", "tags of his own beside those he was not shown again", {**shop, "tags": ["a"]},
             {"tags": [20, MINE]}, {"tags": ["b"]}, shown={"tags": []}),
        case("customers", "tags with a fresh base are as sent", {**shop, "tags": ["a", "c"]}, {}, {"tags": ["b"]}),
        case("customers", "notes of both", {**shop, "notes": "one\ntwo"}, {"notes": late}, {"notes": "one\nthree"}),
        case("customers", "notes that go on with what stands already", {**shop, "notes": "one\ntwo\nthree"},
             {"notes": late}, {"notes": "one\nthree\nfour"}),
        case("customers", "days of opening hours are apart", {**shop, "openHours": {"MON": "09:00-18:00"}},
             {"openHours.MON": late}, {"openHours": {"TUE": "09:00-18:00"}}),
        case("customers", "the same day conflicts", {**shop, "openHours": {"MON": "09:00-18:00"}},
             {"openHours.MON": late}, {"openHours": {"MON": "10:00-18:00"}}),
        case("customers", "taking a day away", {**shop, "openHours": {"MON": "09:00-18:00"}}, {},
             {"openHours": {"MON": None}}),
        case("customers", "a whole record written later covers its fields", shop, {"*": late}, {"termsDays": 60}),
        case("orders", "different cells of one line both win", lined, {cell: late},
             {"lines": [{"id": LINE, "cells": {LARGE: 9}}]}),
        case("orders", "the same cell conflicts", lined, {cell: late}, {"lines": [{"id": LINE, "cells": {SMALL: 9}}]}),
        case("orders", "0 takes a cell away", lined, {large: late}, {"lines": [{"id": LINE, "cells": {SMALL: 0}}]}),
        case("orders", "0 for a cell that is not there", {"lines": [{**WHOLE_LINE, "cells": {LARGE: 3}}]}, {"*": late},
             {"lines": [{"id": LINE, "cells": {SMALL: 0}}]}),
        case("orders", "a new cell beside theirs", {"lines": [{**WHOLE_LINE, "cells": {LARGE: 3}}]}, {large: late},
             {"lines": [{"id": LINE, "cells": {SMALL: 1}}]}),
        case("orders", "a cell they took away", {"lines": [{**WHOLE_LINE, "cells": {LARGE: 3}}]}, {cell: late},
             {"lines": [{"id": LINE, "cells": {SMALL: 1}}]}),
        case("orders", "a whole new line", {"lines": []}, {"*": late}, lined),
        case("orders", "a line taken away", lined, {}, {"lines": [{"id": LINE, "removed": True}]}),
        case("orders", "a line somebody edited since is not taken away", lined, {cell: late},
             {"lines": [{"id": LINE, "removed": True}]}),
        case("orders", "an edit of a line somebody took away is kept", {"lines": []}, {f"lines.{LINE}.removed": late},
             {"lines": [{"id": LINE, "cells": {SMALL: 5, LARGE: 6}}]}),
        case("orders", "a line both took away", {"lines": []}, {f"lines.{LINE}.removed": late},
             {"lines": [{"id": LINE, "removed": True}]}),
        case("tasks", "done stays done against a stale base", {"state": "DONE", "title": "Call"}, {"state": late},
             {"state": "CANCELLED", "title": "Ring"}),
        case("tasks", "with a fresh base it may be opened again", {"state": "DONE"}, {}, {"state": "OPEN"}),
        case("tasks", "done wins over what is not final", {"state": "IN_PROGRESS"}, {"state": late}, {"state": "DONE"}),
        case("tasks", "when it was done stays, another moment is kept", {"state": "DONE", "doneAt": 1_767_225_600_000},
             {"doneAt": late}, {"doneAt": 1_767_229_200_000}),
        case("customers", "notes that have no room together", {**shop, "notes": "one\n" + "a" * 4_000},
             {"notes": late}, {"notes": "one\n" + "b" * 4_000}),
        case("customers", "tags that have no room together", {**shop, "tags": [f"t{n:02}" for n in range(40)]},
             {"tags": late}, {"tags": [f"u{n:02}" for n in range(40)]}),
        case("visits", "a state is judged by its steps, not by who was first", {"state": "CONFIRMED"}, {"state": late},
             {"state": "CHECKED_IN", "checkInAt": 1_767_225_600_000}),
    ]  # fmt: skip


def with_expected(one: Document) -> Document:
    shape = SHAPES[one["collection"]]
    clean, problems = validate(shape, one["change"], creating=False)
    assert not problems, (one["says"], problems)
    current = {**with_defaults(shape, {}), **one["current"]}
    merged = merge_change(
        shape,
        current,
        clean,
        field_seq={path: (seq, by) for path, (seq, by) in one["fieldSeq"].items()},
        base_rev=one["baseRev"],
        writer=one["device"],
        shown=one.get("base"),
    )
    after = with_paths(shape, current, merged.accepted)
    return {
        **one,
        "expected": {
            "accepted": merged.accepted,
            "behind": merged.behind,
            "conflicts": [
                {"path": c.path, "mine": c.mine, "theirs": c.theirs, "theirsSeq": c.theirs_seq, "theirsBy": c.theirs_by}
                for c in merged.conflicts
            ],
            "after": {name: after[name] for name in {*one["current"], *one["change"]}},
        },
    }


def vectors_text() -> str:
    lines = [json.dumps(with_expected(one), sort_keys=True, ensure_ascii=False) for one in cases()]
    return '{"cases": [\n' + ",\n".join(lines) + "\n]}\n"
