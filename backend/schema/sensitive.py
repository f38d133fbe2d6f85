"""How many people's contact data an answer shows, counted in its bytes for those whose reading is noted."""

from collections import OrderedDict
from typing import Any

import orjson
from graphql import DocumentNode, FieldNode, Visitor, visit

from backend.domain.privacy import CHANNEL_FIELDS

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

    def shown(self, key: str, document: DocumentNode, data: object) -> int:
        """How many values of people's contact data an answer shows."""
        wanted = self.of(key, document)
        if not wanted:
            return 0
        text = orjson.dumps(data)
        # a value that is null, or an empty map, shows nothing; a text that holds such a key is counted with the rest
        return max(text.count(k) - text.count(k + b"null") - text.count(k + b"{}") for k in wanted)


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
