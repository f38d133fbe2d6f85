"""Three devices change one customer, contact, task and order at random, by every merge policy: no value is lost.

Every value a device sent stands afterwards, or was replaced by a later value of somebody who had seen it, or lies in
a sync issue. The reference below knows nothing of how merging works; it only remembers who had seen what.
"""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from backend.domain.fields import field_paths
from backend.domain.issues import SHAPES
from backend.domain.times import instant_text, parse_instant
from backend.ids import new_id
from backend.storage.engine import Engine
from mobile_contract.replica import Document
from tests.factories import NOW_MS
from tests.sync.offices import Office, Phone
from tests.sync.test_issues import LARGE, MEDIUM, NAVY, SMALL, STYLE, catalogue

CHOICES: dict[str, dict[str, list[Any]]] = {
    "customers": {
        "termsDays": list(range(300)),
        "city": [f"city {n}" for n in range(90)],
        "latE7": list(range(1_000)),
        "tags": [[f"tag {n}"] for n in range(90)],
        "notes": [f"note {n}" for n in range(90)],
    },
    "contacts": {
        "preferredChannel": ["CALL", "SMS", "EMAIL", "WECHAT"],
        "email": [f"a{n}@example.com" for n in range(90)],
    },
    "tasks": {
        "title": [f"title {n}" for n in range(90)],
        "state": ["DONE", "IN_PROGRESS", "OPEN"],
        "doneAt": [NOW_MS - 1_000 * n for n in range(1, 90)],
    },
}


@dataclass
class Sent:
    """A value at a path: which mutation, on which revision of the record, and whether it was taken."""

    path: str
    value: Any
    base: int
    at: int
    status: str = ""


@dataclass
class History:
    sent: dict[tuple[str, str], list[Sent]] = field(default_factory=dict)


def fields_of(rng: random.Random, collection: str, line: str) -> Document:
    if collection == "orders":
        return {"lines": [{"id": line, "cells": {rng.choice([SMALL, MEDIUM, LARGE]): rng.randint(1, 900)}}]}
    choices = CHOICES[collection]
    names = rng.sample(sorted(choices), rng.randint(1, 2))
    fields = {name: rng.choice(choices[name]) for name in names}
    return {**fields, "lonE7": rng.randint(0, 900)} if "latE7" in fields else fields


@pytest.mark.requirement("R4")
@pytest.mark.parametrize("seed", range(6))
async def test_every_value_stands_or_was_seen_or_is_kept(engine: Engine, seed: int) -> None:
    rng = random.Random(seed)
    office = await Office(engine).open()
    await catalogue(engine)
    phones = [await office.phone(office.rep), await office.phone(office.rep), await office.phone(office.admin)]
    first, line = phones[0], new_id()
    records = {name: new_id() for name in ("contacts", "tasks", "orders")}
    records["customers"] = office.shops[0]
    first.replica.edit("contacts", records["contacts"], {"nameEn": "Lee"})
    first.replica.edit("customerContacts", new_id(), {"customerId": office.shops[0], "contactId": records["contacts"]})
    first.replica.edit("tasks", records["tasks"], {"title": "t", "customerId": office.shops[0]})
    first.replica.edit(
        "orders",
        records["orders"],
        {
            "customerId": office.shops[0],
            "currency": "CNY",
            "lines": [{"id": line, "styleId": STYLE, "colourId": NAVY, "unitPriceMinor": 5, "cells": {SMALL: 1}}],
        },
    )
    assert {answer["status"] for answer in await first.push()} == {"APPLIED"}
    history = History()
    for phone in phones:
        await phone.sync()
    for step in range(60):
        phone = rng.choice(phones)
        for clocked in phones:
            clocked.line.clock_ms = NOW_MS + 1_000 * step
        if rng.random() < 0.25:
            await phone.sync()
            continue
        collection = rng.choice(sorted(records))
        await _edit(phone, history, collection, records[collection], fields_of(rng, collection, line), step)
    for phone in phones:
        await phone.sync()
    kept = await office.rows("SELECT collection, record_id, field, mine, theirs, history FROM sync_issue")
    said = "\n".join(repr(row) for row in kept)
    for collection, record_id in records.items():
        document = phones[2].view(collection, record_id)
        standing = field_paths(SHAPES[collection], document)
        for one in history.sent[collection, record_id]:
            lost = _lost(one, history.sent[collection, record_id], standing, document, said)
            assert not lost, f"seed {seed}: {collection} {one} is nowhere; {standing.get(one.path)!r} stands"


async def _edit(phone: Phone, history: History, collection: str, record_id: str, fields: Document, step: int) -> None:
    base = phone.replica.seen_seq(collection, record_id)
    phone.replica.edit(collection, record_id, fields, capturedAt=NOW_MS + 1_000 * step - 500_000)
    [answer] = await phone.push()
    assert answer["status"] in ("APPLIED", "MERGED", "CONFLICT", "REFUSED"), answer
    after = answer["records"][0]["seq"] if answer["records"] else base
    for path, value in field_paths(SHAPES[collection], fields).items():
        sent = Sent(path, value, int(base or 0), int(after or 0), answer["status"])
        history.sent.setdefault((collection, record_id), []).append(sent)


def _lost(one: Sent, others: list[Sent], standing: dict[str, Any], document: Document, said: str) -> bool:
    value = one.value
    now = standing.get(one.path)
    if isinstance(value, list):  # tags: each of them
        stands = set(value) <= set(document["tags"])
    elif one.path == "notes":
        stands = str(value) in str(now)
    elif one.path == "doneAt":
        stands = now is not None and str(now).startswith("20") and _ms(now) == value
    else:
        stands = now == value
    later = others[others.index(one) + 1 :]
    seen = any(
        two.path == one.path and two.base >= one.at and two.status != "REFUSED" for two in others if two is not one
    )
    # when a task was done goes with its being done: whoever reopens it takes both back
    seen |= one.path == "doneAt" and any(two.path == "state" and two.status in ("APPLIED", "MERGED") for two in later)
    return not (stands or seen or _is_said(value, said))


def _ms(text: Any) -> int:
    return parse_instant(str(text))


def _is_said(value: Any, said: str) -> bool:
    texts = value if isinstance(value, list) else [value]
    moments = [instant_text(text) for text in texts if isinstance(text, int) and text > 10**12]
    return all(str(text) in said for text in texts) or bool(moments and all(text in said for text in moments))
