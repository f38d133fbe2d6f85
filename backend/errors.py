"""Refusals: the closed list of codes, what each asks of the caller, and the exceptions that carry them.

A refusal is an expected answer. It is raised in the domain or a use case with *every* problem found,
and translated once at the edge. Texts live in `mobile_contract/messages/`; here is only the operator's line.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Retry(StrEnum):
    """When sending the same thing again can help."""

    NEVER = "NEVER"
    AFTER_CHANGE = "AFTER_CHANGE"
    LATER = "LATER"


class Code(StrEnum):
    """Every code a client can meet. Adding one needs a text in each language and a line in `OPERATOR`."""

    # values
    REQUIRED = "REQUIRED"
    INVALID_VALUE = "INVALID_VALUE"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    TOO_LONG = "TOO_LONG"
    TOO_MANY = "TOO_MANY"
    NOT_ALLOWED_VALUE = "NOT_ALLOWED_VALUE"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    SERVER_ONLY_FIELD = "SERVER_ONLY_FIELD"
    IN_THE_FUTURE = "IN_THE_FUTURE"
    CURRENCY_MIXED = "CURRENCY_MIXED"
    DUPLICATE_EXTERNAL_ID = "DUPLICATE_EXTERNAL_ID"
    NOT_UTF8 = "NOT_UTF8"
    EMPTY_FILE = "EMPTY_FILE"
    UNKNOWN_COLUMN = "UNKNOWN_COLUMN"
    # records
    NOT_FOUND = "NOT_FOUND"
    ID_TAKEN = "ID_TAKEN"
    CONFLICT = "CONFLICT"
    DELETED = "DELETED"
    RESTORE_TOO_LATE = "RESTORE_TOO_LATE"
    PERSON_ERASED = "PERSON_ERASED"
    INVALID_TRANSITION = "INVALID_TRANSITION"
    NOT_EDITABLE = "NOT_EDITABLE"
    EVIDENCE_MISSING = "EVIDENCE_MISSING"
    SKU_DISCONTINUED = "SKU_DISCONTINUED"
    ORDER_WINDOW_CLOSED = "ORDER_WINDOW_CLOSED"
    NO_PRICE = "NO_PRICE"
    DISCOUNT_OVER_CAP = "DISCOUNT_OVER_CAP"
    OVERLAPPING_ASSIGNMENT = "OVERLAPPING_ASSIGNMENT"
    NOTHING_SCORED = "NOTHING_SCORED"
    NO_EXCHANGE_RATE = "NO_EXCHANGE_RATE"
    # who is asking
    NOT_PERMITTED = "NOT_PERMITTED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"
    SIGN_IN_FAILED = "SIGN_IN_FAILED"
    DEVICE_REVOKED = "DEVICE_REVOKED"
    DEVICE_DRAINING = "DEVICE_DRAINING"
    DEVICE_WIPED = "DEVICE_WIPED"
    DEVICE_OF_ANOTHER_USER = "DEVICE_OF_ANOTHER_USER"
    LAST_ADMIN = "LAST_ADMIN"
    PROVIDER_UNAVAILABLE = "PROVIDER_UNAVAILABLE"
    # sync
    CURSOR_INVALID = "CURSOR_INVALID"
    CURSOR_EXPIRED = "CURSOR_EXPIRED"
    MUTATION_ID_REUSED = "MUTATION_ID_REUSED"
    CLIENT_SEQ_GAP = "CLIENT_SEQ_GAP"
    DEPENDENCY_FAILED = "DEPENDENCY_FAILED"
    UPGRADE_REQUIRED = "UPGRADE_REQUIRED"
    ALREADY_RESOLVED = "ALREADY_RESOLVED"
    UNSENT_WORK = "UNSENT_WORK"
    RESCUE_DAMAGED = "RESCUE_DAMAGED"
    RESCUE_KEY_UNKNOWN = "RESCUE_KEY_UNKNOWN"
    # files
    UPLOAD_OFFSET = "UPLOAD_OFFSET"
    UPLOAD_QUOTA = "UPLOAD_QUOTA"
    FILE_HASH_MISMATCH = "FILE_HASH_MISMATCH"
    FILE_TYPE_MISMATCH = "FILE_TYPE_MISMATCH"
    NOT_UPLOADED = "NOT_UPLOADED"
    STORAGE_FULL = "STORAGE_FULL"
    # the edge
    BAD_REQUEST = "BAD_REQUEST"
    TOO_LARGE = "TOO_LARGE"
    QUERY_TOO_COSTLY = "QUERY_TOO_COSTLY"
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
    DOCUMENT_NOT_TRUSTED = "DOCUMENT_NOT_TRUSTED"
    RATE_LIMITED = "RATE_LIMITED"
    BUSY = "BUSY"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


RETRY: Mapping[Code, Retry] = {
    Code.NOT_FOUND: Retry.NEVER,
    Code.ID_TAKEN: Retry.NEVER,
    Code.NOT_PERMITTED: Retry.NEVER,
    Code.DEVICE_REVOKED: Retry.NEVER,
    Code.DEVICE_DRAINING: Retry.NEVER,
    Code.DEVICE_WIPED: Retry.NEVER,
    Code.MUTATION_ID_REUSED: Retry.NEVER,
    Code.SERVER_ONLY_FIELD: Retry.NEVER,
    Code.DELETED: Retry.NEVER,
    Code.RESTORE_TOO_LATE: Retry.NEVER,
    Code.PERSON_ERASED: Retry.NEVER,
    Code.ALREADY_RESOLVED: Retry.NEVER,
    Code.RESCUE_DAMAGED: Retry.NEVER,
    Code.RESCUE_KEY_UNKNOWN: Retry.NEVER,
    Code.NOTHING_SCORED: Retry.LATER,
    Code.PROVIDER_UNAVAILABLE: Retry.LATER,
    Code.CLIENT_SEQ_GAP: Retry.LATER,
    Code.UPLOAD_QUOTA: Retry.LATER,
    Code.NOT_UPLOADED: Retry.LATER,
    Code.STORAGE_FULL: Retry.LATER,
    Code.RATE_LIMITED: Retry.LATER,
    Code.BUSY: Retry.LATER,
    Code.UNAVAILABLE: Retry.LATER,
    Code.INTERNAL: Retry.LATER,
}
"""What is not named here is AFTER_CHANGE."""

OPERATOR: Mapping[Code, str] = {
    Code.REQUIRED: "a value that must be given is absent or empty",
    Code.INVALID_VALUE: "the value has not the form asked for",
    Code.OUT_OF_RANGE: "the number or date lies outside the range given in `allowed`",
    Code.TOO_LONG: "the text is longer than the limit given in `allowed`",
    Code.TOO_MANY: "a list is longer than the limit given in `allowed`",
    Code.NOT_ALLOWED_VALUE: "the value is not one of those in `allowed`",
    Code.UNKNOWN_FIELD: "the change names a field this collection does not have",
    Code.SERVER_ONLY_FIELD: "the change names a field only the server writes",
    Code.IN_THE_FUTURE: "the moment lies in the future",
    Code.CURRENCY_MIXED: "amounts in different currencies stand in one sum",
    Code.DUPLICATE_EXTERNAL_ID: "the external id stands twice in one file, or belongs to another record",
    Code.NOT_UTF8: "the bytes are not UTF-8 text",
    Code.EMPTY_FILE: "the file has no rows",
    Code.UNKNOWN_COLUMN: "the mapping names a column the file does not have, or a target that does not exist",
    Code.NOT_FOUND: "no such record in what the caller may see",
    Code.ID_TAKEN: "the id belongs to a record with other content",
    Code.CONFLICT: "someone else changed the same field since the base revision",
    Code.DELETED: "the record was deleted",
    Code.RESTORE_TOO_LATE: "the record was deleted too long ago to be brought back (`restore_days`)",
    Code.PERSON_ERASED: "the person was erased; nothing said of him is taken or kept any more",
    Code.INVALID_TRANSITION: "the state machine has no such step; `allowed` lists the steps it has",
    Code.NOT_EDITABLE: "the record's state no longer allows this field to change",
    Code.EVIDENCE_MISSING: "the step needs a field that proves it, named in the path",
    Code.SKU_DISCONTINUED: "the order names an article that is no longer sold",
    Code.ORDER_WINDOW_CLOSED: "the season's order book is closed on that day",
    Code.NO_PRICE: "the customer's price list has no price for the style",
    Code.DISCOUNT_OVER_CAP: "the discount is above what the role may give",
    Code.OVERLAPPING_ASSIGNMENT: "the customer already has an assignment at that time",
    Code.NO_EXCHANGE_RATE: "amounts in a currency could not be converted: no rate on their day",
    Code.NOTHING_SCORED: "no score run has finished yet for what was asked",
    Code.NOT_PERMITTED: "the role may not do this",
    Code.UNAUTHENTICATED: "no valid access token",
    Code.TOKEN_EXPIRED: "the token has expired",
    Code.SIGN_IN_FAILED: "e-mail and password do not match an active user",
    Code.DEVICE_REVOKED: "the device was revoked, or its user has left",
    Code.DEVICE_DRAINING: "the device hands in what was captured before it was to be given up, and nothing else",
    Code.DEVICE_WIPED: "the device was wiped: it must destroy what it holds, then call acknowledgeWipe",
    Code.DEVICE_OF_ANOTHER_USER: "the device id is a colleague's; the app makes a new one and signs in with that",
    Code.LAST_ADMIN: "no active admin would be left",
    Code.PROVIDER_UNAVAILABLE: "the sign-in provider does not answer, or not as one",
    Code.CURSOR_INVALID: "the cursor was not made for this caller, or was altered",
    Code.CURSOR_EXPIRED: "the cursor is behind the horizon or of another epoch; start again, keep local work",
    Code.MUTATION_ID_REUSED: "a mutation id came back with another body",
    Code.CLIENT_SEQ_GAP: "mutations before this one have not arrived",
    Code.DEPENDENCY_FAILED: "another mutation of the same group was refused",
    Code.UPGRADE_REQUIRED: "the client's schema version is no longer served; pushes are still taken",
    Code.ALREADY_RESOLVED: "the sync issue was settled by somebody before",
    Code.UNSENT_WORK: "the device holds work that was neither sent nor written into a rescue file",
    Code.RESCUE_DAMAGED: "the rescue file cannot be read, was altered, or is not whole",
    Code.RESCUE_KEY_UNKNOWN: "the rescue file was encrypted for a key this server does not hold",
    Code.UPLOAD_OFFSET: "the chunk does not begin where the bytes received end; `allowed` says where that is",
    Code.UPLOAD_QUOTA: "more bytes in a day, or more uploads unfinished at once, than one user may have",
    Code.FILE_HASH_MISMATCH: "the bytes received have not the SHA-256 declared; they were dropped",
    Code.FILE_TYPE_MISMATCH: "the bytes are not a whole file of the type declared",
    Code.NOT_UPLOADED: "the attachment is there, its bytes are not, or not any more",
    Code.STORAGE_FULL: "there is no room left on the disk for what was sent; reading goes on",
    Code.BAD_REQUEST: "the request is not a well-formed GraphQL request",
    Code.TOO_LARGE: "the request is larger than the limit",
    Code.QUERY_TOO_COSTLY: "the document asks for more than one request may cost",
    Code.RATE_LIMITED: "the caller asks more often than `limit`; the same request passes after `retryAfterSeconds`",
    Code.PERSISTED_QUERY_NOT_FOUND: "no trusted document has this hash: send its text, or add it to the folder",
    Code.DOCUMENT_NOT_TRUSTED: "of callers of this kind only trusted documents are taken, by their hash or text",
    Code.BUSY: "the database or a queue is busy; the same request may pass a little later",
    Code.UNAVAILABLE: "the database does not answer; whether a write was taken is not known: send it again, as it was",
    Code.INTERNAL: "an unexpected failure, logged under the id given",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason for a refusal.

    `path` leads to the value down to the cell (`("lines", "0", "cells", "<sku>")`);
    `allowed` says what would have been taken; `params` fill the message in the reader's language.
    """

    code: Code
    path: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    params: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def retry(self) -> Retry:
        return RETRY.get(self.code, Retry.AFTER_CHANGE)

    def under(self, *prefix: str) -> "Problem":
        """The same problem seen from further out."""
        return Problem(self.code, (*prefix, *self.path), self.allowed, self.params)


class SelvedgeError(Exception):
    """Base of every error this product raises on purpose."""


class Refused(SelvedgeError):
    """The request was understood and is refused, with all its problems at once."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(", ".join(f"{p.code}@{'.'.join(p.path)}" for p in problems))
        self.problems = problems


class BadSetting(SelvedgeError):
    """A setting has a value the server cannot start with."""


def refuse_if(problems: Iterable[Problem]) -> None:
    """Raise `Refused` with all the problems given, or return when there is none."""
    found = tuple(problems)
    if found:
        raise Refused(*found)
