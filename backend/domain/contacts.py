"""Contacts, people at customers, and the links that say at which ones and as what."""

from collections.abc import Mapping
from enum import StrEnum

from backend.domain.addresses import parse_email, parse_phone
from backend.domain.consent import CONSENT_EVENT, CONSENT_EVENTS_MAX, Channel
from backend.domain.custom import custom_values
from backend.domain.customers import (
    NAME_CHARACTERS_MAX,
    NOTES_CHARACTERS_MAX,
    names_of,
)
from backend.domain.fields import Field, Kind, Merge, Shape, enum_field, server_field
from backend.domain.names import search_keys, sort_key


class ContactRole(StrEnum):
    """What a contact does at a customer."""

    BUYER = "BUYER"
    OWNER = "OWNER"
    MERCH = "MERCH"
    AP = "AP"
    OTHER = "OTHER"


class Language(StrEnum):
    """The languages people are written to in."""

    zh = "zh"
    ko = "ko"
    en = "en"


CONTACT = Shape(
    "contacts",
    (
        Field("id", Kind.ID, nullable=False, fixed=True),
        Field("nameZh", Kind.TEXT, limit=NAME_CHARACTERS_MAX, personal=True),
        Field("nameKo", Kind.TEXT, limit=NAME_CHARACTERS_MAX, personal=True),
        Field("nameEn", Kind.TEXT, limit=NAME_CHARACTERS_MAX, personal=True),
        Field("birthDate", Kind.DATE, personal=True),
        Field("phone", Kind.TEXT, limit=40, check=parse_phone, personal=True),
        Field("email", Kind.TEXT, limit=254, check=parse_email, personal=True),
        Field(
            "channels",
            Kind.MAP,
            nullable=False,
            values=tuple(channel.value for channel in Channel),
            enum=Channel.__name__,
            personal=True,
        ),
        enum_field("preferredChannel", Channel, merge=Merge.LAST_WRITER),
        enum_field("locale", Language, merge=Merge.LAST_WRITER),
        Field(
            "consentEvents",
            Kind.RECORDS,
            nullable=False,
            limit=CONSENT_EVENTS_MAX,
            record=CONSENT_EVENT,
            merge=Merge.SET_UNION,
        ),
        Field("notes", Kind.LONG_TEXT, limit=NOTES_CHARACTERS_MAX, merge=Merge.APPEND_TEXT, personal=True),
        custom_values(),
        server_field("searchKeys", Kind.TEXT),
        server_field("sortKey", Kind.TEXT),
        server_field("createdAt", Kind.TIMESTAMP),
        server_field("createdBy", Kind.TEXT),
    ),
    required=(("nameZh", "nameKo", "nameEn"),),
)
"""`consentEvents` in a change are events to add; none is ever taken away."""

CUSTOMER_CONTACT = Shape(
    "customerContacts",
    (
        Field("id", Kind.ID, nullable=False, fixed=True),
        Field("customerId", Kind.ID, nullable=False, fixed=True),
        Field("contactId", Kind.ID, nullable=False, fixed=True),
        enum_field("role", ContactRole, nullable=False, default=ContactRole.OTHER.value),
        Field("primary", Kind.BOOL, nullable=False, default=False),
        server_field("territoryId", Kind.ID),
        server_field("createdAt", Kind.TIMESTAMP),
    ),
    required=(("customerId",), ("contactId",)),
)


def derived_fields(contact: Mapping[str, object]) -> dict[str, object]:
    """The fields computed from a whole contact on every write: search keys and sort key."""
    phone = contact.get("phone")
    names = names_of(contact)
    return {
        "searchKeys": search_keys(names, phones=[phone] if isinstance(phone, str) else []),
        "sortKey": sort_key(names, person=True),
    }
