"""Schema versions of documents: which are served, what each knew, and a document as a client of one knew it.

A version is raised when a field or a collection is added to what devices hold. The only declaration is `since` on
the `Field` or the `Collection`; what follows is read from it. Nothing is ever taken out of a version, so a document
of an older one is the newer without what came later (`sync.md` §2, §8).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from backend.domain.fields import Field
from backend.errors import Code, Problem, Refused
from backend.sync.collections import COLLECTIONS, Collection
from backend.sync.documents import canonical

SCHEMA_VERSION = 4
"""What this server writes. Raise it with the first `since` of a release."""
SCHEMA_VERSION_UNSAID = 1
"""What a client understands that does not say: it was written when there was one version."""


def versions_served(oldest: int) -> tuple[str, ...]:
    """Every version pulls are answered in, as a refusal names them."""
    return tuple(str(version) for version in range(min(oldest, SCHEMA_VERSION), SCHEMA_VERSION + 1))


def check_served(version: int, *, oldest: int) -> None:
    """Raise UPGRADE_REQUIRED, naming what is served, for a version no longer answered or not yet known here.

    Pushes of an older version are taken all the same: it is drain-only. One above all served tells its client that
    the server is the older of the two, as happens while processes are being replaced.
    """
    if not min(oldest, SCHEMA_VERSION) <= version <= SCHEMA_VERSION:
        raise Refused(Problem(Code.UPGRADE_REQUIRED, ("schemaVersion",), versions_served(oldest)))


def is_known(name: str, version: int) -> bool:
    """True when clients of a version know a collection. One this process does not know either is none."""
    return name in COLLECTIONS and COLLECTIONS[name].since <= version


def shape_at(collection: Collection, version: int) -> int:
    """The version that gave documents the shape clients of `version` know; `collection.since` at least."""
    return max((found for found in collection.versions if found <= version), default=collection.since)


def changed_between(old: int, new: int) -> tuple[str, ...]:
    """The collections whose documents differ between two versions, new ones among them; sorted."""
    return tuple(
        sorted(name for name, found in COLLECTIONS.items() if any(old < version <= new for version in found.versions))
    )


def projected(collection: Collection, document: bytes, version: int, *, doc_version: int) -> bytes:
    """A document as clients of `version` know it: the very bytes unless something must be left out.

    `doc_version` is what it was written as; one that a newer process wrote loses what this one never heard of.
    """
    if doc_version <= shape_at(collection, version):
        return document
    nested = {child.name: child.fields for child in collection.children}
    return canonical(_kept(orjson.loads(document), collection.own_fields, nested, version))


def _kept(
    record: Mapping[str, Any], fields: Iterable[Field], nested: Mapping[str, Iterable[Field]], version: int
) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for found in fields:
        if found.name in record and found.since <= version:
            kept[found.name] = _value_at(record[found.name], found, version)
    for name, inner in nested.items():
        if name in record:
            kept[name] = [_kept(entry, inner, {}, version) for entry in record[name]]
    return kept


def _value_at(value: Any, declared: Field, version: int) -> Any:
    if declared.record is None or not isinstance(value, list):
        return value
    return [_kept(entry, declared.record.fields, {}, version) for entry in value]


def is_same(collection: Collection, stored: bytes, doc_version: int, document: bytes) -> bool:
    """True when a stored document says what the present one says, as far as its shape could, or ours can."""
    if doc_version > collection.doc_version:
        stored = projected(collection, stored, collection.doc_version, doc_version=doc_version)
    elif doc_version < collection.doc_version:
        document = projected(collection, document, doc_version, doc_version=collection.doc_version)
    return stored == document


def declared_versions() -> dict[str, object]:
    """What came after the first version, for clients: each collection's `since`, its later fields and what they mean
    where a document lacks them."""
    collections: dict[str, object] = {}
    for name, collection in sorted(COLLECTIONS.items()):
        later = {
            found.name: {"since": found.since, "default": found.default}
            for found in collection.own_fields
            if found.since > collection.since
        }
        if collection.since > 1 or later:
            collections[name] = {"since": collection.since, "fields": dict(sorted(later.items()))}
    return {"version": SCHEMA_VERSION, "collections": collections}
