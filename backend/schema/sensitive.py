"""How many people's contact data an answer shows, counted in its bytes for those whose reading is noted."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import orjson
from graphql import DocumentNode, FieldNode, Visitor, visit

from backend.domain.privacy import CHANNEL_FIELDS, is_watched
from backend.schema.context import Context

DOCUMENTS_KEPT_MAX = 500


class SensitiveKeys:
    """Under which keys a document's answer shows contact data; remembered by the document's key. One per process."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[bytes, ...]] = OrderedDict()

    def of(self, key: str, document: DocumentNode) -> tuple[bytes, ...]:
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = _keys(document)
            if len(self._known) > DOCUMENTS_KEPT_MAX:
                self._known.popitem(last=False)
        return found


class _Fields(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.keys: set[str] = set()

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        if node.name.value in CHANNEL_FIELDS:
            self.keys.add((node.alias or node.name).value)


def _keys(document: DocumentNode) -> tuple[bytes, ...]:
    fields = _Fields()
    visit(document, fields)
    return tuple(b'"%s":' % key.encode() for key in sorted(fields.keys))


async def note_sensitive(context: Context, document: DocumentNode, found: Mapping[str, Any]) -> None:
    """Note an answer that shows the contact data of many people to somebody who sees all of them."""
    watch, keys, principal = context.watch_door, context.sensitive_keys, context.principal
    if watch is None or keys is None or principal is None or "data" not in found or not is_watched(principal.role):
        return
    wanted = keys.of(context.document_key, document)
    if not wanted:
        return
    text = orjson.dumps(found["data"])
    # a value that is null, or an empty map, shows nothing; a text that holds such a key is counted with the rest
    await watch.read(principal, max(text.count(k) - text.count(k + b"null") - text.count(k + b"{}") for k in wanted))
