"""Consent: what is allowed follows from events, and a withdrawal wins every merge."""

from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.consent import (
    CONSENT_EVENT,
    Channel,
    ConsentPurpose,
    Event,
    consent_given,
    merge_consent,
)
from backend.domain.fields import validate
from backend.errors import Code


def event(change: str, at: int, channel: str = "SMS", purpose: str = "MARKETING", **more: object) -> dict[str, object]:
    return {
        "channel": channel,
        "purpose": purpose,
        "change": change,
        "at": at,
        "source": "VISIT",
        "wordingVersion": "2026-1",
        **more,
    }


def consent_state(events: Sequence[Event]) -> dict[tuple[str, str], bool]:
    pairs = ((channel.value, purpose.value) for channel in Channel for purpose in ConsentPurpose)
    return {pair: consent_given(events, *pair) for pair in pairs}


def test_without_any_event_nothing_is_allowed() -> None:
    assert not any(consent_state([]).values())


@pytest.mark.requirement("R2", "R49")
def test_consent_covers_its_channel_and_purpose_only() -> None:
    state = consent_state([event("GIVEN", 10)])
    assert [pair for pair, given_now in state.items() if given_now] == [("SMS", "MARKETING")]
    anywhere = consent_state([event("GIVEN", 10, channel="ANY", purpose="SERVICE")])
    assert {purpose for (_, purpose), given_now in anywhere.items() if given_now} == {"SERVICE"}
    assert sum(anywhere.values()) == 7


@pytest.mark.requirement("R49")
def test_a_withdrawal_arriving_late_wins_over_a_consent_recorded_without_knowing_of_it() -> None:
    on_server = [event("GIVEN", 10), event("GIVEN", 30)]
    captured_offline = [event("GIVEN", 10), event("WITHDRAWN", 20)]
    assert consent_given(on_server, "SMS", "MARKETING")
    merged = merge_consent(on_server, captured_offline)
    assert len(merged) == 3
    assert not consent_given(merged, "SMS", "MARKETING")


@pytest.mark.requirement("R49")
def test_a_withdrawal_from_everything_covers_every_channel() -> None:
    events = [event("GIVEN", 10), event("WITHDRAWN", 20, channel="ANY")]
    assert not consent_given(events, "SMS", "MARKETING")


def test_a_new_consent_that_answers_the_withdrawal_stands() -> None:
    events = [event("GIVEN", 10), event("WITHDRAWN", 20), event("GIVEN", 30, renews=20)]
    assert consent_given(events, "SMS", "MARKETING")
    later_withdrawal = [*events, event("WITHDRAWN", 25)]
    assert not consent_given(later_withdrawal, "SMS", "MARKETING")
    assert not consent_given([event("WITHDRAWN", 30), event("GIVEN", 30, renews=30)], "SMS", "MARKETING")


EVENTS = [
    event("GIVEN", 10),
    event("WITHDRAWN", 20),
    event("GIVEN", 30),
    event("GIVEN", 40, renews=20),
    event("WITHDRAWN", 20, channel="ANY"),
    event("GIVEN", 15, purpose="SERVICE"),
]


def test_the_order_of_arrival_does_not_matter() -> None:
    results = {str(merge_consent([], arrived)) for arrived in permutations(EVENTS)}
    assert len(results) == 1


lists = st.lists(st.sampled_from(EVENTS), max_size=6)


@given(lists, lists, lists)
@settings(max_examples=100)
def test_merging_is_a_union_whatever_the_grouping(a: list, b: list, c: list) -> None:  # type: ignore[type-arg]
    assert merge_consent(merge_consent(a, b), c) == merge_consent(a, merge_consent(c, b))
    assert merge_consent(a, a) == merge_consent([], a)
    for change in (a, b):
        assert all(one in merge_consent(a, b) for one in change)


@given(lists)
@settings(max_examples=100)
def test_adding_a_withdrawal_never_allows_more(events: list) -> None:  # type: ignore[type-arg]
    for at in (5, 20, 50):
        before = consent_state(events)
        after = consent_state(merge_consent(events, [event("WITHDRAWN", at)]))
        assert all(before[pair] for pair, given_now in after.items() if given_now)


def test_an_event_has_to_be_whole() -> None:
    _, problems = validate(CONSENT_EVENT, {"channel": "FAX", "change": "GIVEN"}, creating=True)
    assert {(p.code, p.path[0]) for p in problems} == {
        (Code.NOT_ALLOWED_VALUE, "channel"),
        (Code.REQUIRED, "purpose"),
        (Code.REQUIRED, "at"),
        (Code.REQUIRED, "source"),
        (Code.REQUIRED, "wordingVersion"),
    }
