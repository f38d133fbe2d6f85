"""How long what is kept: classes of data, each with its purpose, its ground, and a period somebody can answer for.

A class says what ends when its period is over; who carries it out is `usecases/retention.py`. Purposes and grounds are
texts in the message catalogue (`retention.<CLASS>.purpose`, `.ground`), because the people whose data it is may ask.
Source: promises.md §1, R49.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from backend.domain.consent import ConsentChannel, ConsentPurpose, Event, consent_given

FOR_EVER = 0
"""A period of no days: the class is never touched."""


class RetentionClass(StrEnum):
    """What is kept for a time of its own."""

    UNRELATED_CONTACTS = "UNRELATED_CONTACTS"
    """contacts that work at no customer any more; they are erased like somebody who asked for it"""
    UNCONSENTED_BIRTHDAYS = "UNCONSENTED_BIRTHDAYS"
    """birthdays of people who have not agreed to marketing"""
    VISIT_POSITIONS = "VISIT_POSITIONS"
    """where reps stood when they checked in and out"""
    ATTACHMENTS = "ATTACHMENTS"
    """photos and papers, but those of orders"""
    ANSWERS = "ANSWERS"
    """the words of answers, and who gave them; what they measure stays"""
    CLOSED_CASES = "CLOSED_CASES"
    """the words of complaints that are closed, and whose they were"""
    JUDGEMENTS = "JUDGEMENTS"
    """the notes of judgements that ended; that there was one stays"""
    SETTLED_ISSUES = "SETTLED_ISSUES"
    """sync issues nobody has to decide any more, with the values in them"""
    IMPORT_PROBLEMS = "IMPORT_PROBLEMS"
    """what was wrong with rows of imported files"""
    AUDIT_VALUES = "AUDIT_VALUES"
    """values before and after; who changed what stays"""
    AUDIT_ENTRIES = "AUDIT_ENTRIES"
    DELETED_RECORDS = "DELETED_RECORDS"
    """copies of what was deleted, to bring it back"""
    ENDED_DEVICES = "ENDED_DEVICES"
    """names of devices that were given up"""
    ENDED_SIGN_INS = "ENDED_SIGN_INS"
    SECURITY_EVENTS = "SECURITY_EVENTS"
    RECEIPTS = "RECEIPTS"
    """answers to what devices pushed"""


@dataclass(frozen=True, slots=True)
class Rule:
    """A class with its period: `days` after what the class counts from, `FOR_EVER` for never."""

    kept: RetentionClass
    days: int

    @property
    def purpose_key(self) -> str:
        return f"retention.{self.kept.value}.purpose"

    @property
    def ground_key(self) -> str:
        return f"retention.{self.kept.value}.ground"

    @property
    def ends(self) -> bool:
        return self.days != FOR_EVER


def rules(days: Mapping[RetentionClass, int]) -> tuple[Rule, ...]:
    """Every class with its period, in the order they are carried out."""
    return tuple(Rule(kept, days[kept]) for kept in RetentionClass)


def may_market(events: Sequence[Event]) -> bool:
    """True when the person has agreed to marketing or profiling by any channel: then a birthday has a purpose."""
    return any(
        consent_given(events, channel.value, purpose.value)
        for channel in ConsentChannel
        for purpose in (ConsentPurpose.MARKETING, ConsentPurpose.PROFILING)
    )


def last_word_ms(events: Sequence[Event], made_at_ms: int) -> int:
    """Since when things stand as they do: the last consent event, or when the contact was made."""
    return max([made_at_ms, *(at for event in events if isinstance(at := event.get("at"), int))])
