"""Consent: append-only events, from which what is allowed is derived (R2, R49).

A withdrawal wins every merge, however late it arrives: a consent given stands against a withdrawal only when
it answers it, naming in `renews` a moment not before the withdrawal. A consent recorded by somebody who did
not know of the withdrawal therefore never undoes it, whatever the clocks say, and the result does not depend
on the order in which events arrive.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from backend.domain.fields import Field, Kind, Shape, enum_field


class Channel(StrEnum):
    """How a person is reached."""

    VISIT = "VISIT"
    CALL = "CALL"
    EMAIL = "EMAIL"
    SMS = "SMS"
    CHAT = "CHAT"
    WECHAT = "WECHAT"
    KAKAO = "KAKAO"


class ConsentChannel(StrEnum):
    """What a consent covers: one channel or any."""

    ANY = "ANY"
    VISIT = "VISIT"
    CALL = "CALL"
    EMAIL = "EMAIL"
    SMS = "SMS"
    CHAT = "CHAT"
    WECHAT = "WECHAT"
    KAKAO = "KAKAO"


class ConsentPurpose(StrEnum):
    """What a person's data may be used for; body sizes have a purpose of their own (R5)."""

    MARKETING = "MARKETING"
    SERVICE = "SERVICE"
    PROFILING = "PROFILING"
    BODY_SIZES = "BODY_SIZES"
    SURVEY = "SURVEY"


class ConsentChange(StrEnum):
    """What an event says."""

    GIVEN = "GIVEN"
    WITHDRAWN = "WITHDRAWN"


class ConsentSource(StrEnum):
    """Where an event was recorded."""

    VISIT = "VISIT"
    CALL = "CALL"
    WEB = "WEB"
    MESSAGE = "MESSAGE"
    PAPER = "PAPER"
    IMPORT = "IMPORT"


CONSENT_EVENTS_MAX = 500

CONSENT_EVENT = Shape(
    "consentEvent",
    (
        enum_field("channel", ConsentChannel, nullable=False),
        enum_field("purpose", ConsentPurpose, nullable=False),
        enum_field("change", ConsentChange, nullable=False),
        Field("at", Kind.TIMESTAMP, nullable=False),
        enum_field("source", ConsentSource, nullable=False),
        Field("wordingVersion", Kind.TEXT, nullable=False, limit=40),
        Field("renews", Kind.TIMESTAMP),
    ),
    required=(("channel",), ("purpose",), ("change",), ("at",), ("source",), ("wordingVersion",)),
    key="",
)
"""One event. `renews` (only with GIVEN): the moment of the withdrawal that the new consent answers."""

Event = Mapping[str, object]


def merge_consent(ours: Iterable[Event], theirs: Iterable[Event]) -> list[dict[str, object]]:
    """The union of two event lists, each event once, in the one order every side prints."""
    events = {_identity(event): dict(event) for event in (*ours, *theirs)}
    return [events[identity] for identity in sorted(events)]


def consent_given(events: Sequence[Event], channel: str, purpose: str) -> bool:
    """True when the person may be reached on `channel` for `purpose`; without any event, never.

    Events on channel ANY speak for every channel.
    """
    concerned = [
        event for event in events if event["purpose"] == purpose and event["channel"] in (channel, ConsentChannel.ANY)
    ]
    withdrawn_ms = max(
        (_ms(event, "at") for event in concerned if event["change"] == ConsentChange.WITHDRAWN), default=None
    )
    given = [event for event in concerned if event["change"] == ConsentChange.GIVEN]
    if withdrawn_ms is None:
        return bool(given)
    return any(_ms(event, "renews") >= withdrawn_ms and _ms(event, "at") > withdrawn_ms for event in given)


def _ms(event: Event, name: str) -> int:
    value = event.get(name)
    return value if isinstance(value, int) else -1


def _identity(event: Event) -> tuple[int, str, str, str, str, str, int]:
    return (
        _ms(event, "at"),
        str(event["channel"]),
        str(event["purpose"]),
        str(event["change"]),
        str(event["source"]),
        str(event["wordingVersion"]),
        _ms(event, "renews"),
    )
