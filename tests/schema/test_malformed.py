"""What GraphQL cannot read of a device's queue is answered entry by entry; the others go on."""

from typing import Any

import pytest

from backend.ids import new_id
from backend.schema.sync import COLLECTION_OF_KEY
from backend.sync.forms import COLLECTION_OF_KIND, read_mutation
from tests.house import House
from tests.schema.test_issues import issues
from tests.schema.test_sync import PUSH, mutation, push
from tests.usecases.asking import ask

SHOP = {"nameEn": "x", "kind": "RETAILER"}


def test_the_kinds_of_changes_are_the_schemas() -> None:
    def camel(name: str) -> str:
        head, *rest = name.split("_")
        return head + "".join(part.capitalize() for part in rest)

    assert {camel(key): collection for key, collection in COLLECTION_OF_KEY.items()} == COLLECTION_OF_KIND


def two_keys(sent: dict[str, Any]) -> None:
    sent["change"]["contact"] = {"id": new_id(), "set": {"nameEn": "y"}}


def no_key(sent: dict[str, Any]) -> None:
    sent["change"] = {}


WRONG = {
    "two keys": two_keys,
    "no key": no_key,
    "no change": lambda sent: sent.pop("change"),
    "a null change": lambda sent: sent.update(change=None),
    "a null record": lambda sent: sent.update(change={"customer": None}),
    "an unknown kind": lambda sent: sent.update(change={"fridge": {"id": new_id()}}),
    "an unknown key": lambda sent: sent.update(colour="red"),
    "an unknown key of the record": lambda sent: sent["change"]["customer"].update(rev=5),
    "a revision that is none": lambda sent: sent["change"]["customer"].update(baseRev="5"),
    "a revision too large": lambda sent: sent["change"]["customer"].update(baseRev=2**60),
    "an id that is a list": lambda sent: sent["change"]["customer"].update(id=["a"]),
    "a deletion that is a text": lambda sent: sent["change"]["customer"].update(delete="yes"),
    "a moment nobody reads": lambda sent: sent.update(capturedAt="yesterday"),
    "a group that is a map": lambda sent: sent.update(group={"a": 1}),
    "a number that is a text": lambda sent: sent.update(clientSeq="two"),
    "a number that is none": lambda sent: sent.pop("clientSeq"),
    "a number with a fraction": lambda sent: sent.update(clientSeq=2.5),
}


@pytest.mark.parametrize("says", WRONG)
async def test_one_that_has_not_its_form_is_refused_alone_and_kept(house: House, says: str) -> None:
    first, third = mutation(1, "customer", new_id(), SHOP), mutation(3, "task", new_id(), {"title": "next"})
    second = mutation(2, "customer", new_id(), {"nameEn": "kept", "kind": "RETAILER"})
    WRONG[says](second)
    results = await push(house, "wei", first, second, third)
    assert [r["status"] for r in results] == ["APPLIED", "REFUSED", "APPLIED"], results
    assert results[1]["id"] == second["id"]
    assert results[1]["problems"]
    assert "INTERNAL" not in str(results)
    [kept] = (await issues(house, "wei"))["nodes"]
    assert "kept" in str(kept["mine"]) or says in ("no key", "no change", "a null change", "a null record",
                                                   "an unknown kind")  # fmt: skip
    again = await push(house, "wei", first, second, third)
    assert [(r["id"], r["status"]) for r in again] == [(r["id"], r["status"]) for r in results]
    assert len((await issues(house, "wei"))["nodes"]) == 1
    [fourth] = await push(house, "wei", mutation(4, "task", new_id(), {"title": "later"}))
    assert fourth["status"] == "APPLIED", "the queue goes on"


@pytest.mark.parametrize(
    "entry", [None, 5, "text", [], [[]], {}, {"id": 5}, {"id": None, "change": {"visit": 1}}], ids=str
)
async def test_whatever_stands_in_a_queue_the_others_go_on(house: House, entry: Any) -> None:
    first, third = mutation(1, "task", new_id(), {"title": "a"}), mutation(3, "task", new_id(), {"title": "b"})
    answer = await ask(house, "wei", PUSH, mutations=[first, entry, third])
    results = answer["data"]["syncPush"]["results"]
    assert [r["status"] for r in results] == ["APPLIED", "REFUSED", "APPLIED"], results
    assert len((await issues(house, "wei"))["nodes"]) == 1
    assert "INTERNAL" not in str(answer)


@pytest.mark.parametrize("entries", [5, {"id": "x"}, "text"])
async def test_a_queue_that_is_none_is_told_as_ever(house: House, entries: Any) -> None:
    answer = await ask(house, "wei", PUSH, mutations=entries)
    assert answer["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
    assert "data" not in answer


def test_what_has_its_form_is_read_as_graphql_reads_it() -> None:
    sent = {
        "id": new_id(),
        "clientSeq": 7,
        "group": "g",
        "capturedAt": "2026-01-01T00:00:00.000Z",
        "change": {"visit": {"id": new_id(), "baseRev": 5, "set": {"notes": "a"}, "base": {"notes": None}}},
    }
    found = read_mutation(sent)
    assert (found.id, found.client_seq, found.group, found.captured_at_ms) == (sent["id"], 7, "g", 1_767_225_600_000)
    assert (found.collection, found.base_rev, found.fields, found.base) == (
        "visits",
        5,
        {"notes": "a"},
        {"notes": None},
    )
    assert (found.delete, found.problems) == (False, ())
