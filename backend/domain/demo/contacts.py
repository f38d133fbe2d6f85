"""People at trade customers: one or two at an account, one at a door, some buying for shops in two territories."""

from typing import Any

import numpy as np

from backend.domain.arrays import IntArray
from backend.domain.consent import (
    CONSENT_EVENT,
    Channel,
    ConsentChange,
    ConsentChannel,
    ConsentPurpose,
    ConsentSource,
    merge_consent,
)
from backend.domain.contacts import ContactRole, Language, derived_fields
from backend.domain.demo.customers import Customers
from backend.domain.demo.frame import Setting, Table, canonical, or_none, texts_of_days
from backend.domain.demo.naming import CHAIN, Names, person_names, phones
from backend.domain.demo.people import Patches
from backend.domain.fields import records_shown
from backend.domain.times import DAY_MS

SECOND_SHARE = 0.45
"""Accounts with a second contact."""
SHARED_EVERY = 30
"""Every so many accounts share their buyer with a shop in another territory."""
_BIRTH_FIRST, _BIRTH_SPAN_DAYS = -6_500, 12_000


def make_contacts(setting: Setting, patches: Patches, customers: Customers) -> tuple[Table, Table]:
    """The contact table and the links to customers."""
    draw = setting.stream("contacts")
    accounts_n = len(customers.accounts.kind)
    first = np.arange(accounts_n)
    second = np.flatnonzero(draw.random(accounts_n) < SECOND_SHARE)
    doors = np.array([row for places in customers.accounts.places for row in places[1:]], dtype=np.int64)
    prospects = np.array(customers.prospects, dtype=np.int64)
    home = np.concatenate([first, second, doors, prospects])
    roles = np.concatenate(
        [
            np.where(customers.accounts.kind == CHAIN, 0, 1),
            np.where(draw.random(len(second)) < 0.5, 3, 0),
            np.full(len(doors), 2),
            np.ones(len(prospects), dtype=np.int64),
        ]
    )
    at_ms = customers.created_ms[home] + 60_000
    ids = setting.ids("contact", at_ms)
    reps = patches.rep[customers.patch[home]]
    contact = Table("contact", _contact_columns(setting, customers, draw, home, at_ms, ids, patches, reps))
    also = _shared(draw, customers, accounts_n)
    link_home = np.concatenate([home, also[:, 1]])
    link_ms = np.concatenate([at_ms, np.maximum(at_ms[also[:, 0]], customers.created_ms[also[:, 1]]) + 120_000])
    role_names = (ContactRole.BUYER, ContactRole.OWNER, ContactRole.MERCH, ContactRole.AP)
    return contact, Table(
        "customer_contact",
        {
            "id": setting.ids("customer_contact", link_ms),
            "customer_id": [customers.ids[row] for row in link_home.tolist()],
            "contact_id": [*ids, *(ids[row] for row in also[:, 0].tolist())],
            "territory_id": [patches.ids[patch] for patch in customers.patch[link_home].tolist()],
            "role": [
                *(role_names[role].value for role in roles.tolist()),
                *[ContactRole.BUYER.value] * len(also),
            ],
            "is_primary": [
                *([True] * accounts_n),
                *([False] * len(second)),
                *([True] * (len(doors) + len(prospects))),
                *([False] * len(also)),
            ],
            "created_at": link_ms.tolist(),
        },
    )


def _shared(draw: np.random.Generator, customers: Customers, accounts_n: int) -> IntArray:
    """(k, 2) account whose buyer also buys for the account in the second column, of another territory."""
    ones = np.arange(0, accounts_n, SHARED_EVERY)
    others = draw.integers(0, accounts_n, len(ones))
    pairs = []
    for one, start in zip(ones.tolist(), others.tolist(), strict=True):
        turned = [(start + step) % accounts_n for step in range(accounts_n)]
        other = next((row for row in turned if customers.patch[row] != customers.patch[one]), None)
        if other is not None:
            pairs.append((one, other))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _contact_columns(
    setting: Setting,
    customers: Customers,
    draw: np.random.Generator,
    home: IntArray,
    at_ms: IntArray,
    ids: list[str],
    patches: Patches,
    reps: IntArray,
) -> dict[str, list[Any]]:
    n = len(home)
    korean = customers.korean[home]
    names, numbers = person_names(draw, korean), phones(draw, korean)
    phone = or_none(numbers, draw.random(n) < 0.95)
    chat = [Channel.KAKAO if script else Channel.WECHAT for script in korean.tolist()]
    born = _BIRTH_FIRST + (draw.random(n) * _BIRTH_SPAN_DAYS).astype(np.int64)
    derived = [
        derived_fields({"nameZh": name.zh, "nameKo": name.ko, "nameEn": name.en, "phone": number})
        for name, number in zip(names, phone, strict=True)
    ]
    return {
        "id": ids,
        "name_zh": [name.zh for name in names],
        "name_ko": [name.ko for name in names],
        "name_en": [name.en for name in names],
        "birth_date": or_none(texts_of_days(born), draw.random(n) < 0.3),
        "phone": phone,
        "email": or_none([f"contact{row:05d}@shop.example" for row in range(n)], draw.random(n) < 0.6),
        "channels": [canonical({one.value: f"haizhi-{row:05d}"}) for row, one in enumerate(chat)],
        "preferred_channel": [
            (one if pick < 0.6 else Channel.CALL if pick < 0.85 else Channel.VISIT).value
            for one, pick in zip(chat, draw.random(n).tolist(), strict=True)
        ],
        "locale": [_language(name).value for name in names],
        "consent_events": _consents(setting, draw, at_ms, chat),
        "search_keys": [one["searchKeys"] for one in derived],
        "sort_key": [one["sortKey"] for one in derived],
        "created_at": at_ms.tolist(),
        "created_by": [patches.rep_ids[rep] for rep in reps.tolist()],
    }


def _language(name: Names) -> Language:
    return Language.zh if name.zh else Language.ko if name.ko else Language.en


def _consents(setting: Setting, draw: np.random.Generator, at_ms: IntArray, chat: list[Channel]) -> list[str]:
    """Four in five agreed to marketing, one in ten of them withdrew, a third of these came back."""
    n = len(at_ms)
    agreed, withdrew, renewed = draw.random(n) < 0.8, draw.random(n) < 0.1, draw.random(n) < 0.33
    if n:
        agreed[0], withdrew[0], renewed[0] = True, True, False
    given_ms = np.minimum(at_ms + (draw.random(n) * 60 * DAY_MS).astype(np.int64), setting.now_ms - 3 * DAY_MS)
    room = (setting.now_ms - 2 * DAY_MS - given_ms).astype(np.float64)
    left_ms = given_ms + np.maximum(1.0, draw.random(n) * room).astype(np.int64)
    back_ms = left_ms + np.maximum(1.0, draw.random(n) * (setting.now_ms - left_ms)).astype(np.int64)
    found = []
    for row in range(n):
        channel = ConsentChannel(chat[row].value)
        events = [_event(ConsentChannel.ANY, ConsentPurpose.SERVICE, ConsentChange.GIVEN, int(given_ms[row]))]
        if agreed[row]:
            events.append(_event(channel, ConsentPurpose.MARKETING, ConsentChange.GIVEN, int(given_ms[row])))
            if withdrew[row]:
                left = int(left_ms[row])
                events.append(_event(channel, ConsentPurpose.MARKETING, ConsentChange.WITHDRAWN, left))
                if renewed[row]:
                    again = _event(channel, ConsentPurpose.MARKETING, ConsentChange.GIVEN, int(back_ms[row]))
                    events.append({**again, "renews": left})
        found.append(canonical(records_shown(CONSENT_EVENT, merge_consent(events, ()))))
    return found


def _event(channel: ConsentChannel, purpose: ConsentPurpose, change: ConsentChange, at_ms: int) -> dict[str, Any]:
    return {
        "channel": channel.value,
        "purpose": purpose.value,
        "change": change.value,
        "at": at_ms,
        "source": ConsentSource.VISIT.value,
        "wordingVersion": "2024-07",
    }
