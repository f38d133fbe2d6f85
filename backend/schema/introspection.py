"""Answers to questions about the schema itself: made beside the loop that serves everybody, one at a time, and kept.

What the usual tool asks is half a megabyte, which takes longer to put together than anything asked of the data, and
hangs on nothing but the program: so it is made once, and nobody waits for another's. Source: promises.md §3.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import strawberry
from graphql import ExecutionResult, FieldNode, OperationDefinitionNode, OperationType

from backend.config import Settings
from backend.schema.context import Context
from backend.schema.execute import Prepared, answer, begin, encode
from backend.schema.limits import INTROSPECTION

TYPENAME = "__typename"


def is_about_schema(operation: OperationDefinitionNode, roots: Callable[[], set[str]]) -> bool:
    """Whether an operation asks about the schema and nothing else; `roots` finds the fields at its root."""
    first = operation.selection_set.selections[0]
    if operation.operation is not OperationType.QUERY or (
        isinstance(first, FieldNode) and not first.name.value.startswith("__")
    ):
        return False
    found = roots()
    return bool(found & INTROSPECTION) and found <= INTROSPECTION | {TYPENAME}


class SchemaAnswers:
    """One per process, of one schema. The least recently asked for leave."""

    def __init__(self, schema: strawberry.Schema, settings: Settings) -> None:
        self._schema = schema
        self._entries_max = settings.schema_answers_max
        self._bytes_max = settings.schema_answers_bytes_max
        self._kept: OrderedDict[tuple[str, str | None, bytes], bytes] = OrderedDict()
        self._bytes = 0
        self._alone = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    async def answer(
        self, context: Context, prepared: Prepared, variables: Mapping[str, Any], operation_name: str | None
    ) -> dict[str, Any]:
        """As `execute.run` answers."""
        key = prepared.key, operation_name, orjson.dumps(variables, option=orjson.OPT_SORT_KEYS)
        if (data := self._found(key)) is None:
            async with self._alone:
                if (data := self._found(key)) is None:
                    told, data = await asyncio.to_thread(self._make, context, prepared, variables, operation_name)
                    if data is None:
                        return told
                    self._keep(key, data)
        return {"data": orjson.Fragment(data)}

    def _make(
        self, context: Context, prepared: Prepared, variables: Mapping[str, Any], operation_name: str | None
    ) -> tuple[dict[str, Any], bytes | None]:
        """The answer, and where nothing is wrong with it the bytes of its data."""
        result = begin(self._schema, context, prepared, variables, operation_name)
        assert isinstance(result, ExecutionResult), "what is known of the schema is waited for"
        told = answer(result)
        return told, None if "errors" in told else encode(told["data"])

    def _found(self, key: tuple[str, str | None, bytes]) -> bytes | None:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def _keep(self, key: tuple[str, str | None, bytes], data: bytes) -> None:
        if len(data) + len(key[2]) > self._bytes_max:
            return
        self._kept[key] = data
        self._bytes += len(data) + len(key[2])
        while len(self._kept) > self._entries_max or self._bytes > self._bytes_max:
            (_, _, variables), left = self._kept.popitem(last=False)
            self._bytes -= len(left) + len(variables)
